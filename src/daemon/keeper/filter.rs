//! PRIVILEGED, but pure: the two classic BPF programs that divide packets between the rings. They
//! are attached and locked before the sockets are bound, and never change.
//!
//! The EtherType comes from `SKF_AD_PROTOCOL`, so that the programs work however the kernel has
//! handled a VLAN tag. One tag that is still in the frame is skipped (the inner one of two). The
//! offset of the network header follows from the link type, as in
//! `recorder::interfaces::link_type`. `SKF_NET_OFF` would give it directly, but before Linux 6.16
//! it reaches only bytes outside of page fragments, and many drivers put everything after the
//! headers there.
//!
//! A load beyond a packet's end ends a program with 0, and the packet would be in no ring and in no
//! count. So the length is checked first, and packets too short for their own headers go to the
//! bulk ring.

use netsonde_core::multicast::mpeg_ts;
use netsonde_core::recorder::class::{
    LINK_ETHERTYPES, NAMES_UDP_PORTS, ROUTING_IP_PROTOCOLS, ROUTING_UDP_PORTS,
    TCP_CONNECTION_FLAGS, TEXT_OPENINGS, TLS_HANDSHAKE,
};
use netsonde_core::recorder::{Rule, Store};
use netsonde_core::wire::glance::{ethertype, ip_protocol};

/// Maximum number of bytes of a packet in the control ring.
pub const CONTROL_SNAP: u32 = 2048;

/// UDP ports of the control ring: DHCP and DHCPv6, the only evidence on a host without a lease.
const CONTROL_UDP_PORTS: [u16; 4] = [67, 68, 546, 547];

/// ARPHRD_LOOPBACK: each packet passes twice here, and the inbound copy suffices.
const LOOPBACK: u32 = 772;
/// ARPHRD_ETHER.
const ETHERNET: u32 = 1;
/// Bytes of an Ethernet header.
const ETHERNET_HEADER: u32 = 14;

// linux/filter.h: base offsets of ancillary data and of the network header.
const AD: u32 = (-0x1000i32) as u32;
const AD_PROTOCOL: u32 = AD;
const AD_PKTTYPE: u32 = AD + 4;
const AD_HATYPE: u32 = AD + 28;

// linux/bpf_common.h.
const LD_W_ABS: u16 = 0x20;
const LD_H_IND: u16 = 0x48;
const LD_B_IND: u16 = 0x50;
const LD_LEN: u16 = 0x80;
const LDX_IMM: u16 = 0x01;
const AND_K: u16 = 0x54;
const LSH_K: u16 = 0x64;
const RSH_K: u16 = 0x74;
const LD_W_IND: u16 = 0x40;
const ADD_X: u16 = 0x0c;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;
const ADD_K: u16 = 0x04;
const SUB_X: u16 = 0x1c;
const ST: u16 = 0x02;
const LD_MEM: u16 = 0x60;
const JGE_X: u16 = 0x3d;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;

/// A classic BPF program: code, jt, jf and k of each instruction.
pub type Code = Vec<(u16, u8, u8, u32)>;

/// Purpose of a raw ICMP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpSocketRole {
    /// Receives everything except replies to probes.
    Listener,
    /// Receives replies to probes, and errors that may quote a probe.
    Prober,
}

/// Returns the program of a raw ICMP or ICMPv6 socket. A reply to a probe carries `tag` in the
/// first four bytes of its payload, so that a flood of other replies does not reach the probe
/// socket. A reply too short for the tag goes to the prober, which examines it. Messages that are
/// neither echo replies nor errors go to the listener, and errors to both.
pub fn icmp_filter(of: IcmpSocketRole, is_ipv4: bool, tag: u32, snap: u32) -> Code {
    const LDX_MSH: u16 = 0xb1;
    let (ours, not_ours) = match of {
        IcmpSocketRole::Listener => (0, snap),
        IcmpSocketRole::Prober => (u32::MAX, 0),
    };
    // Packets of an IPv4 raw socket begin with the IP header, those of an IPv6 one with ICMPv6
    // (raw(7)).
    let start = if is_ipv4 {
        (LDX_MSH, 0, 0, 0)
    } else {
        (LDX_IMM, 0, 0, 0)
    };
    let reply = if is_ipv4 { 0 } else { 129 };
    let mut code = vec![
        start,
        (LD_B_IND, 0, 0, 0),
        // Not an echo reply: continue after this list.
        (JEQ, 0, 7, reply),
        (LD_LEN, 0, 0, 0),
        (SUB_X, 0, 0, 0),
        // Too short for a tag: treated as if it had one.
        (JGE, 0, 2, 12),
        (LD_W_IND, 0, 0, 8),
        (JEQ, 0, 1, tag),
        (RET, 0, 0, ours),
        (RET, 0, 0, not_ours),
    ];
    match of {
        IcmpSocketRole::Listener => code.push((RET, 0, 0, snap)),
        IcmpSocketRole::Prober => {
            // Errors that end a probe; user space examines the quoted packet.
            let errors: &[u32] = if is_ipv4 { &[3, 11, 12] } else { &[1, 2, 3, 4] };
            for kind in errors {
                code.push((JEQ, 0, 1, *kind));
                code.push((RET, 0, 0, u32::MAX));
            }
            code.push((RET, 0, 0, 0));
        }
    }
    code
}

/// The ring that a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Control traffic.
    Control,
    /// All other traffic.
    Bulk,
}

/// Bytes of a TCP segment whose headers and options, or whose first line, are kept.
const SEGMENT_SNAP: u32 = 256;
/// Bytes of a frame that may hold two packets of a transport stream: link header, two tags, the
/// longest IPv4 header, UDP header, 376 bytes.
const SHORTEST_STREAM: u32 = 14 + 8 + 60 + 8 + 376;
/// A frame of the usual Ethernet MTU, with tags.
const STREAM_SNAP: u32 = 1536;

/// Number of a jump target, resolved when it is placed.
#[derive(Clone, Copy)]
struct Label(usize);

struct Assembler<'a> {
    ring: Ring,
    snaps: [u32; 7],
    rules: &'a [Rule],
    code: Vec<(u16, u8, u8, u32)>,
    /// Jumps that wait for their label: index of the JA instruction, and label.
    jumps: Vec<(usize, usize)>,
    places: Vec<Option<usize>>,
    /// Target for packets that are too short for their own headers.
    short: Label,
}

impl Assembler<'_> {
    fn emit(&mut self, code: u16, k: u32) {
        self.code.push((code, 0, 0, k));
    }

    /// Executes the next instruction only if the test holds.
    fn only_if(&mut self, test: u16, k: u32) {
        self.code.push((test, 0, 1, k));
    }

    fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to.0));
        self.emit(JA, 0);
    }

    fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.code.len());
    }

    /// Continues only if the packet has this many bytes from X on; otherwise it is too short for
    /// its headers.
    fn need(&mut self, bytes: u32) {
        let short = self.short;
        self.emit(LD_LEN, 0);
        self.code.push((JGE_X, 1, 0, 0));
        self.jump(short);
        self.emit(SUB_X, 0);
        self.code.push((JGE, 1, 0, bytes));
        self.jump(short);
    }

    /// Accepts the packet for the control ring.
    fn control(&mut self) {
        let take = if self.ring == Ring::Control {
            CONTROL_SNAP
        } else {
            0
        };
        self.emit(RET, take);
    }

    /// Accepts the packet for the bulk ring, with the snap length of the store.
    fn bulk(&mut self, store: Store) {
        let take = if self.ring == Ring::Bulk {
            self.snaps[store as usize]
        } else {
            0
        };
        self.emit(RET, take);
    }

    /// With a UDP port in A: accepts control traffic.
    fn control_port(&mut self) {
        let above = self.label();
        self.skip_above(&CONTROL_UDP_PORTS, above);
        for port in CONTROL_UDP_PORTS {
            self.only_if(JEQ, port.into());
            self.control();
        }
        self.place(above);
    }

    /// With a UDP port in A: accepts what a rule or a store of the bulk ring names.
    fn bulk_port(&mut self) {
        for (port, store) in self.ports(|rule| &rule.udp_ports) {
            self.only_if(JEQ, port.into());
            self.bulk(store);
        }
        let above = self.label();
        self.skip_above(&[&NAMES_UDP_PORTS[..], &ROUTING_UDP_PORTS].concat(), above);
        for port in NAMES_UDP_PORTS {
            self.only_if(JEQ, port.into());
            self.bulk(Store::Names);
        }
        for port in ROUTING_UDP_PORTS {
            self.only_if(JEQ, port.into());
            self.bulk(Store::Routing);
        }
        self.place(above);
    }

    /// Most ports are ephemeral, and above all of these: one test instead of one each.
    fn skip_above(&mut self, ports: &[u16], target: Label) {
        let most = ports.iter().max().copied().unwrap_or(0);
        self.only_if(JGE, u32::from(most) + 1);
        self.jump(target);
    }

    /// Later rules take precedence, so they are tested first.
    fn ports(&self, list: impl Fn(&Rule) -> &Vec<u16>) -> Vec<(u16, Store)> {
        self.rules
            .iter()
            .rev()
            .filter_map(|rule| Some((rule, Store::from_name(&rule.store)?)))
            .flat_map(|(rule, store)| list(rule).iter().map(move |port| (*port, store)))
            .collect()
    }

    /// X holds the offset of the transport header from the start of the packet.
    fn udp(&mut self) {
        self.need(4);
        for side in [2, 0] {
            self.emit(LD_H_IND, side);
            self.control_port();
        }
        if self.ring == Ring::Bulk {
            for side in [2, 0] {
                self.emit(LD_H_IND, side);
                self.bulk_port();
            }
            self.transport_stream();
        }
        self.bulk(Store::Bulk);
    }

    /// An MPEG transport stream shows loss by a counter in each of its packets, so the ring gets
    /// its datagrams whole; the record truncates them like others. X as in `udp`.
    fn transport_stream(&mut self) {
        let (behind, not_alone) = (self.label(), self.label());
        self.emit(LD_LEN, 0);
        // The length is checked first: a load beyond the end would drop the packet.
        self.code.push((JGE, 1, 0, SHORTEST_STREAM));
        self.jump(behind);
        self.emit(LD_B_IND, 8);
        self.code.push((JEQ, 1, 0, mpeg_ts::SYNC.into()));
        self.jump(not_alone);
        self.emit(LD_B_IND, 8 + mpeg_ts::PACKET as u32);
        self.only_if(JEQ, mpeg_ts::SYNC.into());
        self.emit(RET, STREAM_SNAP);
        self.jump(behind);
        self.place(not_alone);
        // RTP version 2 with payload type 33 (RFC 3551).
        self.emit(LD_H_IND, 8);
        self.emit(AND_K, 0xc07f);
        self.only_if(JEQ, 0x8021);
        self.emit(RET, STREAM_SNAP);
        self.place(behind);
    }

    /// As `udp`. None of it is control traffic.
    fn tcp(&mut self) {
        if self.ring == Ring::Control {
            self.emit(RET, 0);
            return;
        }
        self.need(14);
        let own = self.ports(|rule| &rule.tcp_ports);
        if !own.is_empty() {
            for side in [2, 0] {
                self.emit(LD_H_IND, side);
                for (port, store) in &own {
                    self.only_if(JEQ, (*port).into());
                    self.bulk(*store);
                }
            }
        }
        self.emit(LD_B_IND, 13);
        self.only_if(JSET, TCP_CONNECTION_FLAGS.into());
        self.connection(SEGMENT_SNAP);
        // X = X + 4 * data offset.
        self.emit(LD_B_IND, 12);
        self.emit(AND_K, 0xf0);
        self.emit(RSH_K, 2);
        self.emit(ADD_X, 0);
        self.emit(TAX, 0);
        // Nothing begins in a segment without data, which is as good as too short.
        self.need(4);
        self.emit(LD_W_IND, 0);
        for opening in TEXT_OPENINGS {
            self.only_if(JEQ, u32::from_be_bytes(opening));
            self.connection(SEGMENT_SNAP);
        }
        self.emit(RSH_K, 16);
        self.only_if(JEQ, TLS_HANDSHAKE.into());
        self.connection(u32::MAX);
        self.bulk(Store::Bulk);
    }

    /// As [`Assembler::bulk`], for the `connections` store with at most `most` bytes.
    fn connection(&mut self, most: u32) {
        let take = self.snaps[Store::Connections as usize].min(most);
        self.emit(RET, take);
    }

    /// With an IP protocol in A: dispatches on protocols.
    fn protocols(&mut self, icmp: u8) {
        for protocol in [icmp, ip_protocol::IGMP, ip_protocol::PIM] {
            self.only_if(JEQ, protocol.into());
            self.control();
        }
        for protocol in ROUTING_IP_PROTOCOLS {
            self.only_if(JEQ, protocol.into());
            self.control();
        }
        let rules = self.rules;
        for rule in rules.iter().rev() {
            if let Some(store) = Store::from_name(&rule.store) {
                for protocol in &rule.ip_protocols {
                    self.only_if(JEQ, (*protocol).into());
                    self.bulk(store);
                }
            }
        }
    }

    /// X holds the offset of the IPv4 header from the start of the packet.
    fn ipv4(&mut self) {
        let (udp, tcp) = (self.label(), self.label());
        self.need(20);
        self.emit(LD_B_IND, 9);
        // First what most packets are. The rules do not name them: ports decide there.
        self.only_if(JEQ, ip_protocol::TCP.into());
        self.jump(tcp);
        self.only_if(JEQ, ip_protocol::UDP.into());
        self.jump(udp);
        self.protocols(ip_protocol::ICMP);
        self.bulk(Store::Bulk);
        for (label, is_udp) in [(udp, true), (tcp, false)] {
            self.place(label);
            // A later fragment has no ports.
            self.emit(LD_H_IND, 6);
            self.only_if(JSET, 0x1fff);
            self.bulk(Store::Bulk);
            self.emit(LD_B_IND, 0);
            self.emit(AND_K, 0x0f);
            self.emit(LSH_K, 2);
            self.emit(ADD_X, 0);
            self.emit(TAX, 0);
            if is_udp { self.udp() } else { self.tcp() }
        }
    }

    /// X holds the offset of the IPv6 header from the start of the packet.
    fn ipv6(&mut self) {
        let (udp, tcp) = (self.label(), self.label());
        self.need(40);
        self.emit(LD_B_IND, 6);
        self.only_if(JEQ, ip_protocol::TCP.into());
        self.jump(tcp);
        self.only_if(JEQ, ip_protocol::UDP.into());
        self.jump(udp);
        // MLD follows a hop-by-hop header, a long ICMPv6 packet a fragment header.
        for extension in [ip_protocol::HOP_BY_HOP, ip_protocol::FRAGMENT] {
            let other = self.label();
            self.code.push((JEQ, 1, 0, extension.into()));
            self.jump(other);
            self.need(41);
            self.emit(LD_B_IND, 40);
            self.protocols(ip_protocol::ICMPV6);
            self.bulk(Store::Bulk);
            self.place(other);
        }
        self.protocols(ip_protocol::ICMPV6);
        self.bulk(Store::Bulk);
        for (label, is_udp) in [(udp, true), (tcp, false)] {
            self.place(label);
            // A = 40 + X; X = A.
            self.emit(0x00, 40);
            self.emit(ADD_X, 0);
            self.emit(TAX, 0);
            if is_udp { self.udp() } else { self.tcp() }
        }
    }

    fn program(mut self) -> Code {
        let (ip4, ip6, untagged) = (self.label(), self.label(), self.label());
        let (headless, known) = (self.label(), self.label());
        self.emit(LD_W_ABS, AD_HATYPE);
        self.emit(LDX_IMM, ETHERNET_HEADER);
        self.only_if(JEQ, ETHERNET);
        self.jump(known);
        self.code.push((JEQ, 1, 0, LOOPBACK));
        self.jump(headless);
        self.emit(LD_W_ABS, AD_PKTTYPE);
        self.only_if(JEQ, libc::PACKET_OUTGOING.into());
        self.emit(RET, 0);
        self.jump(known);
        self.place(headless);
        self.emit(LDX_IMM, 0);
        self.place(known);
        self.emit(LD_W_ABS, AD_PROTOCOL);
        self.only_if(JEQ, ethertype::IPV4.into());
        self.jump(ip4);
        self.only_if(JEQ, ethertype::IPV6.into());
        self.jump(ip6);
        // jt 2: to the tagged case; else on to the second test.
        self.code.push((JEQ, 2, 0, ethertype::VLAN.into()));
        self.code.push((JEQ, 1, 0, ethertype::QINQ.into()));
        self.jump(untagged);
        // A = EtherType after the tag, and X after the tag.
        self.need(4);
        self.emit(LD_H_IND, 2);
        self.emit(ST, 0);
        self.emit(TXA, 0);
        self.emit(ADD_K, 4);
        self.emit(TAX, 0);
        self.emit(LD_MEM, 0);
        self.only_if(JEQ, ethertype::IPV4.into());
        self.jump(ip4);
        self.only_if(JEQ, ethertype::IPV6.into());
        self.jump(ip6);
        self.place(untagged);
        let rules = self.rules;
        for rule in rules.iter().rev() {
            if let Some(store) = Store::from_name(&rule.store) {
                for kind in &rule.ethertypes {
                    self.only_if(JEQ, (*kind).into());
                    self.bulk(store);
                }
            }
        }
        for kind in LINK_ETHERTYPES {
            self.only_if(JEQ, kind.into());
            self.control();
        }
        // Below 0x0600 are 802.3 lengths, and the kernel's own numbers for LLC frames.
        self.code.push((JGE, 0, 1, ethertype::FIRST.into()));
        self.bulk(Store::Bulk);
        self.control();
        self.place(ip4);
        self.ipv4();
        self.place(ip6);
        self.ipv6();
        self.place(self.short);
        self.bulk(Store::Bulk);
        for (at, label) in std::mem::take(&mut self.jumps) {
            let target = self.places[label].expect("every label is placed by this function");
            self.code[at].3 = (target - at - 1) as u32;
        }
        self.code
    }
}

/// Returns the program of a ring. `snaps` are the snap lengths of the stores, in the order of
/// [`Store::ALL`]. It has fewer than 4,096 instructions, the kernel's limit, because the
/// configuration allows at most [`netsonde_core::config::MAX_RULE_ENTRIES`] in all rules together.
pub fn program(ring: Ring, snaps: [u32; 7], rules: &[Rule]) -> Code {
    Assembler {
        ring,
        snaps,
        rules,
        code: vec![],
        jumps: vec![],
        // The first label exists from the beginning.
        places: vec![None],
        short: Label(0),
    }
    .program()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsonde_core::recorder::Classifier;
    use netsonde_core::wire::{LinkType, glance::glance};

    const SNAPS: [u32; 7] = [2048, 2048, 2048, 2048, 2048, 4096, 128];

    /// What the kernel knows of a packet beside its bytes.
    struct Packet {
        bytes: Vec<u8>,
        hardware: u32,
        is_outgoing: bool,
    }

    impl Packet {
        fn ethernet(bytes: Vec<u8>) -> Packet {
            let (hardware, is_outgoing) = (ETHERNET, false);
            Packet {
                bytes,
                hardware,
                is_outgoing,
            }
        }

        fn load(&self, at: u32, size: usize) -> Option<u32> {
            let protocol = match self.hardware {
                ETHERNET | LOOPBACK => {
                    u32::from(u16::from_be_bytes([self.bytes[12], self.bytes[13]]))
                }
                _ if self.bytes[0] >> 4 == 6 => ethertype::IPV6.into(),
                _ => ethertype::IPV4.into(),
            };
            match at {
                AD_PROTOCOL => Some(protocol),
                AD_PKTTYPE => Some(if self.is_outgoing { 4 } else { 0 }),
                AD_HATYPE => Some(self.hardware),
                _ => {
                    let bytes = self.bytes.get(at as usize..at as usize + size)?;
                    Some(
                        bytes
                            .iter()
                            .fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
                    )
                }
            }
        }
    }

    /// Runs a program as the kernel does. Returns its result and the number of instructions.
    fn run(code: &Code, packet: &Packet) -> (u32, usize) {
        let (mut a, mut x, mut memory, mut at, mut count) = (0u32, 0u32, [0u32; 16], 0usize, 0);
        loop {
            let (op, jt, jf, k) = code[at];
            (at, count) = (at + 1, count + 1);
            let size = match op & 0x18 {
                0x00 => 4,
                0x08 => 2,
                _ => 1,
            };
            let mut jump = |is_true: bool| at += usize::from(if is_true { jt } else { jf });
            match op {
                RET => return (k, count),
                LD_W_ABS | 0x28 | 0x30 => match packet.load(k, size) {
                    Some(word) => a = word,
                    None => return (0, count),
                },
                LD_W_IND | LD_H_IND | LD_B_IND => match packet.load(x.wrapping_add(k), size) {
                    Some(word) => a = word,
                    None => return (0, count),
                },
                LD_LEN => a = packet.bytes.len() as u32,
                0x00 => a = k,
                LDX_IMM => x = k,
                AND_K => a &= k,
                LSH_K => a <<= k,
                RSH_K => a >>= k,
                ADD_K => a = a.wrapping_add(k),
                ADD_X => a = a.wrapping_add(x),
                SUB_X => a = a.wrapping_sub(x),
                TAX => x = a,
                TXA => a = x,
                ST => memory[k as usize] = a,
                LD_MEM => a = memory[k as usize],
                JA => at += k as usize,
                JEQ => jump(a == k),
                JGE => jump(a >= k),
                JGE_X => jump(a >= x),
                JSET => jump(a & k != 0),
                other => panic!("{other:#x}"),
            }
        }
    }

    fn frame(kind: u16, network: &[u8]) -> Vec<u8> {
        [&[2; 12][..], &kind.to_be_bytes(), network].concat()
    }

    fn ipv4(protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut header = vec![
            0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        header.extend_from_slice(transport);
        frame(ethertype::IPV4, &header)
    }

    fn ipv6(protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
        header.extend_from_slice(&[0xfe; 32]);
        header.extend_from_slice(transport);
        frame(ethertype::IPV6, &header)
    }

    fn udp(source: u16, destination: u16) -> Vec<u8> {
        [
            source.to_be_bytes(),
            destination.to_be_bytes(),
            [0, 8],
            [0, 0],
        ]
        .concat()
    }

    fn tcp(flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut segment = vec![
            0x80, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0,
        ];
        segment.extend_from_slice(payload);
        segment
    }

    fn programs(rules: &[Rule]) -> [Code; 2] {
        [Ring::Control, Ring::Bulk].map(|ring| program(ring, SNAPS, rules))
    }

    /// Asserts that exactly one ring takes a packet. Returns whether it is the control ring, and the bytes taken.
    fn taken(programs: &[Code; 2], packet: &Packet) -> (bool, u32) {
        let [control, bulk] = [0, 1].map(|at| run(&programs[at], packet).0);
        assert!(
            (control == 0) != (bulk == 0),
            "{control} {bulk} {:02x?}",
            packet.bytes
        );
        (control != 0, control.max(bulk))
    }

    #[test]
    fn each_packet_is_in_one_ring_with_the_bytes_of_its_store() {
        let rules = [Rule {
            store: "routing".into(),
            udp_ports: vec![9_999],
            tcp_ports: vec![9_999],
            ip_protocols: vec![47],
            ..Rule::default()
        }];
        let programs = programs(&rules);
        let classifier = Classifier::new(&rules);
        let mut datagrams = vec![];
        let ports = (0..6_000).chain(9_998..10_001).chain([u16::MAX]);
        for port in ports {
            datagrams.extend([udp(port, 40_000), udp(40_000, port), udp(port, port)]);
        }
        let mut packets = vec![];
        for datagram in &datagrams {
            packets.extend([ipv4(17, datagram), ipv6(17, datagram)]);
        }
        for flags in 0..64 {
            packets.extend([
                ipv4(6, &tcp(flags, &[1; 8])),
                ipv6(6, &tcp(flags, b"GET /")),
            ]);
        }
        packets.extend(
            (0..=255).flat_map(|protocol| [ipv4(protocol, &[0; 24]), ipv6(protocol, &[0; 64])]),
        );
        for bytes in packets {
            let seen = glance(LinkType::Ethernet, &bytes);
            let store = classifier.store(&seen, &bytes);
            let of_control = [CONTROL_UDP_PORTS; 1].concat();
            let is_dhcp = seen.ip_protocol == 17
                && (of_control.contains(&seen.source_port)
                    || of_control.contains(&seen.destination_port));
            let packet = Packet::ethernet(bytes);
            let (is_control, length) = taken(&programs, &packet);
            if is_dhcp {
                assert!(is_control, "{seen:?}");
            } else if matches!(seen.ip_protocol, 6 | 17 | 47) {
                assert!(
                    !is_control && length >= SNAPS[store as usize].min(SEGMENT_SNAP),
                    "{length} {seen:?}"
                );
            }
            // Cut anywhere, it is still in one.
            for length in 14..packet.bytes.len() {
                taken(
                    &programs,
                    &Packet::ethernet(packet.bytes[..length].to_vec()),
                );
            }
        }
    }

    #[test]
    fn loopback_and_links_without_a_header_are_taken_once() {
        let programs = programs(&[]);
        let bytes = ipv4(1, &[8; 16]);
        let on = |hardware, is_outgoing, bytes: &[u8]| Packet {
            bytes: bytes.to_vec(),
            hardware,
            is_outgoing,
        };
        assert_eq!(
            taken(&programs, &on(LOOPBACK, false, &bytes)),
            (true, CONTROL_SNAP)
        );
        for code in &programs {
            assert_eq!(run(code, &on(LOOPBACK, true, &bytes)).0, 0);
        }
        for is_outgoing in [false, true] {
            let headless = on(65534, is_outgoing, &bytes[14..]);
            assert_eq!(taken(&programs, &headless), (true, CONTROL_SNAP));
        }
    }

    /// The programs run for each packet of this host, in the context of its sender or receiver.
    #[test]
    fn usual_packets_pass_few_instructions() {
        let programs = programs(&[]);
        let count = |bytes: &[u8]| {
            let packet = Packet::ethernet(bytes.to_vec());
            programs.each_ref().map(|code| run(code, &packet).1)
        };
        for (bytes, most) in [
            (ipv4(6, &tcp(0x10, &[1; 100])), [22, 49]),
            (ipv4(6, &tcp(0x10, &[])), [22, 38]),
            (ipv4(17, &udp(40_000, 50_000)), [33, 42]),
            (ipv6(6, &tcp(0x10, &[1; 100])), [22, 49]),
        ] {
            let counted = count(&bytes);
            assert!(
                counted[0] <= most[0] && counted[1] <= most[1],
                "{counted:?} > {most:?}"
            );
        }
    }
}
