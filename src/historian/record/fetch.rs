//! SHELL. A capture of the service's memory, written to a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use netsonde_core::protocol::capture::{CaptureCall, CaptureReply, Content, Selection};
use netsonde_core::recorder::blocks::{self, BLOCK_MAX, Block, Options};

use crate::linux::reason;
use crate::varlink::client::Connection;

/// Time for the first reply of the service.
const REPLY_WAIT: Duration = Duration::from_secs(10);
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fetched {
    pub packets: u64,
    pub bytes: u64,
    /// Earliest and latest time in nanoseconds since 1970.
    pub times: Option<(u64, u64)>,
    /// Whether the limit kept packets out.
    pub is_cut: bool,
    /// Packets that were evicted before they could be read.
    pub missed: u64,
    /// Comments on stores that have lost packets of the time already.
    pub incomplete: Vec<String>,
    /// The record, and the number of the next packet of each store, if the selection was numbered.
    pub record: u64,
    pub next: BTreeMap<String, u64>,
}

/// Copies the selected packets to a file, at most `limit` bytes, whole blocks only.
///
/// # Errors
///
/// In words: there is no service, it refuses, or the file cannot be written.
pub(super) fn fetch(
    socket: &Path,
    selection: Selection,
    to: &mut File,
    limit: u64,
) -> Result<Fetched, String> {
    let mut connection = Connection::open(socket).map_err(|error| error.to_string())?;
    let limited = connection.wait_at_most(REPLY_WAIT);
    limited.map_err(|error| error.to_string())?;
    let selection = Selection {
        content: Some(Content::Permitted),
        ..selection
    };
    let called = connection.call_more("io.netsonde.Capture.Capture", &CaptureCall { selection });
    called.map_err(|error| error.to_string())?;
    let reply = connection.reply().map_err(|error| error.to_string())?;
    let opened: CaptureReply = serde_json::from_value(reply.parameters)
        .map_err(|error| format!("unexpected reply of netsonded: {error}"))?;
    let index = opened.fd.unwrap_or(0) as usize;
    let descriptor = reply.descriptors.into_iter().nth(index);
    let descriptor = descriptor.ok_or("netsonded passed no descriptor for the packets")?;
    let mut fetched = copy(File::from(descriptor), to, limit)?;
    fetched.record = opened.record.unwrap_or(0);
    if !fetched.is_cut {
        let last = connection.reply().map_err(|error| error.to_string())?;
        let report: CaptureReply = serde_json::from_value(last.parameters).unwrap_or_default();
        if let Some(cut) = report.cut {
            return Err(format!("netsonded ended the stream: {cut}"));
        }
        fetched.missed = report.missed.unwrap_or(0);
    }
    Ok(fetched)
}

fn copy(mut pipe: File, to: &mut File, limit: u64) -> Result<Fetched, String> {
    let mut fetched = Fetched::default();
    let mut part = vec![0; READ_BYTES];
    let mut buffer = Vec::new();
    loop {
        let read = pipe.read(&mut part);
        let length =
            read.map_err(|error| format!("cannot read from netsonded: {}", reason(&error)))?;
        buffer.extend_from_slice(&part[..length]);
        if length == 0 {
            return match buffer.is_empty() {
                true => Ok(fetched),
                false => Err("netsonded ended the stream within a block".into()),
            };
        }
        let mut rest = &buffer[..];
        let mut taken = 0;
        loop {
            let block = blocks::next(&mut rest);
            let block = block.map_err(|_| "netsonded sent a damaged block".to_owned())?;
            let Some(block) = block else {
                break;
            };
            let end = buffer.len() - rest.len();
            if fetched.bytes + end as u64 > limit {
                fetched.is_cut = true;
                break;
            }
            taken = end;
            if let Block::Section(section) = block {
                let comments = Options::of_section(section).comments();
                let evicted = comments.filter(|words| words.contains(" evicted, complete after "));
                fetched.incomplete.extend(evicted.map(str::to_owned));
            }
            if let Block::Packet(packet) = block {
                fetched.packets += 1;
                let at = packet.time_ns;
                let (first, last) = fetched.times.unwrap_or((at, at));
                fetched.times = Some((first.min(at), last.max(at)));
                if let Some((store, number)) = packet.id() {
                    fetched.next.insert(store.name().to_owned(), number + 1);
                }
            }
        }
        to.write_all(&buffer[..taken])
            .map_err(|error| format!("cannot write it: {}", reason(&error)))?;
        fetched.bytes += taken as u64;
        if fetched.is_cut {
            return Ok(fetched);
        }
        buffer.drain(..taken);
        if buffer.len() > BLOCK_MAX {
            return Err("netsonded sent a damaged block".into());
        }
    }
}
