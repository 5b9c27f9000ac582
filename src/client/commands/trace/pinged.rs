//! SHELL. Echo requests to the routers themselves that miss answers: whether they are reached, whatever they report.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use crate::client::commands::doctor::echo;
use crate::client::failure::Failure;
use netsonde_core::protocol::ping;
use netsonde_core::protocol::trace::Options;
use netsonde_core::trace::{Pinged, Trace};

/// Echo requests to each: enough to tell a limit or loss from chance.
const COUNT: u32 = 10;
/// Time between two of these to one router, in nanoseconds: beyond what usual limits of replies let pass.
const INTERVAL_NS: u64 = 50_000_000;

/// Sends echo requests to the routers that a trace found to miss answers, all at once.
pub(super) fn ping(socket: &Path, trace: &mut Trace, options: &Options) -> Result<(), Failure> {
    // An address of a link needs its interface, which answers do not name.
    let is_link =
        |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let all: Vec<IpAddr> = (trace.to_ping().into_iter())
        .filter(|address| !is_link(address))
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    let how = ping::Options {
        count: Some(COUNT),
        interval_ns: Some(INTERVAL_NS),
        timeout_ns: options.timeout_ns,
        interface: options.interface.clone(),
        source: options.source.clone(),
        ..ping::Options::default()
    };
    let mut pinged: BTreeMap<IpAddr, Pinged> = BTreeMap::new();
    let targets = all.iter().map(IpAddr::to_string).collect();
    for probe in echo::send_all(socket, targets, how)? {
        let Ok(address) = probe.target.parse() else {
            continue;
        };
        let one = pinged.entry(address).or_default();
        one.counted.sent += 1;
        if matches!(probe.fate.as_str(), "replied" | "late") {
            one.counted.answered += 1;
            let from = probe.from.and_then(|from| from.parse().ok());
            one.from = from.filter(|from| *from != address).or(one.from);
        }
    }
    for (address, pinged) in pinged {
        trace.add_pinged(address, pinged);
    }
    Ok(())
}
