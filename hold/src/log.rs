//! Two lines into the container's own log.
//!
//! What an exec'd preStop prints is thrown away unless it fails, so the line goes to the standard
//! error of the container's first process, where `kubectl logs` shows it. Only if that is a pipe, and
//! without ever waiting: a line is lost rather than that it harms the application.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};

use rustix::fs::OFlags;

const TARGET: &str = "/proc/1/fd/2";
/// A pipe takes up to this many bytes whole, never mixed with the application's own.
const MAX_LINE_BYTES: usize = 1024;

/// Where the lines go.
#[derive(Debug)]
pub(crate) struct Log(Option<File>);

impl Log {
    /// Opens the container's standard error, if it can be and it is safe.
    pub(crate) fn open() -> Self {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::APPEND).bits();
        // Looked at before it is opened: to open a file is already too much for some.
        let is_pipe = std::fs::metadata(TARGET).is_ok_and(|meta| meta.file_type().is_fifo());
        let file = is_pipe
            .then(|| OpenOptions::new().append(true).custom_flags(flags as i32).open(TARGET).ok());
        Self(file.flatten())
    }

    /// Writes a line, or loses it.
    pub(crate) fn line(&self, text: &str) {
        let Some(mut file) = self.0.as_ref() else { return };
        let mut line = format!("lameduck-hold: {text}").replace('\n', " ");
        line.truncate(line.floor_char_boundary(MAX_LINE_BYTES));
        line.push('\n');
        // One write: a pipe takes a line this short whole, or not at all.
        file.write_all(line.as_bytes()).ok();
    }
}
