//! SHELL. One client: receives requests and sends replies, one call after another.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::UnixStream;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use super::clients::{ClientSlot, Clients, Refusal};
use super::replies::{Failure, Replies};
use super::{Peer, Service};
use crate::varlink::server::memory::Reservation;

/// A Varlink call.
#[derive(Deserialize)]
struct Call<'a> {
    method: String,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(default)]
    more: Option<bool>,
    #[serde(default)]
    oneway: Option<bool>,
    #[serde(default)]
    upgrade: Option<bool>,
}

/// Bytes read at a time.
const READ_BYTES: usize = 4096;
/// Memory of a request that is being answered, for each of its bytes: its text, and at worst a list of
/// strings of one letter, with the header of each and the smallest unit of the allocator.
const PARSED: usize = 1 + (24 + 32) / 4;

/// Why a connection ends.
enum Disconnect {
    /// The client is gone, or has closed its direction.
    Closed,
    /// It is closed in favor of another client.
    Leave,
    /// An invalid request that cannot be answered in any other way; the reason is sent.
    Bad(String),
    /// The request did not arrive in time.
    Slow,
}

/// Received bytes. Plain reads are used, so the kernel drops any descriptors that are attached.
struct RequestBuffer {
    bytes: Vec<u8>,
    limit: usize,
    memory: Reservation,
}

impl RequestBuffer {
    /// Removes the next complete request, if there is one.
    fn take(&mut self) -> Option<Vec<u8>> {
        let end = self.bytes.iter().position(|byte| *byte == 0)?;
        let request = self.bytes[..end].to_vec();
        self.bytes.drain(..=end);
        if self.bytes.is_empty() {
            // Of a long request nothing is kept while it is answered.
            self.bytes = Vec::new();
            let _ = self.memory.resize(0);
        }
        Some(request)
    }

    /// Reads once. Returns `Ok(false)` if the client has closed its direction.
    fn read(&mut self, stream: &UnixStream) -> io::Result<bool> {
        let mut buffer = [0; READ_BYTES];
        let max = READ_BYTES.min(self.limit + 1 - self.bytes.len().min(self.limit));
        let length = stream.try_read(&mut buffer[..max])?;
        let needed = self.bytes.len() + length;
        if needed > self.bytes.capacity() {
            let size = needed.max(self.bytes.capacity() * 2);
            let refused = |_| io::Error::from(io::ErrorKind::OutOfMemory);
            self.memory.resize(size as u64).map_err(refused)?;
            self.bytes.reserve_exact(size - self.bytes.len());
        }
        self.bytes.extend_from_slice(&buffer[..length]);
        Ok(length > 0)
    }

    fn is_full(&self) -> bool {
        self.bytes.len() > self.limit
    }
}

/// Serves a client until it ends.
pub async fn serve<S: Service>(
    stream: UnixStream,
    peer: Peer,
    slot: ClientSlot,
    service: Rc<S>,
    clients: Rc<RefCell<Clients>>,
) {
    let limits = clients.borrow().limits;
    let memory = clients.borrow().memory.clone();
    let mut requests = RequestBuffer {
        bytes: Vec::new(),
        limit: limits.request_bytes,
        memory: memory.nothing(peer.user()),
    };
    let end = loop {
        let request = match next_request(&stream, &mut requests, &slot, limits.request_wait).await {
            Ok(request) => request,
            Err(end) => break end,
        };
        clients.borrow_mut().set_busy(&slot, true);
        let answered = answer(&stream, &request, &peer, &*service, &mut requests, &clients).await;
        clients.borrow_mut().set_busy(&slot, false);
        if let Err(end) = answered {
            break end;
        }
        // The buffer may hold a thousand requests: each waits until other clients were served, and
        // nothing more is done for a client that is gone.
        yield_now().await;
        if is_hung_up(&stream) {
            break Disconnect::Closed;
        }
    };
    clients.borrow_mut().gone(&slot);
    let reason = match end {
        Disconnect::Closed => return,
        Disconnect::Leave => {
            let limit = limits.clients_per_uid;
            return refuse(
                &stream,
                &Refusal {
                    scope: "uid",
                    limit,
                },
            );
        }
        Disconnect::Bad(reason) => {
            clients.borrow_mut().bad_requests += 1;
            reason
        }
        Disconnect::Slow => {
            clients.borrow_mut().slow_requests += 1;
            let seconds = limits.request_wait.as_secs();
            format!("the request did not arrive within {seconds} s")
        }
    };
    send_final_error(
        &stream,
        "io.netsonde.Service.BadRequest",
        &json!({ "reason": reason }),
    );
}

/// Tells a client that there are too many connections.
pub fn refuse(stream: &UnixStream, refusal: &Refusal) {
    let parameters = json!({ "scope": refusal.scope, "limit": refusal.limit });
    send_final_error(
        stream,
        "io.netsonde.Service.TooManyConnections",
        &parameters,
    );
}

/// Sends a final error if the socket accepts it at once: a client that is being closed is not
/// waited for.
fn send_final_error(stream: &UnixStream, error: &str, parameters: &serde_json::Value) {
    let mut text = json!({ "error": error, "parameters": parameters })
        .to_string()
        .into_bytes();
    text.push(0);
    // Not through the runtime, which may not know yet that a new connection is writable.
    let _ = super::replies::send(stream, &text, None);
}

async fn next_request(
    stream: &UnixStream,
    requests: &mut RequestBuffer,
    slot: &ClientSlot,
    wait: std::time::Duration,
) -> Result<Vec<u8>, Disconnect> {
    let mut by = None;
    loop {
        if let Some(request) = requests.take() {
            return Ok(request);
        }
        if requests.is_full() {
            let limit = requests.limit;
            requests.bytes = Vec::new();
            return Err(Disconnect::Bad(format!(
                "the request exceeds {limit} bytes"
            )));
        }
        if requests.bytes.is_empty() {
            by = None;
        } else if by.is_none() {
            by = Some(Instant::now() + wait);
        }
        let readable = async {
            match by {
                None => Some(stream.readable().await),
                Some(by) => timeout_at(by, stream.readable()).await.ok(),
            }
        };
        let ready = tokio::select! {
            () = slot.leave.notified() => return Err(Disconnect::Leave),
            ready = readable => ready,
        };
        match ready {
            None => return Err(Disconnect::Slow),
            Some(Err(_)) => return Err(Disconnect::Closed),
            Some(Ok(())) => match requests.read(stream) {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                    let reason = "the caller's requests and replies take too much memory";
                    return Err(Disconnect::Bad(reason.into()));
                }
                Ok(false) | Err(_) => return Err(Disconnect::Closed),
            },
        }
    }
}

async fn answer<S: Service>(
    stream: &UnixStream,
    request: &[u8],
    peer: &Peer,
    service: &S,
    requests: &mut RequestBuffer,
    clients: &RefCell<Clients>,
) -> Result<(), Disconnect> {
    let text = std::str::from_utf8(request)
        .map_err(|error| Disconnect::Bad(format!("not UTF-8: byte {}", error.valid_up_to())))?;
    let call: Call<'_> = serde_json::from_str(text)
        .map_err(|error| Disconnect::Bad(format!("not a Varlink call: {error}")))?;
    let wait = clients.borrow().limits.reply_wait;
    let memory = clients.borrow().memory.clone();
    let mut replies = Replies::new(
        stream,
        memory.nothing(peer.user()),
        (call.more == Some(true), call.oneway == Some(true)),
        wait,
    );
    let parsed = memory.reserve(peer.user(), (request.len() * PARSED) as u64);
    let outcome = if let Err(exceeded) = &parsed {
        Err(Failure::from(*exceeded))
    } else if call.upgrade == Some(true) {
        Err(Failure::invalid_parameter("upgrade"))
    } else if let Some(method) = call.method.strip_prefix("org.varlink.service.") {
        introspect(service, method, call.parameters, &mut replies).await
    } else {
        tokio::select! {
            biased;
            outcome = service.call(peer, &call.method, call.parameters, &mut replies) => outcome,
            () = wait_for_hangup(stream, requests) => return Err(Disconnect::Closed),
        }
    };
    let outcome = match outcome {
        Err(Failure::Error { name, parameters }) => replies.error(&name, &parameters).await,
        other => other,
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(Failure::TooSlow) => {
            clients.borrow_mut().slow_readers += 1;
            Err(Disconnect::Closed)
        }
        Err(_) => Err(Disconnect::Closed),
    }
}

/// Interval for checking a client whose direction is closed: work for a client that is gone ends
/// within this time.
const HANGUP_POLL: Duration = Duration::from_millis(250);

/// Returns when the client has closed the connection. Requests that arrive meanwhile are kept, as
/// far as the buffer allows.
async fn wait_for_hangup(stream: &UnixStream, requests: &mut RequestBuffer) {
    loop {
        if requests.is_full() {
            return wait_until_closed(stream).await;
        }
        if stream.readable().await.is_err() {
            return;
        }
        match requests.read(stream) {
            Ok(true) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
            // It may have closed only its own direction, and be waiting for the reply.
            Ok(false) => return wait_until_closed(stream).await,
        }
    }
}

/// Returns when both directions are closed. Readiness is not enough: after a client has closed one
/// direction, or while the buffer is full, the socket stays readable.
async fn wait_until_closed(stream: &UnixStream) {
    while !is_hung_up(stream) {
        sleep(HANGUP_POLL).await;
    }
}

fn is_hung_up(stream: &UnixStream) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut wanted = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    poll(&mut wanted, PollTimeout::ZERO).is_err()
        || wanted[0]
            .revents()
            .is_some_and(|seen| seen.contains(PollFlags::POLLHUP))
}

/// org.varlink.service: information on the service and its interfaces.
async fn introspect<S: Service>(
    service: &S,
    method: &str,
    parameters: Option<&RawValue>,
    replies: &mut Replies<'_>,
) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct DescriptionCall {
        interface: String,
    }
    match method {
        "GetInfo" => {
            let mut interfaces = vec!["org.varlink.service"];
            interfaces.extend(service.interfaces().iter().map(|interface| interface.name));
            let info = json!({
                "vendor": "netsonde",
                "product": "netsonde",
                "version": env!("CARGO_PKG_VERSION"),
                "url": "",
                "interfaces": interfaces,
            });
            replies.last(&info).await
        }
        "GetInterfaceDescription" => {
            let call: DescriptionCall = super::replies::parameters(parameters)?;
            let own = [super::Interface {
                name: "org.varlink.service",
                description: netsonde_core::protocol::VARLINK,
            }];
            let found = service
                .interfaces()
                .iter()
                .chain(&own)
                .find(|interface| interface.name == call.interface)
                .ok_or_else(|| {
                    Failure::error(
                        "org.varlink.service.InterfaceNotFound",
                        json!({ "interface": call.interface }),
                    )
                })?;
            replies
                .last(&json!({ "description": found.description }))
                .await
        }
        _ => Err(Failure::method_not_found(&format!(
            "org.varlink.service.{method}"
        ))),
    }
}
