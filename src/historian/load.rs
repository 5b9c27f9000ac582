//! SHELL. The thread that asks netsonded each second what its interfaces carry.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netsonde_core::protocol::service::Interfaces;
use tokio::sync::mpsc::Sender;

use super::events::keep_reading;
use super::run::Report;
use crate::varlink::client::{Connection, Error};

/// Interval of questions: losses in bursts are seconds apart.
const INTERVAL: Duration = Duration::from_secs(1);

/// Starts to ask; the bytes of each interface go to the receiver, and it ends with that.
///
/// # Errors
///
/// No thread is left.
pub fn follow(socket: &Path, to: Sender<Report>) -> std::io::Result<()> {
    let socket = PathBuf::from(socket);
    keep_reading("load", to, move |to| read(&socket, to))
}

fn read(socket: &Path, to: &Sender<Report>) -> Result<(), Error> {
    let mut connection = Connection::open(socket)?;
    loop {
        let begin = Instant::now();
        let found: Interfaces =
            connection.call("io.netsonde.Service.Interfaces", &serde_json::json!({}))?;
        let carried = found.interfaces.into_iter().filter(|one| one.recording);
        let carried = carried.map(|one| (one.interface, one.bytes)).collect();
        if to.blocking_send(Report::Load(carried)).is_err() {
            return Ok(());
        }
        std::thread::sleep(INTERVAL.saturating_sub(begin.elapsed()));
    }
}
