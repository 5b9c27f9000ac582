//! SHELL. All counters of interfaces and of dropped packets in this network namespace. Reading them needs no privilege.

use std::io;

use netsonde_core::host::counters::{parse_snmp, parse_snmp6};
use netsonde_core::host::drops::{
    Layer, NeighborTable, find_counter, parse_neighbor_table, parse_softnet, sum_cpu_columns,
};
use netsonde_core::host::link_stats::{link_stats_request, parse_link_stats};

use super::netlink::{Netlink, queues};
use super::proc_net;

/// `RTM_GETNEIGHTBL` and `RTM_GETSTATS` (linux/rtnetlink.h).
const GET_TABLES: u16 = 66;
const GET_STATS: u16 = 94;
/// Subject of counters of the whole namespace, and of those that the kernel keeps for each CPU.
const NAMESPACE: &str = "this namespace";
const CPUS: &str = "all CPUs";

/// One counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading<'a> {
    /// Layer.
    pub layer: Layer,
    /// Index of the interface, for counters of interfaces and their queues.
    pub ifindex: Option<u32>,
    /// Subject: name of the interface, of its queue, of a table.
    pub subject: &'a str,
    /// Name.
    pub name: &'a str,
    /// Value.
    pub value: u64,
}

/// Reads all counters, those of traffic, too, and calls `each` for them. `name` returns the name of an interface by its
/// index. Returns the neighbor tables.
///
/// # Errors
/// The error of the kernel, or `TimedOut`.
pub fn read(
    netlink: &mut Netlink,
    name: impl Fn(u32) -> String,
    mut each: impl FnMut(Reading<'_>),
) -> io::Result<Vec<NeighborTable>> {
    netlink.list(GET_STATS, &link_stats_request(), |body| {
        let Some((ifindex, counters)) = parse_link_stats(body) else {
            return;
        };
        let subject = name(ifindex);
        for (counter, value) in counters {
            each(Reading {
                layer: Layer::Device,
                ifindex: Some(ifindex),
                subject: &subject,
                name: counter,
                value,
            });
        }
    })?;
    queues(netlink, |queue| {
        let (kind, handle) = (queue.kind, queue.handle);
        each(Reading {
            layer: Layer::Queue,
            ifindex: Some(queue.ifindex),
            subject: &format!("{} {kind} {handle:x}:", name(queue.ifindex)),
            name: "drops",
            value: queue.drops,
        });
    })?;
    let mut put = |layer: Layer, subject: &str, name: &str, value: u64| {
        if find_counter(layer, name).is_some() {
            each(Reading {
                layer,
                ifindex: None,
                subject,
                name,
                value,
            });
        }
    };
    let (dropped, limited) = parse_softnet(&proc_net("softnet_stat"));
    put(Layer::Backlog, CPUS, "dropped", dropped);
    put(Layer::Backlog, CPUS, "flow_limit", limited);
    for (layer, file, subject) in [
        // These files exist in the initial namespace only.
        (Layer::Neighbor, "stat/arp_cache", "arp_cache"),
        (Layer::Neighbor, "stat/ndisc_cache", "ndisc_cache"),
        (Layer::Conntrack, "stat/nf_conntrack", NAMESPACE),
    ] {
        for (name, value) in sum_cpu_columns(&proc_net(file)) {
            // The tables have these themselves.
            if !matches!(&name[..], "res_failed" | "table_fulls") {
                put(layer, subject, &name, value);
            }
        }
    }
    let mut tables = Vec::new();
    netlink.list(GET_TABLES, &[0; 4], |body| {
        if let Some(table) = parse_neighbor_table(body) {
            put(Layer::Neighbor, &table.name, "res_failed", table.failed);
            let fulls = table.table_fulls;
            put(Layer::Neighbor, &table.name, "table_fulls", fulls);
            tables.push(table);
        }
    })?;
    let all = parse_snmp(&proc_net("snmp")).into_iter();
    let all = all.chain(parse_snmp(&proc_net("netstat")));
    for (name, value) in all.chain(parse_snmp6(&proc_net("snmp6"))) {
        for layer in [Layer::Ip, Layer::Udp, Layer::Tcp, Layer::Icmp] {
            put(layer, NAMESPACE, &name, value);
        }
    }
    Ok(tables)
}
