//! SHELL. The selection that the options of `watch` and `capture` make among packets that the client decodes itself:
//! those of files and of the historian.

use crate::client::cli::args::Packets;
use crate::client::failure::Failure;
use crate::client::files::capture_file::FilePacket;
use crate::client::filter::{Filter, LocalFilter};
use crate::client::output::remark;
use netsonde_core::protocol::capture::Selection;
use netsonde_core::recorder::select::Select;
use netsonde_core::recorder::{Record, Store};
use netsonde_core::wire::linktype;

/// The selection that options make among packets that the client decodes itself.
pub(crate) struct Chosen {
    packets: Packets,
    select: Select,
    filter: Option<Filter>,
    compiled: Vec<(u32, Option<LocalFilter>)>,
}

impl Chosen {
    /// Checks the options.
    pub(crate) fn new(packets: &Packets) -> Result<Chosen, Failure> {
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
        if let Some(filter) = &filter {
            filter.check()?;
        }
        Ok(Chosen {
            packets: packets.clone(),
            select,
            filter,
            compiled: Vec::new(),
        })
    }

    /// Returns whether a packet is selected.
    pub(crate) fn selects(&mut self, packet: &FilePacket) -> Result<bool, Failure> {
        if let Some(filter) = &self.filter {
            let local = local(&mut self.compiled, filter, packet.link_number)?;
            if local.is_none_or(|local| !local.matches(&packet.frame(), packet.direction)) {
                return Ok(false);
            }
        }
        let wanted = packet
            .interface
            .as_deref()
            .is_none_or(|name| self.select.wants_interface(name));
        Ok(wanted && self.packets.is_within(packet.time_ns) && self.select.wants(&record(packet)))
    }
}

/// The filter for a link type, compiled once. Standard error says if it cannot match there.
fn local<'c>(
    compiled: &'c mut Vec<(u32, Option<LocalFilter>)>,
    filter: &Filter,
    number: u32,
) -> Result<Option<&'c LocalFilter>, Failure> {
    let at = compiled.iter().position(|(known, _)| *known == number);
    let at = match at {
        Some(at) => at,
        None => {
            let local = filter.local(number)?;
            if local.is_none() {
                remark(format!(
                    "the filter cannot be applied to {}: its packets are left out",
                    linktype::describe(number)
                ));
            }
            compiled.push((number, local));
            compiled.len() - 1
        }
    };
    Ok(compiled[at].1.as_ref())
}

fn record(packet: &FilePacket) -> Record<'_> {
    Record {
        store: Store::Bulk,
        number: 0,
        time_ns: packet
            .time_ns
            .and_then(|ns| u64::try_from(ns).ok())
            .unwrap_or(0),
        original_length: packet.original_length,
        interface: (0, 0),
        link: packet.link,
        direction: packet.direction,
        checksum: packet.checksum,
        stands_for: packet.stands_for,
        bytes: &packet.bytes,
    }
}
