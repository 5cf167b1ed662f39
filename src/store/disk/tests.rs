//! What the journal relies on, of both disks.
