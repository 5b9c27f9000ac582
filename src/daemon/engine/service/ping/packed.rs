//! SHELL. The pipe through which a client reads packed fates. A slow reader costs entries, which are
//! counted, and neither memory nor time of the run.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::daemon::engine::sandbox::PIPE_BYTES;
use crate::daemon::engine::{Shared, export};
use crate::linux::wall_ns;
use crate::varlink::server::ready;
use netsonde_core::probe::Run;
use netsonde_core::probe::packed::{MAX_ENTRIES, UNIT, put_header};

/// Memory of the pipe, and of a batch as entries and as bytes.
pub(super) const BYTES: u64 = PIPE_BYTES as u64 + 3 * ((MAX_ENTRIES + 1) * UNIT) as u64;
/// Time between two looks for entries of probes that were answered: few wake-ups, and nothing that is shown to
/// people depends on it.
const PERIOD: Duration = Duration::from_secs(1);
/// Time for which a reader may stand still at the end of a run.
const READ_WAIT: Duration = Duration::from_secs(30);

async fn pause(told: &Notify) {
    let _ = timeout(PERIOD, told.notified()).await;
}

/// Writes the entries of a run to its reader.
pub(super) struct FateWriter {
    pipe: AsyncFd<OwnedFd>,
    /// A batch of which the first `done` bytes are written.
    batch: Vec<u8>,
    done: usize,
}

impl FateWriter {
    /// Creates the pipe. Returns the reader's end, too.
    ///
    /// # Errors
    /// If no descriptor or no memory is available.
    pub(super) fn open() -> io::Result<(OwnedFd, FateWriter)> {
        let (theirs, ours) = export::pipe()?;
        let writer = FateWriter {
            pipe: ready::writable(ours)?,
            batch: Vec::new(),
            done: 0,
        };
        Ok((theirs, writer))
    }

    /// Writes entries each second, and at once those of a probe that was `told` as lost, until the reader
    /// closes its end. May be canceled: what is begun is continued by the next call.
    pub(super) async fn follow(&mut self, engine: &Shared, number: u64, told: &Notify) {
        loop {
            if self.flush().await.is_err() {
                return;
            }
            let count = match engine.borrow_mut().prober.runs.get_mut(&number) {
                Some(active) => self.begin(&mut active.run),
                None => return,
            };
            match count {
                MAX_ENTRIES => yield_now().await,
                0 => pause(told).await,
                _ if self.flush().await.is_err() => return,
                _ => pause(told).await,
            }
        }
    }

    /// Writes the rest of a run that is over, and closes the pipe. Returns how many entries of the run were
    /// lost.
    pub(super) async fn finish(mut self, run: &mut Run) -> u64 {
        loop {
            let flushed = timeout(READ_WAIT, self.flush()).await;
            if !matches!(flushed, Ok(Ok(()))) {
                // What no one reads. A batch that is cut is not counted: its reader knows.
                return run.packed_lost() + run.drop_packed();
            }
            run.pack_rest();
            if self.begin(run) == 0 {
                return run.packed_lost();
            }
        }
    }

    /// Begins the next batch, when the last one is written. Returns the number of its entries.
    fn begin(&mut self, run: &mut Run) -> usize {
        let (entries, lost) = run.take_packed(MAX_ENTRIES);
        if !entries.is_empty() {
            self.batch.reserve_exact((entries.len() + 1) * UNIT);
            put_header(entries.len(), lost, wall_ns(), &mut self.batch);
            for entry in &entries {
                self.batch.extend_from_slice(&entry.encode());
            }
        }
        entries.len()
    }

    /// Writes what is begun. May be canceled.
    async fn flush(&mut self) -> io::Result<()> {
        while self.done < self.batch.len() {
            let mut ready = self.pipe.writable().await?;
            let rest = &self.batch[self.done..];
            let written = ready.try_io(|pipe| Ok(nix::unistd::write(pipe.get_ref(), rest)?));
            if let Ok(length) = written {
                self.done += length?;
            }
        }
        self.batch.clear();
        self.done = 0;
        Ok(())
    }
}
