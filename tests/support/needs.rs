//! Programs and libraries that some tests need beyond Rust and a C linker. A test without them is skipped
//! from the point where it needs them, with a line on standard error; it never fails.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;

use libtest_mimic::{Completion, Failed};
use netsonde::lab::Host;

use super::Test;
pub use super::tools::{find, has, report};

/// Payload of the unwinding that ends a test which cannot go on: the reason.
struct Skipped(String);

thread_local! {
    static IS_SKIPPING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread unwinds because its test is skipped, so that nothing failed.
pub fn is_skipping() -> bool {
    IS_SKIPPING.get()
}

/// Runs a test; a skipped one is reported as ignored, with the reason.
pub fn run(name: &str, test: Test) -> Result<Completion, Failed> {
    let ended = catch_unwind(AssertUnwindSafe(test));
    IS_SKIPPING.set(false);
    match ended {
        Ok(Ok(())) => Ok(Completion::Completed),
        Ok(Err(error)) => Err(Failed::from(error.to_string())),
        Err(payload) => match payload.downcast::<Skipped>() {
            Ok(skipped) => {
                report(name, &skipped.0);
                Ok(Completion::ignored_with(skipped.0))
            }
            Err(panic) => resume_unwind(panic),
        },
    }
}

/// Reports that something is not tested here, and why. The test goes on or returns this.
pub fn skip(what: &str, why: &str) -> Result<(), Box<dyn std::error::Error>> {
    report(what, why);
    Ok(())
}

/// Ends the test here as skipped. Only in tests that [`super::main`] runs, and on their own thread.
pub fn skip_here(why: &str) -> ! {
    IS_SKIPPING.set(true);
    resume_unwind(Box::new(Skipped(why.to_owned())))
}

/// A program to be run, without arguments; the test ends as skipped where it is not installed.
pub fn program(name: &str) -> Command {
    match find(name) {
        Some(path) => Command::new(path),
        None => skip_here(&format!("{name} is not installed")),
    }
}

/// Ends the test as skipped where a program is not installed.
pub fn need(name: &str) {
    drop(program(name));
}

/// Whether this is root over all users. In a user namespace there is one user only.
pub fn has_users() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    nix::unistd::geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether libpcap is installed, which compiles filter expressions.
pub fn has_libpcap() -> bool {
    netsonde::client::filter::Filter::new("ip").is_ok()
}

/// Ends the test as skipped where libpcap is not installed.
pub fn need_libpcap() {
    if !has_libpcap() {
        skip_here("libpcap is not installed");
    }
}

/// Runs a program inside a host; it must succeed. The test ends as skipped where it is not installed.
pub fn inside(host: &Host, name: &str, arguments: &[&str]) {
    printed(host, name, arguments);
}

/// Runs a program inside a host like [`inside`]. Returns what it printed.
pub fn printed(host: &Host, name: &str, arguments: &[&str]) -> String {
    let mut command = program(name);
    let output = host.run(|| command.args(arguments).output()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Replaces a host's firewall by one chain of one table. An empty rule removes the firewall. The test ends
/// as skipped where nft(8) is not installed.
pub fn firewall(host: &Host, hook: &str, rule: &str) {
    let mut rules = "flush ruleset\n".to_owned();
    if !rule.is_empty() {
        let family = if hook.contains("device") {
            "netdev"
        } else {
            "inet"
        };
        rules.push_str(&format!(
            "table {family} t {{\nchain c {{\ntype filter hook {hook} priority 0;\n{rule}\n}}\n}}\n"
        ));
    }
    load_rules(host, &rules);
}

/// Gives a host's firewall the rules of an nft(8) script. The test ends as skipped where nft is not installed.
pub fn load_rules(host: &Host, rules: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    inside(host, "nft", &["-f", file.path().to_str().unwrap()]);
}
