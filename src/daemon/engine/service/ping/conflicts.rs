//! SHELL. Address conflicts of targets, for the summary of a run.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::daemon::engine::state::EngineState;
use crate::linux::wall_ns;
use netsonde_core::neighbors::{AddressState, Conflict};
use netsonde_core::probe::Target;
use netsonde_core::probe::hop::conflict_words;
use netsonde_core::protocol::ping::Remark;

/// Conflicts in progress, by address: the interfaces with the two claimants.
pub(super) struct Conflicts(HashMap<IpAddr, Vec<(u32, Conflict)>>);

impl Conflicts {
    /// Collects the conflicts on all links.
    pub(super) fn collect(engine: &EngineState) -> Conflicts {
        let mut all: HashMap<IpAddr, Vec<(u32, Conflict)>> = HashMap::new();
        let now_ns = wall_ns();
        for link in engine.links.iter() {
            let addresses = engine.recording.neighbors.addresses(link.ifindex, now_ns);
            for (address, _, state) in addresses {
                if let Some(AddressState::Conflict(conflict)) = state
                    && conflict.current
                {
                    all.entry(*address)
                        .or_default()
                        .push((link.ifindex, conflict));
                }
            }
        }
        Conflicts(all)
    }

    /// Adds a remark for each interface on which the target's address is in conflict.
    pub(super) fn add_remarks(
        &self,
        remarks: &mut Option<Vec<Remark>>,
        target: &Target,
        name: impl Fn(u32) -> String,
    ) {
        let found = self.0.get(&target.address).into_iter().flatten();
        for (ifindex, conflict) in found {
            if target.scope == 0 || target.scope == *ifindex {
                remarks.get_or_insert_default().push(Remark {
                    id: "address-conflict".into(),
                    text: conflict_words(target.address, &name(*ifindex), conflict),
                });
            }
        }
    }
}
