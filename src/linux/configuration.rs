//! SHELL. The configuration file, opened without blocking whatever its type, and the users and groups that it names.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::linux::reason;
use netsonde_core::config::permission::{AccessList, Entry, PermissionSettings, Tier};
use netsonde_core::config::{Config, MAX_FILE_BYTES, PATH, Permissions, Problems};

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
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// Resolves the names of `[permission]`. `owner` is the user who started the service by hand, if any.
pub fn permissions(config: &Config, owner: Option<u32>) -> Permissions {
    let permission = &config.permission;
    let list = |tier| match tier {
        Tier::Status => &permission.status,
        Tier::Probe => &permission.probe,
        Tier::Payload => &permission.payload,
    };
    Permissions {
        tiers: Tier::ALL.map(|tier| look_up(list(tier), tier.name())),
        vsock: Some(permission.vsock),
        full_limits: look_up(&permission.full_limits, "full_limits"),
        owner,
        overflow_uid: overflow("overflowuid"),
        overflow_gid: overflow("overflowgid"),
    }
}

/// Default of Linux, if /proc does not show another.
const OVERFLOW: u32 = 65534;

fn overflow(name: &str) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    text.ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(OVERFLOW)
}

fn find_user(name: &str) -> Option<u32> {
    let number = name.parse().ok();
    number.or_else(|| {
        let user = nix::unistd::User::from_name(name).ok().flatten()?;
        Some(user.uid.as_raw())
    })
}

/// Resolves a group, given by name or number.
pub fn find_group(name: &str) -> Option<u32> {
    let number = name.parse().ok();
    number.or_else(|| {
        let group = nix::unistd::Group::from_name(name).ok().flatten()?;
        Some(group.gid.as_raw())
    })
}

/// Resolves the names of a list. An unknown name admits no user; that is logged, but is no reason
/// not to run: the user may be created later.
fn look_up(list: &[String], key: &'static str) -> AccessList {
    let mut admitted = AccessList {
        written: list.to_vec(),
        ..AccessList::default()
    };
    let defaults = PermissionSettings::default();
    let is_default = [defaults.probe, defaults.full_limits].contains(&list.to_vec());
    for entry in list {
        let found = match Entry::parse(entry) {
            Some(Entry::Everyone) => {
                admitted.everyone = true;
                continue;
            }
            Some(Entry::User(name)) => find_user(&name).map(|uid| admitted.uids.push(uid)),
            Some(Entry::Group(name)) => find_group(&name).map(|gid| admitted.gids.push(gid)),
            None => None,
        };
        // A machine on which the service is tried by hand usually has no group and no user for it, and
        // needs none.
        if found.is_none() && !is_default {
            tracing::warn!(key, ?entry, "[permission]: unknown user or group, ignored");
        }
    }
    admitted
}
