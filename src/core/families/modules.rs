//! PURE. Which kernel module an attempt to open a socket would load.
//!
//! socket(2) loads the module of a family that is not there yet, for any user, and nothing takes it out
//! again: more code that strangers can talk to. So what only would be there after loading is not tried
//! unless somebody asks for it. The names that the kernel gives to modprobe(8) are those of
//! `__sock_create` (net/socket.c) and of the families that load their protocols.

use std::collections::HashSet;

/// What is known of modules on this host.
#[derive(Clone, Debug, PartialEq)]
pub enum Modules {
    /// The kernel can load none: an attempt changes nothing.
    None,
    /// It can, and these are known.
    Some {
        /// Alias of a family or protocol, and its module.
        aliases: Vec<(String, String)>,
        /// Modules that are loaded.
        loaded: HashSet<String>,
    },
    /// It can, and which there are can't be read here (a container without /lib/modules).
    Unknown,
}

/// Why something was not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// It would load this module.
    Loads(String),
    /// It might load one.
    MightLoad,
}

impl Modules {
    /// From /lib/modules/RELEASE/modules.alias (`None` if it can't be read) and /proc/modules (`None` where
    /// the kernel has no modules).
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
            let counts = ["net-pf-", "can-proto-", "bt-proto-"];
            let counts = counts.iter().any(|start| name.starts_with(start));
            counts.then(|| (name.to_owned(), underscored(module)))
        };
        Modules::Some {
            aliases: alias.lines().filter_map(entry).collect(),
            loaded: (loaded.lines())
                .filter_map(|line| line.split_whitespace().next())
                .map(underscored)
                .collect(),
        }
    }

    /// Would opening such a socket load a module? `registered`: the kernel is known to have the family.
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
                // Families that this program itself lives on have no module to load.
                let safe = registered || matches!(family, 1 | 2 | 16);
                (!safe).then_some(SkipReason::MightLoad)
            }
            Modules::Some { aliases, loaded } => {
                names.iter().find_map(|name| {
                    let mut of = (aliases.iter())
                        .filter(|(alias, _)| alias == name)
                        .map(|(_, module)| module);
                    // Where several offer the same, one that is loaded is enough.
                    let first = of.clone().next()?;
                    let is_there = of.any(|module| loaded.contains(module));
                    (!is_there).then(|| SkipReason::Loads(first.clone()))
                })
            }
        }
    }
}

/// Modules are written with either; the kernel lists them with underscores.
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
    fn only_what_would_load_is_left_out() {
        let loaded = "vsock 45056 2 - Live 0x0\ncan 24576 0 - Live 0x0\n";
        let modules = Modules::read(Some(ALIAS), Some(loaded));
        let loads = |family, kind, protocol| modules.would_load(family, kind, protocol, false);
        assert_eq!(loads(38, 5, 0), Some(SkipReason::Loads("af_alg".into())));
        assert_eq!(loads(40, 1, 0), None);
        // The family is there, its protocol is not.
        assert_eq!(loads(29, 3, 1), Some(SkipReason::Loads("can_raw".into())));
        assert_eq!(loads(2, 1, 0), None);
        assert_eq!(loads(2, 5, 132), Some(SkipReason::Loads("sctp".into())));
        assert_eq!(
            loads(16, 3, 21),
            Some(SkipReason::Loads("crypto_user".into()))
        );
        // No module offers it: it is built in or it is not there.
        assert_eq!(loads(3, 2, 0), None);
    }

    #[test]
    fn what_can_not_be_known_is_not_tried() {
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
