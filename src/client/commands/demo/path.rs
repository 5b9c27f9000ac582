//! SHELL. Scenes about the path: a port that is filtered on the way, and a path that loses large packets.
//!
//! ```text
//!   client --- 10.0.0.254      10.8.1.2       10.8.2.2
//!              router (hop 1)  middle (hop 2) edge (hop 3) ==wire== 10.8.3.9  far (hop 4)
//! ```

use std::net::{Ipv4Addr, TcpListener};

use super::Demo;
use crate::client::failure::Failure;
use crate::lab::wire::Wire;
use crate::lab::{Host, veth};

/// The host behind four hops, and its port.
const FAR: &str = "10.8.3.9";
const PORT: u16 = 8443;
/// Interface of the router to these hosts.
const PORT_NAME: &str = "p4";
/// Longest frame that passes the black hole, in bytes: an IP packet of 1,400 bytes.
const NARROW_FRAME: usize = 1414;

/// Hosts behind the router. They are removed when this is dropped.
struct Far<'a> {
    wire: Wire,
    host: Host,
    _between: [Host; 2],
    router: &'a Host,
}

impl Drop for Far<'_> {
    fn drop(&mut self) {
        // The kernel takes its time to remove the interfaces of a namespace, and the next scene needs the name.
        let _ = self.router.delete(PORT_NAME);
    }
}

impl Demo {
    /// Builds the hosts behind the router.
    fn far(&self) -> Result<Far<'_>, Failure> {
        let (middle, edge, far) = (Host::new("middle")?, Host::new("edge")?, Host::new("far")?);
        veth(&self.router, PORT_NAME, &middle, "e0")?;
        veth(&middle, "e1", &edge, "e0")?;
        let wire = Wire::new(&edge, "e1", &far, "e0")?;
        for (host, interface, address) in [
            (&self.router, PORT_NAME, "10.8.1.1/24"),
            (&middle, "e0", "10.8.1.2/24"),
            (&middle, "e1", "10.8.2.1/24"),
            (&edge, "e0", "10.8.2.2/24"),
            (&edge, "e1", "10.8.3.1/24"),
            (&far, "e0", "10.8.3.9/24"),
        ] {
            host.address(interface, address)?;
        }
        for router in [&middle, &edge] {
            router.sysctl("net/ipv4/ip_forward", "1")?;
        }
        self.router.route("10.8.0.0/16", "10.8.1.2")?;
        middle.route("10.8.3.0/24", "10.8.2.2")?;
        middle.route("0.0.0.0/0", "10.8.1.1")?;
        edge.route("0.0.0.0/0", "10.8.2.1")?;
        far.route("0.0.0.0/0", "10.8.3.1")?;
        Ok(Far {
            wire,
            host: far,
            _between: [middle, edge],
            router: &self.router,
        })
    }

    /// Shows a port that something behind hop 3 filters.
    pub(super) fn filtered_port(&self) -> Result<bool, Failure> {
        self.print(
            "  A server is four hops away, and a firewall behind the third drops its port without a word.",
        )?;
        let far = self.far()?;
        let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT));
        let _server = far.host.run(listen)?;
        let target = format!("{FAR}:{PORT}");
        let healthy = self.show(&["doctor", &target])?;
        far.wire.a_to_b(|way| way.drop = Some(Box::new(is_to_port)));
        let fault = self.show(&["doctor", &target])?;
        self.print("  A trace with SYNs for the port ends there, too:")?;
        let port = PORT.to_string();
        let trace = self.show(&["trace", "-n", "--fast", "--tcp", &port, FAR])?;
        Ok(Demo::has(&healthy, &["10.8.3.9:8443: reached"])
            && Demo::has(&fault, &["cause: port-filtered"])
            && Demo::has(&fault, &["SYNs reach 10.8.2.2 (hop 3)"])
            && Demo::has(&trace, &["3", "10.8.2.2"])
            && Demo::has(&trace, &["not reached"]))
    }

    /// Shows a path behind hop 3 that carries small packets only and does not say so.
    pub(super) fn black_hole(&self) -> Result<bool, Failure> {
        self.print(
            "  Behind the third hop, packets of more than 1,400 bytes vanish, and no router says so: \
                small pings are\n  answered, and downloads hang.",
        )?;
        let far = self.far()?;
        let small = self.show(&["ping", "-c", "1", FAR])?;
        far.wire
            .a_to_b(|way| way.drop = Some(Box::new(|frame| frame.len() > NARROW_FRAME)));
        let fault = self.show(&["doctor", FAR])?;
        self.print("  Where, and how long packets may be, to the byte:")?;
        let lengths = self.show(&["trace", "-n", "--fast", "--mtu", FAR])?;
        Ok(Demo::has(&small, &["from 10.8.3.9"])
            && Demo::has(&fault, &["cause: mtu-black-hole"])
            && Demo::has(&fault, &["hop 3"])
            && Demo::has(&lengths, &["vanish behind 10.8.2.2 (hop 3)"])
            && Demo::has(&lengths, &["4", FAR, "1400"]))
    }
}

/// Returns whether a frame is TCP over IPv4 to the port.
fn is_to_port(frame: &[u8]) -> bool {
    let Some(packet) = frame.get(14..) else {
        return false;
    };
    let header = packet
        .first()
        .map_or(0, |first| usize::from(first & 15) * 4);
    let is_tcp = frame.get(12..14) == Some(&[8, 0]) && packet.get(9) == Some(&6);
    is_tcp && packet.get(header + 2..header + 4) == Some(&PORT.to_be_bytes())
}
