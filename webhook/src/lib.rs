//! lameduck-webhook
