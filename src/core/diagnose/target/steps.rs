//! PURE. What was looked at, in the order of the way: for those who want to see each step.

use super::evidence::{TargetEvidence, Way};
use super::local::echo_words;
use super::name::milliseconds;
use super::path::path_words;
use super::port::port_words;
use crate::diagnose::Finding;
use crate::diagnose::host::Checked;
use crate::text::{counted, listed};

/// Returns the steps with their outcome. A finding belongs to the first step of its kind.
pub(super) fn steps(all: &TargetEvidence, findings: &[Finding]) -> Vec<Checked> {
    let mut steps = Vec::new();
    let mut add = |check: String, state: &'static str, text: String| {
        steps.push(Checked {
            check,
            state,
            text,
            findings: Vec::new(),
        });
    };
    match &all.lookup {
        None => add("name".into(), "nothing", "the target is an address".into()),
        Some(lookup) => {
            let took = milliseconds(lookup.took_ns);
            let text = match &lookup.found {
                Ok(found) => {
                    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                    let questions = counted(lookup.seen().len() as u64, "question");
                    let found = listed(found.iter().map(String::as_str));
                    format!("{found} in {took}, {questions} on the wire")
                }
                Err(why) => format!("{why}, after {took}"),
            };
            add("name".into(), "made", text);
        }
    }
    for way in &all.ways {
        of_way(way, &mut add);
    }
    if all.not_tried > 0 {
        let text = format!(
            "{} not tried",
            counted(all.not_tried as u64, "further address")
        );
        add("addresses".into(), "not_made", text);
    }
    for finding in findings {
        let topic = match finding.id {
            id if id.starts_with("name-") => "name",
            id if id.starts_with("port-") || id.starts_with("accept") => "port",
            "reset-after-accept" | "syn-queue-full" | "syn-cookies" => "port",
            "no-route" | "source-invalid" | "interface-down" => "route",
            id if id.ends_with("-route") => "route",
            "mtu-black-hole" => "length",
            "path-ends"
            | "routing-loop"
            | "prohibited-by-router"
            | "no-route-at-router"
            | "target-unresolved-at-router" => "path",
            _ => "echo",
        };
        let is_its = |step: &&mut Checked| step.check.ends_with(topic) && step.state == "made";
        if let Some(step) = steps.iter_mut().find(is_its) {
            step.findings.push(finding.id);
        }
    }
    steps
}

fn of_way(way: &Way, add: &mut impl FnMut(String, &'static str, String)) {
    let target = &way.target;
    let name = |topic: &str| format!("{target}: {topic}");
    let route = match (&way.interface, way.router) {
        _ if way.is_local => "an address of this host".into(),
        (Some(interface), Some(router)) => format!("via {router} on {interface}"),
        (Some(interface), None) => format!("on the link of {interface}"),
        (None, _) => "no route".into(),
    };
    add(name("route"), "made", route);
    let state = if way.echoes.is_ok() {
        "made"
    } else {
        "not_made"
    };
    add(name("echo"), state, echo_words(way));
    if let Some(path) = path_words(way) {
        add(name("path"), "made", path);
    }
    if !way.large.is_empty() {
        let answered = way
            .large
            .iter()
            .filter(|probe| probe.fate == "replied")
            .count();
        let mtu = way.large.iter().find_map(|probe| probe.error.as_ref()?.mtu);
        let text = match mtu {
            Some(mtu) => format!(
                "{} bytes are too long: a router reports {mtu}",
                way.large_bytes
            ),
            None => format!(
                "{answered} of {} with {} bytes answered",
                way.large.len(),
                way.large_bytes
            ),
        };
        add(name("length"), "made", text);
    }
    if let Some(port) = &way.port {
        let state = if port.seen.is_ok() {
            "made"
        } else {
            "not_made"
        };
        add(name("port"), state, port_words(port));
    }
}
