//! PURE. Every failure mode of a group, in the order in which they are checked: causes before their symptoms,
//! and findings that packets prove before those that are only consistent with them.

use super::{FailureMode, protocol, receiver, routing, snooping, socket, stream};

/// All failure modes of a group, causes before symptoms.
pub static ALL: &[&FailureMode] = &[
    // Packets arrive, and the host does not accept them.
    &receiver::DROPPED_BEFORE_IP,
    &receiver::WRONG_DESTINATION_MAC,
    &receiver::OWN_SOURCE_MARTIAN,
    &receiver::ROUTER_RP_FILTER,
    &receiver::RP_FILTER_STRICT,
    &receiver::RP_FILTER_NO_ROUTE,
    &receiver::SOURCE_FILTER_MISMATCH,
    // Forwarding by a router.
    &routing::RPF_FAILURE,
    &routing::TTL_TOO_SMALL,
    &routing::TTL_THRESHOLD,
    &routing::LINK_LOCAL_GROUP_ROUTED,
    &routing::ROUTER_NOT_ROUTING,
    &routing::UPSTREAM_SOURCE_FILTER,
    &routing::MROUTE_SOCKET_BUSY,
    // Forwarding by a bridge.
    &snooping::ISOLATED_PORT,
    &snooping::BRIDGE_NETFILTER_DROP,
    &snooping::MDB_FULL,
    // The sender, and its outgoing interface.
    &snooping::MACVLAN_PARENT_CHILD,
    &routing::SENT_ON_OTHER_INTERFACE,
    &routing::SENDER_LOOPBACK_OFF,
    // Interface and sources of the membership.
    &receiver::JOINED_ON_OTHER_INTERFACE,
    &socket::MEMBERSHIP_LIMIT,
    &receiver::INTERFACE_NOT_MULTICAST,
    &receiver::NEEDS_PROMISCUOUS,
    &receiver::NO_INTERFACE_FOR_GROUP,
    // From the IP layer to the socket.
    &receiver::FRAGMENTS_LOST,
    &receiver::BAD_UDP_CHECKSUM,
    &receiver::FIREWALL_DROPS_DATA,
    &socket::NO_MATCHING_SOCKET,
    &socket::RECEIVE_BUFFER_OVERRUN,
    &socket::LOSS_IN_SOCKET,
    &receiver::DUPLICATE_TWO_INTERFACES,
    &stream::TWO_SENDERS,
    &stream::FIRST_PACKETS_LOST,
    &stream::LOSS_ON_WIRE,
    // Group management between this host and the link.
    &protocol::REPORT_SUPPRESSION,
    &protocol::FIREWALL_DROPS_IGMP,
    &protocol::FIREWALL_DROPS_MLD,
    &protocol::ILLEGAL_MLD_QUERY,
    &protocol::REPORT_WITHOUT_ADDRESS,
    &protocol::BRIDGE_QUERIER_DEFAULT,
    &protocol::QUERIER_VERSION_FLAPPING,
    &protocol::IGMPV2_QUERIER_BREAKS_SSM,
    &protocol::SWITCH_IGNORES_IGMPV3,
    &protocol::REPORTS_LOST,
    &protocol::LINK_LOCAL_REPORTS,
    // The link itself.
    &snooping::NETWORK_WITHOUT_MULTICAST,
    &snooping::NO_REPORT_AFTER_FAILOVER,
    &snooping::FAST_LEAVE_SHARED_PORT,
    &snooping::GROUP_QUERY_MISSING,
    &snooping::QUERIER_LOST,
    &snooping::ONLY_LINK_LOCAL_WORKS,
    &snooping::NO_QUERIER,
    &snooping::SILENT_RECEIVER_PRUNED,
    &snooping::QUERY_INTERVAL_TOO_LONG,
    &snooping::SOURCE_STOPPED,
    &snooping::NOT_ARRIVING,
    // Notes.
    &protocol::SUSPICIOUS_IGMP_QUERY,
    &snooping::TWO_QUERIERS,
    &snooping::QUERIER_CHANGED,
    &protocol::QUERIER_WITHOUT_ADDRESS,
    &protocol::REJOIN_HACK,
    &socket::MULTICAST_ALL_CROSSTALK,
    &receiver::MAC_ALIAS,
    &snooping::VF_FILTER,
    &receiver::MULTICAST_ECHO_IGNORED,
    &receiver::UNICAST_MAC,
    &receiver::NOT_JOINED,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::{host, texts};
    use std::collections::BTreeSet;

    #[test]
    fn every_mode_is_there_once_and_has_its_texts() {
        let ids: BTreeSet<&str> = ALL.iter().map(|mode| mode.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for mode in ALL {
            for text in [mode.title, mode.symptoms, mode.cause, mode.proof, mode.fix] {
                assert!(!text.is_empty(), "{}", mode.id);
            }
            for text in [mode.symptoms, mode.cause, mode.proof, mode.fix] {
                assert!(text.ends_with(['.', ')']), "{}: {text}", mode.id);
            }
            for covered in mode.implies {
                assert!(ids.contains(covered), "{} covers {covered}", mode.id);
            }
        }
    }

    /// A failure mode of a host has its own text, or that of a failure mode of multicast.
    #[test]
    fn every_mode_of_a_host_is_there_once_and_has_its_texts() {
        let of_host: Vec<_> = host::modes().collect();
        let ids: BTreeSet<&str> = of_host.iter().map(|mode| mode.text.id).collect();
        assert_eq!(ids.len(), of_host.len());
        for mode in &of_host {
            let text = mode.text;
            for words in [text.symptoms, text.cause, text.proof, text.fix] {
                assert!(words.ends_with(['.', ')']), "{}: {words}", text.id);
            }
            assert!(!text.title.is_empty() && !text.title.ends_with('.'));
            for covered in mode.implies {
                let of_multicast = ALL.iter().any(|known| known.id == *covered);
                assert!(
                    ids.contains(covered) || of_multicast,
                    "{} covers {covered}",
                    text.id
                );
            }
        }
        let all = texts();
        let once: BTreeSet<&str> = all.iter().map(|text| text.id).collect();
        assert_eq!(once.len(), all.len());
    }
}
