//! SHELL. The thread that asks netsonded each second about its host: what its interfaces carry and count, and the ways to
//! some targets.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use netsonde_core::protocol::service::Interfaces;
use tokio::sync::mpsc::Sender;

use super::events::keep_reading;
use super::run::Report;
use super::second::{Looked, count, look};
use crate::linux::wall_ns;
use crate::varlink::client::{Connection, Error};

/// Interval of questions: losses in bursts are seconds apart.
const INTERVAL: Duration = Duration::from_secs(1);

/// Starts to ask; what is found goes to the receiver, and it ends with that.
///
/// # Errors
///
/// No thread is left.
pub fn follow(
    socket: &Path,
    wanted: Receiver<Vec<Looked>>,
    to: Sender<Report>,
) -> std::io::Result<()> {
    let socket = PathBuf::from(socket);
    keep_reading("host", to, move |to| read(&socket, &wanted, to))
}

fn read(socket: &Path, wanted: &Receiver<Vec<Looked>>, to: &Sender<Report>) -> Result<(), Error> {
    let mut connection = Connection::open(socket)?;
    loop {
        let begin = Instant::now();
        let found: Interfaces =
            connection.call("io.netsonde.Service.Interfaces", &serde_json::json!({}))?;
        let carried = found.interfaces.into_iter().filter(|one| one.recording);
        let carried = carried.map(|one| (one.interface, one.bytes)).collect();
        let mut reports = vec![Report::Load(carried)];
        reports.push(Report::Counted(count(&mut connection)?));
        for (series, call) in wanted.try_recv().into_iter().flatten() {
            let found = look(&mut connection, &call)?;
            let paths = found.paths.into_iter();
            reports.push(Report::Paths(
                wall_ns(),
                series.into_iter().zip(paths).collect(),
            ));
        }
        for report in reports {
            if to.blocking_send(report).is_err() {
                return Ok(());
            }
        }
        std::thread::sleep(INTERVAL.saturating_sub(begin.elapsed()));
    }
}
