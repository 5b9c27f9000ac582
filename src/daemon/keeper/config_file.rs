//! PRIVILEGED. Opens the configuration file, whatever its type, without blocking.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::linux::reason;
use netsonde_core::config::{Config, MAX_FILE_BYTES, PATH, Problems};

/// Reads the given file, or the default one if it exists.
///
/// # Errors
/// One line per problem, each with the name of the file.
pub fn read(named: Option<&Path>) -> Result<Config, Vec<String>> {
    let path = named.unwrap_or(Path::new(PATH));
    let name = path.display().to_string();
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
            return Ok(Config::default());
        }
        Err(error) => return Err(vec![format!("cannot read {name}: {}", reason(&error))]),
    };
    let wrong = |problems: Problems| problems.lines(&name);
    let unreadable = |error: io::Error| vec![format!("cannot read {name}: {}", reason(&error))];
    let kind = file.metadata().map_err(unreadable)?.file_type();
    if !kind.is_file() {
        let what = [
            (kind.is_dir(), "a directory"),
            (kind.is_fifo(), "a FIFO"),
            (kind.is_char_device(), "a character device"),
            (kind.is_block_device(), "a block device"),
        ];
        let what = what
            .iter()
            .find(|(is, _)| *is)
            .map_or("no file", |(_, what)| what);
        return Err(wrong(Problems::for_file(format!(
            "is {what}: the configuration must be a regular file"
        ))));
    }
    let mut bytes = Vec::new();
    // One byte more than the limit, to detect a larger file.
    file.take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Config::read(&bytes).map_err(wrong)
}

/// Without O_NONBLOCK, opening a FIFO would wait for its writer. A terminal must not become the
/// controlling terminal.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}
