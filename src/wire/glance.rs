//! PURE. The few nanoseconds that every recorded packet is worth.
