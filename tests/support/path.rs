//! Paths to trace: a chain of routers, and equal ways; and what a trace of them says.
//!
//! ```text
//!   h  e0 10.1.0.1, netsonded ---- 10.1.0.2 e0  r1  e1 10.2.0.1 ---- 10.2.0.2 e0  r2  ... ---- t
//! ```

use std::process::Command;

use netsonde::lab::wire::Wire;
use netsonde::lab::{self, Host};
use serde_json::Value;

use super::{Service, inside};

/// A host, routers one behind the other, and a target.
pub struct Chain {
    pub service: Service,
    pub h: Host,
    pub routers: Vec<Host>,
    pub t: Host,
    pub wires: Vec<Wire>,
}

/// Makes a router that reports as many errors as there are.
pub fn forward(router: &Host) {
    for (setting, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ] {
        router.sysctl(setting, value).unwrap();
    }
    // The limit of all errors together; older kernels have one for all namespaces.
    for setting in ["icmp_msgs_per_sec", "icmp_msgs_burst"] {
        let _ = router.sysctl(&format!("net/ipv4/{setting}"), "1000000");
    }
}

/// Builds a chain. `wired`: the link with this number is a wire.
pub fn chain(count: usize, wired: Option<usize>) -> Chain {
    chain_with(count, wired, "")
}

pub fn chain_with(count: usize, wired: Option<usize>, config: &str) -> Chain {
    let host = |name: String| {
        let host = Host::new(&name).unwrap();
        host.sysctl("net/ipv6/conf/default/accept_dad", "0")
            .unwrap();
        host
    };
    let h = host("h".into());
    let routers: Vec<Host> = (1..=count).map(|at| host(format!("r{at}"))).collect();
    let t = host("t".into());
    let mut wires = vec![];
    let all: Vec<&Host> = std::iter::once(&h).chain(&routers).chain([&t]).collect();
    for (at, pair) in all.windows(2).enumerate() {
        let link = at + 1;
        let left = if at == 0 { "e0" } else { "e1" };
        match wired == Some(link) {
            true => wires.push(Wire::new(pair[0], left, pair[1], "e0").unwrap()),
            false => lab::veth(pair[0], left, pair[1], "e0").unwrap(),
        }
        for (host, interface, number) in [(pair[0], left, 1), (pair[1], "e0", 2)] {
            host.address(interface, &format!("10.{link}.0.{number}/24"))
                .unwrap();
            host.address(interface, &format!("fd00:{link}::{number}/64"))
                .unwrap();
        }
    }
    for router in routers.iter().chain([&t]) {
        forward(router);
    }
    for (at, host) in all.iter().enumerate().take(all.len() - 1) {
        host.route("0.0.0.0/0", &format!("10.{}.0.2", at + 1))
            .unwrap();
        host.route("::/0", &format!("fd00:{}::2", at + 1)).unwrap();
    }
    for (at, host) in all.iter().enumerate().skip(1) {
        // The way back; a link of its own is known.
        if at > 1 {
            host.route("10.1.0.0/24", &format!("10.{at}.0.1")).unwrap();
            host.route("fd00:1::/64", &format!("fd00:{at}::1")).unwrap();
        }
    }
    let service = Service::with_config(&h, config, &[]);
    Chain {
        service,
        h,
        routers,
        t,
        wires,
    }
}

impl Chain {
    pub fn target(&self) -> String {
        format!("10.{}.0.2", self.routers.len() + 1)
    }

    pub fn router(&self, hop: usize) -> String {
        format!("10.{hop}.0.2")
    }

    pub fn trace(&self, arguments: &[&str]) -> Report {
        trace(&self.h, &self.service, arguments)
    }
}

/// A trace with its exit status.
pub struct Report {
    pub value: Value,
    pub status: Option<i32>,
}

pub fn trace(host: &Host, service: &Service, arguments: &[&str]) -> Report {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command
        .arg("--socket")
        .arg(service.socket())
        .args(["--json", "trace", "-n"]);
    let output = host.run(|| command.args(arguments).output()).unwrap();
    let value = serde_json::from_slice(&output.stdout);
    let value = value
        .unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
    Report {
        value,
        status: output.status.code(),
    }
}

impl Report {
    pub fn hops(&self) -> &Vec<Value> {
        self.value["hops"].as_array().unwrap()
    }

    /// Addresses of each hop.
    pub fn addresses(&self) -> Vec<Vec<&str>> {
        self.hops()
            .iter()
            .map(|hop| {
                let nodes = hop["nodes"].as_array().unwrap();
                nodes
                    .iter()
                    .map(|node| node["address"].as_str().unwrap())
                    .collect()
            })
            .collect()
    }

    pub fn verdict(&self, hop: usize) -> &str {
        self.hops()[hop - 1]["verdict"].as_str().unwrap()
    }

    pub fn remarks(&self) -> Vec<&str> {
        let all = self.value["remarks"].as_array().unwrap();
        all.iter()
            .map(|remark| remark["id"].as_str().unwrap())
            .collect()
    }

    pub fn remark(&self, id: &str) -> &str {
        let all = self.value["remarks"].as_array().unwrap();
        let found = all.iter().find(|remark| remark["id"] == id);
        let found = found.unwrap_or_else(|| panic!("no {id}: {:#}", self.value));
        found["text"].as_str().unwrap()
    }
}

/// Equal ways of `depth` routers each between two routers.
///
/// ```text
///   h 10.0.1.1 -- 10.0.1.2 a -- 10.WAY.1.2 w1 -- 10.WAY.2.2 w2 -- ... -- 10.WAY.N.2 z -- 10.0.2.2 t
/// ```
pub struct Ways {
    pub service: Service,
    pub h: Host,
    pub others: Vec<Host>,
    pub _wire: Option<Wire>,
    pub count: usize,
    pub depth: usize,
}

pub fn ways(count: usize, depth: usize) -> Ways {
    ways_behind(false, count, depth)
}

/// The same; `is_wired`: h is connected by a wire.
pub fn ways_behind(is_wired: bool, count: usize, depth: usize) -> Ways {
    let host = |name: &str| Host::new(name).unwrap();
    let (h, a, z, t) = (host("h"), host("a"), host("z"), host("t"));
    let mut wire = None;
    let mut link = |one: (&Host, &str), other: (&Host, &str), net: &str| {
        match is_wired && wire.is_none() {
            true => wire = Some(Wire::new(one.0, one.1, other.0, other.1).unwrap()),
            false => lab::veth(one.0, one.1, other.0, other.1).unwrap(),
        }
        one.0.address(one.1, &format!("{net}.1/24")).unwrap();
        other.0.address(other.1, &format!("{net}.2/24")).unwrap();
    };
    link((&h, "e0"), (&a, "h"), "10.0.1");
    link((&z, "t"), (&t, "e0"), "10.0.2");
    let mut others = vec![];
    let mut next_hops = vec![];
    for way in 1..=count {
        let routers: Vec<Host> = (1..=depth)
            .map(|at| host(&format!("w{way}-{at}")))
            .collect();
        for at in 0..=depth {
            let one = if at == 0 {
                (&a, format!("w{way}"))
            } else {
                (&routers[at - 1], "on".into())
            };
            let other = match at == depth {
                true => (&z, format!("w{way}")),
                false => (&routers[at], "in".into()),
            };
            let net = format!("10.{way}.{}", at + 1);
            link((one.0, &one.1), (other.0, &other.1), &net);
        }
        for (at, router) in routers.iter().enumerate() {
            forward(router);
            router
                .route("10.0.2.0/24", &format!("10.{way}.{}.2", at + 2))
                .unwrap();
            router
                .route("10.0.1.0/24", &format!("10.{way}.{}.1", at + 1))
                .unwrap();
        }
        next_hops.extend(["nexthop".to_owned(), "via".into(), format!("10.{way}.1.2")]);
        others.extend(routers);
    }
    for router in [&a, &z, &t] {
        forward(router);
        router
            .sysctl("net/ipv4/fib_multipath_hash_policy", "1")
            .unwrap();
    }
    let mut route = vec!["route", "add", "10.0.2.0/24"];
    route.extend(next_hops.iter().map(String::as_str));
    inside(&a, "ip", &route);
    z.route("10.0.1.0/24", &format!("10.1.{}.1", depth + 1))
        .unwrap();
    h.route("0.0.0.0/0", "10.0.1.2").unwrap();
    t.route("0.0.0.0/0", "10.0.2.1").unwrap();
    others.extend([a, z, t]);
    let service = Service::start(&h, &[]);
    Ways {
        service,
        h,
        others,
        _wire: wire,
        count,
        depth,
    }
}
