//! SHELL. The thread that follows netsonded's event log, so that what it said is there for a year.

use std::path::{Path, PathBuf};
use std::time::Duration;

use netsonde_core::protocol::history::Event;
use netsonde_core::protocol::inventory::{Events, EventsCall};
use tokio::sync::mpsc::Sender;

use crate::varlink::client::{Connection, Error};

/// Pause before another connection.
const PAUSE: Duration = Duration::from_secs(2);

/// Starts to follow the events behind a time, in nanoseconds since 1970. It ends with its receiver.
///
/// # Errors
///
/// No thread is left.
pub fn follow(socket: &Path, since_ns: u64, to: Sender<(u64, Event)>) -> std::io::Result<()> {
    let socket = PathBuf::from(socket);
    let mut since_ns = since_ns;
    keep_reading("events", to, move |to| read(&socket, &mut since_ns, to))
}

/// Starts a thread that reads from netsonded, with another connection when one breaks, until its receiver is
/// gone.
///
/// # Errors
///
/// No thread is left.
pub(super) fn keep_reading<T: Send + 'static>(
    name: &str,
    to: Sender<T>,
    mut read: impl FnMut(&Sender<T>) -> Result<(), Error> + Send + 'static,
) -> std::io::Result<()> {
    let run = move || {
        while !to.is_closed() {
            // Why there is no service is told by the runs.
            let _ = read(&to);
            std::thread::sleep(PAUSE);
        }
    };
    std::thread::Builder::new()
        .name(name.into())
        .stack_size(256 << 10)
        .spawn(run)
        .map(|_| ())
}

fn read(socket: &Path, since_ns: &mut u64, to: &Sender<(u64, Event)>) -> Result<(), Error> {
    let mut connection = Connection::open(socket)?;
    let call = EventsCall {
        since_ns: Some(*since_ns + 1),
        follow: Some(true),
        ..EventsCall::default()
    };
    connection.call_more("io.netsonde.Inventory.Events", &call)?;
    connection.wait_without_limit()?;
    loop {
        let Some((events, continues)) = connection.reply_or::<Events>(None)? else {
            return Ok(());
        };
        for event in events.events {
            let time = event.time.parse::<jiff::Timestamp>();
            let time_ns = time
                .ok()
                .and_then(|time| u64::try_from(time.as_nanosecond()).ok());
            let Some(time_ns) = time_ns.filter(|time_ns| time_ns > since_ns) else {
                continue;
            };
            *since_ns = time_ns;
            let event = Event {
                time: event.time,
                kind: event.kind,
                severity: event.severity,
                interface: event.interface,
                subject: event.subject,
                text: event.text,
                ..Event::default()
            };
            if to.blocking_send((time_ns, event)).is_err() {
                return Ok(());
            }
        }
        if !continues {
            return Ok(());
        }
    }
}
