//! SHELL. The historian.
