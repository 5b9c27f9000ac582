//! PURE. Kernel modules that opening a socket would load.
//!
//! socket(2) loads the module of a missing family for any user, and nothing unloads it again: the kernel then has
//! more code that attackers can reach. So a socket that would load a module is not tried unless the user requests
//! it. The names that the kernel passes to modprobe(8) are those of `__sock_create` (net/socket.c) and of the
//! families that load their protocols.

use std::collections::HashSet;

/// Kernel modules of this host.
#[derive(Clone, Debug, PartialEq)]
pub enum Modules {
    /// The kernel cannot load modules: an attempt has no side effect.
    None,
    /// The kernel can load modules, and these are known.
    Some {
        /// Aliases of families and protocols, each with its module.
        aliases: Vec<(String, String)>,
        /// Names of loaded modules.
        loaded: HashSet<String>,
    },
    /// The kernel can load modules, and they cannot be listed here (a container without /lib/modules).
    Unknown,
}

/// Reason why a socket is not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Would load this module.
    Loads(String),
    /// Might load a module.
    MightLoad,
}

impl Modules {
    /// Parses /lib/modules/RELEASE/modules.alias (`None` if it cannot be read) and /proc/modules (`None` if the
    /// kernel has no module support).
    pub fn read(alias: Option<&str>, loaded: Option<&str>) -> Modules {
        let Some(loaded) = loaded else {
            return Modules::None;
        };
        let Some(alias) = alias else {
            return Modules::Unknown;
        };
        let entry = |line: &str| {
            let mut words = line.strip_prefix("alias ")?.split_whitespace();
            let (name, module) = (words.next()?, words.next()?);
            let prefixes = ["net-pf-", "can-proto-", "bt-proto-"];
            let is_relevant = prefixes.iter().any(|prefix| name.starts_with(prefix));
            is_relevant.then(|| (name.to_owned(), underscored(module)))
        };
        Modules::Some {
            aliases: alias.lines().filter_map(entry).collect(),
            loaded: loaded
                .lines()
                .filter_map(|line| line.split_whitespace().next())
                .map(underscored)
                .collect(),
        }
    }

    /// Returns why opening this socket would load a module, or `None` if it would not. `registered`: the kernel is
    /// known to have the family.
    pub fn would_load(
        &self,
        family: u8,
        kind: u32,
        protocol: u16,
        registered: bool,
    ) -> Option<SkipReason> {
        let names = [
            format!("net-pf-{family}"),
            format!("net-pf-{family}-proto-{protocol}-type-{kind}"),
            format!("net-pf-{family}-proto-{protocol}"),
            match family {
                29 => format!("can-proto-{protocol}"),
                31 => format!("bt-proto-{protocol}"),
                _ => String::new(),
            },
        ];
        match self {
            Modules::None => None,
            Modules::Unknown => {
                // This program itself uses these families, so they are loaded.
                let safe = registered || matches!(family, 1 | 2 | 16);
                (!safe).then_some(SkipReason::MightLoad)
            }
            Modules::Some { aliases, loaded } => {
                names.iter().find_map(|name| {
                    let mut of = aliases
                        .iter()
                        .filter(|(alias, _)| alias == name)
                        .map(|(_, module)| module);
                    // If several modules have the same alias, one that is loaded is enough.
                    let first = of.clone().next()?;
                    let is_there = of.any(|module| loaded.contains(module));
                    (!is_there).then(|| SkipReason::Loads(first.clone()))
                })
            }
        }
    }
}

/// Replaces hyphens: file names have either, the kernel lists modules with underscores.
fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIAS: &str = "# Aliases extracted from modules themselves.\n\
        alias net-pf-38 af_alg\nalias net-pf-29 can\nalias can-proto-1 can-raw\n\
        alias net-pf-2-proto-132 sctp\nalias net-pf-40 vsock\nalias pci:v00008086 e1000\n\
        alias net-pf-16-proto-21 crypto_user\n";

    #[test]
    fn only_unloaded_modules_are_skipped() {
        let loaded = "vsock 45056 2 - Live 0x0\ncan 24576 0 - Live 0x0\n";
        let modules = Modules::read(Some(ALIAS), Some(loaded));
        let loads = |family, kind, protocol| modules.would_load(family, kind, protocol, false);
        assert_eq!(loads(38, 5, 0), Some(SkipReason::Loads("af_alg".into())));
        assert_eq!(loads(40, 1, 0), None);
        // The family is loaded, its protocol is not.
        assert_eq!(loads(29, 3, 1), Some(SkipReason::Loads("can_raw".into())));
        assert_eq!(loads(2, 1, 0), None);
        assert_eq!(loads(2, 5, 132), Some(SkipReason::Loads("sctp".into())));
        assert_eq!(
            loads(16, 3, 21),
            Some(SkipReason::Loads("crypto_user".into()))
        );
        // No module has the alias: the family is built in or missing.
        assert_eq!(loads(3, 2, 0), None);
    }

    #[test]
    fn unknown_modules_are_not_loaded() {
        assert_eq!(Modules::read(Some(ALIAS), None), Modules::None);
        assert_eq!(Modules::None.would_load(38, 5, 0, false), None);
        let unknown = Modules::read(None, Some("vsock 1 0 - Live 0x0\n"));
        assert_eq!(unknown, Modules::Unknown);
        assert_eq!(
            unknown.would_load(38, 5, 0, false),
            Some(SkipReason::MightLoad)
        );
        assert_eq!(unknown.would_load(38, 5, 0, true), None);
        assert_eq!(unknown.would_load(2, 1, 0, false), None);
    }
}
