//! What the architecture promises, read from the source.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/source.rs"]
mod source;

use std::path::Path;

use source::{code, sources};

#[test]
fn pure_modules_name_no_socket_file_thread_or_clock() {
    let forbidden = [
        "std::fs",
        "std::thread",
        "std::process",
        "std::env",
        "std::io",
        "std::os",
        "std::time",
        "Instant",
        "SystemTime",
        "UdpSocket",
        "TcpStream",
        "UnixStream",
        "socket2",
        "nix::",
        "libc::",
        "tokio",
        "tracing",
    ];
    for (path, text) in sources("src/core") {
        check_names(&path, &text, &forbidden);
    }
    // The history's disk.rs opens files, and `io::Error` is what a directory returns.
    for (path, text) in sources("src/history") {
        let is_example = path.components().any(|part| part.as_os_str() == "examples");
        let is_shell = text.starts_with("//! SHELL.");
        assert_eq!(
            is_shell,
            is_example || path.ends_with("disk.rs"),
            "{}",
            path.display()
        );
        if !is_shell && !path.ends_with("store/tests.rs") {
            let forbidden = forbidden.iter().filter(|word| **word != "std::io");
            check_names(&path, &text, &forbidden.copied().collect::<Vec<_>>());
        }
    }
}

fn check_names(path: &Path, text: &str, forbidden: &[&str]) {
    for word in forbidden {
        assert!(
            !code(text).contains(word),
            "{} names {word}",
            path.display()
        );
    }
}

/// Files that may use `unsafe`, each for one reason that stands at its top.
const UNSAFE: [&str; 13] = [
    "src/linux/processes.rs",
    "src/linux/option.rs",
    "src/linux/mapping.rs",
    "src/daemon/keeper/sys.rs",
    "src/daemon/channel/handover.rs",
    "src/varlink/server/ready.rs",
    "src/daemon/engine/prober/batch.rs",
    "src/linux/received.rs",
    "src/client/filter/libpcap.rs",
    "src/linux/group_socket.rs",
    "src/linux/names.rs",
    "src/historian/memory.rs",
    "src/lab/sys.rs",
];

#[test]
fn unsafe_only_in_listed_files_with_reasons() {
    for (path, text) in sources("src") {
        let name = path
            .strip_prefix(env!("CARGO_MANIFEST_DIR"))
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let uses = line.contains("unsafe {")
                || line.contains("unsafe impl")
                || line.contains("unsafe fn");
            if !uses || line.trim_start().starts_with("//") {
                continue;
            }
            assert!(
                UNSAFE.contains(&name.as_str()),
                "{name}:{} uses unsafe",
                at + 1
            );
            let reason = lines[at.saturating_sub(5)..=at]
                .iter()
                .any(|line| line.contains("SAFETY:"));
            assert!(reason, "{name}:{} has no SAFETY comment", at + 1);
        }
    }
}

/// Places that write past `client/screen.rs`: packets, completion scripts, and questions whether a terminal is there;
/// and the pipe to the client that becomes the log of its private historian.
const UNSCREENED: [(&str, &str); 4] = [
    (
        "src/client/guard.rs",
        "io::stdout().as_fd().try_clone_to_owned()",
    ),
    ("src/client/files/output_file.rs", "io::stdout()"),
    (
        "src/client/cli/run.rs",
        "std::io::stdout().write_all(&script)",
    ),
    ("src/client/cli/run.rs", "std::io::stdout().flush()"),
];

#[test]
fn all_output_of_the_client_passes_the_screen() {
    for (path, text) in sources("src/client") {
        let path = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
        if path.ends_with("screen.rs") {
            continue;
        }
        for line in code(&text).lines() {
            let streams = ["::stdout()", "::stderr()", " println!", "print!("];
            let is_screened = line.contains("screen::")
                || line.contains("is_terminal")
                || line.contains("terminal_columns(")
                || UNSCREENED
                    .iter()
                    .any(|(file, words)| path.ends_with(file) && line.contains(words));
            let writes = streams.iter().any(|stream| line.contains(stream));
            assert!(!writes || is_screened, "{}: {line}", path.display());
        }
    }
}

#[test]
fn every_module_has_documentation() {
    for (path, text) in sources("src") {
        let first = text.lines().next().unwrap_or_default();
        let printed = ["//! PURE.", "//! SHELL.", "//! PRIVILEGED"]
            .iter()
            .any(|word| first.starts_with(word));
        let is_root = path.ends_with("lib.rs") || path.parent().unwrap().ends_with("bin");
        assert!(
            printed || is_root,
            "{} does not begin with its kind: {first}",
            path.display()
        );
    }
}

/// Nouns whose count `text::counted` words, so that nothing says "1 packets".
const COUNTED: &[&str] = &[
    "packets",
    "users",
    "queries",
    "claims",
    "groups",
    "probes",
    "replies",
    "frames",
    "flows",
    "hosts",
    "targets",
    "events",
    "gaps",
    "times",
    "memberships",
    "processes",
    "announcements",
    "neighbors",
    "scenes",
    "interfaces",
    "sources",
    "changes",
    "lines",
];

/// Texts that are another program's (ping's summary and short line), verbs, and counts that are never 1.
const NOT_COUNTED: &[&str] = &[
    "{} packets transmitted",
    "but {} claims {address}",
    "{refused} of {} probes were refused",
    "{}/{} packets, {loss}% loss",
    "{protocol} queries from",
    "the querier {} queries",
    "the querier on {} queries",
    "{}: {} probes of {} bytes were lost",
    "{subject} to {} {} times a second",
    "frame to all hosts comes {} times a second",
    "{name} lost its link {} times within",
];

#[test]
fn counts_agree_with_their_noun() {
    let mut wrong = Vec::new();
    for folder in [
        "src/client",
        "src/core/diagnose",
        "src/core/events",
        "src/core/probe",
    ] {
        for (path, text) in sources(folder) {
            let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
            for (at, line) in text[..tests].lines().enumerate() {
                let is_comment = line.trim_start().starts_with("//");
                if is_comment || NOT_COUNTED.iter().any(|allowed| line.contains(allowed)) {
                    continue;
                }
                for noun in COUNTED {
                    let counts = line
                        .match_indices(&format!("}} {noun}"))
                        .any(|(found, shown)| {
                            let rest = &line[found + shown.len()..];
                            !rest.starts_with(|c: char| c.is_ascii_alphabetic())
                        });
                    if counts {
                        wrong.push(format!("{}:{}: {}", path.display(), at + 1, line.trim()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "use text::counted:\n{}", wrong.join("\n"));
}
