//! SHELL. `trace --mtu`: packets of several lengths along the path, each length in a run of its own.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;

use crate::client::commands::doctor::{echo, links};
use crate::client::failure::Failure;
use crate::client::interrupt::{Interrupt, wait_until};
use crate::client::render::style::Style;
use crate::client::render::table::{Column, table};
use crate::linux::netlink::{Netlink, RouteQuery};
use netsonde_core::protocol::trace::{Answer, Options};
use netsonde_core::text::counted;
use netsonde_core::trace::Report;
use netsonde_core::trace::mtu::{MtuSearch, PathMtu};

/// Longest packet that is sent, in bytes: the largest that links carry; loopback has 65536.
const LONGEST: u32 = 9000;
/// Payload of the trace's own probes, in bytes.
const SIZE: u32 = 32;
/// Least and most time for which an answer is waited for, in nanoseconds, if the longest round trip is known: several
/// times that. A search has rounds in which nothing answers.
const PATIENCE_NS: (u64, u64) = (300_000_000, 1_000_000_000);

/// Finds the path MTU along the path of a trace. `None` if a signal came first.
pub(super) fn find(
    socket: &Path,
    (target, address): (&str, IpAddr),
    report: &Report,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<Option<PathMtu>, Failure> {
    let headers = if address.is_ipv4() { 28 } else { 48 };
    let first = link_mtu(target, address, options)?.min(LONGEST);
    let mut search = MtuSearch::new(report, address, (first, SIZE + headers));
    let options = Options {
        timeout_ns: Some(patience_ns(report).min(options.timeout_ns.unwrap_or(u64::MAX))),
        pmtu_discovery: Some("probe".into()),
        ..options.clone()
    };
    loop {
        let due = Instant::now() + Duration::from_nanos(search.pause_ns());
        if wait_until(due, interrupt)? {
            interrupt.take();
            return Ok(None);
        }
        let tests = search.tests();
        if tests.is_empty() {
            return Ok(Some(search.report()));
        }
        let answers = std::thread::scope(|scope| {
            let running: Vec<_> = (tests.iter())
                .map(|test| {
                    let options = Options {
                        size: Some(test.bytes.saturating_sub(headers)),
                        ..options.clone()
                    };
                    scope.spawn(move || echo::send_listed(socket, target, &test.ttls, options))
                })
                .collect();
            let panicked = |_| Err(Failure::Other("a thread of the client panicked".into()));
            let all = running
                .into_iter()
                .map(|one| one.join().unwrap_or_else(panicked));
            all.collect::<Result<Vec<Vec<Answer>>, Failure>>()
        })?;
        for (test, answers) in tests.iter().zip(answers) {
            search.add(test.bytes, &answers);
        }
    }
}

fn patience_ns(report: &Report) -> u64 {
    let nodes = report.hops.iter().flat_map(|hop| &hop.nodes);
    let longest = nodes
        .filter_map(|node| node.times.rtt_ns)
        .map(|times| times.max);
    let (least, most) = PATIENCE_NS;
    longest
        .max()
        .map_or(most, |longest| (longest * 4).clamp(least, most))
}

/// Returns the MTU of the interface on the way to an address, which no packet exceeds. What the kernel learned of the
/// path is what is looked for here.
fn link_mtu(target: &str, address: IpAddr, options: &Options) -> Result<u32, Failure> {
    let zone = target.split_once('%').map(|(_, zone)| zone);
    let ifindex = match options.interface.as_deref().or(zone) {
        None => 0,
        Some(name) => if_nametoindex(name).map_err(|_| Failure::no_such_interface(name))?,
    };
    let query = RouteQuery {
        ifindex,
        source: options
            .source
            .as_deref()
            .and_then(|source| source.parse().ok()),
        ..RouteQuery::default()
    };
    let mut netlink = Netlink::open()?;
    let route = netlink.route(address, &query);
    let route = route.map_err(|error| Failure::Other(format!("no route to {target}: {error}")))?;
    let (links, _) = links::links(&mut netlink)?;
    let link = links.iter().find(|link| link.ifindex == route.ifindex);
    Ok(link.map_or(1500, |link| link.mtu))
}

/// Renders the MTU up to each hop, and the path MTU.
pub(super) fn render(target: &str, found: &PathMtu, style: Style) -> String {
    let columns = [
        Column::number("HOP"),
        Column::text("ADDRESS"),
        Column::number("MTU"),
    ];
    let mut rows = vec![vec![
        "0".to_owned(),
        "this host".into(),
        found.first.to_string(),
    ]];
    for hop in &found.hops {
        let address = hop
            .address
            .map_or_else(|| "several".into(), |address| address.to_string());
        rows.push(vec![hop.hop.to_string(), address, hop.mtu.to_string()]);
    }
    let mut text = format!("\n{}\n\n", table(style, &columns, &rows));
    let probes = counted(found.probes, "probe");
    text.push_str(&match found.mtu {
        Some(mtu) => format!("path MTU to {target}: {mtu} bytes; {probes}\n"),
        None => format!("path MTU to {target}: not known, since it does not answer; {probes}\n"),
    });
    text
}
