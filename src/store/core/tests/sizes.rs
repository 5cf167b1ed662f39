//! What a store takes, in memory and on disk.
