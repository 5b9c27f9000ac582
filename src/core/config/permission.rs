//! PURE. Permission tiers: three, each including those before it. The configuration has names; clients are
//! checked by the numeric IDs that the kernel reports when they connect.

use serde::{Deserialize, Serialize};

/// Maximum entries of one list: enough for groups, not for every single user.
pub const MAX_ENTRIES: usize = 64;

/// Tier that a request requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The service's health, links and addresses: visible to any user of the host anyway.
    Status,
    /// Headers, memberships, streams and neighbors; sending probes.
    Probe,
    /// Payload of packets.
    Payload,
}

impl Tier {
    /// All tiers, the lowest first.
    pub const ALL: [Tier; 3] = [Tier::Status, Tier::Probe, Tier::Payload];

    /// Name of its key in `[permission]`.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Status => "status",
            Tier::Probe => "probe",
            Tier::Payload => "payload",
        }
    }
}

/// Permission of clients on other machines (AF_VSOCK). Only their context ID (CID) is known, which identifies
/// a machine and not a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VsockAccess {
    /// No access.
    None,
    /// Tier `status`.
    Status,
    /// Tier `probe`, except requests that send packets.
    Read,
    /// Tier `probe`.
    Probe,
}

/// `[permission]`, as in the file. Entries are users, groups with `@`, or `*`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PermissionSettings {
    /// Entries for tier `status`.
    pub status: Vec<String>,
    /// Entries for tier `probe`.
    pub probe: Vec<String>,
    /// Entries for tier `payload`.
    pub payload: Vec<String>,
    /// Permission of clients on other machines.
    pub vsock: VsockAccess,
    /// Users to whom the limits of all users together apply.
    pub full_limits: Vec<String>,
}

impl Default for PermissionSettings {
    fn default() -> PermissionSettings {
        PermissionSettings {
            status: vec!["*".into()],
            probe: vec!["@netsonde".into()],
            payload: vec!["root".into()],
            vsock: VsockAccess::Read,
            full_limits: vec!["netsonde-historian".into()],
        }
    }
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `*`: every user that the control socket admits.
    Everyone,
    /// A user, by name or number.
    User(String),
    /// `@` followed by a group, by name or number.
    Group(String),
}

impl Entry {
    /// Parses an entry. `None` if it cannot be a name.
    pub fn parse(text: &str) -> Option<Entry> {
        let is_name = |name: &str| {
            !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if text == "*" {
            return Some(Entry::Everyone);
        }
        match text.strip_prefix('@') {
            Some(group) => is_name(group).then(|| Entry::Group(group.into())),
            None => is_name(text).then(|| Entry::User(text.into())),
        }
    }
}

/// A list with its names resolved to IDs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccessList {
    /// Whether it contains `*`.
    pub everyone: bool,
    /// User IDs.
    pub uids: Vec<u32>,
    /// Group IDs.
    pub gids: Vec<u32>,
    /// The list as in the file, for the message to a caller who is refused.
    pub written: Vec<String>,
}

/// Identity of the user of a request.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// A process of this host.
    User {
        /// User ID of the process.
        uid: u32,
        /// Its primary and all supplementary group IDs.
        groups: &'a [u32],
    },
    /// Another machine.
    Remote,
}

/// Permissions in effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Permissions {
    /// Lists in the order of [`Tier::ALL`].
    pub tiers: [AccessList; 3],
    /// Permission of clients on other machines; `None` for no access.
    pub vsock: Option<VsockAccess>,
    /// Users to whom the limits of all users together apply, where others have those of one.
    #[serde(default)]
    pub full_limits: AccessList,
    /// User who started the service by hand, and has all tiers.
    pub owner: Option<u32>,
    /// User ID that the kernel reports for users without a mapping here (user_namespaces(7)). It identifies
    /// nobody, so no entry matches it.
    pub overflow_uid: u32,
    /// Group ID that the kernel reports for groups without a mapping.
    pub overflow_gid: u32,
}

impl Permissions {
    /// Returns whether a caller has all tiers regardless of the lists. Root has, since root could read the
    /// memory itself.
    pub fn is_privileged(&self, caller: Caller<'_>) -> bool {
        matches!(caller, Caller::User { uid, .. } if uid == 0 || self.owner == Some(uid))
    }

    /// Returns whether the limits of all users together apply to this user, where others have those of one.
    pub fn has_full_limits(&self, uid: u32) -> bool {
        uid != self.overflow_uid && self.full_limits.uids.contains(&uid)
    }

    /// Returns whether `caller` has `tier`. `sends`: the request sends packets.
    pub fn allows(&self, caller: Caller<'_>, tier: Tier, sends: bool) -> bool {
        let (uid, groups) = match caller {
            Caller::User { uid, groups } => (uid, groups),
            Caller::Remote => {
                let needed = match (tier, sends) {
                    (Tier::Status, _) => VsockAccess::Status,
                    (Tier::Probe, false) => VsockAccess::Read,
                    (Tier::Probe, true) => VsockAccess::Probe,
                    (Tier::Payload, _) => return false,
                };
                return self.vsock.is_some_and(|access| access >= needed);
            }
        };
        if self.is_privileged(caller) {
            return true;
        }
        // A higher tier includes the lower ones.
        self.tiers[tier as usize..].iter().any(|admitted| {
            admitted.everyone
                || (uid != self.overflow_uid && admitted.uids.contains(&uid))
                || groups
                    .iter()
                    .any(|group| *group != self.overflow_gid && admitted.gids.contains(group))
        })
    }

    /// Lists the entries that have `tier`, as in the configuration file, and root.
    pub fn granted_to(&self, tier: Tier) -> Vec<String> {
        let mut entries = vec!["root".to_owned()];
        for admitted in &self.tiers[tier as usize..] {
            for entry in &admitted.written {
                if !entries.contains(entry) {
                    entries.push(entry.clone());
                }
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions() -> Permissions {
        let of = |uids: &[u32], gids: &[u32], written: &[&str]| AccessList {
            everyone: false,
            uids: uids.to_vec(),
            gids: gids.to_vec(),
            written: written.iter().map(|&word| word.into()).collect(),
        };
        Permissions {
            tiers: [
                AccessList {
                    everyone: true,
                    ..AccessList::default()
                },
                of(&[65534], &[100, 65534], &["nobody", "@users"]),
                of(&[7], &[], &["seven"]),
            ],
            vsock: Some(VsockAccess::Read),
            full_limits: of(&[7, 65534], &[], &[]),
            owner: None,
            overflow_uid: 65534,
            overflow_gid: 65534,
        }
    }

    #[test]
    fn higher_tiers_include_lower_ones() {
        let all = permissions();
        let may = |uid, groups: &[u32]| {
            Tier::ALL.map(|tier| all.allows(Caller::User { uid, groups }, tier, true))
        };
        assert_eq!(may(0, &[]), [true, true, true]);
        assert_eq!(may(1, &[1]), [true, false, false]);
        assert_eq!(may(1, &[1, 100]), [true, true, false]);
        assert_eq!(may(7, &[7]), [true, true, true]);
        assert_eq!(
            all.granted_to(Tier::Probe),
            ["root", "nobody", "@users", "seven"]
        );
    }

    #[test]
    fn full_limits_are_no_permission() {
        let all = permissions();
        assert!(all.has_full_limits(7) && !all.has_full_limits(1) && !all.has_full_limits(0));
        let caller = Caller::User {
            uid: 7,
            groups: &[],
        };
        assert!(!all.is_privileged(caller));
    }

    #[test]
    fn unmapped_users_match_no_entry() {
        let all = permissions();
        assert!(!all.has_full_limits(65534));
        let caller = Caller::User {
            uid: 65534,
            groups: &[65534],
        };
        assert!(all.allows(caller, Tier::Status, false));
        assert!(!all.allows(caller, Tier::Probe, false));
    }

    #[test]
    fn remote_clients_read_without_payload() {
        let mut all = permissions();
        let remote = |all: &Permissions, tier, sends| all.allows(Caller::Remote, tier, sends);
        assert!(remote(&all, Tier::Probe, false) && !remote(&all, Tier::Probe, true));
        all.vsock = Some(VsockAccess::Probe);
        assert!(remote(&all, Tier::Probe, true) && !remote(&all, Tier::Payload, false));
        all.vsock = Some(VsockAccess::None);
        assert!(!remote(&all, Tier::Status, false));
    }
}
