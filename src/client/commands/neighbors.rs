//! SHELL. `netsonde neighbors`: the hosts on each link, and address conflicts and moves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use crate::client::cli::args::{Global, NeighborsArgs};
use crate::client::commands::recorded_neighbors;
use crate::client::failure::Failure;
use crate::client::output::{no_match, show};
use crate::client::render::oui::makers;
use crate::client::render::style::{Style, age};
use crate::client::render::table::{Column, table};
use crate::varlink::client::ask_with;
use netsonde_core::neighbors::mac;
use netsonde_core::protocol::inventory::{
    Claimant, Finding, InterfaceCall, KernelNeighbor, Master, Neighbor, Neighbors, VirtualRouter,
};
use netsonde_core::text::counted;
use netsonde_core::wire::cursor::Mac;

const METHOD: &str = "io.netsonde.Inventory.Neighbors";
/// Maximum number of address moves shown; `-v` shows all.
const MOVES_SHOWN: usize = 8;
/// Maximum number of addresses shown for which a station is a proxy; JSON has all.
const PROXIED_SHOWN: usize = 4;
/// Maximum number of unanswered addresses of an interface that are listed; `-v` lists all.
const UNANSWERED_SHOWN: usize = 4;

/// The reply of the service, with card vendors.
#[derive(Serialize)]
struct NeighborReport {
    #[serde(flatten)]
    all: Neighbors,
    /// Vendors by MAC address.
    vendors: BTreeMap<String, String>,
}

/// Runs `netsonde neighbors`. Returns 1 if a conflict is active, of an address or of two masters.
pub fn run(global: &Global, socket: &Path, args: &NeighborsArgs) -> Result<u8, Failure> {
    let call = InterfaceCall {
        interface: args.interface.clone(),
    };
    let past = recorded_neighbors::read(socket, args)?;
    let is_past = past.is_some();
    let mut all: Neighbors = match past {
        Some(past) => past,
        None => ask_with(socket, METHOD, &call)?,
    };
    let recorded = all.neighbors.len();
    if !args.who.is_empty() {
        select(&mut all, &args.who);
    }
    let has_conflict = all
        .findings
        .iter()
        .any(|one| one.kind == "conflict" && one.current)
        || split_routers(&all).next().is_some();
    let vendors = vendors(&all);
    let report = NeighborReport { all, vendors };
    let interface = args.interface.iter().map(|name| format!("-I {name}"));
    let filter: Vec<String> = interface.chain(args.who.iter().cloned()).collect();
    let is_empty = report.all.neighbors.is_empty() && report.all.findings.is_empty();
    let is_unmatched = is_empty && !filter.is_empty();
    if global.json || !is_unmatched {
        show(global, &report, text)?;
    }
    if is_unmatched {
        let total = match is_past {
            true => recorded,
            false => {
                let all = ask_with(socket, METHOD, &InterfaceCall::default());
                all.map_or(0, |all: Neighbors| all.neighbors.len())
            }
        };
        return Ok(no_match(
            global,
            "neighbor",
            &filter.join(" "),
            total as u64,
        ));
    }
    Ok(u8::from(has_conflict))
}

/// Virtual routers with two masters now.
fn split_routers(all: &Neighbors) -> impl Iterator<Item = &VirtualRouter> {
    let routers = all.virtual_routers.iter().flatten();
    routers.filter(|one| one.two_masters.is_some())
}

/// Keeps only entries about one of these: an address, a MAC address, a name or its first label.
fn select(all: &mut Neighbors, who: &[String]) {
    let is_address = |address: &str| {
        who.iter().any(
            |one| match (one.parse::<IpAddr>(), address.parse::<IpAddr>()) {
                (Ok(one), Ok(address)) => one == address,
                _ => false,
            },
        )
    };
    let macs: BTreeSet<String> = who
        .iter()
        .filter_map(|one| mac::parse(one))
        .map(|mac| mac.to_string())
        .collect();
    let is_name = |name: &str| {
        let label = name.split('.').next().unwrap_or(name);
        who.iter()
            .any(|one| one.eq_ignore_ascii_case(name) || one.eq_ignore_ascii_case(label))
    };
    all.neighbors.retain(|one| {
        macs.contains(&one.mac)
            || one
                .addresses
                .iter()
                .any(|address| is_address(&address.address))
            || one.names.iter().any(|name| is_name(&name.name))
    });
    let of_these: BTreeSet<String> = all
        .neighbors
        .iter()
        .flat_map(|one| one.addresses.iter().map(|address| address.address.clone()))
        .collect();
    all.findings.retain(|one| {
        is_address(&one.address)
            || of_these.contains(&one.address)
            || one
                .claimants
                .iter()
                .any(|claimant| macs.contains(&claimant.mac))
            || one
                .prober
                .as_ref()
                .is_some_and(|prober| macs.contains(prober))
    });
    if let Some(routers) = &mut all.virtual_routers {
        routers.retain(|one| {
            let of_masters = one.masters.iter().map(|master| &master.address);
            let mut addresses = one.addresses.iter().chain(of_masters);
            let is_sender = |master: &Master| macs.contains(&master.mac);
            addresses.any(|address| is_address(address) || of_these.contains(address))
                || one.masters.iter().any(is_sender)
        });
    }
    all.kernel.retain(|one| {
        is_address(&one.address)
            || of_these.contains(&one.address)
            || one.mac.as_ref().is_some_and(|mac| macs.contains(mac))
    });
}

/// Looks up the vendors of all MAC addresses, including prefixes that need no list.
fn vendors(all: &Neighbors) -> BTreeMap<String, String> {
    let of_findings = all.findings.iter().flat_map(|one| {
        let claimants = one.claimants.iter().map(|claimant| &claimant.mac);
        claimants.chain(&one.prober)
    });
    let named: BTreeSet<Mac> = all
        .neighbors
        .iter()
        .map(|one| &one.mac)
        .chain(of_findings)
        .filter_map(|text| mac::parse(text))
        .collect();
    let made: Vec<Mac> = named
        .iter()
        .copied()
        .filter(|one| mac::shared(*one).is_none() && !mac::is_local(*one))
        .collect();
    let mut makers = makers(&made);
    let vendor = |one: &Mac| {
        let of_itself = match one.0 {
            _ if mac::shared(*one).is_some() => Some(format!(
                "virtual: {}",
                mac::shared(*one).unwrap_or_default()
            )),
            [0x52, 0x54, 0, ..] => Some("local: QEMU, KVM".into()),
            [0x02, 0x42, ..] => Some("local: Docker".into()),
            _ if mac::is_local(*one) => Some("local".into()),
            _ => None,
        };
        of_itself.or_else(|| makers.remove(one))
    };
    let mut vendor = vendor;
    named
        .iter()
        .filter_map(|one| Some((one.to_string(), vendor(one)?)))
        .collect()
}

fn text(report: &NeighborReport, style: Style, verbose: bool) -> String {
    let mut text = String::new();
    for router in split_routers(&report.all) {
        text.push_str(&two_masters_text(router, report, style));
    }
    let mut moves = 0;
    for finding in &report.all.findings {
        moves += usize::from(finding.kind == "moved");
        if finding.kind != "moved" || verbose || moves <= MOVES_SHOWN {
            text.push_str(&finding_text(finding, report, style));
            text.push('\n');
        }
    }
    if moves > MOVES_SHOWN && !verbose {
        text.push_str(&format!(
            "and {} more address moves; -v shows them\n",
            moves - MOVES_SHOWN
        ));
    }
    if report.all.neighbors.is_empty() {
        text.push_str("no neighbors seen\n");
        text.push_str(&unresolved(report, style, verbose));
        return text;
    }
    let kernel: HashMap<(&str, &str), &KernelNeighbor> = report
        .all
        .kernel
        .iter()
        .map(|one| ((one.interface.as_str(), one.address.as_str()), one))
        .collect();
    let mut interfaces: Vec<&str> = report
        .all
        .neighbors
        .iter()
        .map(|one| one.interface.as_str())
        .collect();
    interfaces.dedup();
    for interface in interfaces {
        text.push_str(&format!("{}\n", style.bold(interface)));
        text.push_str(&interface_table(report, interface, &kernel, style, verbose));
        text.push('\n');
    }
    text.push_str(&unresolved(report, style, verbose));
    text
}

fn interface_table(
    report: &NeighborReport,
    interface: &str,
    kernel: &HashMap<(&str, &str), &KernelNeighbor>,
    style: Style,
    verbose: bool,
) -> String {
    let mut rows: Vec<(Option<IpAddr>, Vec<String>)> = Vec::new();
    for one in report
        .all
        .neighbors
        .iter()
        .filter(|one| one.interface == interface)
    {
        let mut row = |address: Option<&str>, first: &str, last: &str| {
            let of_kernel = address.and_then(|address| kernel.get(&(interface, address)));
            let mut cells = vec![
                address.unwrap_or("-").to_owned(),
                one.mac.clone(),
                report
                    .vendors
                    .get(&one.mac)
                    .cloned()
                    .unwrap_or_else(|| "-".into()),
                names(one),
                roles(one),
                one.heard_by.join(","),
                age(&report.all.time, first),
                age(&report.all.time, last),
            ];
            if verbose {
                cells.push(of_kernel.map_or("-".into(), |known| {
                    match known.mac.as_ref().is_none_or(|mac| *mac == one.mac) {
                        true => known.state.clone(),
                        false => format!("{}, at another MAC address", known.state),
                    }
                }));
            }
            rows.push((address.and_then(|address| address.parse().ok()), cells));
        };
        if one.addresses.is_empty() {
            row(None, &one.first, &one.last);
        }
        for address in &one.addresses {
            row(Some(&address.address), &address.first, &address.last);
        }
    }
    // IPv4 first, then IPv6, then hosts without a known address.
    rows.sort_by(|(a, x), (b, y)| (a.is_none(), a, &x[1]).cmp(&(b.is_none(), b, &y[1])));
    let mut columns = vec![
        Column::text("ADDRESS"),
        Column::text("MAC"),
        Column::text("VENDOR").shrinks(8).may_hide(1),
        Column::text("NAME").shrinks(8),
        Column::text("ROLE").shrinks(7),
        Column::text("HEARD BY").shrinks(5).may_hide(3),
        Column::number("FIRST").may_hide(2),
        Column::number("LAST"),
    ];
    if verbose {
        columns.push(Column::text("KERNEL").shrinks(9));
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, cells)| cells).collect();
    let mut text = table(style, &columns, &rows);
    text.push('\n');
    text
}

fn names(one: &Neighbor) -> String {
    let mut shown: Vec<String> = Vec::new();
    for name in &one.names {
        let text = format!("{} ({})", name.name, name.by);
        if !shown.contains(&text) {
            shown.push(text);
        }
    }
    if shown.is_empty() {
        "-".into()
    } else {
        shown.join(", ")
    }
}

fn roles(one: &Neighbor) -> String {
    if one.roles.is_empty() {
        return "-".into();
    }
    let shown = one.proxy_for.iter().take(PROXIED_SHOWN).cloned();
    let mut addresses = shown.collect::<Vec<_>>().join(" ");
    if one.proxy_for.len() > PROXIED_SHOWN {
        addresses.push_str(&format!(
            " and {} more",
            one.proxy_for.len() - PROXIED_SHOWN
        ));
    }
    let role = |role: &String| match role.contains("proxy") {
        true => format!("{role} for {addresses}"),
        false => role.clone(),
    };
    one.roles.iter().map(role).collect::<Vec<_>>().join(", ")
}

/// Addresses that this host failed to resolve: each up to [`UNANSWERED_SHOWN`] on an interface, or with
/// `verbose`; otherwise their number and range, as a scan leaves them.
fn unresolved(report: &NeighborReport, style: Style, verbose: bool) -> String {
    let mut by_interface: BTreeMap<&str, Vec<(IpAddr, &str)>> = BTreeMap::new();
    for one in &report.all.kernel {
        if let ("FAILED" | "INCOMPLETE", Ok(address)) = (&one.state[..], one.address.parse()) {
            let all = by_interface.entry(&one.interface).or_default();
            all.push((address, &one.state));
        }
    }
    let mut text = String::new();
    let mut line = |words: String| text.push_str(&format!("{}\n", style.dim(&words)));
    for (interface, mut all) in by_interface {
        all.sort();
        if let ([(first, _), .., (last, _)], true) =
            (&all[..], all.len() > UNANSWERED_SHOWN && !verbose)
        {
            line(format!(
                "{} addresses from {first} to {last} on {interface} do not answer this host; -v \
                    lists them",
                all.len()
            ));
            continue;
        }
        for (address, state) in all {
            line(format!(
                "{address} on {interface} does not answer this host ({state})"
            ));
        }
    }
    text
}

/// Formats a finding: a headline and indented details.
fn finding_text(one: &Finding, report: &NeighborReport, style: Style) -> String {
    let mut lines = match one.kind.as_str() {
        "conflict" => conflict_lines(one, report, style),
        "moved" => move_lines(one, report),
        _ => duplicate_lines(one, report, style),
    };
    if one.kind == "conflict" {
        let now = &report.all.time;
        lines.extend(
            one.claimants
                .iter()
                .map(|claimant| claimant_text(claimant, now)),
        );
        if one.more > 0 {
            lines.push(format!("    and {} by others", counted(one.more, "claim")));
        }
        lines.extend(hint(one, &report.all));
    }
    lines.join("\n")
}

/// A MAC address with its vendor, or `?` where the service does not know the address.
fn station(mac: Option<&String>, report: &NeighborReport) -> String {
    let Some(mac) = mac else {
        return "?".into();
    };
    match report.vendors.get(mac) {
        Some(vendor) => format!("{mac} ({vendor})"),
        None => mac.clone(),
    }
}

/// The address of a finding, its use by this host, and its interface.
fn place(one: &Finding) -> String {
    let role = match (one.own, one.gateway) {
        (true, _) => ", an address of this host,",
        (_, true) => ", this host's gateway,",
        _ => "",
    };
    format!("{}{role} on {}", one.address, one.interface)
}

fn ago(time: &str, report: &NeighborReport) -> String {
    format!("{} ago", age(&report.all.time, time))
}

fn conflict_lines(one: &Finding, report: &NeighborReport, style: Style) -> Vec<String> {
    let pair: Vec<String> = one
        .between
        .iter()
        .flatten()
        .map(|mac| station(Some(mac), report))
        .collect();
    let headline = format!(
        "{}: {} is claimed by {}",
        if one.current {
            "conflict"
        } else {
            "resolved conflict"
        },
        place(one),
        pair.join(" and by ")
    );
    let mut lines = vec![style.warn(&headline)];
    if let Some(times) = one.both_answered.filter(|times| *times > 0) {
        lines.push(format!(
            "    both answered the same request, {}",
            repeated(times)
        ));
    }
    if let Some(times) = one.returned.filter(|times| *times > 0) {
        lines.push(format!(
            "    one claimed it again after the other, without announcing it, {}",
            repeated(times)
        ));
    }
    if one.own {
        lines.push("    this host uses the address, and another host claims it too".into());
    }
    lines.push(format!(
        "    first seen {}, last seen {}",
        ago(&one.since, report),
        ago(&one.last, report)
    ));
    lines
}

/// Formats two masters of a virtual router: a headline, a line for each, and the fix.
fn two_masters_text(one: &VirtualRouter, report: &NeighborReport, style: Style) -> String {
    let family = if one.ipv6 { " for IPv6" } else { "" };
    let addresses = match one.addresses.len() {
        0 => String::new(),
        _ => format!(" ({})", one.addresses.join(", ")),
    };
    let role = if one.gateway {
        ", this host's gateway,"
    } else {
        ""
    };
    let two = one.two_masters.clone().unwrap_or_default();
    let headline = format!(
        "two masters: {} {}{family}{addresses}{role} on {} has {}",
        one.protocol,
        one.number,
        one.interface,
        two.join(" and ")
    );
    let mut lines = vec![style.warn(&headline)];
    let rank = if one.protocol == "CARP" {
        "advskew"
    } else {
        "priority"
    };
    for master in one.masters.iter().filter(|one| two.contains(&one.address)) {
        lines.push(format!(
            "    {}{} ({}): {rank} {}, {}, last {}",
            master.address,
            if master.own { " (this host)" } else { "" },
            station(Some(&master.mac), report),
            master.priority,
            counted(master.advertisements, "advertisement"),
            ago(&master.last, report)
        ));
    }
    if let Some(since) = &one.since {
        lines.push(format!("    first seen {}", ago(since, report)));
    }
    lines.push(
        "  fix: let each receive the other's advertisements: check the links and VLANs between them, \
            their filters, and that version, password and timers are the same"
            .into(),
    );
    lines.join("\n") + "\n"
}

fn move_lines(one: &Finding, report: &NeighborReport) -> Vec<String> {
    let how = match one.announced {
        Some(true) => "announced it (gratuitous ARP or unsolicited advertisement)",
        _ => "did not announce it",
    };
    let headline = format!(
        "moved: {} from {} to {} {}, which {how}",
        place(one),
        station(one.from.as_ref(), report),
        station(one.to.as_ref(), report),
        ago(&one.last, report)
    );
    let is_virtual = one
        .claimants
        .iter()
        .any(|claimant| mac::parse(&claimant.mac).is_some_and(|mac| mac::shared(mac).is_some()));
    let details = format!(
        "    not a conflict: the first one stopped using it{}{}",
        if is_virtual {
            "; one is the address of a virtual router"
        } else {
            ""
        },
        match one.times {
            Some(times) if times > 1 =>
                format!("; it has moved {times}", times = counted(times, "time")),
            _ => String::new(),
        }
    );
    vec![headline, details]
}

fn duplicate_lines(one: &Finding, report: &NeighborReport, style: Style) -> Vec<String> {
    let why = match (one.both_probed, one.answered) {
        (Some(true), _) => "probed for it at the same time",
        (_, Some(true)) => "already has it and answered",
        _ => "already has it; no answer was seen here",
    };
    let headline = format!(
        "duplicate: {} probed for {}: {} {why}",
        station(one.prober.as_ref(), report),
        place(one),
        station(one.by.as_ref(), report)
    );
    let details = format!(
        "    by duplicate address detection, {}, last {}",
        repeated(one.times.unwrap_or(1)),
        ago(&one.last, report)
    );
    vec![style.warn(&headline), details]
}

fn repeated(times: u64) -> String {
    match times {
        1 => "once".into(),
        times => counted(times, "time"),
    }
}

fn claimant_text(one: &Claimant, now: &str) -> String {
    let kinds: Vec<String> = [(one.answers, "answer"), (one.announcements, "announcement")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| counted(count, what))
        .collect();
    let kinds = match kinds.len() {
        0 => String::new(),
        _ => format!(": {}", kinds.join(", ")),
    };
    let mut text = format!(
        "    {}{}: {}{kinds}, last {}",
        one.mac,
        if one.own { " (this host)" } else { "" },
        counted(one.claims, "claim"),
        match &one.claimed {
            Some(claimed) => format!("{} ago", age(now, claimed)),
            None => "never: only received".into(),
        }
    );
    if let Some(frames) = &one.frames_from {
        text.push_str(&format!("; in frames from {frames}"));
    }
    text
}

/// Other possible causes, and the fix.
fn hint(one: &Finding, all: &Neighbors) -> Vec<String> {
    let between = one.between.clone().unwrap_or_default();
    let addresses = |mac: &String| -> BTreeSet<&str> {
        all.neighbors
            .iter()
            .filter(|host| host.mac == *mac && host.interface == one.interface)
            .flat_map(|host| host.addresses.iter())
            .filter(|address| address.claims > 0 && address.address.contains('.'))
            .map(|address| address.address.as_str())
            .collect()
    };
    let mut lines = Vec::new();
    // Only for IPv4 a host answers on one interface for the address of another.
    if one.address.contains('.')
        && let [first, second] = &between[..]
        && addresses(first).intersection(&addresses(second)).count() > 1
    {
        lines.push(
            "    both claim further addresses: perhaps one host with two interfaces on \
                this link, which answers for each on either (sysctl \
                net.ipv4.conf.all.arp_ignore=1)"
                .into(),
        );
    }
    lines.push(
        "  fix: give one of them another address; a switch's MAC table shows their ports (a \
            Linux bridge: bridge fdb show)"
            .into(),
    );
    lines
}
