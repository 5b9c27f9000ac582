//! SHELL. What was seen of a lost probe, as a cause that several targets can have.

use netsonde_core::protocol::ping::Probe;
use netsonde_history::book::Loss;
use netsonde_history::shared::Cause;

/// Returns what was seen of a lost probe. Only what is the same for every target behind it is a shared cause.
pub fn loss(series: u32, probe: &Probe) -> Loss {
    let words = match (&probe.last_seen, &probe.error) {
        (_, Some(error)) => format!("{} reported by {}", error.meaning, error.from),
        (Some(words), None) => words.clone(),
        (None, None) => probe.fate.replace('_', " "),
    };
    let interface = probe.interface.clone().unwrap_or_default();
    let cause = match (probe.fate.as_str(), probe.errno.as_deref()) {
        _ if probe.link.is_some() => Cause::InterfaceDown { interface },
        ("unresolved", _) => match &probe.next_hop {
            Some(next_hop) => Cause::NextHopUnresolved {
                interface,
                next_hop: next_hop.clone(),
            },
            None => Cause::Own { series },
        },
        ("unanswered", _) => match (&probe.hop, &probe.next_hop) {
            (Some(_), Some(next_hop)) => Cause::NextHopInDoubt {
                interface,
                next_hop: next_hop.clone(),
            },
            _ => Cause::Own { series },
        },
        ("not_sent", Some("ENETDOWN")) => Cause::InterfaceDown { interface },
        ("not_sent", Some("EADDRNOTAVAIL")) => Cause::SourceGone {
            address: words.clone(),
        },
        ("not_sent", Some("EPERM")) | ("dropped_outbound", _) => Cause::DroppedHere {
            interface,
            is_outbound: true,
        },
        ("not_sent", _) => Cause::NoRoute {
            error: words.clone(),
        },
        ("dropped_inbound", _) => Cause::DroppedHere {
            interface,
            is_outbound: false,
        },
        ("refused", _) => match &probe.error {
            Some(error) if error.from != probe.target => Cause::Refused {
                from: error.from.clone(),
                meaning: error.meaning.clone(),
            },
            _ => Cause::Own { series },
        },
        _ => Cause::Own { series },
    };
    Loss { cause, words }
}

/// Returns the word for programs.
pub fn name(cause: &Cause) -> &'static str {
    match cause {
        Cause::NextHopUnresolved { .. } => "next_hop_unresolved",
        Cause::NextHopInDoubt { .. } => "next_hop_in_doubt",
        Cause::InterfaceDown { .. } => "interface_down",
        Cause::NoRoute { .. } => "no_route",
        Cause::SourceGone { .. } => "source_gone",
        Cause::Refused { .. } => "refused",
        Cause::DroppedHere { .. } => "dropped_here",
        Cause::Own { .. } => "own",
    }
}

/// Returns the cause in words; those of its first lost probe if it is a target's own.
pub fn words(cause: &Cause, first: &str) -> String {
    match cause {
        Cause::NextHopUnresolved {
            interface,
            next_hop,
        } => {
            format!("next hop {next_hop} on {interface} does not answer ARP or neighbor discovery")
        }
        Cause::NextHopInDoubt {
            interface,
            next_hop,
        } => {
            format!("next hop {next_hop} on {interface} may be another station: {first}")
        }
        Cause::InterfaceDown { interface } if interface.is_empty() => first.to_owned(),
        Cause::InterfaceDown { interface } => format!("no packet crosses {interface}: {first}"),
        Cause::NoRoute { error } => format!("not sent: {error}"),
        Cause::SourceGone { .. } => format!("not sent: {first}"),
        Cause::Refused { from, meaning } => format!("{meaning}, reported by {from}"),
        // What was seen names the interface.
        Cause::DroppedHere { is_outbound, .. } => {
            let what = if *is_outbound { "probes" } else { "replies" };
            format!("{what} dropped on this host: {first}")
        }
        Cause::Own { .. } => first.to_owned(),
    }
}
