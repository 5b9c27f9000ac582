//! SHELL. The historian.

pub mod record;
