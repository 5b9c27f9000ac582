//! SHELL. Tables of `sockets`.

use std::collections::{BTreeMap, HashMap};

use super::inventory::{Entry, SocketInventory, service};
use crate::client::render::style::{Style, bytes, safe};
use crate::client::render::table::{Column, natural_width, table};
use crate::linux::processes::Held;
use netsonde_core::families::{RAW, family_name, type_name};
use netsonde_core::sockets::select::{Count, count};
use netsonde_core::sockets::{Detail, Filter, INET, INET6, NETLINK, Socket, UNIX};
use netsonde_core::text::counted;
use netsonde_core::wire::services::port_range;

/// Minimum width of a column of paths and names on a narrow terminal: enough to recognize their ends.
const NAME: usize = 12;
/// Minimum width of the column of processes: 15 bytes of a name, or a short name with its number.
const PROCESS: usize = 16;
/// Rows per table of the overview: one screen. The option named below the table shows all.
const SHOWN: usize = 40;
/// States per line of the summary.
const STATES: usize = 3;
/// Queue size in bytes from which a socket is reported: a program that reads leaves less.
const LARGE_QUEUE: u64 = 64 * 1024;

/// Formats the summary and the notable sockets; with `verbose`, all sockets.
pub fn overview(all: &SocketInventory, style: Style, verbose: bool) -> String {
    let mut text = format!(
        "{} in this network namespace, held by {}{}\n\n",
        style.bold(&counted(all.wanted().count() as u64, "socket")),
        counted(all.owners() as u64, "process"),
        unowned(all, style)
    );
    text.push_str(&summary(all, style));
    let is_listening =
        |entry: &&Entry| entry.socket.listens() && matches!(entry.socket.family, INET | INET6);
    let listening: Vec<&Entry> = all.wanted().filter(is_listening).collect();
    if !listening.is_empty() {
        section(&mut text, style, "LISTENING", listening.len());
        text.push_str(&listeners(all, shown(&listening), style));
        text.push_str(&more(&listening, "--listen"));
    }
    let sniffing: Vec<&Entry> = all
        .wanted()
        .filter(|entry| entry.socket.can_capture())
        .collect();
    if !sniffing.is_empty() {
        section(&mut text, style, "SNIFFING", sniffing.len());
        text.push_str(&sniffing_table(all, shown(&sniffing), style));
        text.push_str(&more(&sniffing, "--sniff"));
    }
    let stuck: Vec<&Entry> = all
        .wanted()
        .filter(|entry| is_stuck(&entry.socket))
        .collect();
    if !stuck.is_empty() {
        section(&mut text, style, "DROPPING OR FULL", stuck.len());
        text.push_str(&list(all, shown(&stuck), style));
        text.push_str(&more(&stuck, "-v"));
    }
    text.push_str(&groups(all, style, verbose));
    if verbose {
        let entries: Vec<&Entry> = all.wanted().collect();
        section(&mut text, style, "ALL", entries.len());
        text.push_str(&list(all, &entries, style));
    }
    text.push_str(&remarks(all, style, verbose));
    text
}

/// Formats the selected sockets.
pub fn selected(all: &SocketInventory, style: Style) -> String {
    let entries: Vec<&Entry> = all.wanted().collect();
    if entries.is_empty() {
        return "no matching sockets\n".into();
    }
    let is_network =
        |entry: &&Entry| entry.socket.listens() && matches!(entry.socket.family, INET | INET6);
    let (listening, others): (Vec<&Entry>, Vec<&Entry>) =
        entries.into_iter().partition(|entry| is_network(entry));
    let mut text = String::new();
    if !listening.is_empty() {
        text.push_str(&listeners(all, &listening, style));
    }
    if !others.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&list(all, &others, style));
    }
    text.push_str(&footnote(all, style));
    text
}

/// Formats the sockets that can capture traffic.
pub fn sniffers(all: &SocketInventory, style: Style) -> String {
    let entries: Vec<&Entry> = all.wanted().collect();
    if entries.is_empty() {
        return "no packet or raw sockets found\n".into();
    }
    let mut text = sniffing_table(all, &entries, style);
    text.push_str(&footnote(all, style));
    text
}

fn shown<'a, 'b>(entries: &'a [&'b Entry]) -> &'a [&'b Entry] {
    &entries[..entries.len().min(SHOWN)]
}

fn more(entries: &[&Entry], option: &str) -> String {
    match entries.len().saturating_sub(SHOWN) {
        0 => String::new(),
        count => format!("... and {count} more: netsonde sockets {option}\n"),
    }
}

fn section(text: &mut String, style: Style, title: &str, count: usize) {
    text.push_str(&format!(
        "\n{}\n",
        style.bold(&format!("{title} ({count})"))
    ));
}

fn unowned(all: &SocketInventory, style: Style) -> String {
    match all.unowned() {
        0 => String::new(),
        count => {
            let why = match (all.may_inspect_all, all.hidden) {
                (false, 1..) => "run as root to see them",
                (true, 1..) => "their processes cannot be inspected",
                (_, 0) => "owned by the kernel or by processes not visible here",
            };
            let words = format!("; {count} without a known owner: {why}");
            style.warn(&words)
        }
    }
}

/// The same below a table.
fn footnote(all: &SocketInventory, style: Style) -> String {
    let mut text = match unowned(all, style) {
        words if words.is_empty() => words,
        words => format!("\n{}\n", words.replacen("; ", "", 1)),
    };
    for words in limits(all) {
        text.push_str(&format!("{}\n", style.warn(&words)));
    }
    text
}

/// Limits that were reached.
fn limits(all: &SocketInventory) -> Vec<String> {
    let incomplete = all.sources.iter().filter(|source| source.incomplete);
    let mut texts: Vec<String> = incomplete
        .map(|source| {
            let list = source.list;
            format!("{list}: the list changed during every read, so some sockets may be missing")
        })
        .collect();
    if all.skipped > 0 {
        let count = all.skipped;
        texts.push(format!(
            "{count} not inspected: too many processes",
            count = counted(count, "process")
        ));
    }
    if all.is_cut {
        texts.push("too many memberships: some are shown without their processes".into());
    }
    texts
}

fn summary(all: &SocketInventory, style: Style) -> String {
    let mut rows = Vec::new();
    for count in merged(count(all.wanted().map(|entry| &entry.socket))) {
        let states: Vec<String> = count
            .states
            .iter()
            .map(|(state, number)| format!("{} {number}", state.name()))
            .collect();
        let mut row = vec![
            family_name(count.family),
            type_name(count.kind).trim_start_matches("SOCK_").to_owned(),
            count.protocol.clone(),
            count.sockets.to_string(),
        ];
        for some in states.chunks(STATES) {
            row.push(some.join(", "));
            rows.push(std::mem::replace(&mut row, vec![String::new(); 4]));
        }
    }
    let columns = [
        Column::text("FAMILY"),
        Column::text("TYPE"),
        Column::text("PROTOCOL"),
        Column::number("SOCKETS"),
        Column::text("STATES").shrinks(20),
    ];
    format!("{}\n", table(style, &columns, &rows))
}

fn listeners(all: &SocketInventory, entries: &[&Entry], style: Style) -> String {
    let mut is_marked = false;
    let mut rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let socket = &entry.socket;
            let port = socket.local_port().unwrap_or(0);
            let mark = if all.is_local_port(port) {
                is_marked = true;
                "+"
            } else {
                ""
            };
            vec![
                socket.short_name(),
                local(all, socket),
                service(socket).unwrap_or("-").to_owned(),
                format!("{}{mark}", port_range(port)),
                waiting(socket),
                socket.drops.map_or("-".into(), |drops| drops.to_string()),
                who(all, entry),
            ]
        })
        .collect();
    let mut columns = vec![
        Column::text("SOCKET"),
        Column::text("LOCAL"),
        Column::text("SERVICE").shrinks(8),
        Column::text("PORT RANGE").shrinks(10),
        Column::text("WAITING"),
        Column::number("DROPS"),
        Column::text("PROCESS").shrinks(PROCESS),
    ];
    if is_wide(style, &columns, &rows) {
        drop_empty(&mut columns, &mut rows, 4..=5);
        for row in &mut rows {
            let kind = row.remove(3);
            row[2] = format!("{}, {kind}", row[2]);
        }
        columns.remove(3);
        stack(&mut columns, &mut rows, "LOCAL, SERVICE", "  ");
    } else {
        drop_empty(&mut columns, &mut rows, 2..=5);
    }
    let mut text = format!("{}\n", table(style, &columns, &rows));
    if let (true, Some((first, last))) = (is_marked, all.local_ports) {
        text.push_str(&style.dim(&format!(
            "+ within net.ipv4.ip_local_port_range ({first}-{last}): an outgoing connection may take the port first"
        )));
        text.push('\n');
    }
    text
}

/// Connections waiting for accept with their limit, or bytes waiting to be read.
fn waiting(socket: &Socket) -> String {
    match (socket.backlog, socket.receive_queue) {
        (Some((now, limit)), _) => format!("{now} of {limit}"),
        (None, Some(queue)) => bytes(queue),
        (None, None) => "-".into(),
    }
}

fn sniffing_table(all: &SocketInventory, entries: &[&Entry], style: Style) -> String {
    let mut rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let socket = &entry.socket;
            let (promiscuous, ring) = match &socket.detail {
                Detail::Packet(packet) => {
                    let names = packet.promiscuous.iter().map(|index| {
                        let name = all.interface(*index).unwrap_or("any");
                        safe(name)
                    });
                    let names: Vec<String> = names.collect();
                    let names = if names.is_empty() {
                        "-".into()
                    } else {
                        names.join(",")
                    };
                    (names, packet.ring)
                }
                _ => ("-".into(), 0),
            };
            vec![
                socket.short_name(),
                socket.protocol_name(),
                all.interface(socket.ifindex).map_or("any".into(), safe),
                promiscuous,
                filter(entry.filter),
                if ring == 0 { "-".into() } else { bytes(ring) },
                socket.drops.map_or("-".into(), |drops| drops.to_string()),
                who(all, entry),
            ]
        })
        .collect();
    let mut columns = vec![
        Column::text("SOCKET"),
        Column::text("PROTOCOL").shrinks(8),
        Column::text("INTERFACE"),
        Column::text("PROMISC").shrinks(7),
        Column::text("FILTER").shrinks(6),
        Column::number("RING"),
        Column::number("DROPS"),
        Column::text("PROCESS").shrinks(PROCESS),
    ];
    drop_empty(&mut columns, &mut rows, 3..=6);
    format!("{}\n", table(style, &columns, &rows))
}

fn filter(filter: Filter) -> String {
    match filter {
        Filter::Unknown => "?".into(),
        Filter::NotClassic => "none or eBPF".into(),
        Filter::None => "none".into(),
        Filter::Classic(count) => format!("cBPF {count}"),
        Filter::Extended => "eBPF".into(),
    }
}

fn is_stuck(socket: &Socket) -> bool {
    let is_large = |queue: Option<u64>| queue.is_some_and(|bytes| bytes >= LARGE_QUEUE);
    socket.drops.is_some_and(|drops| drops > 0)
        || is_large(socket.receive_queue)
        || (socket.family != UNIX && is_large(socket.send_queue))
        || socket
            .backlog
            .is_some_and(|(now, limit)| now > 0 && now >= limit)
}

/// One table per family, so that long names of one do not widen the others.
fn list(all: &SocketInventory, entries: &[&Entry], style: Style) -> String {
    let is_like = |a: &&Entry, b: &&Entry| {
        let is_ip = |entry: &Entry| matches!(entry.socket.family, INET | INET6);
        a.socket.family == b.socket.family || (is_ip(a) && is_ip(b))
    };
    let by_inode = all.by_inode();
    let tables = entries
        .chunk_by(is_like)
        .map(|entries| of_family(all, entries, &by_inode, style));
    tables.collect::<Vec<_>>().join("\n")
}

fn of_family(
    all: &SocketInventory,
    entries: &[&Entry],
    by_inode: &HashMap<u64, &Entry>,
    style: Style,
) -> String {
    let mut rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let socket = &entry.socket;
            let number = |of: Option<u64>| of.map_or("-".into(), |number| number.to_string());
            let state = match socket.backlog {
                Some((now, limit)) => format!("{} {now}/{limit}", socket.state.name()),
                None => socket.state.name(),
            };
            vec![
                socket.short_name(),
                state,
                local(all, socket),
                match &socket.detail {
                    Detail::Unix { peer, .. } if *peer != 0 => {
                        let other = by_inode.get(peer);
                        other.map_or(format!("inode {peer}"), |other| peer_of(all, other))
                    }
                    _ => remote(socket),
                },
                number(socket.receive_queue),
                number(socket.send_queue),
                number(socket.drops),
                who(all, entry),
            ]
        })
        .collect();
    let is_ip = entries
        .iter()
        .all(|entry| matches!(entry.socket.family, INET | INET6));
    // An address is useless in parts; of a path, the end is more specific.
    let end = |heading| match is_ip {
        true => Column::text(heading),
        false => Column::text(heading).shrinks_from_start(NAME),
    };
    let mut columns = vec![
        Column::text("SOCKET"),
        Column::text("STATE"),
        end("LOCAL"),
        end("REMOTE"),
        Column::number("RECVQ"),
        Column::number("SENDQ"),
        Column::number("DROPS"),
        Column::text("PROCESS").shrinks(PROCESS),
    ];
    drop_empty(&mut columns, &mut rows, 2..=6);
    let has_remote = columns.iter().any(|one| one.heading() == "REMOTE");
    if is_ip && has_remote && is_wide(style, &columns, &rows) {
        stack(&mut columns, &mut rows, "LOCAL, > REMOTE", "> ");
    }
    format!("{}\n", table(style, &columns, &rows))
}

fn is_wide(style: Style, columns: &[Column], rows: &[Vec<String>]) -> bool {
    let width = style.width();
    width.is_some_and(|width| natural_width(columns, rows) > width)
}

/// Moves the column right of the local address below it, as long IPv6 addresses require.
fn stack(
    columns: &mut Vec<Column>,
    rows: &mut Vec<Vec<String>>,
    heading: &'static str,
    mark: &str,
) {
    let Some(local) = columns.iter().position(|one| one.heading() == "LOCAL") else {
        return;
    };
    columns.remove(local + 1);
    columns[local] = Column::text(heading);
    let mut stacked = Vec::new();
    for mut row in rows.drain(..) {
        let other = row.remove(local + 1);
        let mut below = vec![String::new(); row.len()];
        below[local] = format!("{mark}{other}");
        stacked.push(row);
        if other != "-" {
            stacked.push(below);
        }
    }
    *rows = stacked;
}

/// Combines netlink, which has one protocol per part of the kernel and a socket of the kernel in
/// each.
fn merged(counts: Vec<Count>) -> Vec<Count> {
    let mut all: Vec<Count> = Vec::new();
    for mut count in counts {
        if count.family == NETLINK {
            count.protocol.clear();
        }
        let same = |other: &&mut Count| {
            (other.family, other.kind, &other.protocol)
                == (count.family, count.kind, &count.protocol)
        };
        match all.iter_mut().find(same) {
            Some(other) => {
                other.sockets += count.sockets;
                for (state, number) in count.states {
                    *other.states.entry(state).or_default() += number;
                }
            }
            None => all.push(count),
        }
    }
    all
}

/// Removes columns without information.
fn drop_empty(
    columns: &mut Vec<Column>,
    rows: &mut [Vec<String>],
    range: std::ops::RangeInclusive<usize>,
) {
    for column in range.rev() {
        let is_empty = |row: &Vec<String>| matches!(row[column].as_str(), "-" | "0");
        if columns[column].heading() != "LOCAL" && rows.iter().all(is_empty) {
            columns.remove(column);
            rows.iter_mut().for_each(|row| drop(row.remove(column)));
        }
    }
}

/// Peer of a unix socket: its name, if any, and its process.
fn peer_of(all: &SocketInventory, other: &Entry) -> String {
    let name = match &other.socket.detail {
        Detail::Unix { name, .. } if !name.is_empty() => local(all, &other.socket),
        _ => String::new(),
    };
    let process = other.holders.first();
    let process = process.map_or("?".into(), |held| {
        format!("{} {}", safe(&held.process.command), held.process.pid)
    });
    format!("{name} {process}").trim().to_owned()
}

fn local(all: &SocketInventory, socket: &Socket) -> String {
    let bound = all.interface(socket.ifindex);
    match &socket.detail {
        Detail::Inet { local, .. } => {
            let at = bound.map_or(String::new(), |name| format!("%{}", safe(name)));
            match (socket.has_ports(), local.is_ipv6()) {
                (true, false) => format!("{}{at}:{}", local.ip(), local.port()),
                (true, true) => format!("[{}{at}]:{}", local.ip(), local.port()),
                (false, _) => format!("{}{at}", local.ip()),
            }
        }
        Detail::Unix {
            name, is_abstract, ..
        } => {
            let at = if *is_abstract { "@" } else { "" };
            match name.is_empty() {
                true => "-".into(),
                false => format!("{at}{}", safe(&String::from_utf8_lossy(name))),
            }
        }
        Detail::Netlink { port: 0, .. } => "-".into(),
        Detail::Netlink { port, .. } => format!("port {port}"),
        Detail::Packet(_) | Detail::Xdp { .. } => bound.map_or("any".into(), safe),
        Detail::Vsock { local, .. } => vsock(*local),
    }
}

fn remote(socket: &Socket) -> String {
    match &socket.detail {
        Detail::Inet { remote, .. } if remote.ip().is_unspecified() => match socket.kind {
            RAW => format!("protocol {}", socket.protocol_name()),
            _ => "-".into(),
        },
        Detail::Inet { remote, .. } if socket.has_ports() => remote.to_string(),
        Detail::Inet { remote, .. } => remote.ip().to_string(),
        Detail::Netlink { groups, .. } if !groups.is_empty() => {
            let numbers: Vec<String> = groups.iter().map(u32::to_string).collect();
            format!("groups {}", numbers.join(","))
        }
        Detail::Packet(_) => format!("protocol {}", socket.protocol_name()),
        Detail::Vsock { remote, .. } => vsock(*remote),
        _ => "-".into(),
    }
}

/// Context ID and port; the highest number of either means any (VMADDR_CID_ANY, VMADDR_PORT_ANY).
fn vsock((cid, port): (u32, u32)) -> String {
    let name = |number: u32| match number {
        u32::MAX => "*".into(),
        number => number.to_string(),
    };
    format!("{}:{}", name(cid), name(port))
}

fn who(all: &SocketInventory, entry: &Entry) -> String {
    if entry.is_kernels() {
        return "the kernel".into();
    }
    if !entry.is_ownable() {
        return "-".into();
    }
    named(all, &entry.holders, entry.uid(), entry.ours)
}

/// First holder, number of further holders, user.
fn named(all: &SocketInventory, holders: &[Held], uid: Option<u32>, ours: bool) -> String {
    let user = all
        .user(uid)
        .map_or(String::new(), |user| format!(" ({})", safe(user)));
    let ours = if ours { ", ours" } else { "" };
    let Some(held) = holders.first() else {
        return format!("?{user}");
    };
    let more = match holders.len() {
        1 => String::new(),
        count => format!(" +{}", count - 1),
    };
    let name = safe(&held.process.command);
    format!("{name} {}{more}{user}{ours}", held.process.pid)
}

/// Formats the memberships with known sockets. Those that every host has are shown only with
/// `verbose`.
fn groups(all: &SocketInventory, style: Style, verbose: bool) -> String {
    let mut rows = Vec::new();
    let sorted: BTreeMap<_, _> = all.memberships.iter().collect();
    for (index, memberships) in sorted {
        for membership in memberships {
            let mut known = 0;
            let mut holders = Vec::new();
            for member in all.members(*index, membership.group) {
                known += 1;
                let (_, _, include, sources) = member.joined;
                let from: Vec<String> = sources.iter().map(ToString::to_string).collect();
                let from = match (include, from.is_empty()) {
                    (_, true) => String::new(),
                    (true, false) => format!(" from {}", from.join(",")),
                    (false, false) => format!(" except {}", from.join(",")),
                };
                let uid = member.holders.first().map(|held| held.uid);
                let who = named(all, member.holders, uid, member.ours);
                holders.push(format!("{who}{from}"));
            }
            if known == 0 && !verbose {
                continue;
            }
            if holders.is_empty() {
                holders.push("-".into());
            }
            for (at, holder) in holders.into_iter().enumerate() {
                rows.push(vec![
                    membership.group.to_string(),
                    all.interface(*index).map_or("?".into(), safe),
                    if at == 0 {
                        membership.users.to_string()
                    } else {
                        String::new()
                    },
                    holder,
                ]);
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let columns = [
        Column::text("GROUP"),
        Column::text("INTERFACE"),
        Column::number("USERS"),
        Column::text("PROCESS").shrinks(PROCESS),
    ];
    let mut text = String::new();
    section(&mut text, style, "MULTICAST MEMBERSHIPS", rows.len());
    text.push_str(&table(style, &columns, &rows));
    text.push('\n');
    text
}

/// Formats unlisted sockets and problems of the lists.
fn remarks(all: &SocketInventory, style: Style, verbose: bool) -> String {
    let mut text = String::new();
    let mut line = |words: String| text.push_str(&format!("{words}\n"));
    let mut unlisted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for one in &all.unlisted {
        let process = &one.socket.held.process;
        let holders = unlisted.entry(&one.socket.protocol).or_default();
        holders.push(format!("{} {}", safe(&process.command), process.pid));
    }
    for (protocol, mut holders) in unlisted {
        let count = holders.len();
        holders.dedup();
        let more = holders.len().saturating_sub(3);
        holders.truncate(3);
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        line(format!(
            "not in any list: {count} {} ({}{more})",
            safe(protocol),
            holders.join(", ")
        ));
    }
    for source in &all.sources {
        if verbose {
            let error = source.error.as_deref();
            let why = error.map_or(String::new(), |error| format!(" ({error})"));
            match source.from.as_deref() {
                Some("sock_diag") => {}
                Some(from) => line(format!("{}: from {from}{why}", source.list)),
                None => line(format!("{}: list not available{why}", source.list)),
            }
        }
    }
    for words in limits(all) {
        line(style.warn(&words));
    }
    if text.is_empty() {
        text
    } else {
        format!("\n{text}")
    }
}
