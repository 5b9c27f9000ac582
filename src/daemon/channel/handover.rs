//! PRIVILEGED. What keeper and engine say to each other: one message with descriptors from the
//! keeper to a new engine, then fixed-size requests from the engine, numbers only. One of the files
//! that may use `unsafe`.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bytemuck::{Pod, Zeroable, bytes_of, bytes_of_mut};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, send, sendmsg,
};

/// Grows with every change of this file: keeper and engine may be of different builds after an
/// upgrade in place.
const VERSION: u32 = 3;

/// Descriptors that an engine is handed, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Handed {
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
}

/// How many there are at most.
pub const HANDED: usize = 13;

/// What comes with the descriptors.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Hello {
    /// `VERSION` of the sender.
    pub version: u32,
    /// Bit n is set if descriptor n of [`Handed`] is there (a kernel may lack IPv6).
    pub present: u32,
    /// Bytes of a block of each ring.
    pub block_bytes: [u32; 2],
    /// Blocks of each ring.
    pub blocks: [u32; 2],
    /// Bytes of the recorder's memory.
    pub recorder_bytes: u64,
    /// Bytes of the settings (JSON).
    pub settings_bytes: u64,
    /// When the rings were opened, which may be long before the keeper started, nanoseconds since 1970.
    pub rings_opened_ns: u64,
    /// When the keeper started, nanoseconds since 1970.
    pub keeper_started_ns: u64,
    /// Engines that died one after another without doing anything.
    pub deaths: u32,
    /// Process id of the keeper.
    pub keeper_pid: u32,
    /// The tag by which the kernel's filter knows replies to probes.
    pub probe_tag: u32,
    /// 1 if there was a history that this keeper could not go on with.
    pub history_lost: u32,
}

impl Hello {
    /// A message of this version.
    pub fn new() -> Hello {
        Hello {
            version: VERSION,
            ..Hello::zeroed()
        }
    }
}

impl Default for Hello {
    fn default() -> Hello {
        Hello::new()
    }
}

/// What an engine may ask. Every request is eight bytes: this number and one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Ask {
    /// Everything is taken over and clients are being served.
    Ready = 1,
    /// Join the listeners' groups on the interface of this index.
    Join = 2,
    /// Leave them again.
    Leave = 3,
    /// Set the interface of this index promiscuous (only where the configuration names any).
    Promiscuous = 4,
    /// Read the rings' counts now.
    Count = 5,
    /// Nothing: a sign of life, once a second, from between two turns.
    Alive = 6,
}

impl Ask {
    fn from_u32(number: u32) -> Option<Ask> {
        [
            Ask::Ready,
            Ask::Join,
            Ask::Leave,
            Ask::Promiscuous,
            Ask::Count,
            Ask::Alive,
        ]
        .into_iter()
        .find(|ask| *ask as u32 == number)
    }
}

/// A request as it travels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Request {
    ask: u32,
    argument: u32,
}

/// Sends the descriptors to a new engine. `None` marks one that is not there.
pub fn hand_over(
    channel: impl AsFd,
    mut hello: Hello,
    descriptors: &[Option<BorrowedFd<'_>>; HANDED],
) -> io::Result<()> {
    let mut raw = Vec::with_capacity(HANDED);
    for (bit, descriptor) in descriptors.iter().enumerate() {
        if let Some(descriptor) = descriptor {
            hello.present |= 1 << bit;
            raw.push(descriptor.as_raw_fd());
        }
    }
    sendmsg::<()>(
        channel.as_fd().as_raw_fd(),
        &[IoSlice::new(bytes_of(&hello))],
        &[ControlMessage::ScmRights(&raw)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

/// Takes what the keeper sends.
pub fn take_over(channel: impl AsFd) -> io::Result<(Hello, [Option<OwnedFd>; HANDED])> {
    let mut hello = Hello::zeroed();
    let mut control = nix::cmsg_space!([i32; HANDED]);
    let mut received = Vec::new();
    let length = {
        let mut data = [IoSliceMut::new(bytes_of_mut(&mut hello))];
        let message = recvmsg::<SockaddrStorage>(
            channel.as_fd().as_raw_fd(),
            &mut data,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        for item in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = item {
                for raw in descriptors {
                    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
                    received.push(unsafe { OwnedFd::from_raw_fd(raw) });
                }
            }
        }
        message.bytes
    };
    let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if length != size_of::<Hello>() || hello.version != VERSION {
        return wrong(format!(
            "the keeper is of another version ({}, this engine: {VERSION}): restart the service",
            hello.version
        ));
    }
    if hello.present.count_ones() as usize != received.len() {
        return wrong("the keeper announced other descriptors than it sent".into());
    }
    let mut handed: [Option<OwnedFd>; HANDED] = Default::default();
    let mut received = received.into_iter();
    for (bit, place) in handed.iter_mut().enumerate() {
        if hello.present & (1 << bit) != 0 {
            *place = received.next();
        }
    }
    Ok((hello, handed))
}

/// Asks the keeper. Never waits: a keeper that does not read is one more reason to end.
pub fn ask(channel: impl AsFd, ask: Ask, argument: u32) -> io::Result<()> {
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

/// What the keeper tells a running engine, with a descriptor of new settings: their bytes.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct NewSettings {
    version: u32,
    bytes: u32,
}

/// Hands an engine that runs new settings. Never waits.
pub fn tell_settings(channel: impl AsFd, settings: impl AsFd, bytes: usize) -> io::Result<()> {
    let told = NewSettings {
        version: VERSION,
        bytes: u32::try_from(bytes).map_err(io::Error::other)?,
    };
    sendmsg::<()>(
        channel.as_fd().as_raw_fd(),
        &[IoSlice::new(bytes_of(&told))],
        &[ControlMessage::ScmRights(&[settings.as_fd().as_raw_fd()])],
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// What came from the keeper.
#[derive(Debug)]
pub enum Told {
    /// New settings, and how many bytes they are.
    Settings(OwnedFd, usize),
    /// Nothing is there just now.
    Nothing,
    /// The keeper is gone.
    Closed,
}

/// Reads one message of the keeper, without waiting.
pub fn told(channel: impl AsFd) -> Told {
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
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Told::Nothing,
            Err(_) => return Told::Closed,
        };
        for item in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(descriptors) = item {
                for raw in descriptors {
                    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
                    received = Some(unsafe { OwnedFd::from_raw_fd(raw) });
                }
            }
        }
        message.bytes
    };
    match received {
        Some(memory) if length == size_of::<NewSettings>() && new.version == VERSION => {
            Told::Settings(memory, new.bytes as usize)
        }
        // The keeper sends nothing else.
        _ if length > 0 => Told::Nothing,
        _ => Told::Closed,
    }
}

/// What came from the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A request.
    Asked(Ask, u32),
    /// Something that is no request: the engine is not to be trusted any longer.
    Nonsense,
    /// Nothing is there just now.
    Nothing,
    /// The engine has closed its end.
    Closed,
}

/// Reads one request, without waiting and without room for descriptors: any that come along are
/// dropped by the kernel.
pub fn hear(channel: impl AsFd) -> Heard {
    // One byte more than a request, so that a longer message does not pass for one.
    let mut bytes = [0u8; size_of::<Request>() + 1];
    let got = nix::sys::socket::recv(
        channel.as_fd().as_raw_fd(),
        &mut bytes,
        MsgFlags::MSG_DONTWAIT,
    );
    match got {
        Ok(0) => Heard::Closed,
        Ok(length) if length == size_of::<Request>() => {
            let request: Request = bytemuck::pod_read_unaligned(&bytes[..length]);
            match Ask::from_u32(request.ask) {
                Some(ask) => Heard::Asked(ask, request.argument),
                None => Heard::Nonsense,
            }
        }
        Ok(_) => Heard::Nonsense,
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Heard::Nothing,
        Err(_) => Heard::Closed,
    }
}

/// Counts that the keeper keeps for the engine, in memory that both map: 64-bit sums of what the
/// kernel clears on every read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Packets that passed the filter, drops included.
    Packets = 0,
    /// Packets for which there was no room.
    Drops = 1,
    /// How often the ring was full.
    Freezes = 2,
    /// When these were read, nanoseconds since 1970. Stored last, to be loaded first.
    ReadAt = 3,
}

/// Bytes of the counters' memory.
pub const COUNTERS_BYTES: usize = 4096;

/// Where a counter of ring 0 or 1 stands.
pub fn counter_at(ring: usize, counter: Counter) -> usize {
    ring * 64 + counter as usize * 8
}
/// How many groups could not be joined.
pub const JOIN_FAILURES_AT: usize = 128;
/// How many engines were started.
pub const STARTS_AT: usize = 136;
/// How many lines of the keeper are not in the log.
pub const UNLOGGED_AT: usize = 144;
