//! PURE. Tokens that match replies to probes. In addition to the identifier and the sequence number
//! of its echo request (RFC 792, RFC 4443), each probe carries a token of twelve bytes at the start
//! of its payload: a tag of four bytes, the same for all probes of this service, which the kernel's
//! filter matches, and a cookie of eight bytes that only this service can compute. Nothing else in
//! a reply is trusted.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Size of the token in bytes. A shorter payload carries as much of it as fits.
pub const TOKEN: usize = 12;
/// Size of an echo header in bytes.
pub const HEADER: usize = 8;
/// Least payload of a request with a chosen checksum: the token, and the word that balances it.
pub const BALANCED: usize = TOKEN + 2;

/// Computes the tokens of probes.
#[derive(Clone, Debug)]
pub struct Identity {
    secret: RandomState,
    tag: u32,
}

/// Result of comparing a reply's payload with the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Equal to what was sent, byte for byte.
    Intact,
    /// The token is right, but bytes after it differ, are missing or were added.
    Altered,
    /// The token is not the probe's.
    Forged,
}

impl Identity {
    /// With the tag that the kernel's filter knows, and a secret of this process's own.
    pub fn new(tag: u32) -> Identity {
        Identity {
            secret: RandomState::new(),
            tag,
        }
    }

    /// Returns the tag of all probes of this service.
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// Returns the token of one probe: the tag, and a keyed SipHash of run, target and sequence
    /// number.
    pub fn token(&self, run: u64, target: IpAddr, sequence: u32) -> [u8; TOKEN] {
        let cookie = self.secret.hash_one((run, target, sequence));
        let mut token = [0; TOKEN];
        token[..4].copy_from_slice(&self.tag.to_be_bytes());
        token[4..].copy_from_slice(&cookie.to_be_bytes());
        token
    }

    /// Returns the ICMP checksum of a flow of a run: another one for each flow, and neither 0 nor 0xffff, which
    /// mean the same.
    pub fn checksum(&self, run: u64, flow: u16) -> u16 {
        let start = self.secret.hash_one((run, "flows"));
        1 + (start.wrapping_add(flow.into()) % 0xfffe) as u16
    }
}

/// Returns the filler byte at payload offset `at`: the given pattern repeated, or the low byte of
/// the offset, as ping does.
fn filler(pattern: &[u8], at: usize) -> u8 {
    if pattern.is_empty() {
        at as u8
    } else {
        pattern[at % pattern.len()]
    }
}

/// Writes an echo request into `packet`, which is empty or has one of the same pattern. For IPv4 the checksum is included; for IPv6 the kernel
/// fills it in, since it chooses the source address (RFC 3542, section 3.1).
pub fn write_request(
    packet: &mut Vec<u8>,
    is_ipv4: bool,
    (id, sequence): (u16, u16),
    token: &[u8; TOKEN],
    size: usize,
    pattern: &[u8],
) {
    let kind = if is_ipv4 { 8 } else { 128 };
    // An existing packet has the same filler.
    if packet.len() != HEADER + size {
        packet.clear();
        packet.resize(HEADER, 0);
        packet.extend((0..size).map(|at| filler(pattern, at)));
    }
    packet[..HEADER].copy_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let marked = size.min(TOKEN);
    packet[HEADER..HEADER + marked].copy_from_slice(&token[..marked]);
    // A request with a chosen checksum may have been there.
    for at in TOKEN..BALANCED.min(size) {
        packet[HEADER + at] = filler(pattern, at);
    }
    if is_ipv4 {
        let sum = !(crate::wire::cursor::sum(packet, 0) as u16);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Changes an echo request with at least [`BALANCED`] bytes of payload so that its checksum is `checksum`, which is
/// neither 0 nor 0xffff. For IPv6 the kernel's checksum is then the same for all such requests between the same
/// addresses.
pub fn balance(packet: &mut [u8], checksum: u16) {
    let at = HEADER + TOKEN;
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet[at..at + 2].fill(0);
    let word = !(crate::wire::cursor::sum(packet, 0) as u16);
    packet[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

/// Compares the payload of a reply with that of a request that [`balance`] changed. The checksum covers the word that
/// it chose.
pub fn check_balanced(payload: &[u8], token: &[u8; TOKEN], size: usize) -> Payload {
    let mut plain = payload.to_vec();
    if let Some(word) = plain.get_mut(TOKEN..BALANCED) {
        for (byte, at) in word.iter_mut().zip(TOKEN..) {
            *byte = filler(&[], at);
        }
    }
    check(&plain, token, size, &[])
}

/// Returns whether the start of a payload matches the token, as far as both extend.
pub fn has_token(payload: &[u8], token: &[u8; TOKEN], size: usize) -> bool {
    let length = size.min(TOKEN).min(payload.len());
    payload[..length] == token[..length]
}

/// Compares a whole payload with what was sent.
pub fn check(payload: &[u8], token: &[u8; TOKEN], size: usize, pattern: &[u8]) -> Payload {
    let marked = size.min(TOKEN);
    if payload.len() < marked || !has_token(payload, token, size) {
        return Payload::Forged;
    }
    let rest = &payload[marked..];
    let intact = payload.len() == size
        && rest
            .iter()
            .zip(marked..)
            .all(|(byte, at)| *byte == filler(pattern, at));
    if intact {
        Payload::Intact
    } else {
        Payload::Altered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn altered_and_forged_payloads_are_detected() {
        let identity = Identity::new(0x6e73_6f6e);
        let target = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
        for (size, pattern) in [
            (0, &[][..]),
            (7, &[]),
            (12, &[]),
            (56, &[]),
            (56, &[0xff, 0x00]),
        ] {
            let token = identity.token(1, target, 7);
            let mut packet = Vec::new();
            write_request(&mut packet, true, (99, 7), &token, size, pattern);
            assert_eq!(packet.len(), 8 + size);
            assert_eq!(crate::wire::cursor::sum(&packet, 0) as u16, 0xffff);
            let payload = &packet[HEADER..];
            assert_eq!(check(payload, &token, size, pattern), Payload::Intact);
            for at in 0..size {
                let mut other = payload.to_vec();
                other[at] ^= 1;
                let expected = if at < TOKEN {
                    Payload::Forged
                } else {
                    Payload::Altered
                };
                assert_eq!(
                    check(&other, &token, size, pattern),
                    expected,
                    "{at} of {size}"
                );
            }
            let mut longer = payload.to_vec();
            longer.push(0);
            assert_eq!(check(&longer, &token, size, pattern), Payload::Altered);
        }
        assert_ne!(identity.token(1, target, 7), identity.token(1, target, 8));
        assert_ne!(identity.token(1, target, 7), identity.token(2, target, 7));
        assert_ne!(
            identity.token(1, target, 7),
            Identity::new(0x6e73_6f6e).token(1, target, 7)
        );
    }

    #[test]
    fn requests_of_a_flow_have_one_checksum() {
        let identity = Identity::new(0x6e73_6f6e);
        let target = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
        for size in [BALANCED, 15, 56, 1472] {
            for flow in [0, 1, 500] {
                let checksum = identity.checksum(3, flow);
                for sequence in 1..200u16 {
                    let token = identity.token(3, target, sequence.into());
                    let mut packet = Vec::new();
                    write_request(&mut packet, true, (7, sequence), &token, size, &[]);
                    balance(&mut packet, checksum);
                    assert_eq!(packet[2..4], checksum.to_be_bytes());
                    assert_eq!(crate::wire::cursor::sum(&packet, 0) as u16, 0xffff);
                    let payload = &packet[HEADER..];
                    assert_eq!(check_balanced(payload, &token, size), Payload::Intact);
                    // The buffer is used again by another run.
                    write_request(&mut packet, true, (7, sequence), &token, size, &[]);
                    assert_eq!(check(&packet[HEADER..], &token, size, &[]), Payload::Intact);
                }
            }
        }
        let all: std::collections::HashSet<u16> =
            (0..1000).map(|flow| identity.checksum(3, flow)).collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn packet_buffer_is_reusable() {
        let identity = Identity::new(1);
        let mut packet = Vec::new();
        for sequence in [1u16, 2, 3] {
            let token = identity.token(1, IpAddr::V4(Ipv4Addr::LOCALHOST), sequence.into());
            write_request(&mut packet, true, (1, sequence), &token, 56, &[]);
            assert_eq!(crate::wire::cursor::sum(&packet, 0) as u16, 0xffff);
            assert_eq!(check(&packet[8..], &token, 56, &[]), Payload::Intact);
        }
    }
}
