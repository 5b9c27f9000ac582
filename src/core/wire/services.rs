//! PURE. Service names of common ports (IANA's registry, RFC 6335), and the port ranges.

/// Returns the range of a port (RFC 6335, section 6, which also calls registered ports user ports).
pub fn port_range(port: u16) -> &'static str {
    match port {
        0..=1023 => "system",
        1024..=49_151 => "registered",
        _ => "dynamic",
    }
}

/// Returns the service name of a TCP or UDP port, or `None` if it is not in the table.
pub fn service_name(tcp: bool, port: u16) -> Option<&'static str> {
    let table: &[(u16, &str)] = if tcp { TCP } else { UDP };
    let find = |table: &[(u16, &'static str)]| {
        table
            .binary_search_by_key(&port, |(known, _)| *known)
            .ok()
            .and_then(|at| table.get(at))
            .map(|(_, name)| *name)
    };
    find(table).or_else(|| find(BOTH))
}

/// Returns the TCP or UDP port of a service name, or `None` if it is not in the table.
pub fn port_of_service(tcp: bool, name: &str) -> Option<u16> {
    let table: &[(u16, &str)] = if tcp { TCP } else { UDP };
    let mut all = table.iter().chain(BOTH);
    all.find(|(_, known)| *known == name).map(|(port, _)| *port)
}

const BOTH: &[(u16, &str)] = &[
    (7, "echo"),
    (9, "discard"),
    (13, "daytime"),
    (19, "chargen"),
    (37, "time"),
    (49, "tacacs"),
    (53, "domain"),
    (88, "kerberos"),
    (111, "sunrpc"),
    (123, "ntp"),
    (135, "epmap"),
    (137, "netbios-ns"),
    (138, "netbios-dgm"),
    (139, "netbios-ssn"),
    (161, "snmp"),
    (162, "snmptrap"),
    (319, "ptp-event"),
    (320, "ptp-general"),
    (389, "ldap"),
    (443, "https"),
    (445, "microsoft-ds"),
    (464, "kpasswd"),
    (500, "isakmp"),
    (512, "exec"),
    (520, "route"),
    (546, "dhcpv6-client"),
    (547, "dhcpv6-server"),
    (631, "ipp"),
    (636, "ldaps"),
    (853, "domain-s"),
    (1812, "radius"),
    (1813, "radius-acct"),
    (2049, "nfs"),
    (2055, "netflow"),
    (3478, "stun"),
    (3784, "bfd-control"),
    (4500, "ipsec-nat-t"),
    (4739, "ipfix"),
    (5004, "rtp"),
    (5005, "rtcp"),
    (5060, "sip"),
    (5061, "sips"),
    (5353, "mdns"),
    (5355, "llmnr"),
    (6343, "sflow"),
    (11211, "memcache"),
    (51820, "wireguard"),
];

const TCP: &[(u16, &str)] = &[
    (20, "ftp-data"),
    (21, "ftp"),
    (22, "ssh"),
    (23, "telnet"),
    (25, "smtp"),
    (43, "whois"),
    (80, "http"),
    (110, "pop3"),
    (119, "nntp"),
    (143, "imap"),
    (179, "bgp"),
    (465, "submissions"),
    (514, "shell"),
    (515, "printer"),
    (543, "klogin"),
    (548, "afpovertcp"),
    (554, "rtsp"),
    (587, "submission"),
    (646, "ldp"),
    (873, "rsync"),
    (990, "ftps"),
    (993, "imaps"),
    (995, "pop3s"),
    (1080, "socks"),
    (1433, "ms-sql-s"),
    (1521, "oracle"),
    (1723, "pptp"),
    (1883, "mqtt"),
    (2379, "etcd-client"),
    (2380, "etcd-server"),
    (3128, "squid"),
    (3260, "iscsi-target"),
    (3268, "msft-gc"),
    (3306, "mysql"),
    (3389, "ms-wbt-server"),
    (4222, "nats"),
    (5222, "xmpp-client"),
    (5269, "xmpp-server"),
    (5432, "postgresql"),
    (5672, "amqp"),
    (5900, "vnc"),
    (5985, "wsman"),
    (5986, "wsmans"),
    (6379, "redis"),
    (6443, "kubernetes"),
    (6653, "openflow"),
    (6667, "ircu"),
    (8080, "http-alt"),
    (8443, "https-alt"),
    (8883, "secure-mqtt"),
    (9042, "cassandra"),
    (9090, "prometheus"),
    (9092, "kafka"),
    (9100, "pdl-datastream"),
    (9200, "elasticsearch"),
    (9418, "git"),
    (10050, "zabbix-agent"),
    (10051, "zabbix-trapper"),
    (25565, "minecraft"),
    (27017, "mongodb"),
];

const UDP: &[(u16, &str)] = &[
    (67, "bootps"),
    (68, "bootpc"),
    (69, "tftp"),
    (177, "xdmcp"),
    (443, "quic"),
    (514, "syslog"),
    (521, "ripng"),
    (623, "asf-rmcp"),
    (1194, "openvpn"),
    (1434, "ms-sql-m"),
    (1701, "l2tp"),
    (1900, "ssdp"),
    (1985, "hsrp"),
    (2152, "gtp-u"),
    (3503, "lsp-ping"),
    (3702, "ws-discovery"),
    (4784, "multihop-bfd"),
    (4789, "vxlan"),
    (6081, "geneve"),
    (6696, "babel"),
    (8472, "otv"),
    (9993, "zerotier"),
    (27015, "source-engine"),
    (33434, "traceroute"),
    (41641, "tailscale"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_for_the_search() {
        for table in [BOTH, TCP, UDP] {
            assert!(table.is_sorted_by_key(|(port, _)| *port));
        }
        assert_eq!(service_name(true, 22), Some("ssh"));
        assert_eq!(service_name(false, 53), Some("domain"));
        assert_eq!(service_name(false, 22), None);
        assert_eq!(port_range(5000), "registered");
    }
}
