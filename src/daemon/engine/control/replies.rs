//! SHELL. Replies to one call.

use std::io::{self, IoSlice};
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

/// Sends the replies to one call.
pub struct Replies<'a> {
    stream: &'a UnixStream,
    more: bool,
    oneway: bool,
    wait: Duration,
}

impl<'a> Replies<'a> {
    pub(super) fn new(stream: &'a UnixStream, more: bool, oneway: bool, wait: Duration) -> Self {
        Replies {
            stream,
            more,
            oneway,
            wait,
        }
    }

    /// Returns whether the client accepts more than one reply.
    pub fn wants_more(&self) -> bool {
        self.more
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
        self.send(&json!({ "error": name, "parameters": parameters }), None)
            .await
    }

    async fn send(
        &mut self,
        message: &impl Serialize,
        mut pass: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        if self.oneway {
            return Ok(());
        }
        let mut bytes = serde_json::to_vec(message).map_err(|_| Failure::Gone)?;
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
