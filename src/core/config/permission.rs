//! PURE. Who may do what: three tiers, each including the one before it. Names stand in the
//! configuration; what is asked about a client is numbers, by the kernel's word at connect.

use serde::{Deserialize, Serialize};

/// Most entries of one list: teams, not people.
pub const MAX_ENTRIES: usize = 64;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The service's health, links and addresses: what any user of the host can see anyway.
    Status,
    /// Who talks to whom (headers, memberships, streams, neighbours), and probes.
    Probe,
    /// What packets carry.
    Payload,
}

impl Tier {
    /// All of them, the lowest first.
    pub const ALL: [Tier; 3] = [Tier::Status, Tier::Probe, Tier::Payload];

    /// Its key in `[permission]`.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Status => "status",
            Tier::Probe => "probe",
            Tier::Payload => "payload",
        }
    }
}

/// What clients of other machines (AF_VSOCK) may do: of them only a context number is known, and it
/// says which machine asks, not who.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VsockAccess {
    /// Nothing.
    None,
    /// What tier `status` may.
    Status,
    /// What tier `probe` may, as long as nothing is sent for it.
    Read,
    /// What tier `probe` may.
    Probe,
}

/// `[permission]`, as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct PermissionSettings {
    pub status: Vec<String>,
    pub probe: Vec<String>,
    pub payload: Vec<String>,
    pub vsock: VsockAccess,
}

impl Default for PermissionSettings {
    fn default() -> PermissionSettings {
        PermissionSettings {
            status: vec!["*".into()],
            probe: vec!["@netsonde".into()],
            payload: vec!["root".into()],
            vsock: VsockAccess::Read,
        }
    }
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `*`: whoever the socket lets in.
    Everyone,
    /// A user, by name or number.
    User(String),
    /// `@` and a group, by name or number.
    Group(String),
}

impl Entry {
    /// Reads one. `None`: it is no name.
    pub fn read(text: &str) -> Option<Entry> {
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

/// A list with its names made numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccessList {
    /// Whoever the socket lets in.
    pub everyone: bool,
    /// Users.
    pub uids: Vec<u32>,
    /// Groups.
    pub gids: Vec<u32>,
    /// The list as it was written, for who is refused.
    pub written: Vec<String>,
}

/// Who is asking.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// A process of this host.
    User {
        /// Its user.
        uid: u32,
        /// Its group and all further ones.
        groups: &'a [u32],
    },
    /// Another machine.
    Remote,
}

/// The permissions in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Permissions {
    /// In the order of [`Tier::ALL`].
    pub tiers: [AccessList; 3],
    /// Other machines.
    pub vsock: Option<VsockAccess>,
    /// The user who started the service by hand, and may do everything with it.
    pub owner: Option<u32>,
    /// What the kernel says for a user that has no number here (user_namespaces(7)): nobody in
    /// particular, so no entry for a user means it.
    pub overflow_uid: u32,
    /// The same for groups.
    pub overflow_gid: u32,
}

impl Permissions {
    /// Is this user above all lists? Root is, since root could read the memory itself.
    pub fn is_privileged(&self, caller: Caller<'_>) -> bool {
        matches!(caller, Caller::User { uid, .. } if uid == 0 || self.owner == Some(uid))
    }

    /// May `caller` do what takes `tier`? `sends`: packets would be sent for it.
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
                return self.vsock.is_some_and(|most| most >= needed);
            }
        };
        if self.is_privileged(caller) {
            return true;
        }
        // Whoever may do more may do less.
        self.tiers[tier as usize..].iter().any(|admitted| {
            admitted.everyone
                || (uid != self.overflow_uid && admitted.uids.contains(&uid))
                || (groups.iter())
                    .any(|group| *group != self.overflow_gid && admitted.gids.contains(group))
        })
    }

    /// Who may do what takes `tier`, in the configuration's words.
    pub fn granted_to(&self, tier: Tier) -> Vec<String> {
        let mut who = vec!["root".to_owned()];
        for admitted in &self.tiers[tier as usize..] {
            for entry in &admitted.written {
                if !who.contains(entry) {
                    who.push(entry.clone());
                }
            }
        }
        who
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
    fn a_user_of_another_namespace_is_nobody() {
        let all = permissions();
        let caller = Caller::User {
            uid: 65534,
            groups: &[65534],
        };
        assert!(all.allows(caller, Tier::Status, false));
        assert!(!all.allows(caller, Tier::Probe, false));
    }

    #[test]
    fn other_machines_read_and_see_no_payload() {
        let mut all = permissions();
        let remote = |all: &Permissions, tier, sends| all.allows(Caller::Remote, tier, sends);
        assert!(remote(&all, Tier::Probe, false) && !remote(&all, Tier::Probe, true));
        all.vsock = Some(VsockAccess::Probe);
        assert!(remote(&all, Tier::Probe, true) && !remote(&all, Tier::Payload, false));
        all.vsock = Some(VsockAccess::None);
        assert!(!remote(&all, Tier::Status, false));
    }
}
