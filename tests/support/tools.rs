//! Programs that some tests run, found as a shell of root would find them, and the report of a skipped test.
#![allow(dead_code)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes to standard error itself: what `eprintln!` prints in a test that passes is not shown.
pub fn report(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
}

/// Path of a program. Ordinary users often have no `sbin` folder in PATH, where ip(8), tc(8) and nft(8) are.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_program = |file: &Path| {
        std::fs::metadata(file)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

/// Whether a program is installed.
pub fn has(program: &str) -> bool {
    find(program).is_some()
}
