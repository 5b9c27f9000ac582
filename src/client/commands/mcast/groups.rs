//! SHELL. `mcast groups`: memberships on the wire and in the kernel.

use crate::client::commands::doctor;
use crate::client::render::style::{Style, age, local_time};
use crate::client::render::table::{Column, table};
use netsonde_core::protocol::multicast::{Group, Groups, Member};
use netsonde_core::text::counted;
use serde::Serialize;
use std::collections::HashMap;
use std::net::IpAddr;

/// Maximum number of members listed per group with `-v`.
pub(crate) const MEMBERS_SHOWN: usize = 256;

/// Lists groups, with the processes that joined them as far as the caller may know.
#[derive(Serialize)]
pub(crate) struct HeldGroups {
    time: String,
    groups: Vec<HeldGroup>,
}

#[derive(Serialize)]
pub(crate) struct HeldGroup {
    #[serde(flatten)]
    group: Group,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    processes: Vec<Holding>,
}

/// A process that joined a group, with its sources.
#[derive(Serialize)]
pub(crate) struct Holding {
    pid: u32,
    command: String,
    mode: &'static str,
    sources: Vec<String>,
}

/// Adds the processes that joined each group.
pub(crate) fn held(report: Groups, members: Vec<doctor::GroupMember>) -> HeldGroups {
    let mut by_group: HashMap<(String, IpAddr), Vec<Holding>> = HashMap::new();
    for (interface, group, process, include, sources) in members {
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
    let groups = report
        .groups
        .into_iter()
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
        time: report.time,
        groups,
    }
}

pub(crate) fn groups_text(report: &HeldGroups, style: Style, verbose: bool) -> String {
    if report.groups.is_empty() {
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
            newest.map_or("-".into(), |newest| age(&report.time, &newest.last)),
            group.name.clone().unwrap_or_default(),
        ]
    };
    let columns = [
        Column::text("IF"),
        Column::text("GROUP"),
        Column::number("HERE"),
        Column::number("HOSTS"),
        Column::number("LAST REPORT"),
        Column::text("NAME").shrinks(8),
    ];
    if !verbose {
        let rows: Vec<Vec<String>> = report.groups.iter().map(row).collect();
        return table(style, &columns, &rows);
    }
    let mut text = String::new();
    for held in &report.groups {
        let group = &held.group;
        text.push_str(&table(style, &columns, &[row(held)]));
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
            text.push_str(&format!(
                "    {}\n",
                member_text(group, member, &report.time)
            ));
        }
        let left_out = group.members.len().saturating_sub(MEMBERS_SHOWN);
        if left_out > 0 {
            text.push_str(&format!("    and {left_out} more; --json lists all\n"));
        }
    }
    text
}

pub(crate) fn holding_text(process: &Holding) -> String {
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

pub(crate) fn member_text(group: &Group, member: &Member, now: &str) -> String {
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
        "{}{} {protocol}{} joined {wants}, {} since {}, {state}",
        member.host,
        if member.own { " (this host)" } else { "" },
        member.version,
        counted(member.reports, "report"),
        local_time(&member.first),
    )
}
