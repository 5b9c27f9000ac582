//! SHELL. From arguments to an exit status: 0 yes, 1 no, 2 could not tell.

use std::io::Write;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use crate::client::cli::args::{Cli, Command, Mcast, McastDoctor};
use crate::client::commands::demo;
use crate::client::commands::doctor;
use crate::client::commands::drops;
use crate::client::commands::events;
use crate::client::commands::families;
use crate::client::commands::mcast;
use crate::client::commands::neighbors;
use crate::client::commands::ping;
use crate::client::commands::sockets;
use crate::client::commands::status as health;
use crate::client::commands::talkers;
use crate::client::commands::watch as packets;
use crate::client::failure::Failure;
use crate::client::render::style::plain;
use crate::client::standalone::Standalone;

/// Runs the client. Returns the exit status.
pub fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    match dispatch(&cli) {
        Ok(status) => status,
        // A reader that has gone (`| head`) is no fault.
        Err(Failure::System(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Err(failure) => {
            // What was asked for stands in it, and whoever asked may have had it from elsewhere.
            let _ = writeln!(
                std::io::stderr(),
                "netsonde: {}",
                plain(&failure.to_string())
            );
            2
        }
    }
}

fn dispatch(cli: &Cli) -> Result<u8, Failure> {
    match &cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Cli::command(),
                "netsonde",
                &mut std::io::stdout(),
            );
            return Ok(0);
        }
        Command::Demo => return demo::run(&cli.global),
        // The kernel is asked, not the service.
        Command::Families(wanted) => return families::run(&cli.global, wanted),
        Command::Sockets(wanted) => return sockets::run(&cli.global, &socket(cli), wanted),
        Command::Drops(wanted) => return drops::run(&cli.global, wanted),
        // What would be sent follows from the routes.
        Command::Doctor(wanted) if wanted.dry_run => {
            return doctor::host::dry_run(&cli.global, wanted);
        }
        Command::Explain { id } => return doctor::explain(&cli.global, id.as_deref()),
        Command::Watch(wanted) if wanted.read.is_some() => {
            return packets::watch(&cli.global, &socket(cli), wanted);
        }
        // No service is needed to send, nor to read a file.
        Command::Mcast(wanted @ Mcast::Send(_))
        | Command::Mcast(wanted @ Mcast::Doctor(McastDoctor { read: Some(_), .. })) => {
            return mcast::run(&cli.global, &socket(cli), wanted);
        }
        Command::Capture {
            write,
            packets: wanted,
        } if wanted.read.is_some() => {
            return packets::capture(&cli.global, &socket(cli), wanted, write);
        }
        _ => {}
    }
    let private = if cli.global.standalone {
        Some(Standalone::start()?)
    } else {
        None
    };
    let socket = private
        .as_ref()
        .map_or_else(|| socket(cli), |private| private.socket().to_owned());
    match &cli.command {
        Command::Status => health::status(&cli.global, &socket),
        Command::Interfaces { names } => health::interfaces(&cli.global, &socket, names),
        Command::Watch(wanted) => packets::watch(&cli.global, &socket, wanted),
        Command::Capture {
            write,
            packets: wanted,
        } => packets::capture(&cli.global, &socket, wanted, write),
        Command::Mcast(wanted) => mcast::run(&cli.global, &socket, wanted),
        Command::Doctor(wanted) => doctor::host::run(&cli.global, &socket, wanted),
        Command::Talkers(wanted) => talkers::run(&cli.global, &socket, wanted),
        Command::Events(wanted) => events::run(&cli.global, &socket, wanted),
        Command::Neighbors(wanted) => neighbors::run(&cli.global, &socket, wanted),
        Command::Ping(wanted) => ping::ping(&cli.global, &socket, wanted),
        Command::Families(_)
        | Command::Sockets(_)
        | Command::Demo
        | Command::Drops(_)
        | Command::Explain { .. }
        | Command::Completions { .. } => Ok(0),
    }
}

/// The socket: by option, by environment unless this runs with another user's rights, by default.
fn socket(cli: &Cli) -> PathBuf {
    if let Some(path) = &cli.global.socket {
        return path.clone();
    }
    let own_rights = nix::unistd::getuid() == nix::unistd::geteuid();
    match std::env::var_os("NETSONDE_SOCKET") {
        Some(path) if own_rights && !path.is_empty() => path.into(),
        _ => netsonde_core::config::SOCKET.into(),
    }
}
