//! SHELL. The methods of the control socket.

mod cost;
mod events;
mod inventory;
mod kernel;
mod multicast;
mod neighbors;
mod ping;
pub mod status;
mod talkers;
mod trace;

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use serde_json::json;
use serde_json::value::RawValue;

use super::Shared;
use super::export::{self, Export, Refused};
use crate::linux::reason;
use crate::linux::wall_ns;
use crate::log::AUDIT;
use crate::varlink::server::parameters;
use crate::varlink::server::{
    self as control, Clients, Failure, Interface, Limits, Peer, Replies, Service,
};
use netsonde_core::config::Config;
use netsonde_core::config::permission::Tier;
use netsonde_core::protocol;
use netsonde_core::protocol::capture::{CaptureCall, CaptureReply, Content};

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
        name: "io.netsonde.Trace",
        description: protocol::TRACE,
    },
    Interface {
        name: "io.netsonde.Multicast",
        description: protocol::MULTICAST,
    },
    Interface {
        name: "io.netsonde.Inventory",
        description: protocol::INVENTORY,
    },
];

struct Netsonde {
    engine: Shared,
    clients: Rc<RefCell<Clients>>,
    lists: RefCell<ping::TargetLists>,
    listening: Vec<String>,
}

impl Service for Netsonde {
    fn interfaces(&self) -> &'static [Interface] {
        INTERFACES
    }

    async fn call(
        &self,
        peer: &Peer,
        method: &str,
        raw: Option<&RawValue>,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        if method == CAPTURE {
            return self.capture(peer, parameters(raw)?, replies).await;
        }
        let (tier, sends) =
            required_tier(method).ok_or_else(|| Failure::method_not_found(method))?;
        self.authorize(peer, method, tier, sends, None)?;
        self.lists.borrow_mut().expire();
        let rows = cost::of_reply(&self.engine.borrow(), method);
        let memory = self.engine.borrow().memory.clone();
        let _rows = memory.reserve(peer.user(), rows)?;
        match method {
            "io.netsonde.Service.Status" => {
                let serving = status::Serving {
                    listening: self.listening.clone(),
                    clients: self.clients.borrow().counts(),
                    limits: self.clients.borrow().limits(),
                };
                let status = status::status(&self.engine.borrow(), peer, serving);
                replies.last(&status).await
            }
            "io.netsonde.Service.Interfaces" => {
                let interfaces = inventory::interfaces(&self.engine.borrow());
                replies.last(&interfaces).await
            }
            "io.netsonde.Ping.Targets" => {
                let call = parameters(raw)?;
                let listed = ping::add_targets(&self.engine, &self.lists, peer, call)?;
                replies.last(&listed).await
            }
            "io.netsonde.Ping.Ping" => {
                ping::ping(&self.engine, &self.lists, peer, parameters(raw)?, replies).await
            }
            "io.netsonde.Ping.Progress" => {
                let so_far = ping::progress(&self.engine, peer, parameters(raw)?)?;
                replies.last(&so_far).await
            }
            "io.netsonde.Ping.Stop" => {
                ping::stop(&self.engine, peer, parameters(raw)?)?;
                replies.last(&json!({})).await
            }
            "io.netsonde.Trace.Probe" => {
                trace::probe(&self.engine, peer, parameters(raw)?, replies).await
            }
            "io.netsonde.Trace.Add" => {
                trace::add(&self.engine, peer, parameters(raw)?)?;
                replies.last(&json!({})).await
            }
            "io.netsonde.Trace.Ports" => {
                let ports = self.engine.borrow().prober.source_ports();
                replies.last(&ports).await
            }
            "io.netsonde.Trace.Close" => {
                trace::close(&self.engine, peer, parameters(raw)?)?;
                replies.last(&json!({})).await
            }
            "io.netsonde.Multicast.Groups" => {
                export::wait_until_recorded(&self.engine).await;
                let groups = multicast::groups(&self.engine.borrow(), parameters(raw)?)?;
                replies.last(&groups).await
            }
            "io.netsonde.Multicast.Queriers" => {
                export::wait_until_recorded(&self.engine).await;
                let queriers = multicast::queriers(&self.engine.borrow(), parameters(raw)?)?;
                replies.last(&queriers).await
            }
            "io.netsonde.Multicast.Streams" => {
                export::wait_until_recorded(&self.engine).await;
                let streams = multicast::streams(&self.engine.borrow(), parameters(raw)?)?;
                replies.last(&streams).await
            }
            "io.netsonde.Inventory.Talkers" => {
                export::wait_until_recorded(&self.engine).await;
                let talkers = talkers::talkers(&mut self.engine.borrow_mut(), parameters(raw)?)?;
                replies.last(&talkers).await
            }
            "io.netsonde.Inventory.Events" => {
                let limits = self.clients.borrow().limits();
                events::events(&self.engine, &limits, parameters(raw)?, replies).await
            }
            "io.netsonde.Inventory.Neighbors" => {
                export::wait_until_recorded(&self.engine).await;
                let call = parameters(raw)?;
                let neighbors = neighbors::neighbors(&mut self.engine.borrow_mut(), call)?;
                replies.last(&neighbors).await
            }
            "io.netsonde.Inventory.Counters" => {
                let counters = kernel::counters(&mut self.engine.borrow_mut())?;
                replies.last(&counters).await
            }
            "io.netsonde.Inventory.Paths" => {
                let call = parameters(raw)?;
                let paths = kernel::paths(&mut self.engine.borrow_mut(), &call)?;
                replies.last(&paths).await
            }
            _ => Err(Failure::method_not_found(method)),
        }
    }

    fn listener_failed(&self) {
        self.engine.borrow_mut().listener_failed();
    }
}

/// Authorized separately: the required tier depends on the requested content.
const CAPTURE: &str = "io.netsonde.Capture.Capture";

/// Returns the tier that a method requires, and whether it sends packets.
fn required_tier(method: &str) -> Option<(Tier, bool)> {
    let (interface, _) = method.rsplit_once('.')?;
    match interface {
        "io.netsonde.Service" => Some((Tier::Status, false)),
        "io.netsonde.Multicast" | "io.netsonde.Inventory" => Some((Tier::Probe, false)),
        "io.netsonde.Ping" | "io.netsonde.Trace" => Some((Tier::Probe, true)),
        _ => None,
    }
}

impl Netsonde {
    /// Returns an error and writes an audit record if the caller lacks the tier.
    fn authorize(
        &self,
        peer: &Peer,
        method: &str,
        tier: Tier,
        sends: bool,
        filter: Option<&str>,
    ) -> Result<(), Failure> {
        let mut engine = self.engine.borrow_mut();
        if engine.access.permissions.allows(peer.caller(), tier, sends) {
            return Ok(());
        }
        engine.access.denials += 1;
        let (uid, pid, machine) = (peer.uid, peer.pid, peer.machine);
        let name = tier.name();
        tracing::warn!(target: AUDIT, uid, pid, machine, method, tier = name, filter, "refused");
        let may = match peer.machine {
            Some(_) => vec![format!(
                "permission.vsock = {:?}",
                engine.config.permission.vsock
            )],
            None => engine.access.permissions.granted_to(tier),
        };
        Err(Failure::error(
            "io.netsonde.Service.PermissionDenied",
            json!({ "method": method, "tier": name, "may": may }),
        ))
    }

    async fn capture(
        &self,
        peer: &Peer,
        call: CaptureCall,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        let filter = call.selection.filter.as_deref();
        self.authorize(peer, CAPTURE, Tier::Probe, false, filter)?;
        if peer.machine.is_some() {
            return Err(Failure::error(
                "io.netsonde.Service.Unavailable",
                json!({ "reason": "packets need a descriptor, which cannot be passed to another \
                    machine" }),
            ));
        }
        let may_all =
            self.engine
                .borrow()
                .access
                .permissions
                .allows(peer.caller(), Tier::Payload, false);
        let content = Content::of_request(call.selection.content, may_all);
        if content == Content::Whole {
            self.authorize(peer, CAPTURE, Tier::Payload, false, filter)?;
            let (uid, pid) = (peer.uid, peer.pid);
            tracing::info!(target: AUDIT, uid, pid, method = CAPTURE, filter, "payload exported");
        }
        let asked_ns = wall_ns();
        if call.selection.last_ns.is_some() || call.selection.follow != Some(true) {
            export::wait_until_recorded(&self.engine).await;
        }
        let headers_only = content == Content::Headers;
        let memory = self.engine.borrow().memory.clone();
        let _memory = memory.reserve(peer.user(), export::BYTES)?;
        let export = Export::new(&self.engine, call.selection, asked_ns, headers_only);
        let export = export.map_err(refusal)?;
        let unavailable = |error: io::Error| {
            Failure::error(
                "io.netsonde.Service.Unavailable",
                json!({ "reason": reason(&error) }),
            )
        };
        let (theirs, ours) = export::pipe().map_err(unavailable)?;
        let opened = CaptureReply {
            fd: Some(0),
            content: Some(content),
            record: Some(self.engine.borrow().recording.recorder.created_ns()),
            ..CaptureReply::default()
        };
        if replies.wants_more() {
            replies.first(&opened, theirs).await?;
            let report = export::run(&self.engine, export, ours)
                .await
                .map_err(unavailable)?;
            replies.last(&report).await
        } else {
            replies.last_with(&opened, theirs).await?;
            let _ = export::run(&self.engine, export, ours).await;
            Ok(())
        }
    }
}

fn refusal(refused: Refused) -> Failure {
    use netsonde_core::recorder::select::Invalid;
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
            Failure::invalid_parameter(&format!("selection.stores: unknown store {name:?}"))
        }
    }
}

/// Maximum number of clients by descriptors: a quarter of them, since a reader of packets needs
/// three (its connection, the pipe, and a duplicate of the pipe for waiting), and the engine needs
/// some itself.
fn clients_by_descriptors() -> u32 {
    use nix::sys::resource::{Resource, getrlimit};
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    u32::try_from(soft / 4).unwrap_or(u32::MAX).max(1)
}

/// Returns the maximum number of connections.
pub fn limits(config: &Config) -> Limits {
    let clients = config.control.clients.min(clients_by_descriptors());
    Limits::new(clients, config.control.clients_per_uid)
}

/// Starts serving on all of these sockets. Returns the table of clients, and a task that runs until
/// a socket fails.
pub fn start(
    engine: Shared,
    control: Vec<OwnedFd>,
) -> (Rc<RefCell<Clients>>, impl Future<Output = io::Result<()>>) {
    let limits = limits(&engine.borrow().config);
    let memory = engine.borrow().memory.clone();
    let mut clients = Clients::new(limits, memory);
    clients.full = engine.borrow().access.permissions.full_limits.uids.clone();
    let clients = Rc::new(RefCell::new(clients));
    let service = Rc::new(Netsonde {
        engine,
        clients: clients.clone(),
        lists: RefCell::default(),
        listening: control.iter().map(control::socket_name).collect(),
    });
    let served = clients.clone();
    let server = async move {
        let mut servers = tokio::task::JoinSet::new();
        for listener in control {
            servers.spawn_local(control::serve(listener, service.clone(), served.clone()));
        }
        match servers.join_next().await {
            Some(ended) => ended.map_err(io::Error::other)?,
            None => Err(io::Error::other("no control socket was passed")),
        }
    };
    (clients, server)
}
