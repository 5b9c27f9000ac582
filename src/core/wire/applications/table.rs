//! PURE. The table of applications over UDP and TCP: a row each, with the content that proves it, its ports, and
//! its decoder.
//!
//! A message is matched by content first. Only a row of one of its ports may take it with content that merely
//! does not contradict; what no row takes stays `udp` or `tcp`. Every packet is tried against the rows, so a test
//! looks at the first bytes first.

use super::super::Packet;
use super::super::tunnel;
use super::message::{Fit, Message};
use super::{databases, dhcp, industrial, management, media, names, text, tls, vpn};

type Reader = for<'a> fn(&mut Packet<'a>, Message<'a>);

/// A row: one application over one transport protocol.
struct Application {
    /// Name in `protocols`, as filters and JSON use it.
    name: &'static str,
    /// Registered and customary ports.
    ports: &'static [u16],
    fit: fn(&Message<'_>) -> Fit,
    /// Whether the content can prove it, so that it is looked for on every port.
    anywhere: bool,
    /// Adds the summary; the name has been added.
    read: Reader,
}

/// A row whose content can prove the application.
const fn row(
    name: &'static str,
    ports: &'static [u16],
    fit: fn(&Message<'_>) -> Fit,
    read: Reader,
) -> Application {
    Application {
        name,
        ports,
        fit,
        anywhere: true,
        read,
    }
}

/// A row whose content can only contradict, so that it is decoded on its ports alone.
const fn on_port(
    name: &'static str,
    ports: &'static [u16],
    fit: fn(&Message<'_>) -> Fit,
    read: Reader,
) -> Application {
    Application {
        name,
        ports,
        fit,
        anywhere: false,
        read,
    }
}

/// The content has no mark of its own, and is decoded on these ports only.
fn any(_: &Message<'_>) -> Fit {
    Fit::Plausible
}

/// Shows a message of which only the name is known.
macro_rules! only {
    ($shown:literal) => {
        |packet, message| {
            packet.write_summary(format_args!(concat!($shown, ", {} bytes"), message.length))
        }
    };
}

/// Applications over UDP.
const UDP: &[Application] = &[
    on_port("dns", &[53], names::dns_fit, |packet, message| {
        names::dns(packet, "dns", message.bytes)
    }),
    on_port("mdns", &[5353], names::dns_fit, |packet, message| {
        names::dns(packet, "mdns", message.bytes)
    }),
    on_port("llmnr", &[5355], names::dns_fit, |packet, message| {
        names::dns(packet, "llmnr", message.bytes)
    }),
    on_port("dhcp", &[67, 68], dhcp::dhcp_fit, dhcp::dhcp),
    on_port("dhcpv6", &[546, 547], any, dhcp::dhcpv6),
    on_port("ntp", &[123], management::ntp_fit, management::ntp),
    row("ssdp", &[1900], text::ssdp_fit, names::ssdp),
    on_port("vxlan", &[4789, 8472], tunnel::vxlan_fit, tunnel::vxlan),
    on_port("vxlan", &[4790], tunnel::vxlan_fit, tunnel::vxlan_gpe),
    on_port("geneve", &[6081], tunnel::geneve_fit, tunnel::geneve),
    on_port("gtp", &[2152], tunnel::gtp_fit, tunnel::gtp),
    on_port("mpls", &[6635], any, tunnel::mpls_in_udp),
    on_port("rip", &[520], management::rip_fit, only!("RIP")),
    on_port("ripng", &[521], management::rip_fit, only!("RIPng")),
    on_port("hsrp", &[1985, 2029], management::hsrp_fit, only!("HSRP")),
    on_port(
        "bfd",
        &[3784, 3785, 4784, 6784, 7784],
        management::bfd_fit,
        management::bfd,
    ),
    on_port("ldp", &[646], management::ldp_fit, management::ldp),
    row("syslog", &[514], text::syslog_fit, text::first),
    row("snmp", &[161, 162], management::snmp_fit, management::snmp),
    on_port("tftp", &[69], management::tftp_fit, management::tftp),
    on_port(
        "radius",
        &[1812, 1813, 1645, 1646, 3799],
        management::radius_fit,
        management::radius,
    ),
    on_port("ptp", &[319, 320], management::ptp_fit, management::ptp),
    on_port(
        "netflow",
        &[2055, 9555, 9995, 9996],
        management::netflow_fit,
        management::netflow,
    ),
    on_port(
        "ipfix",
        &[4739, 2055, 9995],
        management::ipfix_fit,
        management::ipfix,
    ),
    on_port("sflow", &[6343], management::sflow_fit, management::sflow),
    on_port("wccp", &[2048], management::wccp_fit, management::wccp),
    row("wol", &[7, 9], management::wol_fit, management::wol),
    on_port("nbns", &[137], any, names::nbns),
    on_port("nbdgm", &[138], names::nbdgm_fit, names::nbdgm),
    row("quic", &[443, 8443, 784, 853], tls::quic_fit, tls::quic),
    row(
        "dtls",
        &[4433, 5684, 443, 5349, 5061],
        tls::dtls_fit,
        tls::dtls,
    ),
    row("sip", &[5060], text::sip_fit, text::first),
    row("stun", &[3478, 5349, 19302], media::stun_fit, media::stun),
    row("wireguard", &[51820], vpn::wireguard_fit, vpn::wireguard),
    on_port("openvpn", &[1194], vpn::openvpn_udp_fit, vpn::openvpn_udp),
    row("ike", &[500], vpn::ike_fit, vpn::ike),
    row("ike", &[4500], vpn::ike_natt_fit, vpn::ike_natt),
    on_port("esp", &[4500], vpn::esp_fit, vpn::esp),
    on_port("l2tp", &[1701], vpn::l2tp_fit, vpn::l2tp),
    on_port("coap", &[5683], industrial::coap_fit, industrial::coap),
    on_port(
        "bacnet",
        &[47808, 47809],
        industrial::bacnet_fit,
        industrial::bacnet,
    ),
    on_port("fins", &[9600], industrial::fins_fit, industrial::fins),
    on_port("iax2", &[4569], any, only!("IAX2")),
    row("rtcp", &[], media::rtcp_fit, media::rtcp),
];

/// Has no mark that proves it: only what no row of [`UDP`] takes is tried.
static RTP: Application = row("rtp", &[], media::rtp_fit, media::rtp);

/// Applications over TCP. Only a segment that begins a message is recognized.
const TCP: &[Application] = &[
    on_port("dns", &[53], names::dns_tcp_fit, names::dns_tcp),
    row(
        "tls",
        &[443, 465, 636, 853, 989, 990, 993, 995, 5061, 8443, 8883],
        tls::tls_fit,
        tls::tls,
    ),
    row("http", &[80, 8080, 3128], text::http_fit, text::first),
    row("ssh", &[22], text::ssh_fit, text::first),
    row("smtp", &[25, 587, 2525], text::smtp_fit, text::first),
    on_port("ftp", &[21], text::ftp_fit, text::first),
    row("imap", &[143], text::imap_fit, text::first),
    on_port("pop3", &[110], text::pop3_fit, text::first),
    row("rtsp", &[554, 8554], text::rtsp_fit, text::first),
    row("sip", &[5060], text::sip_fit, text::first),
    row("vnc", &[5900], text::vnc_fit, text::first),
    row("redis", &[6379], databases::redis_fit, databases::redis),
    row(
        "postgresql",
        &[5432],
        databases::postgresql_fit,
        databases::postgresql,
    ),
    row("mysql", &[3306], databases::mysql_fit, databases::mysql),
    row("amqp", &[5672], databases::amqp_fit, databases::amqp),
    row("mqtt", &[1883], databases::mqtt_fit, databases::mqtt),
    row("smb2", &[445, 139], databases::smb2_fit, databases::smb2),
    row("smb", &[445, 139], databases::smb_fit, databases::smb),
    on_port("rdp", &[3389], databases::rdp_fit, databases::rdp),
    row("bgp", &[179], management::bgp_fit, management::bgp),
    on_port("ldp", &[646], management::ldp_fit, management::ldp),
    on_port("openvpn", &[1194], vpn::openvpn_tcp_fit, vpn::openvpn_tcp),
    on_port("modbus", &[502], industrial::modbus_fit, industrial::modbus),
    row("opcua", &[4840], industrial::opcua_fit, industrial::opcua),
];

/// Decodes the payload of a UDP datagram. Returns `false` if no application was recognized.
pub(in super::super) fn udp<'a>(packet: &mut Packet<'a>, message: Message<'a>) -> bool {
    if recognize(UDP, &UDP_INDEX, packet, message) {
        return true;
    }
    let is_rtp = !message.bytes.is_empty() && media::rtp_fit(&message) == Fit::Certain;
    if is_rtp {
        read(packet, &RTP, message);
    }
    is_rtp
}

/// Decodes the payload of a TCP segment. Returns `false` if no application was recognized.
pub(in super::super) fn tcp<'a>(packet: &mut Packet<'a>, message: Message<'a>) -> bool {
    recognize(TCP, &TCP_INDEX, packet, message)
}

/// Most ports that the rows of a table have: one fails to compile that has more.
const MAX_PORTS: usize = 96;

/// Which rows of a table take part, a bit each, the first row's lowest.
struct Index {
    /// The rows whose content can prove them.
    anywhere: u64,
    /// The rows of each port, by port.
    ports: [(u16, u64); MAX_PORTS],
    /// Number of ports.
    count: usize,
}

impl Index {
    /// The index of a table, computed when the program is built.
    #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Wrong indexes fail to compile.
    const fn of(table: &[Application]) -> Index {
        let mut index = Index {
            anywhere: 0,
            ports: [(u16::MAX, 0); MAX_PORTS],
            count: 0,
        };
        let mut row = 0;
        while row < table.len() {
            let bit = 1u64 << row;
            if table[row].anywhere {
                index.anywhere |= bit;
            }
            let mut at = 0;
            while at < table[row].ports.len() {
                index = index.with(table[row].ports[at], bit);
                at += 1;
            }
            row += 1;
        }
        index
    }

    /// Adds a row's bit to a port, in the order of ports.
    #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Wrong indexes fail to compile.
    const fn with(mut self, port: u16, bit: u64) -> Index {
        let mut at = 0;
        while at < self.count && self.ports[at].0 < port {
            at += 1;
        }
        if at < self.count && self.ports[at].0 == port {
            self.ports[at].1 |= bit;
            return self;
        }
        let mut last = self.count;
        while last > at {
            self.ports[last] = self.ports[last - 1];
            last -= 1;
        }
        self.ports[at] = (port, bit);
        self.count += 1;
        self
    }

    /// Returns the rows of a port.
    fn of_port(&self, port: u16) -> u64 {
        let known = self.ports.get(..self.count).unwrap_or_default();
        let at = known.binary_search_by_key(&port, |(known, _)| *known);
        at.ok()
            .and_then(|at| known.get(at))
            .map_or(0, |(_, rows)| *rows)
    }
}

static UDP_INDEX: Index = Index::of(UDP);
static TCP_INDEX: Index = Index::of(TCP);

fn recognize<'a>(
    table: &[Application],
    index: &Index,
    packet: &mut Packet<'a>,
    message: Message<'a>,
) -> bool {
    if message.bytes.is_empty() {
        return false;
    }
    let Some(found) = find(table, index, message) else {
        return false;
    };
    read(packet, found, message);
    true
}

fn read<'a>(packet: &mut Packet<'a>, row: &Application, message: Message<'a>) {
    packet.protocols.push(row.name);
    (row.read)(packet, message);
}

/// Every packet is tried against the rows that can prove a protocol, and those of its ports.
fn find<'t>(
    table: &'t [Application],
    index: &Index,
    mut message: Message<'_>,
) -> Option<&'t Application> {
    let of_ports = index.of_port(message.destination) | index.of_port(message.source);
    let mut possible: Option<&Application> = None;
    let mut rows = index.anywhere | of_ports;
    while rows != 0 {
        let at = rows.trailing_zeros();
        rows &= rows.wrapping_sub(1);
        let row = table.get(at as usize)?;
        message.on_port = of_ports >> at & 1 == 1;
        match (row.fit)(&message) {
            Fit::Certain => return Some(row),
            Fit::Plausible if message.on_port && possible.is_none() => possible = Some(row),
            _ => {}
        }
    }
    possible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_that_filters_accept() {
        for row in UDP.iter().chain(TCP).chain([&RTP]) {
            let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            assert!(row.name.bytes().all(sound), "{}", row.name);
        }
    }
}
