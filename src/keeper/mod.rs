//! PRIVILEGED. The keeper.
