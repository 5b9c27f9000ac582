//! SHELL. Echo requests of the doctors: a run of its own, whose probes are returned with their fates.

use std::collections::HashMap;
use std::path::Path;

use netsonde_core::protocol::ping::{Options, PingCall, PingReply, Probe};
use netsonde_core::protocol::trace::{self, Answer, ProbeCall, ProbeReply, Step};

use crate::client::failure::Failure;
use crate::varlink::client::Connection;

/// Sends echo requests to a target, and waits until the fate of each is known. Returns them in the order of sending.
pub fn send(socket: &Path, target: &str, options: Options) -> Result<Vec<Probe>, Failure> {
    send_all(socket, vec![target.to_owned()], options)
}

/// Sends echo requests to several targets likewise; those with the same number are in no particular order.
pub fn send_all(
    socket: &Path,
    targets: Vec<String>,
    options: Options,
) -> Result<Vec<Probe>, Failure> {
    let call = PingCall {
        targets: Some(targets),
        options: Some(options),
        ..PingCall::default()
    };
    let mut connection = Connection::open(socket)?;
    connection.call_more("io.netsonde.Ping.Ping", &call)?;
    // A probe that was reported as lost may be reported again as late.
    let mut fates: HashMap<(String, u32), Probe> = HashMap::new();
    while let Some((reply, continues)) = connection.reply_or::<PingReply>(None)? {
        for probe in reply.probes.into_iter().flatten() {
            if probe.duplicate != Some(true) {
                fates.insert((probe.target.clone(), probe.seq), probe);
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
    let ttls: Vec<u8> = ttls.collect();
    let answers = send_listed(socket, target, &ttls, options)?;
    Ok(answers
        .into_iter()
        .map(|answer| probe(target, answer))
        .collect())
}

/// Sends probes of one flow with these TTLs to a target, and waits until the fate of each is known. Returns their answers
/// in this order.
pub fn send_listed(
    socket: &Path,
    target: &str,
    ttls: &[u8],
    options: trace::Options,
) -> Result<Vec<Answer>, Failure> {
    let step = |(number, ttl): (u32, &u8)| Step {
        number,
        hop_limit: *ttl,
        flow: 0,
    };
    let call = ProbeCall {
        target: target.to_owned(),
        probes: (0..).zip(ttls).map(step).collect(),
        options: Some(options),
        open: None,
    };
    let mut connection = Connection::open(socket)?;
    connection.call_more("io.netsonde.Trace.Probe", &call)?;
    // A probe that was reported as lost may be reported again as late.
    let mut answers: HashMap<u32, Answer> = HashMap::new();
    while let Some((reply, continues)) = connection.reply_or::<ProbeReply>(None)? {
        for answer in reply.answers.into_iter().flatten() {
            answers.insert(answer.number, answer);
        }
        if !continues {
            break;
        }
    }
    let all = (0..ttls.len() as u32).map(|number| answers.remove(&number).unwrap_or_default());
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
