//! SHELL. `netsonde status`: what is recorded, and everything that was lost.

use crate::client::cli::args::Global;
use crate::client::connection::ask;
use crate::client::failure::Failure;
use crate::client::render::style::{Style, age, bytes, duration, right, table};
use netsonde_core::protocol::service::{ListenerCounts, Status};
use std::io::Write;
use std::path::Path;

/// Maximum number of gaps shown; `-v` shows all.
const GAPS_SHOWN: usize = 8;

/// Runs `netsonde status`.
pub fn status(global: &Global, socket: &Path) -> Result<u8, Failure> {
    let status: Status = ask(socket, "io.netsonde.Service.Status")?;
    let mut out = std::io::stdout().lock();
    if global.json {
        writeln!(
            out,
            "{}",
            serde_json::to_string_pretty(&status).map_err(std::io::Error::from)?
        )?;
    } else {
        writeln!(
            out,
            "{}",
            text(&status, Style::new(global.color), global.verbose)
        )?;
    }
    Ok(0)
}

fn text(status: &Status, style: Style, verbose: bool) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    let drops: u64 = status.rings.iter().map(|ring| ring.drops).sum();
    let dropped = if drops == 0 {
        style.good("0")
    } else {
        style.warn(&drops.to_string())
    };
    line(format!(
        "{} {}, up {}, keeper {} engine {} (start {}, up {})",
        style.bold("netsonded"),
        status.version,
        duration(status.uptime_ns),
        status.keeper_pid,
        status.engine.pid,
        status.engine.starts,
        duration(status.engine.uptime_ns)
    ));
    if let Some(sandbox) = &status.sandbox {
        let told = format!(
            "sandbox: seccomp {}, landlock {}",
            sandbox.seccomp, sandbox.landlock
        );
        let is_whole = [&sandbox.seccomp, &sandbox.landlock]
            .iter()
            .all(|state| *state == "enforced");
        if !is_whole {
            line(style.warn(&told));
        } else if verbose {
            line(told);
        }
    }
    if verbose && !status.may.is_empty() {
        line(format!(
            "your permissions: {}; connected to: {}",
            status.may.join(", "),
            status.listening.join(", ")
        ));
    }
    let packets: u64 = status.rings.iter().map(|ring| ring.packets).sum();
    line(format!(
        "packets {packets}, dropped by the rings {dropped}, clients {} of {}, recorder {}",
        status.clients.connected,
        status.clients.limit,
        bytes(status.recorder_bytes)
    ));
    if status.promiscuous {
        line(
            style
                .warn("an interface is promiscuous: the host receives packets addressed to others"),
        );
    }
    line(String::new());
    let mut stores: Vec<Vec<String>> = status
        .recorder
        .iter()
        .map(|store| {
            vec![
                store.store.clone(),
                bytes(store.capacity_bytes),
                format!("{}%", store.used_bytes * 100 / store.capacity_bytes.max(1)),
                store.packets.to_string(),
                store.evicted.to_string(),
                store
                    .oldest
                    .clone()
                    .map_or_else(|| "-".into(), |oldest| age(&status.time, &oldest)),
            ]
        })
        .collect();
    let headings = [
        "STORE",
        "SIZE",
        "USED",
        "PACKETS",
        "EVICTED",
        "REACHES BACK",
    ];
    right(&headings, &mut stores, 5);
    line(table(style, &headings, &stores));
    line(String::new());
    let shown = |state: &str| verbose || state != "gone";
    let gone = status
        .interfaces
        .iter()
        .filter(|interface| !shown(&interface.state))
        .count();
    let interfaces: Vec<Vec<String>> = status
        .interfaces
        .iter()
        .filter(|interface| shown(&interface.state))
        .map(|interface| {
            vec![
                interface.interface.clone(),
                interface.state.clone(),
                if interface.recording {
                    "yes".into()
                } else {
                    format!("no ({} skipped)", interface.skipped)
                },
                interface.packets.to_string(),
                bytes(interface.bytes),
                heard(&interface.listened),
            ]
        })
        .collect();
    let headings = [
        "INTERFACE",
        "STATE",
        "RECORDED",
        "PACKETS",
        "BYTES",
        "ICMP/ICMP6/IGMP WIRE (IP LAYER)",
    ];
    line(table(style, &headings, &interfaces));
    if gone > 0 {
        line(format!(
            "... and {gone} deleted interfaces with packets in the record: netsonde status -v"
        ));
    }
    if !status.gaps.is_empty() {
        line(String::new());
        line(style.bold(&format!("GAPS ({} in total)", status.gaps_total)));
        let skip = if verbose {
            0
        } else {
            status.gaps.len().saturating_sub(GAPS_SHOWN)
        };
        if skip > 0 {
            line(format!("... {skip} earlier gaps: netsonde status -v"));
        }
        for gap in &status.gaps[skip..] {
            let count = if gap.count > 0 {
                format!(", {} packets", gap.count)
            } else {
                String::new()
            };
            let subject = gap.subject.as_deref().unwrap_or("");
            line(format!(
                "{} {subject} from {} to {}{count}",
                gap.kind, gap.from, gap.to
            ));
        }
    }
    let hit: Vec<String> = status
        .limits
        .iter()
        .filter(|limit| limit.hits > 0)
        .map(|limit| {
            format!(
                "{} (limit {}): {} times",
                limit.name, limit.limit, limit.hits
            )
        })
        .collect();
    if !hit.is_empty() {
        line(String::new());
        line(style.bold("LIMITS REACHED"));
        hit.into_iter().for_each(line);
    }
    text.trim_end().to_owned()
}

fn heard(listened: &ListenerCounts) -> String {
    format!(
        "{} ({})  {} ({})  {} ({})",
        listened.icmp_wire,
        listened.icmp_heard,
        listened.icmp6_wire,
        listened.icmp6_heard,
        listened.igmp_wire,
        listened.igmp_heard
    )
}
