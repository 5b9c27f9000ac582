//! The table of cases against tests, `tests/ABUSE.md`.

use std::collections::BTreeSet;
use std::path::Path;

use super::Outcome;

/// What shows that a case is survived.
enum Shown {
    /// Tests, by file and name.
    By(&'static [(&'static str, &'static str)]),
    /// Tests, and what they do not cover.
    Partly(&'static [(&'static str, &'static str)], &'static str),
}
use Shown::{By, Partly};

struct Case {
    id: &'static str,
    abuse: &'static str,
    holds: &'static str,
    shown: Shown,
}

const fn case(id: &'static str, abuse: &'static str, holds: &'static str, shown: Shown) -> Case {
    Case {
        id,
        abuse,
        holds,
        shown,
    }
}

const ABUSE: &str = "tests/abuse.rs";
const LIVE: &str = "tests/live.rs";
const SANDBOX: &str = "tests/sandbox.rs";

const CASES: &[Case] = &[
    case(
        "L1",
        "10,000 connections of one user that say nothing",
        "At most 16 stay, the others are told why; other users are answered.",
        By(&[
            (ABUSE, "idle_connections_by_the_thousand"),
            (LIVE, "abuse_of_the_control_socket"),
        ]),
    ),
    case(
        "L2",
        "32 half-open requests, a byte each",
        "They make room for who comes, and end after 5 s.",
        By(&[(ABUSE, "half_open_requests_make_room")]),
    ),
    case(
        "L3",
        "A request byte by byte",
        "The whole request has 5 s, not each byte.",
        By(&[(ABUSE, "a_dribbled_request_has_five_seconds")]),
    ),
    case(
        "L4",
        "Length prefixes of 1 GiB, 2^64-1 and 0; such numbers as parameters",
        "No length is believed, nothing is allocated by it; no arithmetic overflows.",
        By(&[(ABUSE, "lengths_and_numbers_that_lie")]),
    ),
    case(
        "L5",
        "1 GiB without an end of the request",
        "Closed at 64 KiB, the reason told.",
        By(&[
            (ABUSE, "a_request_without_an_end"),
            (LIVE, "abuse_of_the_control_socket"),
        ]),
    ),
    case(
        "L6",
        "The input buffer full, or half closed, then gone, with and without a call that is being answered",
        "What was done for the client ends with it; no busy loop.",
        By(&[(ABUSE, "a_full_inbox_and_a_closed_end")]),
    ),
    case(
        "L7",
        "Readers of packets that never read",
        "Nothing is queued for them, the record is complete, after 30 s they are cut off.",
        By(&[
            (ABUSE, "readers_that_do_not_read"),
            (
                "src/core/recorder/cursor.rs",
                "a_slow_reader_knows_what_it_missed",
            ),
        ]),
    ),
    case(
        "L8",
        "Readers of packets that read ten bytes a second",
        "As L7: memory stays flat.",
        Partly(
            &[(ABUSE, "readers_that_do_not_read")],
            "for half a minute and not an hour, after which they are cut off",
        ),
    ),
    case(
        "L9",
        "JSON: depth 30,000, 6,000 keys, keys twice, 1e309, NaN, 2^64, trailing text",
        "A typed error in bounded time.",
        By(&[(ABUSE, "json_of_every_kind")]),
    ),
    case(
        "L10",
        "Control characters, invalid UTF-8, NUL and lone surrogates in names of links, arguments, filters and methods",
        "Nothing that the client prints or the service logs commands a terminal; other links are known as ever.",
        By(&[
            (ABUSE, "names_that_command_a_terminal"),
            ("src/linux/netlink.rs", "names_are_fit_to_be_shown"),
            (
                "tests/captures.rs",
                "every_file_is_read_without_panic_within_a_second",
            ),
        ]),
    ),
    case(
        "L11",
        "253 descriptors with each of 1,000 messages",
        "None is taken.",
        By(&[(ABUSE, "descriptors_that_nobody_asked_for")]),
    ),
    case(
        "L12",
        "A directory, FIFO, file, device, O_PATH, datagram and TCP socket where a starter passes the control socket",
        "Refused before anything is opened. From clients no descriptor is ever accepted (L11).",
        By(&[(ABUSE, "passed_sockets_that_are_none")]),
    ),
    case(
        "L13",
        "Users outside the group, or of it, who ask for what they may not",
        "A typed denial, and nothing in its text.",
        By(&[
            ("tests/permission.rs", "tiers_and_denials"),
            ("tests/permission.rs", "headers_without_payload"),
            (
                "tests/permission.rs",
                "permission_is_asked_with_each_request",
            ),
            (
                "src/core/config/permission.rs",
                "a_user_of_another_namespace_is_nobody",
            ),
        ]),
    ),
    case(
        "L14",
        "Forged SCM_CREDENTIALS; a setuid client with a hostile environment",
        "Identity is the kernel's word at connect. (A connection that root made stays root's whoever uses it: nobody must pass one on.)",
        By(&[(ABUSE, "identity_is_the_kernels_word")]),
    ),
    case(
        "L15",
        "Links in the place of the socket and its lock",
        "Refused, and nothing is made or changed elsewhere. A path that a client names is never opened.",
        By(&[
            (ABUSE, "links_in_the_place_of_files"),
            (SANDBOX, "escapes_end_the_process"),
            ("tests/protocol.rs", "capture_types_agree"),
        ]),
    ),
    case(
        "L16",
        "Filter programs too long, without end, with jumps, loads and operands out of bounds; the longest for all packets",
        "What the kernel would refuse is refused; what is accepted ends, in turns.",
        By(&[
            (ABUSE, "filters_of_every_size"),
            ("src/core/recorder/filter.rs", "any_verified_program_ends"),
            (
                "src/core/recorder/filter.rs",
                "refuses_what_the_kernel_refuses",
            ),
            ("tests/filter_machine.rs", "the_kernel_refuses_the_same"),
            ("tests/filter_machine.rs", "the_kernel_decides_the_same"),
        ]),
    ),
    case(
        "L17",
        "Floods of probes by a user; to broadcast, from another's address, with TTL 1",
        "No more than one user, and all together, may send; broadcast is root's.",
        By(&[
            (ABUSE, "probe_floods_of_a_user"),
            ("tests/prober.rs", "what_cannot_be_is_said"),
            (
                "src/core/probe/bucket.rs",
                "a_second_holds_its_rate_and_no_more",
            ),
        ]),
    ),
    case(
        "L18",
        "Requests without end on eight connections, then SIGKILL; 600 calls begun and left",
        "Others get their turn; work for who is gone ends with them.",
        By(&[
            (ABUSE, "pipelined_requests_and_a_killed_client"),
            (ABUSE, "a_storm_of_cancelled_calls"),
            ("tests/prober.rs", "probes_end_with_their_client"),
        ]),
    ),
    case(
        "L19",
        "Unknown methods, interfaces and versions, many at once",
        "A typed error each, in order; the connection survives.",
        By(&[(ABUSE, "unknown_methods_and_the_order_of_replies")]),
    ),
    case(
        "L20",
        "300 clients where 256 descriptors are allowed; and where none is left",
        "As many clients as there are descriptors for; then turned away, without a busy loop, and served again.",
        By(&[
            (ABUSE, "few_descriptors_are_few_clients"),
            (ABUSE, "no_descriptor_is_left"),
        ]),
    ),
    case(
        "W1",
        "Every prefix of every kind of frame",
        "Never read behind the end; cut is not malformed.",
        By(&[
            ("tests/wire.rs", "every_prefix_of_every_sample_is_survived"),
            ("tests/wire.rs", "three_words_for_three_things"),
            (
                "tests/captures.rs",
                "every_prefix_of_every_packet_is_survived",
            ),
            ("src/core/wire/glance.rs", "no_prefix_panics"),
        ]),
    ),
    case(
        "W2",
        "IPv4 header lengths 0 to 15, total lengths below, above and 0",
        "The length is what was captured; lies are named.",
        By(&[(ABUSE, "headers_that_lie_about_their_length")]),
    ),
    case(
        "W3",
        "0 to 64 VLAN tags of all kinds, priority tags, with one taken out by the kernel",
        "Eight are read, the rest is told of; lengths are those of the wire.",
        By(&[
            (ABUSE, "tags_in_tags"),
            ("src/core/recorder/cursor.rs", "tags_go_back_in"),
            ("tests/wire.rs", "casts_and_tags"),
        ]),
    ),
    case(
        "W4",
        "Up to 170 IPv6 extension headers, without length, too long, AH, ESP, jumbograms",
        "Sixteen are read, in linear time.",
        By(&[(ABUSE, "extension_headers_without_end")]),
    ),
    case(
        "W5",
        "60,000 fragments: never ending, overlapping, too long, tiny",
        "Nothing is put together, so nothing is kept for it.",
        By(&[
            (ABUSE, "fragments_by_the_thousand"),
            ("src/core/wire/glance.rs", "later_fragments_have_no_ports"),
        ]),
    ),
    case(
        "W6",
        "ICMP errors that quote forged, cut and nested packets",
        "Not believed: a probe is known by its cookie.",
        Partly(
            &[
                (ABUSE, "forged_errors_are_not_believed"),
                ("src/core/probe/sight.rs", "requests_replies_and_errors"),
            ],
            "a quote of eight bytes, which is all that RFC 792 asks of a router, holds no cookie: then address, identifier and number decide",
        ),
    ),
    case(
        "W7",
        "Echo replies with the wrong cookie, from another, late, twice",
        "Never a success; round trips come from our own table.",
        By(&[
            ("tests/prober.rs", "forged_replies_count_for_nothing"),
            (
                "tests/ping.rs",
                "the_wire_loses_delays_doubles_and_corrupts",
            ),
            (
                "src/core/probe/identity.rs",
                "what_was_sent_is_known_and_nothing_else",
            ),
        ]),
    ),
    case(
        "W8",
        "150,000 replies and errors of nobody beside a ping, as fast as they go",
        "The kernel's filter keeps them from the prober; no loss of ours is blamed on the path.",
        Partly(
            &[
                (ABUSE, "a_flood_of_replies_beside_a_ping"),
                ("src/core/probe/fate.rs", "our_own_losses_blame_nobody_else"),
            ],
            "at the rate that this machine sends, not at 1 Mpps",
        ),
    ),
    case(
        "W9",
        "Reports for a million groups; with 65,535 records in 64 bytes, and as many sources",
        "Who was there first stays, the rest is counted; what is not there is not read.",
        By(&[
            (ABUSE, "reports_that_announce_more_than_they_hold"),
            ("tests/mcast.rs", "a_flood_of_groups_costs_no_known_one"),
            (
                "src/core/multicast/group.rs",
                "who_was_there_first_stays_in_a_flood",
            ),
            (
                "src/core/multicast/querier.rs",
                "a_flood_of_queriers_is_counted",
            ),
        ]),
    ),
    case(
        "W10",
        "IGMP queries with a wrong checksum, without an address, of TTL 64, to one host, from another network",
        "Believed as hosts believe them, never more; the doctor names the strange ones.",
        By(&[
            (ABUSE, "queries_that_no_querier_sends"),
            ("tests/doctor.rs", "suspicious_igmp_query"),
            ("tests/doctor.rs", "illegal_mld_query"),
        ]),
    ),
    case(
        "W11",
        "100,000 ARP replies and neighbour advertisements that nobody asked for",
        "Only who was asked counts: no table grows over its bound, and a ping beside them is right.",
        By(&[
            (ABUSE, "a_flood_of_neighbours"),
            ("src/core/probe/neighbours.rs", "only_who_was_asked_tells"),
        ]),
    ),
    case(
        "W12",
        "50,000 LLDP and CDP neighbours with wrong lengths and control characters",
        "There is no table of them; the link store holds what it holds.",
        By(&[
            (ABUSE, "neighbours_at_layer_two_by_the_thousand"),
            ("tests/wire.rs", "changed_samples_are_survived"),
        ]),
    ),
    case(
        "W13",
        "Wrong checksums of IP, UDP and ICMP; partial ones",
        "Wrong is named, what hardware was to fill in is not wrong.",
        By(&[
            (ABUSE, "checksums_that_hardware_was_to_fill_in"),
            (
                "tests/wire.rs",
                "a_wrong_checksum_is_told_unless_hardware_was_to_fill_it_in",
            ),
        ]),
    ),
    case(
        "W14",
        "DNS, mDNS, LLMNR and NetBIOS names in circles, of 255 labels, with control characters; DHCP options that lie",
        "Reading ends; what is shown is plain.",
        By(&[
            (ABUSE, "names_in_a_circle"),
            ("tests/wire.rs", "names_end"),
            ("tests/wire.rs", "noise_is_survived"),
        ]),
    ),
    case(
        "W15",
        "Super-frames of 64 KiB, frames of 14 bytes, a link without a link layer",
        "Lengths are as handed over; nothing else is read into it.",
        By(&[
            (ABUSE, "super_frames_and_runts"),
            (ABUSE, "a_link_without_a_link_layer"),
        ]),
    ),
    case(
        "W16",
        "A frame at the ports of a bridge and at the bridge; the host's own",
        "Once by each vantage point, with its direction.",
        Partly(
            &[(ABUSE, "one_frame_at_each_port_of_a_bridge")],
            "on a bridge: this kernel has neither bonding nor VLAN devices",
        ),
    ),
    case(
        "W17",
        "Stamps of 1970, 2106, and going back",
        "The order is that of the file or the ring.",
        Partly(
            &[
                (ABUSE, "stamps_of_1970_and_2106"),
                (
                    "src/core/probe/clock.rs",
                    "reading_two_clocks_is_not_a_step_and_nonsense_is_no_time",
                ),
            ],
            "in files: stamps of hardware are not asked for, and no interface here would give them",
        ),
    ),
    case(
        "C1",
        "Sockets, bpf, io_uring, userfaultfd, keys, perf events from inside the engine",
        "Each ends the process.",
        By(&[
            (SANDBOX, "escapes_end_the_process"),
            (SANDBOX, "escapes_are_refused_where_told_so"),
        ]),
    ),
    case(
        "C2",
        "Execution, processes, tracing, namespaces, mounts, users, capabilities",
        "As C1.",
        By(&[
            (SANDBOX, "escapes_end_the_process"),
            (LIVE, "no_process_keeps_a_capability"),
        ]),
    ),
    case(
        "C3",
        "Reading files, writing them, memory of other processes",
        "As C1; of files landlock leaves /proc.",
        By(&[
            (SANDBOX, "files_are_refused"),
            (SANDBOX, "escapes_end_the_process"),
        ]),
    ),
    case(
        "C4",
        "Sending a frame, changing a filter, binding anew",
        "There is no packet socket to do it with.",
        By(&[
            (LIVE, "no_process_keeps_a_capability"),
            (SANDBOX, "escapes_end_the_process"),
        ]),
    ),
    case(
        "C5",
        "A million requests on the keeper's channel, replayed and with wrong arguments; with descriptors; nonsense",
        "The keeper goes on counting and recording, takes no descriptor, and ends an engine that speaks nonsense.",
        By(&[(ABUSE, "forged_requests_on_the_keepers_channel")]),
    ),
    case(
        "C6",
        "Everything else that is tested, under the sandbox that kills",
        "No violation.",
        By(&[
            (SANDBOX, "what_an_engine_needs_is_allowed"),
            (SANDBOX, "a_service_is_confined_and_says_so"),
        ]),
    ),
    case(
        "C7",
        "Engines that die of what they read, that hang, that get no memory",
        "Replaced by one that has all that they had; what engines die of is given up, and declared.",
        By(&[
            (ABUSE, "what_engines_die_of_is_given_up"),
            (ABUSE, "an_engine_without_memory_is_replaced"),
            (LIVE, "a_stopped_engine_is_replaced"),
            (LIVE, "killed_engines_lose_nothing"),
            (LIVE, "engines_that_keep_dying_are_not_started_at_once"),
        ]),
    ),
    case(
        "E1",
        "An interface down and up 200 times under traffic",
        "One interface, its gaps, nothing left behind.",
        By(&[
            (ABUSE, "an_interface_that_flaps"),
            (LIVE, "interfaces_come_and_go"),
            ("src/core/recorder/interfaces.rs", "flap_is_an_outage"),
        ]),
    ),
    case(
        "E2",
        "Renaming, deleting and making anew, moving to another namespace and back, reuse of an index",
        "Each life keeps its history.",
        By(&[
            (ABUSE, "an_interface_that_moves_away_and_back"),
            (LIVE, "interfaces_come_and_go"),
            (
                "src/core/recorder/interfaces.rs",
                "same_index_again_is_another_interface",
            ),
            (
                "src/core/recorder/interfaces.rs",
                "same_name_new_index_keeps_both_histories",
            ),
        ]),
    ),
    case(
        "E3",
        "A full disk, one that is read-only, a device that is always full, under `capture -w`",
        "The client says so; what fitted can be read; the record goes on in memory.",
        Partly(
            &[
                (ABUSE, "a_full_disk"),
                (
                    "src/client/capture_file.rs",
                    "truncated_files_do_not_panic",
                ),
            ],
            "without a slow disk or one with errors, for which this kernel has no device; the service itself writes no file",
        ),
    ),
    case(
        "E4",
        "SIGKILL at any moment",
        "What is left can be opened, and is what was committed.",
        By(&[
            ("tests/kill.rs", "kills_at_random_moments"),
            ("tests/kill.rs", "kills_at_random_moments_with_systemd"),
            (
                "src/core/recorder/cursor.rs",
                "a_killed_writer_leaves_the_last_commit",
            ),
        ]),
    ),
    case(
        "E5",
        "Restarts under systemd",
        "Nobody is turned away, nothing is missing in silence.",
        By(&[
            ("tests/kill.rs", "restarts_under_load_lose_nothing"),
            ("tests/kill.rs", "what_does_not_fit_is_declared"),
        ]),
    ),
    case(
        "E6",
        "Steps of the clock",
        "Round trips are of the monotonic clock.",
        By(&[(
            "src/core/probe/clock.rs",
            "a_clock_set_back_changes_no_round_trip",
        )]),
    ),
    case(
        "E7",
        "More news of links than netlink's queue holds, and links that come and go while it is read anew",
        "All is asked anew, until it is as `ip link` has it; the engine stays.",
        By(&[(ABUSE, "more_news_of_links_than_there_is_room_for")]),
    ),
    case(
        "E8",
        "A full queue at the interface",
        "Not sent is not lost.",
        By(&[("tests/ping.rs", "a_full_local_queue")]),
    ),
    case(
        "E9",
        "No memory",
        "The engine is replaced, nothing is lost.",
        Partly(
            &[(ABUSE, "an_engine_without_memory_is_replaced")],
            "by a limit of the process: memory of a cgroup is the unit's business (.ci/systemd), and a ring that the kernel refuses can't be had here",
        ),
    ),
    case(
        "E10",
        "No descriptors: in the engine, and in the keeper on a host with many links",
        "Named in `status`; the next engine can always be started.",
        By(&[
            (ABUSE, "memberships_leave_descriptors_for_the_next_engine"),
            (ABUSE, "no_descriptor_is_left"),
        ]),
    ),
    case(
        "E11",
        "The engine, then the keeper, held for five seconds under traffic",
        "Nothing is lost that is not declared, and nobody is replaced.",
        By(&[
            (ABUSE, "a_pause_of_five_seconds"),
            (LIVE, "a_stopped_engine_is_replaced"),
        ]),
    ),
    case(
        "E12",
        "A log that nobody reads",
        "Nothing waits for it.",
        By(&[
            ("tests/log.rs", "a_service_lives_with_a_full_journal"),
            ("tests/log.rs", "a_full_pipe_costs_lines"),
            ("tests/log.rs", "a_full_socket_costs_lines"),
        ]),
    ),
    case(
        "E13",
        "A second service, the socket of a dead one, something else in its place",
        "One serves; what is no socket is never removed.",
        By(&[
            (ABUSE, "a_socket_of_the_dead"),
            (ABUSE, "links_in_the_place_of_files"),
            (LIVE, "two_services_do_not_share_a_socket"),
        ]),
    ),
    case(
        "E14",
        "Kernels without landlock, close_range, pidfd, clone3, openat2",
        "It serves, records and probes, and says what is missing.",
        Partly(
            &[(ABUSE, "an_old_kernel")],
            "calls that an old kernel has not are refused; other kernels are not to be had here",
        ),
    ),
];

/// The sources that a test of that file may stand in: itself, and the files of its folder.
fn sources(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
    let folder = root.join(file.trim_end_matches(".rs"));
    if file.starts_with("tests/")
        && let Ok(entries) = std::fs::read_dir(folder)
    {
        for entry in entries.flatten() {
            text.push_str(&std::fs::read_to_string(entry.path()).unwrap_or_default());
        }
    }
    text
}

/// Is it there, and where tests are listed by hand, in the list?
fn is_there(file: &str, test: &str) -> bool {
    let text = sources(file);
    let is_listed = !text.contains("support::main") || text.contains(&format!("\"{test}\""));
    text.contains(&format!("fn {test}(")) && is_listed
}

fn table() -> String {
    let mut rows = String::new();
    let (mut with, mut named) = (0, BTreeSet::new());
    for Case {
        id,
        abuse,
        holds,
        shown,
    } in CASES
    {
        let (tests, but) = match shown {
            By(tests) => (*tests, None),
            Partly(tests, but) => (*tests, Some(*but)),
        };
        let mut cells: Vec<String> = vec![];
        for (file, test) in tests {
            let there = is_there(file, test);
            assert!(there, "{id}: there is no test {test} in {file}");
            named.insert((*file, *test));
            let at = match *file {
                ABUSE => String::new(),
                file => format!(" ({file})"),
            };
            cells.push(format!("`{test}`{at}"));
        }
        with += u32::from(tests.iter().any(|(file, test)| is_there(file, test)));
        let mut cell = cells.join(", ");
        if let Some(but) = but {
            cell.push_str("; ");
            cell.push_str(but);
        }
        rows.push_str(&format!("| {id} | {abuse} | {holds} | {cell} |\n"));
    }
    // None of ours is forgotten, and what is expected elsewhere is expected for a case.
    let own = [
        super::control::TESTS,
        super::wire::TESTS,
        super::process::TESTS,
        super::environment::TESTS,
    ];
    for (test, _) in own.concat() {
        assert!(named.contains(&(ABUSE, test)), "{test} is of no case");
    }
    format!(
        "# What it survives\n\n\
         Generated from `tests/abuse/table.rs`; `NETSONDE_BLESS=1 cargo test --test abuse table` writes it.\n\n\
         {with} of {} cases have a test: on the control socket (L), on the wire (W), from a compromised process (C), by\n\
         the environment (E). Except where the case is an end or a start, no process ends, a well-behaved client is\n\
         answered all the while, every packet is kept or declared, and afterwards descriptors are what they were and\n\
         memory is within 16 MiB of it (`tests/abuse/watch.rs`). Each test of `tests/abuse.rs` prints its figures:\n\
         `cargo test --test abuse -- --nocapture`.\n\n\
         | case | what is done | what holds | tests |\n|---|---|---|---|\n{rows}",
        CASES.len(),
    )
}

pub fn the_table_is_what_is_tested() -> Outcome {
    let ids: BTreeSet<&str> = CASES.iter().map(|case| case.id).collect();
    assert_eq!((ids.len(), CASES.len()), (58, 58));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ABUSE.md");
    let text = table();
    if std::env::var_os("NETSONDE_BLESS").is_some() {
        std::fs::write(&path, &text)?;
    }
    assert_eq!(
        std::fs::read_to_string(&path)?,
        text,
        "NETSONDE_BLESS=1 writes it anew"
    );
    Ok(())
}
