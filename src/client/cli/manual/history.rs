//! SHELL. Manual pages of the commands that ask netsonde-historian.

use super::{Example, Json, Keys, Page, Run, Section, example};

/// Why an example about packets on disk is not run by the test of the manual.
const NEEDS_PACKETS: Run =
    Run::Not("it needs packets on disk; tests/history_commands.rs covers it");

const WINDOW_KEYS: &[&str] = &["sent", "received", "loss_percent", "wire_rtt_p99_ns?"];

/// What follows `--since` in every page.
pub(super) const TIMES: Section = Section {
    title: "TIMES",
    text: "",
    items: &[
        ("-2h, '2 hours ago'", "Before now."),
        (
            "03:14, 03:14:07",
            "The last such time: today, or yesterday if it is not yet that late.",
        ),
        (
            "yesterday, 'yesterday 03:00'",
            "Local time, without a time of day from midnight on.",
        ),
        ("2026-11-28, '2026-11-28 14:00'", "Local time."),
        ("2026-11-28T14:00:00Z", "RFC 3339, with a zone."),
    ],
    after: "",
};

/// Steps of counters, in the pages of other commands, too.
pub(super) const COUNTER_POINTS: Keys = Keys {
    at: "points[]",
    keys: &[
        "time",
        "step_ns",
        "measured_ns",
        "counters",
        "started?",
        "left_out?",
    ],
    text: "With --since: a step, of which measured_ns were measured; a time without one was not measured. What is not \
           in counters did not move. started names what began to count in the step, left_out is the number of counters \
           that were not kept because too many moved.",
};
/// Counters of a step.
pub(super) const COUNTERS: Keys = Keys {
    at: "points[].counters[]",
    keys: &["layer", "subject", "name", "by", "words", "harmless"],
    text: "by is the increase, words the meaning of a counter of drops, empty for one of traffic; harmless marks those \
           that move on any network.",
};

/// monitor and its commands, outages, history, keep, kept.
pub(super) const PAGES: &[Page] = &[
    Page {
        command: "monitor",
        description: "Monitors are targets that netsonde-historian(8) has netsonded(8) probe for ever. The fate and \
                      the round trip of every probe are kept, and outages are noted with their cause. The \
                      commands are:",
        sections: &[Section {
            title: "COMMANDS",
            text: "",
            items: &[
                ("netsonde-monitor-add(1)", "Probe targets for ever."),
                (
                    "netsonde-monitor-list(1)",
                    "States, losses and round trips.",
                ),
                ("netsonde-monitor-remove(1)", "Remove a monitor."),
                (
                    "netsonde-monitor-pause(1)",
                    "Stop probing, or ignore losses.",
                ),
                ("netsonde-monitor-resume(1)", "End a pause."),
            ],
            after: "Monitors of monitors.toml(5) are listed here, and changed there.",
        }],
        examples: &[example("See what is down.", "netsonde monitor list")],
        see_also: "netsonde-outages(1), netsonde-history(1), netsonde-historian(8), monitors.toml(5)",
        ..Page::EMPTY
    },
    Page {
        command: "monitor add",
        description: "Adds a monitor: probes to its targets are sent from now on, also after restarts. Names are \
                      resolved again every minute. Targets of a range are its hosts, without network and \
                      broadcast address.\n\n\
                      Without -I the routing tables decide the interface.",
        output: "One line on standard error has the number of targets.",
        json: Json::Reply {
            method: "io.netsonde.History.AddMonitor",
            further: &[],
        },
        exit: &[("2", "The monitor is invalid, or there is one of that name.")],
        examples: &[
            example(
                "Probe the gateway ten times a second.",
                "netsonde monitor add router 192.0.2.7 -i 100ms",
            ),
            example(
                "Probe the hosts of a file, under a tag.",
                "netsonde monitor add hosts @hosts.txt --tag lan",
            ),
            example(
                "Probe with packets of 1500 bytes that must not be fragmented, and replace a monitor.",
                "netsonde monitor add router 192.0.2.7 -s 1472 -M do --replace",
            ),
        ],
        see_also: "netsonde-monitor-list(1), netsonde-ping(1), netsonde-historian(8), monitors.toml(5)",
        ..Page::EMPTY
    },
    Page {
        command: "monitor list",
        description: "Lists the targets of all monitors, or of one: state, since when, age of the last probe, and loss \
                      and 99th percentile of the round trip on the wire within the last minute, hour and day. \
                      Those in trouble come first.",
        sections: &[Section {
            title: "STATES",
            text: "",
            items: &[
                ("down", "Probes are lost: an outage lasts."),
                ("flapping", "It goes down again and again: one outage."),
                (
                    "degraded",
                    "It answers, worse than its own history: at the same hour of the last seven days, or of a newer \
                     target in the 24 hours before. The median of the round trip on the wire is more than 1.5 times \
                     as long and above the third quartile of before, the 99th percentile is, or losses are above 2% \
                     and 3 times as many; the chance that this is coincidence is below 1e-9. Compared each minute \
                     over the last two minutes, or as long as 120 probes take; needs 240 probes of before.",
                ),
                (
                    "unknown",
                    "Not measured: the host was suspended, a service did not run, the name does not resolve.",
                ),
                (
                    "maintenance",
                    "Losses are no outage, see netsonde-monitor-pause(1).",
                ),
                ("up", "It answers."),
                ("paused", "No probes are sent."),
            ],
            after: "",
        }],
        output: "Below the table there is a line for each target in trouble, with what was seen of its lost probes and \
                 the number of the outage; the first 20 unless -v is given. The last line sums up the states.",
        columns: &[
            ("MONITOR", "Name of the monitor."),
            ("TARGET", "Address, and the name that it stands for."),
            ("STATE", "State."),
            ("SINCE", "When the state began."),
            ("LAST", "Age of the last probe whose fate is known."),
            ("LOSS 1M", "Share of lost probes within the last minute."),
            (
                "P99 1M",
                "99th percentile of the round trip on the wire within the last minute.",
            ),
            ("LOSS 1H", "The same within the last hour."),
            ("P99 1H", "The same within the last hour."),
            ("LOSS 1D", "The same within the last day."),
            ("P99 1D", "The same within the last day."),
        ],
        json: Json::Own(&[
            Keys {
                at: "",
                keys: &["monitors", "configured", "left_out?"],
                text: "monitors has a target each, those in trouble first; configured the monitors as they are \
                       configured.",
            },
            Keys {
                at: "monitors[]",
                keys: &[
                    "name",
                    "target",
                    "host?",
                    "tcp?",
                    "udp?",
                    "state",
                    "since?",
                    "interval_ns",
                    "last?",
                    "outage?",
                    "words?",
                    "last_minute?",
                    "last_hour?",
                    "last_day?",
                ],
                text: "name is that of the monitor, target an address, host the name that it stands for, last the time \
                       of the last probe whose fate is known, outage the number of an outage that lasts.",
            },
            Keys {
                at: "monitors[].last_minute",
                keys: WINDOW_KEYS,
                text: "Probes within the last minute.",
            },
            Keys {
                at: "monitors[].last_hour",
                keys: WINDOW_KEYS,
                text: "Probes within the last hour.",
            },
            Keys {
                at: "monitors[].last_day",
                keys: WINDOW_KEYS,
                text: "Probes within the last day.",
            },
            Keys {
                at: "configured[]",
                keys: &[
                    "name",
                    "targets",
                    "interval_ns?",
                    "timeout_ns?",
                    "tcp?",
                    "udp?",
                    "size?",
                    "dscp?",
                    "dont_fragment?",
                    "source?",
                    "interface?",
                    "tags?",
                    "lost?",
                    "of?",
                    "origin?",
                ],
                text: "A monitor. origin is file (monitors.toml) or command.",
            },
        ]),
        exit: &[
            ("0", "Targets were listed, or there is no monitor."),
            ("1", "No target matches --tag or --down."),
            (
                "2",
                "There is no monitor of that name, or the historian could not be queried.",
            ),
        ],
        examples: &[
            example("See what is down.", "netsonde monitor list"),
            example(
                "List what is down, in a script.",
                "netsonde --json monitor list --down",
            ),
            example(
                "List the monitors with a tag.",
                "netsonde monitor list --tag lan",
            ),
        ],
        see_also: "netsonde-outages(1), netsonde-history(1), netsonde-historian(8)",
    },
    Page {
        command: "monitor pause",
        description: "Sends no probes to the targets of a monitor, until netsonde-monitor-resume(1) or for a time. With \
                      --maintenance probes are sent and kept, and losses are no outage.",
        output: "One line on standard error.",
        json: Json::Reply {
            method: "io.netsonde.History.Pause",
            further: &[],
        },
        examples: &[
            example(
                "Ignore losses while a switch is replaced.",
                "netsonde monitor pause hosts --for 1h --maintenance",
            ),
            example("Stop probing.", "netsonde monitor pause hosts"),
        ],
        see_also: "netsonde-monitor-resume(1), netsonde-monitor-list(1)",
        ..Page::EMPTY
    },
    Page {
        command: "monitor resume",
        description: "Ends what netsonde-monitor-pause(1) began.",
        output: "One line on standard error.",
        json: Json::Reply {
            method: "io.netsonde.History.Resume",
            further: &[],
        },
        examples: &[example("Probe again.", "netsonde monitor resume hosts")],
        see_also: "netsonde-monitor-pause(1), netsonde-monitor-list(1)",
        ..Page::EMPTY
    },
    Page {
        command: "monitor remove",
        description: "Removes a monitor that was added. Its history stays until it expires.",
        output: "One line on standard error.",
        json: Json::Reply {
            method: "io.netsonde.History.RemoveMonitor",
            further: &[],
        },
        exit: &[(
            "2",
            "There is no such monitor, or it is in monitors.toml(5), where it can be removed.",
        )],
        examples: &[example(
            "Remove a monitor.",
            "netsonde monitor remove hosts",
        )],
        see_also: "netsonde-monitor-add(1), netsonde-monitor-list(1)",
        ..Page::EMPTY
    },
    Page {
        command: "outages",
        description: "Lists the outages of monitored targets, oldest first. An outage begins at the send time of its \
                      first lost probe, and ends at that of the first answered one. Targets with one cause that was \
                      seen, such as a gateway that does not answer ARP, have one outage. What was not measured is no \
                      outage.\n\n\
                      With the number of an outage it shows all of that one: begin and end, fates of the probes, what \
                      was seen of the first lost probe of each target, the path to one of them before and during the \
                      outage, this host's way to the target, drop counters of this host \
                      that increased, events, recurrence and load if there is something to say, and where the packets \
                      are. -w writes these; without the tier payload only with --headers.",
        sections: &[TIMES],
        output: "In the list, a duration after > lasts. PACKETS is the number of packets that were kept as evidence.\n\n\
                 The way to a target is what the kernel decides: route, neighbor entry of the next hop as in \
                 ip-neighbour(8), and state of the link. It is shown as it was when last looked at before the first lost \
                 probe (each target is looked at once a minute, with more than 240 targets less often), when that probe was known to be lost, and 31 s after it was \
                 sent. Targets that are lost within 15 s of each other share this evidence, of up to eight ways.\n\n\
                 The path to a target is the routers on it: as netsonde-historian(8) knew it from echo requests when the \
                 outage began, and as it was traced within seconds after that, by probes as those of the monitor. A hop with * does not answer. The first line says \
                 where the answers end and what answered behind that before, or why nothing was traced.\n\n\
                 The counters are those of netsonde-drops(1) that moved from the last second before the first lost probe \
                 to 31 s after it. They are of the whole host, and need not be about this target.",
        columns: &[
            ("ID", "Number of the outage."),
            ("BEGIN", "Send time of the first lost probe."),
            ("DURATION", "Measured time until the first answered probe."),
            ("TARGETS", "The first target, and how many more."),
            ("PACKETS", "Packets that were kept."),
            ("CAUSE", "What was seen."),
            ("TARGET", "With ID: address of each target."),
            ("MONITOR", "Its monitor."),
            ("TIMES", "How often it went down."),
            (
                "PROBES",
                "Its probes by fate, and gaps in which it was not measured.",
            ),
            ("FIRST LOST PROBE", "What was seen of it."),
        ],
        json: Json::Reply {
            method: "io.netsonde.History.Outages",
            further: &[Keys {
                at: "",
                keys: &[],
                text: "With ID outages has one element, with all that is known of it.",
            }],
        },
        exit: &[
            (
                "0",
                "Outages were listed, or there has been none and no option selects any.",
            ),
            ("1", "No outage matches the options."),
            (
                "2",
                "There is no such target or outage, or the historian could not be queried.",
            ),
        ],
        examples: &[
            example("List all outages.", "netsonde outages"),
            example(
                "List those of the last night.",
                "netsonde outages --since 'yesterday 22:00'",
            ),
            example("Show all about one.", "netsonde outages 1"),
            Example {
                purpose: "Write its packets to a file, for Wireshark.",
                commands: "netsonde outages 1 -w outage-1.pcapng",
                run: NEEDS_PACKETS,
            },
        ],
        see_also: "netsonde-monitor-list(1), netsonde-history(1), netsonde-events(1), netsonde-historian(8)",
    },
    Page {
        command: "history",
        description: "Shows loss and round trip of a target over time, a line a step, and a sum. Percentiles are those \
                      of the probes of the step, not averages: to 3% on the wire, and in total (rtt_ns of --json) the \
                      coarser, the longer it is than that. The target is an address, a name, or a monitor \
                      that has one target. With --at it shows the one probe that was sent last at that time or before.",
        sections: &[TIMES],
        output: "On a terminal a line of bars has the medians, from the lowest to the highest; it is blank where nothing \
                 was measured, and has a cross where every probe was lost.\n\n\
                 Steps that were not measured say why: the historian was stopped, netsonded did not run, the clock \
                 was set, the host was suspended.",
        columns: &[
            ("TIME", "Begin of the step."),
            ("SENT", "Probes whose fate is known."),
            ("LOSS", "Share of those that were not answered in time."),
            ("P50", "Median of the round trip on the wire."),
            ("P90", "90th percentile."),
            ("P99", "99th percentile."),
            (
                "NOT REPLIED",
                "Fates of the others, see netsonde-ping(1); why it was not measured.",
            ),
        ],
        json: Json::Reply {
            method: "io.netsonde.History.History",
            further: &[
                Keys {
                    at: "",
                    keys: &["probe?", "state?", "outage?"],
                    text: "",
                },
                Keys {
                    at: "probe",
                    keys: &["time", "fate", "rtt_ns?", "wire_rtt_ns?", "words?"],
                    text: "With --at: the probe, beside name, target, state and outage, and without points and span.",
                },
            ],
        },
        exit: &[
            ("0", "Probes were found."),
            ("1", "Nothing was measured at that time."),
            (
                "2",
                "There is no such target, or the historian could not be queried.",
            ),
        ],
        examples: &[
            example("Show the last hour.", "netsonde history gateway"),
            example(
                "Show the last night by quarters of an hour.",
                "netsonde history gateway --since 'yesterday 22:00' --step 15m",
            ),
            example(
                "Show what the last probe met.",
                "netsonde history gateway --at now",
            ),
            example(
                "Print the last ten minutes for a script.",
                "netsonde --json history gateway --since -10m",
            ),
        ],
        see_also: "netsonde-monitor-list(1), netsonde-outages(1), netsonde-historian(8)",
    },
    Page {
        command: "keep",
        description: "Keeps the packets of the last minutes, which are in memory, on disk, with a note: for a glitch \
                      that somebody sees. What is kept is exempt from the budget of the history, up to a quota.",
        output: "What was kept, and the command that writes it to a file.",
        json: Json::Reply {
            method: "io.netsonde.History.Keep",
            further: &[],
        },
        exit: &[("2", "It could not be kept; the message says why.")],
        examples: &[
            example(
                "Keep the last five minutes.",
                "netsonde keep 'video froze in room 4'",
            ),
            example("Keep more.", "netsonde keep --last 20m"),
        ],
        see_also: "netsonde-kept(1), netsonde-capture(1), netsonde-historian(8)",
        ..Page::EMPTY
    },
    Page {
        command: "kept",
        description: "Lists what netsonde-keep(1) kept, writes it to a file, or deletes it. Without the tier payload it \
                      is written with --headers only, and cannot be deleted.",
        output: "STATE is collecting, whole, or partial if some packets were no longer in memory or had no room.",
        columns: &[
            ("ID", "Number."),
            ("KEPT AT", "When it was kept."),
            ("USER", "Who kept it."),
            ("PACKETS", "Number of packets."),
            ("SIZE", "Size on disk."),
            ("FROM", "Time of the first packet."),
            ("STATE", "Whether all packets are there."),
            ("NOTE", "The note."),
        ],
        json: Json::Reply {
            method: "io.netsonde.History.Kept",
            further: &[],
        },
        exit: &[("1", "Nothing that was kept has this number.")],
        examples: &[
            example("List it.", "netsonde kept"),
            example(
                "Write the packets to a file, for Wireshark.",
                "netsonde kept 1 -w glitch.pcapng",
            ),
            example("Delete it.", "netsonde kept 1 --discard"),
        ],
        see_also: "netsonde-keep(1), netsonde-watch(1), netsonde-historian(8)",
        ..Page::EMPTY
    },
];
