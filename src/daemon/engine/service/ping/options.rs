//! SHELL. Options of a run: defaults, ranges, and the permissions of its user.

use std::net::{IpAddr, Ipv4Addr};

use super::targets::{Targets, check_scopes, mark_broadcast};
use super::{bad_target, limit_reached, no_memory, not_permitted};
use crate::daemon::engine::prober::{STAMPED_RATE, SendOptions, SocketOptions};
use crate::daemon::engine::state::EngineState;
use crate::varlink::server::user::User;
use crate::varlink::server::{Failure, Peer};
use netsonde_core::probe::run::Probes;
use netsonde_core::probe::transport::{LEAST_PAYLOAD, MOST_PAYLOAD};
use netsonde_core::probe::{Settings, Target, Transport};
use netsonde_core::protocol::ping::Options;

/// Default payload size in bytes, as for ping.
const SIZE: u32 = 56;
/// Maximum payload size over IPv4 and IPv6, in bytes: the longest packet without its headers.
const MAX_SIZE: (u32, u32) = (65_507, 65_527);
/// Default timeout of a probe, in nanoseconds.
const TIMEOUT_NS: u64 = 1_000_000_000;
/// Default interval between two probes to a target, in nanoseconds.
const INTERVAL_NS: u64 = 1_000_000_000;
/// Maximum timeout and interval, in nanoseconds: one hour.
const MAX_TIME_NS: u64 = 3_600_000_000_000;
/// Default rate of a run with several targets, in probes per second.
const RATE: u64 = 10_000;
/// Maximum number of runs of a user with full limits, as `ping.runs_per_uid` can be at most.
const MAX_RUNS: u64 = 1024;
/// Maximum length of a pattern in bytes, as for ping.
const MAX_PATTERN: usize = 16;

/// Checks the options of a run against limits and permissions, and starts it. Returns its number.
pub(in crate::daemon::engine::service) fn start(
    engine: &mut EngineState,
    peer: &Peer,
    options: Options,
    listed: Option<Probes>,
    mut targets: Targets,
) -> Result<u64, Failure> {
    let limits = engine.config.ping.clone();
    let is_privileged = engine.access.permissions.is_privileged(peer.caller());
    let owner = peer.user();
    let permissions = &engine.access.permissions;
    let has_full_limits = matches!(owner, User::Uid(uid) if permissions.has_full_limits(uid));
    let runs = match has_full_limits {
        true => MAX_RUNS,
        false => limits.runs_per_uid,
    };
    if engine.prober.runs_of(owner) as u64 >= runs {
        engine.prober.hits.runs += 1;
        return Err(limit_reached("runs of one user", runs));
    }
    let is_ipv4 = check_family(engine, &targets.list)?;
    let transport = transport(&options, &targets.list)?;
    let (size, pattern) = payload(&options, transport, is_ipv4)?;
    let has_all_rates = is_privileged || has_full_limits;
    let max_rate = match has_all_rates {
        true => limits.rate,
        false => limits.rate_per_uid,
    };
    let min_interval_ns = match is_privileged {
        true => 0,
        false => limits.interval_ms * 1_000_000,
    };
    let pace = Pace::new(&options, max_rate, min_interval_ns, targets.list.len())?;
    if listed.is_none() {
        check_flows(transport, &pace)?;
    }
    let socket = socket_options(engine, &options, is_ipv4)?;
    if socket.send.ifindex == 0 {
        check_scopes(engine, &targets.list)?;
    }
    let is_allowed = options.broadcast == Some(true);
    mark_broadcast(
        engine,
        &mut targets.list,
        &socket.send,
        is_privileged,
        is_allowed,
    )?;
    let count = targets.list.len() as u64;
    let probes_per_second = count * 1_000_000_000 / pace.interval_ns.max(1);
    let settings = Settings {
        count: options.count,
        interval_ns: pace.interval_ns,
        timeout_ns: pace.timeout_ns,
        deadline_ns: options.deadline_ns,
        transport,
        size,
        pattern,
        flood: pace.flood,
        rate: pace.rate,
        spread: options.spread.or(options.packed) == Some(true) && !pace.flood,
        quiet: options.quiet == Some(true),
        packed: options.packed == Some(true),
        is_evidence: options.evidence == Some(true),
        listed,
        stamped: transport == Transport::Echo
            && !pace.flood
            && pace.rate.min(probes_per_second) <= STAMPED_RATE,
    };
    tracing::debug!(uid = peer.uid, targets = count, "ping requested");
    let prober = &mut engine.prober;
    let cost = settings.cost(&targets.list, prober.max_in_flight());
    let memory = engine.memory.reserve(owner, cost).map_err(no_memory)?;
    let events = Settings::event_bytes(settings.event_room(count));
    let events = engine.memory.reserve(owner, events).map_err(no_memory)?;
    let from = (owner, has_all_rates);
    // The memory of the list is held until the run has its own copy.
    let Targets {
        list,
        memory: _held,
        ..
    } = targets;
    Ok(prober.start(from, (memory, events), settings, list, socket))
}

fn invalid(problem: String) -> Failure {
    Failure::invalid_parameter(&format!("options.{problem}"))
}

/// Returns whether the targets are IPv4 addresses. All of them must be of one family, and this kernel
/// must support it.
fn check_family(engine: &EngineState, targets: &[Target]) -> Result<bool, Failure> {
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
    Ok(is_ipv4)
}

/// Returns the protocol of the probes, and refuses what does not go with it.
fn transport(options: &Options, targets: &[Target]) -> Result<Transport, Failure> {
    let transport = match (options.transport.as_deref(), options.port) {
        (None | Some("echo"), None) => return Ok(Transport::Echo),
        (Some("tcp" | "udp"), None | Some(0)) => {
            return Err(invalid("port: expected 1 to 65535".into()));
        }
        (Some("tcp"), Some(port)) => Transport::Tcp { port },
        (Some("udp"), Some(port)) => Transport::Udp { port },
        (None | Some("echo"), Some(_)) => {
            return Err(invalid("port: only with a transport, tcp or udp".into()));
        }
        (Some(other), _) => {
            return Err(invalid(format!(
                "transport: {other:?}: expected echo, tcp or udp"
            )));
        }
    };
    let only_echo = [
        ("pattern", options.pattern.is_some()),
        ("pmtu_discovery", options.pmtu_discovery.is_some()),
        ("broadcast", options.broadcast.is_some()),
        ("evidence", options.evidence.is_some()),
    ];
    if let Some((name, _)) = only_echo.into_iter().find(|(_, is_given)| *is_given) {
        return Err(invalid(format!("{name}: only with echo requests")));
    }
    let is_tcp = matches!(transport, Transport::Tcp { .. });
    if is_tcp && options.size.is_some_and(|size| size != 0) {
        return Err(invalid("size: TCP probes carry no payload".into()));
    }
    if !is_tcp && options.flood == Some(true) {
        return Err(invalid("flood: not with udp".into()));
    }
    let is_group = |target: &&Target| {
        let is_limited = target.address == IpAddr::V4(Ipv4Addr::BROADCAST);
        target.is_group || target.address.is_multicast() || is_limited
    };
    match targets.iter().find(is_group) {
        None => Ok(transport),
        Some(target) => Err(bad_target(
            &target.address.to_string(),
            "probes by TCP and UDP go to single hosts",
        )),
    }
}

/// A reply by UDP is told by its port where it does not return the token: at most as many probes of a target may
/// wait for theirs as there are ports.
fn check_flows(transport: Transport, pace: &Pace) -> Result<(), Failure> {
    let flows = transport.flows() as u64;
    let most_ns = pace.interval_ns.saturating_mul(flows);
    if matches!(transport, Transport::Udp { .. }) && pace.timeout_ns > most_ns {
        return Err(invalid(format!(
            "timeout_ns: with udp at most {flows} times the interval: {most_ns}"
        )));
    }
    Ok(())
}

/// Returns size and pattern of the payload.
fn payload(
    options: &Options,
    transport: Transport,
    is_ipv4: bool,
) -> Result<(usize, Vec<u8>), Failure> {
    let (least, max) = match transport {
        Transport::Echo if is_ipv4 => (0, MAX_SIZE.0),
        Transport::Echo => (0, MAX_SIZE.1),
        Transport::Udp { .. } => (LEAST_PAYLOAD as u32, MOST_PAYLOAD as u32),
        Transport::Tcp { .. } => return Ok((0, Vec::new())),
    };
    let size = options.size.unwrap_or(SIZE);
    if size < least {
        return Err(invalid(format!("size: {size} is less than {least}")));
    }
    if size > max {
        return Err(invalid(format!("size: {size} is more than {max}")));
    }
    let pattern = parse_pattern(options.pattern.as_deref().unwrap_or("")).map_err(invalid)?;
    Ok((size as usize, pattern))
}

/// Times and rates of a run.
struct Pace {
    timeout_ns: u64,
    interval_ns: u64,
    flood: bool,
    /// Rate of the run, in probes per second.
    rate: u64,
}

impl Pace {
    fn new(
        options: &Options,
        max_rate: u64,
        min_interval_ns: u64,
        target_count: usize,
    ) -> Result<Pace, Failure> {
        let in_range = |name: &str, given: Option<u64>, default: u64| match given {
            Some(0) if name != "interval_ns" => {
                Err(invalid(format!("{name}: must be more than 0")))
            }
            Some(ns) if ns > MAX_TIME_NS => Err(invalid(format!("{name}: at most an hour"))),
            other => Ok(other.unwrap_or(default)),
        };
        let timeout_ns = in_range("timeout_ns", options.timeout_ns, TIMEOUT_NS)?;
        let interval_ns = in_range("interval_ns", options.interval_ns, INTERVAL_NS)?;
        let flood = options.flood == Some(true);
        if interval_ns < min_interval_ns && !flood {
            let limit = format!("intervals of {} ms and more", min_interval_ns / 1_000_000);
            return Err(not_permitted("shorter intervals", limit));
        }
        let mut rate = match options.rate {
            Some(0) => return Err(invalid("rate: must be more than 0".into())),
            Some(rate) if rate > max_rate => {
                return Err(not_permitted(
                    "more probes a second",
                    format!("{max_rate} a second"),
                ));
            }
            Some(rate) => rate,
            None if flood || interval_ns < 1_000_000 => max_rate,
            // Packed runs are those of monitors: they are spread over the interval, and last.
            None if target_count > 1 && options.packed != Some(true) => RATE.min(max_rate),
            None => max_rate,
        };
        if flood && min_interval_ns > 0 {
            rate = rate.min(1_000_000_000 / min_interval_ns);
        }
        Ok(Pace {
            timeout_ns,
            interval_ns,
            flood,
            rate,
        })
    }
}

/// Returns the options of socket and packets.
fn socket_options(
    engine: &EngineState,
    options: &Options,
    is_ipv4: bool,
) -> Result<SocketOptions, Failure> {
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
    let ifindex = match &options.interface {
        None => 0,
        Some(name) => engine
            .links
            .index_of(name)
            .ok_or_else(|| invalid(format!("interface: no such interface: {name}")))?,
    };
    let source = match &options.source {
        None => None,
        Some(text) => {
            let source = text.parse::<IpAddr>().ok();
            let source = source.filter(|source| source.is_ipv4() == is_ipv4);
            Some(source.ok_or_else(|| {
                invalid(format!(
                    "source: {text} is not an address of the targets' family"
                ))
            })?)
        }
    };
    Ok(SocketOptions {
        send: SendOptions {
            ttl: options.ttl,
            tos: options.tos,
            ifindex,
            source,
        },
        pmtu,
    })
}

/// Parses hexadecimal digits. An odd last digit is a byte of its own, as for ping.
fn parse_pattern(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| Some(c.to_digit(16)? as u8)).collect();
    match digits {
        Some(digits) if digits.len() <= MAX_PATTERN * 2 => Ok(digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect()),
        _ => Err(format!(
            "pattern: invalid pattern {text:?}: expected up to {MAX_PATTERN} bytes in hexadecimal"
        )),
    }
}
