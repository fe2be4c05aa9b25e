//! `--watch`: goes on until Ctrl-C. A picture that is drawn anew on a terminal, a line per change elsewhere.

use std::io::{self, Write as _};
use std::time::Duration;

use anstream::adapter::strip_str;
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _, pending};
use jiff::Timestamp;
use kube::Client;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::changes::changes;
use super::details::{self, Read};
use super::document::Status;
use super::gather::{Ear, Scope, listen, whole};
use super::text;
use super::view::{self, Question};
use super::world::World;
use crate::common::failure::{Exit, Failure};
use crate::common::screen::{Format, Screen};
use crate::common::words::clock;

/// Between two looks at what was heard: twice a second is as fast as anybody reads.
const LOOK: Duration = Duration::from_millis(500);
/// Between two questions to the controller for connections.
const ASK: Duration = Duration::from_secs(2);
/// The longest that one reading of details may take; what has not come by then is asked for again.
const READ: Duration = Duration::from_secs(5);

/// What was read besides, and whether the cluster answers.
struct Told {
    read: Option<Read>,
    /// Why it does not answer, where it was tried.
    away: Option<Option<String>>,
}

/// Follows.
///
/// # Errors
/// The first reading fails, or standard output cannot be written. Later failures are shown.
pub(super) async fn follow(
    client: Client,
    scope: Scope,
    question: Question,
    screen: Screen,
) -> Result<Exit, Failure> {
    let mut world = World::default();
    let mut ear = listen(&client, &scope, &mut world, true).await?;
    whole(&mut ear, &mut world).await?;
    let asks = details::is_anything_held(&world);
    world.learn(details::read(client.clone(), details::wanted(&world), asks, READ).await);
    let output = Output::new(screen);
    Follower { client, scope, question, world, ear, output, doubts: false, asked: Instant::now() }
        .run()
        .await
}

struct Follower {
    client: Client,
    scope: Scope,
    question: Question,
    world: World,
    ear: Ear,
    output: Output,
    /// A connection failed: it is to be found out whether the cluster answers.
    doubts: bool,
    /// When the controller was asked last.
    asked: Instant,
}

impl Follower {
    async fn run(mut self) -> Result<Exit, Failure> {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut errand: Option<BoxFuture<'static, Told>> = None;
        let mut is_new = true;
        loop {
            let told = async {
                match errand.as_mut() {
                    Some(errand) => errand.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                said = self.ear.next() => {
                    let Some(said) = said else {
                        return Err(Failure::refused("every watch has ended"));
                    };
                    let failed = said.trouble().is_some_and(|one| one.failure.exit == Exit::Unreachable);
                    // Of a connection that broke, the watch tells again; whether the cluster is away is
                    // one question for all of them.
                    if failed { self.doubts = true } else { self.world.hear(said) }
                    is_new = true;
                }
                told = told => {
                    errand = None;
                    is_new = true;
                    self.hear(told);
                }
                _ = looks.tick() => {
                    if errand.is_none() {
                        errand = self.errand();
                    }
                    if is_new || self.output.has_clocks() {
                        is_new = false;
                        let status = view::status(&self.world, &self.question, Timestamp::now());
                        self.output.show(&status)?;
                    }
                }
            }
        }
    }

    /// What is to be read now, where anything is.
    fn errand(&mut self) -> Option<BoxFuture<'static, Told>> {
        if self.doubts {
            self.doubts = false;
            let probe = details::probe(self.client.clone(), self.scope.namespace.clone());
            return Some(probe.map(|away| Told { read: None, away: Some(away) }).boxed());
        }
        let wanted = details::wanted(&self.world);
        let asks = self.asked.elapsed() >= ASK && details::is_anything_held(&self.world);
        if wanted.is_empty() && !asks {
            return None;
        }
        if asks {
            self.asked = Instant::now();
        }
        let read = details::read(self.client.clone(), wanted, asks, READ);
        Some(read.map(|read| Told { read: Some(read), away: None }).boxed())
    }

    fn hear(&mut self, told: Told) {
        if let Some(read) = told.read {
            self.doubts |= read.is_silent();
            self.world.learn(read);
        }
        if let Some(said) = told.away {
            self.world.away = away(self.world.away.take(), said, Timestamp::now());
            self.doubts |= self.world.away.is_some();
        }
    }
}

/// Since when the cluster does not answer, and what it said last. `said` is what a try found out.
fn away(
    before: Option<(Timestamp, String)>,
    said: Option<String>,
    now: Timestamp,
) -> Option<(Timestamp, String)> {
    said.map(|said| (before.map_or(now, |(since, _)| since), said))
}

/// Where it is shown, and what stands there.
struct Output {
    screen: Screen,
    is_drawn: bool,
    shown: Status,
    /// Lines of the picture that stands there, and the size of the terminal then.
    lines: usize,
    size: Option<(usize, usize)>,
}

impl Output {
    fn new(screen: Screen) -> Self {
        let is_text = matches!(screen.format, Format::Table | Format::Wide);
        // A dumb terminal cannot go back to where a picture began.
        let is_dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb");
        let is_drawn = is_text && screen.is_terminal() && screen.size().is_some() && !is_dumb;
        Self { screen, is_drawn, shown: Status::default(), lines: 0, size: None }
    }

    /// Whether what is shown changes with the time alone.
    const fn has_clocks(&self) -> bool {
        self.is_drawn
    }

    fn show(&mut self, status: &Status) -> Result<(), Failure> {
        if self.is_drawn {
            return Ok(self.draw(status)?);
        }
        let still = status.still();
        if still == self.shown {
            return Ok(());
        }
        let text = match self.screen.format {
            Format::Table | Format::Wide => {
                let at = clock(status.time);
                changes(&self.shown, &still).iter().map(|line| format!("{at} {line}\n")).collect()
            }
            Format::Json => {
                let text = serde_json::to_string(status).map_err(io::Error::other)?;
                format!("{text}\n")
            }
            Format::Yaml => {
                let text = serde_saphyr::to_string(status).map_err(io::Error::other)?;
                format!("---\n{text}")
            }
        };
        self.shown = still;
        self.screen.print(&text)
    }

    /// Draws over the picture that stands there: no line is empty in between, so nothing flickers, and
    /// what was on the terminal before stays above.
    fn draw(&mut self, status: &Status) -> io::Result<()> {
        let size = self.screen.size();
        let (_, rows) = size.unwrap_or((80, 24));
        // The cursor stands below the last line.
        let rows = rows.saturating_sub(1).max(3);
        let lines = text::frame(status, self.screen.layout(), rows);
        let mut out = String::new();
        out.push_str(&back(self.lines, self.size, size));
        for line in &lines {
            // Cleared before it is written: after a line that fills the terminal, its last character
            // would go.
            out.push_str("\x1b[2K");
            if self.screen.is_coloured() {
                out.push_str(line);
            } else {
                out.push_str(&strip_str(line).to_string());
            }
            out.push_str("\r\n");
        }
        out.push_str("\x1b[J");
        (self.lines, self.size) = (lines.len(), size);
        let mut stdout = io::stdout().lock();
        stdout.write_all(out.as_bytes())?;
        stdout.flush()
    }
}

/// What brings the cursor to where a picture begins: `lines` stand there, drawn when the terminal had the size
/// `before`.
fn back(lines: usize, before: Option<(usize, usize)>, size: Option<(usize, usize)>) -> String {
    if before.is_some() && before != size {
        // Lines may have been broken anew: only a clean screen is sure.
        "\x1b[2J\x1b[H".to_owned()
    } else if lines > 0 {
        format!("\x1b[{lines}A\r")
    } else {
        // The first picture: the cursor is hidden.
        "\x1b[?25l".to_owned()
    }
}

impl Drop for Output {
    /// The cursor comes back however this ends: Ctrl-C drops what runs.
    fn drop(&mut self) {
        if self.is_drawn && self.lines > 0 {
            let mut stdout = io::stdout().lock();
            drop(stdout.write_all(b"\x1b[?25h"));
            drop(stdout.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_drawn_over_the_one_that_stands_there() {
        let size = Some((80, 24));
        let table = [
            ("the first", 0, None, size, "\x1b[?25l"),
            ("the next", 7, size, size, "\x1b[7A\r"),
            ("the terminal has another size", 7, size, Some((60, 24)), "\x1b[2J\x1b[H"),
            ("the size is not known any more", 7, size, None, "\x1b[2J\x1b[H"),
            ("the size was never known", 7, None, None, "\x1b[7A\r"),
        ];
        for (what, lines, before, size, expected) in table {
            assert_eq!(back(lines, before, size), expected, "{what}");
        }
    }

    #[test]
    fn a_cluster_is_away_since_the_first_try_that_failed() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let refused = || Some("refused".to_owned());
        let first = away(None, refused(), at(1));
        assert_eq!(first, Some((at(1), "refused".to_owned())));
        let second = away(first, Some("no answer".to_owned()), at(9));
        assert_eq!(second, Some((at(1), "no answer".to_owned())));
        assert_eq!(away(second, None, at(10)), None, "it is back");
        assert_eq!(away(None, refused(), at(11)), Some((at(11), "refused".to_owned())));
    }
}
