//! SHELL. `io.netsonde.Trace`: probes with a hop limit and a flow each.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::ping::reply;
use super::ping::{MAX_EVENTS, RunGuard, options, targets};
use crate::daemon::engine::Shared;
use crate::daemon::engine::state::EngineState;
use crate::linux::monotonic_ns;
use crate::varlink::server::user::User;
use crate::varlink::server::{Failure, Peer, Replies};
use netsonde_core::probe::fate::describe_errno;
use netsonde_core::probe::identity::BALANCED;
use netsonde_core::probe::run::{Event, ListedProbe, MAX_LISTED, Probes};
use netsonde_core::probe::transport::{
    Living, MAX_FLOW_LABEL, SegmentKind, TCP_FLOWS, TRACE_PORT, UDP_FLOWS, checksum_of,
};
use netsonde_core::probe::{Identity, Run, Target};
use netsonde_core::protocol::ping;
use netsonde_core::protocol::time;
use netsonde_core::protocol::trace::{
    AddCall, Answer, CloseCall, Connection, Interface, Label, Options, ProbeCall, ProbeReply,
    Quote, Step,
};
use netsonde_core::sockets::State;

/// Maximum number of probes in one call: a request of 64 KiB has room for them.
const MAX_STEPS: usize = 512;
/// Default payload in bytes: the cookie, its balance, and some more than routers may demand.
const SIZE: u32 = 32;
/// Default interval between two probes, in nanoseconds: what [ping] allows every user.
const INTERVAL_NS: u64 = 2_000_000;

/// Gives the errors of `io.netsonde.Ping` their name in this interface.
fn renamed(failure: Failure) -> Failure {
    match failure {
        Failure::Error { name, parameters } => match name.strip_prefix("io.netsonde.Ping.") {
            Some(last) => Failure::error(&format!("io.netsonde.Trace.{last}"), parameters),
            None => Failure::Error { name, parameters },
        },
        other => other,
    }
}

fn no_such_run(run: u64) -> Failure {
    Failure::error("io.netsonde.Trace.NoSuchRun", json!({ "run": run }))
}

fn too_many(limit: &str, most: usize) -> Failure {
    let parameters: Value = json!({ "limit": limit, "most": most });
    Failure::error("io.netsonde.Trace.LimitReached", parameters)
}

fn listed(steps: &[Step]) -> Result<Vec<ListedProbe>, Failure> {
    if steps.len() > MAX_STEPS {
        return Err(too_many("probes of one call", MAX_STEPS));
    }
    if steps.iter().any(|step| step.hop_limit == 0) {
        return Err(Failure::invalid_parameter("probes: a hop limit of 0"));
    }
    let probe = |step: &Step| ListedProbe {
        number: step.number,
        hop_limit: step.hop_limit,
        flow: step.flow,
    };
    Ok(steps.iter().map(probe).collect())
}

/// Answers `Probe`: the number of the run, its answers as they come, and at its end the number of forged ones.
pub async fn probe(
    engine: &Shared,
    peer: &Peer,
    call: ProbeCall,
    replies: &mut Replies<'_>,
) -> Result<(), Failure> {
    replies.require_more()?;
    let guard = RunGuard {
        engine,
        number: start(&mut engine.borrow_mut(), peer, &call).map_err(renamed)?,
    };
    let number = guard.number;
    drop(call);
    let started = ProbeReply {
        run: Some(number),
        id: Some(engine.borrow().prober.runs[&number].run.id),
        ..ProbeReply::default()
    };
    replies.next(&started).await?;
    let events_ready = engine.borrow().prober.runs[&number].events_ready.clone();
    loop {
        let drained = drain(&mut engine.borrow_mut(), number);
        let Some((answers, is_over)) = drained else {
            return Err(Failure::Gone);
        };
        let has_some = !answers.is_empty();
        if has_some {
            let answers = ProbeReply {
                answers: Some(answers),
                ..ProbeReply::default()
            };
            replies.next(&answers).await?;
        }
        if is_over {
            break;
        }
        if !has_some {
            events_ready.notified().await;
        }
    }
    let Some(ended) = guard.end() else {
        return Err(Failure::Gone);
    };
    let last = ProbeReply {
        forged: Some(ended.run.forged),
        ..ProbeReply::default()
    };
    replies.last(&last).await
}

/// Starts the run of a call, and returns its number.
fn start(engine: &mut EngineState, peer: &Peer, call: &ProbeCall) -> Result<u64, Failure> {
    let list = listed(&call.probes)?;
    let is_open = call.open == Some(true);
    if list.is_empty() && !is_open {
        return Err(Failure::invalid_parameter("probes: none given"));
    }
    let options = call.options.clone().unwrap_or_default();
    let Options {
        timeout_ns,
        interval_ns,
        size,
        tos,
        pmtu_discovery,
        interface,
        source,
        transport,
        port,
        connection,
    } = options;
    let is_udp = transport.as_deref() == Some("udp");
    let is_tcp = transport.as_deref() == Some("tcp");
    let has_port_per_flow = is_udp && port.is_none();
    let most_flows = match (is_udp, is_tcp) {
        (true, _) if !has_port_per_flow => UDP_FLOWS,
        (_, true) => TCP_FLOWS,
        _ => usize::from(u16::MAX) + 1,
    };
    if (list.iter()).any(|probe| usize::from(probe.flow) >= most_flows) {
        return Err(too_many("flows", most_flows));
    }
    let size = size.unwrap_or(SIZE);
    if (size as usize) < BALANCED {
        return Err(Failure::invalid_parameter(&format!(
            "options.size: {size} is less than {BALANCED}"
        )));
    }
    let options = ping::Options {
        count: Some(list.len() as u32),
        interval_ns: Some(interval_ns.unwrap_or(INTERVAL_NS)),
        timeout_ns,
        size: (!is_tcp).then_some(size),
        tos,
        pmtu_discovery,
        interface,
        source,
        transport,
        port: port.or(has_port_per_flow.then_some(TRACE_PORT)),
        ..ping::Options::default()
    };
    let targets = targets::single(engine, peer, &call.target)?;
    let living = match connection {
        Some(connection) => {
            let living = living(&options, connection)?;
            let uses = (&targets.list[0], &options);
            require_connection(engine, peer, &living, uses)?;
            Some(living)
        }
        None => None,
    };
    if targets.list.iter().any(|target| target.is_group) {
        return Err(Failure::error(
            "io.netsonde.Trace.BadTarget",
            json!({ "target": call.target, "reason": "a group has no path of its own" }),
        ));
    }
    if living.is_some() && list.iter().any(|probe| probe.flow != 0) {
        return Err(too_many("flows of a connection", 1));
    }
    let probes = Probes {
        living,
        list: list.into(),
        passed: 0,
        is_open,
        has_port_per_flow,
    };
    options::start(engine, peer, options, Some(probes), targets)
}

/// Returns the connection along which probes are to go.
fn living(options: &ping::Options, connection: Connection) -> Result<Living, Failure> {
    let invalid =
        |problem: &str| Failure::invalid_parameter(&format!("options.connection: {problem}"));
    if options.transport.as_deref() != Some("tcp") {
        return Err(invalid("only with the transport tcp"));
    }
    let source = options.source.as_ref().and_then(|text| text.parse().ok());
    let source: std::net::IpAddr = source.ok_or_else(|| invalid("needs an address as source"))?;
    if connection.source_port == 0 {
        return Err(invalid("source_port: expected 1 to 65535"));
    }
    let flow_label = connection.flow_label.unwrap_or(0);
    if flow_label > MAX_FLOW_LABEL || flow_label != 0 && source.is_ipv4() {
        return Err(invalid("flow_label: 20 bits, and of IPv6 only"));
    }
    Ok(Living {
        source,
        source_port: connection.source_port,
        flow_label,
        sequence: connection.sequence,
    })
}

/// Requires that a connection exists, and that it is the caller's, unless that is root.
fn require_connection(
    engine: &mut EngineState,
    peer: &Peer,
    living: &Living,
    (target, options): (&Target, &ping::Options),
) -> Result<(), Failure> {
    let local = SocketAddr::new(living.source, living.source_port);
    let remote = SocketAddr::new(target.address, options.port.unwrap_or(0));
    let named = options.interface.as_deref();
    let ifindex = match named.and_then(|name| engine.links.index_of(name)) {
        Some(ifindex) => ifindex,
        None => target.scope,
    };
    let found = engine.prober.find_connection((local, remote), ifindex);
    let found = found.map_err(|error| {
        let reason = format!("looking up the connection: {error}");
        Failure::error(
            "io.netsonde.Service.Unavailable",
            json!({ "reason": reason }),
        )
    })?;
    let none = || {
        let parameters = json!({ "source": local.to_string(), "destination": remote.to_string() });
        Failure::error("io.netsonde.Trace.NoSuchConnection", parameters)
    };
    let socket = found.ok_or_else(none)?;
    // Of one that is closed here, a firewall that tracks it might take a probe for the last acknowledgment.
    if !matches!(
        socket.state,
        State::Established | State::SynSent | State::CloseWait
    ) {
        return Err(none());
    }
    let is_own = matches!(peer.user(), User::Uid(uid) if socket.uid == Some(uid));
    let is_privileged = engine.access.permissions.is_privileged(peer.caller());
    if is_own || is_privileged {
        return Ok(());
    }
    engine.access.denials += 1;
    Err(Failure::error(
        "io.netsonde.Trace.NotPermitted",
        json!({ "what": "the connection of another user", "limit": "your own" }),
    ))
}

/// Returns the open run of this number, if it is one of the caller's.
fn open_run<'a>(
    engine: &'a mut EngineState,
    peer: &Peer,
    number: u64,
) -> Result<&'a mut Run, Failure> {
    let owner = peer.user();
    let active = engine.prober.runs.get_mut(&number);
    let active = active.filter(|active| active.owner == owner);
    let run = active.map(|active| &mut active.run);
    let is_open = |run: &&mut Run| matches!(&run.settings.listed, Some(list) if list.is_open);
    run.filter(is_open).ok_or_else(|| no_such_run(number))
}

/// Answers `Add`.
pub fn add(engine: &Shared, peer: &Peer, call: AddCall) -> Result<(), Failure> {
    let list = listed(&call.probes)?;
    let mut engine = engine.borrow_mut();
    let run = open_run(&mut engine, peer, call.run)?;
    if let Some(living) = run.living().copied() {
        // It may have ended, and its ports may be those of another one by now.
        let target = run.targets[0];
        let options = ping::Options {
            port: run.settings.transport.port(),
            ..ping::Options::default()
        };
        require_connection(&mut engine, peer, &living, (&target, &options))?;
        if list.iter().any(|probe| probe.flow != 0) {
            return Err(too_many("flows of a connection", 1));
        }
    }
    let run = open_run(&mut engine, peer, call.run)?;
    if !run.add(&list, monotonic_ns()) {
        return Err(too_many("probes of one run", MAX_LISTED));
    }
    engine.prober.wake.notify_one();
    Ok(())
}

/// Answers `Close`.
pub fn close(engine: &Shared, peer: &Peer, call: CloseCall) -> Result<(), Failure> {
    let mut engine = engine.borrow_mut();
    open_run(&mut engine, peer, call.run)?.close();
    engine.prober.wake.notify_one();
    Ok(())
}

/// Removes pending events of a run. Returns them as answers, and whether they were the last. `None` if the run does not
/// exist.
fn drain(engine: &mut EngineState, number: u64) -> Option<(Vec<Answer>, bool)> {
    let identity = engine.prober.identity().clone();
    let active = engine.prober.runs.get_mut(&number)?;
    let run = &mut active.run;
    let count = run.events.len().min(MAX_EVENTS);
    let events: Vec<Event> = run.events.drain(..count).collect();
    let is_own = |address| engine.links.is_own(address);
    let answers = (events.into_iter().filter(|event| !event.duplicate))
        .filter_map(|event| answer(event, run, &identity, is_own))
        .collect();
    let is_last = active.is_over && run.events.is_empty();
    active.release_event_room();
    Some((answers, is_last))
}

fn answer(
    event: Event,
    run: &Run,
    identity: &Identity,
    is_own: impl Fn(std::net::IpAddr) -> bool,
) -> Option<Answer> {
    let probe = run.listed(event.sequence)?;
    let target = run.targets.get(event.target as usize)?.address;
    let quote = event.error.map(|(_, quoted)| {
        let headers = quoted.headers;
        let delivered_to = headers.error_to;
        let is_source = match delivered_to {
            Some(address) => address == headers.source,
            None => is_own(headers.source),
        };
        let (quoted_sum, sent) = match quoted.segment().map(|segment| segment.kind) {
            Some(SegmentKind::Udp { checksum, .. }) => {
                let token = identity.token(run.number, target, event.sequence);
                (checksum, checksum_of(&token))
            }
            // Its checksum covers addresses over IPv6 only, where the kernel chooses the source.
            None if target.is_ipv4() => {
                (headers.checksum, identity.checksum(run.number, probe.flow))
            }
            _ => (0, 0),
        };
        let is_sum = quoted_sum == sent;
        Quote {
            ttl: headers.ttl,
            tos: headers.tos,
            length: headers.length,
            ip_id: headers.ip_id,
            source: (!is_source).then(|| headers.source.to_string()),
            destination: (quoted.to != target).then(|| quoted.to.to_string()),
            checksum: (!is_sum).then_some(quoted_sum),
        }
    });
    let extensions = event.extensions.map(|all| *all).unwrap_or_default();
    let labels: Vec<Label> = (extensions.labels.iter())
        .map(|entry| Label {
            label: entry.label,
            class: entry.class,
            bottom: entry.is_bottom,
            ttl: entry.ttl,
        })
        .collect();
    let interfaces: Vec<Interface> = (extensions.interfaces.into_iter())
        .map(|one| Interface {
            role: one.role.name().into(),
            index: one.index,
            address: one.address.map(|address| address.to_string()),
            name: one.name,
            mtu: one.mtu,
        })
        .collect();
    let way = event.way.as_ref();
    Some(Answer {
        number: probe.number,
        hop_limit: probe.hop_limit,
        flow: probe.flow,
        time: time(event.time_ns),
        fate: event.fate.name().into(),
        instead_of: event.replaces_fate.map(|fate| fate.name().into()),
        from: event.from.map(|from| from.to_string()),
        ttl: event.ttl,
        rtt_ns: event.rtt_ns,
        wire_rtt_ns: event.wire_rtt_ns,
        error: event.error.map(reply::error),
        quote,
        labels: (!labels.is_empty()).then_some(labels),
        interfaces: (!interfaces.is_empty()).then_some(interfaces),
        reset: event.is_reset.then_some(true),
        errno: event.errno.map(|errno| describe_errno(errno).0.into()),
        last_seen: event.last_seen,
        interface: way.map(|way| way.interface.clone()),
        next_hop: way.and_then(|way| Some(way.next_hop?.to_string())),
        link: way.and_then(|way| Some(way.link_problem?.to_owned())),
        hop: way.and_then(|way| way.hop_problem.clone()),
        is_final: !event.fate.may_change(),
    })
}
