//! SHELL. `watch` and `capture`: packets from the service, past and present, or from a file.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use crate::client::cli::args::{DirectionArg, Global, Lookback, Packets};
use crate::client::connection::Connection;
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, FilePacket, Item};
use crate::client::filter::{Filter, LocalFilter};
use crate::client::interrupt::Interrupt;
use crate::client::render::packet_line::{Lines, json};
use crate::client::render::style::Style;
use netsonde_core::protocol::capture::{CaptureCall, CaptureReply, Content, Selection};
use netsonde_core::recorder::pcapng::Writer;
use netsonde_core::recorder::select::Select;
use netsonde_core::recorder::{Record, Store};

impl Packets {
    fn expression(&self) -> Option<String> {
        let text = self.filter.join(" ");
        (!text.trim().is_empty()).then_some(text)
    }

    /// Returns whether recorded packets are selected.
    fn is_past(&self) -> bool {
        self.last.is_some() || self.since.is_some() || self.until.is_some()
    }

    /// Returns whether a time is within the selected interval. Packets without a time are.
    fn is_within(&self, time_ns: Option<i128>) -> bool {
        let from = self.since.map_or(i128::MIN, i128::from);
        let to = self.until.map_or(i128::MAX, i128::from);
        time_ns.is_none_or(|time_ns| (from..=to).contains(&time_ns))
    }

    fn selection(&self) -> Result<Selection, Failure> {
        let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let expression = self.expression();
        let programs = match &expression {
            Some(text) => Some(Filter::new(text)?.programs()?),
            None => None,
        };
        Ok(Selection {
            last_ns: match self.last {
                Some(Lookback::Ns(ns)) => Some(ns),
                // All packets up to now: from the beginning of time.
                Some(Lookback::All) => Some(u64::MAX / 2),
                None => None,
            },
            since_ns: self.since.or(self.until.map(|_| 0)),
            until_ns: self.until,
            follow: (self.follow || !self.is_past()).then_some(true),
            interfaces: list(&self.interfaces),
            direction: self.direction.map(|way| {
                if way == DirectionArg::In {
                    "in".into()
                } else {
                    "out".into()
                }
            }),
            stores: list(&self.stores),
            programs,
            filter: expression,
            hosts: list(&self.hosts),
            ports: (!self.ports.is_empty()).then(|| self.ports.clone()),
            protocols: list(&self.protocols),
            groups: list(&self.groups),
            vlans: (!self.vlans.is_empty()).then(|| self.vlans.clone()),
            limit: self.count,
            ..Selection::default()
        })
    }
}

/// Reads a pipe until its end or an interrupt.
pub(crate) struct Pipe {
    file: File,
    interrupt: Interrupt,
}

impl Read for Pipe {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut wanted = [
                PollFd::new(self.file.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.interrupt.descriptor(), PollFlags::POLLIN),
            ];
            match poll(&mut wanted, PollTimeout::NONE) {
                Ok(_) => {}
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if wanted[1].any().unwrap_or(false) {
                self.interrupt.note();
                return Ok(0);
            }
            return self.file.read(room);
        }
    }
}

/// A stream of packets from the service.
pub(crate) struct Stream {
    connection: Connection,
    pub(crate) pipe: Pipe,
    interrupt: Interrupt,
    /// The final report of the stream.
    pub(crate) content: Content,
}

impl Stream {
    /// Requests the packets, with as much of each as `content` says, or headers only if the options
    /// say so.
    pub(crate) fn open(
        socket: &Path,
        packets: &Packets,
        content: Content,
    ) -> Result<Stream, Failure> {
        let mut selection = packets.selection()?;
        selection.content = Some(if packets.headers {
            Content::Headers
        } else {
            content
        });
        let mut connection = Connection::open(socket)?;
        connection.call_more("io.netsonde.Capture.Capture", &CaptureCall { selection })?;
        let reply = connection.reply()?;
        let index = reply.parameters["fd"].as_u64().unwrap_or(0) as usize;
        let descriptor: OwnedFd = reply.descriptors.into_iter().nth(index).ok_or_else(|| {
            Failure::Other("netsonded passed no descriptor for the packets".into())
        })?;
        let opened: CaptureReply = serde_json::from_value(reply.parameters).map_err(|error| {
            Failure::Other(format!(
                "unexpected start of the stream from netsonded: {error} (do client and service \
                    versions match?)"
            ))
        })?;
        let interrupt = Interrupt::catch()?;
        Ok(Stream {
            content: opened.content.unwrap_or(Content::Whole),
            connection,
            pipe: Pipe {
                file: File::from(descriptor),
                interrupt: interrupt.clone(),
            },
            interrupt,
        })
    }
}

/// Final report of the service at the end of a stream.
fn ended(connection: &mut Connection, interrupt: &Interrupt) -> Result<CaptureReply, Failure> {
    if interrupt.came() {
        return Ok(CaptureReply::default());
    }
    let reply = connection.reply()?;
    serde_json::from_value(reply.parameters).map_err(|error| {
        Failure::Other(format!(
            "unexpected end of the stream from netsonded: {error} (do client and service \
                versions match?)"
        ))
    })
}

fn tell_end(global: &Global, report: &CaptureReply) {
    if let Some(cut) = &report.cut {
        eprintln!("netsonde: netsonded ended the stream: {cut}");
    }
    if let Some(missed) = report.missed.filter(|missed| *missed > 0)
        && !global.quiet
    {
        eprintln!("netsonde: {missed} packets were evicted before they could be read");
    }
}

/// Runs `netsonde watch`.
pub fn watch(global: &Global, socket: &Path, packets: &Packets) -> Result<u8, Failure> {
    let out = Out {
        lines: Lines::new(Style::new(global.color)),
        json: global.json,
        quiet: global.quiet,
    };
    if let Some(path) = &packets.read {
        return from_file(
            packets,
            path,
            |packet| out.packet(packet),
            |note| out.note(note),
        );
    }
    let Stream {
        mut connection,
        pipe,
        interrupt,
        content,
    } = Stream::open(socket, packets, Content::Permitted)?;
    if content == Content::Headers && !packets.headers && !global.quiet {
        eprintln!(
            "netsonde: headers only: you have no permission to see payload (permission.payload \
                in netsonde.toml(5))"
        );
    }
    let mut file = CaptureFile::new(pipe).map_err(Failure::from)?;
    loop {
        let item = match file.next() {
            Ok(Some(item)) => item,
            Ok(None) => break,
            // An interrupt may truncate the last block.
            Err(_) if interrupt.came() => break,
            Err(error) => return Err(error.into()),
        };
        let going_on = match &item {
            Item::Packet(packet) => out.packet(packet)?,
            Item::Note(note) => out.note(note)?,
        };
        if !going_on {
            return Ok(0);
        }
    }
    tell_end(global, &ended(&mut connection, &interrupt)?);
    Ok(0)
}

struct Out {
    lines: Lines,
    json: bool,
    quiet: bool,
}

impl Out {
    /// Returns `false` if the reader is gone.
    fn packet(&self, packet: &FilePacket) -> Result<bool, Failure> {
        let mut out = io::stdout().lock();
        if !self.json && !self.quiet {
            for comment in &packet.comments {
                if !written(writeln!(out, "# {comment}"))? {
                    return Ok(false);
                }
            }
        }
        if self.json {
            written(writeln!(out, "{}", json(packet)))
        } else {
            written(writeln!(out, "{}", self.lines.text(packet)))
        }
    }

    fn note(&self, note: &str) -> Result<bool, Failure> {
        let mut out = io::stdout().lock();
        if self.json {
            return written(writeln!(out, "{}", json!({ "note": note })));
        }
        if self.quiet {
            Ok(true)
        } else {
            written(writeln!(out, "# {note}"))
        }
    }
}

/// A closed pipe (`| head`) ends the command without an error.
fn written(outcome: io::Result<()>) -> Result<bool, Failure> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens a capture file; - is standard input.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path);
    let failed = |error| Failure::Other(format!("cannot read {}: {error}", path.display()));
    Ok(Box::new(file.map_err(failed)?))
}

/// Packets of a file that match the options.
fn from_file(
    packets: &Packets,
    path: &Path,
    mut each: impl FnMut(&FilePacket) -> Result<bool, Failure>,
    mut note: impl FnMut(&str) -> Result<bool, Failure>,
) -> Result<u8, Failure> {
    let selection = Selection {
        programs: None,
        ..Packets {
            filter: vec![],
            ..packets.clone()
        }
        .selection()?
    };
    let select = Select::new(&selection).map_err(|error| Failure::Other(error.to_string()))?;
    let filter = packets
        .expression()
        .map(|text| Filter::new(&text))
        .transpose()?;
    let mut compiled: Vec<(u32, LocalFilter)> = Vec::new();
    let about = |error: crate::client::files::capture_file::Error| {
        Failure::Other(format!("{}: {error}", path.display()))
    };
    let mut file = CaptureFile::new(open(path)?).map_err(about)?;
    let mut left = packets.count.unwrap_or(u64::MAX);
    while left > 0 {
        match file.next().map_err(about)? {
            None => break,
            Some(Item::Note(text)) => {
                if !note(&text)? {
                    break;
                }
            }
            Some(Item::Packet(packet)) => {
                if let Some(filter) = &filter
                    && !local(&mut compiled, filter, &packet)?.matches(&packet.frame())
                {
                    continue;
                }
                let wanted = packet
                    .interface
                    .as_deref()
                    .is_none_or(|name| select.wants_interface(name));
                let wanted = wanted && packets.is_within(packet.time_ns);
                if !wanted || !select.wants(&record(&packet)) {
                    continue;
                }
                left -= 1;
                if !each(&packet)? {
                    break;
                }
            }
        }
    }
    Ok(0)
}

/// The filter for the link type of the packet, compiled once.
fn local<'c>(
    compiled: &'c mut Vec<(u32, LocalFilter)>,
    filter: &Filter,
    packet: &FilePacket,
) -> Result<&'c LocalFilter, Failure> {
    if let Some(at) = compiled
        .iter()
        .position(|(number, _)| *number == packet.link_number)
    {
        return Ok(&compiled[at].1);
    }
    compiled.push((packet.link_number, filter.local(packet.link)?));
    Ok(&compiled[compiled.len() - 1].1)
}

fn record(packet: &FilePacket) -> Record<'_> {
    Record {
        store: Store::Bulk,
        time_ns: packet
            .time_ns
            .and_then(|ns| u64::try_from(ns).ok())
            .unwrap_or(0),
        original_length: packet.original_length,
        interface: (0, 0),
        link: packet.link,
        direction: packet.direction,
        checksum: packet.checksum,
        bytes: &packet.bytes,
    }
}

/// Destination of `capture`.
enum Target {
    Out,
    File(File, PathBuf),
}

impl Target {
    fn open(path: &Path) -> Result<Target, Failure> {
        if path != Path::new("-") {
            let file = File::create(path);
            let file = file.map_err(|error| {
                Failure::Other(format!("cannot write {}: {error}", path.display()))
            })?;
            return Ok(Target::File(file, path.into()));
        }
        if io::stdout().is_terminal() {
            return Err(Failure::Other(
                "standard output is a terminal: redirect it, or give -w FILE".into(),
            ));
        }
        Ok(Target::Out)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        match self {
            Target::Out => {
                let mut out = io::stdout().lock();
                written(out.write_all(bytes).and_then(|()| out.flush()))
            }
            Target::File(file, path) => file.write_all(bytes).map(|()| true).map_err(|error| {
                Failure::Other(format!(
                    "cannot write {}: {error}; the file is valid up to its last complete block",
                    path.display()
                ))
            }),
        }
    }
}

/// Runs `netsonde capture`.
pub fn capture(
    global: &Global,
    socket: &Path,
    packets: &Packets,
    write: &Path,
) -> Result<u8, Failure> {
    if let Some(path) = &packets.read {
        return copy_file(global, packets, path, write);
    }
    let Stream {
        mut connection,
        mut pipe,
        interrupt,
        ..
    } = Stream::open(socket, packets, Content::Whole)?;
    let mut target = Target::open(write)?;
    let progress = !global.quiet && io::stderr().is_terminal();
    let mut shown = std::time::Instant::now();
    let mut total = 0u64;
    let mut room = vec![0; 1 << 20];
    loop {
        let length = pipe.read(&mut room)?;
        if length == 0 {
            break;
        }
        total += length as u64;
        if !target.write(&room[..length])? {
            return Ok(0);
        }
        if progress && shown.elapsed().as_millis() >= 200 {
            shown = std::time::Instant::now();
            eprint!("\r{} ", crate::client::render::style::bytes(total));
        }
    }
    if progress {
        eprint!("\r");
    }
    let report = ended(&mut connection, &interrupt)?;
    tell_end(global, &report);
    if !global.quiet {
        let shown = if write == Path::new("-") {
            "standard output".into()
        } else {
            write.display().to_string()
        };
        match report.packets {
            Some(count) => eprintln!(
                "{count} packets, {} to {shown}",
                crate::client::render::style::bytes(total)
            ),
            None => eprintln!(
                "interrupted: {} to {shown}",
                crate::client::render::style::bytes(total)
            ),
        }
    }
    Ok(if report.cut.is_some() { 2 } else { 0 })
}

/// A pcapng file that is being written packet by packet.
pub(crate) struct PacketFile {
    target: Target,
    writer: Writer,
    interfaces: Vec<(u32, Option<String>)>,
    /// Number of packets written.
    pub(crate) count: u64,
}

impl PacketFile {
    /// Bytes written at once.
    const PART: usize = 1 << 20;

    /// Creates the file; - is standard output. The comments are on the section.
    pub(crate) fn create(path: &Path, comments: &[String]) -> Result<PacketFile, Failure> {
        let mut writer = Writer::default();
        writer.section(
            concat!("netsonde ", env!("CARGO_PKG_VERSION")),
            "Linux",
            comments,
        );
        Ok(PacketFile {
            target: Target::open(path)?,
            writer,
            interfaces: Vec::new(),
            count: 0,
        })
    }

    /// Appends a packet. Returns `false` if the reader is gone.
    pub(crate) fn add(&mut self, packet: &FilePacket) -> Result<bool, Failure> {
        let key = (packet.link_number, packet.interface.clone());
        let known = self.interfaces.iter().position(|known| *known == key);
        let number = known.unwrap_or_else(|| {
            let name = packet.interface.as_deref().unwrap_or("unknown");
            self.writer.interface(packet.link, 0, name, None);
            self.interfaces.push(key);
            self.interfaces.len() - 1
        });
        let time = packet.time_ns.and_then(|ns| u64::try_from(ns).ok());
        self.writer.packet_with(
            number as u32,
            time.unwrap_or(0),
            &packet.bytes,
            packet.original_length,
            packet.direction,
            packet.checksum,
            (packet.dropped > 0).then_some(packet.dropped),
            &packet.comments,
        );
        self.count += 1;
        if self.writer.buffer.len() > Self::PART {
            return self.flush();
        }
        Ok(true)
    }

    /// Writes the buffered blocks.
    pub(crate) fn flush(&mut self) -> Result<bool, Failure> {
        let going_on = self.target.write(&self.writer.buffer)?;
        self.writer.buffer.clear();
        Ok(going_on)
    }
}

/// Copies the selected packets of a file into another.
fn copy_file(global: &Global, packets: &Packets, from: &Path, to: &Path) -> Result<u8, Failure> {
    let mut file = PacketFile::create(to, &[])?;
    from_file(packets, from, |packet| file.add(packet), |_| Ok(true))?;
    file.flush()?;
    if !global.quiet {
        eprintln!("{} packets to {}", file.count, to.display());
    }
    Ok(0)
}
