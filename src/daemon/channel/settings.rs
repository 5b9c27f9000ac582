//! PRIVILEGED. Settings of an engine: the configuration with its names resolved to numbers, since
//! an engine can open no file to look them up.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::linux::mapping::constant_memory;
use netsonde_core::config::permission::{AccessList, Entry, PermissionSettings, Tier};
use netsonde_core::config::{Config, Permissions};

/// The settings passed to an engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The configuration as written.
    pub config: Config,
    /// The permissions, with numbers instead of names.
    pub permissions: Permissions,
}

impl Settings {
    /// Resolves all names. `owner` is the user who started the service by hand, if any.
    pub fn new(config: Config, owner: Option<u32>) -> Settings {
        let permission = &config.permission;
        let list = |tier| match tier {
            Tier::Status => &permission.status,
            Tier::Probe => &permission.probe,
            Tier::Payload => &permission.payload,
        };
        let permissions = Permissions {
            tiers: Tier::ALL.map(|tier| look_up(list(tier), tier.name())),
            vsock: Some(permission.vsock),
            full_limits: look_up(&permission.full_limits, "full_limits"),
            owner,
            overflow_uid: overflow("overflowuid"),
            overflow_gid: overflow("overflowgid"),
        };
        Settings {
            config,
            permissions,
        }
    }

    /// Writes the settings to new memory that can be passed on and that no holder can change: no
    /// engine can alter what the next one gets. Returns its descriptor and their size in bytes.
    pub fn memory(&self) -> io::Result<(OwnedFd, usize)> {
        let written = serde_json::to_vec(self).map_err(io::Error::other)?;
        Ok((
            constant_memory("netsonde settings", &written)?,
            written.len(),
        ))
    }
}

/// Default of Linux, if /proc does not show another.
const OVERFLOW: u32 = 65534;

fn overflow(name: &str) -> u32 {
    let text = fs::read_to_string(format!("/proc/sys/kernel/{name}"));
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
