//! SHELL. `mcast send`: a test source with numbered packets.

use super::test_socket::*;
use crate::client::cli::args::{Global, McastSend};
use crate::client::failure::Failure;
use crate::client::interrupt::{Interrupt, wait_until};
use crate::client::screen;
use crate::linux::group_socket::send_by;
use crate::linux::{reason, wall_ns};
use netsonde_core::multicast::test_packet::{self, TestPacket};
use netsonde_core::text::counted;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Runs `mcast send`.
pub fn send(global: &Global, args: &McastSend) -> Result<u8, Failure> {
    let channel = args.channel;
    let ifindex = index_of(args.interface.as_deref())?;
    let failed = cannot("send to", &channel);
    let socket = new_socket(&channel).map_err(&failed)?;
    match channel.group {
        IpAddr::V4(_) => {
            send_by(socket.as_fd(), ifindex).map_err(&failed)?;
            socket
                .set_multicast_ttl_v4(args.ttl.into())
                .map_err(&failed)?;
        }
        IpAddr::V6(_) => {
            socket.set_multicast_if_v6(ifindex).map_err(&failed)?;
            socket
                .set_multicast_hops_v6(args.ttl.into())
                .map_err(&failed)?;
        }
    }
    if let Some(source) = args.source {
        socket
            .bind(&SocketAddr::new(source, 0).into())
            .map_err(cannot("send from", &channel))?;
    }
    let to = SocketAddr::new(channel.group, channel.port.unwrap_or(PORT)).into();
    let run = RandomState::new().hash_one(std::process::id());
    let mut packet = vec![0; usize::from(args.size).max(test_packet::LENGTH)];
    let interrupt = Interrupt::catch()?;
    let start = Instant::now();
    let (mut sent, mut refused) = (0u64, 0u64);
    let mut last_error = None;
    while args.count.is_none_or(|count| sent + refused < count)
        && args
            .duration
            .is_none_or(|ns| (start.elapsed().as_nanos() as u64) < ns)
    {
        let due =
            start + Duration::from_nanos((sent + refused).saturating_mul(1_000_000_000) / args.pps);
        if wait_until(due, &interrupt)? {
            break;
        }
        let test = TestPacket {
            run,
            number: sent,
            sent_ns: wall_ns(),
        };
        test.write(&mut packet);
        match socket.send_to(&packet, &to) {
            Ok(_) => sent += 1,
            // A full queue or a link that is down for a moment is part of the test.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENETDOWN)) => {
                refused += 1;
                last_error = Some(error);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut out = screen::stdout();
    if global.json {
        let report = serde_json::json!({
            "channel": channel.to_string(), "run": run, "sent": sent, "refused": refused,
            "duration_ns": start.elapsed().as_nanos() as u64,
        });
        writeln!(out, "{report}")?;
    } else {
        writeln!(
            out,
            "{sent} of {} bytes to {channel} in {seconds:.3} s",
            packet.len(),
            sent = counted(sent, "packet")
        )?;
        if let Some(error) = last_error {
            let why = reason(&error);
            writeln!(out, "{refused} refused by this host's kernel: {why}")?;
        }
    }
    Ok(u8::from(sent == 0))
}
