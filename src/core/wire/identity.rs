//! PURE. Names and roles that hosts announce in DHCP, DHCPv6, mDNS, LLMNR, NetBIOS names, LLDP, CDP
//! and spanning tree. The decoders of these protocols report what is wrong with a message; here it
//! only ends the parsing.

use std::net::{IpAddr, Ipv4Addr};

use super::cursor::{Cursor, Mac, UnexpectedEnd, text};
use super::dns_name::{MAX_RECORDS, name};
use super::{Meaning, Packet};

/// Maximum length of a name, in bytes as printed. A label has at most 63; longer names do not fit a
/// table.
const NAME_MAX: usize = 128;
/// Maximum number of names kept per message. A host announces its own few.
const MAX_NAMES: usize = 8;

/// The protocol that a name or role was announced with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NameSource {
    Dhcp,
    Dhcpv6,
    Mdns,
    Llmnr,
    NetBios,
    Lldp,
    Cdp,
    Stp,
}

impl NameSource {
    /// Returns the name of the protocol, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            NameSource::Dhcp => "dhcp",
            NameSource::Dhcpv6 => "dhcpv6",
            NameSource::Mdns => "mdns",
            NameSource::Llmnr => "llmnr",
            NameSource::NetBios => "netbios",
            NameSource::Lldp => "lldp",
            NameSource::Cdp => "cdp",
            NameSource::Stp => "stp",
        }
    }
}

/// The role of a host, as it announces it or as its messages imply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Role {
    Router,
    Bridge,
    AccessPoint,
    Phone,
    DhcpServer,
    DhcpRelay,
}

/// Names and roles in one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The protocol of the message.
    pub by: NameSource,
    /// Names, each with its address if the message contains one.
    pub names: Vec<(String, Option<IpAddr>)>,
    /// The host that the names belong to if it is not the sender: the client of a DHCP message.
    pub of: Option<Mac>,
    /// Roles of the host.
    pub roles: Vec<Role>,
}

impl Identity {
    fn new(by: NameSource) -> Identity {
        Identity {
            by,
            names: Vec::new(),
            of: None,
            roles: Vec::new(),
        }
    }

    fn named(&mut self, name: &str, address: Option<IpAddr>) {
        let cut = name.char_indices().nth(NAME_MAX).map(|(at, _)| at);
        let name = cut.and_then(|at| name.get(..at)).unwrap_or(name);
        let is_new = !self
            .names
            .iter()
            .any(|(known, of)| known == name && *of == address);
        if !name.is_empty() && name != "." && is_new && self.names.len() < MAX_NAMES {
            self.names.push((name.to_owned(), address));
        }
    }

    fn is(&mut self, role: Role, says_so: bool) {
        if says_so && !self.roles.contains(&role) {
            self.roles.push(role);
        }
    }
}

/// Adds `said` to the packet if it contains a name or a role.
pub(super) fn keep(packet: &mut Packet<'_>, said: Option<Identity>) {
    if let Some(said) = said.filter(|said| !said.names.is_empty() || !said.roles.is_empty()) {
        packet.meanings.push(Meaning::Identity(said));
    }
}

/// The sender of a spanning tree BPDU is a bridge (IEEE 802.1D).
pub(super) fn bridge() -> Identity {
    Identity {
        roles: vec![Role::Bridge],
        ..Identity::new(NameSource::Stp)
    }
}

/// Decodes a host name without the trailing zeros and spaces that some senders add.
fn host_name(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|byte| !matches!(byte, 0 | b' '));
    let bytes = end.and_then(|end| bytes.get(..=end)).unwrap_or_default();
    text(bytes, NAME_MAX)
}

/// DHCP (RFC 2132): option 12 of a client, and who answers as a server. `source` is the sender by IP: a
/// relay passes on replies of a server that names itself in option 54.
pub(super) fn dhcp(mut from: Cursor<'_>, source: Option<IpAddr>) -> Option<Identity> {
    let mut said = Identity::new(NameSource::Dhcp);
    let is_reply = from.u8().ok()? == 2;
    from.skip(27).ok()?;
    let mac = from.mac().ok()?;
    from.skip(202).ok()?;
    if from.u32().ok()? != 0x6382_5363 {
        return None;
    }
    let mut server = None;
    while let Ok(option) = from.u8() {
        match option {
            0 => continue,
            255 => break,
            _ => {}
        }
        let Ok(mut value) = from.u8().and_then(|length| from.sub(length.into())) else {
            break;
        };
        match option {
            12 if !is_reply => {
                said.of = Some(mac);
                said.named(&host_name(value.rest()), None);
            }
            54 => server = value.ipv4().ok(),
            _ => {}
        }
    }
    let is_relay = server.is_some_and(|server| source != Some(IpAddr::V4(server)));
    said.is(Role::DhcpRelay, is_reply && is_relay);
    said.is(Role::DhcpServer, is_reply && !is_relay);
    Some(said)
}

/// DHCPv6 (RFC 8415): the client's name (RFC 4704), and who advertises and replies.
pub(super) fn dhcpv6(mut from: Cursor<'_>) -> Option<Identity> {
    let mut said = Identity::new(NameSource::Dhcpv6);
    let kind = from.u8().ok()?;
    said.is(Role::DhcpServer, matches!(kind, 2 | 7));
    said.is(Role::DhcpRelay, kind == 12);
    if !matches!(kind, 1 | 3..=6 | 8 | 9 | 11) {
        return Some(said);
    }
    from.skip(3).ok()?;
    while let (Ok(option), Ok(length)) = (from.u16(), from.u16()) {
        let Ok(mut value) = from.sub(length.into()) else {
            break;
        };
        if option == 39 && value.skip(1).is_ok() {
            // A name that is not whole ends without the label of length 0.
            let mut bytes = value.rest().to_vec();
            bytes.push(0);
            let whole = Cursor::new(&bytes, 0);
            if let Ok(name) = name(whole, &mut whole.clone()) {
                said.named(&name, None);
            }
        }
    }
    Some(said)
}

/// Names with their addresses in replies of mDNS (RFC 6762) and LLMNR (RFC 4795), also in the additional
/// records, where mDNS has most of them. Plain DNS tells of hosts elsewhere.
pub(super) fn dns(protocol: &str, message: Cursor<'_>) -> Option<Identity> {
    let by = match protocol {
        "mdns" => NameSource::Mdns,
        "llmnr" => NameSource::Llmnr,
        _ => return None,
    };
    let mut said = Identity::new(by);
    // What was read before a message ended too early is as true as without it.
    let _ = addresses(message, &mut said);
    Some(said)
}

fn addresses<'a>(message: Cursor<'a>, said: &mut Identity) -> Result<(), UnexpectedEnd> {
    let mut from = message;
    from.skip(2)?;
    let flags = from.u16()?;
    let questions = from.u16()?;
    let records = from
        .u16()?
        .saturating_add(from.u16()?)
        .saturating_add(from.u16()?);
    if flags >> 15 == 0 {
        return Ok(());
    }
    for _ in 0..questions.min(MAX_RECORDS) {
        name(message, &mut from)?;
        from.skip(4)?;
    }
    for _ in 0..records.min(MAX_RECORDS) {
        let owner = name(message, &mut from)?;
        let kind = from.u16()?;
        from.skip(2)?;
        // A lifetime of 0 takes the record back (RFC 6762, section 10.1).
        let lifetime_s = from.u32()?;
        let length = from.u16()?;
        let mut value = from.sub(length.into())?;
        let address: Option<IpAddr> = match kind {
            1 => Some(value.ipv4()?.into()),
            28 => Some(value.ipv6()?.into()),
            _ => None,
        };
        if address.is_some() && lifetime_s > 0 {
            said.named(&owner, address);
        }
    }
    Ok(())
}

/// NetBIOS names (RFC 1002, section 4.2): registrations, refreshes, and positive answers. Names of groups
/// and of anything but a workstation or file server say nothing new.
pub(super) fn netbios(mut from: Cursor<'_>) -> Option<Identity> {
    let mut said = Identity::new(NameSource::NetBios);
    let message = from;
    from.skip(2).ok()?;
    let flags = from.u16().ok()?;
    let (questions, answers) = (from.u16().ok()?, from.u16().ok()?);
    from.skip(4).ok()?;
    let is_reply = flags >> 15 == 1;
    let operation = flags >> 11 & 0x0f;
    let tells = if is_reply {
        operation == 0 && flags & 0x0f == 0 && questions == 0 && answers > 0
    } else {
        // Registration, refresh, and the number that some use for it.
        matches!(operation, 5 | 8 | 9) && questions > 0
    };
    if !tells {
        return Some(said);
    }
    let (shown, suffix) = netbios_name(&mut from)?;
    if !is_reply {
        from.skip(4).ok()?;
        name(message, &mut from).ok()?;
    }
    if from.u16().ok()? != 0x20 {
        return Some(said);
    }
    from.skip(6).ok()?;
    let mut value = from.u16().and_then(|length| from.sub(length.into())).ok()?;
    let is_group = value.u16().ok()? >> 15 == 1;
    let address: Ipv4Addr = value.ipv4().ok()?;
    if !is_group && matches!(suffix, 0 | 0x20) {
        said.named(&shown, Some(address.into()));
    }
    Some(said)
}

/// Sixteen bytes, each as two letters from A on (RFC 1001, section 14.1); the last one says what the name
/// is of. A scope behind it is passed over.
pub(super) fn netbios_name(from: &mut Cursor<'_>) -> Option<(String, u8)> {
    if from.u8().ok()? != 32 {
        return None;
    }
    let letters: [u8; 32] = from.array().ok()?;
    let mut bytes = Vec::with_capacity(16);
    for pair in letters.chunks(2) {
        let [high, low] = pair else { return None };
        if !(b'A'..=b'P').contains(high) || !(b'A'..=b'P').contains(low) {
            return None;
        }
        bytes.push(high.wrapping_sub(b'A') << 4 | low.wrapping_sub(b'A'));
    }
    loop {
        match from.u8().ok()? {
            0 => break,
            length if length < 64 => from.skip(length.into()).ok()?,
            _ => return None,
        }
    }
    let suffix = bytes.pop()?;
    Some((host_name(&bytes), suffix))
}

/// LLDP (IEEE 802.1AB): the system's name, and which of its capabilities are enabled.
pub(super) fn lldp(mut from: Cursor<'_>) -> Option<Identity> {
    let mut said = Identity::new(NameSource::Lldp);
    while let Ok(head) = from.u16() {
        let Ok(mut value) = from.sub(usize::from(head & 0x1ff)) else {
            break;
        };
        match head >> 9 {
            0 => break,
            5 => said.named(&host_name(value.rest()), None),
            7 => {
                let (Ok(_has), Ok(enabled)) = (value.u16(), value.u16()) else {
                    continue;
                };
                said.is(Role::Bridge, enabled & 0x04 != 0);
                said.is(Role::AccessPoint, enabled & 0x08 != 0);
                said.is(Role::Router, enabled & 0x10 != 0);
                said.is(Role::Phone, enabled & 0x20 != 0);
            }
            _ => {}
        }
    }
    Some(said)
}

/// CDP: the device's name and capabilities.
pub(super) fn cdp(mut from: Cursor<'_>) -> Option<Identity> {
    let mut said = Identity::new(NameSource::Cdp);
    from.skip(4).ok()?;
    while let (Ok(kind), Ok(length)) = (from.u16(), from.u16()) {
        // The length counts its own four bytes, so each turn takes at least these.
        let Ok(mut value) = from.sub(usize::from(length).saturating_sub(4)) else {
            break;
        };
        match kind {
            1 => said.named(&host_name(value.rest()), None),
            4 => {
                let Ok(bits) = value.u32() else { continue };
                said.is(Role::Router, bits & 0x01 != 0);
                said.is(Role::Bridge, bits & 0x0a != 0);
                said.is(Role::Phone, bits & 0x80 != 0);
            }
            _ => {}
        }
    }
    Some(said)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn cursor(bytes: &[u8]) -> Cursor<'_> {
        Cursor::new(bytes, 0)
    }

    fn dhcp_message(operation: u8, options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 236];
        message[0] = operation;
        message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        message.extend_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        message.extend_from_slice(options);
        message
    }

    fn netbios_registration(name: &[u8; 15], suffix: u8, group: u8) -> Vec<u8> {
        let mut message = vec![0, 1, 0x29, 0x10, 0, 1, 0, 0, 0, 0, 0, 1, 32];
        for byte in name.iter().chain([&suffix]) {
            message.extend_from_slice(&[b'A' + (byte >> 4), b'A' + (byte & 15)]);
        }
        message.extend_from_slice(&[0, 0, 0x20, 0, 1, 0xc0, 12, 0, 0x20, 0, 1, 0, 0, 0, 0, 0, 6]);
        message.extend_from_slice(&[group, 0, 10, 0, 0, 9]);
        message
    }

    fn mdns_reply() -> Vec<u8> {
        // A service first, the address among the additional records, as printers send it.
        let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        message.extend_from_slice(b"\x04_ipp\x04_tcp\x05local\0");
        message.extend_from_slice(&[0, 12, 0, 1, 0, 0, 0, 120, 0, 4, 1, b'x', 0xc0, 12]);
        message.extend_from_slice(b"\x07printer\xc0\x16");
        message.extend_from_slice(&[0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4, 10, 0, 0, 9]);
        message
    }

    fn lldp_frame() -> Vec<u8> {
        let mut frame = vec![];
        for (kind, value) in [
            (1u16, &b"\x04\x02\0\0\0\0\x09"[..]),
            (5, b"switch\x1b7"),
            (7, &[0, 0x14, 0, 0x14]),
            (0, &[]),
        ] {
            frame.extend_from_slice(&(kind << 9 | value.len() as u16).to_be_bytes());
            frame.extend_from_slice(value);
        }
        frame
    }

    #[test]
    fn names_and_roles() {
        let name = dhcp_message(1, b"\x35\x01\x03\x0c\x05host\0\xff");
        let said = dhcp(cursor(&name), None).unwrap();
        assert_eq!(said.names, [("host".to_owned(), None)]);
        assert_eq!(said.of, Some(Mac([2, 0, 0, 0, 0, 9])));
        let ack = dhcp_message(2, b"\x35\x01\x05\x36\x04\x0a\0\0\x01\xff");
        let by = |source: &str| dhcp(cursor(&ack), source.parse().ok()).unwrap().roles;
        assert_eq!(by("10.0.0.1"), [Role::DhcpServer]);
        assert_eq!(by("10.0.0.254"), [Role::DhcpRelay]);

        let solicit = b"\x01abc\x00\x27\x00\x06\x00\x04host";
        assert_eq!(dhcpv6(cursor(solicit)).unwrap().names[0].0, "host");
        assert_eq!(
            dhcpv6(cursor(b"\x02abc")).unwrap().roles,
            [Role::DhcpServer]
        );

        let address = Some("10.0.0.9".parse().unwrap());
        let reply = mdns_reply();
        let said = dns("mdns", cursor(&reply)).unwrap();
        assert_eq!(said.names, [("printer.local".to_owned(), address)]);
        assert!(dns("dns", cursor(&reply)).is_none());

        let unique = netbios_registration(b"FILES          ", 0x20, 0);
        let said = netbios(cursor(&unique)).unwrap();
        assert_eq!(said.names, [("FILES".to_owned(), address)]);
        let group = netbios_registration(b"WORKGROUP      ", 0, 0x80);
        assert!(netbios(cursor(&group)).unwrap().names.is_empty());

        let frame = lldp_frame();
        let said = lldp(cursor(&frame)).unwrap();
        assert_eq!(said.names[0].0, "switch\\x1b7", "escaped");
        assert_eq!(said.roles, [Role::Bridge, Role::Router]);

        let announced = b"\x02\xb4\0\0\0\x01\x00\x06R1\0\x04\0\x08\0\0\0\x29";
        let said = cdp(cursor(announced)).unwrap();
        assert_eq!(said.names[0].0, "R1");
        assert_eq!(said.roles, [Role::Router, Role::Bridge]);
    }

    /// Every prefix of every message, and every message with each byte replaced: an answer or none, and
    /// never more than a message may say.
    #[test]
    fn whatever_comes_is_read_to_an_end() {
        let samples = [
            dhcp_message(1, b"\x35\x01\x03\x0c\x05host\0\xff"),
            b"\x01abc\x00\x27\x00\x06\x00\x04host".to_vec(),
            mdns_reply(),
            netbios_registration(b"FILES          ", 0x20, 0),
            lldp_frame(),
            b"\x02\xb4\0\0\0\x01\x00\x06R1\0\x04\0\x08\0\0\0\x29".to_vec(),
        ];
        let readers: [fn(Cursor<'_>) -> Option<Identity>; 6] = [
            |from| dhcp(from, None),
            dhcpv6,
            |from| dns("mdns", from),
            netbios,
            lldp,
            cdp,
        ];
        let mut told = 0;
        for sample in &samples {
            for reader in readers {
                for end in 0..=sample.len() {
                    reader(cursor(&sample[..end]));
                }
                for at in 0..sample.len() {
                    for byte in [0, 1, 0x3f, 0xc0, 0xff] {
                        let mut changed = sample.clone();
                        changed[at] = byte;
                        if let Some(said) = reader(cursor(&changed)) {
                            told += said.names.len();
                            assert!(said.names.len() <= MAX_NAMES);
                            for (name, _) in said.names {
                                assert!(name.len() <= NAME_MAX + 8);
                                assert!(name.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
                            }
                        }
                    }
                }
            }
        }
        assert!(told > 0);
    }
}
