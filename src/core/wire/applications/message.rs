//! PURE. The payload of a transport protocol, and how well it fits an application.

use super::super::cursor::Cursor;

/// What a decoder of a transport protocol hands on.
#[derive(Clone, Copy)]
pub(in super::super) struct Message<'a> {
    /// Captured bytes of the payload, in the frame.
    pub bytes: Cursor<'a>,
    /// Length of the payload on the wire, in bytes.
    pub length: usize,
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Whether one of the ports is the application's that is asked: only then it matters what is merely plausible.
    pub on_port: bool,
}

impl<'a> Message<'a> {
    /// Returns the captured payload.
    pub fn payload(&self) -> &'a [u8] {
        let mut bytes = self.bytes;
        bytes.rest()
    }

    /// Returns the big-endian number at `at`, or 0 if it was not captured.
    pub fn u16(&self, at: usize) -> usize {
        match self.payload().get(at..) {
            Some([high, low, ..]) => usize::from(u16::from_be_bytes([*high, *low])),
            _ => 0,
        }
    }

    /// Returns the big-endian number at `at`, or 0 if it was not captured.
    pub fn u32(&self, at: usize) -> u32 {
        match self.payload().get(at..) {
            Some([a, b, c, d, ..]) => u32::from_be_bytes([*a, *b, *c, *d]),
            _ => 0,
        }
    }

    /// Returns the byte at `at`, or 0 if it was not captured.
    pub fn u8(&self, at: usize) -> u8 {
        self.payload().get(at).copied().unwrap_or(0)
    }
}

/// How well the content of a message fits a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Fit {
    /// The content contradicts the protocol.
    No,
    /// The content does not contradict it: enough on one of its ports.
    Plausible,
    /// Other messages do not look like this: enough on any port.
    Certain,
}

impl Fit {
    /// [`Fit::Certain`] if `proved`, else [`Fit::No`].
    pub fn certain(proved: bool) -> Fit {
        if proved { Fit::Certain } else { Fit::No }
    }

    /// [`Fit::Plausible`] if `possible`, else [`Fit::No`].
    pub fn plausible(possible: bool) -> Fit {
        if possible { Fit::Plausible } else { Fit::No }
    }
}
