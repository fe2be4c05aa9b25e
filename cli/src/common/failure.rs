//! How a command ends that could not do what it was asked for: one line for a person, and an exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;

use kube::Error;
use lameduck_core::text::chain;

/// The exit codes. They are part of the command's contract: scripts look at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is done, and nothing is wrong.
    Done,
    /// It was refused, or `check` found an error.
    Refused,
    /// The arguments or the input make no sense.
    Usage,
    /// The cluster could not be asked.
    Unreachable,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// Every one, with what it means: for the help texts.
    pub const ALL: [(Self, &str); 5] = [
        (Self::Done, "done, and nothing is wrong"),
        (
            Self::Refused,
            "refused or not found; `check` found an error, or `mutate --exit-code` a change",
        ),
        (Self::Usage, "the arguments, or the input, make no sense"),
        (Self::Unreachable, "the cluster could not be asked"),
        (Self::Interrupted, "Ctrl-C"),
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            // 128 + SIGINT, as shells have it.
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What was tried, on what, and why it failed: one line without a full stop.
    pub message: String,
    /// What to do about it, where there is something.
    pub cure: Option<String>,
}

impl Failure {
    /// A failure without a cure.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: one_line(&message.into()), cure: None }
    }

    /// The command was refused, or there is no such thing.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// The arguments or the input make no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// With what to do about it.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// With the object that it is about before it.
    #[must_use]
    pub fn about(mut self, object: &str) -> Self {
        self.message = format!("{object}: {}", self.message);
        self
    }

    /// A call to the API server that failed. `what` says what was tried, as in `pods cannot be listed`.
    #[must_use]
    pub fn of_call(what: &str, error: &Error) -> Self {
        match error {
            Error::Api(status) => Self::of_status(what, status),
            Error::SerdeError(error) => Self::refused(format!(
                "{what}: the answer cannot be read: {error}"
            ))
            .cure("is this command as new as the installation? kubectl lameduck check says both"),
            _ => Self::new(Exit::Unreachable, format!("{what}: {}", chain(error)))
                .cure("check the cluster's address and your credentials: kubectl cluster-info"),
        }
    }

    fn of_status(what: &str, status: &kube::core::Status) -> Self {
        let said = format!("{what}: {}", status.message);
        match status.code {
            401 => Self::new(Exit::Unreachable, said)
                .cure("your credentials are not accepted: log in again, or choose another --context"),
            403 => Self::refused(said).cure("ask for the right that is named"),
            404 if is_missing_kind(status) => Self::refused(said).cure(
                "the cluster has no such kind: Lameduck is not installed there, or it is an older one",
            ),
            429 | 500..=599 => Self::new(Exit::Unreachable, said).cure("try again"),
            _ => Self::refused(said),
        }
    }
}

/// Whether an answer says that there is no such kind of object, and not that there is no such object: the
/// API server says so in words alone (`page not found`), and without details about an object.
#[must_use]
pub fn is_missing_kind(status: &kube::core::Status) -> bool {
    let names_an_object = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
    status.code == 404 && !names_an_object
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "error: {}", self.message)?;
        self.cure.iter().try_for_each(|cure| write!(out, "\n  {cure}"))
    }
}

impl From<io::Error> for Failure {
    /// Only writing to standard output ends here. Who closed the pipe has what it wanted.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Done, ""),
            _ => Self::refused(format!("the output cannot be written: {error}")),
        }
    }
}

/// What others say may have line ends and terminal codes in it.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split(char::is_control).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}
