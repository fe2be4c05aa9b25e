//! lameduck-controller
