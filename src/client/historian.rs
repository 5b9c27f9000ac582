//! SHELL. What commands ask netsonde-historian for: one method or packets, and words that they share.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::cli::args::Global;
use crate::client::commands::capture::write_descriptor;
use crate::client::failure::Failure;
use crate::client::render::style::{bytes, local_second};
use crate::varlink::client::{Connection, Error, HISTORIAN};
use netsonde_core::protocol::history::{Evidence, PacketsCall, PacketsReply, StatusReply};
use netsonde_core::text::counted;

/// Longest time that its status may take.
const STATUS_WAIT: Duration = Duration::from_secs(2);

/// Connects to the historian.
pub fn open(socket: &Path) -> Result<Connection, Error> {
    Connection::open_to(HISTORIAN, socket)
}

/// Calls a method of `io.netsonde.History`.
pub fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: &str,
    parameters: &impl Serialize,
) -> Result<T, Error> {
    open(socket)?.call(&full(method), parameters)
}

/// Returns its status. What it says about netsonded does not depend on it, so it may take 2 s at most.
pub fn status(socket: &Path) -> Result<StatusReply, Error> {
    let mut connection = open(socket)?;
    connection.wait_at_most(STATUS_WAIT)?;
    connection.call(&full("Status"), &serde_json::json!({}))
}

/// Returns the full name of a method.
pub fn full(method: &str) -> String {
    format!("io.netsonde.History.{method}")
}

/// Writes the packets of an outage or of what was kept to a file. Returns the exit status.
pub fn write_packets(
    global: &Global,
    socket: &Path,
    call: &PacketsCall,
    write: &Path,
) -> Result<u8, Failure> {
    let mut connection = open(socket)?;
    connection.call_more(&full("Packets"), call)?;
    let reply = connection.reply()?;
    let opened: PacketsReply = serde_json::from_value(reply.parameters).unwrap_or_default();
    let index = usize::try_from(opened.fd.unwrap_or(0)).unwrap_or(usize::MAX);
    let descriptor: Option<OwnedFd> = reply.descriptors.into_iter().nth(index);
    let name = HISTORIAN.name;
    let descriptor = descriptor
        .ok_or_else(|| Failure::Other(format!("{name} passed no descriptor for the packets")))?;
    write_descriptor(global, name, descriptor, opened.packets, write)
}

/// Formats numbers of probes by fate, the most frequent first; probes that were answered only if `replied`.
pub fn fates(fates: &BTreeMap<String, u64>, replied: bool) -> String {
    let mut all: Vec<(&String, &u64)> = fates
        .iter()
        .filter(|(name, count)| **count > 0 && (replied || *name != "replied"))
        .collect();
    all.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
    let words: Vec<String> = all
        .iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    words.join(", ")
}

/// Formats what packets there are: their number, size and time, and if it is not whole, why.
pub fn evidence(evidence: &Evidence) -> String {
    let words = evidence.words.as_deref().unwrap_or_default();
    let state = match evidence.state.as_str() {
        "whole" => String::new(),
        state if words.is_empty() => format!(" ({state})"),
        state => format!(" ({state}: {words})"),
    };
    format!(
        "{}, {} from {} to {}{state}",
        counted(evidence.packets, "packet"),
        bytes(evidence.bytes),
        local_second(&evidence.from),
        local_second(&evidence.to)
    )
}
