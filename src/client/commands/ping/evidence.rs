//! SHELL. The evidence of a run of `ping`: its requests, replies and errors, and the ARP and neighbour
//! discovery around them, as pcapng with the fate of each probe as a comment on its request.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::cli::args::{Lookback, Packets};
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, FilePacket, Item};
use crate::client::files::output_file::OutputFile;
use crate::client::files::packet_file::PacketFile;
use crate::client::packets::{Stream, ended};
use netsonde_core::probe::sight::{SightingKind, may_concern_probe, sight};
use netsonde_core::probe::transport::PortSet;
use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::ping::Probe;
use netsonde_core::wire::Direction;
use netsonde_core::wire::glance::glance;

/// Maximum number of fates kept; a run for packet-level analysis has fewer.
const FATES: usize = 1_000_000;
/// Maximum number of probes without a packet named in the comment on the file.
const NAMED: usize = 1000;

/// Data for recognizing the packets of the runs.
pub struct Collected {
    start: Instant,
    ids: Vec<u16>,
    fates: HashMap<(String, u32), String>,
    left_out: u64,
}

impl Default for Collected {
    fn default() -> Collected {
        Collected {
            start: Instant::now(),
            ids: Vec::new(),
            fates: HashMap::new(),
            left_out: 0,
        }
    }
}

fn in_words(probe: &Probe) -> String {
    let mut words = format!("probe {} of {}: {}", probe.seq, probe.target, probe.fate);
    let why = probe
        .error
        .as_ref()
        .map(|error| &error.meaning)
        .or(probe.last_seen.as_ref());
    if let Some(why) = why {
        words.push_str(&format!(": {why}"));
    }
    if let Some(from) = probe.from.as_deref().filter(|_| probe.has_other_source()) {
        words.push_str(&format!(" from={from}"));
    }
    for (name, ns) in [
        ("rtt", probe.rtt_ns),
        ("wire", probe.wire_rtt_ns),
        ("resolve", probe.resolve_ns),
    ] {
        if let Some(ns) = ns {
            words.push_str(&format!(" {name}={:.3} ms", ns as f64 / 1e6));
        }
    }
    words
}

impl Collected {
    /// Records the identifier of a run's echo requests.
    pub fn identifier(&mut self, id: u16) {
        self.ids.push(id);
    }

    /// Records the fate of a probe; a later fate replaces an earlier one.
    pub fn probe(&mut self, probe: &Probe) {
        if probe.duplicate == Some(true) {
            return;
        }
        // Packets have no scope.
        let target = probe.target.split('%').next().unwrap_or_default();
        let key = (target.to_owned(), probe.seq);
        if self.fates.len() >= FATES && !self.fates.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        self.fates.insert(key, in_words(probe));
    }

    /// Fetches the packets from the record and writes those of this run. Returns their number.
    pub fn write(&self, socket: &Path, output: OutputFile) -> Result<u64, Failure> {
        let since = self.start.elapsed() + Duration::from_secs(1);
        let wanted = Packets {
            last: Some(Lookback::Ns(since.as_nanos() as u64)),
            stores: vec!["icmp".into(), "link".into()],
            ..Packets::default()
        };
        let Stream {
            mut connection,
            pipe,
            interrupt,
            ..
        } = Stream::open(socket, &wanted, Content::Permitted)?;
        let mut file = CaptureFile::new(pipe)?;
        let mut packets: Vec<(FilePacket, SightingKind)> = Vec::new();
        while let Some(item) = file.next()? {
            if let Item::Packet(packet) = item
                && let Some(what) = seen(&packet)
            {
                packets.push((packet, what));
            }
        }
        let report = ended(&mut connection, &interrupt)?;
        if interrupt.came() {
            let shown = output.shown();
            return Err(Failure::Other(format!(
                "interrupted: {shown} was not written"
            )));
        }
        if let Some(cut) = report.cut {
            return Err(Failure::Other(format!(
                "netsonded ended the stream of packets: {cut}"
            )));
        }
        self.select(packets, output)
    }

    fn select(
        &self,
        packets: Vec<(FilePacket, SightingKind)>,
        output: OutputFile,
    ) -> Result<u64, Failure> {
        // Relevant neighbors: the targets, and the next hops of the requests.
        let mut macs: HashSet<[u8; 6]> = HashSet::new();
        let mut neighbours: HashSet<IpAddr> = self
            .fates
            .keys()
            .filter_map(|(target, _)| target.parse().ok())
            .collect();
        for (packet, what) in &packets {
            if let SightingKind::Request { echo, .. } = what
                && self.ids.contains(&echo.id)
            {
                macs.extend(
                    packet
                        .bytes
                        .get(..6)
                        .and_then(|mac| <[u8; 6]>::try_from(mac).ok()),
                );
            }
        }
        for (packet, what) in &packets {
            let sender = packet
                .bytes
                .get(6..12)
                .and_then(|mac| <[u8; 6]>::try_from(mac).ok());
            if let SightingKind::NeighborAnswered(who) = what
                && sender.is_some_and(|mac| macs.contains(&mac))
            {
                neighbours.insert(*who);
            }
        }
        let mut shown: HashSet<(String, u32)> = HashSet::new();
        let mut last_sequence: HashMap<IpAddr, u32> = HashMap::new();
        let mut chosen = Vec::new();
        for (mut packet, what) in packets {
            let ours = match &what {
                SightingKind::Request { echo, .. } | SightingKind::Reply { echo, .. } => {
                    self.ids.contains(&echo.id)
                }
                SightingKind::Error { quoted, .. } => quoted
                    .echo()
                    .is_some_and(|echo| self.ids.contains(&echo.id)),
                SightingKind::LaterFragment { from, fragment } => {
                    neighbours.contains(from) || neighbours.contains(&fragment.to)
                }
                SightingKind::NeighborSolicited(who) | SightingKind::NeighborAnswered(who) => {
                    neighbours.contains(who)
                }
                // No port is looked for.
                SightingKind::Segment { .. } => false,
            };
            if !ours {
                continue;
            }
            if let SightingKind::Request { to, echo, .. } = &what
                && packet.direction != Direction::ToOther
            {
                // The packet holds the lower half of the number.
                let last = last_sequence.entry(*to).or_insert(0);
                let sequence = *last + u32::from(echo.sequence.wrapping_sub(*last as u16));
                *last = sequence;
                let key = (to.to_string(), sequence);
                if let Some(words) = self.fates.get(&key) {
                    packet.comments.push(format!("netsonde: {words}"));
                    shown.insert(key);
                }
            }
            chosen.push(packet);
        }
        let mut unseen: Vec<(&(String, u32), &String)> = self
            .fates
            .iter()
            .filter(|(key, _)| !shown.contains(*key))
            .collect();
        unseen.sort();
        let mut comments: Vec<String> = unseen
            .iter()
            .take(NAMED)
            .map(|(_, words)| format!("netsonde: not seen on the wire: {words}"))
            .collect();
        let more = unseen.len().saturating_sub(NAMED) as u64 + self.left_out;
        if more > 0 {
            comments.push(format!("netsonde: and {more} more probes without a packet"));
        }
        let mut file = PacketFile::new(output, &comments);
        for packet in &chosen {
            if !file.add(packet)? {
                return Ok(file.count);
            }
        }
        file.complete()
    }
}

fn seen(packet: &FilePacket) -> Option<SightingKind> {
    let seen = glance(packet.link, &packet.bytes);
    if !may_concern_probe(&seen, &PortSet::default()) {
        return None;
    }
    let whole = packet.bytes.len() as u64 >= u64::from(packet.original_length);
    sight(&packet.bytes, &seen, whole, packet.checksum)
}
