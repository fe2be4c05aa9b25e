//! Where a command's output goes: its format, the terminal's width, and colours.

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::failure::{Exit, Failure};

/// The format of what a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For people, with more columns
    Wide,
    /// For programs: documented fields that stay
    Json,
    /// The same as YAML
    Yaml,
}

/// The format of a command that reads.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct OutputArgs {
    /// The format
    #[arg(long, short = 'o', value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

impl OutputArgs {
    /// The screen that these flags ask for.
    #[must_use]
    pub fn screen(self, colours: Colours) -> Screen {
        Screen::new(self.output, colours)
    }
}

/// Whether output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colours {
    /// On a terminal, unless $NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How text is laid out. Pure: what is drawn depends on nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Columns of the terminal; none where a program reads, and nothing is cut.
    pub columns: Option<usize>,
    /// More columns are asked for.
    pub wide: bool,
}

/// Says something on standard error. Where nobody can hear it, the exit code is all there is.
pub fn tell(text: &dyn std::fmt::Display) {
    drop(writeln!(anstream::stderr(), "{text}"));
}

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// The format.
    pub format: Format,
    choice: ColorChoice,
}

impl Screen {
    /// Output in this format.
    #[must_use]
    pub fn new(format: Format, colours: Colours) -> Self {
        let choice = match colours {
            Colours::Auto => AutoStream::choice(&io::stdout()),
            Colours::Always => ColorChoice::AlwaysAnsi,
            Colours::Never => ColorChoice::Never,
        };
        Self { format, choice }
    }

    /// Whether a person reads.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether colours are printed.
    #[must_use]
    pub fn is_coloured(&self) -> bool {
        self.choice != ColorChoice::Never
    }

    /// Columns and rows of the terminal; none where there is none.
    #[must_use]
    pub fn size(&self) -> Option<(usize, usize)> {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
        // A terminal that does not say has 0.
        (columns > 0).then_some((columns, rows))
    }

    /// The layout of text.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout {
            columns: self.size().map(|(columns, _)| columns),
            wide: self.format == Format::Wide,
        }
    }

    /// Prints `document`: as data, or as the text that `text` makes of it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn show<D: Serialize>(
        &self,
        document: &D,
        text: impl FnOnce(&D, Layout) -> String,
    ) -> Result<(), Failure> {
        let unprintable = |error: String| {
            Failure::new(Exit::Refused, format!("the answer cannot be printed: {error}"))
        };
        let text = match self.format {
            Format::Table | Format::Wide => text(document, self.layout()),
            Format::Json => {
                let mut text = serde_json::to_string_pretty(document)
                    .map_err(|error| unprintable(error.to_string()))?;
                text.push('\n');
                text
            }
            Format::Yaml => {
                serde_saphyr::to_string(document).map_err(|error| unprintable(error.to_string()))?
            }
        };
        self.print(&text)
    }

    /// Prints text that may have colours in it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = AutoStream::new(io::stdout().lock(), self.choice);
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }
}
