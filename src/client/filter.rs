//! SHELL.
