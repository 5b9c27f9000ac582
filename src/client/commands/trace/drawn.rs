//! SHELL. Errors that other traffic to the target has drawn, from the record in memory: what routers said before anyone
//! asked.

use std::net::IpAddr;
use std::path::Path;

use crate::client::cli::args::{Global, Packets};
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, Item};
use crate::client::output::note;
use crate::client::packets::Stream;
use crate::client::quoted::icmp_errors;
use crate::client::render::style::{Style, local_second};
use crate::client::render::table::{Column, table};
use crate::linux::wall_ns;
use crate::varlink::client::ask;
use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::trace::PortsReply;
use netsonde_core::text::counted;
use netsonde_core::trace::{Drawn, DrawnErrors};
use netsonde_core::wire::Direction;

/// Reads the errors that the record holds. `None`, after a line on standard error, if it cannot be read: a trace does not
/// depend on it.
pub(super) fn read(global: &Global, socket: &Path, target: IpAddr) -> Option<Vec<Drawn>> {
    match of_record(socket, target) {
        Ok((drawn, 0)) => Some(drawn),
        Ok((drawn, left_out)) => {
            let errors = counted(left_out, "older error");
            note(
                global,
                &format!("{errors} of the record left out: too many kinds"),
            );
            Some(drawn)
        }
        Err(error) => {
            note(
                global,
                &format!("errors that other traffic drew are not shown: {error}"),
            );
            None
        }
    }
}

fn of_record(socket: &Path, target: IpAddr) -> Result<(Vec<Drawn>, u64), Failure> {
    let ports: PortsReply = ask(socket, "io.netsonde.Trace.Ports")?;
    let mut errors = DrawnErrors::new(target, ports.tcp, ports.udp);
    let packets = Packets {
        since: Some(0),
        until: Some(wall_ns()),
        stores: vec!["icmp".into()],
        ..Packets::default()
    };
    let stream = Stream::open(socket, &packets, Content::Headers)?;
    let mut file = CaptureFile::new(stream.pipe)?;
    while let Some(item) = file.next()? {
        let Item::Packet(packet) = item else { continue };
        // What this host reports to others is nothing about its own way.
        if packet.direction != Direction::Outbound {
            icmp_errors(&packet, |error| errors.see(error));
        }
    }
    Ok(errors.done())
}

/// Renders them as a table; nothing if there are none.
pub(super) fn render(target: &str, drawn: &[Drawn], style: Style) -> String {
    if drawn.is_empty() {
        return String::new();
    }
    let row = |one: &Drawn| {
        let mtu = one
            .mtu
            .map_or_else(String::new, |mtu| format!(", MTU {mtu}"));
        let by = match (one.protocol.as_str(), one.destination_port) {
            ("tcp", Some(port)) => format!("TCP to port {port}"),
            ("udp", Some(port)) => format!("UDP to port {port}"),
            (protocol, _) => format!("IP protocol {protocol}"),
        };
        vec![
            local_second(&one.time),
            one.count.to_string(),
            one.from.to_string(),
            format!("{}{mtu}", one.meaning),
            format!("{by} from {}", one.source),
        ]
    };
    let rows: Vec<Vec<String>> = drawn.iter().map(row).collect();
    let columns = [
        Column::text("LAST"),
        Column::number("TIMES"),
        Column::text("FROM"),
        Column::text("ERROR").shrinks(24),
        Column::text("DRAWN BY").shrinks(16),
    ];
    format!(
        "\nerrors in the record that other traffic to {target} drew before:\n{}\n",
        table(style, &columns, &rows)
    )
}
