//! SHELL. What the control socket answers.

mod inventory;
mod multicast;
mod ping;
pub mod status;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use serde_json::json;
use serde_json::value::RawValue;

use super::control::{self, Clients, Failure, Interface, Limits, Peer, Replies, Service};
use super::export::{self, Export, Refused};
use super::{Shared, control::parameters};
use crate::keeper::now_ns;
use crate::protocol;
use crate::protocol::capture::{CaptureCall, Opened};

const INTERFACES: &[Interface] = &[
    Interface {
        name: "io.netsonde.Service",
        description: protocol::SERVICE,
    },
    Interface {
        name: "io.netsonde.Capture",
        description: protocol::CAPTURE,
    },
    Interface {
        name: "io.netsonde.Ping",
        description: protocol::PING,
    },
    Interface {
        name: "io.netsonde.Multicast",
        description: protocol::MULTICAST,
    },
];

struct Netsonde {
    world: Shared,
    clients: Rc<RefCell<Clients>>,
    lists: RefCell<ping::Lists>,
}

impl Service for Netsonde {
    fn interfaces(&self) -> &'static [Interface] {
        INTERFACES
    }

    async fn call(
        &self,
        peer: Peer,
        method: &str,
        raw: Option<&RawValue>,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        match method {
            "io.netsonde.Service.Status" => {
                let serving = status::Serving {
                    clients: self.clients.borrow().counts(),
                    limits: self.clients.borrow().limits(),
                };
                let status = status::status(&self.world.borrow(), serving);
                replies.last(&status).await
            }
            "io.netsonde.Service.Interfaces" => {
                let interfaces = inventory::interfaces(&self.world.borrow());
                replies.last(&interfaces).await
            }
            "io.netsonde.Capture.Capture" => self.capture(peer, parameters(raw)?, replies).await,
            "io.netsonde.Ping.Targets" => {
                let call = parameters(raw)?;
                let limit = self.world.borrow().config.ping.targets;
                let listed = ping::add_targets(&self.world, &self.lists, peer, call, limit)?;
                replies.last(&listed).await
            }
            "io.netsonde.Ping.Ping" => {
                ping::ping(&self.world, &self.lists, peer, parameters(raw)?, replies).await
            }
            "io.netsonde.Ping.Stop" => {
                ping::stop(&self.world, peer, parameters(raw)?)?;
                replies.last(&json!({})).await
            }
            "io.netsonde.Multicast.Groups" => {
                export::settle(&self.world).await;
                let groups = multicast::groups(&self.world.borrow(), parameters(raw)?)?;
                replies.last(&groups).await
            }
            "io.netsonde.Multicast.Queriers" => {
                export::settle(&self.world).await;
                let queriers = multicast::queriers(&self.world.borrow(), parameters(raw)?)?;
                replies.last(&queriers).await
            }
            "io.netsonde.Multicast.Streams" => {
                export::settle(&self.world).await;
                let streams = multicast::streams(&self.world.borrow(), parameters(raw)?)?;
                replies.last(&streams).await
            }
            _ => Err(Failure::method_not_found(method)),
        }
    }
}

impl Netsonde {
    async fn capture(
        &self,
        peer: Peer,
        call: CaptureCall,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        tracing::info!(
            uid = peer.uid,
            filter = call.selection.filter.as_deref().unwrap_or(""),
            "packets asked for"
        );
        let asked_ns = now_ns();
        if call.selection.last_ns.is_some() || call.selection.follow != Some(true) {
            export::settle(&self.world).await;
        }
        let export = Export::new(&self.world, call.selection, asked_ns).map_err(refusal)?;
        let unavailable = |error: io::Error| {
            Failure::error(
                "io.netsonde.Service.Unavailable",
                json!({ "reason": error.to_string() }),
            )
        };
        let (theirs, ours) = export::pipe().map_err(unavailable)?;
        let opened = Opened {
            fd: Some(0),
            ..Opened::default()
        };
        if replies.wants_more() {
            replies.first(&opened, theirs).await?;
            let report = export::run(&self.world, export, ours)
                .await
                .map_err(unavailable)?;
            replies.last(&report).await
        } else {
            replies.last_with(&opened, theirs).await?;
            let _ = export::run(&self.world, export, ours).await;
            Ok(())
        }
    }
}

fn refusal(refused: Refused) -> Failure {
    use crate::recorder::select::Invalid;
    match refused {
        Refused::Invalid(Invalid::Program {
            link_type,
            instruction,
            reason,
        }) => Failure::error(
            "io.netsonde.Capture.BadFilter",
            json!({ "link_type": link_type, "instruction": instruction, "reason": reason }),
        ),
        Refused::Invalid(other) => Failure::invalid_parameter(&format!("selection.{other}")),
        Refused::NoSuchInterface(name) => Failure::error(
            "io.netsonde.Capture.NoSuchInterface",
            json!({ "interface": name }),
        ),
        Refused::NoSuchStore(name) => {
            Failure::invalid_parameter(&format!("selection.stores: there is no store {name:?}"))
        }
    }
}

/// Clients for which there are descriptors: a quarter of them, since one that reads packets takes three
/// (its connection, the pipe, and another of the pipe to wait with), and the engine needs some itself.
fn clients_by_descriptors() -> u32 {
    use nix::sys::resource::{Resource, getrlimit};
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    u32::try_from(soft / 4).unwrap_or(u32::MAX).max(1)
}

/// Starts serving.
pub fn start(
    world: Shared,
    control: std::os::unix::net::UnixListener,
) -> io::Result<impl Future<Output = io::Result<()>>> {
    let configured = world.borrow().config.control.clone();
    let limits = Limits::new(
        configured.clients.min(clients_by_descriptors()),
        configured.clients_per_uid,
    );
    let clients = Rc::new(RefCell::new(Clients::new(limits)));
    let service = Rc::new(Netsonde {
        world,
        clients: clients.clone(),
        lists: RefCell::default(),
    });
    Ok(control::serve(control, service, clients))
}
