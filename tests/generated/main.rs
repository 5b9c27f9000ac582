//! Manual pages and the default configuration are generated from the definitions in the source. This
//! test fails if the files in the repository differ; `NETSONDE_BLESS=1 cargo test --test generated`
//! writes them.
#![allow(missing_docs, clippy::unwrap_used)]

mod commands;
mod history;
mod reference;
mod roff;
#[path = "../support/varlink.rs"]
mod varlink;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use netsonde::client::cli::manual::pages;
use netsonde_core::config::default_file;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

/// Compares a file with the generated text, or writes it.
fn check(name: &str, generated: &str) {
    let path = root().join(name);
    if std::env::var_os("NETSONDE_BLESS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        present == generated,
        "{name} differs from the source: run NETSONDE_BLESS=1 cargo test --test generated"
    );
    if name.ends_with(|c: char| c.is_ascii_digit()) {
        lint(&path);
    }
}

/// Runs mandoc's checks. References to pages of other packages cannot be resolved everywhere.
fn lint(path: &Path) {
    let output = Command::new("mandoc")
        .args(["-T", "lint", "-W", "style"])
        .arg(path)
        .stderr(Stdio::piped())
        .output();
    let Ok(output) = output else {
        eprintln!(
            "SKIPPED: mandoc is not installed, {} is not checked",
            path.display()
        );
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("referenced manual not found"))
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn netsonde_1() {
    check("man/netsonde.1", &commands::overview());
}

#[test]
fn pages_of_commands() {
    for page in pages() {
        check(&format!("man/{}.1", page.name()), &commands::command(page));
    }
}

#[test]
fn netsonded_8() {
    check("man/netsonded.8", &reference::netsonded_8());
}

#[test]
fn netsonde_historian_8() {
    check("man/netsonde-historian.8", &history::netsonde_historian_8());
}

#[test]
fn monitors_toml_5() {
    check("man/monitors.toml.5", &history::monitors_toml_5());
}

#[test]
fn netsonde_toml_5() {
    check("man/netsonde.toml.5", &reference::netsonde_toml_5());
    check("systemd/netsonde.toml", &default_file());
}

#[test]
fn netsonde_protocol_7() {
    check("man/netsonde-protocol.7", &reference::netsonde_protocol_7());
}

#[test]
fn netsonde_findings_7() {
    check("man/netsonde-findings.7", &reference::netsonde_findings_7());
}

#[test]
fn netsonde_families_7() {
    check("man/netsonde-families.7", &reference::netsonde_families_7());
}

#[test]
fn netsonde_events_7() {
    check("man/netsonde-events.7", &reference::netsonde_events_7());
}

#[test]
fn every_command_has_a_page_and_examples() {
    let documented: Vec<String> = pages().map(|page| page.command.to_owned()).collect();
    let mut sorted = documented.clone();
    sorted.sort();
    let mut paths = commands::paths();
    paths.sort();
    assert_eq!(sorted, paths);
    for page in pages() {
        assert!(!page.examples.is_empty(), "{}", page.command);
    }
}

/// Lists what `tests/manual.rs` leaves out, so that it does not grow unnoticed.
#[test]
fn examples_that_no_test_runs() {
    let commands: Vec<&str> = commands::not_run().iter().map(|(one, _)| *one).collect();
    assert_eq!(
        commands,
        [
            "netsonde outages 1 -w outage-1.pcapng",
            "netsonde trace --like 192.0.2.1:40000-192.0.2.7:443",
            "sudo netsonde drops --reasons",
            "netsonde drops --since 'yesterday 22:00' --step 10m",
            "netsonde demo",
        ]
    );
}

/// A package installs every page of the folder, and no page is left over from a removed command.
#[test]
fn man_holds_these_pages_and_no_other() {
    let mut expected: BTreeSet<String> = pages().map(|page| format!("{}.1", page.name())).collect();
    for name in [
        "netsonde-events.7",
        "monitors.toml.5",
        "netsonde-families.7",
        "netsonde-historian.8",
        "netsonde-findings.7",
        "netsonde-protocol.7",
        "netsonde.1",
        "netsonde.toml.5",
        "netsonded.8",
    ] {
        expected.insert(name.into());
    }
    let present: BTreeSet<String> = std::fs::read_dir(root().join("man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    // Pages are written by tests that run at the same time.
    let missing: Vec<&String> = expected.difference(&present).collect();
    let is_writing = std::env::var_os("NETSONDE_BLESS").is_some();
    assert!(missing.is_empty() || is_writing, "missing: {missing:?}");
    let extra: Vec<&String> = present.difference(&expected).collect();
    assert!(extra.is_empty(), "not of this source: {extra:?}");
}
