//! lameduck-hold
fn main() {}
