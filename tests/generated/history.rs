//! The pages of the historian: netsonde-historian(8) and monitors.toml(5).

use clap::CommandFactory;
use netsonde::historian::args::Args;
use netsonde_core::monitor::{INTERVALS_NS, MAX_MONITORS, MAX_TARGETS, TIMEOUTS_NS};

use netsonde_history::paths::{MAX_A_SECOND, MAX_CHANGES, MAX_PATHS, MAX_STEPS};

use crate::roff::Page;

pub fn netsonde_historian_8() -> String {
    let command = Args::command();
    let mut page = Page::new(
        "netsonde-historian",
        8,
        "keep the history of this host's network",
    );
    page.head("SYNOPSIS");
    page.raw("\\fBnetsonde\\-historian\\fR [\\fIoptions\\fR]");
    page.head("DESCRIPTION");
    page.text(
        "netsonde-historian probes the targets of monitors for ever, keeps the fate and the round trip of every \
         probe on disk, and says when a target went down, when it came back, and what was seen of its first lost \
         probes. Targets with one cause that was seen, as a router that does not answer ARP, have one outage. It \
         answers netsonde(1) over a Unix socket: `netsonde monitor', `netsonde outages', `netsonde history'.\n\n\
         It is an ordinary client of netsonded(8), which sends the probes. It has a user of its own, no \
         capability and no network but Unix sockets, and is the only one that writes to disk. If it is stopped, \
         netsonded records as before, and the time is declared as not measured. What was not measured is \
         unknown, and never an outage: netsonded or the historian did not run, the host was suspended, the clock \
         was set, a monitor was paused.",
    );
    page.head("OPTIONS");
    page.options(&command, false);
    page.head("STATES");
    page.text(
        "A target is up after a probe that was answered, down after 3 lost probes of the last 3 (lost and of in \
         monitors.toml(5)), up again after 3 answered ones, and flapping after three outages within ten minutes. \
         An outage begins at the send time of its first lost probe, and ends at that of the first answered one. \
         Without results for 3 intervals and a second beyond the time limit it is unknown.",
    );
    page.head("HISTORY");
    page.text(
        "Every probe is kept for 7 days, with its fate and both round trips to 3 %, then histograms of a minute \
         for 14 days, of five minutes for 90 days, and of an hour for 2 years. Percentiles over any time are \
         those of the probes. history.budget in netsonde.toml(5) limits all of it. The journal is written every \
         5 s: a power cut loses no more. A damaged byte costs the record that it is in.\n\n\
         If the disk is full, read-only, slow or gone, probes wait in memory, up to 1,000,000 of them, and are \
         written when it is back; `netsonde status' says so.",
    );
    page.head("COUNTERS");
    page.text(
        "Counters of this host's interfaces, and of packets that it drops in any layer, are kept by the minute as far \
         as they moved, within 64 MiB: more than a year of six busy interfaces. A minute has at most 1,024 counters, \
         drops first; how many more there were is kept. `netsonde drops --since' and `netsonde interfaces --since' \
         show them. With the first lost probe of an outage netsonded is asked for the way to the target, and for the \
         drop counters that moved since the second before; `netsonde outages' shows both.",
    );
    page.head("PATHS");
    page.text(&format!(
        "The path to each network of targets (IPv4 /24, IPv6 /64) is traced by echo requests, and then looked at once in \
         history.path_interval of netsonde.toml(5), by default a minute, with a probe to each hop that answers and to one that does not, at most \
         {MAX_STEPS}; of a longer path another part each time. Targets of a network share the path, which is that of one of them; \
         monitors with another source, interface or DSCP have their own. One path is looked at in a second: \
         routers mostly answer one probe a second to each host, and the first ones are those of all paths. With more than {} \
         networks each has its turn less often; `netsonde status' shows how often. Up to \
         {MAX_PATHS} paths are remembered, each with its last eight former ones.\n\n\
         An answer of another router is a doubt; the path is traced again, and if that confirms it, it is an event, \
         path_changed (see netsonde-events(7)), with the time of the first such answer. Equal ways are told from a change by \
         the number of answers that did not show them, of up to four traces. A router that is silent or limits its answers is no change. Of a path \
         that changes more than {MAX_CHANGES} times in an hour, further changes are counted. A path is also looked at when an \
         outage ends, and when this host's route to a target changes.\n\n\
         When an outage begins, the path to its first target is traced at once, if its probes leave this host: \
         `netsonde outages ID' shows it beside the one before. It has two probes for each hop, and where answers end two more \
         for the hops behind, since a router may only limit its answers. Outages share a trace within 30 s if their targets are of one \
         network, or their paths had the same hop, which does not answer now. At most 20 begin in a minute; what is \
         not traced says so. `netsonde trace --compare TIME' compares a trace with the path of that time. history.paths turns \
         all of this off.",
        MAX_A_SECOND * 60,
    ));
    page.head("NAMES");
    page.text(
        "The unit has no network, so names are resolved by what answers on a Unix socket: \
         systemd-resolved(8) with nss-resolve(8), nscd(8), or /etc/hosts. They are resolved again every minute; \
         another address is an event, and the history goes on.",
    );
    page.head("SIGNALS");
    page.item("SIGTERM, SIGINT", "Write everything, and exit.");
    page.item(
        "SIGHUP",
        "Read netsonde.toml(5) and monitors.toml(5) again. If one is invalid, the log has all errors, and the \
         former monitors stay.",
    );
    page.head("SYSTEMD");
    page.text(
        "`systemctl stop netsonded' and `systemctl restart netsonded' stop and restart the historian, too, since it \
         would start netsonded again by connecting to its socket. After a stop start both.",
    );
    page.head("EXIT STATUS");
    page.item("0", "Terminated by a signal, or --check found no error.");
    page.item(
        "2",
        "Could not start, or --check found an error: standard error says what to do. Another historian with the \
         same directory, and a directory of another version are reasons; nothing is changed then.",
    );
    page.head("FILES");
    page.item(
        "/etc/netsonde/monitors.toml",
        "Monitors, see monitors.toml(5).",
    );
    page.item("/run/netsonde/history.sock", "Socket.");
    page.item(
        "/var/lib/netsonde-historian",
        "Probes, outages, events, counters and paths. Mode 0700.",
    );
    page.head("BUGS");
    page.text(
        "Targets on the link itself are a next hop each. With more than 60 of them that do not answer ARP or neighbor \
         discovery, their return may be seen late, by 5 s for each hundred: the others are withheld (see fates in \
         netsonde-ping(1)), since a probe that waits for an address occupies the socket of all users for 3 s.\n\n\
         A router has one limit for all its errors to a host (Linux: one a second, six at once). A trace uses some of them, so \
         that for a few seconds a lost probe may be unanswered that would have been refused.",
    );
    page.see_also(&["netsonde(1), monitors.toml(5), netsonde.toml(5), netsonded(8)"]);
    page.0
}

pub fn monitors_toml_5() -> String {
    let seconds = |ns: u64| match ns {
        ns if ns < 1_000_000_000 => format!("{}ms", ns / 1_000_000),
        ns if ns < 3_600_000_000_000 => format!("{}s", ns / 1_000_000_000),
        ns => format!("{}h", ns / 3_600_000_000_000),
    };
    let mut page = Page::new("monitors.toml", 5, "monitors of netsonde-historian");
    page.head("DESCRIPTION");
    page.text(&format!(
        "The file is TOML in UTF-8, with a table [[monitor]] for each of at most {MAX_MONITORS} monitors. All errors \
         are reported at once, each as FILE:LINE:COLUMN. `netsonde-historian --check' checks it. Others are added \
         by `netsonde monitor add'; a monitor of the file is changed only here, and with `systemctl reload \
         netsonde-historian'."
    ));
    page.head("[[monitor]]");
    page.item("name", "Name: 1 to 64 letters, digits, `-', `_' and `.'.");
    page.item(
        "targets",
        &format!(
            "List of addresses, with %INTERFACE if they have a scope; of ranges like 192.0.2.0/28, without their \
             network and broadcast addresses; of names. At most {MAX_TARGETS} in all."
        ),
    );
    page.item(
        "interval",
        &format!(
            "Time between probes, \"1s\" by default; {} to {}.",
            seconds(INTERVALS_NS.0),
            seconds(INTERVALS_NS.1)
        ),
    );
    page.item(
        "timeout",
        &format!(
            "Time limit of a reply, by default the interval, but at least 1s and at most 10s; {} to {}.",
            seconds(TIMEOUTS_NS.0),
            seconds(TIMEOUTS_NS.1)
        ),
    );
    page.item(
        "tcp, udp",
        "Port to which probes go by this protocol, as those of netsonde-ping(1), instead of echo requests. A TCP probe asks \
         for a connection and never completes it. A UDP probe is a datagram that the server has to answer. A port that \
         refuses is down, with who refused.",
    );
    page.item(
        "size",
        "Payload in bytes, 56 by default; 12 to 65507, for udp 14 to 8952, and not for tcp.",
    );
    page.item("dscp", "Differentiated services code point, 0 to 63.");
    page.item("dont_fragment", "Whether probes must not be fragmented.");
    page.item(
        "source, interface",
        "Source address, name of the interface.",
    );
    page.item("tags", "List of at most 16 words to select monitors by.");
    page.item(
        "lost, of",
        "Down after so many lost probes of the last so many, 3 of 3 by default; at most 64.",
    );
    page.head("EXAMPLE");
    page.example(
        "[[monitor]]\nname = \"gateway\"\ntargets = [\"192.0.2.1\"]\ninterval = \"100ms\"\n\n[[monitor]]\nname = \"branches\"\ntargets = [\"198.51.100.0/28\", \"203.0.113.7\"]\ntags = [\"wan\"]\nlost = 4\nof = 10",
    );
    page.see_also(&["netsonde(1), netsonde.toml(5), netsonde-historian(8)"]);
    page.0
}
