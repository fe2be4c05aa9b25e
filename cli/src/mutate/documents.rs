//! Text -> objects: YAML of many documents, JSON, and lists.

use serde::Serialize;
use serde_json::{Map, Value};
use serde_saphyr::options;

/// An object, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The file, as it was given.
    pub file: String,
    /// Its document, from 1.
    pub document: usize,
    /// The object: has `apiVersion`, `kind` and `metadata`.
    pub object: Value,
}

/// Why a part of the input makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as it was given.
    pub file: String,
    /// Its document, from 1; none where the whole file cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<usize>,
    /// The line in the file, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.file)?;
        self.document.iter().try_for_each(|document| write!(out, ", document {document}"))?;
        self.line.iter().try_for_each(|line| write!(out, ", line {line}"))?;
        write!(out, ": {}", self.message)
    }
}

/// The objects of a file, and what in it makes no sense.
#[must_use]
pub fn documents(file: &str, bytes: &[u8]) -> (Vec<Found>, Vec<Problem>) {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    let problem =
        |document, line, message| Problem { file: file.to_owned(), document, line, message };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}'),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let message = "not a text in UTF-8: is it a manifest?".to_owned();
            return (found, vec![problem(None, Some(line), message)]);
        }
    };
    for (at, part) in parts(file, text).into_iter().enumerate() {
        let document = at + 1;
        let read = part.value.map_err(|(line, message)| {
            // A parser that knows no line says 0.
            (line.map(|line| part.line + line.saturating_sub(1)), message)
        });
        match read.and_then(|value| objects(value).map_err(|message| (Some(part.line), message))) {
            Ok(objects) => found.extend(objects.into_iter().map(|object| Found {
                file: file.to_owned(),
                document,
                object,
            })),
            Err((line, message)) => problems.push(problem(Some(document), line, message)),
        }
    }
    (found, problems)
}

/// A document as its parser read it; the error has the line in the part, from 1.
struct Part {
    /// The first line of the part in the file.
    line: usize,
    value: Result<Value, (Option<usize>, String)>,
}

fn parts(file: &str, text: &str) -> Vec<Part> {
    let looks_like_json = text.trim_start().starts_with(['{', '[']);
    let is_json = file.rsplit_once('.').is_some_and(|(_, extension)| extension == "json");
    if looks_like_json || is_json {
        let parts = json(text);
        // YAML has such brackets as well.
        if is_json || parts.iter().all(|part| part.value.is_ok()) {
            return parts;
        }
    }
    split(text)
        .into_iter()
        .filter(|(_, part)| !is_blank(part))
        .map(|(line, part)| Part { line, value: yaml(part) })
        .collect()
}

/// One value after the other, as kubectl takes them. After an error nobody knows where the next one begins.
fn json(text: &str) -> Vec<Part> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut parts = Vec::new();
    loop {
        let before = text.get(..values.byte_offset()).unwrap_or_default();
        let space = text.get(before.len()..).unwrap_or_default();
        let space = &space[..space.len() - space.trim_start().len()];
        let line = 1 + lines(before) + lines(space);
        match values.next() {
            None => return parts,
            Some(Ok(value)) => parts.push(Part { line, value: Ok(value) }),
            Some(Err(error)) => {
                // Its lines are those of the file.
                let at = error.line().saturating_sub(line) + 1;
                let message = format!("not JSON: {}", without_place(&error.to_string()));
                parts.push(Part { line, value: Err((Some(at), message)) });
                return parts;
            }
        }
    }
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

pub(super) fn without_place(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(before, _)| before)
}

/// The documents of YAML, each with its first line. A line that begins with `---` begins a document, also
/// inside of a block of text: such a block is indented.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut first_line) = (0, 1);
    let mut offset = 0;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_marker && offset > start {
            let before = text.get(start..offset).unwrap_or_default();
            // Directives belong to the document that follows.
            let is_head = before.contains('%')
                && before
                    .lines()
                    .all(|line| line.starts_with(['%', '#']) || line.trim().is_empty());
            if !is_head {
                parts.push((first_line, before));
                (start, first_line) = (offset, at + 1);
            }
        }
        offset += line.len();
    }
    parts.push((first_line, text.get(start..).unwrap_or_default()));
    parts
}

/// Nothing but markers and comments.
fn is_blank(part: &str) -> bool {
    part.lines().all(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        line.is_empty() || line == "..." || line.starts_with('#')
    })
}

fn yaml(text: &str) -> Result<Value, (Option<usize>, String)> {
    // Booleans and octal numbers are those of YAML 1.1, as kubectl reads them.
    let options = options! { with_snippet: false, legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().and_then(|place| usize::try_from(place.line()).ok());
        let message = error.without_snippet().to_string();
        // Its lines are those of the document, ours those of the file.
        let message = without_place(message.lines().next().unwrap_or_default());
        // Advice for programmers.
        let message = message.split_once(", set Dup").map_or(message, |(before, _)| before);
        (line.filter(|line| *line > 0), format!("not YAML: {message}"))
    })
}

/// The objects of a document: itself, or the items of a list.
fn objects(value: Value) -> Result<Vec<Value>, String> {
    let mut object = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Object(object) => object,
        other => return Err(format!("not an object of Kubernetes, but {}", kind_of(&other))),
    };
    let kind = word(&object, "kind")?;
    let version = word(&object, "apiVersion")?;
    if let (Some(single), Some(items)) = (kind.strip_suffix("List"), object.get_mut("items")) {
        let Value::Array(items) = items.take() else {
            return Err("items: not a list".to_owned());
        };
        let item = |(at, item): (usize, Value)| {
            let Value::Object(mut item) = item else {
                return Err(format!("items[{at}]: not an object of Kubernetes"));
            };
            // Items of a PodList say neither.
            if !single.is_empty() {
                item.entry("kind").or_insert_with(|| single.into());
                item.entry("apiVersion").or_insert_with(|| version.clone().into());
            }
            objects(Value::Object(item)).map_err(|message| format!("items[{at}]: {message}"))
        };
        let lists: Result<Vec<Vec<Value>>, String> =
            items.into_iter().enumerate().map(item).collect();
        return Ok(lists?.into_iter().flatten().collect());
    }
    let metadata = object.entry("metadata").or_insert(Value::Null);
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    Ok(vec![Value::Object(object)])
}

fn word(object: &Map<String, Value>, member: &str) -> Result<String, String> {
    match object.get(member) {
        Some(Value::String(word)) if !word.is_empty() => Ok(word.clone()),
        None | Some(Value::Null | Value::String(_)) => Err(format!("{member} is missing")),
        Some(other) => Err(format!("{member}: expected a string, got {}", kind_of(other))),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
