//! PRIVILEGED. Settings of an engine: the configuration with its names resolved to numbers, since
//! an engine can open no file to look them up.

use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::linux::configuration::permissions;
use crate::linux::mapping::constant_memory;
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
        let permissions = permissions(&config, owner);
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
