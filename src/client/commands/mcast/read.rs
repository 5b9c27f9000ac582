//! SHELL. The state of multicast as a capture file shows it, or the record of a time in the
//! past, in place of the service's present one.

use std::collections::BTreeMap;
use std::io::Read;

use netsonde_core::multicast::{Trackers, report};
use netsonde_core::protocol::multicast::{Groups, Queriers, Streams};
use netsonde_core::wire::Direction;
use netsonde_core::wire::glance::glance;

use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, Item};

/// What the trackers made of a file. Ages count from its last packet.
pub(super) struct FileState {
    trackers: Trackers,
    interfaces: BTreeMap<u32, String>,
    last_ns: u64,
}

impl FileState {
    /// Reads the packets of a file or of the record, of one interface if it is given.
    pub(super) fn read(
        source: impl Read + Send,
        interface: Option<&str>,
    ) -> Result<FileState, Failure> {
        let mut state = FileState {
            trackers: Trackers::default(),
            interfaces: BTreeMap::new(),
            last_ns: 0,
        };
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        let mut file = CaptureFile::new(source)?;
        while let Some(item) = file.next()? {
            let Item::Packet(packet) = item else {
                continue;
            };
            let name = packet.interface.as_deref().unwrap_or("file");
            let time_ns = packet.time_ns.and_then(|ns| u64::try_from(ns).ok());
            let Some(time_ns) = time_ns.filter(|_| interface.is_none_or(|only| only == name))
            else {
                continue;
            };
            let next = numbers.len() as u32 + 1;
            let number = match numbers.get(name) {
                Some(number) => *number,
                None => *numbers.entry(name.to_owned()).or_insert(next),
            };
            let frame = packet.frame();
            let seen = glance(frame.link, frame.bytes);
            let outbound = packet.direction == Direction::Outbound;
            (state.trackers).observe_frame(&frame, &seen, number, time_ns, outbound);
            state.last_ns = state.last_ns.max(time_ns);
        }
        state.interfaces = numbers
            .into_iter()
            .map(|(name, number)| (number, name))
            .collect();
        Ok(state)
    }

    fn time(&self) -> String {
        netsonde_core::protocol::time(self.last_ns)
    }

    pub(super) fn groups(&self) -> Groups {
        let mut all = report::groups(&self.trackers, &self.interfaces, self.last_ns);
        report::name_aliases(&mut all);
        Groups {
            time: self.time(),
            groups: all.into_values().collect(),
        }
    }

    pub(super) fn queriers(&self) -> Queriers {
        Queriers {
            routers: Some(report::routers(
                &self.trackers,
                &self.interfaces,
                self.last_ns,
            )),
            time: self.time(),
            queriers: report::queriers(&self.trackers, &self.interfaces, self.last_ns),
            // Whether this host has joined groups is not in a file.
            unasked: Vec::new(),
        }
    }

    pub(super) fn streams(&self) -> Streams {
        Streams {
            time: self.time(),
            streams: report::streams(&self.trackers, &self.interfaces, self.last_ns),
        }
    }
}
