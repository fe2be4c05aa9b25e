//! The document as text for people. Pure.

use jiff::SignedDuration;

use super::document::{Ending, Phase, Status, Upgrade, Workload};
use crate::common::screen::Layout;
use crate::common::table::{Cell, Table, Tone, cut, indented};
use crate::common::words::{clock, count, duration};

/// Columns of a bar.
const BAR: usize = 12;

/// The text of a status that is printed once.
#[must_use]
pub fn text(status: &Status, layout: Layout) -> String {
    let text = Text { status, layout, is_live: false };
    join(&[text.workloads(), text.ending(), text.upgrades(), text.notes()])
}

/// One picture of a status that is followed, in at most `rows` lines: first what moves.
#[must_use]
pub fn frame(status: &Status, layout: Layout, rows: usize) -> Vec<String> {
    let text = Text { status, layout, is_live: true };
    let parts = join(&[text.notes(), text.upgrades(), text.ending(), text.workloads()]);
    let mut lines = vec![text.headline(), String::new()];
    lines.extend(parts.lines().map(str::to_owned));
    if lines.len() > rows {
        let hidden = lines.len() - rows.saturating_sub(1);
        lines.truncate(rows.saturating_sub(1));
        let more = cut(&format!("… {} more", count(hidden, "line")), layout.columns.unwrap_or(80));
        lines.push(Tone::Quiet.paint(&more));
    }
    lines
}

fn join(parts: &[String]) -> String {
    let parts: Vec<&str> =
        parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

/// `text` in one line, without what a terminal would take for a command: texts of objects come from anybody.
#[must_use]
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `████░░░░`: how much of the whole is done.
#[must_use]
pub fn bar(done: u64, whole: u64, columns: usize) -> String {
    let columns = u64::try_from(columns).unwrap_or(0);
    let full = (done.min(whole) * columns).checked_div(whole).unwrap_or(0);
    let repeat = |word: &str, times: u64| word.repeat(usize::try_from(times).unwrap_or(0));
    repeat("█", full) + &repeat("░", columns - full)
}

struct Text<'a> {
    status: &'a Status,
    layout: Layout,
    is_live: bool,
}

impl Text<'_> {
    fn headline(&self) -> String {
        let status = self.status;
        let scope = match &status.namespace {
            Some(namespace) => format!("namespace {namespace}"),
            None => "all namespaces".to_owned(),
        };
        let target = status.workload.as_ref().map(|target| format!("  {target}"));
        let ending = count(status.ending.len(), "pod");
        let line = format!(
            "{}  {ending} ending  {scope}{}",
            clock(status.time),
            target.unwrap_or_default(),
        );
        Tone::Strong.paint(&cut(&printable(&line), self.layout.columns.unwrap_or(usize::MAX)))
    }

    fn is_scoped(&self) -> bool {
        self.status.namespace.is_some()
    }

    /// A table whose rows begin with the namespace where there is more than one.
    /// The first `names` columns give way where the terminal is narrow.
    fn table(&self, heads: &[&'static str], names: usize) -> Table {
        let first: &[&'static str] = if self.is_scoped() { &[] } else { &["NAMESPACE"] };
        let elastic: Vec<usize> = (0..names + first.len()).collect();
        Table::new(&[first, heads].concat()).elastic(&elastic)
    }

    /// The first of the tables that the terminal is wide enough for; else the last one.
    fn fitting<const N: usize>(&self, tables: [Table; N]) -> String {
        let columns = self.layout.columns.unwrap_or(usize::MAX);
        let fits = |table: &&Table| table.least_width() <= columns;
        let table = tables.iter().find(fits).or(tables.last());
        table.map_or_else(String::new, |table| self.rendered(table))
    }

    fn row(&self, table: &mut Table, namespace: &str, cells: Vec<Cell>) {
        let first = (!self.is_scoped()).then(|| Cell::from(namespace));
        table.row(first.into_iter().chain(cells));
    }

    fn workloads(&self) -> String {
        let mut heads = vec!["WORKLOAD", "POLICY", "READY", "PROTECTED", "ENDING", "UPGRADE"];
        if self.layout.wide {
            heads.push("MODE");
        }
        let mut table = self.table(&heads, 2);
        for one in &self.status.workloads {
            self.row(&mut table, &one.namespace, self.workload(one));
            for why in &one.unprotected {
                let pods = count(why.pods as usize, "pod");
                let verb = if why.pods == 1 { "is" } else { "are" };
                table.note(
                    format!("{pods} {verb} not protected ({}): {}", why.reason, why.cure),
                    Tone::Notable,
                );
            }
        }
        self.rendered(&table)
    }

    fn workload(&self, one: &Workload) -> Vec<Cell> {
        let is_whole = one.protected >= one.pods || one.unprotected.is_empty();
        let tone = if is_whole { Tone::Plain } else { Tone::Notable };
        let ready = match (one.ready, one.desired) {
            (Some(ready), Some(desired)) => {
                let tone = if ready < desired { Tone::Notable } else { Tone::Plain };
                Cell::toned(format!("{ready}/{desired}"), tone)
            }
            _ => Cell::from("-"),
        };
        let upgrade = self.status.upgrades.iter().find(|upgrade| {
            one.kind == "statefulset"
                && upgrade.namespace == one.namespace
                && upgrade.stateful_set == one.name
        });
        let upgrade = upgrade.filter(|upgrade| !upgrade.is_past(self.status.time));
        let mut cells = vec![
            Cell::from(format!("{}/{}", one.kind, one.name)),
            Cell::from(one.policy.as_deref().unwrap_or("-")),
            ready,
            Cell::toned(format!("{}/{}", one.protected, one.pods), tone),
            Cell::toned(
                one.ending.to_string(),
                if one.ending > 0 { Tone::Strong } else { Tone::Quiet },
            ),
            upgrade.map_or(Cell::toned("-", Tone::Quiet), |upgrade| {
                Cell::toned(upgrade.phase.clone(), phase_tone(&upgrade.phase))
            }),
        ];
        if self.layout.wide {
            cells.push(Cell::from(one.mode.as_deref().unwrap_or("-")));
        }
        cells
    }

    fn ending(&self) -> String {
        // The reason is the first to go: the sentence below says the same.
        let tables = [(true, self.is_live), (false, self.is_live), (false, false)];
        self.fitting(tables.map(|(reason, bars)| self.ending_table(reason, bars)))
    }

    fn ending_table(&self, with_reason: bool, with_bars: bool) -> Table {
        let mut heads = vec!["POD", "HELD", "TRAFFIC", "CONNECTIONS", "GOES BY"];
        if self.layout.wide {
            heads.extend(["PHASE", "POLICY", "NODE", "DEADLINE", "KILLED AT", "UID"]);
        }
        let mut table = self.table(&heads, 1);
        for pod in &self.status.ending {
            let mut cells = vec![
                Cell::from(pod.pod.as_str()),
                Cell::from(held(pod)),
                traffic(pod, with_reason),
                Cell::from(connections(pod)),
                goes_by(pod, with_bars),
            ];
            if self.layout.wide {
                let clock_or_none = |at: Option<_>| at.map_or_else(|| "-".to_owned(), clock);
                cells.extend([
                    Cell::from(format!("{:?}", pod.phase)),
                    Cell::from(pod.policy.as_deref().unwrap_or("-")),
                    Cell::from(pod.node.as_deref().unwrap_or("-")),
                    Cell::from(clock_or_none(pod.deadline)),
                    Cell::from(clock_or_none(pod.killed_at)),
                    Cell::from(pod.uid.as_str()),
                ]);
            }
            self.row(&mut table, &pod.namespace, cells);
            table.note(pod.message.as_str(), Tone::Quiet);
        }
        table
    }

    fn upgrades(&self) -> String {
        self.fitting([self.is_live, false].map(|bars| self.upgrade_table(bars)))
    }

    fn upgrade_table(&self, with_bars: bool) -> Table {
        let mut heads = vec!["UPGRADE", "PHASE", "UPDATED", "OUT", "STEP", "SINCE"];
        if self.layout.wide {
            heads.extend(["REASON", "REVISION", "STARTED"]);
        }
        let mut table = self.table(&heads, 1);
        let is_named = self.status.workload.is_some();
        let shown = |one: &&Upgrade| is_named || !one.is_past(self.status.time);
        for one in self.status.upgrades.iter().filter(shown) {
            let updated = format!("{}/{}", one.updated, one.total);
            let updated = if with_bars {
                format!("{} {updated}", bar(one.updated.into(), one.total.into(), BAR))
            } else {
                updated
            };
            let mut first = vec![
                Cell::from(one.stateful_set.as_str()),
                Cell::toned(one.phase.clone(), phase_tone(&one.phase)),
                Cell::toned(updated, phase_tone(&one.phase)),
            ];
            let mut more = if self.layout.wide {
                let started = one.started_at.map_or_else(|| "-".to_owned(), clock);
                vec![
                    one.reason.as_str().into(),
                    one.target_revision.as_str().into(),
                    started.into(),
                ]
            } else {
                Vec::new()
            };
            let mut namespace = one.namespace.as_str();
            if one.out.is_empty() {
                first.extend([Cell::from("-"), Cell::from("-"), Cell::from("-")]);
                first.append(&mut more);
                self.row(&mut table, namespace, first);
                table.note(one.message.as_str(), Tone::Quiet);
                continue;
            }
            for out in &one.out {
                let mut cells = std::mem::replace(&mut first, vec![Cell::default(); 3]);
                let since = out.since_seconds.map_or_else(|| "?".to_owned(), seconds_of);
                cells.extend([
                    out.ordinal.to_string().into(),
                    out.step.as_str().into(),
                    since.into(),
                ]);
                cells.append(&mut more);
                self.row(&mut table, namespace, cells);
                table.note(out.message.as_str(), Tone::Quiet);
                namespace = "";
            }
            if !one.out.iter().any(|out| out.message == one.message) {
                table.note(one.message.as_str(), Tone::Quiet);
            }
        }
        table
    }

    fn notes(&self) -> String {
        let mut out = String::new();
        for note in &self.status.notes {
            out.push_str(&indented(&note.message, Tone::Notable, "", self.layout));
            if let Some(cure) = &note.cure {
                out.push_str(&indented(cure, Tone::Plain, "  ", self.layout));
            }
        }
        out
    }

    fn rendered(&self, table: &Table) -> String {
        if table.is_empty() { String::new() } else { table.render(self.layout) }
    }
}

fn held(pod: &Ending) -> String {
    match (pod.phase, pod.since_seconds) {
        (_, Some(seconds)) if pod.phase != Phase::NotHeld => seconds_of(seconds),
        (Phase::NotHeld, _) => "not held".to_owned(),
        _ => "?".to_owned(),
    }
}

fn goes_by(pod: &Ending, with_bar: bool) -> Cell {
    let Some(left) = pod.deadline_in_seconds else { return Cell::from("-") };
    let tone = match left {
        0 => Tone::Bad,
        1..60 => Tone::Notable,
        _ => Tone::Plain,
    };
    let words = if left == 0 { "now".to_owned() } else { format!("in {}", seconds_of(left)) };
    if !with_bar {
        return Cell::toned(words, tone);
    }
    let gone = u64::try_from(pod.since_seconds.unwrap_or(0)).unwrap_or(0);
    let whole = gone + u64::try_from(left).unwrap_or(0);
    Cell::toned(format!("{} {words}", bar(gone, whole, BAR)), tone)
}

fn seconds_of(seconds: i64) -> String {
    duration(SignedDuration::from_secs(seconds))
}

/// Connections that are left, or `?`.
pub(super) fn connections(pod: &Ending) -> String {
    match (pod.phase, pod.connections) {
        (Phase::Ended, _) => "-".to_owned(),
        (_, Some(number)) => number.to_string(),
        (_, None) => "?".to_owned(),
    }
}

/// `off`, `on` or `unknown`, and why; `?` where nobody has said.
pub(super) fn traffic_words(pod: &Ending, with_reason: bool) -> String {
    let Some(traffic) = &pod.traffic else { return "?".to_owned() };
    let word = match traffic.off {
        Some(true) => "off",
        Some(false) => "on",
        None => "unknown",
    };
    if with_reason { format!("{word} ({})", traffic.reason) } else { word.to_owned() }
}

fn traffic(pod: &Ending, with_reason: bool) -> Cell {
    let tone = match pod.traffic.as_ref().map(|traffic| traffic.off) {
        Some(Some(true)) => Tone::Good,
        Some(Some(false)) => Tone::Notable,
        Some(None) => Tone::Bad,
        None => Tone::Plain,
    };
    Cell::toned(traffic_words(pod, with_reason), tone)
}

fn phase_tone(phase: &str) -> Tone {
    match phase {
        "Complete" => Tone::Good,
        "Stalled" | "Aborted" => Tone::Bad,
        "Paused" | "WaitingForApproval" => Tone::Notable,
        _ => Tone::Plain,
    }
}
