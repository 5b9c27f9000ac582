//! SHELL. `netsonde drops`: packet drops of this host. Reads the kernel's counters twice and
//! reports the drop counters that increased. Needs no service.

mod reasons;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use serde_json::{Value, json};

use crate::client::cli::args::{Drops as Args, Global};
use crate::client::commands::counters::{drop_lines, hidden_line};
use crate::client::commands::drops::reasons::{Listener, Seen, Symbols};
use crate::client::failure::Failure;
use crate::client::interrupt::Interrupt;
use crate::client::namespace;
use crate::client::output;
use crate::client::render::style::{Style, duration};
use crate::client::render::wrap::fit;
use crate::client::screen;
use crate::linux::counters;
use crate::linux::netlink::Netlink;
use crate::linux::proc_net;
use crate::linux::processes;
use netsonde_core::diagnose::evidence::Process;
use netsonde_core::host::drops::{
    Counter, DropRecord, Layer, NeighborTable, explain_reason, find_counter, without_parts,
};
use netsonde_core::host::socket::{ProcSocket, parse_sockets};
use netsonde_core::text::counted;

/// Layer, subject and name of a counter.
type Key = (Layer, String, &'static str);

/// All counters at one time.
pub(crate) struct Snapshot {
    counts: BTreeMap<Key, u64>,
    sockets: HashMap<u64, (&'static str, ProcSocket)>,
    /// Neighbor tables of the kernel.
    pub(crate) tables: Vec<NeighborTable>,
}

impl Snapshot {
    /// Reads all counters.
    pub(crate) fn take(netlink: &mut Netlink) -> Result<Snapshot, Failure> {
        let mut names: HashMap<u32, String> = HashMap::new();
        let dump = RouteNetlinkMessage::GetLink(LinkMessage::default());
        netlink.ask(dump, NLM_F_DUMP, |answer| {
            let RouteNetlinkMessage::NewLink(message) = answer else {
                return;
            };
            let mut attributes = message.attributes.into_iter();
            let name = attributes.find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
            names.extend(name.map(|name| (message.header.index, name)));
        })?;
        let name = |index: u32| {
            let known = names.get(&index).cloned();
            known.unwrap_or_else(|| index.to_string())
        };
        let mut counts = BTreeMap::new();
        let tables = counters::read(netlink, name, |one| {
            if let Some(known) = find_counter(one.layer, one.name) {
                counts.insert((one.layer, one.subject.to_owned(), known.name), one.value);
            }
        })?;
        let mut open = HashMap::new();
        for file in ["udp", "udp6", "raw", "raw6"] {
            for socket in parse_sockets(&proc_net(file)) {
                if socket.inode != 0 {
                    open.insert(socket.inode, (file, socket));
                }
            }
        }
        Ok(Snapshot {
            counts,
            sockets: open,
            tables,
        })
    }
}

/// A drop counter that increased.
pub(crate) struct Row {
    layer: Layer,
    pub(crate) subject: String,
    pub(crate) counter: &'static Counter,
    pub(crate) count: u64,
    total: u64,
    /// Owner of the socket, for socket counters.
    pub(crate) owner: Option<Process>,
}

/// Runs `netsonde drops`.
pub fn run(global: &Global, service: &Path, args: &Args) -> Result<u8, Failure> {
    namespace::note_if_other(service);
    let mut netlink = Netlink::open()?;
    let interrupt = Interrupt::catch()?;
    let mut listener = args.reasons.then(Listener::open).transpose()?;
    let before = if args.total {
        None
    } else {
        Some(Snapshot::take(&mut netlink)?)
    };
    let start = Instant::now();
    if before.is_some() || listener.is_some() {
        output::progress(global, &format!("watching for {}", duration(args.duration)));
        let end = start + Duration::from_nanos(args.duration);
        match &mut listener {
            Some(listener) => listener.until(end, &interrupt),
            None => {
                while Instant::now() < end && !interrupt.came() {
                    let left = end.saturating_duration_since(Instant::now());
                    std::thread::sleep(left.min(Duration::from_millis(20)));
                }
            }
        }
    }
    let took = start.elapsed();
    let after = Snapshot::take(&mut netlink)?;
    let rows = rows(before.as_ref(), &after);
    let reasons = listener.map(Listener::end);
    let lost = |row: &&Row| !row.counter.harmless;
    let whys = reasons.as_ref().map(ordered);
    let by_reason = whys.iter().flatten().any(|why| !why.harmless);
    if global.json {
        let document = document(
            &rows,
            whys.as_deref(),
            reasons.as_ref(),
            before.is_some().then_some(took),
        );
        output::json(&mut screen::stdout(), &document)?;
    } else {
        let since = if before.is_some() {
            format!("in {}", duration(took.as_nanos() as u64))
        } else {
            "since the start".into()
        };
        let style = global.style();
        let text = text(
            &rows,
            whys.as_deref(),
            reasons.as_ref(),
            &since,
            (style, global.verbose),
        );
        write!(screen::stdout(), "{}", fit(&text, style))?;
    }
    let found = rows.iter().filter(lost).count() > 0 || by_reason;
    Ok(u8::from(found && before.is_some()))
}

/// Returns the counters that increased since `before`, or all that are not 0.
pub(crate) fn rows(before: Option<&Snapshot>, after: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for ((layer, subject, name), total) in &after.counts {
        let key = (*layer, subject.clone(), *name);
        let was = before.map_or(Some(0), |before| before.counts.get(&key).copied());
        // A counter that did not exist before started at 0 with its owner.
        let count = total.saturating_sub(was.unwrap_or(0));
        if count > 0
            && let Some(counter) = find_counter(*layer, name)
        {
            rows.push(Row {
                layer: *layer,
                subject: subject.clone(),
                counter,
                count,
                total: *total,
                owner: None,
            });
        }
    }
    let counts: BTreeMap<(Layer, &str, &str), u64> = (rows.iter())
        .map(|row| ((row.layer, &row.subject[..], row.counter.name), row.count))
        .collect();
    let own: Vec<u64> = (rows.iter())
        .map(|row| {
            let part = |name| counts.get(&(row.layer, &row.subject[..], name)).copied();
            without_parts(row.layer, row.counter.name, row.count, part)
        })
        .collect();
    for (row, own) in rows.iter_mut().zip(own) {
        row.count = own;
    }
    rows.retain(|row| row.count > 0);
    let mut dropped: Vec<(&'static str, &ProcSocket, u64)> = after
        .sockets
        .iter()
        .filter_map(|(inode, (file, socket))| {
            let was = before.and_then(|before| before.sockets.get(inode));
            let count = socket.drops - was.map_or(0, |(_, was)| was.drops.min(socket.drops));
            (count > 0).then_some((*file, socket, count))
        })
        .collect();
    dropped.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    let inodes: HashSet<u64> = dropped.iter().map(|(_, socket, _)| socket.inode).collect();
    let owners = if inodes.is_empty() {
        HashMap::new()
    } else {
        processes::owners(&inodes)
    };
    let Some(counter) = find_counter(Layer::Socket, "drops") else {
        return rows;
    };
    for (file, socket, count) in dropped {
        let owner = match owners.get(&socket.inode) {
            Some((process, _)) => format!("{} ({})", process.command, process.pid),
            None => format!("a process of uid {}", socket.uid),
        };
        rows.push(Row {
            layer: Layer::Socket,
            subject: format!("{file} {} {owner}", socket.local),
            counter,
            count,
            total: socket.drops,
            owner: owners
                .get(&socket.inode)
                .map(|(process, _)| process.clone()),
        });
    }
    rows.sort_by_key(|row| (row.counter.harmless, row.layer));
    rows
}

/// A drop reason, with its kernel function.
struct Why {
    drop: DropRecord,
    place: Option<String>,
    count: u64,
    harmless: bool,
    means: &'static str,
}

/// Sorts drop reasons by frequency, harmless ones last.
fn ordered(seen: &Seen) -> Vec<Why> {
    let symbols = Symbols::read();
    let mut all: Vec<Why> = seen
        .drops
        .iter()
        .map(|(drop, count)| {
            let place = symbols.name(drop.location);
            let (harmless, means) = explain_reason(&drop.reason, place).unwrap_or((false, ""));
            Why {
                drop: drop.clone(),
                place: place.map(str::to_owned),
                count: *count,
                harmless,
                means,
            }
        })
        .collect();
    all.sort_by_key(|why| (why.harmless, std::cmp::Reverse(why.count)));
    all
}

fn protocol(ethertype: u16) -> String {
    match ethertype {
        0x0800 => "ip".into(),
        0x86dd => "ip6".into(),
        0x0806 => "arp".into(),
        0 => "-".into(),
        other => format!("0x{other:04x}"),
    }
}

fn document(
    rows: &[Row],
    whys: Option<&[Why]>,
    seen: Option<&Seen>,
    took: Option<Duration>,
) -> Value {
    let drops: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "layer": row.layer.name(),
                "subject": row.subject,
                "counter": row.counter.name,
                "count": row.count,
                "total": row.total,
                "harmless": row.counter.harmless,
                "meaning": row.counter.means,
            })
        })
        .collect();
    let mut document = json!({ "drops": drops });
    if let Some(took) = took {
        document["duration_ns"] = json!(took.as_nanos() as u64);
    }
    if let Some((whys, seen)) = whys.zip(seen) {
        let reasons: Vec<Value> = whys
            .iter()
            .map(|why| {
                json!({
                    "reason": why.drop.reason,
                    "protocol": protocol(why.drop.protocol),
                    "place": why.place,
                    "count": why.count,
                    "harmless": why.harmless,
                    "meaning": why.means,
                })
            })
            .collect();
        document["reasons"] = reasons.into();
        document["reasons_lost"] = (seen.lost + seen.others).into();
    }
    document
}

fn text(
    rows: &[Row],
    whys: Option<&[Why]>,
    seen: Option<&Seen>,
    since: &str,
    (style, verbose): (Style, bool),
) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let shown: Vec<&Row> = rows
        .iter()
        .filter(|row| verbose || !row.counter.harmless)
        .collect();
    let left_out = rows.len() - shown.len();
    if shown.is_empty() {
        line(format!(
            "{} {since}: no counter shows an unexpected drop",
            style.good("none")
        ));
    }
    for row in shown {
        let what = (row.layer.name(), row.counter.name, &row.subject[..]);
        line(drop_lines(style, row.count, what, row.counter.means));
    }
    if left_out > 0 {
        line(hidden_line(style, left_out));
    }
    if let Some((whys, seen)) = whys.zip(seen) {
        line(format!(
            "\nkernel drop reasons {since}, in all network namespaces of this machine:"
        ));
        let mut any = false;
        let mut hidden = 0;
        for why in whys {
            if why.harmless && !verbose {
                hidden += why.count;
                continue;
            }
            any = true;
            let place = why
                .place
                .as_ref()
                .map_or(String::new(), |name| format!(" in {name}"));
            line(format!(
                "{}  {:4}  {}{place}",
                style.warn(&format!("{:>10}", why.count)),
                protocol(why.drop.protocol),
                style.bold(&why.drop.reason)
            ));
            if !why.means.is_empty() {
                line(format!("            {}", style.dim(why.means)));
            }
        }
        if !any {
            line("            none".into());
        }
        if hidden > 0 {
            line(style.dim(&format!(
                "{hidden} for expected reasons (-v shows them)",
                hidden = counted(hidden, "drop")
            )));
        }
        if seen.lost + seen.others > 0 {
            line(style.warn(&format!(
                "{} more drops with unknown reasons",
                seen.lost + seen.others
            )));
        }
    }
    out
}
