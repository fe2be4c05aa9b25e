//! lameduck-lab
