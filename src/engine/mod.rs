//! SHELL. The engine.

pub mod control;
