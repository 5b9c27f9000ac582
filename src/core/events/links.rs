//! PURE. Changes of links and of this host's addresses, detected by comparing their state in netlink messages.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::quality::RandomState;

use super::{Event, Kind, Severity, duration};

/// Margin around an address change in which packets show other users of the address.
const ADDRESS_MARGIN_NS: u64 = 5_000_000_000;

/// State of a link at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkSnapshot {
    /// Interface index.
    pub ifindex: u32,
    /// Interface name.
    pub name: String,
    /// Whether it is set up (IFF_UP).
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// Whether it is operational: set up, with a carrier, and not dormant (RFC 2863).
    pub running: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Link-layer address; `None` if it has none.
    pub mac: Option<String>,
    /// Bridge or bond that it is a port of.
    pub master: Option<String>,
    /// Number of users that hold it in promiscuous mode; 0 if it is not.
    pub promiscuity: u32,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

#[derive(Debug)]
struct TrackedLink {
    last: LinkSnapshot,
    /// Only name and `running` are known: from the record, not from netlink.
    is_partial: bool,
    /// Last change of `running`, in nanoseconds since 1970.
    changed_ns: u64,
}

/// Change detector for links.
#[derive(Debug, Default)]
pub struct Links {
    known: HashMap<u32, TrackedLink, RandomState>,
    /// The links that existed at the start have been reported; further ones are new.
    baseline_known: bool,
}

impl Links {
    /// Restores the state in which a previous engine left an interface.
    pub fn restore(&mut self, ifindex: u32, name: &str, running: bool, changed_ns: u64) {
        let last = LinkSnapshot {
            ifindex,
            name: name.to_owned(),
            running,
            ..LinkSnapshot::default()
        };
        self.known.insert(
            ifindex,
            TrackedLink {
                last,
                is_partial: true,
                changed_ns,
            },
        );
        self.baseline_known = true;
    }

    /// Marks the initial dump as complete; later updates raise events.
    pub fn baseline_complete(&mut self) {
        self.baseline_known = true;
    }

    /// Updates a link and emits an event for each change.
    pub fn update(&mut self, now: LinkSnapshot, now_ns: u64, out: &mut Vec<Event>) {
        let Some(known) = self.known.get_mut(&now.ifindex) else {
            if self.baseline_known {
                let state = if now.running { "up" } else { "not up yet" };
                out.push(
                    Event::new(Kind::LinkNew, now_ns, &now.name, &now.name)
                        .with_text(format!("{} appeared, {state}, MTU {}", now.name, now.mtu)),
                );
            }
            self.known.insert(
                now.ifindex,
                TrackedLink {
                    last: now,
                    is_partial: false,
                    changed_ns: now_ns,
                },
            );
            return;
        };
        if known.last == now {
            return;
        }
        let since_ns = known.changed_ns;
        let before = std::mem::replace(&mut known.last, now);
        if before.running != known.last.running {
            known.changed_ns = now_ns;
        }
        let is_partial = std::mem::take(&mut known.is_partial);
        let change = Change {
            before: &before,
            now: &known.last,
            now_ns,
        };
        change.name_and_state(duration(now_ns.saturating_sub(since_ns)), out);
        if !is_partial {
            change.properties(out);
            change.addresses(out);
        }
    }

    /// Removes an interface and emits an event.
    pub fn remove(&mut self, ifindex: u32, now_ns: u64, out: &mut Vec<Event>) {
        if let Some(known) = self.known.remove(&ifindex) {
            let name = &known.last.name;
            let lasted = duration(now_ns.saturating_sub(known.changed_ns));
            out.push(
                Event::new(Kind::LinkGone, now_ns, name, name).with_text(format!(
                    "{name} was removed, after {lasted} {}",
                    if known.last.running { "up" } else { "down" }
                )),
            );
        }
    }
}

/// Two successive states of a link.
struct Change<'a> {
    before: &'a LinkSnapshot,
    now: &'a LinkSnapshot,
    now_ns: u64,
}

impl Change<'_> {
    fn event(&self, kind: Kind, text: impl std::fmt::Display) -> Event {
        let name = &self.now.name;
        Event::new(kind, self.now_ns, name, name).with_text(format!("{name} {text}"))
    }

    /// `lasted`: how long the previous state of `running` lasted.
    fn name_and_state(&self, lasted: String, out: &mut Vec<Event>) {
        let (before, now) = (self.before, self.now);
        if before.name != now.name {
            let text = format!("was renamed from {}", before.name);
            out.push(self.event(Kind::LinkRenamed, text));
        }
        if before.running == now.running {
            return;
        }
        out.push(match (now.running, now.up) {
            (false, true) if now.carrier => self.event(
                Kind::LinkDown,
                format!("has a carrier, but is no longer operational (dormant) after {lasted} up"),
            ),
            (true, _) => self.event(Kind::LinkUp, format!("is up, after {lasted} down")),
            (false, true) => self.event(
                Kind::LinkDown,
                format!("lost its carrier after {lasted} up"),
            ),
            (false, false) => self
                .event(Kind::LinkDown, format!("was set down after {lasted} up"))
                .with_severity(Severity::Notice),
        });
    }

    /// MTU, link-layer address, master and promiscuous mode.
    fn properties(&self, out: &mut Vec<Event>) {
        let (before, now) = (self.before, self.now);
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| String::from("none"));
        if before.mtu != now.mtu {
            let text = format!("changed its MTU from {} to {}", before.mtu, now.mtu);
            out.push(self.event(Kind::LinkChanged, text));
        }
        if before.mac != now.mac {
            let text = format!(
                "changed its link-layer address from {} to {}",
                or_none(&before.mac),
                or_none(&now.mac)
            );
            out.push(self.event(Kind::LinkChanged, text));
        }
        if before.master != now.master {
            let text = match &now.master {
                Some(master) => format!("became a port of {master}"),
                None => format!("is no longer a port of {}", or_none(&before.master)),
            };
            out.push(self.event(Kind::LinkChanged, text));
        }
        match (before.promiscuity, now.promiscuity) {
            (0, 1..) => out.push(self.event(
                Kind::PromiscuousOn,
                "entered promiscuous mode: it also receives frames for other hosts",
            )),
            (1.., 0) => out.push(self.event(Kind::PromiscuousOff, "left promiscuous mode")),
            _ => {}
        }
    }

    fn addresses(&self, out: &mut Vec<Event>) {
        let (before, now) = (&self.before.addresses, &self.now.addresses);
        let added = now.iter().filter(|address| !before.contains(address));
        let added = added.map(|address| (Kind::AddressAdded, "added", address));
        let removed = before.iter().filter(|address| !now.contains(address));
        let removed = removed.map(|address| (Kind::AddressRemoved, "removed", address));
        for (kind, verb, (address, bits)) in added.chain(removed) {
            let name = &self.now.name;
            let protocol = if address.is_ipv4() { "arp" } else { "icmp6" };
            out.push(
                Event::new(kind, self.now_ns, name, address)
                    .with_text(format!("{name}: address {verb}: {address}/{bits}"))
                    .with_packet_filter(
                        format!("{protocol} or host {address}"),
                        ADDRESS_MARGIN_NS,
                        ADDRESS_MARGIN_NS,
                    ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn link() -> LinkSnapshot {
        LinkSnapshot {
            ifindex: 2,
            name: "e0".into(),
            up: true,
            carrier: true,
            running: true,
            mtu: 1500,
            addresses: vec![("10.0.0.1".parse().unwrap(), 24)],
            ..LinkSnapshot::default()
        }
    }

    fn changes(links: &mut Links, now: LinkSnapshot, at_ns: u64) -> Vec<(Kind, Severity, String)> {
        let mut out = Vec::new();
        links.update(now, at_ns, &mut out);
        out.into_iter()
            .map(|event| (event.kind, event.severity, event.text))
            .collect()
    }

    #[test]
    fn existing_links_raise_no_event() {
        let mut links = Links::default();
        assert_eq!(changes(&mut links, link(), S), []);
        links.baseline_complete();
        assert_eq!(changes(&mut links, link(), 2 * S), []);
        let other = LinkSnapshot {
            ifindex: 3,
            name: "e1".into(),
            ..link()
        };
        assert_eq!(changes(&mut links, other, 3 * S)[0].0, Kind::LinkNew);
    }

    #[test]
    fn carrier_and_operational_state_are_distinguished() {
        let mut links = Links::default();
        changes(&mut links, link(), S);
        let dormant = LinkSnapshot {
            running: false,
            ..link()
        };
        assert_eq!(
            changes(&mut links, dormant, 3 * S)[0].2,
            "e0 has a carrier, but is no longer operational (dormant) after 2.0 s up"
        );
    }

    #[test]
    fn each_change_raises_an_event() {
        let mut links = Links::default();
        changes(&mut links, link(), S);
        links.baseline_complete();
        let no_carrier = LinkSnapshot {
            carrier: false,
            running: false,
            ..link()
        };
        assert_eq!(
            changes(&mut links, no_carrier, 3 * S),
            [(
                Kind::LinkDown,
                Severity::Warning,
                "e0 lost its carrier after 2.0 s up".into()
            )]
        );
        let all = LinkSnapshot {
            name: "lan".into(),
            mtu: 9000,
            mac: Some("02:00:00:00:00:01".into()),
            master: Some("br0".into()),
            promiscuity: 1,
            addresses: vec![("10.0.0.2".parse().unwrap(), 24)],
            ..link()
        };
        let kinds: Vec<Kind> = changes(&mut links, all, 4 * S)
            .iter()
            .map(|(kind, ..)| *kind)
            .collect();
        assert_eq!(
            kinds,
            [
                Kind::LinkRenamed,
                Kind::LinkUp,
                Kind::LinkChanged,
                Kind::LinkChanged,
                Kind::LinkChanged,
                Kind::PromiscuousOn,
                Kind::AddressAdded,
                Kind::AddressRemoved,
            ]
        );
        let mut out = Vec::new();
        links.remove(2, 64 * S, &mut out);
        assert_eq!(out[0].text, "lan was removed, after 60.0 s up");
    }

    #[test]
    fn changes_between_two_engines_raise_events() {
        let mut links = Links::default();
        links.restore(2, "e0", true, S);
        assert_eq!(changes(&mut links, link(), 5 * S), []);
        let mut links = Links::default();
        links.restore(2, "e0", true, S);
        let down = LinkSnapshot {
            up: false,
            running: false,
            ..link()
        };
        let events = changes(&mut links, down, 5 * S);
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].0, events[0].1),
            (Kind::LinkDown, Severity::Notice)
        );
    }
}
