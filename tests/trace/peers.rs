//! What mtr, traceroute and netsonde trace show of the same paths, in `tests/SCENARIOS.md`: a text for each, which is
//! checked against the output.

use super::*;

/// Options and output of one program on one path.
struct Shown {
    /// Options, before the target.
    options: &'static [&'static str],
    /// What it shows, for the table.
    says: &'static str,
    /// Requires that of the output.
    is_so: fn(&str) -> bool,
}

/// A path.
struct Row {
    path: &'static str,
    routers: fn() -> Vec<Router>,
    mtr: Shown,
    traceroute: Shown,
    netsonde: Shown,
}

/// Whether the line of a hop has all these words.
fn line(output: &str, hop: &str, words: &[&str]) -> bool {
    let is_hop = |line: &&str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        first.trim_end_matches(".|--") == hop
    };
    let mut found = output.lines().filter(is_hop);
    found.any(|line| words.iter().all(|word| line.contains(word)))
}

/// Loss of a hop in the report of mtr, in percent.
fn loss(output: &str, address: &str) -> f64 {
    let line = output.lines().find(|line| line.contains(address));
    let word = line.and_then(|line| line.split_whitespace().find(|word| word.ends_with('%')));
    word.map_or(-1.0, |word| word.trim_end_matches('%').parse().unwrap())
}

fn silent() -> Vec<Router> {
    change(router::chain(4), 1, |router| {
        router.mtu = Some(Mtu {
            bytes: 1400,
            reported: None,
        });
    })
}

fn limited() -> Vec<Router> {
    change(router::chain(4), 1, |router| {
        router.limit = Some(Limit {
            burst: 1,
            per_second: 1,
        });
    })
}

/// How often a text is there.
fn count(output: &str, text: &str) -> usize {
    output.matches(text).count()
}

const ROWS: &[Row] = &[
    Row {
        path: "Hop 1 has four equal ways",
        routers: || router::layers(&[1, 4, 1, 1]),
        mtr: Shown {
            options: &["-r", "-n", "-c", "10", "-i", "0.1"],
            says: "one of the four ways",
            is_so: |output| count(output, " 10.2.") == 1,
        },
        traceroute: Shown {
            options: &["-n"],
            says: "up to three of the four, one for each probe",
            is_so: |output| (1..=3).contains(&count(output, " 10.2.")),
        },
        netsonde: Shown {
            options: &["-n"],
            says: "four ways with 95 %, and which address is behind which",
            is_so: |output| count(output, "10.2.") >= 3 && output.contains("up to 4 equal ways"),
        },
    },
    Row {
        path: "Hop 2 sends one error a second",
        routers: limited,
        mtr: Shown {
            options: &["-r", "-n", "-c", "20", "-i", "0.1"],
            says: "loss of 90 % at hop 2",
            is_so: |output| loss(output, "10.2.0.1") > 70.0 && loss(output, "10.3.0.1") == 0.0,
        },
        traceroute: Shown {
            options: &["-n"],
            says: "stars at hop 2",
            is_so: |output| line(output, "2", &["10.2.0.1", "*"]),
        },
        netsonde: Shown {
            options: &["-n"],
            says: "a limit of answers, proved by two rates, and that nothing is lost",
            is_so: |output| {
                output.contains("hop 2 limits its answers")
                    && output.contains("nothing is lost there")
            },
        },
    },
    Row {
        path: "The link from hop 2 to hop 3 loses 30 %",
        routers: || change(router::chain(4), 2, |router| router.loss[0] = 0.3),
        mtr: Shown {
            options: &["-r", "-n", "-c", "40", "-i", "0.1"],
            says: "loss at hop 3 and all behind it",
            is_so: |output| {
                ["10.3.0.1", "10.4.0.1", "10.255.0.2"]
                    .iter()
                    .all(|at| loss(output, at) > 5.0)
            },
        },
        traceroute: Shown {
            options: &["-n", "-q", "10"],
            says: "stars from hop 3 on",
            is_so: |output| output.contains("*") && !line(output, "2", &["*"]),
        },
        netsonde: Shown {
            options: &["-n"],
            says: "loss behind hop 2",
            is_so: |output| output.contains("packets are lost behind hop 2"),
        },
    },
    Row {
        path: "Probes arrive at hop 2 with an MPLS label",
        routers: || {
            change(router::chain(4), 1, |router| {
                router.extras.labels = vec![(16_001, 0, 1)]
            })
        },
        mtr: Shown {
            options: &["-r", "-n", "-e", "-c", "3", "-i", "0.1"],
            says: "nothing in a report",
            is_so: |output| !output.contains("16001"),
        },
        traceroute: Shown {
            options: &["-n", "-e"],
            says: "the label",
            is_so: |output| line(output, "2", &["MPLS:L=16001"]),
        },
        netsonde: Shown {
            options: &["-n"],
            says: "the label",
            is_so: |output| output.contains("probes arrived at 10.2.0.1 with MPLS labels 16001"),
        },
    },
    Row {
        path: "Hop 2 translates the source address, not in quotes",
        routers: translated,
        mtr: Shown {
            options: &["-r", "-n", "-c", "3", "-i", "0.1"],
            says: "nothing",
            is_so: |output| loss(output, "10.255.0.2") == 0.0 && !output.contains("192.0.2.77"),
        },
        traceroute: Shown {
            options: &["-n", "-w", "1", "-m", "8"],
            says: "stars from hop 3 on, and no target",
            is_so: |output| line(output, "3", &["* * *"]) && count(output, "10.255.0.2 ") <= 1,
        },
        netsonde: Shown {
            options: &["-n"],
            says: "the address and where it shows",
            is_so: |output| output.contains("10.3.0.1 quotes the source 192.0.2.77"),
        },
    },
    Row {
        path: "The link behind hop 2 carries 1400 bytes, silently",
        routers: silent,
        mtr: Shown {
            options: &["-r", "-n", "-s", "1500", "-c", "3", "-i", "0.1"],
            says: "nothing: packets may be fragmented",
            is_so: |output| loss(output, "10.255.0.2") == 0.0,
        },
        traceroute: Shown {
            options: &["-n", "--mtu", "-q", "1", "-w", "1", "-m", "8"],
            says: "stars from hop 3 on, and no target",
            is_so: |output| line(output, "3", &["*"]) && !line(output, "5", &["10.255.0.2"]),
        },
        netsonde: Shown {
            options: &["-n", "--mtu"],
            says: "1400, and that longer ones vanish behind hop 2",
            is_so: |output| {
                output.contains("of more than 1400 bytes vanish behind 10.2.0.1 (hop 2)")
                    && output.contains("path MTU to 10.255.0.2: 1400 bytes")
            },
        },
    },
    Row {
        path: "Answers of hop 4 and on take four hops more",
        routers: detour,
        mtr: Shown {
            options: &["-r", "-n", "-c", "3", "-i", "0.1"],
            says: "nothing",
            is_so: |output| loss(output, "10.255.0.2") == 0.0,
        },
        traceroute: Shown {
            options: &["-n", "--back"],
            says: "the other number of hops back",
            is_so: |output| line(output, "4", &["'-"]),
        },
        netsonde: Shown {
            options: &["-n"],
            says: "the hop from which on it differs, and both numbers",
            is_so: |output| {
                output.contains(
                    "answers of 10.4.0.1 have a TTL of 57, as after 8 hops, where probes take 4",
                )
            },
        },
    },
    Row {
        path: "Hop 4 sends packets back to hop 2",
        routers: circle,
        mtr: Shown {
            options: &["-r", "-n", "-c", "3", "-i", "0.1"],
            says: "addresses that repeat up to hop 30",
            is_so: |output| count(output, "10.2.0.1") > 5,
        },
        traceroute: Shown {
            options: &["-n", "-m", "30"],
            says: "addresses that repeat up to hop 30",
            is_so: |output| count(output, "10.2.0.1") > 5,
        },
        netsonde: Shown {
            options: &["-n", "--fast"],
            says: "a loop, and the routers that it has",
            is_so: |output| {
                output.contains("packets go round between 10.2.0.1, 10.3.0.1, 10.4.0.1")
            },
        },
    },
];

/// Runs a program on this path and returns its output.
fn output(net: &Net, name: &str, shown: &Shown) -> String {
    let mut command = match name {
        "netsonde" => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
            command.arg("--socket").arg(net.service.socket());
            command.arg("trace");
            command
        }
        other => crate::support::program(other),
    };
    command.args(shown.options).arg(TARGET[0]);
    let output = net.h.run(|| command.output()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text + &String::from_utf8_lossy(&output.stderr)
}

pub fn side_by_side() -> Outcome {
    crate::support::need("mtr");
    crate::support::need("traceroute");
    for row in ROWS {
        let net = net((row.routers)());
        for (name, shown) in [
            ("mtr", &row.mtr),
            ("traceroute", &row.traceroute),
            ("netsonde", &row.netsonde),
        ] {
            let text = output(&net, name, shown);
            println!("{}: {name} {}\n{text}", row.path, shown.options.join(" "));
            assert!((shown.is_so)(&text), "{}: {name}:\n{text}", row.path);
        }
    }
    Ok(())
}

/// The table: what the outputs show.
pub fn table_is_up_to_date() -> Outcome {
    let mut text = format!(
        "{}\n\
         Generated from `tests/trace/peers.rs`, which checks each cell against the output of the program;\n\
         `NETSONDE_BLESS=1 cargo test --test trace table` writes it.\n\n\
         | path | mtr 0.95 | traceroute 2.1 | netsonde trace |\n|---|---|---|---|\n",
        crate::support::scenarios::OF_PATH
    );
    for row in ROWS {
        text.push_str(&format!("| {} |", row.path));
        for shown in [&row.mtr, &row.traceroute, &row.netsonde] {
            text.push_str(&format!(" `{}`: {} |", shown.options.join(" "), shown.says));
        }
        text.push('\n');
    }
    crate::support::scenarios::agree(crate::support::scenarios::OF_PATH, &text)
}
