//! PURE. A multicast group with an optional port, as users write it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

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
        let alone = text.parse::<IpAddr>().map(|group| (group, None));
        let both = || {
            text.parse::<SocketAddr>()
                .map(|both| (both.ip(), Some(both.port())))
        };
        let (group, port) = alone.or_else(|_| both()).map_err(|_| {
            format!("invalid group {text:?}: expected 239.1.1.1, 239.1.1.1:5000 or [ff15::1]:5000")
        })?;
        if !group.is_multicast() {
            return Err(format!(
                "{group} is not a multicast address (224.0.0.0/4 or ff00::/8)"
            ));
        }
        Ok(GroupPort { group, port })
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
        assert!(read("239.1.1.1:x").is_err());
    }
}
