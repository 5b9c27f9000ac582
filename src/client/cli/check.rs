//! SHELL. What options must not be together, or only with each other: checks of more than one value.

use netsonde_core::address::check_source;
use netsonde_core::sockets::VSOCK;

use super::args::{Cli, Command, Mcast, McastDoctor, McastJoin, McastSend, Packets, Watch};
use super::usage::Typed;
use crate::client::failure::Failure;
use crate::client::render::style::local_time_ns;
use crate::linux::wall_ns;

/// Maximum port of IP protocols.
const MAX_PORT: u32 = 65_535;

/// Checks the options of a command.
///
/// # Errors
///
/// The first option that cannot be, as it was typed.
pub fn check(cli: &Cli, typed: &Typed) -> Result<(), Failure> {
    if cli.global.state.is_some() && !cli.global.standalone {
        let why = format!("{} needs --standalone", typed.option("state"));
        return Err(Failure::Other(why));
    }
    let past = match &cli.command {
        Command::Mcast(args) => args.past(),
        Command::Neighbors(args) => Some(&args.past),
        _ => None,
    };
    if let Some(past) = past {
        check_times(typed, past.since, past.until, true)?;
    }
    match &cli.command {
        Command::Watch(Watch { packets, .. }) | Command::Capture { packets, .. } => {
            // The clock of the host that wrote a file may have been ahead.
            let is_live = packets.read.is_none();
            check_inner(typed, packets)?;
            check_times(typed, packets.since, packets.until, is_live)
        }
        Command::Connections(args) => {
            let is_live = args.read.is_none();
            check_times(typed, args.past.since, args.past.until, is_live)
        }
        Command::Events(args) => check_times(typed, args.since, args.until, true),
        Command::Outages(args) => {
            if args.write.is_some() && args.id().is_none() {
                let option = typed.option("write");
                let why =
                    format!("{option} needs the ID of an outage: `netsonde outages` lists them");
                return Err(Failure::Other(why));
            }
            check_times(typed, args.since, args.until, true)
        }
        Command::History(args) => {
            check_times(typed, args.since, args.until, true)?;
            check_past(typed, "at", args.at)
        }
        Command::Mcast(
            Mcast::Doctor(McastDoctor {
                channel, source, ..
            })
            | Mcast::Join(McastJoin {
                channel, source, ..
            })
            | Mcast::Send(McastSend {
                channel, source, ..
            }),
        ) => match source {
            Some(source) => check_source(channel.group, *source)
                .map_err(|why| Failure::Other(format!("{}: {why}", typed.option("source")))),
            None => Ok(()),
        },
        Command::Sockets(args) => match args.port {
            Some(port) if port > MAX_PORT && args.family != Some(VSOCK) => {
                Err(Failure::Other(format!(
                    "{}: must be 1 to {MAX_PORT}, not {port} (only AF_VSOCK has such ports: add \
                     --family vsock)",
                    typed.option("port")
                )))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Words of a filter expression say themselves what they match.
fn check_inner(typed: &Typed, packets: &Packets) -> Result<(), Failure> {
    let is_idle =
        packets.hosts.is_empty() && packets.ports.is_empty() && packets.protocols.is_empty();
    if packets.inner && is_idle {
        return Err(Failure::Other(format!(
            "{} needs --host, --port or --proto: it says where they match",
            typed.option("inner")
        )));
    }
    Ok(())
}

fn check_times(
    typed: &Typed,
    since: Option<u64>,
    until: Option<u64>,
    is_live: bool,
) -> Result<(), Failure> {
    let Some(since) = since else {
        return Ok(());
    };
    if is_live {
        check_past(typed, "since", Some(since))?;
    }
    match until {
        Some(until) if since > until => Err(Failure::Other(format!(
            "{} {} is after {} {}",
            typed.option("since"),
            local_time_ns(since),
            typed.option("until"),
            local_time_ns(until)
        ))),
        _ => Ok(()),
    }
}

fn check_past(typed: &Typed, option: &str, at: Option<u64>) -> Result<(), Failure> {
    match at {
        Some(at) if at > wall_ns() => Err(Failure::Other(format!(
            "{}: {} is in the future",
            typed.option(option),
            local_time_ns(at)
        ))),
        _ => Ok(()),
    }
}
