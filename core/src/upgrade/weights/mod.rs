//! Weight 0 for ordinals of StatefulSets, in the annotation that TKE reads them from
//! ([`LB_RS_WEIGHT`], Tencent's document 457/51258), and back again.
//!
//! ```text
//! user's text -- with_zeros(some) --> merged text + record -- with_zeros(none) --> user's text, byte for byte
//!                                         |  edited by somebody
//!                                         '--> their text without our entries is the user's from now on
//! ```
//! The record ([`ANNOTATION_ORIGINAL_LB_RS_WEIGHT`]) stands on the same Service and is written in the same
//! patch. It holds the user's text, the ordinals that are ours, and what we wrote. Every merge starts from
//! the user's text, so ordinals come and go in any order. A caller sends a [`Change`] under the precondition
//! of the Service's `resourceVersion`.
//!
//! Where the user's text can be read in two ways it is refused, or where Tencent does not say more, read as a
//! program would that goes through it once: of several weights of one ordinal the last counts.

mod document;
mod members;
mod merge;
mod strip;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::names::{ANNOTATION_ORIGINAL_LB_RS_WEIGHT, LB_RS_WEIGHT};
use document::{Document, Key};

/// The most that all annotations of an object may take (`TotalAnnotationSizeLimitB` in Kubernetes'
/// apimachinery). More cannot be written.
const MAX_BYTES: usize = 256 * 1024;

/// Ordinals by the name of their StatefulSet.
pub type Zeros = BTreeMap<Box<str>, BTreeSet<u32>>;

/// The two annotations of one Service as they are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Annotations<'a> {
    /// [`LB_RS_WEIGHT`]; None where there is none.
    pub weights: Option<&'a str>,
    /// [`ANNOTATION_ORIGINAL_LB_RS_WEIGHT`]; None where there is none.
    pub record: Option<&'a str>,
}

/// Protocol of a Service's port, of those that a CLB carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As a Service's spec and Tencent's samples spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// A port of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`, which is the listener's at the CLB: not `targetPort`.
    pub port: u16,
}

/// What both annotations shall be, to be written in one patch. None removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// [`LB_RS_WEIGHT`].
    pub weights: Option<String>,
    /// [`ANNOTATION_ORIGINAL_LB_RS_WEIGHT`].
    pub record: Option<String>,
    /// Only where everything was to be given back: why `weights` stays as somebody left it. Zeros of ours
    /// may be in it still, and a person has to look.
    pub left_alone: Option<Invalid>,
}

/// An annotation that cannot be worked with. Nothing is changed. Trying again does not help before a person
/// has changed the Service. Prints as one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The weights are no JSON object. What the parser said.
    #[error("annotation {LB_RS_WEIGHT} is no JSON object: {0}; it stays as it is")]
    NotJson(String),
    /// The weights are JSON that is not what Tencent documents, or can be read in two ways. Where and what.
    #[error("annotation {LB_RS_WEIGHT} cannot be understood at {0}; it stays as it is")]
    Content(String),
    /// The weights are longer than an annotation can be.
    #[error(
        "annotation {LB_RS_WEIGHT} has {bytes} bytes, more than {MAX_BYTES}; it stays as it is"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The record is not what we wrote: somebody changed it. Where and what.
    #[error(
        "annotation {ANNOTATION_ORIGINAL_LB_RS_WEIGHT}, our record of the weights before ours, cannot be \
         read: {0}; both annotations stay as they are"
    )]
    Record(String),
    /// Both annotations together would be longer than Kubernetes takes.
    #[error(
        "annotation {LB_RS_WEIGHT} with our weights, and the record of the one before, would take {bytes} \
         bytes of the {MAX_BYTES} of all annotations; it stays as it is"
    )]
    NoRoom {
        /// What both would take.
        bytes: usize,
    },
    /// The Service has no port that could have weights.
    #[error("the Service has no TCP or UDP port to set weights for in annotation {LB_RS_WEIGHT}")]
    NoPorts,
}

/// [`ANNOTATION_ORIGINAL_LB_RS_WEIGHT`] as JSON.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    /// The user's text. It must stand there, if only as null: a member that got lost would else remove
    /// the user's annotation.
    #[serde(deserialize_with = "Option::deserialize")]
    original: Option<Cow<'a, str>>,
    /// What of the text is ours.
    zeros: Cow<'a, Zeros>,
    /// The text that we wrote.
    written: Cow<'a, str>,
}

impl Record<'_> {
    fn read(annotations: &Annotations<'_>) -> Result<Option<Self>, Invalid> {
        let read = |text: &str| match text.len() {
            ..=MAX_BYTES => serde_json::from_str(text).map_err(|error| error.to_string()),
            bytes => Err(format!("it has {bytes} bytes")),
        };
        annotations.record.map(read).transpose().map_err(Invalid::Record)
    }

    /// The user's own text: the recorded one, or where somebody edited ours, theirs without our entries.
    fn own(&self, weights: Option<&str>) -> Result<Option<String>, Invalid> {
        match weights {
            None => Ok(None),
            Some(text) if text == self.written => Ok(self.original.as_deref().map(str::to_owned)),
            Some(text) => strip::strip(text, self.original.as_deref(), &self.zeros),
        }
    }
}

/// The ordinals that are ours now, as the record has it.
///
/// # Errors
/// [`Invalid::Record`].
pub fn zeros(annotations: &Annotations<'_>) -> Result<Zeros, Invalid> {
    let record = Record::read(annotations)?;
    Ok(record.map(|record| record.zeros.into_owned()).unwrap_or_default())
}

/// What to write so that exactly the `wanted` ordinals are ours, at weight 0 on each of `ports`, and all
/// others have the weight that the user's own annotation gives them. None: it is so already.
///
/// With no ordinal `wanted` everything is given back: what the user had, byte for byte. Where somebody
/// edited our text meanwhile, their text without our entries; an ordinal for which ours had displaced the
/// user's entry gets that weight again, unless the editor listed it. Where they removed it, nothing.
///
/// # Errors
/// Where the user's annotation or the record cannot be understood, or would grow too long. Never where no
/// ordinal is `wanted`: what cannot be understood then is left alone, and [`Change::left_alone`] says why.
pub fn with_zeros(
    annotations: &Annotations<'_>,
    ports: &[Port],
    wanted: &Zeros,
) -> Result<Option<Change>, Invalid> {
    let mut wanted = wanted.clone();
    wanted.retain(|_, ordinals| !ordinals.is_empty());
    if wanted.is_empty() {
        return Ok(annotations.record.map(|_| give_back(annotations)));
    }
    if ports.is_empty() {
        return Err(Invalid::NoPorts);
    }
    let original = own(annotations)?;
    let written = merge::merge(original.as_deref(), ports, &wanted)?;
    let record = members::text(Record {
        original: original.map(Cow::Owned),
        zeros: Cow::Owned(wanted),
        written: Cow::Borrowed(&written),
    });
    let bytes = written.len() + record.len();
    if bytes > MAX_BYTES {
        return Err(Invalid::NoRoom { bytes });
    }
    let is_so = Annotations { weights: Some(&written), record: Some(&record) } == *annotations;
    Ok((!is_so).then_some(Change {
        weights: Some(written),
        record: Some(record),
        left_alone: None,
    }))
}

fn give_back(annotations: &Annotations<'_>) -> Change {
    let (weights, left_alone) = match own(annotations) {
        Ok(own) => (own, None),
        Err(why) => (annotations.weights.map(str::to_owned), Some(why)),
    };
    Change { weights, record: None, left_alone }
}

/// The user's own text, without ours.
fn own(annotations: &Annotations<'_>) -> Result<Option<String>, Invalid> {
    match Record::read(annotations)? {
        Some(record) => record.own(annotations.weights),
        None => Ok(annotations.weights.map(str::to_owned)),
    }
}

/// The weight that the user's own annotation, without ours, gives a pod on a port: the one under which its
/// ordinal is listed there, else `defaultWeight`. None: it says nothing, and the CLB's default counts.
///
/// # Errors
/// Where the user's annotation or the record cannot be understood.
pub fn weight_of_user(
    annotations: &Annotations<'_>,
    set: &str,
    ordinal: u32,
    port: Port,
) -> Result<Option<u8>, Invalid> {
    let Some(text) = own(annotations)? else { return Ok(None) };
    let document = Document::parse(&text)?;
    let listed = document.group(&Key::from(port)).and_then(|group| group.weight(set, ordinal));
    Ok(listed.or(document.default_weight))
}
