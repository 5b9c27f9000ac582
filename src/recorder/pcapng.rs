//! PURE. Writes pcapng blocks (draft-ietf-opsawg-pcapng), little endian, into a byte buffer.
