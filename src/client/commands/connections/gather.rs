//! SHELL. Reads the packets, and joins them.

use std::collections::HashMap;
use std::path::Path;

use netsonde_core::connections::names::{Asking, Names};
use netsonde_core::connections::report::Conn;
use netsonde_core::connections::sightings::Place;
use netsonde_core::connections::{Sighting, Tracker};
use netsonde_core::protocol::capture::Content;
use netsonde_core::recorder::headers;
use netsonde_core::recorder::pcapng::SAMPLE_NOTE;
use netsonde_core::text::counted;
use netsonde_core::wire::glance::{ethertype, glance, ip_protocol};
use netsonde_core::wire::segment::Segment;

use super::owners::{self, Owner};
use crate::client::cli::args::{ConnectionsArgs, Global, Lookback, Packets};
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, FilePacket, Item};
use crate::client::interrupt::Interrupt;
use crate::client::namespace;
use crate::client::output::remark;
use crate::client::packets::{Source, Stream, ended, tell_end};
use crate::client::quoted::quoted_errors;
use crate::linux::wall_ns;

/// Stores that have packets of connections: SYN, FIN, RST and openings; DNS; errors; all other segments, as long as
/// they are in memory.
const STORES: [&str; 4] = ["connections", "names", "icmp", "bulk"];
/// What is read of these.
const PROTOCOLS: [&str; 4] = ["tcp", "dns", "icmp", "icmp6"];
/// Time in nanoseconds that is shown without an option.
const DEFAULT_NS: u64 = 300_000_000_000;
/// Time in nanoseconds before it of which packets are read, so that a connection of the first second has its begin, too:
/// as far as other segments reach back by default.
const BEFORE_NS: u64 = 120_000_000_000;
/// Start of the comments on declared gaps.
const GAP: &str = "netsonde: gap: ";
/// Comments on what the record does not hold that are shown.
const MAX_NOTES: usize = 64;

/// Everything that was found.
pub(super) struct Found {
    /// Begin and end of the time that is shown, in nanoseconds since 1970.
    pub from_ns: Option<u64>,
    pub to_ns: u64,
    pub interfaces: Vec<String>,
    pub connections: Vec<Conn>,
    /// Processes of the connections, in the same order.
    pub owners: Vec<Option<Owner>>,
    /// Whether processes were looked for.
    pub are_owners_known: bool,
    pub asking: Asking,
    /// What is not there, in words.
    pub notes: Vec<String>,
}

/// Packets on their way to the trackers.
#[derive(Default)]
struct Intake {
    tracker: Tracker,
    names: Names,
    interfaces: HashMap<String, u16>,
    notes: Vec<String>,
    missing: u64,
    has_gaps: bool,
    /// Packets that were evicted before they could be read.
    evicted: u64,
    has_packets: bool,
    first_ns: Option<u64>,
    last_ns: u64,
}

impl Intake {
    fn place(&mut self, packet: &FilePacket) -> Place {
        let name = packet.interface.as_deref().unwrap_or_default();
        let known = self.interfaces.get(name).copied();
        let interface = known.unwrap_or_else(|| {
            let new = u16::try_from(self.interfaces.len()).unwrap_or(u16::MAX);
            self.interfaces.insert(name.to_owned(), new);
            new
        });
        Place {
            interface,
            direction: packet.direction,
        }
    }

    fn note(&mut self, note: &str) {
        let of_store = STORES
            .iter()
            .any(|store| note.starts_with(&format!("netsonde: store {store}: ")));
        let is_sample = note.contains(SAMPLE_NOTE);
        if is_sample && note.starts_with("netsonde: store bulk") {
            self.tracker.data_is_thinned();
        }
        self.has_gaps |= note.starts_with(GAP);
        // At the end each interface has its part of what the beginning has of all.
        let is_repeated = is_sample && self.has_packets;
        let concerns = of_store
            || note.starts_with("netsonde: ")
                && !note.starts_with("netsonde: store ")
                && note != headers::NOTE;
        let text = note.strip_prefix("netsonde: ").unwrap_or(note).to_owned();
        if concerns && !is_repeated && self.notes.len() < MAX_NOTES && !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    fn packet(&mut self, packet: &FilePacket) {
        self.has_packets = true;
        self.missing = self.missing.saturating_add(packet.dropped);
        let gaps = packet.comments.iter();
        for gap in gaps.filter(|comment| comment.starts_with(GAP)) {
            self.has_gaps = true;
            self.note(gap);
        }
        let Some(time_ns) = packet.time_ns.and_then(|ns| u64::try_from(ns).ok()) else {
            return;
        };
        self.first_ns.get_or_insert(time_ns);
        self.last_ns = self.last_ns.max(time_ns);
        let seen = glance(packet.link, &packet.bytes);
        if !matches!(seen.ethertype, ethertype::IPV4 | ethertype::IPV6) {
            return;
        }
        let place = self.place(packet);
        match seen.ip_protocol {
            ip_protocol::TCP | ip_protocol::UDP => {
                let bytes = packet.bytes.get(seen.network..).unwrap_or_default();
                let Some(segment) = Segment::read(bytes) else {
                    return;
                };
                self.names.see(time_ns, place, &segment);
                self.tracker.see(&Sighting {
                    time_ns,
                    place,
                    stands_for: packet.stands_for,
                    segment,
                });
            }
            ip_protocol::ICMP | ip_protocol::ICMPV6 => quoted_errors(packet, |error, quoted| {
                self.tracker.see_error(time_ns, &error, quoted);
                self.names.see_error(&error, quoted);
            }),
            _ => {}
        }
    }
}

/// Reads the packets that the options select.
pub(super) fn gather(
    global: &Global,
    socket: &Path,
    args: &ConnectionsArgs,
) -> Result<Found, Failure> {
    match &args.read {
        Some(path) => of_file(args, path),
        None => of_record(global, socket, args),
    }
}

fn of_file(args: &ConnectionsArgs, path: &Path) -> Result<Found, Failure> {
    let packets = Packets {
        until: args.past.until,
        read: Some(path.to_owned()),
        ..Packets::default()
    };
    let interrupt = Interrupt::catch()?;
    let mut source = Source::open(&packets, path, Some(&interrupt))?;
    let intake = std::cell::RefCell::new(Intake::default());
    source.read(
        |packet| {
            intake.borrow_mut().packet(packet);
            Ok(true)
        },
        |note| {
            intake.borrow_mut().note(note);
            Ok(true)
        },
    )?;
    let intake = intake.into_inner();
    let end_ns = args.past.until.unwrap_or(0);
    let mut found = done(intake, args.past.since, end_ns, false);
    found.owners = vec![None; found.connections.len()];
    Ok(found)
}

fn of_record(global: &Global, socket: &Path, args: &ConnectionsArgs) -> Result<Found, Failure> {
    let past = &args.past;
    let now_ns = wall_ns();
    let from_ns = match (past.last, past.since) {
        (Some(Lookback::All), _) => None,
        (Some(Lookback::Ns(ns)), _) => Some(now_ns.saturating_sub(ns)),
        (None, Some(since)) => Some(since),
        (None, None) => past.until.is_none().then(|| now_ns - DEFAULT_NS),
    };
    let packets = Packets {
        since: Some(from_ns.map_or(0, |from| from.saturating_sub(BEFORE_NS))),
        until: past.until,
        stores: STORES.map(str::to_owned).to_vec(),
        protocols: PROTOCOLS.map(str::to_owned).to_vec(),
        history: past.history.clone(),
        ..Packets::default()
    };
    let Stream {
        mut connection,
        pipe,
        interrupt,
        content,
    } = Stream::open(socket, &packets, Content::Permitted)?;
    let is_headers_only = content == Content::Headers;
    let mut file = CaptureFile::new(pipe).map_err(Failure::from)?;
    let mut intake = Intake::default();
    loop {
        match file.next() {
            Ok(Some(Item::Packet(packet))) => intake.packet(&packet),
            Ok(Some(Item::Note(note))) => intake.note(&note),
            Ok(None) => break,
            Err(_) if interrupt.came() => break,
            Err(error) => return Err(error.into()),
        }
    }
    let report = ended(&mut connection, &interrupt)?;
    tell_end(global, &report);
    intake.evicted = report.missed.unwrap_or(0);
    if is_headers_only && args.names && !global.quiet {
        remark(
            "no questions to name servers: you have no permission to see payload \
             (permission.payload in netsonde.toml(5))",
        );
    }
    let end_ns = past.until.unwrap_or(now_ns).min(now_ns);
    let mut found = done(intake, from_ns, end_ns, is_headers_only);
    // Sockets are those of now.
    let are_of_now = past.until.is_none();
    found.are_owners_known = are_of_now && namespace::may_name_processes(socket)?;
    found.owners = match found.are_owners_known {
        true => owners::of(&found.connections),
        false => vec![None; found.connections.len()],
    };
    Ok(found)
}

fn done(intake: Intake, from_ns: Option<u64>, end_ns: u64, is_headers_only: bool) -> Found {
    let mut interfaces = vec![String::new(); intake.interfaces.len()];
    for (name, at) in intake.interfaces {
        if let Some(place) = interfaces.get_mut(usize::from(at)) {
            *place = name;
        }
    }
    let to_ns = match end_ns {
        0 => intake.last_ns,
        end_ns => end_ns,
    };
    let mut report = intake.tracker.done(to_ns);
    let mut asking = intake.names.done(to_ns);
    let mut notes = intake.notes;
    let mut note = |count: u64, noun: &str, words: &str| {
        if count > 0 {
            notes.push(format!("{} {words}", counted(count, noun)));
        }
    };
    const LEFT_OUT: &str = "more than the table of this command has places";
    note(
        intake.evicted,
        "packet",
        "evicted before they could be read",
    );
    // Gaps have their own counts.
    if intake.missing > intake.evicted && !intake.has_gaps {
        note(
            intake.missing,
            "packet",
            "missing between those that were read",
        );
    }
    let words = "of a sample: others of these connections were counted, not recorded";
    note(report.of_samples, "segment", words);
    let words = format!("without an acknowledged answer left out: {LEFT_OUT}");
    note(report.evicted_unproven, "attempt", &words);
    let words = format!("left out, the oldest: {LEFT_OUT}");
    note(report.evicted_known, "ended connection", &words);
    note(asking.evicted, "question", &format!("left out: {LEFT_OUT}"));
    if is_headers_only {
        notes.push("headers only, without payload: no questions to name servers".into());
    } else {
        let words = "of DNS cut off or malformed before the end of the question";
        note(asking.unread, "message", words);
    }
    if let Some(from_ns) = from_ns {
        report.connections.retain(|one| one.end_ns >= from_ns);
        asking.retain_since(from_ns);
    }
    Found {
        from_ns: from_ns.or(intake.first_ns),
        to_ns,
        interfaces,
        connections: report.connections,
        owners: Vec::new(),
        are_owners_known: false,
        asking,
        notes,
    }
}
