//! Which pod this is: written by the init container, read by every hold of the pod.
//!
//! A file, because the downward API reaches only containers whose environment we may write, and the
//! user's containers stay as they are.

use std::fmt;
use std::io;
use std::path::Path;

/// The pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Namespace.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
    /// UID: a StatefulSet's pods share names over time.
    pub(crate) uid: String,
    /// IP address, or empty where the kubelet did not know it yet.
    pub(crate) ip: String,
}

/// Why the identity is not known.
#[derive(Debug)]
pub(crate) enum Error {
    /// A part is missing.
    Missing(&'static str),
    /// A part has a character that no name, UID or address has.
    Malformed(&'static str),
    /// The file cannot be read.
    Read(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(part) => write!(f, "the pod's {part} is missing"),
            Self::Malformed(part) => write!(f, "the pod's {part} has a character it cannot have"),
            Self::Read(error) => write!(f, "the pod's identity cannot be read: {error}"),
        }
    }
}

impl Identity {
    /// File name inside the folder that `install` fills.
    pub(crate) const FILE: &str = "identity";

    /// Reads it from the environment, or whatever `variable` looks names up in.
    ///
    /// # Errors
    /// Names the part that is missing or malformed.
    pub(crate) fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        Self {
            namespace: variable("LAMEDUCK_POD_NAMESPACE").unwrap_or_default(),
            name: variable("LAMEDUCK_POD_NAME").unwrap_or_default(),
            uid: variable("LAMEDUCK_POD_UID").unwrap_or_default(),
            ip: variable("LAMEDUCK_POD_IP").unwrap_or_default(),
        }
        .checked()
    }

    /// Reads the identity file in `folder`.
    ///
    /// # Errors
    /// The file cannot be read, or a part is missing or malformed.
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(folder.join(Self::FILE)).map_err(Error::Read)?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let value = |wanted: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| *key == wanted)
                .map(|(_, value)| value.to_owned())
                .unwrap_or_default()
        };
        Self {
            namespace: value("namespace"),
            name: value("name"),
            uid: value("uid"),
            ip: value("ip"),
        }
        .checked()
    }

    /// The parts go into request lines as they are, so nothing but their own alphabet passes.
    fn checked(self) -> Result<Self, Error> {
        for (part, value, may_be_empty) in [
            ("namespace", &self.namespace, false),
            ("name", &self.name, false),
            ("UID", &self.uid, false),
            ("IP", &self.ip, true),
        ] {
            if value.is_empty() && !may_be_empty {
                return Err(Error::Missing(part));
            }
            if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte)) {
                return Err(Error::Malformed(part));
            }
        }
        Ok(self)
    }
}

/// The file's text: one `key=value` a line.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, uid, ip } = self;
        writeln!(f, "namespace={namespace}\nname={name}\nuid={uid}\nip={ip}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for ip in ["10.1.2.3", "fd00::7", ""] {
            let identity = Identity {
                namespace: "shop".into(),
                name: "web-0".into(),
                uid: "6f1c".into(),
                ip: ip.into(),
            };
            assert_eq!(Identity::parse(&identity.to_string()).expect("readable"), identity);
        }
    }

    #[test]
    fn nothing_that_could_break_a_request_line_passes() {
        let parse = |name: &str| Identity::parse(&format!("namespace=a\nname={name}\nuid=u\nip="));
        assert!(matches!(parse("x y"), Err(Error::Malformed("name"))));
        assert!(matches!(parse("x?y=z"), Err(Error::Malformed("name"))));
        assert!(matches!(parse(""), Err(Error::Missing("name"))));
    }
}
