//! PURE. The configuration.
