//! SHELL. The resolution of a name: by the host's resolver, and what it asked on the wire.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use netsonde_core::diagnose::target::dns::{Exchanges, Message};
use netsonde_core::diagnose::target::evidence::Lookup;
use netsonde_core::wire::segment::{Segment, WireError};

use super::seen::{self, RECORDED_AFTER};
use crate::client::commands::ping::cannot_resolve;
use crate::client::failure::Failure;
use crate::linux::wall_ns;

/// Time until a lookup is given up: one server that does not answer costs five seconds (resolv.conf(5)), so that the
/// second one can still answer.
const LOOKUP: Duration = Duration::from_millis(6500);
/// Time before the lookup from which packets are read, in nanoseconds: clocks of packets are those of the kernel.
const SLACK_NS: u64 = 20_000_000;
/// Port of name servers.
const DNS: u16 = 53;
/// Maximum length of resolv.conf that is read: it has a few lines.
const MAX_BYTES: u64 = 64 << 10;

/// Resolves a name.
pub fn look_up(socket: &Path, name: &str) -> Result<Lookup, Failure> {
    let from_ns = wall_ns().saturating_sub(SLACK_NS);
    let start = Instant::now();
    let (answer, answered) = mpsc::channel();
    let asked = name.to_owned();
    // The resolver cannot be interrupted: if it takes longer, its thread is left to itself.
    std::thread::Builder::new()
        .name("resolver".into())
        .spawn(move || {
            let found = (asked.as_str(), 0).to_socket_addrs();
            let found = found.map(|all| all.map(|one: SocketAddr| one.ip()).collect::<Vec<_>>());
            let _ = answer.send(found);
        })?;
    let found = match answered.recv_timeout(LOOKUP) {
        Ok(Ok(found)) => Ok(each_once(found)),
        Ok(Err(error)) => Err(cannot_resolve(&error)),
        Err(_) => Err("the resolver has not answered".into()),
    };
    let took_ns = start.elapsed().as_nanos() as u64;
    std::thread::sleep(RECORDED_AFTER);
    Ok(Lookup {
        found,
        took_ns,
        servers: servers(),
        exchanges: exchanges(socket, name, from_ns).map_err(|error| error.to_string()),
    })
}

fn each_once(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for address in found {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// Returns the servers of resolv.conf(5).
fn servers() -> Vec<String> {
    use std::io::Read;
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open("/etc/resolv.conf") {
        // What cannot be read names no server.
        let _ = file.take(MAX_BYTES).read_to_string(&mut text);
    }
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next().map(str::to_owned))?
    };
    text.lines().filter_map(server).collect()
}

/// Reads what was asked for a name since a time.
fn exchanges(
    socket: &Path,
    name: &str,
    from_ns: u64,
) -> Result<Vec<netsonde_core::diagnose::target::dns::Exchange>, Failure> {
    let mut all = Exchanges::about(name);
    seen::read(socket, from_ns, &["names"], true, |packet| {
        let segment = &packet.segment;
        let is_dns = segment.source.1 == DNS || segment.destination.1 == DNS;
        let message = segment
            .datagram()
            .filter(|_| is_dns)
            .and_then(Message::read);
        if let Some(message) = message {
            all.see(packet.time_ns, segment.source, segment.destination, message);
        }
    })?;
    seen::read_errors(socket, from_ns, |error: WireError, quoted: &Segment<'_>| {
        if quoted.destination.1 == DNS && !quoted.is_tcp {
            let (server, port) = (quoted.destination.0, quoted.source.1);
            all.see_error(server, port, error.from, &error.meaning);
        }
    })?;
    Ok(all.done())
}
