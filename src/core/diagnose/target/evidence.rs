//! PURE. The evidence for a diagnosis of a target.

use std::net::IpAddr;

use super::dns::Exchange;
use super::packet::PortSeen;
use super::subject::{Protocol, Subject};
use crate::diagnose::host::evidence::Known;
use crate::protocol::ping::{IcmpError, Probe};

/// All evidence.
#[derive(Debug)]
pub struct TargetEvidence {
    /// What is to be reached.
    pub subject: Subject,
    /// How its name was resolved; `None` for an address.
    pub lookup: Option<Lookup>,
    /// The ways to it, in the order in which they were tried: first the one that the resolver prefers of
    /// each family, then further ones.
    pub ways: Vec<Way>,
    /// Addresses of the name that were not tried.
    pub not_tried: usize,
}

/// The resolution of a name.
#[derive(Debug)]
pub struct Lookup {
    /// The addresses, or why there is none, in words.
    pub found: Known<Vec<IpAddr>>,
    /// How long it took, in nanoseconds.
    pub took_ns: u64,
    /// Servers of resolv.conf(5).
    pub servers: Vec<String>,
    /// What was seen of its questions on the wire; an error if the record could not be read.
    pub exchanges: Known<Vec<Exchange>>,
}

impl Lookup {
    /// Returns the exchanges that were seen.
    pub fn seen(&self) -> &[Exchange] {
        self.exchanges.as_deref().unwrap_or_default()
    }
}

/// The way to one address.
#[derive(Debug)]
pub struct Way {
    /// The address, with %INTERFACE if it is link-local.
    pub target: String,
    /// Whether it is of IPv4.
    pub is_ipv4: bool,
    /// Whether it is an address of this host.
    pub is_local: bool,
    /// Outgoing interface by the routing tables.
    pub interface: Option<String>,
    /// Router by the routing tables; `None` on the link, or without a route.
    pub router: Option<IpAddr>,
    /// Whether the kernel has a route to it.
    pub has_route: bool,
    /// The demanded interface, if it is set down, which leaves it without routes.
    pub set_down: Option<String>,
    /// The demanded source address, if this host does not have it.
    pub missing_source: Option<IpAddr>,
    /// Fates of small echo requests; an error if the service sent none.
    pub echoes: Known<Vec<Probe>>,
    /// Fates of echo requests as long as the MTU, with DF set.
    pub large: Vec<Probe>,
    /// Length of these with the IP header, in bytes.
    pub large_bytes: u32,
    /// Fates of echo requests that the routers on the way answer, by TTL from 1 on; empty if there was no reason.
    pub hops: Vec<Probe>,
    /// Highest TTL whose router answered a request as long as the MTU; 0 for none.
    pub large_hops: u8,
    /// Fates of SYNs for the port that the routers on the way answer, by TTL from 1 to that of the last router; empty if
    /// there was no reason.
    pub syn_hops: Vec<Probe>,
    /// The attempt to reach the port.
    pub port: Option<PortTry>,
}

/// How an attempt ended for the program that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The connection was accepted, or a datagram came back.
    Answered,
    /// An error, by its name, such as ECONNREFUSED.
    Failed(String),
    /// Neither until time was up.
    Silent,
}

/// An attempt to reach a port.
#[derive(Clone, Debug)]
pub struct PortTry {
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Time to the outcome in nanoseconds.
    pub took_ns: u64,
    /// Time for which the connection was watched behind its acceptance, in nanoseconds.
    pub watched_ns: u64,
    /// Whether the other end reset the connection behind its acceptance.
    pub was_reset: bool,
    /// Bytes that it sent meanwhile.
    pub received_bytes: u64,
    /// What was seen on the wire; an error if the record could not be read.
    pub seen: Known<PortSeen>,
    /// Connections that wait for the server to accept them, and its limit, if it is a server of this host.
    pub queue: Option<(u32, u32)>,
    /// Counters of this host that moved meanwhile.
    pub moved: Vec<(&'static str, u64)>,
}

impl PortTry {
    /// Returns how often a counter of this host moved.
    pub fn moved(&self, name: &str) -> u64 {
        let found = self.moved.iter().find(|(known, _)| *known == name);
        found.map_or(0, |(_, count)| *count)
    }
}

impl Default for Way {
    fn default() -> Way {
        Way {
            target: String::new(),
            is_ipv4: false,
            is_local: false,
            interface: None,
            router: None,
            has_route: false,
            set_down: None,
            missing_source: None,
            echoes: Ok(Vec::new()),
            large: Vec::new(),
            large_bytes: 0,
            hops: Vec::new(),
            large_hops: 0,
            syn_hops: Vec::new(),
            port: None,
        }
    }
}

impl Way {
    /// Returns the family: "IPv4" or "IPv6".
    pub fn family(&self) -> &'static str {
        if self.is_ipv4 { "IPv4" } else { "IPv6" }
    }

    /// Returns the address without the interface.
    pub fn address(&self) -> Option<IpAddr> {
        self.target.split('%').next()?.parse().ok()
    }

    /// Iterates over the small echo requests.
    pub fn echoes(&self) -> impl Iterator<Item = &Probe> {
        self.echoes.iter().flatten()
    }

    /// Returns the first small echo request with a fate.
    pub fn echo(&self, fate: &str) -> Option<&Probe> {
        self.echoes().find(|probe| probe.fate == fate)
    }

    /// Returns whether an echo request was answered, in time or late.
    pub fn answers_echo(&self) -> bool {
        let is_answered = |probe: &Probe| matches!(probe.fate.as_str(), "replied" | "late");
        self.echoes().any(is_answered)
    }

    /// Returns whether an error says that the TTL of a packet ended there: type 11 of ICMP, and 3 of ICMPv6.
    pub fn is_expired(&self, error: &IcmpError) -> bool {
        error.kind == if self.is_ipv4 { 11 } else { 3 }
    }

    /// Returns the hops at which the TTL of a packet ended: TTL, address and time on the wire in nanoseconds. A router
    /// that reports something else does so for packets of any longer TTL as well.
    pub fn routers(&self) -> impl Iterator<Item = (u8, &str, Option<u64>)> {
        let all = self.hops.iter().zip(1u8..);
        all.filter_map(|(probe, ttl)| {
            let error = probe
                .error
                .as_ref()
                .filter(|error| self.is_expired(error))?;
            Some((ttl, error.from.as_str(), probe.wire_rtt_ns))
        })
    }

    /// Returns whether what the user wants works: the port if there is one, else the echo.
    pub fn works(&self) -> bool {
        match &self.port {
            None => self.answers_echo(),
            Some(port) => match port.outcome {
                Outcome::Answered => !port.was_reset,
                // Servers of UDP may be silent; nothing says that this one is not there.
                Outcome::Silent if port.protocol == Protocol::Udp => {
                    let is_refused = port.seen.as_ref().is_ok_and(|seen| !seen.errors.is_empty());
                    self.answers_echo() && !is_refused
                }
                _ => false,
            },
        }
    }
}
