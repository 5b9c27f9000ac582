//! PURE. Socket lists in /proc/net, for families without sock_diag in the kernel. They have less information: no
//! peers, no filters, and of netlink and packet sockets little more than their existence. Lines that do not parse
//! are skipped.

use super::{Detail, INET, INET6, NETLINK, PACKET, Packet, Socket, State, TCP, UNIX};
use crate::families::{DGRAM, RAW, STREAM};
use crate::host::socket;

/// Parses tcp, udp, udplite, raw, icmp and their IPv6 counterparts. `protocol` 255 means raw sockets, which have
/// their protocol in place of the port.
pub fn inet(text: &str, protocol: u16) -> Vec<Socket> {
    let entry = |one: socket::ProcSocket| {
        let state = State::from_tcp(one.state);
        let is_raw = protocol == 255;
        let is_listening = state == State::Listening;
        Socket {
            family: if one.local.is_ipv4() { INET } else { INET6 },
            kind: match protocol {
                255 => RAW,
                TCP => STREAM,
                _ => DGRAM,
            },
            protocol: if is_raw { one.local.port() } else { protocol },
            state,
            inode: one.inode,
            uid: (state != State::TimeWait).then_some(one.uid),
            ifindex: 0,
            receive_queue: (!is_listening).then_some(one.queued),
            send_queue: (!is_listening).then_some(one.unsent),
            backlog: None,
            drops: (protocol != TCP).then_some(one.drops),
            detail: Detail::Inet {
                local: one.local,
                remote: one.remote,
            },
        }
    };
    socket::parse_sockets(text).into_iter().map(entry).collect()
}

/// Creates an unconnected socket.
fn unconnected(family: u8, kind: u32, inode: u64, detail: Detail) -> Socket {
    Socket {
        inode,
        ..Socket::new(family, kind, State::Unconnected, detail)
    }
}

/// Parses unix: Num RefCount Protocol Flags Type St Inode Path.
pub fn unix(text: &str) -> Vec<Socket> {
    /// Flag SO_ACCEPTCON.
    const ACCEPTS: u32 = 0x1_0000;
    let entry = |line: &str| {
        // Columns are padded, and a path may contain spaces.
        let mut rest = line;
        let mut fields = [""; 7];
        for field in &mut fields {
            rest = rest.trim_start_matches(' ');
            (*field, rest) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
        }
        let [_, _, _, flags, kind, state, inode] = fields;
        let path = rest.strip_prefix(' ').unwrap_or_default();
        let is_abstract = path.starts_with('@');
        let detail = Detail::Unix {
            name: path.strip_prefix('@').unwrap_or(path).into(),
            is_abstract,
            peer: 0,
        };
        let kind = u32::from_str_radix(kind, 16).ok()?;
        let mut socket = unconnected(UNIX, kind, inode.parse().ok()?, detail);
        let is_listening = u32::from_str_radix(flags, 16).ok()? & ACCEPTS != 0;
        // SS_UNCONNECTED, SS_CONNECTING, SS_CONNECTED, SS_DISCONNECTING (linux/net.h).
        socket.state = match state {
            _ if is_listening => State::Listening,
            "01" => State::Unconnected,
            "02" => State::SynSent,
            "03" => State::Established,
            _ => State::Closing,
        };
        Some(socket)
    };
    text.lines().skip(1).filter_map(entry).collect()
}

/// Parses netlink: sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode.
pub fn netlink(text: &str) -> Vec<Socket> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [
            _,
            protocol,
            port,
            groups,
            read,
            write,
            _,
            _,
            drops,
            inode,
            ..,
        ] = words[..]
        else {
            return None;
        };
        let groups = u32::from_str_radix(groups, 16).ok()?;
        let detail = Detail::Netlink {
            port: port.parse().ok()?,
            peer: 0,
            groups: (0..32)
                .filter(|bit| groups & (1 << bit) != 0)
                .map(|bit| bit + 1)
                .collect(),
        };
        let mut socket = unconnected(NETLINK, RAW, inode.parse().ok()?, detail);
        socket.protocol = protocol.parse().ok()?;
        socket.receive_queue = read.parse().ok();
        socket.send_queue = write.parse().ok();
        socket.drops = drops.parse().ok();
        Some(socket)
    };
    text.lines().skip(1).filter_map(entry).collect()
}

/// Parses packet: sk RefCnt Type Proto Iface R Rmem User Inode.
pub fn packet(text: &str) -> Vec<Socket> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, kind, protocol, ifindex, running, read, user, inode] = words[..] else {
            return None;
        };
        let is_running = running != "0";
        let detail = Detail::Packet(Packet {
            is_running,
            ..Packet::default()
        });
        let mut socket = unconnected(PACKET, kind.parse().ok()?, inode.parse().ok()?, detail);
        socket.protocol = u16::from_str_radix(protocol, 16).ok()?;
        socket.ifindex = ifindex.parse().ok()?;
        socket.receive_queue = read.parse().ok();
        socket.uid = user.parse().ok();
        socket.state = if is_running && socket.protocol != 0 {
            State::Receiving
        } else {
            State::Idle
        };
        Some(socket)
    };
    text.lines().skip(1).filter_map(entry).collect()
}

/// Parses protocols: name and number of sockets in this network namespace. Some protocols do not count, and show
/// 0.
pub fn protocols(text: &str) -> Vec<(String, u64)> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, words.nth(1)?.parse().ok()?))
    };
    text.lines().skip(1).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_with_and_without_names() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/a b.sock\n\
            0000000000000000: 00000003 00000000 00000000 0005 03   7\n\
            0000000000000000: 00000002 00000000 00000000 0002 01 12347 @bus\n";
        let all = unix(text);
        assert_eq!(all.len(), 3);
        assert_eq!(
            (all[0].state, all[0].kind, all[0].inode),
            (State::Listening, 1, 12345)
        );
        let name = |at: usize| match &all[at].detail {
            Detail::Unix {
                name, is_abstract, ..
            } => (name.clone(), *is_abstract),
            _ => panic!(),
        };
        assert_eq!(name(0), (b"/run/a b.sock".to_vec(), false));
        assert_eq!(
            (all[1].state, all[1].kind, all[1].inode),
            (State::Established, 5, 7)
        );
        assert_eq!(name(2), (b"bus".to_vec(), true));
    }

    #[test]
    fn netlink_packet_and_protocols() {
        let text = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
            0000000000000000 0   4196       00000011 0        0        0     2        3        99\n";
        let all = netlink(text);
        assert_eq!((all[0].inode, all[0].drops), (99, Some(3)));
        assert!(matches!(&all[0].detail, Detail::Netlink { groups, .. } if groups == &[1, 5]));
        let text = "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n\
            0000000000000000 3      3    0003   2     1 768      1000   4711\n";
        let all = packet(text);
        assert_eq!(
            (
                all[0].protocol,
                all[0].ifindex,
                all[0].state,
                all[0].uid,
                all[0].inode
            ),
            (3, 2, State::Receiving, Some(1000), 4711)
        );
        let text = "protocol  size sockets  memory press\nAF_VSOCK  1240      0      -1   NI\nTCP 2304 7 182 no\n";
        assert_eq!(protocols(text)[1], ("TCP".to_owned(), 7));
    }

    #[test]
    fn time_wait_lines_are_shorter_and_have_no_owner() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:0016 0100007F:C350 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000\n\
            \x20  1: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 5 1 0000000000000000 100 0 0 10 0\n";
        let all = inet(text, TCP);
        assert_eq!((all[0].state, all[0].uid), (State::TimeWait, None));
        assert_eq!((all[1].state, all[1].uid), (State::Listening, Some(1000)));
        assert_eq!(all[1].receive_queue, None);
    }
}
