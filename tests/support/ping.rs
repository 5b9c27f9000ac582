//! Runs of `netsonde ping --json`.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use netsonde::lab::{self, Host};
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

/// Is this frame an echo reply, or the first fragment of one?
pub fn is_reply(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([8, 0]) => frame[23] == 1 && frame[20] & 0x1f == 0 && frame[21] == 0 && frame[34] == 0,
        Some([0x86, 0xdd]) if frame[20] == 44 => frame[56..58] == [0, 1] && frame[62] == 129,
        Some([0x86, 0xdd]) => frame[20] == 58 && frame[54] == 129,
        _ => false,
    }
}

/// ```text
///   a  e0 10.0.0.1 ---- 10.0.0.254 r0  router  r1 10.9.0.254 ---- 10.9.0.9 e0  b
/// ```
pub fn routed() -> Result<(Host, Host, Host), Box<dyn std::error::Error>> {
    let (a, router, b) = (Host::new("a")?, Host::new("router")?, Host::new("b")?);
    lab::veth(&a, "e0", &router, "r0")?;
    lab::veth(&router, "r1", &b, "e0")?;
    for (host, interface, v4, v6) in [
        (&a, "e0", "10.0.0.1/24", "fd00::1/64"),
        (&router, "r0", "10.0.0.254/24", "fd00::fe/64"),
        (&router, "r1", "10.9.0.254/24", "fd09::fe/64"),
        (&b, "e0", "10.9.0.9/24", "fd09::9/64"),
    ] {
        host.address(interface, v4)?;
        host.address(interface, v6)?;
    }
    router.sysctl("net/ipv4/ip_forward", "1")?;
    router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    a.route("0.0.0.0/0", "10.0.0.254")?;
    a.route("::/0", "fd00::fe")?;
    b.route("0.0.0.0/0", "10.9.0.254")?;
    b.route("::/0", "fd09::fe")?;
    Ok((a, router, b))
}
