//! The journal on disks that lose, fail and damage.
