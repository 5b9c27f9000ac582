//! SHELL. A run of `io.netsonde.Trace` that takes probes one after the other, as the trace decides.

use std::io;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::client::failure::Failure;
use crate::client::interrupt::Interrupt;
use crate::linux::monotonic_ns;
use crate::varlink::client::Connection;
use netsonde_core::protocol::trace::{AddCall, Answer, Options, ProbeCall, ProbeReply, Step};
use netsonde_core::trace::Trace;

/// Maximum number of probes of one call.
const MAX_STEPS: usize = 512;

/// An open run.
pub(super) struct Session {
    answers: Connection,
    /// The call for answers is in progress on the other connection, so further probes need one of their own.
    control: Connection,
    run: u64,
}

impl Session {
    /// Starts a run without probes.
    pub(super) fn open(socket: &Path, target: &str, options: &Options) -> Result<Session, Failure> {
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
        let run = run.ok_or_else(|| Failure::Other("netsonded started no run".into()))?;
        answers.wait_without_limit()?;
        Ok(Session {
            answers,
            control: Connection::open(socket)?,
            run,
        })
    }

    /// Sends probes.
    pub(super) fn add(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for part in steps.chunks(MAX_STEPS) {
            let call = AddCall {
                run: self.run,
                probes: part.to_vec(),
            };
            let _: serde_json::Value = self.control.call("io.netsonde.Trace.Add", &call)?;
        }
        Ok(())
    }

    /// Waits for answers until a time, at most. `None` if a signal came first.
    pub(super) fn answers(
        &mut self,
        until_ns: Option<u64>,
        interrupt: &Interrupt,
    ) -> Result<Option<Vec<Answer>>, Failure> {
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
                PollFd::new(interrupt.descriptor(), PollFlags::POLLIN),
            ];
            match poll(&mut wanted, wait) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
                Ok(_) if wanted[1].any().unwrap_or(false) => return Ok(None),
                Ok(_) => {}
            }
        }
        let reply = self.answers.reply_or::<ProbeReply>(None)?;
        let Some((reply, true)) = reply else {
            return Err(Failure::Other("netsonded ended the run".into()));
        };
        Ok(Some(reply.answers.unwrap_or_default()))
    }
}

/// Carries a trace out. `seen` is called with each answer. Returns false if a signal ended it.
pub fn follow(
    socket: &Path,
    target: &str,
    options: &Options,
    trace: &mut Trace,
    interrupt: &Interrupt,
    mut seen: impl FnMut(&Answer),
) -> Result<bool, Failure> {
    let mut session = Session::open(socket, target, options)?;
    loop {
        let next = trace.next(monotonic_ns());
        if next.is_done {
            return Ok(true);
        }
        session.add(&next.steps)?;
        let Some(answers) = session.answers(next.at_ns, interrupt)? else {
            interrupt.take();
            return Ok(false);
        };
        for answer in answers {
            seen(&answer);
            trace.add(answer, monotonic_ns());
        }
    }
}
