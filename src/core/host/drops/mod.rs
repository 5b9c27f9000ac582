//! PURE. Drop counters of the kernel by layer, with their meaning, and the drop reasons of the tracepoint
//! `skb:kfree_skb`.
//!
//! | file | contents |
//! |---|---|
//! | `counters` | table of the counters |
//! | `reasons` | table of the drop reasons |
//! | `per_cpu` | softnet_stat and the files in /proc/net/stat |
//! | `neighbor_table` | statistics of the neighbor tables, from netlink |
//! | `tracepoint` | records of `skb:kfree_skb` |

mod counters;
mod neighbor_table;
mod per_cpu;
mod reasons;
mod tracepoint;

pub use counters::COUNTERS;
pub use neighbor_table::{NeighborTable, parse_neighbor_table};
pub use per_cpu::{parse_softnet, parse_time_squeezes, sum_cpu_columns};
pub use reasons::{REASONS, explain_reason};
pub use tracepoint::{DropRecord, TraceFormat};

/// Layer of the host that drops packets, in the order that an incoming packet passes; the last is for outgoing
/// ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The interface and its driver.
    Device,
    /// Queue between driver and protocols, one per CPU.
    Backlog,
    /// Connection tracking.
    Conntrack,
    /// IPv4 and IPv6.
    Ip,
    /// Resolution of IP addresses to MAC addresses.
    Neighbor,
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP and ICMPv6.
    Icmp,
    /// One socket.
    Socket,
    /// Queueing discipline of an interface, for outgoing packets.
    Queue,
}

impl Layer {
    /// Every layer.
    pub const ALL: [Layer; 10] = [
        Layer::Device,
        Layer::Backlog,
        Layer::Conntrack,
        Layer::Ip,
        Layer::Neighbor,
        Layer::Udp,
        Layer::Tcp,
        Layer::Icmp,
        Layer::Socket,
        Layer::Queue,
    ];

    /// Returns the layer of this name.
    pub fn from_name(name: &str) -> Option<Layer> {
        Layer::ALL.into_iter().find(|layer| layer.name() == name)
    }

    /// Name used in the output and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Device => "device",
            Layer::Backlog => "backlog",
            Layer::Conntrack => "conntrack",
            Layer::Ip => "ip",
            Layer::Neighbor => "neighbour",
            Layer::Udp => "udp",
            Layer::Tcp => "tcp",
            Layer::Icmp => "icmp",
            Layer::Socket => "socket",
            Layer::Queue => "queue",
        }
    }
}

/// A kernel counter of dropped packets.
#[derive(Debug)]
pub struct Counter {
    /// Layer that drops the packets.
    pub layer: Layer,
    /// Name as in ip(8), nstat(8) or the file in /proc.
    pub name: &'static str,
    /// Why packets were dropped, and what to inspect.
    pub means: &'static str,
    /// Drops are expected, and not a fault by themselves.
    pub harmless: bool,
}

/// Finds a counter by layer and name.
pub fn find_counter(layer: Layer, name: &str) -> Option<&'static Counter> {
    COUNTERS
        .iter()
        .find(|known| known.layer == layer && known.name == name)
}

/// Returns what a counter has without the others that it includes, which `part` returns by name.
pub fn without_parts(
    layer: Layer,
    name: &str,
    count: u64,
    part: impl Fn(&'static str) -> Option<u64>,
) -> u64 {
    let is_it = |(of, whole, _): &&(Layer, &str, _)| *of == layer && *whole == name;
    let Some((.., parts)) = counters::OVERLAPS.iter().find(is_it) else {
        return count;
    };
    let parts: u64 = parts.iter().filter_map(|name| part(name)).sum();
    count.saturating_sub(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_reasons_are_unique() {
        for (at, one) in COUNTERS.iter().enumerate() {
            assert!(
                std::ptr::eq(find_counter(one.layer, one.name).unwrap(), one),
                "{at}: {}",
                one.name
            );
        }
        for layer in Layer::ALL {
            assert_eq!(Layer::from_name(layer.name()), Some(layer));
        }
        let part = |name| (name == "rx_crc_errors").then_some(3);
        assert_eq!(without_parts(Layer::Device, "rx_errors", 5, part), 2);
        assert_eq!(without_parts(Layer::Device, "tx_errors", 5, part), 5);
        for (name, harmless, _) in REASONS {
            assert_eq!(explain_reason(name, None).unwrap().0, *harmless, "{name}");
        }
    }
}
