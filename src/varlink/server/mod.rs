//! SHELL. The Varlink server: one listening socket, many clients, one thread. A slow, dead or
//! malicious client costs a bounded amount of memory, and does not delay others.
//!
//! It has its own codec, which is small, while the list of what it must not do is long: no message
//! and no queue without a limit, no descriptor accepted, no client that delays another
//! (`ARCHITECTURE.md`, "Control socket").
//!
//! | file | contents |
//! |---|---|
//! | `listen` | the listening socket |
//! | `clients` | who is connected, and who is let in |
//! | `connection` | the calls of one client |
//! | `replies` | the replies to one call |
//! | `peer` | identity of a client, as the kernel has it |
//! | `user` | the owner of connections, runs and memory |
//! | `memory` | memory that clients make the process take |
//! | `ready` | waiting for descriptors |

mod clients;
mod connection;
pub mod listen;
pub mod memory;
mod peer;
pub mod ready;
mod replies;
pub mod user;

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{SockFlag, VsockAddr, getsockname};
use serde_json::value::RawValue;
use socket2::{Domain, SockRef};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::task::{spawn_local, yield_now};

pub use clients::Clients;
pub use peer::Peer;
pub use replies::{Failure, Replies, parameters};

/// Limits of clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum size of a request in bytes: a filter of 2,048 instructions fits.
    pub request_bytes: usize,
    /// Maximum number of connections; each costs a descriptor and some kilobytes.
    pub clients: usize,
    /// Maximum number of connections per user, so that no user locks others out.
    pub clients_per_uid: usize,
    /// Maximum time for a request to arrive after its first byte.
    pub request_wait: Duration,
    /// Maximum time for a client to read a reply.
    pub reply_wait: Duration,
}

impl Limits {
    /// Returns the default limits, with the configured numbers of connections.
    pub fn new(clients: u32, clients_per_uid: u32) -> Limits {
        Limits {
            request_bytes: 64 * 1024,
            clients: clients as usize,
            clients_per_uid: clients_per_uid as usize,
            request_wait: Duration::from_secs(5),
            reply_wait: Duration::from_secs(5),
        }
    }
}

/// A Varlink interface that is served.
pub struct Interface {
    /// Name of the interface.
    pub name: &'static str,
    /// Its description, for introspection.
    pub description: &'static str,
}

/// The methods that the engine implements.
pub trait Service: 'static {
    /// The interfaces, in addition to org.varlink.service.
    fn interfaces(&self) -> &'static [Interface];

    /// Answers one call, or returns how it failed. Calls of one connection are answered in order.
    fn call(
        &self,
        peer: &Peer,
        method: &str,
        parameters: Option<&RawValue>,
        replies: &mut Replies<'_>,
    ) -> impl Future<Output = Result<(), Failure>>;

    /// Takes note that a listening socket has failed.
    fn listener_failed(&self);
}

/// Connections accepted in a row before other tasks run.
const MAX_ACCEPTS_PER_POLL: usize = 8;
/// Pause after running out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// Pause after any other error: an error that lasts must not occupy the engine.
const FAILED_ACCEPT: Duration = Duration::from_millis(500);

/// Accepts clients forever, on a Unix socket or a stream socket of another family.
pub async fn serve<S: Service>(
    listener: OwnedFd,
    service: Rc<S>,
    clients: Rc<RefCell<Clients>>,
) -> io::Result<()> {
    let is_unix = SockRef::from(&listener).domain()? == Domain::UNIX;
    let listener = ready::readable(listener)?;
    // Released briefly when descriptors run out, to accept and reject waiting clients.
    let mut reserve = reserve();
    let mut in_a_row = 0;
    loop {
        match accept(&listener).await {
            Ok(stream) => {
                let Ok(peer) = Peer::of(&stream, is_unix) else {
                    continue;
                };
                let admitted = clients.borrow_mut().admit(peer.user());
                match admitted {
                    Ok(slot) => {
                        let served =
                            connection::serve(stream, peer, slot, service.clone(), clients.clone());
                        spawn_local(served);
                    }
                    Err(refusal) => connection::refuse(&stream, &refusal),
                }
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                clients.borrow_mut().out_of_descriptors += 1;
                drop(reserve.take());
                if let Ok(Ok(stream)) =
                    tokio::time::timeout(Duration::ZERO, accept(&listener)).await
                {
                    drop(stream);
                }
                reserve = self::reserve();
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
            // The client was gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                clients.borrow_mut().failed_accepts += 1;
                tracing::error!(%error, "cannot accept connections");
                service.listener_failed();
                tokio::time::sleep(FAILED_ACCEPT).await;
            }
        }
        in_a_row += 1;
        if in_a_row >= MAX_ACCEPTS_PER_POLL {
            in_a_row = 0;
            yield_now().await;
        }
    }
}

/// Returns the kind of a listening socket, in a word.
pub fn socket_name(listener: &OwnedFd) -> String {
    match SockRef::from(listener).domain() {
        Ok(Domain::UNIX) => "unix".into(),
        Ok(Domain::VSOCK) => {
            let address = getsockname::<VsockAddr>(listener.as_raw_fd());
            address.map_or("vsock".into(), |at| format!("vsock:{}", at.port()))
        }
        Ok(other) => format!("family {}", i32::from(other)),
        Err(error) => error.to_string(),
    }
}

/// Accepts a connection. Only reading and writing of the stream are used, which every family
/// supports.
async fn accept(listener: &AsyncFd<OwnedFd>) -> io::Result<UnixStream> {
    loop {
        let mut ready = listener.readable().await?;
        let is_closed = ready.ready().is_read_closed();
        let accepted = ready.try_io(|listener| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            Ok(nix::sys::socket::accept4(listener.as_raw_fd(), flags)?)
        });
        match accepted {
            Ok(accepted) => return UnixStream::from_std(ready::accepted(accepted?)),
            // The listener stays readable after shutdown(2), and accept reports nothing else.
            Err(_would_block) if is_closed => {
                return Err(io::Error::new(
                    io::ErrorKind::NotConnected,
                    "the listening socket was shut down",
                ));
            }
            Err(_would_block) => {}
        }
    }
}

fn reserve() -> Option<std::os::fd::OwnedFd> {
    nix::sys::eventfd::EventFd::new().ok().map(Into::into)
}
