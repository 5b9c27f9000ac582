//! SHELL. What `doctor` sends: a few echo requests to each gateway, through the service, which says of each
//! where it died.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use crate::client::connection::Connection;
use crate::client::failure::Failure;
use netsonde_core::diagnose::host::evidence::{Known, Probed, Route};
use netsonde_core::protocol::ping::{Options, PingCall, PingReply, Probe};

/// Echo requests to each gateway: as many as tell loss from chance within the default window.
const COUNT: u32 = 4;
const INTERVAL_NS: u64 = 200_000_000;
const TIMEOUT_NS: u64 = 1_000_000_000;
/// Bytes of payload, as ping(8) has it.
const SIZE: u32 = 56;
/// Gateways that are asked: a host has one or two, and a router of the Internet must not sweep.
const MOST_GATEWAYS: usize = 8;

/// Echo requests that are to be sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToSend {
    /// What.
    pub kind: &'static str,
    /// To whom.
    pub target: String,
    /// By which interface.
    pub interface: String,
    /// How many.
    pub count: u32,
    /// Their payload in bytes.
    pub size_bytes: u32,
    #[serde(skip)]
    gateway: Option<IpAddr>,
}

/// Of the routes: default routes' gateways first, by metric.
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

/// What came of sending.
pub struct Sent {
    /// What the service took on.
    pub sent: Vec<ToSend>,
    /// The fates, or why there are none.
    pub probes: Known<Vec<Probed>>,
}

/// Sends them, all gateways at once, and waits until the fate of each is known.
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

/// The fate of the probes to a gateway. Where the kernel was just giving up on it and asked nobody meanwhile, that
/// says nothing of now: then they are sent once more, and the kernel asks anew.
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
    // A probe that was told of may turn out to be late.
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
