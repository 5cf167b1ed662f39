//! Handshakes in memory with what the files have come to.
