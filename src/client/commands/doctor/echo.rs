//! SHELL. Echo requests of the doctors: a run of its own, whose probes are returned with their fates.

use std::collections::HashMap;
use std::path::Path;

use netsonde_core::protocol::ping::{Options, PingCall, PingReply, Probe};
use netsonde_core::protocol::trace::{self, Answer, ProbeCall, ProbeReply, Step};

use crate::client::failure::Failure;
use crate::varlink::client::Connection;

/// Sends echo requests to a target, and waits until the fate of each is known. Returns them in the order of sending.
pub fn send(socket: &Path, target: &str, options: Options) -> Result<Vec<Probe>, Failure> {
    let call = PingCall {
        targets: Some(vec![target.to_owned()]),
        options: Some(options),
        ..PingCall::default()
    };
    let mut connection = Connection::open(socket)?;
    connection.call_more("io.netsonde.Ping.Ping", &call)?;
    // A probe that was reported as lost may be reported again as late.
    let mut fates: HashMap<u32, Probe> = HashMap::new();
    while let Some((reply, continues)) = connection.reply_or::<PingReply>(None)? {
        for probe in reply.probes.into_iter().flatten() {
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
    Ok(probes)
}

/// Sends echo requests with these TTLs to a target, and waits until the fate of each is known. Returns them in this order.
pub fn send_each(
    socket: &Path,
    target: &str,
    ttls: std::ops::RangeInclusive<u8>,
    options: trace::Options,
) -> Result<Vec<Probe>, Failure> {
    let step = |ttl: u8| Step {
        number: ttl.into(),
        hop_limit: ttl,
        flow: 0,
    };
    let call = ProbeCall {
        target: target.to_owned(),
        probes: ttls.clone().map(step).collect(),
        options: Some(options),
        open: None,
    };
    let mut connection = Connection::open(socket)?;
    connection.call_more("io.netsonde.Trace.Probe", &call)?;
    let mut fates: HashMap<u32, Probe> = HashMap::new();
    while let Some((reply, continues)) = connection.reply_or::<ProbeReply>(None)? {
        for answer in reply.answers.into_iter().flatten() {
            fates.insert(answer.number, probe(target, answer));
        }
        if !continues {
            break;
        }
    }
    let all = ttls.map(|ttl| fates.remove(&ttl.into()).unwrap_or_default());
    Ok(all.collect())
}

fn probe(target: &str, answer: Answer) -> Probe {
    Probe {
        target: target.to_owned(),
        seq: answer.number,
        time: answer.time,
        fate: answer.fate,
        instead_of: answer.instead_of,
        from: answer.from,
        ttl: answer.ttl,
        rtt_ns: answer.rtt_ns,
        wire_rtt_ns: answer.wire_rtt_ns,
        error: answer.error,
        errno: answer.errno,
        last_seen: answer.last_seen,
        interface: answer.interface,
        next_hop: answer.next_hop,
        link: answer.link,
        hop: answer.hop,
        is_final: Some(answer.is_final),
        ..Probe::default()
    }
}

/// Returns whether a probe shows only that the kernel was giving up on an earlier address resolution: it sent no
/// request, so the next probe may show another state.
pub fn is_stale(probe: &Probe) -> bool {
    let last_seen = probe.last_seen.as_deref().unwrap_or_default();
    probe.fate == "unresolved" && !last_seen.contains("asked")
}
