//! SHELL. The connections and questions that the options select.

use std::net::IpAddr;

use netsonde_core::address::parse_prefix;
use netsonde_core::connections::End;
use netsonde_core::connections::names::Question;
use netsonde_core::probe::routing::Prefix;

use super::gather::Found;
use crate::client::cli::args::ConnectionsArgs;
use crate::client::failure::Failure;
use crate::client::render::style::short_duration;

/// Numbers of what is selected.
pub(super) struct Chosen {
    pub connections: Vec<usize>,
    pub questions: Vec<usize>,
}

/// A host as it was given.
enum Wanted {
    Prefix(Prefix),
    Name(String, Vec<IpAddr>),
}

impl Wanted {
    fn read(text: &str, found: &Found) -> Wanted {
        match parse_prefix(text) {
            Ok((address, bits)) => Wanted::Prefix(Prefix { address, bits }),
            Err(_) => Wanted::Name(text.to_owned(), found.asking.addresses_of(text).0),
        }
    }

    fn is(&self, address: IpAddr) -> bool {
        match self {
            Wanted::Prefix(prefix) => prefix.contains(address),
            Wanted::Name(_, addresses) => addresses.contains(&address),
        }
    }

    fn is_asked(&self, question: &Question) -> bool {
        let mut answered = question.answer.iter().flat_map(|answer| &answer.addresses);
        match self {
            Wanted::Name(name, _) => is_name(&question.name, name),
            Wanted::Prefix(..) => {
                self.is(question.client.0)
                    || self.is(question.server.0)
                    || answered.any(|address| self.is(*address))
            }
        }
    }
}

fn is_name(a: &str, b: &str) -> bool {
    a.trim_end_matches('.')
        .eq_ignore_ascii_case(b.trim_end_matches('.'))
}

/// Returns the options that select, as they can be typed; `None` if all is selected.
pub(super) fn shown(args: &ConnectionsArgs) -> Option<String> {
    let mut words = Vec::new();
    if args.failed {
        words.push("--failed".to_owned());
    }
    let slow = args.slow.map(short_duration);
    words.extend(slow.map(|slow| format!("--slow {slow}")));
    words.extend(args.process.iter().map(|one| format!("--process {one}")));
    words.extend(args.hosts.iter().map(|one| format!("--host {one}")));
    words.extend(args.ports.iter().map(|one| format!("--port {one}")));
    (!words.is_empty()).then(|| words.join(" "))
}

/// Selects.
pub(super) fn select(found: &Found, args: &ConnectionsArgs) -> Result<Chosen, Failure> {
    if args.process.is_some() && !found.are_owners_known {
        let why = match (&args.read, args.past.until) {
            (Some(_), _) => "a file has no processes",
            (None, Some(_)) => "processes are those of now: leave out --until",
            (None, None) => "the processes are not known",
        };
        return Err(Failure::Other(format!(
            "--process cannot be applied: {why}"
        )));
    }
    let wanted: Vec<Wanted> = args
        .hosts
        .iter()
        .map(|text| Wanted::read(text, found))
        .collect();
    let has_port = |ends: [End; 2]| {
        args.ports.is_empty() || ends.iter().any(|(_, port)| args.ports.contains(port))
    };
    let is_slow = |took: Option<u64>| {
        args.slow
            .is_none_or(|slow| took.is_some_and(|ns| ns >= slow))
    };
    let connections = found.connections.iter().zip(&found.owners).enumerate();
    let connections = connections.filter(|(_, (one, owner))| {
        let of_process = args.process.as_deref().is_none_or(|process| {
            owner
                .as_ref()
                .is_some_and(|owner| owner.command == process || owner.pid.to_string() == process)
        });
        let of_host = wanted.is_empty()
            || wanted
                .iter()
                .any(|wanted| wanted.is(one.source.0) || wanted.is(one.destination.0));
        of_process
            && of_host
            && has_port([one.source, one.destination])
            && (!args.failed || one.is_failed())
            && is_slow(one.slowest_ns())
    });
    let questions = found.asking.questions.iter().enumerate();
    let questions = questions.filter(|(_, one)| {
        // The socket that asked is gone.
        args.process.is_none()
            && !one.is_before
            && (wanted.is_empty() || wanted.iter().any(|wanted| wanted.is_asked(one)))
            && has_port([one.client, one.server])
            && (!args.failed || one.failure(found.to_ns).is_some())
            && is_slow(one.took_ns())
    });
    Ok(Chosen {
        connections: connections.map(|(at, _)| at).collect(),
        questions: questions.map(|(at, _)| at).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_hold_their_addresses() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for (one, of, length, expected) in [
            ("10.1.2.3", "10.1.0.0", 16, true),
            ("10.2.2.3", "10.1.0.0", 16, false),
            ("10.1.2.3", "10.1.2.3", 32, true),
            ("10.1.2.4", "10.1.2.3", 32, false),
            ("10.1.2.4", "0.0.0.0", 0, true),
            ("fd00::1", "fd00::", 64, true),
            ("fd00:1::1", "fd00::", 32, false),
            ("fd00::1", "::", 0, true),
            ("10.1.2.4", "::", 0, false),
        ] {
            let prefix = Prefix {
                address: address(of),
                bits: length,
            };
            assert_eq!(prefix.contains(address(one)), expected, "{one}");
        }
    }
}
