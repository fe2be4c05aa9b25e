//! The value of `lb-rs-weight` as Tencent documents it (457/51258), with whatever else stands in it.

use std::collections::BTreeSet;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::members::{Members, text};
use super::{Invalid, MAX_BYTES, Port};

/// The weight of CLB backends of which nothing is said (`ModifyTargetWeight`, document 214/30677).
const CLB_DEFAULT_WEIGHT: u8 = 10;
/// CLB's highest weight.
const MAX_WEIGHT: u8 = 100;

/// The whole value.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    members: Members,
    pub(super) default_weight: Option<u8>,
    pub(super) groups: Vec<Group>,
}

/// The weights at one port of the Service.
#[derive(Clone, Debug)]
pub(super) struct Group {
    members: Members,
    pub(super) key: Key,
    /// The key says nothing but protocol and port.
    bare_key: bool,
    pub(super) sets: Vec<Set>,
}

/// Which port a group is about. The protocol is in upper case, and may be one that no Service has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    proto: String,
    port: u16,
}

/// The weights of one StatefulSet's pods.
#[derive(Clone, Debug)]
pub(super) struct Set {
    members: Members,
    pub(super) name: String,
    pub(super) entries: Vec<Entry>,
}

/// One weight, and the ordinals that have it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    members: Members,
    pub(super) weight: u8,
    pub(super) ordinals: Vec<u32>,
}

impl From<Port> for Key {
    fn from(port: Port) -> Self {
        Self { proto: port.protocol.as_str().to_owned(), port: port.port }
    }
}

impl Document {
    /// What we start from where the user has no annotation. All of Tencent's samples say `defaultWeight`,
    /// so ours does too; it is what a CLB takes by itself.
    pub(super) fn ours() -> Self {
        let mut members = Members::default();
        members.set("defaultWeight", CLB_DEFAULT_WEIGHT);
        Self { members, default_weight: Some(CLB_DEFAULT_WEIGHT), groups: Vec::new() }
    }

    /// Whether it says no more than [`Self::ours`].
    pub(super) fn is_ours(&self) -> bool {
        self.groups.is_empty()
            && self.members.only(&["defaultWeight"])
            && self.default_weight.is_none_or(|weight| weight == CLB_DEFAULT_WEIGHT)
    }

    pub(super) fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_BYTES {
            return Err(Invalid::TooLong { bytes: text.len() });
        }
        // The whole text is looked through here: whatever fails further in is of the wrong type.
        let members: Members =
            serde_json::from_str(text).map_err(|error| Invalid::NotJson(error.to_string()))?;
        Self::read(members).map_err(Invalid::Content)
    }

    fn read(members: Members) -> Result<Self, String> {
        let default_weight = members
            .get("defaultWeight")?
            .map(|text| weight(text).map_err(|problem| format!(".defaultWeight{problem}")))
            .transpose()?;
        let groups = elements(&members, "groups", Group::read)?;
        let mut keys = BTreeSet::new();
        for (at, group) in groups.iter().enumerate() {
            if !keys.insert(&group.key) {
                let Key { proto, port } = &group.key;
                return Err(format!(".groups[{at}].key: {proto} {port} has a group already"));
            }
        }
        Ok(Self { members, default_weight, groups })
    }

    pub(super) fn text(&self) -> String {
        text(self)
    }

    /// Without the list that is empty, where there was none before.
    pub(super) fn forget_empty(&mut self, before: Option<&Self>) {
        if self.groups.is_empty() {
            self.members.remove_new("groups", before.map(|before| &before.members));
        }
    }

    pub(super) fn group(&self, key: &Key) -> Option<&Group> {
        self.groups.iter().find(|group| group.key == *key)
    }

    /// The group of that port, at the end where it is new.
    pub(super) fn group_mut(&mut self, key: Key) -> &mut Group {
        let found = self.groups.iter().position(|group| group.key == key);
        let at = found.unwrap_or(self.groups.len());
        if found.is_none() {
            self.groups.push(Group::new(key));
        }
        &mut self.groups[at]
    }
}

impl Group {
    fn new(key: Key) -> Self {
        #[derive(Serialize)]
        struct Text<'a> {
            proto: &'a str,
            port: u16,
        }
        let mut members = Members::default();
        members.set("key", Text { proto: &key.proto, port: key.port });
        Self { members, key, bare_key: true, sets: Vec::new() }
    }

    fn read(members: Members) -> Result<Self, String> {
        let key = members.get("key")?.ok_or(".key: is missing")?;
        let key = object(key).map_err(|problem| format!(".key{problem}"))?;
        let proto = string(&key, "proto").map_err(|problem| format!(".key{problem}"))?;
        let port = key
            .get("port")
            .and_then(|text| text.ok_or_else(|| ".port: is missing".to_owned()))
            .and_then(|text| number(text).ok_or_else(|| ".port: must be 0 to 65535".to_owned()))
            .map_err(|problem| format!(".key{problem}"))?;
        let sets = elements(&members, "statefulSets", Set::read)?;
        Ok(Self {
            bare_key: key.only(&["proto", "port"]),
            key: Key { proto: proto.to_ascii_uppercase(), port },
            sets,
            members,
        })
    }

    /// Says nothing but which port it is about.
    pub(super) fn is_bare(&self) -> bool {
        self.sets.is_empty() && self.bare_key && self.members.only(&["key", "statefulSets"])
    }

    /// Without the list that is empty, where there was none before.
    pub(super) fn forget_empty(&mut self, before: Option<&Self>) {
        if self.sets.is_empty() {
            self.members.remove_new("statefulSets", before.map(|before| &before.members));
        }
    }

    /// The weight under which an ordinal is listed: of several, the last, as a reader has it that goes
    /// through the lists and sets one after another.
    pub(super) fn weight(&self, set: &str, ordinal: u32) -> Option<u8> {
        self.listings(set, ordinal).last()
    }

    /// Every weight under which an ordinal is listed.
    pub(super) fn listings(&self, set: &str, ordinal: u32) -> impl Iterator<Item = u8> {
        let sets = self.sets.iter().filter(move |candidate| candidate.name == set);
        sets.flat_map(|set| &set.entries).flat_map(move |entry| {
            entry.ordinals.iter().filter(move |&&of| of == ordinal).map(|_| entry.weight)
        })
    }

    /// The last set of that name, at the end where it is new: what is written there is read last.
    pub(super) fn set_mut(&mut self, name: &str) -> &mut Set {
        let found = self.sets.iter().rposition(|set| set.name == name);
        let at = found.unwrap_or(self.sets.len());
        if found.is_none() {
            self.sets.push(Set::new(name));
        }
        &mut self.sets[at]
    }
}

impl Set {
    fn new(name: &str) -> Self {
        let mut members = Members::default();
        members.set("name", name);
        Self { members, name: name.to_owned(), entries: Vec::new() }
    }

    fn read(members: Members) -> Result<Self, String> {
        let name = string(&members, "name")?;
        let entries = elements(&members, "weights", Entry::read)?;
        Ok(Self { members, name, entries })
    }

    /// Says nothing but which StatefulSet it is about.
    pub(super) fn is_bare(&self) -> bool {
        self.entries.is_empty() && self.members.only(&["name", "weights"])
    }

    /// Without the list that is empty, where there was none before.
    pub(super) fn forget_empty(&mut self, before: Option<&Self>) {
        if self.entries.is_empty() {
            self.members.remove_new("weights", before.map(|before| &before.members));
        }
    }

    /// Takes these ordinals out of the lists of weights that `of` names. Entries that say nothing
    /// afterwards go. Returns what was taken.
    pub(super) fn take(&mut self, ordinals: &BTreeSet<u32>, of: fn(u8) -> bool) -> BTreeSet<u32> {
        let mut taken = BTreeSet::new();
        self.entries.retain_mut(|entry| {
            let before = entry.ordinals.len();
            if of(entry.weight) {
                let ours = entry.ordinals.extract_if(.., |ordinal| ordinals.contains(ordinal));
                taken.extend(ours);
            }
            entry.ordinals.len() == before || !entry.is_bare()
        });
        taken
    }
}

impl Entry {
    pub(super) fn new(weight: u8, ordinals: Vec<u32>) -> Self {
        let mut members = Members::default();
        members.set("weight", weight);
        Self { members, weight, ordinals }
    }

    fn read(members: Members) -> Result<Self, String> {
        let weight = members
            .get("weight")?
            .ok_or_else(|| ": is missing".to_owned())
            .and_then(weight)
            .map_err(|problem| format!(".weight{problem}"))?;
        let mut ordinals = Vec::new();
        for (at, text) in members.list("podIndexes")?.unwrap_or_default().iter().enumerate() {
            let ordinal = number(text.get());
            ordinals.push(ordinal.ok_or_else(|| format!(".podIndexes[{at}]: must be an ordinal"))?);
        }
        Ok(Self { members, weight, ordinals })
    }

    fn is_bare(&self) -> bool {
        self.ordinals.is_empty() && self.members.only(&["weight", "podIndexes"])
    }
}

/// The elements of a member, where a problem says which of them has it.
fn elements<T>(
    members: &Members,
    name: &str,
    read: fn(Members) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let list = members.list(name)?.unwrap_or_default();
    let element = |(at, text): (usize, Box<RawValue>)| {
        object(text.get()).and_then(read).map_err(|problem| format!(".{name}[{at}]{problem}"))
    };
    list.into_iter().enumerate().map(element).collect()
}

fn object(text: &str) -> Result<Members, String> {
    serde_json::from_str(text).map_err(|_| ": must be an object".to_owned())
}

fn string(members: &Members, name: &str) -> Result<String, String> {
    let text = members.get(name)?.ok_or_else(|| format!(".{name}: is missing"))?;
    serde_json::from_str(text).map_err(|_| format!(".{name}: must be a string"))
}

fn number<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn weight(text: &str) -> Result<u8, String> {
    number(text)
        .filter(|weight| *weight <= MAX_WEIGHT)
        .ok_or_else(|| format!(": must be a whole number from 0 to {MAX_WEIGHT}"))
}

/// The members in their order, with the list as it is now.
fn with_list<S: Serializer, T: Serialize>(
    members: &Members,
    name: &str,
    list: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut members = members.clone();
    members.set_list(name, list);
    members.serialize(serializer)
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        with_list(&self.members, "groups", &self.groups, serializer)
    }
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        with_list(&self.members, "statefulSets", &self.sets, serializer)
    }
}

impl Serialize for Set {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        with_list(&self.members, "weights", &self.entries, serializer)
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        with_list(&self.members, "podIndexes", &self.ordinals, serializer)
    }
}
