//! What the kernel says about the broker's process.

use std::fs;
use std::io;

/// CPU time and memory of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// On a processor, in all threads that live, in nanoseconds.
    pub(crate) cpu_nanos: u64,
    /// Resident memory in bytes.
    pub(crate) resident: u64,
}

impl Usage {
    /// Reads them.
    ///
    /// # Errors
    /// No such process, or not allowed to look.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let mut cpu_nanos = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end meanwhile.
            if let Ok(schedstat) = fs::read_to_string(task?.path().join("schedstat")) {
                cpu_nanos += schedstat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
            }
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(Self { cpu_nanos, resident: kilobytes.unwrap_or(0) * 1_024 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_uses_time_and_memory() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident > 100_000, "{usage:?}");
        assert!(Usage::of(u32::MAX).is_err());
    }
}
