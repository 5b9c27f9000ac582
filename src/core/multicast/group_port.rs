//! PURE. A multicast group with an optional port, as users write it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::address::parse_group;

/// A multicast group, with a port or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPort {
    /// The group: an address in 224.0.0.0/4 or ff00::/8.
    pub group: IpAddr,
    /// The UDP port; `None` for all ports.
    pub port: Option<u16>,
}

impl std::str::FromStr for GroupPort {
    type Err = String;

    fn from_str(text: &str) -> Result<GroupPort, String> {
        let (address, port) = split_port(text);
        let group = parse_group(address)?;
        let port = port.map(|port| {
            let known = port.parse::<u16>().ok().filter(|number| *number > 0);
            known.ok_or_else(|| format!("{text}: the port must be 1 to 65535, not {port:?}"))
        });
        Ok(GroupPort {
            group,
            port: port.transpose()?,
        })
    }
}

/// Splits `239.1.1.1:5000` and `[ff15::1]:5000` into address and port. An IPv6 address without brackets has
/// no port.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match bracketed {
        Some((address, "")) => return (address, None),
        Some((address, rest)) if rest.starts_with(':') => return (address, Some(&rest[1..])),
        _ => {}
    }
    match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => (address, Some(port)),
        _ => (text, None),
    }
}

impl fmt::Display for GroupPort {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(to, "{}", SocketAddr::new(self.group, port)),
            None => write!(to, "{}", self.group),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_parse_with_and_without_port() {
        let read = |text: &str| text.parse::<GroupPort>().map(|group| group.to_string());
        assert_eq!(read("239.1.1.1").unwrap(), "239.1.1.1");
        assert_eq!(read("239.1.1.1:5000").unwrap(), "239.1.1.1:5000");
        assert_eq!(read("ff15::1").unwrap(), "ff15::1");
        assert_eq!(read("[ff15::1]:5000").unwrap(), "[ff15::1]:5000");
        assert!(read("10.0.0.1").unwrap_err().contains("not a multicast"));
        for (text, words) in [
            ("239.1.1.1:0", "the port must be 1 to 65535, not \"0\""),
            ("239.1.1.1:65536", "the port must be 1 to 65535"),
            ("239.1.1.1:", "the port must be 1 to 65535, not \"\""),
            ("[ff15::1]:x", "the port must be 1 to 65535"),
            ("239.999.1.1:5000", "999 is more than 255"),
            ("ff15::12345", "more than four digits"),
            ("[ff15::1]5000", "'[' is not a hexadecimal digit"),
            ("", "empty"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
