//! SHELL. Writing a pcapng file, packet by packet.

use crate::client::failure::Failure;
use crate::client::files::capture_file::FilePacket;
use crate::client::packets::written;
use crate::linux::reason;
use netsonde_core::recorder::pcapng::Writer;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Destination of `capture`.
pub(crate) enum Target {
    Out,
    File(File, PathBuf),
}

impl Target {
    pub(crate) fn open(path: &Path) -> Result<Target, Failure> {
        if path != Path::new("-") {
            let file = File::create(path);
            let file = file.map_err(|error| Failure::of_file("write", path, &error))?;
            return Ok(Target::File(file, path.into()));
        }
        if io::stdout().is_terminal() {
            return Err(Failure::Other(
                "standard output is a terminal: redirect it, or give -w FILE".into(),
            ));
        }
        Ok(Target::Out)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        match self {
            Target::Out => {
                let mut out = io::stdout().lock();
                written(out.write_all(bytes).and_then(|()| out.flush()))
            }
            Target::File(file, path) => file.write_all(bytes).map(|()| true).map_err(|error| {
                Failure::Other(format!(
                    "cannot write {}: {}; the file is valid up to its last complete block",
                    path.display(),
                    reason(&error)
                ))
            }),
        }
    }
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
