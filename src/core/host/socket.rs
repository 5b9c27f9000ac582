//! PURE. Sockets in /proc/net/udp, udp6, raw, raw6, icmp and icmp6, and without drops in tcp and tcp6.

use std::net::{IpAddr, SocketAddr};

use super::{ipv4, ipv6_words};

/// A socket in /proc/net. The port of a raw socket is its protocol number.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcSocket {
    /// Local address and port.
    pub local: SocketAddr,
    /// Peer address and port; unspecified if it is not connected.
    pub remote: SocketAddr,
    /// State number (net/tcp_states.h); 7 is unconnected.
    pub state: u8,
    /// Bytes to be sent.
    pub unsent: u64,
    /// Bytes to be read.
    pub queued: u64,
    /// User ID of its owner.
    pub uid: u32,
    /// Inode number, as in the links of /proc/PID/fd.
    pub inode: u64,
    /// Packets dropped since it was opened; 0 for TCP.
    pub drops: u64,
}

/// Parses the text of one of these files.
pub fn parse_sockets(text: &str) -> Vec<ProcSocket> {
    let address = |word: &str| -> Option<SocketAddr> {
        let (ip, port) = word.split_once(':')?;
        let ip: IpAddr = if ip.len() == 8 {
            ipv4(ip)?
        } else {
            ipv6_words(ip)?
        };
        Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
    };
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // sl, local, remote, state, queues, timer, retransmits, uid, timeout, inode, users, pointer,
        // drops.
        Some(ProcSocket {
            local: address(words.get(1)?)?,
            remote: address(words.get(2)?)?,
            state: u8::from_str_radix(words.get(3)?, 16).ok()?,
            unsent: u64::from_str_radix(words.get(4)?.split_once(':')?.0, 16).ok()?,
            queued: u64::from_str_radix(words.get(4)?.split_once(':')?.1, 16).ok()?,
            uid: words.get(7)?.parse().ok()?,
            inode: words.get(9)?.parse().ok()?,
            // TCP has other columns here, and none in TIME-WAIT.
            drops: words.get(12).map_or(Some(0), |word| word.parse().ok())?,
        })
    };
    text.lines().skip(1).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_families() {
        let udp = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                   \x20 12: 0101010A:1388 00000000:0000 07 00000000:00000900 00:00000000 00000000  1000        0 4711 2 0000000000000000 29\n";
        let all = parse_sockets(udp);
        assert_eq!(all[0].local, "10.1.1.1:5000".parse().unwrap());
        assert_eq!((all[0].state, all[0].unsent), (7, 0));
        assert_eq!(
            (all[0].queued, all[0].uid, all[0].inode, all[0].drops),
            (0x900, 1000, 4711, 29)
        );
        let udp6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                    \x20 1: 000080FE000000000000000001000000:1388 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0\n";
        assert_eq!(
            parse_sockets(udp6)[0].local.ip(),
            "fe80::1".parse::<IpAddr>().unwrap()
        );
    }
}
