//! The settings as flags, for the controller's command line.

use clap::Args;
use jiff::SignedDuration;

use crate::settings::Settings;

/// Lifetimes and waits of the webhook's certificates. Durations are written like `30m`, `24h`.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Certificates of the webhook")]
pub struct CertificateArgs {
    /// How long a CA is valid. It is replaced after two thirds of it.
    #[arg(long, env = "LAMEDUCK_CA_LIFE", default_value = "8760h")]
    pub ca_life: SignedDuration,
    /// How long a serving certificate is valid. It is replaced after two thirds of it.
    #[arg(long, env = "LAMEDUCK_CERTIFICATE_LIFE", default_value = "720h")]
    pub certificate_life: SignedDuration,
    /// How long a new CA is published before a certificate of it is served: the time that API
    /// servers have to see it.
    #[arg(long, env = "LAMEDUCK_CA_SETTLE", default_value = "5m")]
    pub ca_settle: SignedDuration,
    /// How long an old CA stays published after its last certificate was replaced: the time that
    /// webhook replicas have to load the new one.
    #[arg(long, env = "LAMEDUCK_CA_OVERLAP", default_value = "24h")]
    pub ca_overlap: SignedDuration,
    /// How far two clocks of the cluster may differ.
    #[arg(long, env = "LAMEDUCK_CLOCK_SKEW", default_value = "1h")]
    pub clock_skew: SignedDuration,
}

impl CertificateArgs {
    /// The settings for an installation in `namespace`. [`crate::Keeper::new`] checks them.
    #[must_use]
    pub fn settings(&self, namespace: &str) -> Settings {
        Settings {
            ca_life: self.ca_life,
            leaf_life: self.certificate_life,
            settle: self.ca_settle,
            overlap: self.ca_overlap,
            clock_skew: self.clock_skew,
            ..Settings::for_namespace(namespace)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        certificates: CertificateArgs,
    }

    #[test]
    fn the_flags_defaults_are_the_settings_defaults() {
        let command = Command::try_parse_from(["controller"]).expect("no flag is needed");
        assert_eq!(command.certificates.settings("lameduck-system"), Settings::default());
        let asked = ["controller", "--ca-overlap", "90m"];
        let command = Command::try_parse_from(asked).expect("a duration");
        assert_eq!(
            command.certificates.settings("lameduck-system").overlap,
            SignedDuration::from_mins(90)
        );
    }
}
