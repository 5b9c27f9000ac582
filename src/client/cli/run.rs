//! SHELL. From arguments to an exit status: 0 yes, 1 no, 2 could not tell.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::FromArgMatches;
use clap::error::ErrorKind;

use super::args::{Cli, Command, Mcast, McastDoctor, Monitor, Packets, command};
use super::check::check;
use super::tcpdump;
use super::usage::Typed;
use crate::client::commands::{
    capture, connections, counters, demo, doctor, drops, events, families, history, interfaces,
    keep, mcast, monitor, neighbors, outages, ping, sockets, status, talkers, trace, watch,
};
use crate::client::failure::Failure;
use crate::client::guard;
use crate::client::output::remark;
use crate::client::standalone::Standalone;

/// Runs the client and returns the exit status.
pub fn run() -> u8 {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(status) = guard::run_if_called(&arguments) {
        return status;
    }
    let typed = || Typed::new(command(), &arguments);
    let parsed = command()
        .try_get_matches_from(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        // Help and version are no errors.
        Err(error) if !error.use_stderr() => {
            return ended(
                error.print().map(|()| 0).map_err(Failure::from),
                |failure| failure.to_string(),
            );
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return 2;
        }
        Err(error) => {
            let arguments: Vec<String> = std::env::args_os()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect();
            let advice = tcpdump::advice(&error, &arguments);
            remark(advice.unwrap_or_else(|| typed().usage(&error)));
            return 2;
        }
    };
    let mut service = Service::new(&cli);
    let outcome = check(&cli, &typed()).and_then(|()| dispatch(&cli, &mut service));
    ended(outcome, |failure| {
        typed().failure(failure, service.if_running())
    })
}

/// Returns the exit status of an outcome, after everything has been written.
fn ended(outcome: Result<u8, Failure>, words: impl FnOnce(&Failure) -> String) -> u8 {
    let flushed = std::io::stdout().flush().map_err(Failure::from);
    match outcome.and_then(|status| flushed.map(|()| status)) {
        Ok(status) => status,
        // The reader closed the pipe (`| head`): not an error.
        Err(Failure::System(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Err(failure) => {
            // The message quotes arguments, which may come from an untrusted source.
            remark(words(&failure));
            2
        }
    }
}

/// The service that a command asks: the one that runs, or a private one with `--standalone`.
struct Service {
    path: PathBuf,
    /// Socket of the historian, if it is given.
    history: Option<PathBuf>,
    standalone: bool,
    /// Directory of the history of a private service, if it outlives the command.
    state: Option<PathBuf>,
    private: Option<Standalone>,
}

impl Service {
    fn new(cli: &Cli) -> Service {
        Service {
            path: socket(cli),
            history: history_socket(cli),
            standalone: cli.global.standalone,
            state: cli.global.state.clone(),
            private: None,
        }
    }

    /// The socket of a service that is needed: with `--standalone` it is started first.
    fn required(&mut self) -> Result<&Path, Failure> {
        if self.standalone && self.private.is_none() {
            let private = Standalone::start(self.state.as_deref())?;
            self.path = private.socket().to_owned();
            self.private = Some(private);
        }
        Ok(&self.path)
    }

    /// The socket of the historian for commands that cannot do without it. `changes`: the command changes what it
    /// keeps.
    fn historian_required(&mut self, changes: bool) -> Result<PathBuf, Failure> {
        if self.standalone && self.history.is_none() {
            self.required()?;
            if let Some(private) = &self.private {
                private.historian().map_err(Failure::Other)?;
            }
            if changes && self.state.is_none() {
                remark(
                    "a private service forgets this when the command has ended: --state DIR keeps it",
                );
            }
        }
        Ok(self.history_socket())
    }

    /// The socket of the historian: that of netsonded at the control socket, unless another is given. With
    /// `--standalone` it is the private one, and standard error says if there is none.
    fn historian(&self) -> PathBuf {
        if let Some(private) = self.private.as_ref().filter(|_| self.history.is_none())
            && let Err(why) = private.historian()
        {
            remark(why);
        }
        self.history_socket()
    }

    fn history_socket(&self) -> PathBuf {
        let beside = || self.path.with_file_name(guard::HISTORY);
        self.history.clone().unwrap_or_else(beside)
    }

    /// The socket of a service that may run or not; none is started.
    fn if_running(&self) -> &Path {
        &self.path
    }
}

/// Runs the command. Each arm says whether the service is required.
fn dispatch(cli: &Cli, service: &mut Service) -> Result<u8, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Status => {
            service.required()?;
            let history = service.historian();
            status::status(global, service.if_running(), &history)
        }
        Command::Interfaces(args) if args.past.since.is_some() => {
            let historian = service.historian_required(false)?;
            counters::interfaces(global, &historian, &args.past, &args.names)
        }
        Command::Interfaces(args) => {
            interfaces::interfaces(global, service.required()?, &args.names)
        }
        Command::Watch(args) if args.packets.read.is_some() => {
            watch::watch(global, service.if_running(), args)
        }
        Command::Watch(args) => {
            service.required()?;
            let mut args = args.clone();
            args.packets.history = Some(service.historian());
            watch::watch(global, service.if_running(), &args)
        }
        Command::Capture { write, packets } if packets.read.is_some() => {
            capture::capture(global, service.if_running(), packets, write)
        }
        Command::Capture { write, packets } => {
            service.required()?;
            let packets = Packets {
                history: Some(service.historian()),
                ..packets.clone()
            };
            capture::capture(global, service.if_running(), &packets, write)
        }
        Command::Mcast(args @ Mcast::Send(_))
        | Command::Mcast(args @ Mcast::Doctor(McastDoctor { read: Some(_), .. })) => {
            mcast::run(global, service.if_running(), args)
        }
        Command::Mcast(args) => {
            service.required()?;
            let mut args = args.clone();
            args.read_disk(service.historian());
            mcast::run(global, service.if_running(), &args)
        }
        Command::Drops(args) if args.past.since.is_some() => {
            counters::drops(global, &service.historian_required(false)?, &args.past)
        }
        Command::Drops(args) => drops::run(global, service.if_running(), args),
        Command::Talkers(args) => talkers::run(global, service.required()?, args),
        Command::Connections(args) if args.read.is_some() => {
            connections::run(global, service.if_running(), args)
        }
        Command::Connections(args) => {
            service.required()?;
            let mut args = args.clone();
            args.past.history = Some(service.historian());
            connections::run(global, service.if_running(), &args)
        }
        Command::Monitor(args) => {
            let changes = !matches!(args, Monitor::List { .. });
            monitor::run(global, &service.historian_required(changes)?, args)
        }
        Command::Outages(args) => outages::run(global, &service.historian_required(false)?, args),
        Command::History(args) => history::run(global, &service.historian_required(false)?, args),
        Command::Keep(args) => keep::keep(global, &service.historian_required(true)?, args),
        Command::Kept(args) => keep::kept(global, &service.historian_required(false)?, args),
        Command::Events(args) => {
            service.required()?;
            let history = service.historian();
            events::run(global, service.if_running(), &history, args)
        }
        Command::Neighbors(args) => {
            service.required()?;
            let mut args = args.clone();
            args.past.history = Some(service.historian());
            neighbors::run(global, service.if_running(), &args)
        }
        Command::Ping(args) => ping::ping(global, service.required()?, args),
        Command::Trace(args) => {
            let history = match args.compare {
                Some(_) => Some(service.historian_required(false)?),
                None => None,
            };
            trace::run(global, service.required()?, history.as_deref(), args)
        }
        Command::Families(args) => families::run(global, args),
        Command::Sockets(args) => sockets::run(global, service.if_running(), args),
        Command::Doctor(args) => match &args.target {
            Some(target) if args.dry_run => doctor::target::dry_run(global, args, target),
            Some(target) => doctor::target::run(global, service.required()?, args, target),
            None if args.dry_run => doctor::host::dry_run(global, args),
            None => {
                service.required()?;
                let history = service.historian();
                doctor::host::run(global, service.if_running(), &history, args)
            }
        },
        Command::Demo(args) => demo::run(global, args),
        Command::Explain { id } => doctor::explain(global, id.as_deref()),
        Command::Completions { shell } => {
            // It panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command(), "netsonde", &mut script);
            std::io::stdout().write_all(&script)?;
            Ok(0)
        }
    }
}

/// Returns the path of the control socket: from the option, from the environment, or the default.
fn socket(cli: &Cli) -> PathBuf {
    let given = cli.global.socket.clone();
    let given = given.or_else(|| environment("NETSONDE_SOCKET"));
    given.unwrap_or_else(|| netsonde_core::config::SOCKET.into())
}

/// Returns the path of the historian's socket from the option or from the environment, which does not mean that of a
/// private service.
fn history_socket(cli: &Cli) -> Option<PathBuf> {
    let given = cli.global.history_socket.clone();
    let usual = || environment("NETSONDE_HISTORY_SOCKET").filter(|_| !cli.global.standalone);
    given.or_else(usual)
}

/// Returns a path from the environment, unless this program runs with the rights of another user (setuid).
fn environment(name: &str) -> Option<PathBuf> {
    let own_rights = nix::unistd::getuid() == nix::unistd::geteuid();
    let path = std::env::var_os(name).filter(|path| own_rights && !path.is_empty());
    path.map(PathBuf::from)
}
