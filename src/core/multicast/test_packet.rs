//! PURE. The packets of `mcast send`: 32 bytes, then padding. `netsonde`, a number that tells one run
//! from another, the packet's own number from 0 on, and the time of sending in nanoseconds since 1970;
//! all in network order.

const MAGIC: &[u8; 8] = b"netsonde";
/// Bytes of a packet without padding.
pub const LENGTH: usize = 32;

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestPacket {
    /// Which run of which source.
    pub run: u64,
    /// From 0 on.
    pub number: u64,
    /// Nanoseconds since 1970, by the sender's clock.
    pub sent_ns: u64,
}

impl TestPacket {
    /// Writes it to the start of a buffer of at least [`LENGTH`] bytes.
    ///
    /// # Panics
    /// When the buffer is shorter.
    pub fn write(&self, to: &mut [u8]) {
        to[..8].copy_from_slice(MAGIC);
        to[8..16].copy_from_slice(&self.run.to_be_bytes());
        to[16..24].copy_from_slice(&self.number.to_be_bytes());
        to[24..32].copy_from_slice(&self.sent_ns.to_be_bytes());
    }
}

/// Reads a payload. `None`: it is none.
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
