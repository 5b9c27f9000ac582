//! PRIVILEGED. The channel between keeper and engine: one message with descriptors from the keeper
//! to a new engine, then fixed-size requests from the engine, numbers only. One of the files that
//! may use `unsafe`.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bytemuck::{Pod, Zeroable, bytes_of, bytes_of_mut};
use netsonde_core::probe::transport::{TCP_FLOWS, UDP_FLOWS};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, send, sendmsg,
};

/// Protocol version, incremented with every change of this file. Keeper and engine may be of
/// different builds after an upgrade in place.
const VERSION: u32 = 5;

/// Descriptors passed to an engine, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum DescriptorSlot {
    ControlRing = 0,
    BulkRing = 1,
    Recorder = 2,
    Counters = 3,
    Settings = 4,
    Wake = 5,
    ControlSocket = 6,
    ListenIcmp = 7,
    ListenIgmp = 8,
    ListenIcmp6 = 9,
    ProbeIcmp = 10,
    ProbeIcmp6 = 11,
    RemoteSocket = 12,
    Sending = 13,
    FirstDatagrams = 14,
}

/// Maximum number of descriptors.
pub const MAX_DESCRIPTORS: usize = DescriptorSlot::FirstDatagrams as usize + UDP_FLOWS;

/// Header of the message that carries the descriptors.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct HandoverHeader {
    /// `VERSION` of the sender.
    pub version: u32,
    /// Bit n is set if descriptor n of the list is present (a kernel may lack IPv6).
    pub present: u32,
    /// Block size of each ring, in bytes.
    pub block_bytes: [u32; 2],
    /// Number of blocks of each ring.
    pub blocks: [u32; 2],
    /// Size of the recorder's memory, in bytes.
    pub recorder_bytes: u64,
    /// Size of the settings (JSON), in bytes.
    pub settings_bytes: u64,
    /// Time at which the rings were opened, possibly long before the keeper started, in nanoseconds
    /// since 1970.
    pub rings_opened_ns: u64,
    /// Start time of the keeper, in nanoseconds since 1970.
    pub keeper_started_ns: u64,
    /// Number of engines in a row that died without making progress.
    pub deaths: u32,
    /// Process ID of the keeper.
    pub keeper_pid: u32,
    /// Tag by which the kernel's filter recognizes replies to probes.
    pub probe_tag: u32,
    /// 1 if an existing record could not be reused.
    pub history_lost: u32,
    /// Source ports of probes by TCP, by flow.
    pub tcp_ports: [u16; TCP_FLOWS],
    /// Source ports of probes by UDP, by flow.
    pub udp_ports: [u16; UDP_FLOWS],
}

impl HandoverHeader {
    /// Creates a header of this version.
    pub fn new() -> HandoverHeader {
        HandoverHeader {
            version: VERSION,
            ..HandoverHeader::zeroed()
        }
    }
}

impl Default for HandoverHeader {
    fn default() -> HandoverHeader {
        HandoverHeader::new()
    }
}

/// Requests of an engine. Every request is eight bytes: this number and one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EngineRequest {
    /// The engine has taken over everything and serves clients.
    Ready = 1,
    /// Join the listeners' groups on the interface with this index.
    Join = 2,
    /// Leave these groups on the interface with this index.
    Leave = 3,
    /// Set the interface with this index promiscuous (only if the configuration names any).
    Promiscuous = 4,
    /// Read the rings' counters now.
    Count = 5,
    /// Sign of life, sent once per second between two poll iterations.
    Alive = 6,
    /// A control socket accepts no connections.
    ListenerFailed = 7,
}

impl EngineRequest {
    /// All requests.
    pub const ALL: [EngineRequest; 7] = [
        EngineRequest::Ready,
        EngineRequest::Join,
        EngineRequest::Leave,
        EngineRequest::Promiscuous,
        EngineRequest::Count,
        EngineRequest::Alive,
        EngineRequest::ListenerFailed,
    ];

    fn from_u32(number: u32) -> Option<EngineRequest> {
        Self::ALL
            .into_iter()
            .find(|request| *request as u32 == number)
    }
}

/// A request as transmitted.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Request {
    ask: u32,
    argument: u32,
}

/// Sends the descriptors to a new engine. `None` marks a missing one.
pub fn send_handover(
    channel: impl AsFd,
    mut handover_header: HandoverHeader,
    descriptors: &[Option<BorrowedFd<'_>>; MAX_DESCRIPTORS],
) -> io::Result<()> {
    let mut raw = Vec::with_capacity(MAX_DESCRIPTORS);
    for (bit, descriptor) in descriptors.iter().enumerate() {
        if let Some(descriptor) = descriptor {
            handover_header.present |= 1 << bit;
            raw.push(descriptor.as_raw_fd());
        }
    }
    sendmsg::<()>(
        channel.as_fd().as_raw_fd(),
        &[IoSlice::new(bytes_of(&handover_header))],
        &[ControlMessage::ScmRights(&raw)],
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Receives the handover of the keeper.
pub fn recv_handover(
    channel: impl AsFd,
) -> io::Result<(HandoverHeader, [Option<OwnedFd>; MAX_DESCRIPTORS])> {
    let mut handover_header = HandoverHeader::zeroed();
    let mut control = nix::cmsg_space!([i32; MAX_DESCRIPTORS]);
    let mut received = Vec::new();
    let length = {
        let mut data = [IoSliceMut::new(bytes_of_mut(&mut handover_header))];
        let message = recvmsg::<SockaddrStorage>(
            channel.as_fd().as_raw_fd(),
            &mut data,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        for item in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = item {
                for raw in descriptors {
                    // SAFETY: the kernel has just created this descriptor, and nothing else owns it.
                    received.push(unsafe { OwnedFd::from_raw_fd(raw) });
                }
            }
        }
        message.bytes
    };
    let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if length != size_of::<HandoverHeader>() || handover_header.version != VERSION {
        return wrong(format!(
            "the keeper has another version ({}, this engine: {VERSION}): restart the service",
            handover_header.version
        ));
    }
    if handover_header.present.count_ones() as usize != received.len() {
        return wrong("the keeper announced other descriptors than it sent".into());
    }
    let mut handed: [Option<OwnedFd>; MAX_DESCRIPTORS] = Default::default();
    let mut received = received.into_iter();
    for (bit, place) in handed.iter_mut().enumerate() {
        if handover_header.present & (1 << bit) != 0 {
            *place = received.next();
        }
    }
    Ok((handover_header, handed))
}

/// Sends a request to the keeper. Never blocks: a keeper that does not read is a reason to end.
pub fn send_request(channel: impl AsFd, ask: EngineRequest, argument: u32) -> io::Result<()> {
    let request = Request {
        ask: ask as u32,
        argument,
    };
    send(
        channel.as_fd().as_raw_fd(),
        bytes_of(&request),
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
    )?;
    Ok(())
}

/// Message of the keeper to a running engine, with a descriptor of new settings: their size in
/// bytes.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct NewSettings {
    version: u32,
    bytes: u32,
}

/// Sends new settings to a running engine. Never blocks.
pub fn send_settings(channel: impl AsFd, settings: impl AsFd, bytes: usize) -> io::Result<()> {
    let message = NewSettings {
        version: VERSION,
        bytes: u32::try_from(bytes).map_err(io::Error::other)?,
    };
    sendmsg::<()>(
        channel.as_fd().as_raw_fd(),
        &[IoSlice::new(bytes_of(&message))],
        &[ControlMessage::ScmRights(&[settings.as_fd().as_raw_fd()])],
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// A message of the keeper.
#[derive(Debug)]
pub enum KeeperMessage {
    /// New settings, with their size in bytes.
    Settings(OwnedFd, usize),
    /// No message is waiting.
    Nothing,
    /// The keeper has closed its end.
    Closed,
}

/// Receives one message of the keeper, without blocking.
pub fn recv_message(channel: impl AsFd) -> KeeperMessage {
    let mut new = NewSettings::zeroed();
    let mut control = nix::cmsg_space!([i32; 1]);
    let mut received = None;
    let length = {
        let mut data = [IoSliceMut::new(bytes_of_mut(&mut new))];
        let message = recvmsg::<SockaddrStorage>(
            channel.as_fd().as_raw_fd(),
            &mut data,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT,
        );
        let message = match message {
            Ok(message) => message,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {
                return KeeperMessage::Nothing;
            }
            Err(_) => return KeeperMessage::Closed,
        };
        for item in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(descriptors) = item {
                for raw in descriptors {
                    // SAFETY: the kernel has just created this descriptor, and nothing else owns it.
                    received = Some(unsafe { OwnedFd::from_raw_fd(raw) });
                }
            }
        }
        message.bytes
    };
    match received {
        Some(memory) if length == size_of::<NewSettings>() && new.version == VERSION => {
            KeeperMessage::Settings(memory, new.bytes as usize)
        }
        // The keeper sends no other messages.
        _ if length > 0 => KeeperMessage::Nothing,
        _ => KeeperMessage::Closed,
    }
}

/// A message of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineMessage {
    /// A request.
    Asked(EngineRequest, u32),
    /// An invalid request: the engine can no longer be trusted.
    Nonsense,
    /// No request is waiting.
    Nothing,
    /// The engine has closed its end.
    Closed,
}

/// Receives one request, without blocking and without space for descriptors: the kernel drops any
/// that are attached.
pub fn recv_request(channel: impl AsFd) -> EngineMessage {
    // One byte more than a request, so that a longer message is not mistaken for one.
    let mut bytes = [0u8; size_of::<Request>() + 1];
    let got = nix::sys::socket::recv(
        channel.as_fd().as_raw_fd(),
        &mut bytes,
        MsgFlags::MSG_DONTWAIT,
    );
    match got {
        Ok(0) => EngineMessage::Closed,
        Ok(length) if length == size_of::<Request>() => {
            let request: Request = bytemuck::pod_read_unaligned(&bytes[..length]);
            match EngineRequest::from_u32(request.ask) {
                Some(ask) => EngineMessage::Asked(ask, request.argument),
                None => EngineMessage::Nonsense,
            }
        }
        Ok(_) => EngineMessage::Nonsense,
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => EngineMessage::Nothing,
        Err(_) => EngineMessage::Closed,
    }
}

/// Counters that the keeper maintains for the engine, in memory that the keeper writes and the
/// engine can only read: 64-bit sums of counters that the kernel clears on every read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Packets that passed the filter, including drops.
    Packets = 0,
    /// Packets dropped because the ring was full.
    Drops = 1,
    /// Number of times that the ring was full.
    Freezes = 2,
    /// Time of the last reading, in nanoseconds since 1970. Stored last, and to be loaded first.
    ReadAt = 3,
}

/// Size of the counters' memory, in bytes.
pub const COUNTERS_BYTES: usize = 4096;

/// Returns the offset of a counter of ring 0 or 1.
pub fn counter_at(ring: usize, counter: Counter) -> usize {
    ring * 64 + counter as usize * 8
}
/// Offset of the number of groups that could not be joined.
pub const JOIN_FAILURES_AT: usize = 128;
/// Offset of the number of engines started.
pub const STARTS_AT: usize = 136;
/// Offset of the number of the keeper's log lines that were lost.
pub const UNLOGGED_AT: usize = 144;
/// Offset of the number of probes by TCP and UDP that the keeper refused to send.
pub const REFUSED_PROBES_AT: usize = 152;
