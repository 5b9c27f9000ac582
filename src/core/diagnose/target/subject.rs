//! PURE. What a user wants to reach: a name or an address, and a port.

use std::fmt;
use std::net::IpAddr;

use crate::address::{looks_like_ipv4, looks_like_ipv6, parse_address};

/// Protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Returns the name: "TCP" or "UDP".
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        }
    }
}

/// A name or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// To be resolved.
    Name(String),
    /// An address, with the name of an interface if it is link-local.
    Address(IpAddr, Option<String>),
}

/// The target of a diagnosis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Name or address.
    pub host: Host,
    /// The port to reach; `None` for the host alone.
    pub port: Option<(Protocol, u16)>,
}

impl fmt::Display for Subject {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_ipv6 = matches!(self.host, Host::Address(IpAddr::V6(_), _));
        let host = self.host();
        match self.port {
            None => to.write_str(&host),
            Some((_, port)) if is_ipv6 => write!(to, "[{host}]:{port}"),
            Some((_, port)) => write!(to, "{host}:{port}"),
        }?;
        match self.port {
            Some((Protocol::Udp, _)) => to.write_str("/udp"),
            _ => Ok(()),
        }
    }
}

impl Subject {
    /// Returns the name or address, as it can be typed.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(address, None) => address.to_string(),
            Host::Address(address, Some(zone)) => format!("{address}%{zone}"),
        }
    }

    /// Parses `HOST[:PORT][/udp|/tcp]`; an IPv6 address with a port is in brackets. `service` finds the port of a
    /// service name.
    ///
    /// # Errors
    ///
    /// In words, what is wrong with it.
    pub fn parse(
        text: &str,
        service: impl Fn(&str, Protocol) -> Option<u16>,
    ) -> Result<Subject, String> {
        let (rest, protocol) = match text.rsplit_once('/') {
            None => (text, None),
            Some((rest, "tcp")) => (rest, Some(Protocol::Tcp)),
            Some((rest, "udp")) => (rest, Some(Protocol::Udp)),
            Some((_, other)) => {
                return Err(format!("{text}: /{other} is neither /tcp nor /udp"));
            }
        };
        let (host, port) = split(rest).map_err(|why| format!("{text}: {why}"))?;
        if host.is_empty() {
            return Err(match text {
                "" => "the target is empty".into(),
                _ => format!("{text}: the name or address before the port is missing"),
            });
        }
        let port = match port {
            None if protocol.is_some() => {
                return Err(format!(
                    "{text}: a protocol needs a port, as in {host}:53/udp"
                ));
            }
            None => None,
            Some(port) => {
                let protocol = protocol.unwrap_or(Protocol::Tcp);
                let number = match port.parse::<u64>() {
                    Ok(number) => u16::try_from(number).ok().filter(|port| *port > 0),
                    Err(_) if port.bytes().all(|byte| byte.is_ascii_digit()) => None,
                    Err(_) => {
                        let found = service(port, protocol);
                        let name = protocol.name();
                        let unknown = || format!("{text}: no {name} service is named {port}");
                        Some(found.ok_or_else(unknown)?)
                    }
                };
                let number = number.ok_or_else(|| format!("{text}: a port is 1 to 65535"))?;
                Some((protocol, number))
            }
        };
        Ok(Subject {
            host: parse_host(host)?,
            port,
        })
    }
}

/// Splits off the port.
fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest
            .split_once(']')
            .ok_or("the ] behind the address is missing")?;
        return match port.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if port.is_empty() => Ok((host, None)),
            None => Err("only :PORT may follow the ]".into()),
        };
    }
    match text.rsplit_once(':') {
        // More than one colon is an IPv6 address without a port.
        Some((host, _)) if host.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn parse_host(host: &str) -> Result<Host, String> {
    let (address, zone) = match host.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (host, None),
    };
    if let Ok(address) = address.parse::<IpAddr>() {
        let zone = zone.filter(|zone| !zone.is_empty()).map(str::to_owned);
        let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if is_link_local && zone.is_none() {
            return Err(format!(
                "{address} is link-local: add the interface, as in {address}%eth0"
            ));
        }
        if address.is_multicast() {
            return Err(format!(
                "{address} is a multicast group: use netsonde mcast doctor"
            ));
        }
        if address.is_unspecified() {
            return Err(format!("{address} is no address of a host"));
        }
        return Ok(Host::Address(address, zone));
    }
    if looks_like_ipv4(address) || looks_like_ipv6(address) || zone.is_some() {
        let why = parse_address(address).err();
        return Err(why.unwrap_or_else(|| format!("{host} is no address")));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !host.bytes().all(|byte| is_name(byte) || byte >= 0x80) || host.len() > 253 {
        return Err(format!("{host} is neither a name nor an address"));
    }
    Ok(Host::Name(host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Subject, String> {
        Subject::parse(text, |name, protocol| match (name, protocol) {
            ("https", Protocol::Tcp) => Some(443),
            ("domain", Protocol::Udp) => Some(53),
            _ => None,
        })
    }

    #[test]
    fn targets_are_read_as_people_write_them() {
        for (text, host, port) in [
            ("example.org", "example.org", None),
            ("example.org:443", "example.org", Some((Protocol::Tcp, 443))),
            (
                "example.org:https",
                "example.org",
                Some((Protocol::Tcp, 443)),
            ),
            ("10.0.0.1:domain/udp", "10.0.0.1", Some((Protocol::Udp, 53))),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:22", "2001:db8::1", Some((Protocol::Tcp, 22))),
            (
                "[fe80::1%e0]:22/tcp",
                "fe80::1%e0",
                Some((Protocol::Tcp, 22)),
            ),
        ] {
            let subject = parse(text).unwrap();
            assert_eq!(
                (subject.host().as_str(), subject.port),
                (host, port),
                "{text}"
            );
        }
        assert_eq!(
            parse("[2001:db8::1]:53/udp").unwrap().to_string(),
            "[2001:db8::1]:53/udp"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("", "empty"),
            (":80", "before the port is missing"),
            ("a:0", "1 to 65535"),
            ("a:65536", "1 to 65535"),
            ("a:99999999999999999999999", "1 to 65535"),
            ("a:nothing", "no TCP service is named nothing"),
            ("a:53/sctp", "/sctp is neither"),
            ("a/udp", "needs a port"),
            ("10.999.1.1", "999 is more than 255"),
            ("[::1", "] behind the address"),
            ("[::1]x", "only :PORT"),
            ("fe80::1", "add the interface"),
            ("239.1.1.1", "mcast doctor"),
            ("0.0.0.0", "no address of a host"),
            ("a b", "neither a name nor an address"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
