//! The explanation for people.

use crate::common::screen::Layout;
use crate::common::table::{Tone, indented};
use crate::common::words::clock;

use super::document::{End, Explanation, Said, Sender};

/// Columns of the names on the left.
const NAMES: usize = 12;

/// The explanation as text.
#[must_use]
pub fn text(explanation: &Explanation, layout: Layout) -> String {
    let mut page = Page { out: String::new(), layout, last: "" };
    let Explanation { object, namespace, enrolment, injected, warnings, services, end, .. } =
        explanation;
    page.out.push_str(&format!("{} in namespace {namespace}\n", Tone::Strong.paint(object)));
    let exists = enrolment.policy_exists != Some(false);
    page.field("Policy", &enrolment.says, if exists { Tone::Plain } else { Tone::Bad });
    if layout.wide {
        if let Some(settings) = &enrolment.settings {
            page.field("Settings", settings, Tone::Plain);
        }
        page.field("If made now", &explanation.if_created_now, Tone::Plain);
    }
    match injected {
        Some(injection) => {
            let version = injection.version.as_ref().map(|version| format!(" (by {version})"));
            let what = format!("{}{}", injection.what.join("; "), version.unwrap_or_default());
            page.field("Injected", &what, Tone::Plain);
        }
        None => page.field("Injected", "nothing", Tone::Quiet),
    }
    for warning in warnings {
        page.field("Warning", warning, Tone::Notable);
    }
    for service in services {
        page.field("Service", &sender(service), Tone::Plain);
    }
    if let Some(end) = end {
        page.end(end);
    }
    if let Some(upgrade) = &explanation.upgrade {
        page.field("Upgrade", upgrade, Tone::Plain);
    }
    for pod in &explanation.pods {
        let tone = if pod.state == "Ending" { Tone::Plain } else { Tone::Notable };
        page.field("Pod", &format!("{}: {}", pod.name, pod.state), tone);
    }
    page.field("Decision", &explanation.decision, Tone::Strong);
    for line in &explanation.to_change_it {
        page.field("To change it", line, Tone::Plain);
    }
    for note in &explanation.notes {
        page.field("Not known", note, Tone::Notable);
    }
    page.out
}

struct Page {
    out: String,
    layout: Layout,
    last: &'static str,
}

impl Page {
    fn field(&mut self, name: &'static str, text: &str, tone: Tone) {
        let indent = " ".repeat(NAMES + 4);
        let lines = indented(text, tone, &indent, self.layout);
        // A name that stands above is not said again.
        let shown = if std::mem::replace(&mut self.last, name) == name { "" } else { name };
        let name = format!("  {shown:NAMES$}  ");
        self.out.push_str(&Tone::Quiet.paint(&name));
        self.out.push_str(lines.strip_prefix(&*indent).unwrap_or(&lines));
    }

    fn end(&mut self, end: &End) {
        let deleted = format!(
            "deleted {}; its hold ends by {}, its kubelet kills at {}",
            clock(end.deleted_at),
            clock(end.hold_until),
            clock(end.killed_at)
        );
        self.field("Ending", &deleted, Tone::Plain);
        let tone = |said: &Said| if said.status == "True" { Tone::Good } else { Tone::Notable };
        for (name, said) in [("Traffic off", &end.traffic_off), ("Drained", &end.drained)] {
            if let Some(said) = said {
                let since =
                    said.since.map(|at| format!(" since {}", clock(at))).unwrap_or_default();
                let text = format!("{} ({}){since}: {}", said.status, said.reason, said.message);
                self.field(name, &text, tone(said));
            }
        }
        for hold in &end.holds {
            let connections = match hold.connections {
                Some(1) => "1 connection left".to_owned(),
                Some(number) => format!("{number} connections left"),
                None => "connections not counted yet".to_owned(),
            };
            let text = format!(
                "container {}: {}, {connections} at {}",
                hold.container,
                hold.phase,
                clock(hold.at)
            );
            self.field("Hold", &text, Tone::Plain);
        }
    }
}

fn sender(service: &Sender) -> String {
    let Sender { service, ingress, load_balancer, direct_access } = service;
    let service = match ingress {
        Some(ingress) => &format!("{service} by Ingress {ingress}"),
        None => service,
    };
    match load_balancer {
        Some(id) if *direct_access => format!("{service}: CLB {id}, which sends to the pod itself"),
        Some(id) => format!("{service}: CLB {id}, which sends to ports of nodes"),
        None => format!("{service}: no CLB of its own"),
    }
}
