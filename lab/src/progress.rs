//! What a person sees while something takes long: bars and spinners on a
//! terminal, plain lines elsewhere. Everything goes to standard error, because
//! standard output belongs to results.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where steps are shown. Cheap to clone; clones share the terminal.
#[derive(Clone, Debug)]
pub struct Progress {
    bars: MultiProgress,
    terminal: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Bars where standard error is a terminal, plain lines where it is not.
    #[must_use]
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target =
            if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), terminal }
    }

    /// Whether bars are drawn, so that a caller may draw some of its own on [`Progress::bars`].
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The terminal that the bars share.
    #[must_use]
    pub fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// One line that stays, above the bars.
    pub fn line(&self, text: impl AsRef<str>) {
        if self.terminal {
            // A line that cannot be written has nobody to read it.
            drop(self.bars.println(text.as_ref()));
        } else {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Begins a step of unknown length. It ends with [`Step::done`], or without
    /// a word when it is dropped (its error is the caller's to report).
    #[must_use]
    pub fn step(&self, what: impl Into<String>) -> Step {
        self.begin(what.into(), None)
    }

    /// Begins a step of `total` parts, which [`Step::advance`] counts.
    #[must_use]
    pub fn counted_step(&self, what: impl Into<String>, total: u64) -> Step {
        self.begin(what.into(), Some(total))
    }

    fn begin(&self, what: String, total: Option<u64>) -> Step {
        let (bar, template) = match total {
            Some(total) => {
                (ProgressBar::new(total), "{spinner} {prefix} {wide_bar} {pos}/{len} {msg}")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {prefix} {elapsed} {wide_msg}"),
        };
        let bar = self.bars.add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.clone());
        if self.terminal {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Step {
            progress: self.clone(),
            bar,
            what,
            started: Instant::now(),
            last_line: Instant::now(),
        }
    }
}

/// One step that is under way.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    bar: ProgressBar,
    what: String,
    started: Instant,
    last_line: Instant,
}

impl Step {
    /// Says what the step does just now. Off a terminal one line every 15 s, so
    /// that a log shows life without being filled.
    pub fn message(&mut self, text: impl AsRef<str>) {
        self.bar.set_message(text.as_ref().to_owned());
        if !self.progress.terminal && self.last_line.elapsed() >= Duration::from_secs(15) {
            self.last_line = Instant::now();
            self.progress.line(format!("{}: {}", self.what, text.as_ref()));
        }
    }

    /// Counts `parts` of a [`Progress::counted_step`] as done.
    pub fn advance(&mut self, parts: u64) {
        self.bar.inc(parts);
    }

    /// Ends the step with a line that stays: what, the seconds it took, and `result`.
    pub fn done(self, result: impl AsRef<str>) {
        let seconds = self.started.elapsed().as_secs_f64();
        let result = result.as_ref();
        let separator = if result.is_empty() { "" } else { ": " };
        self.progress.line(format!("{} ({seconds:.1} s){separator}{result}", self.what));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
