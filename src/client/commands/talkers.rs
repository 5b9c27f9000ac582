//! SHELL. `netsonde talkers`: the top flows, and the processes of this host behind them, within the
//! caller's permissions.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::Serialize;

use crate::client::cli::args::{Global, SortKey, Talkers as Args};
use crate::client::connection::ask_with;
use crate::client::failure::Failure;
use crate::client::namespace;
use crate::client::output::show;
use crate::client::render::style::{Style, bytes, duration, table};
use crate::linux::proc_net;
use crate::linux::processes;
use netsonde_core::diagnose::evidence::Process;
use netsonde_core::host::socket::{ProcSocket, parse_sockets};
use netsonde_core::protocol::inventory::{Talker, Talkers, TalkersCall};
use netsonde_core::wire::services::service_name;

/// A flow, and the process at this host's end.
#[derive(Serialize)]
struct Owned {
    #[serde(flatten)]
    talker: Talker,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
}

struct OwnedTalkers {
    all: Talkers,
    /// Replaces the list in `all`.
    owned: Vec<Owned>,
}

impl Serialize for OwnedTalkers {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let in_json = |error: serde_json::Error| serde::ser::Error::custom(error);
        let mut reply = serde_json::to_value(&self.all).map_err(in_json)?;
        reply["talkers"] = serde_json::to_value(&self.owned).map_err(in_json)?;
        reply.serialize(to)
    }
}

/// Runs `netsonde talkers`.
pub fn run(global: &Global, socket: &Path, args: &Args) -> Result<u8, Failure> {
    let call = TalkersCall {
        window_ns: Some(args.window),
        by: Some(match args.by {
            SortKey::Bytes => "bytes".into(),
            SortKey::Packets => "packets".into(),
        }),
        interface: args.interface.clone(),
        limit: Some(args.number),
    };
    let mut all: Talkers = ask_with(socket, "io.netsonde.Inventory.Talkers", &call)?;
    let owners = match namespace::may_name_processes(socket)? {
        true => owners(&all.talkers),
        false => vec![None; all.talkers.len()],
    };
    let owned = std::mem::take(&mut all.talkers)
        .into_iter()
        .zip(owners)
        .map(|(talker, owner)| Owned {
            talker,
            pid: owner.as_ref().map(|process| process.pid),
            process: owner.map(|process| process.command),
        })
        .collect();
    show(global, &OwnedTalkers { all, owned }, text)?;
    Ok(0)
}

/// Returns this host's end of a flow.
fn own_end(talker: &Talker) -> Option<SocketAddr> {
    let (address, port) = if talker.direction == "out" {
        (&talker.source, talker.source_port)
    } else {
        (&talker.destination, talker.destination_port)
    };
    Some(SocketAddr::new(address.as_ref()?.parse().ok()?, port?))
}

fn owners(talkers: &[Talker]) -> Vec<Option<Process>> {
    let mut tables: HashMap<&str, Vec<ProcSocket>> = HashMap::new();
    for protocol in ["tcp", "udp"] {
        let mut all = parse_sockets(&proc_net(protocol));
        all.extend(parse_sockets(&proc_net(&format!("{protocol}6"))));
        tables.insert(protocol, all);
    }
    let inode = |talker: &Talker| {
        let end = own_end(talker)?;
        let table = tables.get(talker.protocol.as_str())?;
        let canonical = |address: IpAddr| address.to_canonical();
        let fits = |socket: &&ProcSocket| {
            socket.local.port() == end.port()
                && (socket.local.ip().is_unspecified()
                    || canonical(socket.local.ip()) == end.ip()
                    || end.ip().is_multicast())
        };
        // A socket bound to the exact address takes precedence over one bound to all.
        let best = table.iter().filter(fits).min_by_key(|socket| {
            (
                socket.local.ip().is_unspecified(),
                socket.remote.ip().is_unspecified(),
            )
        });
        best.map(|socket| socket.inode).filter(|inode| *inode != 0)
    };
    let inodes: Vec<Option<u64>> = talkers.iter().map(inode).collect();
    let wanted: HashSet<u64> = inodes.iter().flatten().copied().collect();
    let owners = if wanted.is_empty() {
        HashMap::new()
    } else {
        processes::owners(&wanted)
    };
    inodes
        .into_iter()
        .map(|inode| Some(owners.get(&inode?)?.0.clone()))
        .collect()
}

fn text(reply: &OwnedTalkers, style: Style, verbose: bool) -> String {
    let all = &reply.all;
    let seconds = all.duration_ns as f64 / 1e9;
    let rate = |bytes: u64| {
        if seconds > 0.0 {
            format!("{:.3}", bytes as f64 * 8.0 / seconds / 1e6)
        } else {
            "-".into()
        }
    };
    let share = |part: u64| {
        if all.bytes == 0 {
            "-".into()
        } else {
            format!("{:.1}", part as f64 * 100.0 / all.bytes as f64)
        }
    };
    let end = |talker: &Talker, address: &Option<String>, port: Option<u16>| {
        let Some(address) = address else {
            return "-".into();
        };
        let Some(port) = port else {
            return address.clone();
        };
        let shown = match address.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, port).to_string(),
            Err(_) => format!("{address} {port}"),
        };
        match service_name(talker.protocol == "tcp", port) {
            Some(name) => format!("{shown} ({name})"),
            None => shown,
        }
    };
    let rows: Vec<Vec<String>> = reply
        .owned
        .iter()
        .map(|owned| {
            let talker = &owned.talker;
            let mut row = vec![
                rate(talker.bytes),
                share(talker.bytes),
                talker.packets.to_string(),
                talker.interface.clone(),
                talker.direction.clone(),
                talker.protocol.clone(),
                end(talker, &talker.source, talker.source_port),
                end(talker, &talker.destination, talker.destination_port),
                match (&owned.process, owned.pid) {
                    (Some(name), Some(pid)) => format!("{name} ({pid})"),
                    _ => "-".into(),
                },
            ];
            if verbose {
                row.push(talker.bytes.to_string());
                row.push(format!("+{}", talker.bytes_error));
            }
            row
        })
        .collect();
    let mut head = vec![
        "Mbit/s",
        "%",
        "PACKETS",
        "IF",
        "DIR",
        "PROTO",
        "SOURCE",
        "DESTINATION",
        "PROCESS",
    ];
    if verbose {
        head.extend(["BYTES", "AT MOST"]);
    }
    let mut words = format!(
        "{} in {} packets of {} flows in {}\n",
        bytes(all.bytes),
        all.packets,
        all.flows,
        duration(all.duration_ns)
    );
    if all.rest_bytes > 0 {
        words.push_str(&style.dim(&format!(
            "flows not listed have at most {} each\n",
            bytes(all.rest_bytes)
        )));
    }
    if rows.is_empty() {
        words.push_str("no flows");
        return words;
    }
    words + &table(style, &head, &rows)
}
