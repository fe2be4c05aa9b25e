//! Weight 0 for ordinals of StatefulSets in `lb-rs-weight`, and back.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod corpus;
mod properties;
mod reader;
mod tables;
mod user;

use lameduck_core::upgrade::weights::{
    Annotations, Change, Invalid, Port, Protocol, Zeros, with_zeros, zeros,
};

pub(crate) const HTTP: Port = Port { protocol: Protocol::Tcp, port: 80 };
pub(crate) const HTTPS: Port = Port { protocol: Protocol::Tcp, port: 443 };
pub(crate) const QUIC: Port = Port { protocol: Protocol::Udp, port: 80 };

/// The annotations of a Service, as an API server keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) weights: Option<String>,
    pub(crate) record: Option<String>,
}

impl Service {
    pub(crate) fn new(weights: Option<&str>) -> Self {
        Self { weights: weights.map(str::to_owned), record: None }
    }

    pub(crate) fn now(&self) -> Annotations<'_> {
        Annotations { weights: self.weights.as_deref(), record: self.record.as_deref() }
    }

    /// Writes what is to be written; afterwards there is nothing more to write, and the zeros are ours.
    pub(crate) fn try_zero(&mut self, ports: &[Port], wanted: &Zeros) -> Result<(), Invalid> {
        if let Some(Change { weights, record, left_alone }) =
            with_zeros(&self.now(), ports, wanted)?
        {
            assert_eq!(left_alone, None);
            assert_ne!((&weights, &record), (&self.weights, &self.record), "a change of nothing");
            (self.weights, self.record) = (weights, record);
        }
        assert_eq!(with_zeros(&self.now(), ports, wanted), Ok(None), "twice is once");
        assert_eq!(zeros(&self.now()).as_ref(), Ok(wanted));
        Ok(())
    }

    pub(crate) fn zero(&mut self, ports: &[Port], wanted: &Zeros) {
        self.try_zero(ports, wanted).unwrap();
    }

    pub(crate) fn give_back(&mut self) {
        self.zero(&[], &Zeros::new());
        assert_eq!(self.record, None);
    }
}

pub(crate) fn ordinals(set: &str, ordinals: &[u32]) -> Zeros {
    Zeros::from([(set.into(), ordinals.iter().copied().collect())])
}
