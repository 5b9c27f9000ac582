//! PURE. Packets of `mcast send`: 32 bytes, then padding. They hold `netsonde`, a number of the
//! run, the sequence number of the packet from 0, and the send time in nanoseconds since 1970, all
//! in network order.

const MAGIC: &[u8; 8] = b"netsonde";
/// Size of a packet without padding, in bytes.
pub const LENGTH: usize = 32;

/// Header of a test packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestPacket {
    /// Number of the run, which tells senders apart.
    pub run: u64,
    /// Sequence number, from 0.
    pub number: u64,
    /// Send time in nanoseconds since 1970, by the sender's clock.
    pub sent_ns: u64,
}

impl TestPacket {
    /// Writes the header to the start of a buffer of at least [`LENGTH`] bytes.
    ///
    /// # Panics
    /// If the buffer is shorter.
    pub fn write(&self, to: &mut [u8]) {
        to[..8].copy_from_slice(MAGIC);
        to[8..16].copy_from_slice(&self.run.to_be_bytes());
        to[16..24].copy_from_slice(&self.number.to_be_bytes());
        to[24..32].copy_from_slice(&self.sent_ns.to_be_bytes());
    }
}

/// Returns the length of the header at the start of a payload. Of other payloads, these are the bytes that show
/// that it is none: at least one, and more only if the first are those of a test packet.
pub fn header_length(payload: &[u8]) -> usize {
    if read(payload).is_some() {
        return LENGTH;
    }
    let equal = payload
        .iter()
        .zip(MAGIC)
        .take_while(|(one, other)| one == other);
    (equal.count() + 1).min(MAGIC.len())
}

/// Parses a payload; `None` if it is not a test packet.
pub fn read(payload: &[u8]) -> Option<TestPacket> {
    let header: &[u8; LENGTH] = payload.get(..LENGTH)?.try_into().ok()?;
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_be_bytes(bytes)
    };
    (&header[..8] == MAGIC).then(|| TestPacket {
        run: word(8),
        number: word(16),
        sent_ns: word(24),
    })
}
