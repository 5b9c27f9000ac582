//! SHELL. Probes of `doctor`: a few echo requests to each gateway through the service, which
//! returns their fates.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use crate::client::connection::Connection;
use crate::client::failure::Failure;
use netsonde_core::diagnose::host::evidence::{Known, Probed, Route};
use netsonde_core::protocol::ping::{Options, PingCall, PingReply, Probe};

/// Echo requests per gateway: enough to distinguish loss from chance within the default window.
const COUNT: u32 = 4;
const INTERVAL_NS: u64 = 200_000_000;
const TIMEOUT_NS: u64 = 1_000_000_000;
/// Payload size in bytes, as for ping(8).
const SIZE: u32 = 56;
/// Maximum number of gateways probed: a host has one or two, and an Internet router must not cause
/// a sweep.
const MOST_GATEWAYS: usize = 8;

/// Echo requests to one gateway.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToSend {
    /// Kind of probe.
    pub kind: &'static str,
    /// Address of the gateway.
    pub target: String,
    /// Name of the outgoing interface.
    pub interface: String,
    /// Number of probes.
    pub count: u32,
    /// Payload size in bytes.
    pub size_bytes: u32,
    #[serde(skip)]
    gateway: Option<IpAddr>,
}

/// Selects gateways from the routes: those of default routes first, by metric.
pub fn to_send(routes: &[Route], only: Option<&str>) -> Vec<ToSend> {
    let mut wanted: Vec<&Route> = (routes.iter())
        .filter(|route| only.is_none_or(|only| only == route.interface))
        .collect();
    wanted.sort_by_key(|route| (!route.is_default(), route.metric));
    let mut all: Vec<ToSend> = Vec::new();
    for route in wanted {
        let Some(gateway) = route.gateway else {
            continue;
        };
        let target = match gateway {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => format!("{v6}%{}", route.interface),
            other => other.to_string(),
        };
        let one = ToSend {
            kind: "echo request",
            target,
            interface: route.interface.clone(),
            count: COUNT,
            size_bytes: SIZE,
            gateway: Some(gateway),
        };
        if !all.contains(&one) && all.len() < MOST_GATEWAYS {
            all.push(one);
        }
    }
    all
}

/// Result of probing.
pub struct Sent {
    /// Probes that the service accepted.
    pub sent: Vec<ToSend>,
    /// The fates, or why there are none.
    pub probes: Known<Vec<Probed>>,
}

/// Probes all gateways in parallel, and waits for the fate of each probe.
pub fn send(socket: &Path, all: &[ToSend]) -> Sent {
    let outcomes: Vec<Known<Probed>> = std::thread::scope(|scope| {
        let runs: Vec<_> = (all.iter())
            .map(|one| scope.spawn(|| run(socket, one).map_err(|error| error.to_string())))
            .collect();
        (runs.into_iter())
            .map(|run| {
                let ended = run.join();
                ended.unwrap_or_else(|_| Err("a thread of the client panicked".into()))
            })
            .collect()
    });
    let sent = (all.iter().zip(&outcomes))
        .filter(|(_, outcome)| outcome.is_ok())
        .map(|(one, _)| one.clone());
    Sent {
        sent: sent.collect(),
        probes: outcomes.into_iter().collect(),
    }
}

/// Returns the fates for a gateway. If the kernel was just giving up resolving it and sent no
/// request meanwhile, the probes are repeated, so that it resolves the gateway again.
fn run(socket: &Path, one: &ToSend) -> Result<Probed, Failure> {
    let probed = probe(socket, one)?;
    let is_stale = |probe: &Probe| {
        let last_seen = probe.last_seen.as_deref().unwrap_or_default();
        probe.fate == "unresolved" && !last_seen.contains("asked")
    };
    if !probed.probes.is_empty() && probed.probes.iter().all(is_stale) {
        return probe(socket, one);
    }
    Ok(probed)
}

fn probe(socket: &Path, one: &ToSend) -> Result<Probed, Failure> {
    let call = PingCall {
        targets: Some(vec![one.target.clone()]),
        options: Some(Options {
            count: Some(COUNT),
            interval_ns: Some(INTERVAL_NS),
            timeout_ns: Some(TIMEOUT_NS),
            size: Some(SIZE),
            interface: Some(one.interface.clone()),
            ..Options::default()
        }),
        ..PingCall::default()
    };
    let mut connection = Connection::open(socket)?;
    connection.call_more("io.netsonde.Ping.Ping", &call)?;
    // A probe that was reported as lost may turn out to be late.
    let mut fates: HashMap<u32, Probe> = HashMap::new();
    while let Some((told, continues)) = connection.reply_or::<PingReply>(None)? {
        for probe in told.probes.into_iter().flatten() {
            if probe.duplicate != Some(true) {
                fates.insert(probe.seq, probe);
            }
        }
        if !continues {
            break;
        }
    }
    let mut probes: Vec<Probe> = fates.into_values().collect();
    probes.sort_by_key(|probe| probe.seq);
    Ok(Probed {
        gateway: one.gateway.unwrap_or(IpAddr::from([0; 4])),
        interface: one.interface.clone(),
        probes,
    })
}
