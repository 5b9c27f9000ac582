//! PURE. An own cBPF machine: verifies and runs classic BPF programs over recorded packets.
