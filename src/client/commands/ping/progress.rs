//! SHELL. SIGQUIT: `netsonde ping` prints ping's short line on standard error and continues.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::varlink::client::Connection;
use netsonde_core::protocol::ping::{ProgressCall, ProgressReply, Summary};
use netsonde_core::text::counted;

/// SIGQUIT, and the runs that it asks about.
pub struct Progress {
    signal: SignalFd,
    /// Numbers of the runs.
    runs: Mutex<Vec<u64>>,
    /// The watching thread ends when [`Progress::end`] shuts this pair down.
    wake: (UnixStream, UnixStream),
}

impl Progress {
    /// Blocks the signal for this thread and the ones that it starts.
    pub fn catch() -> io::Result<Progress> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGQUIT);
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Progress {
            signal: SignalFd::with_flags(&set, flags)?,
            runs: Mutex::default(),
            wake: UnixStream::pair()?,
        })
    }

    /// Adds a run.
    pub fn add(&self, run: u64) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.push(run);
    }

    /// Prints the state of the runs at each signal, until [`Progress::end`].
    pub fn watch(&self, socket: &Path, names: &HashMap<String, String>) {
        loop {
            let mut wanted = [
                PollFd::new(self.signal.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.wake.1.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut wanted, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            if wanted[1].any().unwrap_or(true) {
                return;
            }
            if let Ok(Some(_)) = self.signal.read_signal() {
                self.print(socket, names);
            }
        }
    }

    /// Ends [`Progress::watch`].
    pub fn end(&self) {
        let _ = self.wake.0.shutdown(std::net::Shutdown::Both);
    }

    fn print(&self, socket: &Path, names: &HashMap<String, String>) {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        for run in runs.iter().copied() {
            // A run that has just ended prints its summary itself.
            let Ok(mut connection) = Connection::open(socket) else {
                continue;
            };
            let so_far: Result<ProgressReply, _> =
                connection.call("io.netsonde.Ping.Progress", &ProgressCall { run });
            let Ok(so_far) = so_far else {
                continue;
            };
            let summaries = so_far.summaries.unwrap_or_default();
            let is_single = summaries.len() == 1 && runs.len() == 1;
            for summary in &summaries {
                let name = names.get(&summary.target).unwrap_or(&summary.target);
                let name = if is_single {
                    String::new()
                } else {
                    format!("{name}: ")
                };
                eprintln!("{name}{}", line(summary));
            }
            if summaries.is_empty() {
                let total = &so_far.total;
                let loss = loss_percent(total.sent, total.received);
                eprintln!(
                    "{}/{} packets, {loss}% loss, {} of {} answered",
                    total.received,
                    total.sent,
                    total.answered,
                    counted(total.targets, "target")
                );
            }
        }
    }
}

/// Whole percents, rounded down, as ping prints them here.
fn loss_percent(sent: u64, received: u64) -> u64 {
    let lost = u128::from(sent.saturating_sub(received));
    (lost * 100).checked_div(sent.into()).unwrap_or(0) as u64
}

/// The short line of ping(8).
fn line(summary: &Summary) -> String {
    let loss = loss_percent(summary.sent, summary.received);
    let mut line = format!(
        "{}/{} packets, {loss}% loss",
        summary.received, summary.sent
    );
    if let (Some(rtt), Some(ewma)) = (&summary.rtt_ns, summary.rtt_ewma_ns) {
        let all = [rtt.min, rtt.mean, ewma, rtt.max];
        let all = all.map(|ns| format!("{:.3}", ns as f64 / 1e6)).join("/");
        line.push_str(&format!(", min/avg/ewma/max = {all} ms"));
    }
    line
}
