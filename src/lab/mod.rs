//! SHELL. The laboratory.
