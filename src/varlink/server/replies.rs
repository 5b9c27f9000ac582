//! SHELL. Replies to one call.

use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::varlink::server::memory::{Exceeded, Reservation};

/// Why a call failed.
#[derive(Debug)]
pub enum Failure {
    /// An error that is returned to the client.
    Error {
        /// Varlink name of the error.
        name: String,
        /// Parameters of the error.
        parameters: Value,
    },
    /// The client did not read in time and is disconnected.
    TooSlow,
    /// The client is gone.
    Gone,
}

impl Failure {
    /// Creates a Varlink error.
    pub fn error(name: &str, parameters: Value) -> Failure {
        Failure::Error {
            name: name.into(),
            parameters,
        }
    }

    /// Creates the standard error for an unknown method.
    pub fn method_not_found(method: &str) -> Failure {
        Failure::error(
            "org.varlink.service.MethodNotFound",
            json!({ "method": method }),
        )
    }

    /// Creates the standard error for an invalid or missing parameter.
    pub fn invalid_parameter(parameter: &str) -> Failure {
        Failure::error(
            "org.varlink.service.InvalidParameter",
            json!({ "parameter": parameter }),
        )
    }
}

impl From<Exceeded> for Failure {
    fn from(exceeded: Exceeded) -> Failure {
        Failure::error(
            "io.netsonde.Service.LimitReached",
            json!({ "limit": exceeded.limit, "most": exceeded.most }),
        )
    }
}

/// Parses the parameters of a call. Errors are returned to the client.
pub fn parameters<T: DeserializeOwned>(raw: Option<&RawValue>) -> Result<T, Failure> {
    let text = raw.map_or("{}", RawValue::get);
    serde_json::from_str(text).map_err(|error| Failure::invalid_parameter(&error.to_string()))
}

/// A reply as sent.
#[derive(Serialize)]
struct Reply<'a, T> {
    parameters: &'a T,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    continues: bool,
}

impl<'a, T> Reply<'a, T> {
    fn new(parameters: &'a T, continues: bool) -> Self {
        Reply {
            parameters,
            continues,
        }
    }
}

/// A message being written, whose memory is reserved before it is allocated.
struct Message<'a> {
    bytes: Vec<u8>,
    memory: &'a mut Reservation,
    exceeded: Option<Exceeded>,
}

/// Size of a message up to which it is allocated at once.
const MESSAGE_BYTES: usize = 4096;

impl Message<'_> {
    /// Makes room for so many bytes in all.
    #[cold]
    fn grow(&mut self, needed: usize) -> io::Result<()> {
        let size = needed.max(self.bytes.capacity() * 2).max(MESSAGE_BYTES);
        if let Err(exceeded) = self.memory.resize(size as u64) {
            self.exceeded = Some(exceeded);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.reserve_exact(size - self.bytes.len());
        Ok(())
    }
}

impl Write for Message<'_> {
    #[inline]
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.write_all(more)?;
        Ok(more.len())
    }

    // A reply is written in many small pieces: names, quotes, commas.
    #[inline]
    fn write_all(&mut self, more: &[u8]) -> io::Result<()> {
        let needed = self.bytes.len() + more.len();
        if needed > self.bytes.capacity() {
            self.grow(needed)?;
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends the replies to one call.
pub struct Replies<'a> {
    stream: &'a UnixStream,
    /// Memory of the reply that is being sent.
    memory: Reservation,
    more: bool,
    oneway: bool,
    wait: Duration,
}

impl<'a> Replies<'a> {
    pub(super) fn new(
        stream: &'a UnixStream,
        memory: Reservation,
        (more, oneway): (bool, bool),
        wait: Duration,
    ) -> Self {
        Replies {
            stream,
            memory,
            more,
            oneway,
            wait,
        }
    }

    /// Returns whether the client accepts more than one reply.
    pub fn wants_more(&self) -> bool {
        self.more
    }

    /// Requires that the client accepts more than one reply.
    ///
    /// # Errors
    ///
    /// `org.varlink.service.ExpectedMore`, for the client.
    pub fn require_more(&self) -> Result<(), Failure> {
        match self.more {
            true => Ok(()),
            false => Err(Failure::error(
                "org.varlink.service.ExpectedMore",
                json!({}),
            )),
        }
    }

    /// Sends a reply that others follow. Only the first may carry a descriptor: the kernel may
    /// merge a reply without one with the next, and then its owner is unclear.
    pub async fn first(
        &mut self,
        parameters: &impl Serialize,
        pass: OwnedFd,
    ) -> Result<(), Failure> {
        self.send(&Reply::new(parameters, true), Some(pass)).await
    }

    /// Sends a reply that others follow.
    pub async fn next(&mut self, parameters: &impl Serialize) -> Result<(), Failure> {
        self.send(&Reply::new(parameters, true), None).await
    }

    /// Sends the only or last reply.
    pub async fn last(&mut self, parameters: &impl Serialize) -> Result<(), Failure> {
        self.send(&Reply::new(parameters, false), None).await
    }

    /// Sends the only reply, with a descriptor.
    pub async fn last_with(
        &mut self,
        parameters: &impl Serialize,
        pass: OwnedFd,
    ) -> Result<(), Failure> {
        self.send(&Reply::new(parameters, false), Some(pass)).await
    }

    pub(super) async fn error(&mut self, name: &str, parameters: &Value) -> Result<(), Failure> {
        // Small, and due to a user without memory, too.
        let error = json!({ "error": name, "parameters": parameters });
        self.transmit(error.to_string().into_bytes(), None).await
    }

    async fn send(
        &mut self,
        message: &impl Serialize,
        pass: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        if self.oneway {
            return Ok(());
        }
        let mut text = Message {
            bytes: Vec::new(),
            memory: &mut self.memory,
            exceeded: None,
        };
        let written = serde_json::to_writer(&mut text, message);
        let Message {
            bytes, exceeded, ..
        } = text;
        if let Some(exceeded) = exceeded {
            self.memory.resize(0)?;
            return Err(exceeded.into());
        }
        written.map_err(|_| Failure::Gone)?;
        let sent = self.transmit(bytes, pass).await;
        self.memory.resize(0)?;
        sent
    }

    async fn transmit(
        &mut self,
        mut bytes: Vec<u8>,
        mut pass: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        if self.oneway {
            return Ok(());
        }
        bytes.push(0);
        let by = Instant::now() + self.wait;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || {
                send(self.stream, rest, pass.as_ref())
            });
            match timeout_at(by, sent).await {
                Err(_) => return Err(Failure::TooSlow),
                Ok(Err(_)) => return Err(Failure::Gone),
                Ok(Ok(length)) => {
                    // It was sent with the first byte.
                    pass = None;
                    rest = rest.get(length..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }
}

pub(super) fn send(stream: &UnixStream, bytes: &[u8], pass: Option<&OwnedFd>) -> io::Result<usize> {
    let raw = pass.map(|descriptor| [descriptor.as_raw_fd()]);
    let control: Vec<ControlMessage<'_>> = raw
        .iter()
        .map(|raw| ControlMessage::ScmRights(raw))
        .collect();
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let socket = stream.as_fd().as_raw_fd();
    Ok(sendmsg::<()>(
        socket,
        &[IoSlice::new(bytes)],
        &control,
        flags,
        None,
    )?)
}
