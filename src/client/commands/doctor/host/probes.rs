//! SHELL. Probes of `doctor`: a few echo requests to each gateway, sent by the service, which reports where
//! each lost one died.

use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use netsonde_core::diagnose::host::evidence::{Known, Probed, Route};
use netsonde_core::protocol::ping::Options;

use crate::client::commands::doctor::echo;
use crate::client::failure::Failure;

/// Echo requests per gateway: enough to distinguish loss from chance within the default window.
const COUNT: u32 = 4;
const INTERVAL_NS: u64 = 200_000_000;
const TIMEOUT_NS: u64 = 1_000_000_000;
/// Payload in bytes, the default of ping(8).
const SIZE_BYTES: u32 = 56;
/// Maximum number of gateways: a host has one or two, and an Internet router must not probe all of its own.
const MAX_GATEWAYS: usize = 8;

/// The echo requests for one gateway.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToSend {
    /// Kind of the probes: "echo request".
    pub kind: &'static str,
    /// Address of the gateway, with a zone if it is link-local.
    pub target: String,
    /// Interface to send on.
    pub interface: String,
    /// Number of requests.
    pub count: u32,
    /// Payload of each, in bytes.
    pub size_bytes: u32,
    #[serde(skip)]
    gateway: Option<IpAddr>,
}

/// Returns the probes for the gateways of `routes`, those of default routes first, then by metric.
pub fn to_send(routes: &[Route], only: Option<&str>) -> Vec<ToSend> {
    let mut with_gateways: Vec<&Route> = routes
        .iter()
        .filter(|route| only.is_none_or(|only| only == route.interface))
        .collect();
    with_gateways.sort_by_key(|route| (!route.is_default(), route.metric));
    let mut all: Vec<ToSend> = Vec::new();
    for route in with_gateways {
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
            size_bytes: SIZE_BYTES,
            gateway: Some(gateway),
        };
        if !all.contains(&one) && all.len() < MAX_GATEWAYS {
            all.push(one);
        }
    }
    all
}

/// Result of sending the probes.
pub struct Sent {
    /// The probes that the service accepted.
    pub sent: Vec<ToSend>,
    /// The fate of each probe, or the reason why there are none.
    pub probes: Known<Vec<Probed>>,
}

/// Sends the probes to all gateways concurrently, and waits until the fate of each is known.
pub fn send(socket: &Path, all: &[ToSend]) -> Sent {
    let outcomes: Vec<Known<Probed>> = std::thread::scope(|scope| {
        let runs: Vec<_> = all
            .iter()
            .map(|one| scope.spawn(|| run(socket, one).map_err(|error| error.to_string())))
            .collect();
        runs.into_iter()
            .map(|run| {
                let ended = run.join();
                ended.unwrap_or_else(|_| Err("a thread of the client panicked".into()))
            })
            .collect()
    });
    let sent = all
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.is_ok())
        .map(|(one, _)| one.clone());
    Sent {
        sent: sent.collect(),
        probes: outcomes.into_iter().collect(),
    }
}

/// Probes a gateway. If all probes failed because the kernel was giving up on an earlier address
/// resolution and sent no request, the result does not show the current state: then it probes once more,
/// and the kernel resolves the address again.
fn run(socket: &Path, one: &ToSend) -> Result<Probed, Failure> {
    let probed = probe(socket, one)?;
    if !probed.probes.is_empty() && probed.probes.iter().all(echo::is_stale) {
        return probe(socket, one);
    }
    Ok(probed)
}

/// Sends the probes to a gateway once.
fn probe(socket: &Path, one: &ToSend) -> Result<Probed, Failure> {
    let options = Options {
        count: Some(COUNT),
        interval_ns: Some(INTERVAL_NS),
        timeout_ns: Some(TIMEOUT_NS),
        size: Some(SIZE_BYTES),
        interface: Some(one.interface.clone()),
        ..Options::default()
    };
    let probes = echo::send(socket, &one.target, options)?;
    Ok(Probed {
        gateway: one.gateway.unwrap_or(IpAddr::from([0; 4])),
        interface: one.interface.clone(),
        probes,
    })
}
