//! The whole story as a table, and in a sentence each.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};

use super::report::{Report, Run, Verdict};

/// The table: a row per scenario, with what was lost on each side.
pub(super) fn table(reports: &[Report]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED.with_rounded_corners())
        .set_content_arrangement(ContentArrangement::Dynamic);
    let heads = [
        "scenario",
        "requests\neach side",
        "without Lameduck\nfailed",
        "\ncut",
        "with Lameduck\nfailed",
        "\ncut",
        "longest hold",
        "verdict",
    ];
    table.set_header(heads.map(|head| Cell::new(head).add_attribute(Attribute::Bold)));
    for report in reports {
        table.add_row(row(report));
    }
    for column in 1..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(report: &Report) -> Vec<Cell> {
    let (plain, protected) = (report.run(false), report.run(true));
    let number = |run: Option<&Run>, of: fn(&Run) -> u64| {
        let Some(run) = run else { return Cell::new("-") };
        let (value, protected) = (of(run), run.protected);
        let cell = Cell::new(value);
        match (value, protected) {
            (0, true) => cell.fg(Color::Green),
            (0, false) => cell,
            (_, false) => cell.fg(Color::Yellow),
            (_, true) => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        }
    };
    let requests = plain.or(protected).map_or(0, |run| run.requests);
    let hold =
        protected.and_then(longest_hold).map_or("-".to_owned(), |hold| format!("{hold:.1} s"));
    vec![
        Cell::new(report.scenario.name()).add_attribute(Attribute::Bold),
        Cell::new(requests),
        number(plain, |run| run.failed),
        number(plain, |run| run.long_connections_cut),
        number(protected, |run| run.failed),
        number(protected, |run| run.long_connections_cut),
        Cell::new(hold),
        match report.verdict {
            Verdict::Pass => Cell::new("pass").fg(Color::Green),
            Verdict::Fail => Cell::new("FAIL").fg(Color::Red).add_attribute(Attribute::Bold),
        },
    ]
}

/// How long a pod served after its deletion, the longest of all.
fn longest_hold(run: &Run) -> Option<f64> {
    ends(run).into_iter().reduce(f64::max)
}

fn ends(run: &Run) -> Vec<f64> {
    run.pods.iter().flat_map(|pod| &pod.drains).filter_map(|drain| drain.served_seconds).collect()
}

/// What happened, in a sentence.
pub(super) fn sentence(report: &Report) -> String {
    let name = report.scenario.name();
    let action = report.scenario.action();
    if report.verdict == Verdict::Fail {
        return format!("{name}: {action}. It shows nothing good: {}.", report.why);
    }
    let (Some(plain), Some(protected)) = (report.run(false), report.run(true)) else {
        return format!("{name}: {action}.");
    };
    let count = protected.pods.iter().map(|pod| pod.drains.len()).sum::<usize>();
    let pods = if count == 1 { "the pod".to_owned() } else { format!("{count} pods") };
    let (shortest, longest) = ends(protected)
        .into_iter()
        .fold((f64::INFINITY, 0.0_f64), |(low, high), end| (low.min(end), high.max(end)));
    let served = if longest == 0.0 {
        "served until the last connection was closed".to_owned()
    } else if longest - shortest < 1.0 {
        format!("served {longest:.0} s more, until the last connection was closed")
    } else {
        format!(
            "served {shortest:.0} to {longest:.0} s more, until their last connections were closed"
        )
    };
    format!(
        "{name}: {action}. Without Lameduck that cost {} and {}; with it {pods} {served}, and nothing was lost.",
        counted(plain.failed, "request"),
        counted(plain.long_connections_cut, "long connection"),
    )
}

fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
