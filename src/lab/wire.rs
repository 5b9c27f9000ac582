//! SHELL. A wire in user space between two hosts: it delays, drops, duplicates, reorders and corrupts,
//! deterministically, and counts what it did. (The kernel's own way, netem, is not everywhere.)
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

/// Chooses frames by their bytes.
pub type Choose = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// What the wire does to frames in one direction. The default does nothing.
#[derive(Default)]
pub struct Impairment {
    /// Added to every frame's way.
    pub delay: Duration,
    /// Frames to lose.
    pub drop: Option<Choose>,
    /// Frames to deliver twice.
    pub duplicate: Option<Choose>,
    /// Frames to deliver only after the next one of their kind: as long, and to the same address.
    pub swap: Option<Choose>,
    /// Frames of which one bit in the last byte is turned.
    pub corrupt: Option<Choose>,
    /// Frames whose passage is to be kept in `passages`.
    pub record: Option<Choose>,
    /// When the chosen ones came and left.
    pub passages: Vec<Passage>,
    /// What was done.
    pub counts: Counts,
}

/// A frame that went over the wire. Times are nanoseconds since 1970.
#[derive(Clone, Debug)]
pub struct Passage {
    /// As it was delivered.
    pub frame: Vec<u8>,
    /// When the kernel had it at the wire's end.
    pub came_ns: u64,
    /// When it was given to the other end.
    pub left_ns: u64,
}

/// What the wire did in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub forwarded: u64,
    pub dropped: u64,
    pub duplicated: u64,
    pub swapped: u64,
    pub corrupted: u64,
}

/// Every nth frame, beginning with the nth.
pub fn every(n: u64) -> Choose {
    let mut count = 0;
    Box::new(move |_| {
        count += 1;
        count % n == 0
    })
}

/// A running wire; it ends when this goes.
pub struct Wire {
    directions: [Arc<Mutex<Impairment>>; 2],
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _middle: Host,
}

impl Wire {
    /// Lays a wire between a new interface in each host; both are up.
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

    /// Changes or looks at the behaviour from a to b.
    pub fn a_to_b<T>(&self, change: impl FnOnce(&mut Impairment) -> T) -> T {
        change(
            &mut self.directions[0]
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Changes or looks at the behaviour from b to a.
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

/// A frame on its way: when it is due, its number to keep the order, where it goes, when it came, its
/// bytes.
type Due = Reverse<(Instant, u64, usize, u64, Vec<u8>)>;

/// How often the thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(20);
/// Largest frame.
const FRAME: usize = 65_600;

fn forward(mut ports: [File; 2], directions: &[Arc<Mutex<Impairment>>; 2], stop: &AtomicBool) {
    let mut due: BinaryHeap<Due> = BinaryHeap::new();
    let mut held: [Option<Vec<u8>>; 2] = [None, None];
    let mut number = 0;
    let mut room = vec![0; FRAME];
    while !stop.load(Ordering::Relaxed) {
        let wait = due.peek().map_or(LOOK, |Reverse((at, ..))| {
            at.saturating_duration_since(Instant::now()).min(LOOK)
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
            while let Ok((length, came_ns)) = read_stamped(&ports[from], &mut room) {
                let frame = room[..length].to_vec();
                let mut behaviour = directions[from]
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                for frame in treat(&mut behaviour, frame, &mut held[from]) {
                    number += 1;
                    due.push(Reverse((
                        Instant::now() + behaviour.delay,
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
                // A host that is down loses it, as on any wire.
                let _ = ports[to].write(&frame);
                let mut behaviour = directions[1 - to]
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if (behaviour.record.as_mut()).is_some_and(|choose| choose(&frame)) {
                    behaviour.passages.push(Passage {
                        frame,
                        came_ns,
                        left_ns,
                    });
                }
            }
        }
    }
}

/// What becomes of a frame: none, one or several.
fn treat(
    behaviour: &mut Impairment,
    mut frame: Vec<u8>,
    held: &mut Option<Vec<u8>>,
) -> Vec<Vec<u8>> {
    let chosen = |choose: &mut Option<Choose>, frame: &[u8]| {
        choose.as_mut().is_some_and(|choose| choose(frame))
    };
    if chosen(&mut behaviour.drop, &frame) {
        behaviour.counts.dropped += 1;
        return vec![];
    }
    if chosen(&mut behaviour.corrupt, &frame)
        && let Some(last) = frame.last_mut()
    {
        *last ^= 1;
        behaviour.counts.corrupted += 1;
    }
    let mut out = Vec::new();
    if held.is_none() && chosen(&mut behaviour.swap, &frame) {
        behaviour.counts.swapped += 1;
        *held = Some(frame);
        return out;
    }
    if chosen(&mut behaviour.duplicate, &frame) {
        behaviour.counts.duplicated += 1;
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
    behaviour.counts.forwarded += out.len() as u64;
    out
}
