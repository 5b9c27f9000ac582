//! PURE. Parameters and replies of `io.netsonde.Capture`. The `.varlink` file describes the values in full.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A compiled classic BPF program for one link type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Link type: `ethernet` or `raw`.
    pub link_type: String,
    /// VLAN tags as the program sees them: `wire` or `stripped`.
    pub tags: String,
    /// Instructions, four numbers each: code, jt, jf, k.
    pub code: Vec<u32>,
}

/// How much of each packet is included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Headers and messages of network protocols, without payload.
    Headers,
    /// The most that the caller may see.
    Permitted,
    /// All recorded bytes.
    Whole,
}

impl Content {
    /// Returns what is given to a caller who asked for it: never `Permitted`. [`Content::Whole`] requires the
    /// permission to see payload.
    pub fn of_request(wanted: Option<Content>, may_see_payload: bool) -> Content {
        match wanted {
            Some(Content::Headers) => Content::Headers,
            Some(Content::Permitted) if !may_see_payload => Content::Headers,
            _ => Content::Whole,
        }
    }
}

/// Which packets to return. All given conditions must hold; a list matches if any of its entries does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Only packets of this long before now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ns: Option<u64>,
    /// Only packets since this time, in nanoseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ns: Option<u64>,
    /// Only packets until this time, in nanoseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ns: Option<u64>,
    /// Continue with live packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
    /// Names of interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<String>>,
    /// Direction: `in` or `out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Names of stores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stores: Option<Vec<String>>,
    /// Filter programs, at most one per link type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<Vec<Program>>,
    /// Source of `programs`, for the comment in the capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Addresses or networks of either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Ports of either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<u16>>,
    /// Names of protocols, in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<String>>,
    /// Whether `hosts`, `ports` and `protocols` match packets within tunnels as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner: Option<bool>,
    /// Multicast groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// VLAN IDs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlans: Option<Vec<u16>>,
    /// Maximum number of packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How much of each packet to include; `None` for whole packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Whether each packet has its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbered: Option<bool>,
    /// The record that `next` refers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// Number of the first packet to return, by store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<BTreeMap<String, u64>>,
}

/// Parameters of `Capture`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureCall {
    /// Which packets to return.
    pub selection: Selection,
}

/// Reply of `Capture`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaptureReply {
    /// Index of the pipe in the message's descriptor array; first reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fd: Option<u64>,
    /// Packets written; last reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Packets evicted before this reader reached them; last reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// Reason if the service ended the stream; last reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
    /// How much of each packet is included; first reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// The record; first reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
}
