//! Findings as text, and as data.

use std::collections::BTreeMap;

use serde::Serialize;

use super::findings::{Finding, Reason, Severity};
use crate::common::screen::Layout;
use crate::common::table::{Cell, Table, Tone, indented};
use crate::common::words::count;
use crate::explain::document::API_VERSION;

/// Findings of one reason that are shown to people; programs get all.
const SHOWN_MAX: usize = 20;

/// What `check` prints. The fields stay; more may come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// `cli.lameduck.dev/v1`.
    pub api_version: &'static str,
    /// `Check`.
    pub kind: &'static str,
    /// Things that could be looked at.
    pub checks: usize,
    /// Findings with severity `error`.
    pub errors: usize,
    /// Findings with severity `warning`.
    pub warnings: usize,
    /// Findings with severity `info`.
    pub infos: usize,
    /// The worst first.
    pub findings: Vec<Finding>,
}

impl Document {
    /// A document of these findings.
    #[must_use]
    pub fn new(checks: usize, findings: Vec<Finding>) -> Self {
        let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        Self {
            api_version: API_VERSION,
            kind: "Check",
            checks,
            errors: of(Severity::Error),
            warnings: of(Severity::Warning),
            infos: of(Severity::Info),
            findings,
        }
    }
}

/// The document for people.
#[must_use]
pub fn text(document: &Document, layout: Layout) -> String {
    if document.findings.is_empty() {
        return format!("no problems found: {}\n", count(document.checks, "check"));
    }
    let mut of_reason: BTreeMap<Reason, usize> = BTreeMap::new();
    let shown = document.findings.iter().filter(|finding| {
        let seen = of_reason.entry(finding.reason).or_default();
        *seen += 1;
        *seen <= SHOWN_MAX
    });
    let shown: Vec<&Finding> = shown.collect();
    let mut out = if layout.wide { rows(&shown, layout) } else { paragraphs(&shown, layout) };
    for (reason, number) in of_reason {
        if let Some(more) = number.checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            let line = format!("and {more} more with {}; -o json has all", reason.word());
            out.push_str(&indented(&line, Tone::Quiet, "", layout));
        }
    }
    let summary = format!(
        "\n{}, {}, {} in {}; docs/check.md explains the reasons\n",
        count(document.errors, "error"),
        count(document.warnings, "warning"),
        count(document.infos, "info"),
        count(document.checks, "check"),
    );
    out.push_str(&summary);
    out
}

fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Error => Tone::Bad,
        Severity::Warning => Tone::Notable,
        Severity::Info => Tone::Quiet,
    }
}

/// One row for each, with all that is known.
fn rows(findings: &[&Finding], layout: Layout) -> String {
    let mut table = Table::new(&["SEVERITY", "REASON", "OBJECT", "MESSAGE", "CURE"]);
    for finding in findings {
        table.row([
            Cell::toned(finding.severity.as_str(), tone(finding.severity)),
            finding.reason.word().into(),
            finding.object.as_str().into(),
            finding.message.as_str().into(),
            finding.cure.as_str().into(),
        ]);
    }
    table.render(layout)
}

/// Some lines for each. Objects and cures are never cut or wrapped: people copy them.
fn paragraphs(findings: &[&Finding], layout: Layout) -> String {
    const SEVERITY: &str = "SEVERITY";
    let words = findings.iter().map(|finding| finding.reason.word().len());
    let width = words.max().unwrap_or(0);
    let heads = format!("{SEVERITY}  {:<width$}  OBJECT", "REASON");
    let mut out = format!("{}\n", Tone::Strong.paint(&heads));
    for finding in findings {
        let severity = finding.severity.as_str();
        out.push_str(&format!(
            "{}{:gap$}  {:<width$}  {}\n",
            tone(finding.severity).paint(severity),
            "",
            finding.reason.word(),
            finding.object,
            gap = SEVERITY.len() - severity.len(),
        ));
        out.push_str(&indented(&finding.message, Tone::Plain, "  ", layout));
        out.push_str(&format!("  {}\n", Tone::Quiet.paint(&format!("cure: {}", finding.cure))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::findings::planted::{healthy, now, planted};
    use super::*;

    fn plain(document: &Document, layout: Layout) -> String {
        anstream::adapter::strip_str(&text(document, layout)).to_string()
    }

    fn all() -> Document {
        let mut found: Vec<Finding> =
            planted().into_iter().flat_map(|(_, _, found)| found).collect();
        found.sort();
        Document::new(17, found)
    }

    #[test]
    fn a_healthy_cluster_is_one_line() {
        let facts = healthy();
        let found = super::super::findings::findings(&facts, now());
        let document = Document::new(facts.looks().0, found);
        assert_eq!(plain(&document, Layout::default()), "no problems found: 17 checks\n");
    }

    #[test]
    fn every_reason_in_eighty_columns() {
        let layout = Layout { columns: Some(80), wide: false };
        insta::assert_snapshot!(plain(&all(), layout));
    }

    #[test]
    fn every_reason_in_wide_rows() {
        insta::assert_snapshot!(plain(&all(), Layout { columns: None, wide: true }));
    }

    #[test]
    fn every_reason_as_json() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&all()).expect("JSON"));
    }

    #[test]
    fn a_flood_is_bounded_for_people() {
        let one = Finding {
            severity: Severity::Warning,
            reason: Reason::UnprotectedPod,
            object: String::new(),
            message: "why".into(),
            cure: "what".into(),
        };
        let found =
            (0..332).map(|n| Finding { object: format!("pod/shop/web-{n}"), ..one.clone() });
        let document = Document::new(17, found.collect());
        let shown = plain(&document, Layout::default());
        assert_eq!(shown.matches("pod/shop/").count(), 20);
        assert!(shown.contains("\nand 312 more with UnprotectedPod; -o json has all\n"), "{shown}");
        assert!(shown.contains("\n0 errors, 332 warnings, 0 infos in 17 checks"), "{shown}");
        assert_eq!(document.findings.len(), 332);
    }
}
