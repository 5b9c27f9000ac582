//! Manual pages and the default configuration are made from the definitions in the source. This test
//! fails when what is checked in is not what they make; `NETSONDE_BLESS=1 cargo test --test generated`
//! writes them anew.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/tools.rs"]
mod tools;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use netsonde::client::cli::args::{Cli, PING_EXAMPLES};
use netsonde::daemon::keeper::args::Args;
use netsonde::daemon::log::limit::{AUDITS, ERRORS_OF_ALL, LINES, LINES_OF_ALL, WINDOW};
use netsonde::daemon::log::line::{LINE_BYTES, VALUE_BYTES};
use netsonde_core::config::{KEYS, MAX_RULE_ENTRIES, default_file};
use netsonde_core::diagnose::texts;
use netsonde_core::events::{Category, Kind, MAX_PER_MINUTE};
use netsonde_core::families::{FAMILIES, SOCKET_TYPES, TYPE_FLAGS};
use netsonde_core::protocol::{CAPTURE, INVENTORY, MULTICAST, PING, SERVICE};
use netsonde_core::recorder::layout::EVENT_SLOTS;
use netsonde_core::recorder::select::PROTOCOLS;

const DATE: &str = "2026-11-21";

fn agree(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("NETSONDE_BLESS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == made,
        "{name} is not what the source makes: NETSONDE_BLESS=1 cargo test --test generated"
    );
    if name.ends_with(|c: char| c.is_ascii_digit()) {
        lint(&path);
    }
}

fn lint(path: &Path) {
    let Some(mandoc) = tools::find("mandoc") else {
        let what = path.display().to_string();
        return tools::report(&what, "mandoc is not installed, the page is not checked");
    };
    let output = Command::new(mandoc)
        .args(["-T", "lint", "-W", "error"])
        .arg(path)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Text of a manual page in the man(7) macros.
struct Page(String);

impl Page {
    fn new(name: &str, section: u8, purpose: &str) -> Page {
        let mut page = Page(String::new());
        writeln!(
            page.0,
            ".TH {} {section} {DATE} \"netsonde {}\" \"netsonde manual\"",
            name.to_uppercase(),
            env!("CARGO_PKG_VERSION")
        )
        .unwrap();
        page.head("NAME");
        page.raw(&format!("{} \\- {}", escape(name), escape(purpose)));
        page
    }

    fn raw(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn head(&mut self, title: &str) {
        self.raw(&format!(".SH {title}"));
    }

    fn text(&mut self, text: &str) {
        for (at, paragraph) in text.trim().split("\n\n").enumerate() {
            if at > 0 {
                self.raw(".PP");
            }
            for line in paragraph.lines() {
                self.raw(&escape(line.trim()));
            }
        }
    }

    fn item(&mut self, term: &str, text: &str) {
        self.raw(".TP");
        self.raw(&format!("\\fB{}\\fR", escape(term)));
        self.text(text);
    }

    fn example(&mut self, text: &str) {
        self.raw(".PP\n.nf");
        for line in text.lines() {
            self.raw(&escape(line));
        }
        self.raw(".fi");
    }

    /// Options and arguments of a command.
    fn options(&mut self, command: &clap::Command, global: bool) {
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            if argument.is_hide_set()
                || argument.is_global_set() != global
                || id == "help"
                || id == "version"
            {
                continue;
            }
            let value = argument
                .get_value_names()
                .filter(|_| argument.get_action().takes_values())
                .map(|names| names.join(" "))
                .unwrap_or_default();
            let mut term: Vec<String> = Vec::new();
            term.extend(argument.get_short().map(|short| format!("-{short}")));
            term.extend(argument.get_long().map(|long| format!("--{long}")));
            let term = if term.is_empty() {
                value
            } else {
                format!("{} {value}", term.join(", "))
            };
            let mut help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let possible: Vec<String> = argument
                .get_possible_values()
                .iter()
                .map(|one| one.get_name().to_owned())
                .collect();
            if !possible.is_empty() && argument.get_action().takes_values() {
                write!(help, ". One of: {}", possible.join(", ")).unwrap();
            }
            let defaults: Vec<String> = argument
                .get_default_values()
                .iter()
                .map(|one| one.to_string_lossy().into_owned())
                .collect();
            if !defaults.is_empty() && argument.get_action().takes_values() {
                write!(help, ". Default: {}", defaults.join(", ")).unwrap();
            }
            help.push('.');
            self.item(term.trim(), &help);
        }
    }
}

/// For troff: a backslash, a hyphen that is to stay one, and no line that begins like a macro.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

/// Every fate in the words of an administrator.
const PING_FATES: [(&str, &str); 9] = [
    ("replied", "Answered in time."),
    (
        "late",
        "Answered after the time limit (-W). A line that said otherwise before is taken back.",
    ),
    (
        "refused",
        "An ICMP error came back that quotes the probe: from whom, and why.",
    ),
    (
        "corrupted",
        "Answered, with a wrong checksum or a payload that is not what was sent.",
    ),
    (
        "unresolved",
        "Never left: the next hop did not answer ARP or neighbour discovery.",
    ),
    (
        "not_sent",
        "The kernel refused to send it: no route, an interface that is down, a local firewall that \
         rejects, a packet larger than the path carries. The errno says which.",
    ),
    (
        "dropped_outbound",
        "The kernel took it and the wire never saw it: a full queue, or a filter behind the IP layer. \
         Counters that moved meanwhile are named.",
    ),
    (
        "unanswered",
        "It left this host, and nothing came back: the loss is elsewhere.",
    ),
    (
        "dropped_inbound",
        "The answer reached this host's wire and not the socket: reverse path filter, a wrong checksum, \
         or, where no counter says so, what is consistent with a firewall.",
    ),
];

/// What is to be said of an address, in the words of an administrator.
const NEIGHBOR_FINDINGS: [(&str, &str); 3] = [
    (
        "conflict",
        "Two hosts have the address: both answered the same question, or each claims it again after the other \
         without announcing it, or another host claims what this one has. Over when one of them has not claimed \
         it for an hour.",
    ),
    (
        "duplicate",
        "A host wanted the address and found it taken, by ARP probes (RFC 5227) or duplicate address detection \
         (RFC 4862). It did not take it, so nothing is disturbed.",
    ),
    (
        "moved",
        "The address went to another MAC and the first did not go on: a standby took over, a bond changed its \
         port, a lease went to another host. No fault.",
    ),
];

const PING_TIMES: [(&str, &str); 5] = [
    (
        "time (rtt_ns)",
        "What ping prints: from before the send call until the kernel had the reply.",
    ),
    (
        "wire (wire_rtt_ns)",
        "From wire to wire: from when the request passed this host's tap until the reply did.",
    ),
    (
        "resolve (resolve_ns)",
        "Part of time: waiting for ARP or neighbour discovery.",
    ),
    (
        "queue (queue_ns)",
        "Part of time: in the local queue. Known for up to 2000 probes a second; -v shows it.",
    ),
    (
        "wake (wake_ns)",
        "Not part of time: how long the reply waited for the service to run; -v shows it.",
    ),
];

#[test]
fn netsonde_1() {
    let command = Cli::command();
    let mut page = Page::new("netsonde", 1, "says where a packet died, with the evidence");
    page.head("SYNOPSIS");
    page.raw("\\fBnetsonde\\fR [\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]");
    page.head("DESCRIPTION");
    page.text(
        "netsonde asks netsonded(8), the resident witness of this host: it records what crosses the \
         interfaces in bounded memory, each kind of traffic in a room of its own, so that packets \
         from before anyone asked are still there. No privilege is needed but access to the control \
         socket.\n\nEverything that could not be kept is declared: drops of the kernel's rings, \
         evictions, restarts, interfaces that were down.",
    );
    page.head("COMMANDS");
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        page.raw(&format!(".SS netsonde {}", escape(sub.get_name())));
        page.text(&format!(
            "{}.",
            sub.get_about().map(ToString::to_string).unwrap_or_default()
        ));
        page.options(sub, false);
        for below in sub
            .get_subcommands()
            .filter(|below| below.get_name() != "help")
        {
            page.raw(&format!(
                ".SS netsonde {} {}",
                escape(sub.get_name()),
                escape(below.get_name())
            ));
            let about = below.get_about().map(ToString::to_string);
            page.text(&format!("{}.", about.unwrap_or_default()));
            page.options(below, false);
        }
    }
    page.head("OPTIONS");
    page.text("These go with every command.");
    page.options(&command, true);
    page.item("-h, --help", "Prints help.");
    page.item("-V, --version", "Prints the version.");
    page.head("FILTERS");
    let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
    page.text(&format!(
        "FILTER is the language of pcap-filter(7). The client compiles it with libpcap, which is \
         loaded when it is needed; the service verifies and runs the program. Three words mean what \
         users expect on a live interface: a filter also finds what it asks for in tagged frames; \
         `vlan' and `vlan N' ask for either of the first two tags and leave the meaning of what \
         stands behind them alone; `icmp6' also finds MLD, which stands behind a hop-by-hop header. \
         `mld' is a word of its own.\n\nThe plain options do without libpcap. --proto knows: {}.",
        names.join(", ")
    ));
    page.head("PING");
    page.text(
        "All users share one prober inside the service. Its sockets receive the replies to its own probes \
         only, each probe carries a secret cookie, and the rings that record this host see what crosses \
         the wire beside them. So every probe has a fate, and evidence for it:",
    );
    for (fate, meaning) in PING_FATES {
        page.item(fate, meaning);
    }
    page.raw(".PP");
    page.text("The times of a line:");
    for (name, meaning) in PING_TIMES {
        page.item(name, meaning);
    }
    page.raw(".PP");
    page.text(
        "Durations are of the monotonic clock: a wall clock that is set changes none. For the summary, \
         percentiles are right to one part in a hundred, jitter is that of RFC 3550, and a reply counts as \
         reordered when it comes after the reply to a later probe (RFC 4737).\n\nSeveral targets are probed \
         in turn, by default once each with 10000 probes a second in all; that many fit into what the \
         kernel's queues hold. A group or broadcast address gets three probes and a table of who answered. \
         Users without privilege who ask for -b, or for more than [ping] in netsonde.toml(5) allows \
         them, are told so.\n\nWith --evidence the packets of the run are written: its requests, \
         the replies and errors to them, and ARP and neighbour discovery for its targets. A probe's fate \
         is the comment of its request, or of the file where it was never on the wire.",
    );
    for (purpose, commands) in PING_EXAMPLES {
        page.raw(".PP");
        page.text(purpose);
        page.example(commands);
    }
    page.head("NEIGHBORS");
    page.text(
        "What hosts say on a link is heard by all of it: ARP, neighbour discovery, IGMP and MLD, DHCP, mDNS, \
         LLMNR and NetBIOS names, LLDP and CDP, spanning tree, routing protocols; and any packet shows that its \
         sender is there. Nothing is sent. FIRST and LAST are when a host was heard with an address; of traffic \
         they are right to a second. A router that passes on the packets of others is one host. In `-v', KERNEL is \
         what this host's own neighbour table holds, and whether it believes in another MAC.\n\nNames are what \
         anybody may say; how each is known stands beside it. VENDOR is looked up in the first of these that is \
         installed: oui.txt of ieee-data, manuf of Wireshark, nmap-mac-prefixes of nmap, ieee-oui.txt of arp-scan, \
         20-OUI.hwdb of systemd. `local' is a MAC that no maker gave, such as those of virtual machines and of \
         telephones that change it.\n\nAbove the table stand:",
    );
    for (kind, meaning) in NEIGHBOR_FINDINGS {
        page.item(kind, meaning);
    }
    page.raw(".PP");
    page.text(
        "A conflict that goes on makes the exit status 1. Answers to others' questions do not reach this host where \
         a switch is between, so a conflict between two hosts shows when this host asks for the address \
         (`netsonde ping' does), or when both ask others.",
    );
    page.head("DOCTOR");
    page.text(
        "It looks at everything that needs no subject: links (carrier, duplex, errors, drops, MTU), addresses \
         (detection of duplicates, conflicts, two interfaces in one network), gateways (routes, do they \
         resolve, do they answer, did they change), neighbour tables, multicast (bridges, queriers, versions, \
         limits of sockets), sysctls that break something here, counters of drops that grow, and the service \
         itself. It watches for two seconds; what netsonded recorded and learnt before counts, too.\n\nIt sends \
         four echo requests to each of at most eight routers that routes of the main table name, and nothing \
         else; --dry-run says to whom and sends nothing. Where each of them died is said as by `netsonde \
         ping'.\n\nWhat is well is not told, unless -v asks for it: then each check has a line with what was \
         seen, `none' where there is nothing of that kind. Findings are those of netsonde-findings(7). Causes \
         go before symptoms: a gateway that does not answer because the link is down is one fault. Warnings \
         and notes leave the exit status 0. A check that could not be made (no permission) is told, and makes \
         the verdict undetermined and the exit status 2, unless a fault was found.",
    );
    page.head("MCAST DOCTOR");
    page.text(
        "It watches for some seconds and compares what the wire carried with what the kernel counted, holds \
         and was told to do: packets of the record, from before it was asked, too; counters of the IP layer \
         and of sockets; memberships and source filters; routes; multicast routes; bridges and their ports; \
         sysctls. Nothing is sent and nothing is changed, unless --join is given. All of that is there for \
         every user who may ask the service, but for whose a socket is: that needs the right to look at the \
         process.\n\nIt can be asked at the receiver, at the sender, and at routers and bridges between them; \
         from a capture file it says what packets alone can tell. What its findings mean is in \
         netsonde-findings(7) and in `netsonde explain'. Timers (when a membership runs out, when a querier \
         is missed) come from what the querier announces or was observed to do.\n\nA verdict is healthy, fault, \
         or undetermined, when nothing was seen that would tell; then the exit status is 2. Interfaces that \
         somebody holds promiscuous are named in the evidence where that changes the answer.",
    );
    page.head("FAMILIES");
    page.text(
        "It opens a socket of each family, type and protocol, closes it at once, and tells what worked, or the \
         error and what that means; what each family is for is in netsonde-families(7). Without privilege the \
         kernel keeps some to itself (EPERM).\n\nA family may be in a module that is not loaded. Whoever opens a \
         socket of it has the kernel load that module, root or not, and there it stays: more code that \
         strangers can talk to. So netsonde looks up in /lib/modules what an attempt would load, and leaves that \
         out unless --load-modules is given. Where modules can be loaded and /lib/modules can't be read, as in \
         containers, only what is registered in /proc/net/protocols is tried. AF_INET with SOCK_PACKET has the \
         kernel log once that this is obsolete.\n\nSockets are counted by sock_diag(7) or /proc/net; of families \
         that have neither, by /proc/net/protocols or by who holds them, as far as the asker may look into \
         processes (? otherwise). With a family, the exit status says whether this kernel has it.",
    );
    page.head("SOCKETS");
    page.text(
        "Sockets of this network namespace, by sock_diag(7), and by /proc/net where the kernel has no sock_diag \
         for a kind. Without options: counts by family, type, protocol and state, and below them who listens, \
         who sniffs, which sockets lose packets or are full, and who is a member of which group; -v adds all \
         sockets. With options: those that are asked for; the exit status is 1 if there are none.\n\nWho holds a \
         socket is known as far as the asker may look into processes (all of them, to root); how many are not \
         known is told. The same goes for memberships, and for filters of packet sockets without CAP_NET_ADMIN: \
         for these the socket of the process is copied for a moment (pidfd_getfd(2)) and asked. A process can \
         read packets without holding a packet socket: from the mapped ring of one that it has closed, or that \
         another process holds.\n\nAsking may have the kernel load its sock_diag modules (such as udp_diag) for families that \
         are there already, as ss(8) does too.\n\nWhat listens is a socket in state listening, or a datagram socket with a port and \
         no peer. A port is system (0 to 1023), registered (to 49151) or dynamic; + marks those within \
         net.ipv4.ip_local_port_range, which the kernel gives to outgoing connections. Waiting are \
         connections that are not accepted yet, or bytes that are not read. A filter is told with its length: cBPF 12 \
         is a classic BPF program of 12 instructions; of eBPF the kernel tells no length, and ? is one that may not be known. +2 behind a process \
         means that two more hold the same socket. bound is a TCP socket that has \
         a port and does nothing (Linux 6.8). ours are the sockets of the netsonded that answers.\n\nIn no list \
         are sockets that processes of this namespace hold and no list has: TCP sockets without a port, and \
         families that this kernel has no sock_diag for.",
    );
    page.head("EXIT STATUS");
    page.item(
        "0",
        "Yes: the command worked, a reply came, the subject is healthy.",
    );
    page.item("1", "No: no reply, a fault found.");
    page.item("2", "Could not tell: usage, no service, no permission, an operational error. One line on standard error says what to do.");
    page.head("ENVIRONMENT");
    page.item(
        "NETSONDE_SOCKET",
        "The control socket, unless --socket names one.",
    );
    page.item("NO_COLOR", "Turns colour off, unless --color asks for it.");
    page.head("FILES");
    page.item("/run/netsonde/control.sock", "The control socket.");
    page.head("EXAMPLES");
    page.text("What happened on the link in the last five minutes:");
    page.example("netsonde watch --last 5m --store link");
    page.text("Everything about one group, from before and from now on:");
    page.example("netsonde watch --last 10m --follow --group 239.1.1.1");
    page.text("The last two minutes of a stream, for Wireshark:");
    page.example("netsonde capture --last 2m -w stream.pcapng 'udp port 5000'");
    page.text("Why does this stream not arrive? And from a colleague's capture:");
    page.example(
        "netsonde mcast doctor 239.1.1.1:5000\nnetsonde mcast doctor --read trace.pcapng 239.1.1.1",
    );
    page.text("Who sniffs on this host, who listens on a port, and what a process has open:");
    page.example(
        "netsonde sockets --sniff\nnetsonde sockets --listen --port 53\nnetsonde sockets --process sshd",
    );
    page.text("A file, without the service:");
    page.example("netsonde watch --read trace.pcap 'icmp6 or arp'");
    page.head("SEE ALSO");
    page.text("netsonded(8), netsonde.toml(5), netsonde-events(7), netsonde-families(7), netsonde-findings(7), netsonde-protocol(7), pcap-filter(7)");
    agree("man/netsonde.1", &page.0);
}

#[test]
fn netsonded_8() {
    let command = Args::command();
    let mut page = Page::new(
        "netsonded",
        8,
        "the resident witness of this host's network",
    );
    page.head("SYNOPSIS");
    page.raw("\\fBnetsonded\\fR [\\fIoptions\\fR]");
    page.head("DESCRIPTION");
    page.text(
        "netsonded records what crosses the interfaces of this network namespace, in memory of a \
         fixed size, and answers over a Unix socket. It runs in the foreground and logs to the journal \
         or to standard error.\n\nIt is two processes. The keeper opens two packet rings and the listeners, gives \
         every capability up for good, and parses nothing. It starts the engine, which reads the \
         rings through their mapping and holds no packet socket. When the engine dies, the next one \
         takes over rings and history; what could not be kept is declared. ps(1) calls them netsonded \
         and netsonde-engine.\n\nThe listeners are raw ICMP, ICMPv6 and IGMP sockets, and real \
         memberships of 224.0.0.1, 224.0.0.2, ff02::1 and ff02::2 on each recorded interface, which the host reports to its links. They are the second \
         vantage point: what the host's IP layer let through, beside what the wire carried. The \
         configuration turns the memberships off.\n\nNo interface is set promiscuous unless the \
         configuration names it.",
    );
    page.head("OPTIONS");
    page.options(&command, false);
    page.head("PRIVILEGE");
    page.text(
        "CAP_NET_RAW is needed until everything is open, and nothing else. Without it netsonded says \
         so and exits with 2. Started by root it then goes on as the user netsonde, where there is one. In \
         `unshare --user --map-root-user --net' it runs without root.\n\nBefore it \
         parses anything the engine confines itself, for good: by a seccomp filter to the system calls that \
         it needs, with their arguments, and by landlock to reading below /proc. It does not run if that \
         does not hold; what this kernel lacks is told by `netsonde status'. See [sandbox] in \
         netsonde.toml(5).",
    );
    page.head("SYSTEMD");
    page.text(
        "netsonded.socket makes the control socket and passes it on (sd_listen_fds(3)); --socket does not \
         count then. It must be one listening Unix stream socket. READY=1 is told when clients are served, \
         WATCHDOG=1 with each sign of life of the engine. An engine that gives none for ten seconds is \
         killed and replaced, also without systemd.\n\nRings, history and raw sockets go to systemd's \
         descriptor store (FileDescriptorStoreMax=), so that `systemctl restart' and an upgrade lose neither \
         packets nor history: the rings go on filling meanwhile, and the next service takes up where the \
         last one stopped. What it can't go on with, since the configuration asks for other rings or \
         another record, is a declared gap. `systemctl stop' ends the history.\n\nnetsonded-vsock.socket, \
         which is not enabled by default, lets virtual machines and their host ask over AF_VSOCK port \
         9770; systemd takes it on only while the service is stopped. Of them only a context number is known, so [permission] vsock says what they may, reading \
         by default, and nobody gets packets. TCP is not served.",
    );
    page.head("PERMISSION");
    page.text(
        "The socket's mode and group say who may connect; [permission] in netsonde.toml(5) what each may then \
         ask, by the user and the groups that the kernel names: status, probe (headers, groups, streams, \
         neighbours, the doctor, ping) or payload. Whoever may not see payload gets packets cut behind their headers, and \
         filters see no more than that. Who was refused what, and each export of payload, is logged with \
         user, process, method and filter.",
    );
    page.head("LOGGING");
    page.text(&format!(
        "When standard error is the journal's (systemd.exec(5), $JOURNAL_STREAM), lines go to the journal's \
         own socket as fields; else a line each to standard error, with time, level and process. The \
         message has all fields as text; in both, control characters and what changes the direction of text \
         are escaped (\\u{{1b}}, \\n), and a backslash is doubled. Lines of more than {LINE_BYTES} bytes and \
         fields of more than {VALUE_BYTES} are cut, shown by an ellipsis."
    ));
    for (field, meaning) in [
        (
            "MESSAGE, PRIORITY, SYSLOG_IDENTIFIER=netsonded",
            "As usual: priority 3 is an error, 4 a warning, 6 information.",
        ),
        ("TARGET, CODE_FILE, CODE_LINE", "Which part of the program."),
        ("NETSONDE_PROCESS", "keeper or engine."),
        (
            "NETSONDE_*",
            "The fields of the message, their names in capitals, such as NETSONDE_UID and NETSONDE_FILTER.",
        ),
        (
            "NETSONDE_AUDIT",
            "1 where packets were given to a user or refused.",
        ),
        ("NETSONDE_HELD_BACK", "How many lines this one sums up."),
        ("NETSONDE_LOST", "How many lines before this one were lost."),
    ] {
        page.item(field, meaning);
    }
    page.raw(".PP");
    page.text(&format!(
        "Of each kind of line (a place in the program) {LINES} are logged in {} s; more are counted, and \
         told in one line with the last of them. All kinds together have {LINES_OF_ALL}, errors {ERRORS_OF_ALL} of their own; of an audit line each user \
         has {AUDITS}. The log never waits: what journal or standard error do not take at once is lost, and the \
         next line says how much. `netsonde status' counts both as the limit `log lines'.",
        WINDOW.as_secs()
    ));
    page.example(
        "journalctl -u netsonded -p warning\njournalctl -u netsonded NETSONDE_AUDIT=1 -o json\n\
         journalctl NETSONDE_PROCESS=engine NETSONDE_UID=1000",
    );
    page.head("SIGNALS");
    page.item(
        "SIGTERM, SIGINT",
        "End in order: what was taken in is committed, and the socket removed.",
    );
    page.item(
        "SIGHUP",
        "Reads the configuration anew. It is put in force as a whole, or not at all: the log says what \
         changed, or what is wrong with it, or which keys take a restart. Connections and pings go on. \
         `systemctl reload netsonded' checks the file first and fails where it is wrong.",
    );
    page.head("EXIT STATUS");
    page.item("0", "Ended in order, or --check found nothing wrong.");
    page.item(
        "2",
        "Could not start, or --check found something wrong: standard error says what and what to do. --check \
         first says whether the configuration is valid, which it can without privilege.",
    );
    page.head("FILES");
    page.item(
        "/etc/netsonde/netsonde.toml",
        "Configuration, see netsonde.toml(5).",
    );
    page.item(
        "/run/netsonde/control.sock",
        "Control socket, with a lock file beside it.",
    );
    page.head("SEE ALSO");
    page.text("netsonde(1), netsonde.toml(5), netsonde-protocol(7)");
    agree("man/netsonded.8", &page.0);
}

#[test]
fn netsonde_toml_5() {
    let mut page = Page::new("netsonde.toml", 5, "configuration of netsonded");
    page.head("DESCRIPTION");
    page.text(
        "The file is TOML in UTF-8, without a byte-order mark, a regular file of at most 1 MiB. Keys that do \
         not exist and values of the wrong kind or out of their range are errors, told all at once as \
         FILE:LINE:COLUMN with what is meant or what it must be. `netsonded --check --config FILE' looks for \
         them, without privilege, too. A missing file means the defaults.",
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
        "An own rule: what it names goes into that store, and the bulk ring takes as much of it as the \
         store keeps. Later rules win. All rules together have at most {MAX_RULE_ENTRIES} entries."
    ));
    page.item(
        "store",
        "Name of the store: link, group, icmp, names, routing, connections or bulk.",
    );
    page.item("udp_ports, tcp_ports", "Lists of ports, either side.");
    page.item("ip_protocols", "List of IP protocol numbers.");
    page.item("ethertypes", "List of EtherTypes, 0x0600 and above.");
    page.head("EXAMPLE");
    page.example(
        "[recorder.budget]\nbulk = \"256 MiB\"\n\n[interfaces]\nexclude = [\"veth*\"]\n\n[[recorder.rule]]\nstore = \"names\"\nudp_ports = [5004, 5005]",
    );
    page.head("SEE ALSO");
    page.text("netsonded(8)");
    agree("man/netsonde.toml.5", &page.0);
    agree("systemd/netsonde.toml", &default_file());
}

#[test]
fn netsonde_protocol_7() {
    let mut page = Page::new(
        "netsonde-protocol",
        7,
        "the Varlink interfaces of netsonded",
    );
    page.head("DESCRIPTION");
    page.text(
        "netsonded speaks Varlink (varlink.org) on its control socket: calls and replies are JSON \
         objects, each ended by a zero byte. varlinkctl(1) and other clients can list and read the \
         interfaces; they are these.\n\nWho asks is known by the socket's peer credentials. A request \
         has at most 64 KiB and five seconds to arrive; what is wrong with it is told by \
         io.netsonde.Service.BadRequest, and the connection ends. One user has at most 16 connections \
         at a time: for a new one, that user's connection that has been idle longest is closed. \
         Descriptors that a client sends are not taken.",
    );
    for text in [SERVICE, CAPTURE, PING, MULTICAST, INVENTORY] {
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("interface "))
            .unwrap();
        page.head(name);
        page.example(text.trim());
    }
    page.head("EXAMPLE");
    page.example("varlinkctl call /run/netsonde/control.sock io.netsonde.Service.Status '{}'");
    page.head("SEE ALSO");
    page.text("netsonde(1), netsonded(8)");
    agree("man/netsonde-protocol.7", &page.0);
}

#[test]
fn netsonde_findings_7() {
    let mut page = Page::new(
        "netsonde-findings",
        7,
        "what the findings of netsonde doctor and mcast doctor mean",
    );
    page.head("DESCRIPTION");
    page.text(
        "Each way in which a group or a host's network can fail has an id, which `netsonde mcast doctor' or \
         `netsonde doctor' prints and `netsonde explain' describes in these words. A finding is a fault (the \
         group or the network does not do what it should, and this is why), a warning (it does, and will not \
         always) or a note.\n\nIt is proved when packets and counters say so one by one, and consistent when \
         everything that was seen fits and another cause would look the same from this host. Of a group one \
         fault is told, the cause; of a host each that has a cause of its own. What merely follows from one is \
         not told.",
    );
    page.head("FINDINGS");
    let mut modes = texts();
    modes.sort_by_key(|mode| mode.id);
    for mode in modes {
        page.raw(&format!(".SS {}", escape(mode.id)));
        page.text(&format!("{}.", capitalized(mode.title)));
        for (head, words) in [
            ("What people see", mode.symptoms),
            ("How it comes about", mode.cause),
            ("How it is proved", mode.proof),
            ("How it is fixed", mode.fix),
        ] {
            page.item(head, words);
        }
    }
    page.head("SEE ALSO");
    page.text("netsonde(1), ip-link(8), bridge(8), sysctl(8)");
    agree("man/netsonde-findings.7", &page.0);
}

#[test]
fn netsonde_families_7() {
    let mut page = Page::new(
        "netsonde-families",
        7,
        "address families and socket types of Linux",
    );
    page.head("DESCRIPTION");
    page.text(
        "Every address family that Linux has a number for, what it is for, where it is met, and what other \
         systems have in its stead. Which of them a kernel has, `netsonde families' tries.",
    );
    page.head("SOCKET TYPES");
    for kind in SOCKET_TYPES {
        page.item(&format!("{} ({})", kind.name, kind.number), kind.purpose);
    }
    page.raw(".PP");
    page.text("Two flags go with each of them:");
    for flag in TYPE_FLAGS {
        page.item(&format!("{} (0{:o})", flag.name, flag.number), flag.purpose);
    }
    page.head("FAMILIES");
    for family in FAMILIES {
        let names: Vec<&str> = (std::iter::once(&family.name))
            .chain(family.aliases)
            .copied()
            .collect();
        let legacy = if family.legacy { ", legacy" } else { "" };
        page.item(
            &format!("{} ({}{legacy})", names.join(", "), family.number),
            family.purpose,
        );
        if let Some(absent) = family.absent {
            page.text(&format!("{}.", capitalized(absent)));
        }
        page.text(family.elsewhere);
        if !family.protocols.is_empty() {
            let names: Vec<&str> = family.protocols.iter().map(|(name, _, _)| *name).collect();
            page.text(&format!("Protocols that are tried: {}.", names.join(", ")));
        }
    }
    page.head("SEE ALSO");
    page.text("netsonde(1), address_families(7), socket(2), sock_diag(7)");
    agree("man/netsonde-families.7", &page.0);
}

#[test]
fn netsonde_events_7() {
    let mut page = Page::new("netsonde-events", 7, "what netsonde tells as events");
    page.head("DESCRIPTION");
    page.text(&format!(
        "netsonded keeps a log of what happened, which `netsonde events' shows and follows. Each event has a \
         number, a time, a kind, a severity (info, notice, warning), the interface where it has one, its \
         subject and a sentence; and where packets show it, between which times and by which filter they \
         are found: `netsonde -v events' prints the command.\n\nEach room below keeps its newest \
         {EVENT_SLOTS} events, beside the recorded packets in the service's memory: they outlive the engine, \
         and under systemd a restart. Of a kind on an interface {MAX_PER_MINUTE} a minute are told one by one; how many \
         more there were is told as one event (more), and in `netsonde status'.\n\nLinks and addresses \
         are told as netlink tells them; all else is looked at once a second, so that what comes and goes \
         within a second may not be told. What was so when the service started is no event."
    ));
    page.head("KINDS");
    for room in Category::ALL {
        page.raw(&format!(".SS {}", room.name()));
        for kind in Kind::ALL.iter().filter(|kind| kind.category() == room) {
            let term = format!("{} ({})", kind.name(), kind.severity().name());
            page.item(&term, kind.meaning());
        }
    }
    page.head("THE JOURNAL");
    page.text(
        "Events as severe as events.journal in netsonde.toml(5) says, notices and warnings by default, are \
         also written into the service's own log, to the journal with fields:",
    );
    page.example(
        "journalctl -u netsonded TARGET=netsonde::event\n\
         journalctl -u netsonded NETSONDE_EVENT=address_conflict -o verbose",
    );
    page.text(
        "NETSONDE_EVENT is the kind, NETSONDE_SEVERITY, NETSONDE_INTERFACE, NETSONDE_SUBJECT and \
         NETSONDE_NUMBER are as above.",
    );
    page.head("EXAMPLES");
    page.example(
        "netsonde events --follow\n\
         netsonde events --last 1h -s warning\n\
         netsonde -v events neighbor -I eth0\n\
         netsonde --json events address_conflict",
    );
    page.head("SEE ALSO");
    page.text("netsonde(1), netsonded(8), netsonde.toml(5), journalctl(1)");
    agree("man/netsonde-events.7", &page.0);
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters).collect()
}

/// The pages that a packager installs are all there are.
#[test]
fn every_manual_page_is_generated() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let mut pages: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    pages.sort();
    assert_eq!(
        pages,
        [
            "netsonde-events.7",
            "netsonde-families.7",
            "netsonde-findings.7",
            "netsonde-protocol.7",
            "netsonde.1",
            "netsonde.toml.5",
            "netsonded.8"
        ]
    );
}
