//! Tests of the hold endpoint, through its router.
