//! PURE. Checks of ranges and limits.

use super::permission::{Entry, MAX_ENTRIES};
use super::{Config, MAX_RULE_ENTRIES};
use crate::recorder::Store;
use crate::recorder::layout::{BUDGET_MAX, BUDGET_MIN, SNAP_MAX};

/// An invalid value. `Problems` adds its place in the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value out of range.
    #[error("{key} = {value}: {why}")]
    Value {
        /// Name of the key, with its table.
        key: String,
        /// Value in the file.
        value: String,
        /// What the value must be.
        why: String,
    },
}

impl Error {
    pub(super) fn key(&self) -> &str {
        let Error::Value { key, .. } = self;
        key
    }
}

fn invalid(key: impl Into<String>, value: impl ToString, why: impl Into<String>) -> Error {
    Error::Value {
        key: key.into(),
        value: value.to_string(),
        why: why.into(),
    }
}

impl Config {
    /// Checks all values, and returns the first that is invalid.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.check_recorder()?;
        self.check_rings()?;
        self.check_control()?;
        self.check_permission()?;
        self.check_ping()
    }

    fn check_recorder(&self) -> Result<(), Error> {
        for (store, bytes) in Store::ALL.iter().zip(self.recorder.budget.bytes()) {
            if !(BUDGET_MIN..=BUDGET_MAX).contains(&bytes) {
                return Err(invalid(
                    format!("recorder.budget.{}", store.name()),
                    bytes,
                    "must be from 256 KiB to 64 GiB",
                ));
            }
        }
        for (store, ns) in Store::ALL.iter().zip(self.recorder.retention.ns()) {
            let seconds = ns / 1_000_000_000;
            if seconds != 0 && !(10..=86_400).contains(&seconds) {
                return Err(invalid(
                    format!("recorder.retention.{}", store.name()),
                    format!("{seconds} s"),
                    "must be from 10 s to 24 h, or 0",
                ));
            }
        }
        for (store, bytes) in Store::ALL.iter().zip(self.recorder.snap.bytes()) {
            if !(64..=SNAP_MAX).contains(&bytes) {
                return Err(invalid(
                    format!("recorder.snap.{}", store.name()),
                    bytes,
                    format!("must be from 64 to {SNAP_MAX} bytes"),
                ));
            }
        }
        for rule in &self.recorder.rule {
            if Store::from_name(&rule.store).is_none() {
                let names = Store::ALL.map(Store::name).join(", ");
                return Err(invalid(
                    "recorder.rule.store",
                    &rule.store,
                    format!("must be one of {names}"),
                ));
            }
            if let Some(kind) = rule.ethertypes.iter().find(|kind| **kind < 0x600) {
                return Err(invalid(
                    "recorder.rule.ethertypes",
                    kind,
                    "must be 0x0600 or more",
                ));
            }
        }
        let entries: usize = self
            .recorder
            .rule
            .iter()
            .map(|rule| {
                rule.udp_ports.len()
                    + rule.tcp_ports.len()
                    + rule.ip_protocols.len()
                    + rule.ethertypes.len()
            })
            .sum();
        if entries > MAX_RULE_ENTRIES {
            let why =
                format!("at most {MAX_RULE_ENTRIES} ports, protocols and EtherTypes in all rules");
            return Err(invalid("recorder.rule", entries, why));
        }
        Ok(())
    }

    fn check_rings(&self) -> Result<(), Error> {
        for (key, size) in [("control", self.rings.control), ("bulk", self.rings.bulk)] {
            if !(1 << 20..=4u64 << 30).contains(&size.0) {
                return Err(invalid(
                    format!("rings.{key}"),
                    size.0,
                    "must be from 1 MiB to 4 GiB",
                ));
            }
        }
        Ok(())
    }

    fn check_control(&self) -> Result<(), Error> {
        for (key, size, least) in [
            ("history.budget", self.history.budget, 16 << 20),
            ("history.record", self.history.record, 8 << 20),
            ("history.evidence", self.history.evidence, 8 << 20),
            ("history.kept", self.history.kept, 8 << 20),
        ] {
            if !(least..=1u64 << 40).contains(&size.0) {
                let why = match least {
                    0x0100_0000 => "must be from 16 MiB to 1 TiB",
                    _ => "must be from 8 MiB to 1 TiB",
                };
                return Err(invalid(key, size.0, why));
            }
        }
        let interval = self.history.path_interval;
        if !(5_000_000_000..=3_600_000_000_000).contains(&interval.0) {
            let why = "must be from 5 s to 1 h";
            return Err(invalid(
                "history.path_interval",
                interval.0 / 1_000_000_000,
                why,
            ));
        }
        if !(1..=10_000).contains(&self.control.clients) {
            return Err(invalid(
                "control.clients",
                self.control.clients,
                "must be from 1 to 10000",
            ));
        }
        if !(1..=self.control.clients).contains(&self.control.clients_per_uid) {
            return Err(invalid(
                "control.clients_per_uid",
                self.control.clients_per_uid,
                "must be from 1 to control.clients",
            ));
        }
        let (memory, of_one) = (self.control.memory, self.control.memory_per_uid);
        if !(16 << 20..=1u64 << 40).contains(&memory.0) {
            let why = "must be from 16 MiB to 1024 GiB";
            return Err(invalid("control.memory", memory.0, why));
        }
        if !(4 << 20..=memory.0).contains(&of_one.0) {
            let why = "must be from 4 MiB to control.memory";
            return Err(invalid("control.memory_per_uid", of_one.0, why));
        }
        Ok(())
    }

    fn check_permission(&self) -> Result<(), Error> {
        let permission = &self.permission;
        for (key, list) in [
            ("status", &permission.status[..]),
            ("probe", &permission.probe),
            ("payload", &permission.payload),
        ] {
            let key = format!("permission.{key}");
            if list.len() > MAX_ENTRIES {
                let why = format!("at most {MAX_ENTRIES} entries: name a group instead");
                return Err(invalid(key, list.len(), why));
            }
            if let Some(wrong) = list.iter().find(|entry| Entry::parse(entry).is_none()) {
                let why = "must be a user, @ followed by a group, or *";
                return Err(invalid(key, format!("{wrong:?}"), why));
            }
        }
        let is_user = |entry: &String| matches!(Entry::parse(entry), Some(Entry::User(_)));
        let users = &permission.full_limits;
        if users.len() > MAX_ENTRIES {
            let why = format!("at most {MAX_ENTRIES} users");
            return Err(invalid("permission.full_limits", users.len(), why));
        }
        if let Some(wrong) = users.iter().find(|entry| !is_user(entry)) {
            let why = "must be a user: limits are those of users, not of groups";
            return Err(invalid("permission.full_limits", format!("{wrong:?}"), why));
        }
        Ok(())
    }

    fn check_ping(&self) -> Result<(), Error> {
        let ping = &self.ping;
        for (key, given, max) in [
            ("rate", ping.rate, 10_000_000),
            ("rate_per_uid", ping.rate_per_uid, ping.rate),
            ("targets", ping.targets, 1_048_576),
            ("runs_per_uid", ping.runs_per_uid, 1024),
            ("in_flight", ping.in_flight, 4_194_304),
        ] {
            if !(1..=max).contains(&given) {
                let why = format!("must be from 1 to {max}");
                return Err(invalid(format!("ping.{key}"), given, why));
            }
        }
        // A second's worth must hold the longest packet.
        if !(1 << 16..=1u64 << 40).contains(&ping.byte_rate.0) {
            let why = "must be from 64 KiB to 1024 GiB";
            return Err(invalid("ping.byte_rate", ping.byte_rate.0, why));
        }
        if !(1 << 16..=ping.byte_rate.0).contains(&ping.byte_rate_per_uid.0) {
            let why = "must be from 64 KiB to ping.byte_rate";
            let given = ping.byte_rate_per_uid.0;
            return Err(invalid("ping.byte_rate_per_uid", given, why));
        }
        Ok(())
    }
}
