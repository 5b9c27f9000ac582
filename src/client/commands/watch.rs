//! SHELL. `netsonde watch`: packets, one per line.

use crate::client::cli::args::{Global, Watch};
use crate::client::commands::capture::capture;
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, FilePacket, Item};
use crate::client::output::remark;
use crate::client::packets::{Source, Stream, ended, tell_end, written};
use crate::client::render::packet_line::{Lines, json};
use crate::client::render::style::Style;
use crate::client::screen;
use netsonde_core::protocol::capture::Content;
use netsonde_core::recorder::pcapng::sample_comment;
use serde_json::json;
use std::cell::RefCell;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

/// Runs `netsonde watch`.
pub fn watch(global: &Global, socket: &Path, args: &Watch) -> Result<u8, Failure> {
    let packets = &args.packets;
    if let Some(path) = &args.write {
        return capture(global, socket, packets, path);
    }
    let is_file = |path: &Path| std::fs::metadata(path).is_ok_and(|about| about.is_file());
    let out = Out {
        lines: Lines::new(Style::new(global.color), args.link_header, global.verbose),
        json: global.json,
        quiet: global.quiet,
        to: RefCell::new(output(packets.read.as_deref().is_some_and(is_file))),
    };
    if let Some(path) = &packets.read {
        let mut source = Source::open(packets, path, None)?;
        source.read(|packet| out.packet(packet), |note| out.note(note))?;
        written(out.to.borrow_mut().flush())?;
        return Ok(source.counts.status(global, packets, path));
    }
    let Stream {
        mut connection,
        pipe,
        interrupt,
        content,
    } = Stream::open(socket, packets, Content::Permitted)?;
    if content == Content::Headers && !packets.headers && !global.quiet {
        remark(
            "headers only: you have no permission to see payload (permission.payload in \
             netsonde.toml(5))",
        );
    }
    let mut file = CaptureFile::new(pipe).map_err(Failure::from)?;
    let mut is_empty = true;
    loop {
        let item = match file.next() {
            Ok(Some(item)) => item,
            Ok(None) => break,
            // An interrupt may truncate the last block.
            Err(_) if interrupt.came() => break,
            Err(error) => return Err(error.into()),
        };
        let going_on = match &item {
            Item::Packet(packet) => {
                is_empty = false;
                out.packet(packet)?
            }
            Item::Note(note) => out.note(note)?,
        };
        if !going_on {
            return Ok(0);
        }
    }
    tell_end(global, &ended(&mut connection, &interrupt)?);
    if is_empty && !interrupt.came() {
        return Ok(packets.none_recorded(global, socket));
    }
    Ok(0)
}

/// Bytes of lines that are written at once, where nobody waits for a line.
const BLOCK: usize = 64 << 10;

/// Returns standard output: in blocks if `is_whole`, that is if all packets are there already, and no terminal
/// shows them; else line by line.
fn output(is_whole: bool) -> Box<dyn Write> {
    let out = screen::shared_stdout();
    match is_whole && !io::stdout().is_terminal() {
        true => Box::new(BufWriter::with_capacity(BLOCK, out)),
        false => Box::new(out),
    }
}

struct Out {
    lines: Lines,
    json: bool,
    quiet: bool,
    to: RefCell<Box<dyn Write>>,
}

impl Out {
    /// Returns `false` if the reader is gone.
    fn packet(&self, packet: &FilePacket) -> Result<bool, Failure> {
        let mut out = self.to.borrow_mut();
        if !self.json && !self.quiet {
            // The line says it.
            let of_sample = sample_comment(packet.stands_for);
            let comments = packet.comments.iter().filter(|text| **text != of_sample);
            for comment in comments {
                if !written(writeln!(out, "# {}", self.lines.comment(comment)))? {
                    return Ok(false);
                }
            }
        }
        if self.json {
            written(writeln!(out, "{}", json(packet)))
        } else {
            let mut line = self.lines.text(packet);
            line.push('\n');
            written(out.write_all(line.as_bytes()))
        }
    }

    fn note(&self, note: &str) -> Result<bool, Failure> {
        let mut out = self.to.borrow_mut();
        if self.json {
            return written(writeln!(out, "{}", json!({ "note": note })));
        }
        if self.quiet {
            Ok(true)
        } else {
            written(writeln!(out, "# {}", self.lines.comment(note)))
        }
    }
}
