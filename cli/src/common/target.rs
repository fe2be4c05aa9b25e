//! `pod/X`, `statefulset/X`, `deployment/X`: what a command is about, as kubectl writes it.

use std::fmt;
use std::str::FromStr;

/// A kind that commands take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A pod.
    Pod,
    /// A StatefulSet.
    StatefulSet,
    /// A Deployment.
    Deployment,
}

impl Kind {
    /// As kubectl writes it before a name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::StatefulSet => "statefulset",
            Self::Deployment => "deployment",
        }
    }

    fn read(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "po" | "pod" | "pods" => Some(Self::Pod),
            "sts" | "statefulset" | "statefulsets" | "statefulset.apps" | "statefulsets.apps" => {
                Some(Self::StatefulSet)
            }
            "deploy" | "deployment" | "deployments" | "deployment.apps" | "deployments.apps" => {
                Some(Self::Deployment)
            }
            _ => None,
        }
    }
}

/// One object, in the namespace that the command works in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.kind.as_str(), self.name)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text
            .split_once('/')
            .filter(|(_, name)| !name.is_empty() && !name.contains('/'))
            .ok_or("write KIND/NAME, as in pod/shop-0 or statefulset/shop")?;
        let kind = Kind::read(kind).ok_or_else(|| {
            format!("{kind} is not a kind that Lameduck knows: pod, statefulset or deployment")
        })?;
        Ok(Self { kind, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_kubectl_takes_them() {
        for (text, shown) in [
            ("pod/shop-0", "pod/shop-0"),
            ("sts/shop", "statefulset/shop"),
            ("StatefulSets.apps/shop", "statefulset/shop"),
            ("deploy/web", "deployment/web"),
        ] {
            assert_eq!(text.parse::<Target>().expect(text).to_string(), shown);
        }
        for text in ["", "shop-0", "pod/", "/x", "pod/a/b", "node/a"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
