//! Tests of the index: apply, delete, reset.
