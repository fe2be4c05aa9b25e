//! The end-to-end suite. Everything is in `e2e/`, one binary on one cluster; the recorded admission
//! reviews in `corpus/` are read by the webhook's own tests.
