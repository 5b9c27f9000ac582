//! The pages that describe no command: netsonded(8), netsonde.toml(5) and section 7.

use clap::CommandFactory;
use netsonde::daemon::keeper::args::Args;
use netsonde::log::limit::{AUDITS, ERRORS_OF_ALL, LINES, LINES_OF_ALL, WINDOW};
use netsonde::log::line::{LINE_BYTES, VALUE_BYTES};
use netsonde_core::config::{KEYS, MAX_RULE_ENTRIES};
use netsonde_core::diagnose::texts;
use netsonde_core::events::{Category, Kind, MAX_PER_MINUTE};
use netsonde_core::families::{FAMILIES, SOCKET_TYPES, TYPE_FLAGS};
use netsonde_core::protocol::{CAPTURE, HISTORY, INVENTORY, MULTICAST, PING, SERVICE};
use netsonde_core::recorder::layout::EVENT_SLOTS;

use crate::roff::{Page, capitalized, escape, sentence};

pub fn netsonded_8() -> String {
    let command = Args::command();
    let mut page = Page::new(
        "netsonded",
        8,
        "record this host's network traffic, and answer netsonde",
    );
    page.head("SYNOPSIS");
    page.raw("\\fBnetsonded\\fR [\\fIoptions\\fR]");
    page.head("DESCRIPTION");
    page.text(
        "netsonded records the traffic on the interfaces of its network namespace in memory of a fixed size, \
         probes hosts on request, and answers netsonde(1) over a Unix socket. It runs in the foreground and \
         logs to the journal or to standard error.\n\n\
         It consists of two processes. The keeper opens two packet rings and the listeners, drops all \
         capabilities for good, and parses no packets. It starts the engine, which reads the rings through a \
         memory mapping and holds no packet socket. If the engine dies, the next one continues with the same \
         rings and the same record; whatever was lost is declared as a gap. ps(1) shows the processes as \
         netsonded and netsonde-engine.\n\n\
         The listeners are raw ICMP, ICMPv6 and IGMP sockets, and real memberships of 224.0.0.1, 224.0.0.2, \
         ff02::1 and ff02::2 on each recorded interface, which this host reports on its links. They are a \
         second vantage point: they receive what the host's IP layer lets through, and the difference to the \
         wire is what it dropped. listeners.join in netsonde.toml(5) turns the memberships off.\n\n\
         No interface is put into promiscuous mode unless the configuration names it.",
    );
    page.head("OPTIONS");
    page.options(&command, false);
    page.head("PRIVILEGE");
    page.text(
        "CAP_NET_RAW is needed until all sockets are open, and nothing else. Without it netsonded exits with \
         status 2 and a message. Started as root, it then switches to the user netsonde. If that user does not \
         exist, it exits with status 2, unless --allow-root is given: then it stays root, without \
         capabilities. It also runs without root in `unshare --user --map-root-user --net'.\n\n\
         Before it parses any packet, the engine confines itself permanently: a seccomp filter allows only the \
         system calls that it needs, with their arguments, and landlock allows reading below /proc only. If \
         that cannot be verified, the engine does not run; `netsonde status' shows which parts this kernel \
         lacks. The keeper enters a wider filter after its start. See [sandbox] in netsonde.toml(5).\n\n\
         What the engine sends through its raw sockets cannot be limited by the kernel's socket filters. \
         /usr/share/doc/netsonde/examples/netsonde.nft shows rules for nft(8) that drop everything but echo \
         requests.",
    );
    page.head("SYSTEMD");
    page.text(
        "netsonded.socket creates the control socket and passes it on (sd_listen_fds(3)); --socket is ignored \
         then. It must be one listening Unix stream socket. The service sends READY=1 when it accepts clients, \
         and WATCHDOG=1 with each heartbeat of the engine. An engine without a heartbeat for ten seconds is \
         killed and replaced, also without systemd.\n\n\
         Rings, record and raw sockets are kept in systemd's descriptor store (FileDescriptorStoreMax=), so \
         that `systemctl restart' and an upgrade lose neither packets nor the record: the rings continue to \
         fill, and the next service continues where the last one stopped. If the new configuration asks for \
         other rings or another record, the old ones cannot be used, and a gap is declared. `systemctl stop' \
         discards the record.\n\n\
         netsonded-vsock.socket, which is disabled by default, lets virtual machines and their host query the \
         service over AF_VSOCK port 9770; systemd can start it only while the service is stopped. Such clients \
         are known only by their context ID (CID): [permission] vsock sets what they may request, reading by \
         default, and none of them receives packets. TCP is not supported.",
    );
    page.head("PERMISSION");
    page.text(
        "Mode and group of the socket decide who can connect. [permission] in netsonde.toml(5) then assigns a \
         tier to each user and group, as reported by the kernel: status, probe (headers, groups, streams, \
         neighbors, the doctors, ping) or payload. Users without the tier payload receive packets truncated \
         after the headers, and their filters see no more: also the packets in tunnels, PIM registers and ICMP \
         errors, and management messages at the end that they state. Server names of TLS, and bytes of unknown \
         protocols, are payload. Refused requests, and each export of payload, are \
         logged with user, process, method and filter.",
    );
    page.head("LOGGING");
    page.text(&format!(
        "If standard error is connected to the journal (systemd.exec(5), $JOURNAL_STREAM), messages go to the \
         journal's own socket with fields; otherwise to standard error, one per line, with time, level and \
         process. The text of a message includes all fields. Control characters and characters that change \
         the direction of text are escaped (\\u{{1b}}, \\n), and a backslash is doubled. Lines over \
         {LINE_BYTES} bytes and fields over {VALUE_BYTES} bytes are cut, marked by an ellipsis."
    ));
    for (field, meaning) in [
        (
            "MESSAGE, PRIORITY, SYSLOG_IDENTIFIER=netsonded",
            "As usual; the priorities used are 3 (error), 4 (warning) and 6 (information).",
        ),
        (
            "TARGET, CODE_FILE, CODE_LINE",
            "Part of the program that logged the message.",
        ),
        ("NETSONDE_PROCESS", "keeper or engine."),
        (
            "NETSONDE_*",
            "Fields of the message, in capitals, such as NETSONDE_UID and NETSONDE_FILTER.",
        ),
        (
            "NETSONDE_AUDIT",
            "1 if packets were given to a user or refused.",
        ),
        (
            "NETSONDE_HELD_BACK",
            "Number of messages that this one sums up.",
        ),
        ("NETSONDE_LOST", "Number of messages lost before this one."),
    ] {
        page.item(field, meaning);
    }
    page.text_after(&format!(
        "Per kind of message (a place in the program) {LINES} are logged in {} s; further ones are counted, and \
         summed up in one message with the last of them. All kinds together have {LINES_OF_ALL}, and errors \
         {ERRORS_OF_ALL} of their own; each user has {AUDITS} per kind of audit message. Logging never waits: \
         messages that the journal or standard error does not accept at once are lost, and the next message \
         has their number. `netsonde status' counts both as the limit `log lines'.",
        WINDOW.as_secs()
    ));
    page.example(
        "journalctl -u netsonded -p warning\n\
         journalctl -u netsonded NETSONDE_AUDIT=1 -o json\n\
         journalctl NETSONDE_PROCESS=engine NETSONDE_UID=1000",
    );
    page.head("SIGNALS");
    page.item(
        "SIGTERM, SIGINT",
        "Exit: commit all packets read so far, and remove the socket.",
    );
    page.item(
        "SIGHUP",
        "Reload the configuration. It is applied as a whole or not at all: the log lists the changes, or the \
         errors, or the keys that need a restart. Connections and running probes are kept. `systemctl reload \
         netsonded' checks the file first, and fails if it is invalid.",
    );
    page.head("EXIT STATUS");
    page.item("0", "Terminated by a signal, or --check found no error.");
    page.item(
        "2",
        "Could not start, or --check found an error: standard error says what to do. --check first reports \
         whether the configuration is valid, which needs no privilege.",
    );
    page.item(
        "3",
        "A control socket no longer accepts connections, since another process has shut it down. The unit \
         makes a new one.",
    );
    page.head("FILES");
    page.item(
        "/etc/netsonde/netsonde.toml",
        "Configuration, see netsonde.toml(5).",
    );
    page.item(
        "/run/netsonde/control.sock",
        "Control socket, next to its lock file.",
    );
    page.see_also(&[
        "netsonde(1), netsonde-status(1), netsonde.toml(5), netsonde-protocol(7), systemd.exec(5)",
    ]);
    page.0
}

pub fn netsonde_toml_5() -> String {
    let mut page = Page::new("netsonde.toml", 5, "configuration of netsonded");
    page.head("DESCRIPTION");
    page.text(
        "The file is TOML in UTF-8 without a byte-order mark, a regular file of at most 1 MiB. Unknown keys and \
         values of the wrong type or out of range are errors. All of them are reported at once, each as \
         FILE:LINE:COLUMN with the key that was probably meant or the values allowed. `netsonded --check \
         --config FILE' checks a file, and needs no privilege. If the file is missing, the defaults apply.",
    );
    let mut table = "";
    for key in KEYS {
        if key.table != table {
            table = key.table;
            page.head(&format!("[{table}]"));
        }
        page.item(&format!("{} = {}", key.name, key.default), key.purpose);
    }
    page.head("[[recorder.rule]]");
    page.text(&format!(
        "Additional rule: matching packets go to the named store, and the bulk ring captures as much of them as \
         the store keeps. Later rules take precedence. All rules together have at most {MAX_RULE_ENTRIES} entries."
    ));
    page.item(
        "store",
        "Name of the store: link, group, icmp, names, routing, connections or bulk.",
    );
    page.item(
        "udp_ports, tcp_ports",
        "Lists of ports, source or destination.",
    );
    page.item("ip_protocols", "List of IP protocol numbers.");
    page.item("ethertypes", "List of EtherTypes, 0x0600 and above.");
    page.head("EXAMPLE");
    page.example(
        "[recorder.budget]\nbulk = \"256 MiB\"\n\n[interfaces]\nexclude = [\"veth*\"]\n\n[[recorder.rule]]\nstore = \"names\"\nudp_ports = [5004, 5005]",
    );
    page.see_also(&["netsonde-status(1), netsonded(8)"]);
    page.0
}

pub fn netsonde_protocol_7() -> String {
    let mut page = Page::new("netsonde-protocol", 7, "Varlink interfaces of netsonded");
    page.head("DESCRIPTION");
    page.text(
        "netsonded speaks Varlink (varlink.org) on its control socket: calls and replies are JSON objects, each \
         terminated by a zero byte. varlinkctl(1) and other clients can list and read the interfaces, which \
         are reproduced below. io.netsonde.History is served by netsonde-historian(8), on a socket of its own.\n\n\
         Callers are identified by the peer credentials of the socket. A request has at most 64 KiB and must \
         arrive within five seconds; an invalid one gets the error io.netsonde.Service.BadRequest, and the \
         connection is closed. A user has at most 16 connections: a new one closes the connection of that user \
         that has been idle longest. File descriptors sent by a client are not accepted.",
    );
    for text in [SERVICE, CAPTURE, PING, MULTICAST, INVENTORY, HISTORY] {
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("interface "))
            .unwrap();
        page.head(name);
        page.example(text.trim());
    }
    page.head("EXAMPLE");
    page.example("varlinkctl call /run/netsonde/control.sock io.netsonde.Service.Status '{}'");
    page.see_also(&["netsonde(1), varlinkctl(1), netsonded(8)"]);
    page.0
}

pub fn netsonde_findings_7() -> String {
    let mut page = Page::new(
        "netsonde-findings",
        7,
        "findings of netsonde doctor and netsonde mcast doctor",
    );
    page.head("DESCRIPTION");
    page.text(
        "netsonde-doctor(1) and netsonde-mcast-doctor(1) report the failure modes below by their ids; \
         netsonde-explain(1) prints the same text. A finding is a fault (the network or the group does not \
         work, and this is why), a warning (it works now, and may fail) or a note.\n\n\
         A finding is proved if packets and counters show it one by one, and consistent if everything observed \
         fits, but another cause would look the same from this host. For a group only the root cause is \
         reported as a fault; for a host, every independent fault. Mere consequences of a reported finding \
         are omitted.",
    );
    page.head("FINDINGS");
    let mut modes = texts();
    modes.sort_by_key(|mode| mode.id);
    for mode in modes {
        page.raw(&format!(".SS {}", escape(mode.id)));
        page.text(&sentence(&capitalized(mode.title)));
        for (head, words) in [
            ("Symptoms", mode.symptoms),
            ("Cause", mode.cause),
            ("Evidence", mode.proof),
            ("Fix", mode.fix),
        ] {
            page.item(head, words);
        }
    }
    page.see_also(&[
        "netsonde-doctor(1), netsonde-explain(1), netsonde-mcast-doctor(1), bridge(8), ip-link(8), sysctl(8)",
    ]);
    page.0
}

pub fn netsonde_families_7() -> String {
    let mut page = Page::new(
        "netsonde-families",
        7,
        "address families and socket types of Linux",
    );
    page.head("DESCRIPTION");
    page.text(
        "Every address family to which Linux assigns a number: its purpose, where it is used, and its equivalents \
         on other systems. netsonde-families(1) tests which of them a kernel supports.",
    );
    page.head("SOCKET TYPES");
    for kind in SOCKET_TYPES {
        page.item(&format!("{} ({})", kind.name, kind.number), kind.purpose);
    }
    page.text_after("Two flags can be combined with each type:");
    for flag in TYPE_FLAGS {
        page.item(&format!("{} (0{:o})", flag.name, flag.number), flag.purpose);
    }
    page.head("FAMILIES");
    for family in FAMILIES {
        let names: Vec<&str> = std::iter::once(&family.name)
            .chain(family.aliases)
            .copied()
            .collect();
        let legacy = if family.legacy { ", legacy" } else { "" };
        page.item(
            &format!("{} ({}{legacy})", names.join(", "), family.number),
            family.purpose,
        );
        if let Some(absent) = family.absent {
            page.text(&sentence(&capitalized(absent)));
        }
        page.text(family.elsewhere);
        if !family.protocols.is_empty() {
            let names: Vec<&str> = family.protocols.iter().map(|(name, _, _)| *name).collect();
            page.text(&format!("Protocols that are tested: {}.", names.join(", ")));
        }
    }
    page.see_also(&["netsonde-families(1), socket(2), address_families(7), sock_diag(7)"]);
    page.0
}

pub fn netsonde_events_7() -> String {
    let mut page = Page::new("netsonde-events", 7, "events that netsonded logs");
    page.head("DESCRIPTION");
    page.text(&format!(
        "netsonded keeps a log of events, which netsonde-events(1) shows and follows. An event has a number, a \
         time, a kind, a severity (info, notice, warning), an interface if it concerns one, a subject and a \
         sentence. If packets show it, the event also has the interval and the filter that select them; \
         `netsonde -v events' prints the command.\n\n\
         Each category below keeps its newest {EVENT_SLOTS} events, in the same memory as the recorded packets: \
         they survive the engine, and under systemd a restart. At most {MAX_PER_MINUTE} events per kind, interface and \
         minute are logged individually; a single event of kind `more' counts the rest, and so does `netsonde \
         status'.\n\n\
         Changes of links and addresses are logged as netlink reports them. Everything else is polled once per \
         second, so that a change and its reversal within a second may go unnoticed. State that existed when \
         the service started is no event."
    ));
    page.head("KINDS");
    for category in Category::ALL {
        page.raw(&format!(".SS {}", category.name()));
        for kind in Kind::ALL.iter().filter(|kind| kind.category() == category) {
            let term = format!("{} ({})", kind.name(), kind.severity().name());
            page.item(&term, kind.meaning());
        }
    }
    page.raw(".SS historian");
    page.text(
        "netsonde-historian(8) keeps netsonded's events for a year, and adds its own. Both are shown by \
         `netsonde events' with --since, --until or --last.",
    );
    for (kind, severity, meaning) in [
        (
            "outage_began",
            "warning",
            "An outage of a target, or of several with one cause, began.",
        ),
        ("outage_ended", "notice", "It ended."),
        (
            "target_degraded",
            "notice",
            "A target answers worse than at the same hour of the last seven days.",
        ),
        ("target_restored", "notice", "It answers as before."),
        (
            "path_changed",
            "notice",
            "The path to the network of a target (IPv4 /24, IPv6 /64) leads over other routers: an answer of another \
             one was seen at the time of the event, and a trace confirmed it. The Varlink method \
             io.netsonde.History.Events has the path before and after.",
        ),
        (
            "target_address_changed",
            "notice",
            "The name of a target has another address.",
        ),
    ] {
        page.item(&format!("{kind} ({severity})"), meaning);
    }
    page.head("JOURNAL");
    page.text(
        "Events of at least the severity events.journal in netsonde.toml(5), by default notices and warnings, are \
         also written to the log of the service, and so to the journal with fields:",
    );
    page.example(
        "journalctl -u netsonded TARGET=netsonde::event\n\
         journalctl -u netsonded NETSONDE_EVENT=address_conflict -o verbose",
    );
    page.text_after(
        "NETSONDE_EVENT has the kind; NETSONDE_SEVERITY, NETSONDE_INTERFACE, NETSONDE_SUBJECT and \
         NETSONDE_NUMBER are as above.",
    );
    page.see_also(&["netsonde-events(1), journalctl(1), netsonde.toml(5), netsonded(8)"]);
    page.0
}
