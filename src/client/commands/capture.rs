//! SHELL. `netsonde capture`: packets to a pcapng file.

use crate::client::cli::args::{Global, Packets};
use crate::client::failure::Failure;
use crate::client::files::packet_file::{PacketFile, Target};
use crate::client::packets::*;
use netsonde_core::protocol::capture::Content;
use netsonde_core::text::counted;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

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
                "{}, {} to {shown}",
                counted(count, "packet"),
                crate::client::render::style::bytes(total)
            ),
            None => eprintln!(
                "interrupted: {} to {shown}",
                crate::client::render::style::bytes(total)
            ),
        }
    }
    Ok(match report.packets {
        _ if report.cut.is_some() => 2,
        Some(0) => packets.none_recorded(global, socket),
        _ => 0,
    })
}

/// Copies the selected packets of a file into another.
pub(crate) fn copy_file(
    global: &Global,
    packets: &Packets,
    from: &Path,
    to: &Path,
) -> Result<u8, Failure> {
    let mut file = PacketFile::create(to, &[])?;
    let counts = from_file(packets, from, |packet| file.add(packet), |_| Ok(true))?;
    file.flush()?;
    if !global.quiet {
        eprintln!("{} to {}", counted(file.count, "packet"), to.display());
    }
    Ok(counts.status(global, packets, from))
}
