//! Source: a mounted Secret. It is read at each call: small files from memory, and a changed key is in
//! use at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tracing::warn;

use super::{CredentialSource, Credentials, Problem, trimmed};

const ID: &str = "secretId";
const KEY: &str = "secretKey";
const TOKEN: &str = "token";

/// A session token has some kilobytes at most.
const FILE_MAX_BYTES: u64 = 64 << 10;
/// Reads until two are equal: the kubelet may swap the files in between.
const READS_MAX: u32 = 4;

/// What stands in the three files.
type Content = [Option<String>; 3];

#[derive(Default)]
pub(super) struct Files {
    folder: Option<PathBuf>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    /// What was read last, for the time that a read fails.
    credentials: Option<Arc<Credentials>>,
    /// The failure that is in the log: each is said once, not at each call.
    said: Option<String>,
}

impl Files {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, last: Mutex::default() }
    }

    pub(super) async fn credentials(&self) -> Result<Arc<Credentials>, Problem> {
        let read = self.read().await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(credentials) => {
                let credentials = match last.credentials.take() {
                    Some(last) if last.is_same(&credentials) => last,
                    _ => Arc::new(credentials),
                };
                *last = Last { credentials: Some(Arc::clone(&credentials)), said: None };
                Ok(credentials)
            }
            Err(Problem::Failed { detail, retry_helps }) => {
                let Some(credentials) = last.credentials.clone() else {
                    return Err(Problem::Failed { detail, retry_helps });
                };
                if last.said.as_ref() != Some(&detail) {
                    warn!(detail, "Mounted credentials cannot be read; the last ones stay in use.");
                    last.said = Some(detail);
                }
                Ok(credentials)
            }
            Err(withdrawn @ Problem::NotApplicable(_)) => {
                *last = Last::default();
                Err(withdrawn)
            }
        }
    }

    async fn read(&self) -> Result<Credentials, Problem> {
        let Some(folder) = &self.folder else {
            return Err(Problem::NotApplicable("no folder is configured".to_owned()));
        };
        let [id, key, token] = settled(folder).await?;
        let missing = |there: &str, missing: &str| {
            Problem::passing(format!("{} has {there}, but no {missing}", folder.display()))
        };
        match (id, key) {
            (Some(id), Some(key)) => {
                Credentials::new(CredentialSource::Files, id, key, token, None)
            }
            (Some(_), None) => Err(missing(ID, KEY)),
            (None, Some(_)) => Err(missing(KEY, ID)),
            (None, None) => Err(Problem::NotApplicable(format!(
                "{} has neither {ID} nor {KEY}",
                folder.display()
            ))),
        }
    }
}

/// The files' content, read twice the same.
async fn settled(folder: &Path) -> Result<Content, Problem> {
    let mut last = contents(folder).await?;
    for _ in 1..READS_MAX {
        let again = contents(folder).await?;
        if again == last {
            return Ok(again);
        }
        last = again;
    }
    Err(Problem::passing(format!("the files in {} change all the time", folder.display())))
}

async fn contents(folder: &Path) -> Result<Content, Problem> {
    let mut contents = Content::default();
    for (slot, name) in contents.iter_mut().zip([ID, KEY, TOKEN]) {
        *slot = match read_small(&folder.join(name)).await {
            Ok(text) => trimmed(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let path = folder.join(name);
                return Err(Problem::passing(format!("cannot read {}: {error}", path.display())));
            }
        };
    }
    Ok(contents)
}

/// A small text file.
pub(super) async fn read_small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text).await?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(io::Error::other(format!("larger than {FILE_MAX_BYTES} bytes")));
    }
    Ok(text)
}
