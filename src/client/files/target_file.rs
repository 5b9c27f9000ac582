//! SHELL. Files with targets, one per line: `@FILE` on the command line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::client::failure::Failure;

/// Reads the targets of a file, or of standard input for `-`, with the numbers of their lines. Text after # is a
/// comment.
///
/// # Errors
/// If it cannot be read.
pub fn read(path: &str) -> Result<Vec<(usize, String)>, Failure> {
    let cannot = |error: std::io::Error| Failure::of_file("read", Path::new(path), &error);
    let file: Box<dyn BufRead> = if path == "-" {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(cannot)?))
    };
    let mut targets = Vec::new();
    for (number, line) in file.lines().enumerate() {
        let line = line.map_err(cannot)?;
        let target = line.split('#').next().unwrap_or_default().trim();
        if !target.is_empty() {
            targets.push((number + 1, target.to_owned()));
        }
    }
    Ok(targets)
}
