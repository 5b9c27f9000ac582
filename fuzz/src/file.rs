//! Capture files of all formats. What is read can be written, and is then read alike.

use netsonde::client::files::capture_file::{CaptureFile, FilePacket, Item};
use netsonde_core::recorder::pcapng::Writer;

use super::decoding;

/// Packets of a file that are read: a compressed file may have any number.
const PACKETS_MAX: usize = 256;

/// A capture file, compressed or not.
pub fn file(data: &[u8]) {
    let packets = read(data);
    packets.iter().for_each(decoding::check);
    let (written, expected) = write(&packets);
    let again = read(&written);
    assert_eq!(again.len(), expected.len());
    for (one, other) in again.iter().zip(expected) {
        assert_eq!(one.time_ns, other.time_ns);
        assert_eq!(one.link_number, other.link_number);
        assert_eq!(one.bytes, other.bytes);
        assert_eq!(one.original_length, other.original_length);
        assert_eq!(one.direction, other.direction);
        assert_eq!(one.checksum, other.checksum);
    }
}

fn read(data: &[u8]) -> Vec<FilePacket> {
    let mut packets = Vec::new();
    let Ok(mut file) = CaptureFile::new(data) else {
        return packets;
    };
    while packets.len() < PACKETS_MAX {
        match file.next() {
            Ok(Some(Item::Packet(packet))) => packets.push(packet),
            Ok(Some(Item::Note(_))) => {}
            Ok(None) | Err(_) => break,
        }
    }
    packets
}

/// Writes those packets that pcapng can hold.
fn write(packets: &[FilePacket]) -> (Vec<u8>, Vec<&FilePacket>) {
    let mut writer = Writer::default();
    writer.section("netsonde", "Linux", &[]);
    let mut written = Vec::new();
    for packet in packets {
        let time = packet.time_ns.and_then(|ns| u64::try_from(ns).ok());
        let (Some(time_ns), Ok(link)) = (time, u16::try_from(packet.link_number)) else {
            continue;
        };
        let number = writer.interface(link, 0, packet.interface.as_deref(), None);
        writer.packet(
            number,
            time_ns,
            &packet.bytes,
            packet.original_length,
            packet.direction,
            packet.checksum,
        );
        written.push(packet);
    }
    (writer.buffer, written)
}
