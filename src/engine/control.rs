//! SHELL. The Varlink server.
