//! Three hosts on a switch.
#![allow(dead_code, missing_docs)]

use std::error::Error;

use netsonde::lab::{self, BridgeOptions, Host, bridge, bridge_port};

/// ```text
///   a --+
///   b --+-- br0 (switch)
///   c --+
/// ```
pub struct Link {
    pub a: Host,
    pub b: Host,
    pub c: Host,
    pub switch: Host,
}

/// Creates a host with an interface that is a port of br0.
fn attach(
    switch: &Host,
    name: &str,
    number: u8,
    interface: &str,
    addresses: &[String],
) -> Result<Host, Box<dyn Error>> {
    let host = Host::new(name)?;
    if addresses.iter().any(|address| address.starts_with("fe80:")) {
        // No second link-local address of the kernel's own, which could be the source of replies.
        host.sysctl("net/ipv6/conf/default/addr_gen_mode", "1")?;
    }
    let port = format!("p{number}");
    lab::veth(&host, interface, switch, &port)?;
    bridge_port(switch, "br0", &port)?;
    for address in addresses {
        host.address(interface, address)?;
    }
    Ok(host)
}

/// On e0, a to c are 10.0.0.1 to 10.0.0.3 and fd00::1 to fd00::3; br0 is 10.0.0.254.
pub fn link(options: BridgeOptions) -> Result<Link, Box<dyn Error>> {
    let switch = Host::new("switch")?;
    bridge(&switch, "br0", options)?;
    switch.address("br0", "10.0.0.254/24")?;
    let host = |name: &str, number: u8| {
        let addresses = [format!("10.0.0.{number}/24"), format!("fd00::{number}/64")];
        attach(&switch, name, number, "e0", &addresses)
    };
    let (a, b, c) = (host("a", 1)?, host("b", 2)?, host("c", 3)?);
    Ok(Link { a, b, c, switch })
}

/// The addresses of the manual, on eth0: a is 192.0.2.1, b 192.0.2.7, c 192.0.2.8; 2001:db8:: and fe80:: with
/// the same ends. All answer broadcast pings.
pub fn link_of_manual() -> Result<Link, Box<dyn Error>> {
    let switch = Host::new("switch")?;
    bridge(&switch, "br0", BridgeOptions::default())?;
    let host = |name: &str, number: u8| -> Result<Host, Box<dyn Error>> {
        let addresses = [
            format!("192.0.2.{number}/24"),
            format!("2001:db8::{number}/64"),
            format!("fe80::{number}/64"),
        ];
        let host = attach(&switch, name, number, "eth0", &addresses)?;
        host.sysctl("net/ipv4/icmp_echo_ignore_broadcasts", "0")?;
        Ok(host)
    };
    let (a, b, c) = (host("a", 1)?, host("b", 7)?, host("c", 8)?);
    Ok(Link { a, b, c, switch })
}
