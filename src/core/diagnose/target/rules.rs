//! PURE. Tests of the rules on constructed evidence.

use super::evidence::{Lookup, Outcome, PortTry, Way};
use super::packet::{AnswerKind, PortAnswer, PortSeen};
use super::subject::{Protocol, Subject};
use super::*;
use crate::protocol::ping::{IcmpError, Probe};
use crate::wire::segment::WireError;

fn probe(fate: &str, words: &str) -> Probe {
    Probe {
        target: "10.0.0.2".into(),
        fate: fate.into(),
        last_seen: Some(words.into()),
        ..Probe::default()
    }
}

fn way(fate: &str) -> Way {
    Way {
        target: "10.0.0.2".into(),
        is_ipv4: true,
        has_route: true,
        interface: Some("e0".into()),
        echoes: Ok(vec![probe(fate, fate)]),
        ..Way::default()
    }
}

fn tried(outcome: Outcome, seen: PortSeen) -> Option<PortTry> {
    Some(PortTry {
        protocol: Protocol::Tcp,
        port: 80,
        outcome,
        took_ns: 1,
        watched_ns: 0,
        was_reset: false,
        received_bytes: 0,
        seen: Ok(seen),
        queue: None,
        moved: vec![],
    })
}

fn evidence(ways: Vec<Way>) -> TargetEvidence {
    TargetEvidence {
        not_tried: 0,
        subject: Subject::parse("10.0.0.2:80", |_, _| None).unwrap(),
        lookup: None,
        ways,
    }
}

fn ids(diagnosis: &TargetDiagnosis) -> Vec<&'static str> {
    diagnosis
        .findings
        .iter()
        .map(|finding| finding.id)
        .collect()
}

fn answer(kind: AnswerKind) -> Option<PortAnswer> {
    Some(PortAnswer {
        kind,
        time_ns: 5,
        interface: "e0".into(),
        ttl: 64,
    })
}

#[test]
fn ids_are_unique_and_texts_complete() {
    let mut all: Vec<&str> = modes().map(|text| text.id).collect();
    assert!(all.len() >= 30, "{}", all.len());
    for text in modes() {
        for part in [text.title, text.symptoms, text.cause, text.proof, text.fix] {
            assert!(!part.is_empty(), "{}", text.id);
        }
    }
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count);
}

/// The echo has no say where the port answers.
#[test]
fn a_port_that_works_has_no_fault() {
    for fate in [
        "replied",
        "unanswered",
        "dropped_inbound",
        "refused",
        "unresolved",
    ] {
        let mut one = way(fate);
        let seen = PortSeen {
            sent: 1,
            answer: answer(AnswerKind::Accepted),
            ..PortSeen::default()
        };
        one.port = tried(Outcome::Answered, seen);
        let diagnosis = diagnose(&evidence(vec![one]));
        assert_eq!(ids(&diagnosis), [""; 0], "{fate}");
        assert_eq!(diagnosis.verdict, Verdict::Healthy);
    }
}

#[test]
fn an_answer_of_the_port_says_more_than_the_echo() {
    for fate in [
        "unanswered",
        "dropped_inbound",
        "dropped_outbound",
        "refused",
    ] {
        let mut one = way(fate);
        if fate == "refused" {
            one.echoes = Ok(vec![Probe {
                error: Some(IcmpError {
                    kind: 3,
                    code: 13,
                    from: "10.0.0.9".into(),
                    meaning: "prohibited".into(),
                    mtu: None,
                }),
                ..probe("refused", "")
            }]);
        }
        let seen = PortSeen {
            sent: 1,
            answer: answer(AnswerKind::Reset),
            ..PortSeen::default()
        };
        one.port = tried(Outcome::Failed("ECONNREFUSED".into()), seen);
        assert_eq!(
            ids(&diagnose(&evidence(vec![one]))),
            ["port-closed"],
            "{fate}"
        );
    }
}

#[test]
fn one_family_that_works_makes_the_other_a_warning() {
    let mut six = way("unanswered");
    (six.target, six.is_ipv4) = ("2001:db8::1".into(), false);
    let four = way("replied");
    let mut all = evidence(vec![six, four]);
    all.subject.port = None;
    let diagnosis = diagnose(&all);
    assert_eq!(
        (ids(&diagnosis), diagnosis.verdict),
        (vec!["ipv6-broken"], Verdict::Healthy)
    );
    // A family that this host does not have at all is none that is broken.
    all.ways[0].has_route = false;
    all.ways[0].echoes = Ok(vec![Probe {
        errno: Some("ENETUNREACH".into()),
        ..probe("not_sent", "ENETUNREACH: no route to the target")
    }]);
    assert_eq!(ids(&diagnose(&all)), [""; 0]);
    // Nor is it the cause if the other one fails.
    all.ways[1] = way("unanswered");
    assert_eq!(ids(&diagnose(&all)), ["target-silent"]);
}

#[test]
fn addresses_that_fail_beside_others_are_one_warning() {
    let of = |target: &str, fate: &str| Way {
        target: target.into(),
        ..way(fate)
    };
    let mut six = of("2001:db8::1", "replied");
    six.is_ipv4 = false;
    let ways = vec![
        of("10.0.0.9", "unanswered"),
        six,
        of("10.0.0.10", "replied"),
        of("10.0.0.11", "unanswered"),
    ];
    let mut all = evidence(ways);
    all.subject.port = None;
    let diagnosis = diagnose(&all);
    assert_eq!(
        (ids(&diagnosis), diagnosis.verdict),
        (vec!["address-broken"], Verdict::Healthy)
    );
    let summary = &diagnosis.findings[0].summary;
    let words = "at 2 of its 3 IPv4 addresses that were tried (10.0.0.9, 10.0.0.11):";
    assert!(summary.contains(words), "{summary}");
    // All of a family is that family, once.
    all.ways.remove(2);
    assert_eq!(ids(&diagnose(&all)), ["ipv4-broken"]);
    // And everything is the cause of the first.
    all.ways.remove(1);
    assert_eq!(ids(&diagnose(&all)), ["target-silent"]);
}

#[test]
fn errors_about_the_port_name_their_sender() {
    let mut one = way("replied");
    let seen = |error| PortSeen {
        sent: 1,
        errors: vec![error],
        ..PortSeen::default()
    };
    let failed = || Outcome::Failed("EHOSTUNREACH".into());
    one.port = tried(failed(), seen(WireError::new([10, 0, 0, 9].into(), 3, 1)));
    assert_eq!(ids(&diagnose(&evidence(vec![one]))), ["port-prohibited"]);
    let mut one = way("replied");
    one.port = tried(failed(), seen(WireError::new([10, 0, 0, 2].into(), 3, 3)));
    assert_eq!(ids(&diagnose(&evidence(vec![one]))), ["port-closed"]);
}

#[test]
fn a_name_that_is_not_resolved_is_the_only_fault() {
    let mut all = evidence(vec![]);
    all.lookup = Some(Lookup {
        found: Err("unknown".into()),
        took_ns: 1,
        servers: vec!["10.0.0.53".into()],
        exchanges: Ok(vec![]),
    });
    assert_eq!(ids(&diagnose(&all)), ["name-unresolved"]);
}
