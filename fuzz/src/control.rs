//! The control socket: the real server, with a service that parses what the engine's parses.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream as StdStream};
use std::rc::Rc;
use std::time::Duration;

use netsonde::varlink::server::memory::{Memory, MemoryLimits};
use netsonde::varlink::server::{
    Clients, Failure, Interface, Limits, Peer, Replies, Service, parameters, serve,
};
use netsonde_core::protocol::capture::CaptureCall;
use netsonde_core::protocol::inventory::{EventsCall, TalkersCall};
use netsonde_core::protocol::multicast::InterfaceCall;
use netsonde_core::protocol::ping::{PingCall, ProgressCall, StopCall, TargetsCall};
use netsonde_core::protocol::{CAPTURE, PING};
use netsonde_core::recorder::select::Select;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// Maximum time for all replies: the server waits for nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that a client sends before it closes its direction. Every reply is one complete JSON object, and there are
/// no more than there were requests, and one for the connection.
pub fn control(data: &[u8]) {
    thread_local! {
        static SERVER: Server = Server::start();
    }
    let replies = SERVER.with(|server| server.exchange(data));
    assert!(
        replies.last().is_none_or(|last| *last == 0),
        "a reply is cut"
    );
    let mut count = 0;
    for reply in replies
        .split(|byte| *byte == 0)
        .filter(|one| !one.is_empty())
    {
        count += 1;
        // As JSON wants it (RFC 8259, section 7); DEL may stand as it is, and the client escapes it.
        assert!(reply.iter().all(|byte| *byte >= b' '));
        let reply: serde_json::Value = serde_json::from_slice(reply).expect("JSON");
        assert!(reply["parameters"].is_object() || reply["error"].is_string());
    }
    let requests = data.iter().filter(|byte| **byte == 0).count();
    assert!(
        count <= 2 * requests + 1,
        "{count} replies to {requests} requests"
    );
}

struct Server {
    runtime: Runtime,
    tasks: LocalSet,
    address: SocketAddr,
}

impl Server {
    fn start() -> Server {
        let name = format!(
            "netsonde-fuzz-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("a listener");
        listener.set_nonblocking(true).expect("non-blocking");
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let tasks = LocalSet::new();
        tasks.spawn_local(async move {
            let (all, per_user) = (64 << 20, 64 << 20);
            let memory = Memory::new(MemoryLimits { all, per_user });
            let clients = Rc::new(RefCell::new(Clients::new(Limits::new(64, 32), memory)));
            serve(OwnedFd::from(listener), Rc::new(Parser), clients).await
        });
        Server {
            runtime,
            tasks,
            address,
        }
    }

    fn exchange(&self, data: &[u8]) -> Vec<u8> {
        let stream = StdStream::connect_addr(&self.address).expect("connected");
        stream.set_nonblocking(true).expect("non-blocking");
        let work = async {
            let (mut from, mut to) = UnixStream::from_std(stream).expect("a stream").into_split();
            let mut replies = Vec::new();
            let sending = async move {
                // The server may close the connection first.
                let _ = to.write_all(data).await;
                let _ = to.shutdown().await;
            };
            let receiving = from.read_to_end(&mut replies);
            let _ = tokio::join!(sending, receiving);
            replies
        };
        let work = async { tokio::time::timeout(PATIENCE, work).await };
        self.runtime
            .block_on(self.tasks.run_until(work))
            .expect("all replies in time")
    }
}

/// Parses the parameters of each method.
struct Parser;

impl Service for Parser {
    fn interfaces(&self) -> &'static [Interface] {
        &[
            Interface {
                name: "io.netsonde.Capture",
                description: CAPTURE,
            },
            Interface {
                name: "io.netsonde.Ping",
                description: PING,
            },
        ]
    }

    fn listener_failed(&self) {
        panic!("the listener failed");
    }

    async fn call(
        &self,
        _: &Peer,
        method: &str,
        raw: Option<&RawValue>,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        match method {
            "io.netsonde.Capture.Capture" => {
                let call: CaptureCall = parameters(raw)?;
                if let Err(error) = Select::new(&call.selection) {
                    return Err(Failure::invalid_parameter(&error.to_string()));
                }
            }
            "io.netsonde.Ping.Targets" => drop(parameters::<TargetsCall>(raw)?),
            "io.netsonde.Ping.Ping" => drop(parameters::<PingCall>(raw)?),
            "io.netsonde.Ping.Progress" => drop(parameters::<ProgressCall>(raw)?),
            "io.netsonde.Ping.Stop" => drop(parameters::<StopCall>(raw)?),
            "io.netsonde.Multicast.Groups" => drop(parameters::<InterfaceCall>(raw)?),
            "io.netsonde.Inventory.Talkers" => drop(parameters::<TalkersCall>(raw)?),
            "io.netsonde.Inventory.Events" => drop(parameters::<EventsCall>(raw)?),
            _ => return Err(Failure::method_not_found(method)),
        }
        if replies.wants_more() {
            replies.next(&json!({})).await?;
        }
        replies.last(&json!({})).await
    }
}
