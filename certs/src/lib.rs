//! lameduck-certs
