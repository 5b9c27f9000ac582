//! SHELL. `netsonde mcast`: what is known of multicast on the links of this host, and its tests.

pub mod join;

use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use crate::client::cli::args::{Global, Mcast};
use crate::client::commands::doctor;
use crate::client::connection::ask_with;
use crate::client::failure::Failure;
use crate::client::render::style::{Style, age, duration, right, table};
use netsonde_core::protocol::multicast::{
    Group, Groups, InterfaceCall, Member, MpegTs, Queriers, Router, Rtp, Streams,
};

/// Maximum number of members listed per group with `-v`.
const MEMBERS_SHOWN: usize = 256;

/// Runs `netsonde mcast`.
pub fn run(global: &Global, socket: &Path, command: &Mcast) -> Result<u8, Failure> {
    match command {
        Mcast::Groups { interface, groups } => {
            let call = InterfaceCall {
                interface: interface.clone(),
            };
            let mut told: Groups = ask_with(socket, "io.netsonde.Multicast.Groups", &call)?;
            told.groups.retain(|group| is_wanted(&group.group, groups));
            let told = held(told);
            show(global, &told, groups_text)
        }
        Mcast::Streams { interface, groups } => {
            let call = InterfaceCall {
                interface: interface.clone(),
            };
            let mut told: Streams = ask_with(socket, "io.netsonde.Multicast.Streams", &call)?;
            (told.streams).retain(|stream| is_wanted(&stream.group, groups));
            show(global, &told, streams_text)
        }
        Mcast::Queriers { interface } => {
            let call = InterfaceCall {
                interface: interface.clone(),
            };
            let told: Queriers = ask_with(socket, "io.netsonde.Multicast.Queriers", &call)?;
            show(global, &told, queriers_text)
        }
        Mcast::Join(args) => join::join(global, socket, args),
        Mcast::Doctor(args) => doctor::run(global, socket, args),
        Mcast::Send(args) => join::send(global, args),
    }
}

/// Returns whether a group is selected.
fn is_wanted(group: &str, wanted: &[IpAddr]) -> bool {
    wanted.is_empty() || (group.parse::<IpAddr>()).is_ok_and(|group| wanted.contains(&group))
}

/// Lists groups, with the processes that joined them as far as the caller may know.
#[derive(Serialize)]
struct HeldGroups {
    time: String,
    groups: Vec<HeldGroup>,
}

#[derive(Serialize)]
struct HeldGroup {
    #[serde(flatten)]
    group: Group,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    processes: Vec<Holding>,
}

/// A process that joined a group, with its sources.
#[derive(Serialize)]
struct Holding {
    pid: u32,
    command: String,
    mode: &'static str,
    sources: Vec<String>,
}

fn held(told: Groups) -> HeldGroups {
    let mut by_group: HashMap<(String, IpAddr), Vec<Holding>> = HashMap::new();
    for (interface, group, process, include, sources) in doctor::group_members() {
        by_group
            .entry((interface, group))
            .or_default()
            .push(Holding {
                pid: process.pid,
                command: process.command,
                mode: if include { "include" } else { "exclude" },
                sources: sources.iter().map(ToString::to_string).collect(),
            });
    }
    let groups = (told.groups.into_iter())
        .map(|group| {
            let key = group
                .group
                .parse()
                .map(|address| (group.interface.clone(), address));
            HeldGroup {
                processes: key
                    .ok()
                    .and_then(|key| by_group.remove(&key))
                    .unwrap_or_default(),
                group,
            }
        })
        .collect();
    HeldGroups {
        time: told.time,
        groups,
    }
}

pub(crate) fn show<T: Serialize>(
    global: &Global,
    told: &T,
    text: fn(&T, Style, bool) -> String,
) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    let words = if global.json {
        serde_json::to_string_pretty(told).map_err(std::io::Error::from)?
    } else {
        text(told, Style::new(global.color), global.verbose)
    };
    writeln!(out, "{}", words.trim_end())?;
    Ok(0)
}

fn groups_text(told: &HeldGroups, style: Style, verbose: bool) -> String {
    if told.groups.is_empty() {
        return "no groups".into();
    }
    let row = |held: &HeldGroup| -> Vec<String> {
        let group = &held.group;
        let current = group.members.iter().filter(|member| member.current).count();
        let newest = group
            .members
            .iter()
            .max_by_key(|member| member.last.clone());
        let kernel = match (group.kernel_users, group.netsonde) {
            (0, _) => "-".into(),
            (1, true) => "netsonde".into(),
            (users, true) => format!("{} + netsonde", users - 1),
            (users, false) => users.to_string(),
        };
        vec![
            group.interface.clone(),
            group.group.clone(),
            kernel,
            current.to_string(),
            newest.map_or("-".into(), |newest| age(&told.time, &newest.last)),
            group.name.clone().unwrap_or_default(),
        ]
    };
    let head = ["IF", "GROUP", "HERE", "HOSTS", "LAST REPORT", "NAME"];
    if !verbose {
        let mut rows: Vec<Vec<String>> = told.groups.iter().map(row).collect();
        right(&head, &mut rows, 4);
        return table(style, &head, &rows);
    }
    let mut text = String::new();
    for held in &told.groups {
        let group = &held.group;
        let mut rows = [row(held)];
        right(&head, &mut rows, 4);
        text.push_str(&table(style, &head, &rows));
        text.push_str(&format!("\n    frames to {}", group.mac));
        if let Some(aliases) = &group.aliases {
            text.push_str(&format!(", the same as {}", aliases.join(", ")));
        }
        text.push('\n');
        for (what, sources) in [
            ("only from", &group.kernel_include),
            ("any except", &group.kernel_exclude),
        ] {
            if let Some(sources) = sources {
                text.push_str(&format!(
                    "    this host has joined it {what} {}\n",
                    sources.join(", ")
                ));
            }
        }
        for process in &held.processes {
            text.push_str(&format!("    {}\n", holding_text(process)));
        }
        for member in group.members.iter().take(MEMBERS_SHOWN) {
            text.push_str(&format!("    {}\n", member_text(group, member, &told.time)));
        }
        let left_out = group.members.len().saturating_sub(MEMBERS_SHOWN);
        if left_out > 0 {
            text.push_str(&format!("    and {left_out} more; --json lists all\n"));
        }
    }
    text
}

fn holding_text(process: &Holding) -> String {
    let wants = match (process.mode, process.sources.is_empty()) {
        ("exclude", true) => String::new(),
        ("exclude", false) => format!(", any source except {}", process.sources.join(", ")),
        _ => format!(", only from {}", process.sources.join(", ")),
    };
    format!(
        "joined by {} (process {}){wants}",
        process.command, process.pid
    )
}

fn member_text(group: &Group, member: &Member, now: &str) -> String {
    let protocol = if group.group.contains(':') {
        "MLDv"
    } else {
        "IGMPv"
    };
    let wants = match (member.mode.as_str(), member.sources.is_empty()) {
        ("exclude", true) => "any source".into(),
        ("exclude", false) => format!("any source except {}", member.sources.join(", ")),
        (_, true) => "nothing".into(),
        _ => format!("only from {}", member.sources.join(", ")),
    };
    let state = match (&member.left, member.current) {
        (Some(left), _) => format!("left {} ago", age(now, left)),
        (None, true) => format!(
            "last report {} ago, expires in switches in {}",
            age(now, &member.last),
            member
                .expires
                .as_deref()
                .map_or("-".into(), |expires| age(expires, now))
        ),
        (None, false) => format!("expired: last report {} ago", age(now, &member.last)),
    };
    format!(
        "{}{} {protocol}{} joined {wants}, {} reports since {}, {state}",
        member.host,
        if member.own { " (this host)" } else { "" },
        member.version,
        member.reports,
        member.first,
    )
}

fn streams_text(told: &Streams, style: Style, verbose: bool) -> String {
    if told.streams.is_empty() {
        return "no streams".into();
    }
    let mut rows: Vec<Vec<String>> = (told.streams.iter())
        .map(|stream| {
            let of_rtp = |value: fn(&Rtp) -> String| stream.rtp.as_ref().map_or("-".into(), value);
            let ts = stream.ts.as_ref();
            let of_either = |rtp: fn(&Rtp) -> u64, of_ts: fn(&MpegTs) -> u64| {
                let number = stream.rtp.as_ref().map(rtp).or(ts.map(of_ts));
                number.map_or("-".into(), |number| number.to_string())
            };
            let numbers = match (&stream.rtp, ts) {
                (Some(_), Some(_)) => "RTP, TS",
                (Some(_), None) => "RTP",
                (None, Some(_)) => "TS",
                (None, None) => "-",
            };
            let at = |address: &str, port: u16| match address.parse::<IpAddr>() {
                Ok(address) => std::net::SocketAddr::new(address, port).to_string(),
                Err(_) => format!("{address} {port}"),
            };
            let mut row = vec![
                stream.interface.clone(),
                at(&stream.group, stream.port),
                format!(
                    "{}{}",
                    stream.source,
                    if stream.outbound { " (this host)" } else { "" }
                ),
                stream.packets.to_string(),
                stream.packets_per_second.to_string(),
                format!("{:.3}", stream.bits_per_second as f64 / 1e6),
                stream.ttl.to_string(),
                age(&told.time, &stream.last),
                numbers.into(),
                of_either(|rtp| rtp.lost, |ts| ts.lost),
                of_rtp(|rtp| {
                    (rtp.jitter_ns).map_or("-".into(), |ns| format!("{:.3}", ns as f64 / 1e6))
                }),
            ];
            if verbose {
                row.push(duration(stream.longest_gap_ns));
                row.push(stream.wrong_mac.to_string());
                row.push(of_either(|rtp| rtp.duplicates, |ts| ts.duplicates));
                row.push(of_either(|rtp| rtp.reordered, |ts| ts.reordered));
                row.push(of_either(|rtp| rtp.restarts, |ts| ts.restarts));
            }
            row
        })
        .collect();
    let mut head = vec![
        "IF",
        "GROUP",
        "SOURCE",
        "PACKETS",
        "PER S",
        "Mbit/s",
        "TTL",
        "LAST",
        "NUMBERS",
        "LOST",
        "JITTER ms",
    ];
    if verbose {
        head.extend([
            "LONGEST GAP",
            "WRONG MAC",
            "DUPLICATES",
            "REORDERED",
            "RESTARTS",
        ]);
    }
    // Without sequence numbers the loss of a stream is unknown.
    for column in 9..head.len() {
        right(&head, &mut rows, column);
    }
    table(style, &head, &rows)
}

fn queriers_text(told: &Queriers, style: Style, verbose: bool) -> String {
    let rows: Vec<Vec<String>> = (told.queriers.iter())
        .map(|querier| {
            let mut row = vec![
                querier.interface.clone(),
                format!(
                    "{}{}",
                    querier.address,
                    if querier.own { " (this host)" } else { "" }
                ),
                format!("{}v{}", querier.protocol, querier.version),
                querier.standing.clone(),
                format!(
                    "{} {}",
                    duration(querier.interval_ns),
                    querier.interval_from
                ),
                age(&told.time, &querier.last),
                duration(querier.membership_ns),
                querier.queries.to_string(),
            ];
            if verbose {
                row.push(querier.robustness.to_string());
                row.push(duration(querier.max_response_ns));
                row.push(querier.group_queries.to_string());
            }
            row
        })
        .collect();
    let mut head = vec![
        "IF",
        "QUERIER",
        "VERSION",
        "STANDING",
        "INTERVAL",
        "LAST QUERY",
        "MEMBERSHIP",
        "QUERIES",
    ];
    if verbose {
        head.extend(["ROBUSTNESS", "RESPONSE", "GROUP QUERIES"]);
    }
    let mut text = if rows.is_empty() {
        "no querier seen".to_owned()
    } else {
        table(style, &head, &rows)
    };
    let routers = told.routers.as_deref().unwrap_or_default();
    if !routers.is_empty() {
        text.push_str("\n\n");
        text.push_str(&routers_text(routers, &told.time, style));
    }
    for unasked in &told.unasked {
        text.push('\n');
        text.push_str(&style.warn(&format!(
            "{}: no {} querier seen for {}; snooping switches will stop forwarding groups \
                (joined here: {})",
            unasked.interface,
            unasked.protocol,
            age(&told.time, &unasked.since),
            unasked.groups
        )));
    }
    text
}

fn routers_text(routers: &[Router], now: &str, style: Style) -> String {
    let mut rows: Vec<Vec<String>> = (routers.iter())
        .map(|router| {
            vec![
                router.interface.clone(),
                format!(
                    "{}{}",
                    router.address,
                    if router.own { " (this host)" } else { "" }
                ),
                router.protocol.clone(),
                if router.designated { "designated" } else { "-" }.into(),
                router
                    .priority
                    .map_or("-".into(), |priority| priority.to_string()),
                age(now, &router.last),
                router.restarts.to_string(),
            ]
        })
        .collect();
    let head = [
        "IF",
        "ROUTER",
        "PROTOCOL",
        "STANDING",
        "PRIORITY",
        "LAST HEARD",
        "RESTARTS",
    ];
    right(&head, &mut rows, 4);
    table(style, &head, &rows)
}
