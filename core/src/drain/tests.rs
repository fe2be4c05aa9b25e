//! Tests of drains: tables and properties.
