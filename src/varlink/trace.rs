//! SHELL. A run of `io.netsonde.Trace` that takes probes one after the other, as the trace decides.

use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::client::{Connection, Error, NETSONDED};
use crate::linux::monotonic_ns;
use netsonde_core::protocol::trace::{AddCall, Answer, Options, ProbeCall, ProbeReply, Step};
use netsonde_core::trace::Trace;

/// Maximum number of probes of one call.
const MAX_STEPS: usize = 512;

/// An open run. It ends when this is dropped.
pub struct Session {
    answers: Connection,
    /// The call for answers is in progress on the other connection, so further probes need one of their own.
    control: Connection,
    run: u64,
}

impl Session {
    /// Starts a run without probes.
    ///
    /// # Errors
    ///
    /// netsonded does not answer, or refuses the run.
    pub fn open(socket: &Path, target: &str, options: &Options) -> Result<Session, Error> {
        let mut answers = Connection::open(socket)?;
        let call = ProbeCall {
            target: target.into(),
            probes: vec![],
            options: Some(options.clone()),
            open: Some(true),
        };
        answers.call_more("io.netsonde.Trace.Probe", &call)?;
        let first = answers.reply_or::<ProbeReply>(None)?;
        let run = first.and_then(|(reply, _)| reply.run);
        let run = run.ok_or_else(|| NETSONDED.unexpected("no run was started"))?;
        answers.wait_without_limit()?;
        Ok(Session {
            answers,
            control: Connection::open(socket)?,
            run,
        })
    }

    /// Sends probes.
    ///
    /// # Errors
    ///
    /// netsonded does not answer, or refuses the probes.
    pub fn add(&mut self, steps: &[Step]) -> Result<(), Error> {
        for part in steps.chunks(MAX_STEPS) {
            let call = AddCall {
                run: self.run,
                probes: part.to_vec(),
            };
            let _: serde_json::Value = self.control.call("io.netsonde.Trace.Add", &call)?;
        }
        Ok(())
    }

    /// Waits for answers until a monotonic time in nanoseconds, at most. `None` if `stop` becomes readable first.
    ///
    /// # Errors
    ///
    /// The connection breaks, or netsonded ends the run.
    pub fn answers(
        &mut self,
        until_ns: Option<u64>,
        stop: BorrowedFd<'_>,
    ) -> Result<Option<Vec<Answer>>, Error> {
        while !self.answers.is_ready() {
            let wait = match until_ns {
                None => PollTimeout::NONE,
                Some(until_ns) => {
                    let left_ms = until_ns.saturating_sub(monotonic_ns()).div_ceil(1_000_000);
                    if left_ms == 0 {
                        return Ok(Some(vec![]));
                    }
                    PollTimeout::from(u16::try_from(left_ms).unwrap_or(u16::MAX))
                }
            };
            let mut wanted = [
                PollFd::new(self.answers.socket(), PollFlags::POLLIN),
                PollFd::new(stop, PollFlags::POLLIN),
            ];
            match poll(&mut wanted, wait) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(NETSONDED.broken(error)),
                Ok(_) if wanted[1].any().unwrap_or(false) => return Ok(None),
                Ok(_) => {}
            }
        }
        let reply = self.answers.reply_or::<ProbeReply>(None)?;
        let Some((reply, true)) = reply else {
            return Err(NETSONDED.unexpected("it ended the run"));
        };
        Ok(Some(reply.answers.unwrap_or_default()))
    }
}

/// Carries a trace out. `seen` is called with each answer. Returns false if `stop` became readable before its end.
///
/// # Errors
///
/// netsonded does not answer, refuses, or ends the run.
pub fn follow(
    socket: &Path,
    target: &str,
    options: &Options,
    trace: &mut Trace,
    stop: BorrowedFd<'_>,
    mut seen: impl FnMut(&Answer),
) -> Result<bool, Error> {
    let mut session = Session::open(socket, target, options)?;
    loop {
        let next = trace.next(monotonic_ns());
        if next.is_done {
            return Ok(true);
        }
        session.add(&next.steps)?;
        let Some(answers) = session.answers(next.at_ns, stop)? else {
            return Ok(false);
        };
        for answer in answers {
            seen(&answer);
            trace.add(answer, monotonic_ns());
        }
    }
}
