//! PURE. What happened to links and to this host's addresses, by what netlink says they are now.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::quality::RandomState;

use super::{Event, Kind, Severity, duration};

/// How long around a change of an address the packets are that show who else has it.
const AROUND_NS: u64 = 5_000_000_000;

/// A link as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkSnapshot {
    /// Interface index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// Set up.
    pub up: bool,
    /// Packets can cross it.
    pub running: bool,
    /// Most bytes of a packet.
    pub mtu: u32,
    /// Link-layer address.
    pub mac: Option<String>,
    /// The bridge or bond that it is a port of.
    pub master: Option<String>,
    /// How many hold it promiscuous.
    pub promiscuity: u32,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

#[derive(Debug)]
struct TrackedLink {
    now: LinkSnapshot,
    /// Only name and `running` are known: from the record, not from netlink.
    partly: bool,
    changed_ns: u64,
}

/// What is known of links.
#[derive(Debug, Default)]
pub struct Links {
    known: HashMap<u32, TrackedLink, RandomState>,
    /// The links that there were at the start are no news.
    baseline_known: bool,
}

impl Links {
    /// An interface that a former engine knew, and how it left it.
    pub fn restore(&mut self, ifindex: u32, name: &str, running: bool, changed_ns: u64) {
        let now = LinkSnapshot {
            ifindex,
            name: name.to_owned(),
            running,
            ..LinkSnapshot::default()
        };
        self.known.insert(
            ifindex,
            TrackedLink {
                now,
                partly: true,
                changed_ns,
            },
        );
        self.baseline_known = true;
    }

    /// All links were told: what comes from now on is news.
    pub fn baseline_complete(&mut self) {
        self.baseline_known = true;
    }

    /// A link is so now.
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
                    now,
                    partly: false,
                    changed_ns: now_ns,
                },
            );
            return;
        };
        if known.now == now {
            return;
        }
        let lasted = duration(now_ns.saturating_sub(known.changed_ns));
        let before = std::mem::replace(&mut known.now, now);
        let now = &known.now;
        let event = |kind, text: String| {
            Event::new(kind, now_ns, &now.name, &now.name).with_text(format!("{} {text}", now.name))
        };
        if before.name != now.name {
            out.push(event(
                Kind::LinkRenamed,
                format!("was {} before", before.name),
            ));
        }
        if before.running != now.running {
            known.changed_ns = now_ns;
            out.push(match (now.running, now.up) {
                (true, _) => event(Kind::LinkUp, format!("is up, after {lasted}")),
                (false, true) => event(
                    Kind::LinkDown,
                    format!("has no carrier any more, after {lasted}: nothing crosses it"),
                ),
                (false, false) => event(Kind::LinkDown, format!("was set down, after {lasted}"))
                    .with_severity(Severity::Notice),
            });
        }
        if std::mem::take(&mut known.partly) {
            return;
        }
        if before.mtu != now.mtu {
            out.push(event(
                Kind::LinkChanged,
                format!("has an MTU of {}, before {}", now.mtu, before.mtu),
            ));
        }
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| String::from("none"));
        if before.mac != now.mac {
            out.push(event(
                Kind::LinkChanged,
                format!(
                    "has the link-layer address {}, before {}",
                    or_none(&now.mac),
                    or_none(&before.mac)
                ),
            ));
        }
        if before.master != now.master {
            out.push(event(
                Kind::LinkChanged,
                match (&now.master, &before.master) {
                    (Some(master), _) => format!("is a port of {master}"),
                    (None, before) => format!("is not a port of {} any more", or_none(before)),
                },
            ));
        }
        match (before.promiscuity, now.promiscuity) {
            (0, 1..) => out.push(event(
                Kind::PromiscuousOn,
                "is promiscuous: it takes in what is for others, too".into(),
            )),
            (1.., 0) => out.push(event(
                Kind::PromiscuousOff,
                "is not promiscuous any more".into(),
            )),
            _ => {}
        }
        for (kind, those, others, word) in [
            (Kind::AddressAdded, &now.addresses, &before.addresses, "has"),
            (
                Kind::AddressRemoved,
                &before.addresses,
                &now.addresses,
                "does not have",
            ),
        ] {
            for (address, bits) in those.iter().filter(|one| !others.contains(one)) {
                let end = if kind == Kind::AddressAdded {
                    ""
                } else {
                    " any more"
                };
                let protocol = if address.is_ipv4() { "arp" } else { "icmp6" };
                out.push(
                    Event::new(kind, now_ns, &now.name, address)
                        .with_text(format!("{} {word} {address}/{bits}{end}", now.name))
                        .with_packet_filter(
                            format!("{protocol} or host {address}"),
                            AROUND_NS,
                            AROUND_NS,
                        ),
                );
            }
        }
    }

    /// An interface is gone.
    pub fn remove(&mut self, ifindex: u32, now_ns: u64, out: &mut Vec<Event>) {
        if let Some(known) = self.known.remove(&ifindex) {
            let name = &known.now.name;
            let lasted = duration(now_ns.saturating_sub(known.changed_ns));
            out.push(
                Event::new(Kind::LinkGone, now_ns, name, name).with_text(format!(
                    "{name} is gone, after having been {} for {lasted}",
                    if known.now.running { "up" } else { "down" }
                )),
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
            running: true,
            mtu: 1500,
            addresses: vec![("10.0.0.1".parse().unwrap(), 24)],
            ..LinkSnapshot::default()
        }
    }

    fn told(links: &mut Links, now: LinkSnapshot, at_ns: u64) -> Vec<(Kind, Severity, String)> {
        let mut out = Vec::new();
        links.update(now, at_ns, &mut out);
        (out.into_iter())
            .map(|event| (event.kind, event.severity, event.text))
            .collect()
    }

    #[test]
    fn what_was_there_at_the_start_is_no_news() {
        let mut links = Links::default();
        assert_eq!(told(&mut links, link(), S), []);
        links.baseline_complete();
        assert_eq!(told(&mut links, link(), 2 * S), []);
        let other = LinkSnapshot {
            ifindex: 3,
            name: "e1".into(),
            ..link()
        };
        assert_eq!(told(&mut links, other, 3 * S)[0].0, Kind::LinkNew);
    }

    #[test]
    fn each_change_is_an_event() {
        let mut links = Links::default();
        told(&mut links, link(), S);
        links.baseline_complete();
        let no_carrier = LinkSnapshot {
            running: false,
            ..link()
        };
        assert_eq!(
            told(&mut links, no_carrier, 3 * S),
            [(
                Kind::LinkDown,
                Severity::Warning,
                "e0 has no carrier any more, after 2.0 s: nothing crosses it".into()
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
        let kinds: Vec<Kind> = (told(&mut links, all, 4 * S).iter())
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
        assert_eq!(out[0].text, "lan is gone, after having been up for 60.0 s");
    }

    #[test]
    fn what_happened_between_two_engines_is_told_and_nothing_else() {
        let mut links = Links::default();
        links.restore(2, "e0", true, S);
        assert_eq!(told(&mut links, link(), 5 * S), []);
        let mut links = Links::default();
        links.restore(2, "e0", true, S);
        let down = LinkSnapshot {
            up: false,
            running: false,
            ..link()
        };
        let told = told(&mut links, down, 5 * S);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].0, told[0].1), (Kind::LinkDown, Severity::Notice));
    }
}
