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
const BOUNDARY: &str = "tests/boundary.rs";

const CASES: &[Case] = &[
    case(
        "L1",
        "10,000 idle connections of one user",
        "At most 16 stay; the others are closed with the reason. Other users are answered.",
        By(&[
            (ABUSE, "idle_connection_flood"),
            (LIVE, "control_socket_abuse"),
        ]),
    ),
    case(
        "L2",
        "32 half-open requests of one byte each",
        "They give way to new connections, and end after 5 s.",
        By(&[(ABUSE, "idle_connections_give_way")]),
    ),
    case(
        "L3",
        "A request sent byte by byte",
        "The whole request has 5 s, not each byte.",
        By(&[(ABUSE, "slow_requests_time_out")]),
    ),
    case(
        "L4",
        "Length prefixes of 1 GiB, 2^64-1 and 0; the same numbers as parameters",
        "No claimed length is trusted or allocated; no arithmetic overflows.",
        By(&[(ABUSE, "out_of_range_numbers")]),
    ),
    case(
        "L5",
        "1 GiB without an end of request",
        "Closed at 64 KiB, with the reason.",
        By(&[
            (ABUSE, "requests_without_an_end_are_refused"),
            (LIVE, "control_socket_abuse"),
        ]),
    ),
    case(
        "L6",
        "The input buffer full or half closed, then the connection closed, with and without a running call",
        "The client's calls end with it; no busy loop.",
        By(&[(ABUSE, "full_pipes_and_closed_connections")]),
    ),
    case(
        "L7",
        "Packet readers that never read",
        "Nothing is queued for them, the record is complete, and after 30 s they are disconnected.",
        By(&[
            (ABUSE, "blocked_readers"),
            (
                "src/core/recorder/cursor.rs",
                "a_slow_reader_knows_what_it_missed",
            ),
        ]),
    ),
    case(
        "L8",
        "Packet readers that read ten bytes per second",
        "As L7: memory stays flat.",
        Partly(
            &[(ABUSE, "blocked_readers")],
            "for half a minute instead of an hour, after which they are disconnected",
        ),
    ),
    case(
        "L9",
        "JSON: depth 30,000, 6,000 keys, keys twice, 1e309, NaN, 2^64, trailing text",
        "A typed error in bounded time.",
        By(&[(ABUSE, "malformed_json")]),
    ),
    case(
        "L10",
        "Control characters, invalid UTF-8, NUL and lone surrogates in names of links, arguments, filters and methods",
        "Neither output nor log contains terminal escapes; other interfaces are recorded as before.",
        By(&[
            (ABUSE, "terminal_escapes_in_names"),
            ("src/linux/netlink.rs", "names_are_fit_to_be_shown"),
            (
                "tests/captures.rs",
                "capture_files_are_decoded_within_a_second",
            ),
        ]),
    ),
    case(
        "L11",
        "1,000 messages with 253 descriptors each",
        "None is kept.",
        By(&[(ABUSE, "unrequested_descriptors_are_closed")]),
    ),
    case(
        "L12",
        "A directory, FIFO, file, device, O_PATH descriptor, datagram or TCP socket passed as the control socket",
        "Refused before anything is opened. From clients no descriptor is ever accepted (L11).",
        By(&[(ABUSE, "unusable_passed_sockets_are_refused")]),
    ),
    case(
        "L13",
        "Requests without permission, by users inside and outside the group",
        "A typed error that discloses nothing.",
        By(&[
            ("tests/permission.rs", "permission_tiers"),
            ("tests/permission.rs", "payload_is_cut_without_permission"),
            ("tests/permission.rs", "permission_is_checked_per_request"),
            (
                "src/core/config/permission.rs",
                "unmapped_users_match_no_entry",
            ),
        ]),
    ),
    case(
        "L14",
        "Forged SCM_CREDENTIALS; a setuid client with a hostile environment",
        "The identity is that of the peer credentials at connect. (A connection that root made stays root's: it must not be passed on.)",
        By(&[(ABUSE, "identity_comes_from_peer_credentials")]),
    ),
    case(
        "L15",
        "Symbolic links in place of the socket and its lock",
        "Refused, and nothing is created or changed elsewhere. A path named by a client is never opened.",
        By(&[
            (ABUSE, "symlinks_instead_of_files"),
            (SANDBOX, "sandbox_kills_on_escapes"),
            ("tests/protocol.rs", "capture_types_agree"),
        ]),
    ),
    case(
        "L16",
        "Filter programs that are too long, do not end, or have jumps, loads or operands out of bounds; the longest valid one on all packets",
        "Programs that the kernel would reject are rejected; accepted ones end, in bounded turns.",
        By(&[
            (ABUSE, "filter_size_limits"),
            ("src/core/recorder/filter.rs", "any_verified_program_ends"),
            (
                "src/core/recorder/filter.rs",
                "refuses_what_the_kernel_refuses",
            ),
            (
                "tests/filter_machine.rs",
                "rejected_programs_match_the_kernel",
            ),
            ("tests/filter_machine.rs", "verdicts_match_the_kernel"),
        ]),
    ),
    case(
        "L17",
        "Probe floods by one user; to broadcast, from a foreign address, with TTL 1",
        "The rates per user and in total are kept; only root may use broadcast.",
        By(&[
            (ABUSE, "probe_rate_is_limited_per_user"),
            ("tests/prober.rs", "impossible_requests_are_rejected"),
            ("src/core/probe/bucket.rs", "rate_is_not_exceeded"),
        ]),
    ),
    case(
        "L18",
        "Endless requests on eight connections, then SIGKILL; 600 calls started and abandoned",
        "Other clients are served in turn; the calls of a closed connection end.",
        By(&[
            (ABUSE, "pipelined_requests_of_a_killed_client"),
            (ABUSE, "cancelled_calls_leave_nothing_behind"),
            ("tests/prober.rs", "probes_end_with_their_client"),
        ]),
    ),
    case(
        "L19",
        "Unknown methods, interfaces and versions, many at once",
        "One typed error each, in order; the connection survives.",
        By(&[(ABUSE, "unknown_methods_and_reply_order")]),
    ),
    case(
        "L20",
        "300 clients with 256 descriptors allowed, and with none left",
        "Clients up to the descriptor limit; further ones are refused without a busy loop, and served again later.",
        By(&[
            (ABUSE, "descriptor_limit_bounds_clients"),
            (ABUSE, "descriptor_exhaustion"),
        ]),
    ),
    case(
        "W1",
        "Every prefix of every kind of frame",
        "No read past the end; truncated is not malformed.",
        By(&[
            ("tests/wire.rs", "truncated_samples_do_not_panic"),
            ("tests/wire.rs", "problem_kinds_are_distinguished"),
            ("tests/captures.rs", "truncated_packets_do_not_panic"),
            ("src/core/wire/glance.rs", "no_prefix_panics"),
        ]),
    ),
    case(
        "W2",
        "IPv4 header lengths 0 to 15, total lengths below, above and 0",
        "The captured length counts; wrong lengths are reported.",
        By(&[(ABUSE, "wrong_header_lengths")]),
    ),
    case(
        "W3",
        "0 to 64 VLAN tags of all kinds, priority tags, with one taken out by the kernel",
        "Eight are decoded, further ones are reported; lengths are those on the wire.",
        By(&[
            (ABUSE, "nested_vlan_tags"),
            ("src/core/recorder/cursor.rs", "tags_go_back_in"),
            ("tests/wire.rs", "casts_and_tags"),
        ]),
    ),
    case(
        "W4",
        "Up to 170 IPv6 extension headers, without length, too long, AH, ESP, jumbograms",
        "Sixteen are decoded, in linear time.",
        By(&[(ABUSE, "extension_headers_without_end")]),
    ),
    case(
        "W5",
        "60,000 fragments: never ending, overlapping, too long, tiny",
        "Fragments are not reassembled, so nothing is kept for them.",
        By(&[
            (ABUSE, "fragment_flood"),
            ("src/core/wire/glance.rs", "later_fragments_have_no_ports"),
        ]),
    ),
    case(
        "W6",
        "ICMP errors that quote forged, cut and nested packets",
        "Ignored: a probe is identified by its cookie.",
        Partly(
            &[
                (ABUSE, "forged_errors_are_ignored"),
                ("src/core/probe/sight.rs", "requests_replies_and_errors"),
            ],
            "a quote of eight bytes, which is all that RFC 792 asks of a router, holds no cookie: then address, identifier and number decide",
        ),
    ),
    case(
        "W7",
        "Echo replies with a wrong cookie, late, or twice",
        "Never counted as a reply; round-trip times come from the prober's own table. A right cookie counts from any address.",
        By(&[
            ("tests/prober.rs", "forged_replies_are_ignored"),
            (
                "tests/ping_replies.rs",
                "replies_from_another_address_count",
            ),
            (
                "tests/ping.rs",
                "wire_loss_delay_duplication_and_corruption",
            ),
            (
                "src/core/probe/identity.rs",
                "altered_and_forged_payloads_are_detected",
            ),
        ]),
    ),
    case(
        "W8",
        "150,000 unrelated replies and errors during a ping, at full speed",
        "The kernel's filter keeps them from the prober; local losses are not attributed to the path.",
        Partly(
            &[
                (ABUSE, "reply_flood_during_a_ping"),
                (
                    "src/core/probe/fate.rs",
                    "own_drops_are_not_blamed_on_the_path",
                ),
            ],
            "at the rate that this machine sends, not at 1 Mpps",
        ),
    ),
    case(
        "W9",
        "Reports for a million groups; with 65,535 records in 64 bytes, and as many sources",
        "Known groups stay, further ones are counted; missing records are not read.",
        By(&[
            (ABUSE, "oversized_report_counts"),
            ("tests/mcast.rs", "group_floods_keep_known_groups"),
            (
                "src/core/multicast/group.rs",
                "flood_of_reports_evicts_no_member",
            ),
            (
                "src/core/multicast/querier.rs",
                "queriers_over_the_limit_are_counted",
            ),
        ]),
    ),
    case(
        "W10",
        "IGMP queries with a wrong checksum, without source address, with TTL 64, to one host, from another network",
        "Accepted only if hosts accept them; the doctor reports the unusual ones.",
        By(&[
            (ABUSE, "malformed_queries"),
            ("tests/doctor.rs", "suspicious_igmp_query"),
            ("tests/doctor.rs", "illegal_mld_query"),
        ]),
    ),
    case(
        "W11",
        "100,000 unsolicited ARP replies and neighbor advertisements",
        "Only solicited ones count: no table exceeds its bound, and a concurrent ping is correct.",
        By(&[
            (ABUSE, "neighbor_flood"),
            (
                "src/core/probe/neighbors.rs",
                "unsolicited_answers_are_ignored",
            ),
        ]),
    ),
    case(
        "W12",
        "50,000 LLDP and CDP neighbors with wrong lengths and control characters",
        "No table is kept of them; the link store stays within its size.",
        By(&[
            (ABUSE, "mac_address_flood"),
            ("tests/wire.rs", "mutated_samples_do_not_panic"),
        ]),
    ),
    case(
        "W13",
        "Wrong checksums of IP, UDP and ICMP; partial ones",
        "Wrong checksums are reported, except those left to hardware.",
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
        "DNS, mDNS, LLMNR and NetBIOS names with loops, 255 labels or control characters; DHCP options with wrong lengths",
        "Decoding ends; output has no control characters.",
        By(&[
            (ABUSE, "dns_compression_loops"),
            ("tests/wire.rs", "dns_names_terminate"),
            ("tests/wire.rs", "random_bytes_do_not_panic"),
        ]),
    ),
    case(
        "W15",
        "Super-frames of 64 KiB, frames of 14 bytes, a link without a link layer",
        "Lengths are those of the capture; nothing else is inferred.",
        By(&[
            (ABUSE, "oversized_and_runt_frames"),
            (ABUSE, "tun_interface_has_no_link_layer"),
        ]),
    ),
    case(
        "W16",
        "One frame at the ports of a bridge and at the bridge; the host's own frames",
        "Recorded once per vantage point, with direction.",
        Partly(
            &[(ABUSE, "bridged_frame_is_recorded_per_port")],
            "on a bridge: this kernel has neither bonding nor VLAN devices",
        ),
    ),
    case(
        "W17",
        "Time stamps of 1970, of 2106, and going back",
        "The order of the file or ring is kept.",
        Partly(
            &[
                (ABUSE, "stamps_of_1970_and_2106"),
                (
                    "src/core/probe/clock.rs",
                    "small_offsets_are_no_step_and_impossible_stamps_are_rejected",
                ),
            ],
            "in files: hardware time stamps are not requested, and no interface here has them",
        ),
    ),
    case(
        "C1",
        "Sockets, bpf, io_uring, userfaultfd, keys, perf events from inside the engine",
        "Each ends the process.",
        By(&[
            (SANDBOX, "sandbox_kills_on_escapes"),
            (SANDBOX, "sandbox_refuses_escapes_with_errno"),
        ]),
    ),
    case(
        "C2",
        "Execution, processes, tracing, namespaces, mounts, users, capabilities",
        "As C1.",
        By(&[
            (SANDBOX, "sandbox_kills_on_escapes"),
            (LIVE, "processes_hold_no_capability"),
        ]),
    ),
    case(
        "C3",
        "Reading files, writing them, memory of other processes",
        "As C1; of files landlock leaves /proc.",
        By(&[
            (SANDBOX, "sandbox_refuses_files"),
            (SANDBOX, "sandbox_kills_on_escapes"),
        ]),
    ),
    case(
        "C4",
        "Sending a frame, changing a filter, binding again",
        "The engine has no packet socket.",
        By(&[
            (LIVE, "processes_hold_no_capability"),
            (SANDBOX, "sandbox_kills_on_escapes"),
        ]),
    ),
    case(
        "C5",
        "Ten thousand requests on the keeper's channel with wrong arguments; with descriptors; invalid ones; more than any engine sends",
        "Counting and recording continue, no descriptor is kept, and an engine that sends invalid requests, or too many, is ended.",
        By(&[
            (ABUSE, "forged_requests_on_the_keeper_channel"),
            (BOUNDARY, "every_request_has_a_rate"),
        ]),
    ),
    case(
        "C6",
        "All other tests, under the sandbox that kills",
        "No violation.",
        By(&[
            (SANDBOX, "sandbox_allows_needed_calls"),
            (SANDBOX, "engine_is_sandboxed_and_status_shows_it"),
        ]),
    ),
    case(
        "C7",
        "Engines that crash on input, hang, or get no memory",
        "Replaced by an engine with the same state; input that crashes engines is quarantined and declared.",
        By(&[
            (ABUSE, "crash_loops_are_quarantined"),
            (ABUSE, "engine_out_of_memory_is_replaced"),
            (LIVE, "stopped_engine_is_replaced"),
            (LIVE, "killed_engines_lose_nothing"),
            (LIVE, "crashing_engines_restart_with_backoff"),
        ]),
    ),
    case(
        "C8",
        "Settings, counters, record and rings rewritten by the engine",
        "The next engine has the settings of the configuration and reads the rest as hostile input; a record with which no engine gets ready is given up.",
        By(&[
            (BOUNDARY, "settings_are_out_of_reach"),
            (BOUNDARY, "a_scribbled_record_stops_no_engine"),
            (BOUNDARY, "a_scribbled_ring_stops_no_engine"),
            (BOUNDARY, "a_record_that_stops_engines_is_given_up"),
            (
                "src/core/recorder/store.rs",
                "damaged_memory_stops_no_reader",
            ),
        ]),
    ),
    case(
        "C9",
        "Open file descriptions that the engine shares made blocking, filled, or shut down",
        "The filter does not let an engine do so. If others do, the keeper waits for nothing, the next engine restores them, and a lost control socket ends the service, which says so.",
        By(&[
            (SANDBOX, "sandbox_kills_on_escapes"),
            (BOUNDARY, "allowed_calls_on_every_descriptor_leave_no_trace"),
            (BOUNDARY, "shared_descriptions_cannot_stop_the_keeper"),
            (BOUNDARY, "a_listener_that_was_shut_down_ends_the_service"),
        ]),
    ),
    case(
        "C10",
        "Messages by the raw sockets: router advertisements, redirects, IGMP queries and leaves",
        "Sockets that listen cannot send, so no IGMP leaves the engine.",
        Partly(
            &[
                (BOUNDARY, "listeners_cannot_send"),
                (BOUNDARY, "the_example_firewall_lets_probes_pass_alone"),
            ],
            "without that firewall the two sockets that probe send any ICMP and ICMPv6 message",
        ),
    ),
    case(
        "C11",
        "Requests for promiscuous mode and groups that the configuration does not name",
        "Ignored, and logged.",
        By(&[
            (BOUNDARY, "promiscuous_mode_is_as_configured"),
            (BOUNDARY, "groups_are_joined_as_configured"),
        ]),
    ),
    case(
        "E1",
        "An interface set down and up 200 times under traffic",
        "One interface, its gaps, and no leak.",
        By(&[
            (ABUSE, "flapping_interface"),
            (LIVE, "interfaces_come_and_go"),
            ("src/core/recorder/interfaces.rs", "flap_is_an_outage"),
        ]),
    ),
    case(
        "E2",
        "Renaming, deleting and creating again, moving to another namespace and back, reuse of an index",
        "Each interface keeps its own history.",
        By(&[
            (ABUSE, "interface_moves_between_namespaces"),
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
        "The client reports it; the written part is readable; recording in memory continues.",
        Partly(
            &[
                (ABUSE, "full_disk"),
                (
                    "src/client/files/capture_file.rs",
                    "truncated_files_do_not_panic",
                ),
            ],
            "without a slow disk or one with errors, for which this kernel has no device; the service itself writes no file",
        ),
    ),
    case(
        "E4",
        "SIGKILL at any moment",
        "The remaining record can be opened, and holds what was committed.",
        By(&[
            ("tests/kill.rs", "random_kills_lose_nothing"),
            ("tests/kill.rs", "random_kills_with_systemd_lose_nothing"),
            (
                "src/core/recorder/cursor.rs",
                "a_killed_writer_leaves_the_last_commit",
            ),
        ]),
    ),
    case(
        "E5",
        "Restarts under systemd",
        "No client is refused, and no loss is undeclared.",
        By(&[
            ("tests/kill.rs", "restarts_under_load_lose_nothing"),
            ("tests/kill.rs", "overflow_is_declared"),
        ]),
    ),
    case(
        "E6",
        "Steps of the wall clock",
        "Round-trip times are measured on the monotonic clock.",
        By(&[(
            "src/core/probe/clock.rs",
            "setting_the_clock_keeps_round_trips",
        )]),
    ),
    case(
        "E7",
        "More link changes than the netlink queue holds, and links that come and go during the new dump",
        "All links are dumped again, until they match `ip link`; the engine stays.",
        By(&[(ABUSE, "netlink_overrun_resynchronizes")]),
    ),
    case(
        "E8",
        "A full queue at the interface",
        "Probes that were not sent do not count as lost.",
        By(&[("tests/ping.rs", "full_local_queue")]),
    ),
    case(
        "E9",
        "No memory",
        "The engine is replaced, nothing is lost.",
        Partly(
            &[(ABUSE, "engine_out_of_memory_is_replaced")],
            "by a process limit: cgroup memory is limited by the unit (.ci/systemd), and a ring that the kernel refuses cannot be made here",
        ),
    ),
    case(
        "E10",
        "No descriptors: in the engine, and in the keeper on a host with many links",
        "Shown in `status`; the next engine can always be started.",
        By(&[
            (ABUSE, "memberships_leave_descriptors_for_engines"),
            (ABUSE, "descriptor_exhaustion"),
        ]),
    ),
    case(
        "E11",
        "The engine, then the keeper, stopped for five seconds under traffic",
        "Every loss is declared, and neither is replaced.",
        By(&[
            (ABUSE, "stopped_processes_resume"),
            (LIVE, "stopped_engine_is_replaced"),
        ]),
    ),
    case(
        "E12",
        "A log that is not read",
        "The service does not block on it.",
        By(&[
            ("tests/log.rs", "service_survives_a_full_journal"),
            ("tests/log.rs", "full_pipe_drops_log_lines"),
            ("tests/log.rs", "full_socket_drops_log_lines"),
        ]),
    ),
    case(
        "E13",
        "A second service, the socket of a dead one, another file in its place",
        "One service answers; a file that is not a socket is never removed.",
        By(&[
            (ABUSE, "stale_socket_files_are_replaced"),
            (ABUSE, "symlinks_instead_of_files"),
            (LIVE, "two_services_do_not_share_a_socket"),
        ]),
    ),
    case(
        "E14",
        "Kernels without landlock, close_range, pidfd, clone3, openat2",
        "The service serves, records and probes, and reports what is missing.",
        Partly(
            &[(ABUSE, "old_kernel")],
            "calls that old kernels lack are refused; other kernels are not available here",
        ),
    ),
];

/// The sources in which a test of a file may be defined: the file itself, and the files of its folder.
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

/// Whether a test is defined and, where tests are listed by hand, listed.
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
        assert!(named.contains(&(ABUSE, test)), "{test} belongs to no case");
    }
    format!(
        "# Abuses that the service survives\n\n\
         Generated from `tests/abuse/table.rs`; `NETSONDE_BLESS=1 cargo test --test abuse table` writes it.\n\n\
         {with} of {} cases have a test: on the control socket (L), on the wire (W), from a compromised process (C), by\n\
         the environment (E). Unless a case starts or ends a process, no process ends, a well-behaved client is answered\n\
         throughout, every packet is kept or declared, and afterwards the number of descriptors is the same and memory\n\
         within 16 MiB of the start (`tests/abuse/watch.rs`). Each test of `tests/abuse.rs` prints its figures:\n\
         `cargo test --test abuse -- --nocapture`.\n\n\
         | case | abuse | guarantee | tests |\n|---|---|---|---|\n{rows}",
        CASES.len(),
    )
}

pub fn table_is_up_to_date() -> Outcome {
    let ids: BTreeSet<&str> = CASES.iter().map(|case| case.id).collect();
    assert_eq!((ids.len(), CASES.len()), (62, 62));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ABUSE.md");
    let text = table();
    if std::env::var_os("NETSONDE_BLESS").is_some() {
        std::fs::write(&path, &text)?;
    }
    assert_eq!(
        std::fs::read_to_string(&path)?,
        text,
        "outdated: regenerate with NETSONDE_BLESS=1"
    );
    Ok(())
}
