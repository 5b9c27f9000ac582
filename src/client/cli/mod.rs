//! SHELL. The command line: one definition for help, manual pages and completion, and the way from
//! arguments to an exit status.

pub mod args;
mod check;
pub mod manual;
pub mod run;
mod tcpdump;
mod usage;
