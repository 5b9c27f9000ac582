//! SHELL. Packets of the service or of a capture file, as selected by the options of `watch` and `capture`.

use crate::client::chosen::Chosen;
use crate::client::cli::args::{DirectionArg, Global, Lookback, Packets, Past};
use crate::client::failure::Failure;
use crate::client::files::capture_file::{self, CaptureFile, FilePacket, Item};
use crate::client::files::output_file::FileId;
use crate::client::filter::Filter;
use crate::client::interrupt::Interrupt;
use crate::client::joined::{join, on_disk};
use crate::client::output::{no_match, note, remark};
use crate::client::render::style::{local_time_ns, short_duration};
use crate::varlink::client::{Connection, ask};
use netsonde_core::protocol::capture::{CaptureCall, CaptureReply, Content, Selection};
use netsonde_core::protocol::service::Status;
use netsonde_core::text::{counted, was_or_were};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Name for all interfaces, as in tcpdump(8).
const ANY: &str = "any";

impl Packets {
    pub(crate) fn expression(&self) -> Option<String> {
        let text = self.filter.join(" ");
        (!text.trim().is_empty()).then_some(text)
    }

    /// Returns whether recorded packets are selected.
    pub(crate) fn is_past(&self) -> bool {
        self.last.is_some() || self.since.is_some() || self.until.is_some()
    }

    /// Returns the options that select packets, as they can be typed; `None` if all packets are selected.
    pub(crate) fn shown(&self) -> Option<String> {
        let mut words = Vec::new();
        let mut add = |option: &str, value: &str| words.push(format!("{option} {value}"));
        match self.last {
            Some(Lookback::Ns(ns)) => add("--last", &short_duration(ns)),
            Some(Lookback::All) | None => {}
        }
        for (option, at) in [("--since", self.since), ("--until", self.until)] {
            if let Some(at) = at.map(local_time_ns) {
                add(option, &format!("'{at}'"));
            }
        }
        self.interfaces.iter().for_each(|name| add("-I", name));
        if let Some(way) = self.direction {
            add(
                "--direction",
                if way == DirectionArg::In { "in" } else { "out" },
            );
        }
        self.stores.iter().for_each(|name| add("--store", name));
        self.hosts.iter().for_each(|host| add("--host", host));
        self.ports
            .iter()
            .for_each(|port| add("--port", &port.to_string()));
        self.protocols.iter().for_each(|name| add("--proto", name));
        self.groups
            .iter()
            .for_each(|group| add("--group", &group.to_string()));
        self.vlans
            .iter()
            .for_each(|vlan| add("--vlan", &vlan.to_string()));
        if self.inner {
            words.push("--inner".into());
        }
        if let Some(expression) = self.expression() {
            words.push(format!("'{expression}'"));
        }
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// Reports that no recorded packet was selected. Returns the exit status: 0 if all were selected and
    /// there is none.
    pub(crate) fn none_recorded(&self, global: &Global, socket: &Path) -> u8 {
        let Some(filter) = self.shown() else {
            return 0;
        };
        let status: Option<Status> = ask(socket, "io.netsonde.Service.Status").ok();
        let recorded = status.map_or(0, |status| {
            status.recorder.iter().map(|store| store.packets).sum()
        });
        no_match(global, "recorded packet", &filter, recorded)
    }

    /// Returns whether a time is within the selected interval. Packets without a time are.
    pub(crate) fn is_within(&self, time_ns: Option<i128>) -> bool {
        let from = self.since.map_or(i128::MIN, i128::from);
        let to = self.until.map_or(i128::MAX, i128::from);
        time_ns.is_none_or(|time_ns| (from..=to).contains(&time_ns))
    }

    pub(crate) fn selection(&self) -> Result<Selection, Failure> {
        let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let strings = |all: &[IpAddr]| all.iter().map(IpAddr::to_string).collect::<Vec<_>>();
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
            interfaces: match self.interfaces.iter().any(|name| name == ANY) {
                true => None,
                false => list(&self.interfaces),
            },
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
            inner: self.inner.then_some(true),
            groups: list(&strings(&self.groups)),
            vlans: (!self.vlans.is_empty()).then(|| self.vlans.clone()),
            limit: self.count,
            ..Selection::default()
        })
    }
}

/// Reads a pipe until its end or an interrupt.
pub(crate) struct Pipe {
    file: File,
    pub(crate) interrupt: Interrupt,
}

impl Pipe {
    /// Reads a descriptor.
    pub(crate) fn new(descriptor: OwnedFd, interrupt: Interrupt) -> Pipe {
        Pipe {
            file: File::from(descriptor),
            interrupt,
        }
    }
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
    pub(crate) connection: Connection,
    pub(crate) pipe: Pipe,
    pub(crate) interrupt: Interrupt,
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
        let content = match packets.headers {
            true => Content::Headers,
            false => content,
        };
        let (on_disk, left_out) = match on_disk(socket, packets, content)? {
            Ok(on_disk) => (on_disk, None),
            Err(words) => (None, Some(words)),
        };
        if let Some(disk) = &on_disk {
            selection.since_ns = Some(disk.since_ns);
            selection.record = disk.record;
            selection.next.clone_from(&disk.next);
        }
        let follow = selection.follow.unwrap_or(false);
        selection.content = Some(content);
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
        if let Some(words) = left_out {
            remark(words);
        }
        let interrupt = Interrupt::catch()?;
        // Its threads are started behind that: signals are for this one.
        let descriptor = match on_disk {
            Some(disk) => join(disk, descriptor, packets, follow)?,
            None => descriptor,
        };
        Ok(Stream {
            content: opened.content.unwrap_or(Content::Whole),
            connection,
            pipe: Pipe::new(descriptor, interrupt.clone()),
            interrupt,
        })
    }
}

impl Read for Stream {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.pipe.read(room)
    }
}

/// Opens packets of the past: a file, or the record, in memory and on disk, of the given stores; `None` if
/// neither is asked for.
pub(crate) fn open_past(
    socket: &Path,
    read: Option<&Path>,
    past: &Past,
    stores: &[&str],
    content: Content,
) -> Result<Option<Box<dyn Read + Send>>, Failure> {
    if let Some(path) = read {
        return Ok(Some(open(path)?));
    }
    let Some(packets) = past.packets() else {
        return Ok(None);
    };
    let packets = Packets {
        stores: stores.iter().map(|name| (*name).to_owned()).collect(),
        ..packets
    };
    Ok(Some(Box::new(Stream::open(socket, &packets, content)?)))
}

/// Final report of the service at the end of a stream.
pub(crate) fn ended(
    connection: &mut Connection,
    interrupt: &Interrupt,
) -> Result<CaptureReply, Failure> {
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

pub(crate) fn tell_end(global: &Global, report: &CaptureReply) {
    if let Some(cut) = &report.cut {
        remark(format!("netsonded ended the stream: {cut}"));
    }
    if let Some(missed) = report.missed.filter(|missed| *missed > 0) {
        let (packets, were) = (counted(missed, "packet"), was_or_were(missed));
        note(
            global,
            &format!("{packets} {were} evicted before they could be read"),
        );
    }
}

/// A closed pipe (`| head`) ends the command without an error.
pub(crate) fn written(outcome: io::Result<()>) -> Result<bool, Failure> {
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
    Ok(Box::new(
        file.map_err(|error| Failure::of_file("read", path, &error))?,
    ))
}

/// A capture file that is read, and the options that select its packets.
pub(crate) struct Source<'p> {
    packets: &'p Packets,
    path: &'p Path,
    chosen: Chosen,
    file: CaptureFile<'static>,
    /// The file itself, if it is a regular one.
    pub(crate) id: Option<FileId>,
    /// Packets so far.
    pub(crate) counts: FileCounts,
}

/// Number of packets of a file.
#[derive(Clone, Copy, Default)]
pub(crate) struct FileCounts {
    /// Packets that were read.
    pub(crate) read: u64,
    /// Packets that the options select.
    pub(crate) selected: u64,
}

impl FileCounts {
    /// Returns the exit status; 1 with a message if the options selected none.
    pub(crate) fn status(self, global: &Global, packets: &Packets, path: &Path) -> u8 {
        match packets.shown() {
            Some(filter) if self.selected == 0 => {
                let noun = format!("packet in {}", path.display());
                let total = counted(self.read, "packet");
                note(
                    global,
                    &format!("no {noun} matches {filter}; {total} without the filter"),
                );
                1
            }
            _ => 0,
        }
    }
}

impl<'p> Source<'p> {
    /// Checks the options and opens the file; - is standard input. With `interrupt` a signal ends the
    /// reading as the end of the file does.
    pub(crate) fn open(
        packets: &'p Packets,
        path: &'p Path,
        interrupt: Option<&Interrupt>,
    ) -> Result<Source<'p>, Failure> {
        let chosen = Chosen::new(packets)?;
        let cannot = |error| Failure::of_file("read", path, &error);
        let file = match path == Path::new("-") {
            true => io::stdin().as_fd().try_clone_to_owned().map(File::from),
            false => File::open(path),
        };
        let file = file.map_err(cannot)?;
        let id = FileId::of(&file.metadata().map_err(cannot)?);
        let file = match interrupt {
            Some(interrupt) => CaptureFile::new(Pipe {
                file,
                interrupt: interrupt.clone(),
            }),
            None => CaptureFile::new(file),
        };
        Ok(Source {
            packets,
            path,
            chosen,
            file: file.map_err(|error| about(path, &error))?,
            id,
            counts: FileCounts::default(),
        })
    }

    /// Passes on each selected packet and each note, until one of the callers returns `false`.
    pub(crate) fn read(
        &mut self,
        mut each: impl FnMut(&FilePacket) -> Result<bool, Failure>,
        mut note: impl FnMut(&str) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let most = self.packets.count.unwrap_or(u64::MAX);
        while self.counts.selected < most {
            match self.file.next().map_err(|error| about(self.path, &error))? {
                None => break,
                Some(Item::Note(text)) => {
                    if !note(&text)? {
                        break;
                    }
                }
                Some(Item::Packet(packet)) => {
                    self.counts.read += 1;
                    if !self.chosen.selects(&packet)? {
                        continue;
                    }
                    self.counts.selected += 1;
                    if !each(&packet)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns link type number and name of each interface of the file.
    pub(crate) fn interfaces(&self) -> Vec<(u32, Option<&str>)> {
        self.file.interfaces()
    }
}

fn about(path: &Path, error: &capture_file::Error) -> Failure {
    Failure::Other(format!("{}: {error}", path.display()))
}
