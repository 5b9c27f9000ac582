//! SHELL. A wire in user space between two hosts: it delays, drops, duplicates, reorders and corrupts,
//! deterministically, and counts what it did. (netem, the kernel's equivalent, is not available everywhere.)
//!
//! ```text
//!   a  e0 ---- veth ---- p0  wire  p1 ---- veth ---- e0  b
//!                        packet sockets
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::sys::{finish_checksums, read_stamped};
use super::{Error, Host, step, veth};
use crate::linux::wall_ns;

/// Selects frames by their bytes.
pub type Choose = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// Impairment of one direction of a wire. The default forwards everything unchanged.
#[derive(Default)]
pub struct Impairment {
    /// Delay added to every frame.
    pub delay: Duration,
    /// Frames to drop.
    pub drop: Option<Choose>,
    /// Frames to deliver twice.
    pub duplicate: Option<Choose>,
    /// Frames to deliver after the next one of the same length and destination.
    pub swap: Option<Choose>,
    /// Frames in which one bit of the last byte is flipped.
    pub corrupt: Option<Choose>,
    /// Frames whose passage is recorded in `passages`.
    pub record: Option<Choose>,
    /// Recorded passages.
    pub passages: Vec<Passage>,
    /// Counts of what was done.
    pub counts: Counts,
}

/// A frame that passed the wire. Times are nanoseconds since 1970.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Bytes as delivered.
    pub frame: Vec<u8>,
    /// Receive stamp of the kernel at this end of the wire.
    pub came_ns: u64,
    /// Time at which it was given to the other end.
    pub left_ns: u64,
}

/// Counts of frames in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames delivered, including duplicates.
    pub forwarded: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// Frames delivered twice.
    pub duplicated: u64,
    /// Frames held back until after the next one.
    pub swapped: u64,
    /// Frames with a flipped bit.
    pub corrupted: u64,
}

/// Selects every nth frame, starting with the nth.
pub fn every(n: u64) -> Choose {
    let mut count = 0;
    Box::new(move |_| {
        count += 1;
        count % n == 0
    })
}

/// A running wire; it is removed on drop.
pub struct Wire {
    directions: [Arc<Mutex<Impairment>>; 2],
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _middle: Host,
}

impl Wire {
    /// Connects a new interface in each host; both are up.
    pub fn new(a: &Host, a_name: &str, b: &Host, b_name: &str) -> Result<Wire, Error> {
        let middle = Host::new("wire")?;
        let port = |host: &Host, name: &str, port: &str| -> Result<File, Error> {
            veth(host, name, &middle, port)?;
            let what = format!("attaching a wire to {}:{name}", host.name());
            host.run(|| finish_checksums(name)).map_err(step(what))?;
            middle.port(port)
        };
        let ports = [port(a, a_name, "p0")?, port(b, b_name, "p1")?];
        let directions = [Arc::default(), Arc::default()];
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (directions.clone(), stop.clone());
        let thread = std::thread::spawn(move || forward(ports, &shared, &stopped));
        Ok(Wire {
            directions,
            stop,
            thread: Some(thread),
            _middle: middle,
        })
    }

    /// Accesses the impairment from a to b.
    pub fn a_to_b<T>(&self, change: impl FnOnce(&mut Impairment) -> T) -> T {
        change(
            &mut self.directions[0]
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Accesses the impairment from b to a.
    pub fn b_to_a<T>(&self, change: impl FnOnce(&mut Impairment) -> T) -> T {
        change(
            &mut self.directions[1]
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A frame in transit: due time, serial number to keep the order, destination port, receive stamp,
/// bytes.
type Due = Reverse<(Instant, u64, usize, u64, Vec<u8>)>;

/// Interval at which the thread checks for its end.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Largest frame, in bytes.
const MAX_FRAME_BYTES: usize = 65_600;

fn forward(mut ports: [File; 2], directions: &[Arc<Mutex<Impairment>>; 2], stop: &AtomicBool) {
    let mut due: BinaryHeap<Due> = BinaryHeap::new();
    let mut held: [Option<Vec<u8>>; 2] = [None, None];
    let mut number = 0;
    let mut buffer = vec![0; MAX_FRAME_BYTES];
    while !stop.load(Ordering::Relaxed) {
        let wait = due.peek().map_or(STOP_CHECK_INTERVAL, |Reverse((at, ..))| {
            at.saturating_duration_since(Instant::now())
                .min(STOP_CHECK_INTERVAL)
        });
        // Rounded up: a timer that ends a little early would only be set again.
        let ms = u16::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        {
            let mut wanted = [
                PollFd::new(ports[0].as_fd(), PollFlags::POLLIN),
                PollFd::new(ports[1].as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut wanted, PollTimeout::from(ms));
        }
        for from in 0..2 {
            while let Ok((length, came_ns)) = read_stamped(&ports[from], &mut buffer) {
                let frame = buffer[..length].to_vec();
                let mut impairment = directions[from]
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                for frame in impair(&mut impairment, frame, &mut held[from]) {
                    number += 1;
                    due.push(Reverse((
                        Instant::now() + impairment.delay,
                        number,
                        1 - from,
                        came_ns,
                        frame,
                    )));
                }
            }
        }
        while due
            .peek()
            .is_some_and(|Reverse((at, ..))| *at <= Instant::now())
        {
            if let Some(Reverse((_, _, to, came_ns, frame))) = due.pop() {
                let left_ns = wall_ns();
                // A host that is down loses the frame, as on any wire.
                let _ = ports[to].write(&frame);
                let mut impairment = directions[1 - to]
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if impairment
                    .record
                    .as_mut()
                    .is_some_and(|choose| choose(&frame))
                {
                    impairment.passages.push(Passage {
                        frame,
                        came_ns,
                        left_ns,
                    });
                }
            }
        }
    }
}

/// Applies the impairment to a frame. Returns the frames to deliver: none, one or several.
fn impair(
    impairment: &mut Impairment,
    mut frame: Vec<u8>,
    held: &mut Option<Vec<u8>>,
) -> Vec<Vec<u8>> {
    let chosen = |choose: &mut Option<Choose>, frame: &[u8]| {
        choose.as_mut().is_some_and(|choose| choose(frame))
    };
    if chosen(&mut impairment.drop, &frame) {
        impairment.counts.dropped += 1;
        return vec![];
    }
    if chosen(&mut impairment.corrupt, &frame)
        && let Some(last) = frame.last_mut()
    {
        *last ^= 1;
        impairment.counts.corrupted += 1;
    }
    let mut out = Vec::new();
    if held.is_none() && chosen(&mut impairment.swap, &frame) {
        impairment.counts.swapped += 1;
        *held = Some(frame);
        return out;
    }
    if chosen(&mut impairment.duplicate, &frame) {
        impairment.counts.duplicated += 1;
        out.push(frame.clone());
    }
    let overtakes = |held: &Vec<u8>| held.len() == frame.len() && held.get(..6) == frame.get(..6);
    let late = if held.as_ref().is_some_and(overtakes) {
        held.take()
    } else {
        None
    };
    out.push(frame);
    out.extend(late);
    impairment.counts.forwarded += out.len() as u64;
    out
}
