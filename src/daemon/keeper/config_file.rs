//! PRIVILEGED. Opens the configuration file, whatever it turns out to be: nothing here waits.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use netsonde_core::config::{Config, MAX_FILE_BYTES, PATH, Problems};

/// Reads the named file; without a name the usual one, if it is there.
///
/// # Errors
/// A line for each thing that is wrong, each with the file's name.
pub fn read(named: Option<&Path>) -> Result<Config, Vec<String>> {
    let path = named.unwrap_or(Path::new(PATH));
    let name = path.display().to_string();
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
            return Ok(Config::default());
        }
        Err(error) => return Err(vec![format!("cannot read {name}: {error}")]),
    };
    let wrong = |problems: Problems| problems.lines(&name);
    let unreadable = |error: io::Error| vec![format!("cannot read {name}: {error}")];
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
            "is {what}: a configuration is a regular file"
        ))));
    }
    let mut bytes = Vec::new();
    // One more than there may be, which then is seen.
    (file.take(MAX_FILE_BYTES as u64 + 1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Config::read(&bytes).map_err(wrong)
}

/// Without O_NONBLOCK opening a FIFO waits for its writer; a terminal must not become this process's own.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}
