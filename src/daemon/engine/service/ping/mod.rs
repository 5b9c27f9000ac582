//! SHELL. `io.netsonde.Ping`: checks requests against permissions and limits, and reports the
//! events of runs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use netlink_packet_route::route::RouteType;
use serde_json::json;
use tokio::task::yield_now;

use super::status::time;
use crate::daemon::engine::Shared;
use crate::daemon::engine::control::{Failure, Peer, Replies};
use crate::daemon::engine::prober::{STAMPED_RATE, SendOptions, SocketOptions};
use crate::daemon::engine::state::EngineState;
use netsonde_core::probe::fate::{describe_errno, describe_error};
use netsonde_core::probe::run::{Event, Responder, TargetStats};
use netsonde_core::probe::statistics;
use netsonde_core::probe::{Fate, Run, Settings, Target};
use netsonde_core::protocol::ping::{
    Distribution, IcmpError, LossWindows, PingCall, PingReply, Probe, Responder as ToldResponder,
    StopCall, Summary, TargetRow, TargetsCall, TargetsReply, Total,
};
use netsonde_core::wire::cursor::Mac;

/// Default payload size in bytes, as for ping.
const SIZE: u32 = 56;
/// Default timeout of a probe.
const TIMEOUT_NS: u64 = 1_000_000_000;
/// Maximum timeout and interval: one hour.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Default rate of a run with several targets, in probes per second.
const PACE: u64 = 10_000;
/// Maximum length of a pattern, as for ping.
const PATTERN: usize = 16;
/// Maximum number of summaries per reply.
const SUMMARIES: usize = 512;
/// Maximum number of events per reply.
const EVENTS: usize = 512;
/// Maximum time for which an unused list of targets is kept.
const LIST_WAIT: Duration = Duration::from_secs(60);
/// Maximum number of lists per user.
const LISTS: usize = 8;

/// Lists of targets that are not used yet.
#[derive(Default)]
pub struct Lists {
    lists: HashMap<u64, List>,
    next: u64,
}

struct List {
    uid: u32,
    targets: Vec<Target>,
    touched: Instant,
}

fn not_permitted(what: &str, limit: String) -> Failure {
    Failure::error(
        "io.netsonde.Ping.NotPermitted",
        json!({ "what": what, "limit": limit }),
    )
}

fn limit_reached(limit: &str, most: u64) -> Failure {
    Failure::error(
        "io.netsonde.Ping.LimitReached",
        json!({ "limit": limit, "most": most }),
    )
}

fn bad_target(target: &str, reason: impl Into<String>) -> Failure {
    Failure::error(
        "io.netsonde.Ping.BadTarget",
        json!({ "target": target, "reason": reason.into() }),
    )
}

fn no_such_list(list: u64) -> Failure {
    Failure::error("io.netsonde.Ping.NoSuchList", json!({ "list": list }))
}

/// Answers `Targets`.
pub fn add_targets(
    engine: &Shared,
    lists: &RefCell<Lists>,
    peer: &Peer,
    call: TargetsCall,
    limit: u64,
) -> Result<TargetsReply, Failure> {
    let lists = &mut *lists.borrow_mut();
    lists
        .lists
        .retain(|_, list| list.touched.elapsed() < LIST_WAIT);
    let number = match call.list {
        Some(number) => number,
        None => {
            if lists
                .lists
                .values()
                .filter(|list| list.uid == peer.uid)
                .count()
                >= LISTS
            {
                return Err(limit_reached("lists of one user", LISTS as u64));
            }
            lists.next += 1;
            let list = List {
                uid: peer.uid,
                targets: vec![],
                touched: Instant::now(),
            };
            lists.lists.insert(lists.next, list);
            lists.next
        }
    };
    let list = (lists.lists.get_mut(&number))
        .filter(|list| list.uid == peer.uid)
        .ok_or_else(|| no_such_list(number))?;
    for text in &call.targets {
        read_target(&engine.borrow(), text, limit, &mut list.targets)?;
    }
    list.touched = Instant::now();
    Ok(TargetsReply {
        list: number,
        targets: list.targets.len() as u64,
    })
}

/// Parses an address or a range.
fn read_target(
    engine: &EngineState,
    text: &str,
    limit: u64,
    into: &mut Vec<Target>,
) -> Result<(), Failure> {
    let room = |count: u64| {
        if into.len() as u64 + count > limit {
            Err(limit_reached("targets of one run", limit))
        } else {
            Ok(())
        }
    };
    let plain = |address: IpAddr| Target {
        address,
        scope: 0,
        is_group: address.is_multicast(),
    };
    if let Some((start, bits)) = text.split_once('/') {
        let start: IpAddr = start
            .parse()
            .map_err(|_| bad_target(text, "not an address"))?;
        let width: u32 = if start.is_ipv4() { 32 } else { 128 };
        let bits: u32 = (bits.parse().ok())
            .filter(|bits| *bits <= width)
            .ok_or_else(|| bad_target(text, format!("the prefix length must be 0 to {width}")))?;
        let host = width - bits;
        if host >= 64 || 1u64 << host > limit + 2 {
            return Err(limit_reached("targets of one run", limit));
        }
        let count = 1u64 << host;
        match start {
            IpAddr::V4(v4) => {
                let first = u64::from(u32::from(v4)) & !(count - 1);
                // Network and broadcast addresses are not hosts (with the exception of /31, RFC
                // 3021).
                let skip = u64::from(host >= 2);
                room(count - 2 * skip)?;
                into.extend(
                    (first + skip..first + count - skip)
                        .map(|at| plain(Ipv4Addr::from(at as u32).into())),
                );
            }
            IpAddr::V6(v6) => {
                room(count)?;
                let first = u128::from(v6) & !u128::from(count - 1);
                into.extend(
                    (0..count).map(|at| plain(Ipv6Addr::from(first + u128::from(at)).into())),
                );
            }
        }
        return Ok(());
    }
    room(1)?;
    let (address, scope) = match text.split_once('%') {
        None => (text, None),
        Some((address, scope)) => (address, Some(scope)),
    };
    let address: IpAddr = (address.parse())
        .map_err(|_| bad_target(text, "not an address; names are resolved by the client"))?;
    let mut target = plain(address);
    if let Some(scope) = scope {
        target.scope = (engine.links.iter())
            .find(|link| link.name == scope || link.ifindex.to_string() == scope)
            .map(|link| link.ifindex)
            .ok_or_else(|| bad_target(text, format!("no such interface: {scope}")))?;
    }
    into.push(target);
    Ok(())
}

/// Answers `Stop`.
pub fn stop(engine: &Shared, peer: &Peer, call: StopCall) -> Result<(), Failure> {
    let mut engine = engine.borrow_mut();
    let privileged = engine.access.permissions.is_privileged(peer.caller());
    let active = (engine.prober.runs.get_mut(&call.run))
        .filter(|active| active.uid == peer.uid || privileged)
        .ok_or_else(|| Failure::error("io.netsonde.Ping.NoSuchRun", json!({ "run": call.run })))?;
    active.run.stop();
    engine.prober.wake.notify_one();
    Ok(())
}

/// Stops the run when its call ends, in whatever way.
struct Guard<'a> {
    engine: &'a Shared,
    number: u64,
}

impl Guard<'_> {
    fn end(self) -> Option<Run> {
        self.engine.borrow_mut().prober.end(self.number)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.engine.borrow_mut().prober.end(self.number);
    }
}

/// Answers `Ping`.
pub async fn ping(
    engine: &Shared,
    lists: &RefCell<Lists>,
    peer: &Peer,
    call: PingCall,
    replies: &mut Replies<'_>,
) -> Result<(), Failure> {
    if !replies.wants_more() {
        return Err(Failure::error(
            "org.varlink.service.ExpectedMore",
            json!({}),
        ));
    }
    let targets = take_targets(engine, lists, peer, &call)?;
    let rows = call
        .options
        .as_ref()
        .is_some_and(|options| options.rows == Some(true));
    let (number, id, count, quiet) = start(engine, peer, call, targets)?;
    let guard = Guard { engine, number };
    let begun = PingReply {
        run: Some(number),
        id: Some(id),
        targets: Some(count),
        ..PingReply::default()
    };
    replies.next(&begun).await?;
    let news = engine.borrow().prober.runs[&number].events_ready.clone();
    loop {
        let (told, is_over) = {
            let engine = &mut *engine.borrow_mut();
            let Some(active) = engine.prober.runs.get_mut(&number) else {
                return Err(Failure::Gone);
            };
            let run = &mut active.run;
            let most = run.events.len().min(EVENTS);
            let events: Vec<Event> = run.events.drain(..most).collect();
            let probes: Vec<Probe> = (events.iter())
                .map(|event| {
                    tell(
                        event,
                        &run.targets[event.target as usize],
                        world_names(&engine.links),
                    )
                })
                .collect();
            (probes, active.is_over && run.events.is_empty())
        };
        if !told.is_empty() {
            let probes = PingReply {
                probes: Some(told),
                ..PingReply::default()
            };
            replies.next(&probes).await?;
        } else if !is_over {
            news.notified().await;
        }
        if is_over {
            break;
        }
    }
    let Some(run) = guard.end() else {
        return Err(Failure::Gone);
    };
    if !quiet {
        tracing::debug!(run = number, "ping ends");
    }
    for (targets, stats) in run
        .targets
        .chunks(SUMMARIES)
        .zip(run.stats.chunks(SUMMARIES))
    {
        let told = {
            let engine = engine.borrow();
            let each = targets.iter().zip(stats);
            let name = world_names(&engine.links);
            let mut told = PingReply::default();
            if rows {
                told.rows = Some(
                    each.map(|(target, stats)| row(target, stats, &name))
                        .collect(),
                );
            } else {
                told.summaries = Some(
                    each.map(|(target, stats)| summary(target, stats, &name))
                        .collect(),
                );
            }
            told
        };
        replies.next(&told).await?;
        yield_now().await;
    }
    let told = PingReply {
        total: Some(total(&run)),
        ..PingReply::default()
    };
    replies.last(&told).await
}

fn take_targets(
    engine: &Shared,
    lists: &RefCell<Lists>,
    peer: &Peer,
    call: &PingCall,
) -> Result<Vec<Target>, Failure> {
    let limit = engine.borrow().config.ping.targets;
    let mut targets = Vec::new();
    if let Some(number) = call.list {
        let lists = &mut lists.borrow_mut().lists;
        if lists.get(&number).is_none_or(|list| list.uid != peer.uid) {
            return Err(no_such_list(number));
        }
        targets = lists.remove(&number).map_or(vec![], |list| list.targets);
    }
    for text in call.targets.iter().flatten() {
        read_target(&engine.borrow(), text, limit, &mut targets)?;
    }
    if targets.is_empty() {
        return Err(Failure::invalid_parameter("targets: none given"));
    }
    Ok(targets)
}

/// Checks the request against the user's permissions, and starts the run.
fn start(
    engine: &Shared,
    peer: &Peer,
    call: PingCall,
    mut targets: Vec<Target>,
) -> Result<(u64, u16, u64, bool), Failure> {
    let invalid = |what: String| Failure::invalid_parameter(&format!("options.{what}"));
    let options = call.options.unwrap_or_default();
    let engine = &mut *engine.borrow_mut();
    let limits = engine.config.ping.clone();
    let privileged = engine.access.permissions.is_privileged(peer.caller());
    if engine.prober.runs_of(peer.uid) as u64 >= limits.runs_per_uid {
        engine.prober.hits.runs += 1;
        return Err(limit_reached("runs of one user", limits.runs_per_uid));
    }
    let is_ipv4 = targets[0].address.is_ipv4();
    if let Some(other) = targets
        .iter()
        .find(|target| target.address.is_ipv4() != is_ipv4)
    {
        return Err(bad_target(
            &other.address.to_string(),
            "a run has one address family: ping IPv4 and IPv6 separately",
        ));
    }
    if !engine.prober.has_family(is_ipv4) {
        return Err(bad_target(
            &targets[0].address.to_string(),
            "this kernel does not support the address family",
        ));
    }
    let most = if is_ipv4 { 65_507 } else { 65_527 };
    let size = options.size.unwrap_or(SIZE);
    if size > most {
        return Err(invalid(format!("size: {size} is more than {most}")));
    }
    let pattern = read_pattern(options.pattern.as_deref().unwrap_or("")).map_err(invalid)?;
    let in_range = |name: &str, given: Option<u64>, default: u64| match given {
        Some(0) if name != "interval_ns" => Err(invalid(format!("{name}: must be more than 0"))),
        Some(ns) if ns > LONGEST_NS => Err(invalid(format!("{name}: at most an hour"))),
        other => Ok(other.unwrap_or(default)),
    };
    let timeout_ns = in_range("timeout_ns", options.timeout_ns, TIMEOUT_NS)?;
    let interval_ns = in_range("interval_ns", options.interval_ns, 1_000_000_000)?;
    let floor_ns = limits.interval_ms * 1_000_000;
    if !privileged && interval_ns < floor_ns && options.flood != Some(true) {
        let limit = format!("intervals of {} ms and more", limits.interval_ms);
        return Err(not_permitted("shorter intervals", limit));
    }
    let flood = options.flood == Some(true);
    let allowed = if privileged {
        limits.rate
    } else {
        limits.rate_per_uid
    };
    let mut rate = match options.rate {
        Some(0) => return Err(invalid("rate: must be more than 0".into())),
        Some(rate) if rate > allowed => {
            return Err(not_permitted(
                "more probes a second",
                format!("{allowed} a second"),
            ));
        }
        Some(rate) => rate,
        None if flood || interval_ns < 1_000_000 => allowed,
        None if targets.len() > 1 => PACE.min(allowed),
        None => allowed,
    };
    if flood && !privileged && floor_ns > 0 {
        rate = rate.min(1_000_000_000 / floor_ns);
    }
    let pmtu = match options.pmtu_discovery.as_deref() {
        None | Some("want") => libc::IP_PMTUDISC_WANT,
        Some("do") => libc::IP_PMTUDISC_DO,
        Some("dont") => libc::IP_PMTUDISC_DONT,
        Some("probe") => libc::IP_PMTUDISC_PROBE,
        Some(other) => {
            return Err(invalid(format!(
                "pmtu_discovery: {other:?}: expected do, probe, want or dont"
            )));
        }
    };
    let how = SendOptions {
        ttl: options.ttl,
        tos: options.tos,
        ifindex: match &options.interface {
            None => 0,
            Some(name) => (engine.links.iter())
                .find(|link| link.name == *name)
                .map(|link| link.ifindex)
                .ok_or_else(|| invalid(format!("interface: no such interface: {name}")))?,
        },
        source: match &options.source {
            None => None,
            Some(text) => Some(
                (text.parse::<IpAddr>().ok())
                    .filter(|source| source.is_ipv4() == is_ipv4)
                    .ok_or_else(|| {
                        invalid(format!(
                            "source: {text} is not an address of the targets' family"
                        ))
                    })?,
            ),
        },
    };
    if how.ifindex == 0 {
        check_scopes(engine, &targets)?;
    }
    mark_broadcast(
        engine,
        &mut targets,
        &how,
        privileged,
        options.broadcast == Some(true),
    )?;
    let a_second = rate.min(targets.len() as u64 * 1_000_000_000 / interval_ns.max(1));
    let settings = Settings {
        count: options.count,
        interval_ns,
        timeout_ns,
        deadline_ns: options.deadline_ns,
        size: size as usize,
        pattern,
        flood,
        rate,
        quiet: options.quiet == Some(true),
        stamped: !flood && a_second <= STAMPED_RATE,
    };
    let quiet = settings.quiet;
    tracing::debug!(uid = peer.uid, targets = targets.len(), "ping requested");
    let number = engine.prober.start(
        peer.uid,
        allowed,
        settings,
        targets,
        SocketOptions { send: how, pmtu },
    );
    let run = &engine.prober.runs[&number].run;
    Ok((number, run.id, run.targets.len() as u64, quiet))
}

/// A link-local address is ambiguous without its link (RFC 4007, section 6).
fn check_scopes(engine: &EngineState, targets: &[Target]) -> Result<(), Failure> {
    let without = targets.iter().find(|target| {
        target.scope == 0
            && match target.address {
                // ffx1 has interface scope, ffx2 link scope (RFC 4291, section 2.7).
                IpAddr::V6(v6) if v6.is_multicast() => matches!(v6.octets()[1] & 15, 1 | 2),
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
                IpAddr::V4(_) => false,
            }
    });
    let Some(target) = without else {
        return Ok(());
    };
    let links: Vec<&str> = (engine.links.iter())
        .filter(|link| link.name != "lo")
        .map(|link| link.name.as_str())
        .take(8)
        .collect();
    Err(bad_target(
        &target.address.to_string(),
        format!(
            "a link-local address needs an interface: specify it, for example {}%{} (available: \
                {})",
            target.address,
            links.first().unwrap_or(&"eth0"),
            links.join(", ")
        ),
    ))
}

/// Finds broadcast addresses, which need permission and an explicit option, as for ping.
fn mark_broadcast(
    engine: &mut EngineState,
    targets: &mut [Target],
    how: &SendOptions,
    privileged: bool,
    meant: bool,
) -> Result<(), Failure> {
    for target in targets.iter_mut() {
        let IpAddr::V4(v4) = target.address else {
            continue;
        };
        // Querying the kernel for each address of a large range would take seconds; broadcast
        // addresses are those of this host's own prefixes.
        let of_a_link = (engine.links.iter()).any(|link| {
            link.addresses.iter().any(|(own, bits)| match own {
                IpAddr::V4(own) if (1..31).contains(bits) => {
                    let mask = u32::MAX >> bits;
                    u32::from(*own) | mask == u32::from(v4)
                }
                _ => false,
            })
        });
        let is_broadcast = v4.is_broadcast()
            || (of_a_link
                && (engine.prober.route(target.address, how))
                    .is_ok_and(|route| route.kind == RouteType::Broadcast));
        if !is_broadcast {
            continue;
        }
        if !meant {
            return Err(bad_target(
                &v4.to_string(),
                "a broadcast address: use -b to ping it",
            ));
        }
        if !privileged {
            return Err(not_permitted("broadcast", "unicast and multicast".into()));
        }
        target.is_group = true;
    }
    Ok(())
}

fn read_pattern(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = (text.chars())
        .map(|c| Some(c.to_digit(16)? as u8))
        .collect();
    match digits {
        Some(digits) if digits.len() <= PATTERN * 2 => Ok(digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect()),
        _ => Err(format!(
            "pattern: invalid pattern {text:?}: expected up to {PATTERN} bytes in hexadecimal"
        )),
    }
}

fn world_names(links: &crate::daemon::engine::links::Links) -> impl Fn(u32) -> String {
    move |index| {
        links
            .get(index)
            .map_or_else(|| index.to_string(), |link| link.name.clone())
    }
}

fn target_text(target: &Target, name: impl Fn(u32) -> String) -> String {
    match target.scope {
        0 => target.address.to_string(),
        scope => format!("{}%{}", target.address, name(scope)),
    }
}

fn tell(event: &Event, target: &Target, name: impl Fn(u32) -> String) -> Probe {
    Probe {
        target: target_text(target, name),
        seq: event.sequence,
        time: time(event.time_ns),
        fate: event.fate.name().into(),
        instead_of: event.replaces_fate.map(|fate| fate.name().into()),
        duplicate: event.duplicate.then_some(true),
        from: event.from.map(|from| from.to_string()),
        ttl: event.ttl,
        rtt_ns: event.rtt_ns,
        wire_rtt_ns: event.wire_rtt_ns,
        resolve_ns: event.resolve_ns,
        queue_ns: event.queue_ns,
        wake_ns: event.wake_ns,
        error: event.error.map(|(from, quoted)| IcmpError {
            kind: quoted.kind,
            code: quoted.code,
            from: from.to_string(),
            meaning: describe_error(&quoted),
            mtu: quoted.mtu,
        }),
        errno: event.errno.map(|errno| describe_errno(errno).0.into()),
        last_seen: event.last_seen.clone(),
    }
}

fn figures(of: &statistics::Durations) -> Option<Distribution> {
    of.figures().map(|figures| Distribution {
        min: figures.min,
        mean: figures.mean,
        p50: figures.p50,
        p90: figures.p90,
        p99: figures.p99,
        max: figures.max,
        stddev: figures.stddev,
    })
}

fn loss_percent(sent: u64, received: u64) -> f64 {
    if sent == 0 {
        0.0
    } else {
        let percent = sent.saturating_sub(received) as f64 * 100.0 / sent as f64;
        (percent * 1e4).round() / 1e4
    }
}

fn fates(of: &[u32; 9]) -> std::collections::BTreeMap<String, u64> {
    (Fate::ALL.iter().zip(of))
        .filter(|(_, count)| **count > 0)
        .map(|(fate, count)| (fate.name().into(), u64::from(*count)))
        .collect()
}

fn summary(target: &Target, stats: &TargetStats, name: impl Fn(u32) -> String) -> Summary {
    let (sent, received) = (u64::from(stats.sent()), u64::from(stats.received()));
    let more = stats.more.as_deref();
    let percent = |part: f64| (part * 1e6).round() / 1e4;
    Summary {
        target: target_text(target, name),
        sent,
        received,
        loss_percent: loss_percent(sent, received),
        fates: fates(&stats.fates),
        duplicates: stats.duplicates.into(),
        late: stats.fates[Fate::Late as usize].into(),
        reordered: stats.reordered.into(),
        rtt_ns: figures(&stats.rtt),
        wire_rtt_ns: figures(&stats.wire),
        jitter_ns: stats.jitter.ns(stats.rtt.count()),
        windows: (more.and_then(|more| more.windows.loss())).map(|loss| LossWindows {
            last_10s_percent: percent(loss.last_10s),
            last_60s_percent: percent(loss.last_60s),
            worst_10s_percent: percent(loss.worst_10s),
        }),
        responders: target.is_group.then(|| {
            let all = more.map(|more| &more.responders);
            (all.into_iter().flatten())
                // A reply seen only on the wire was not delivered.
                .filter(|(_, responder)| responder.replies > 0)
                .map(|(address, responder)| told_responder(*address, responder, sent))
                .collect()
        }),
        responders_left_out: (more.map(|more| more.responders_left_out)).filter(|count| *count > 0),
    }
}

/// Shorter than a summary: a table of many targets shows no more.
fn row(target: &Target, stats: &TargetStats, name: impl Fn(u32) -> String) -> TargetRow {
    let (sent, received) = (stats.sent(), stats.received());
    TargetRow {
        target: target_text(target, name),
        sent: sent.into(),
        received: received.into(),
        fates: (received < sent).then(|| fates(&stats.fates)),
        rtt_ns: stats.rtt.median(),
        wire_rtt_ns: stats.wire.median(),
    }
}

fn told_responder(address: IpAddr, responder: &Responder, sent: u64) -> ToldResponder {
    ToldResponder {
        address: address.to_string(),
        mac: responder.mac.map(|mac| Mac(mac).to_string()),
        replies: responder.replies,
        duplicates: responder.duplicates,
        loss_percent: loss_percent(sent, responder.replies),
        rtt_ns: figures(&responder.rtt),
    }
}

fn total(run: &Run) -> Total {
    let mut all = [0u32; 9];
    let mut total = Total {
        targets: run.targets.len() as u64,
        forged: run.forged,
        stray: run.stray,
        events_dropped: run.events_dropped,
        duration_ns: crate::linux::monotonic_ns() - run.started_ns(),
        ..Total::default()
    };
    for stats in &run.stats {
        for (sum, count) in all.iter_mut().zip(stats.fates) {
            *sum += count;
        }
        total.answered += u64::from(stats.received() > 0);
        total.sent += u64::from(stats.sent());
        total.received += u64::from(stats.received());
        total.duplicates += u64::from(stats.duplicates);
        total.reordered += u64::from(stats.reordered);
    }
    total.late = all[Fate::Late as usize].into();
    total.fates = fates(&all);
    total.loss_percent = loss_percent(total.sent, total.received);
    total
}
