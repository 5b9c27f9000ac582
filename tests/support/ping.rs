//! Runs of `netsonde ping --json`.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use serde_json::Value;

use super::{Service, number};

/// Output of a run of `ping --json`.
pub struct PingReport {
    pub code: i32,
    pub probes: Vec<Value>,
    pub duplicates: usize,
    pub summaries: Vec<Value>,
    pub total: Value,
    pub text: String,
}

impl PingReport {
    pub fn fates(&self) -> Vec<&str> {
        self.probes
            .iter()
            .map(|probe| probe["fate"].as_str().unwrap())
            .collect()
    }

    /// Requires that all probes have this fate and nothing else is reported. Returns `last_seen` of the first.
    pub fn only(&self, fate: &str, count: usize) -> &str {
        let all = vec![fate; count];
        assert_eq!(self.fates(), all, "{}", self.text);
        let summary = &self.summaries[0];
        assert_eq!(
            summary["fates"],
            serde_json::json!({ fate: count }),
            "{}",
            self.text
        );
        assert_eq!(number(&summary["sent"]), count as u64);
        assert_eq!(self.duplicates, 0, "{}", self.text);
        assert_eq!(
            number(&self.total["forged"]) + number(&self.total["stray"]),
            0,
            "{}",
            self.text
        );
        assert_eq!(self.code, i32::from(fate != "replied"), "{}", self.text);
        self.probes[0]["last_seen"].as_str().unwrap_or_default()
    }
}

pub fn ping(service: &Service, arguments: &[&str]) -> PingReport {
    let mut all = vec!["--json", "ping"];
    all.extend_from_slice(arguments);
    let output = service.netsonde(&all);
    let text = String::from_utf8(output.stdout).unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |event: &str| -> Vec<Value> {
        lines
            .iter()
            .filter(|line| line["event"] == event)
            .cloned()
            .collect()
    };
    let total = of("total");
    assert!(
        !total.is_empty(),
        "ping {arguments:?}: {printed}\n{}",
        service.log()
    );
    PingReport {
        code: output.status.code().unwrap(),
        probes: of("probe"),
        duplicates: of("duplicate").len(),
        summaries: of("summary"),
        total: total[0].clone(),
        text: format!("ping {arguments:?}\n{text}{printed}"),
    }
}
