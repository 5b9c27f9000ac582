//! SHELL. `netsonde capture`: packets to a pcapng file.

use crate::client::cli::args::{Global, Packets};
use crate::client::failure::Failure;
use crate::client::files::output_file::OutputFile;
use crate::client::files::packet_file::{Blocks, PacketFile};
use crate::client::interrupt::Interrupt;
use crate::client::packets::{Pipe, Source, Stream, ended, tell_end};
use crate::client::render::style::bytes;
use crate::client::screen;
use crate::varlink::client::NETSONDED;
use netsonde_core::protocol::capture::{CaptureReply, Content};
use netsonde_core::recorder::layout::SNAP_MAX;
use netsonde_core::recorder::pcapng::Writer;
use netsonde_core::text::counted;
use netsonde_core::wire::LinkType;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes read at once.
const PART: usize = 1 << 20;
/// Interval between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(200);

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
    let mut output = OutputFile::open(write, &[], Some(&interrupt))?;
    let shown = output.shown().to_owned();
    let mut blocks = Blocks::default();
    let mut progress = Progress::new(global);
    let passed_on = pass_on(
        NETSONDED.name,
        &mut pipe,
        &mut blocks,
        &mut output,
        &mut progress,
    );
    progress.end();
    let outcome = passed_on.and_then(|going_on| {
        if !going_on {
            return Ok(None);
        }
        let report = ended(&mut connection, &interrupt)?;
        if !interrupt.came() && !blocks.buffer.is_empty() {
            return Err(Failure::Other(
                "netsonded ended the stream within a block".into(),
            ));
        }
        Ok(Some(report))
    });
    let report = match outcome {
        Ok(Some(report)) => report,
        // The reader closed the pipe.
        Ok(None) => return Ok(0),
        Err(failure) => return Err(incomplete(failure, output, &blocks)),
    };
    if let CaptureReply { cut: Some(cut), .. } = &report {
        let failure = Failure::Other(format!("netsonded ended the stream: {cut}"));
        return Err(incomplete(failure, output, &blocks));
    }
    if !blocks.has_interface {
        add_interface(packets, &mut output)?;
    }
    output.complete()?;
    tell_end(global, &report);
    if !global.quiet {
        let interrupted = match interrupt.came() {
            true => "interrupted: ",
            false => "",
        };
        summary(&format!(
            "{interrupted}{}, {} to {shown}",
            counted(blocks.packets, "packet"),
            bytes(progress.total)
        ));
    }
    Ok(match blocks.packets {
        0 if !interrupt.came() => packets.none_recorded(global, socket),
        _ => 0,
    })
}

/// Writes packets that a service passed in a descriptor, as pcapng, `expected` of them if that is known. Returns the
/// exit status.
pub(crate) fn write_descriptor(
    global: &Global,
    service: &str,
    descriptor: OwnedFd,
    expected: Option<u64>,
    write: &Path,
) -> Result<u8, Failure> {
    let interrupt = Interrupt::catch()?;
    let mut output = OutputFile::open(write, &[], Some(&interrupt))?;
    let shown = output.shown().to_owned();
    let mut pipe = Pipe::new(descriptor, interrupt.clone());
    let mut blocks = Blocks::default();
    let mut progress = Progress::new(global);
    let going_on = pass_on(service, &mut pipe, &mut blocks, &mut output, &mut progress);
    progress.end();
    if !going_on? {
        return Ok(0);
    }
    if interrupt.came() {
        return Err(Failure::Other(format!(
            "interrupted: {shown} was not written"
        )));
    }
    if !blocks.buffer.is_empty() {
        let why = format!("{service} ended the packets within a block");
        return Err(Failure::Other(why));
    }
    if let Some(expected) = expected.filter(|expected| *expected > blocks.packets) {
        let packets = blocks.packets;
        return Err(Failure::Other(format!(
            "{service} ended the packets after {packets} of {expected} (see its log): {shown} was not written"
        )));
    }
    output.complete()?;
    if !global.quiet {
        summary(&format!(
            "{}, {} to {shown}",
            counted(blocks.packets, "packet"),
            bytes(progress.total)
        ));
    }
    Ok(0)
}

/// Writes the stream of the service, whole blocks only, until its end or an interrupt. Returns `false`
/// if the reader of the output is gone.
fn pass_on(
    service: &str,
    pipe: &mut Pipe,
    blocks: &mut Blocks,
    output: &mut OutputFile,
    progress: &mut Progress,
) -> Result<bool, Failure> {
    loop {
        let before = blocks.buffer.len();
        blocks.buffer.resize(before + PART, 0);
        let length = pipe.read(&mut blocks.buffer[before..]);
        let length = length.inspect_err(|_| blocks.buffer.truncate(before))?;
        blocks.buffer.truncate(before + length);
        if length == 0 {
            return Ok(true);
        }
        let whole = blocks.whole().ok_or_else(|| {
            Failure::Other(format!(
                "{service} sent a damaged block (do versions match?)"
            ))
        })?;
        if !output.write(&blocks.buffer[..whole])? {
            return Ok(false);
        }
        blocks.consume();
        progress.add(whole);
    }
}

/// Without packets an interrupted stream has no interface, hence no link type.
fn add_interface(packets: &Packets, output: &mut OutputFile) -> Result<bool, Failure> {
    let mut writer = Writer::default();
    let filter = packets.expression();
    writer.interface(
        LinkType::Ethernet.to_linktype(),
        SNAP_MAX,
        None,
        filter.as_deref(),
    );
    output.write(&writer.buffer)
}

/// Live packets come only once: those of an incomplete file are kept beside the target.
fn incomplete(failure: Failure, output: OutputFile, blocks: &Blocks) -> Failure {
    if blocks.packets == 0 {
        return failure;
    }
    Failure::Other(format!("{failure}; {}", output.abandon()))
}

/// Copies the selected packets of a file into another.
fn copy_file(global: &Global, packets: &Packets, from: &Path, to: &Path) -> Result<u8, Failure> {
    let interrupt = Interrupt::catch()?;
    let mut source = Source::open(packets, from, Some(&interrupt))?;
    let output = OutputFile::open(to, source.id.as_slice(), Some(&interrupt))?;
    let shown = output.shown().to_owned();
    let mut file = PacketFile::new(output, &[]);
    let mut going_on = true;
    let read = source.read(
        |packet| {
            going_on = file.add(packet)?;
            Ok(going_on)
        },
        |_| Ok(true),
    );
    // Of a live pipe an interrupt is the end, as of a live capture.
    let interrupted = interrupt.came();
    match read {
        Err(_) if interrupted && source.id.is_none() => {}
        Err(failure) if !interrupted => return Err(file.abandon(failure)),
        _ if interrupted && source.id.is_some() => {
            return Err(Failure::Other(format!(
                "interrupted: {shown} was not written"
            )));
        }
        _ => {}
    }
    if !going_on {
        return Ok(0);
    }
    for (link, name) in source.interfaces() {
        file.interface(link, name)?;
    }
    let count = file.complete()?;
    if !global.quiet {
        summary(&format!("{} to {shown}", counted(count, "packet")));
    }
    Ok(source.counts.status(global, packets, from))
}

/// Prints the result on standard error; the file is complete even if that is closed.
fn summary(line: &str) {
    let _ = writeln!(screen::stderr(), "{line}");
}

/// The amount of data on a terminal, while it grows.
struct Progress {
    shown: Option<Instant>,
    total: u64,
}

impl Progress {
    fn new(global: &Global) -> Progress {
        let on = !global.quiet && io::stderr().is_terminal();
        Progress {
            shown: on.then(Instant::now),
            total: 0,
        }
    }

    fn add(&mut self, length: usize) {
        self.total += length as u64;
        if let Some(shown) = &mut self.shown
            && shown.elapsed() >= PROGRESS
        {
            *shown = Instant::now();
            let mut out = screen::stderr();
            let _ = out.control("\r");
            let _ = write!(out, "{} ", bytes(self.total));
        }
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _ = screen::stderr().control("\r");
        }
    }
}
