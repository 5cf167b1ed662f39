//! What the kernel says about a process.

use std::fs;
use std::io;

/// The kernel's unit of time towards programs, `USER_HZ`: 100 per second on every Linux.
const TICK_NANOS: u64 = 10_000_000;

/// Time on a processor in all threads of a process, in nanoseconds; of those that have ended, to the tick.
///
/// # Errors
/// No such process, or not allowed to look.
pub(crate) fn cpu_nanos(pid: u32) -> io::Result<u64> {
    let all = ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?);
    let all = all.ok_or_else(|| io::Error::other("its stat cannot be read"))?;
    let alive = Alive::read(pid)?;
    if alive.nanos == 0 {
        // The kernel does not count them.
        return Ok(all * TICK_NANOS);
    }
    // Each thread's ticks are rounded, so that a difference of a few is none.
    let ended = all.saturating_sub(alive.ticks + alive.threads);
    Ok(alive.nanos + ended * TICK_NANOS)
}

/// What the threads that live have used.
#[derive(Debug, Default)]
struct Alive {
    threads: u64,
    nanos: u64,
    ticks: u64,
}

impl Alive {
    fn read(pid: u32) -> io::Result<Self> {
        let mut alive = Self::default();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            let read = |name: &str| fs::read_to_string(task.join(name));
            // A thread may end meanwhile.
            let (Ok(stat), Ok(schedstat)) = (read("stat"), read("schedstat")) else { continue };
            alive.threads += 1;
            alive.ticks += ticks(&stat).unwrap_or(0);
            alive.nanos +=
                schedstat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(alive)
    }
}

/// Resident memory of a process in bytes: exact if we may look, else the kernel's cheap count, which may lag by some
/// hundred kilobytes.
///
/// # Errors
/// No such process.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let exact = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    if let Some(bytes) = exact.and_then(|text| kilobytes(&text, "Rss:")) {
        return Ok(bytes);
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    kilobytes(&status, "VmRSS:").ok_or_else(|| io::Error::other("its status cannot be read"))
}

/// What was used from one reading to another, where both succeeded.
pub(crate) fn between(begun: Option<u64>, ended: Option<u64>) -> Option<u64> {
    // What a thread has used since its last tick goes with it.
    Some(ended?.saturating_sub(begun?))
}

/// User and system time in ticks, from the text of `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<u64> {
    // The name, in parentheses, may hold spaces and parentheses itself.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The bytes that a line of `name`, number and `kB` stands for.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_uses_time_and_memory() {
        let pid = std::process::id();
        assert!(resident(pid).unwrap() > 100_000);
        let before = cpu_nanos(pid).unwrap();
        // Until it shows, however coarse the count is.
        while cpu_nanos(pid).unwrap() <= before {}
        assert!(cpu_nanos(u32::MAX).is_err() && resident(u32::MAX).is_err());
    }

    #[test]
    fn the_time_of_a_thread_that_has_ended_counts() {
        let pid = std::process::id();
        let before = cpu_nanos(pid).unwrap();
        let own = move || Alive::read(pid).unwrap().nanos;
        let worked = std::thread::spawn(move || {
            let begun = own();
            while own() < begun + 300_000_000 {}
        });
        worked.join().unwrap();
        assert!(cpu_nanos(pid).unwrap() >= before + 200_000_000);
    }

    #[test]
    fn time_is_read_past_any_name() {
        let stat = "4711 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 20 30 40 50 60";
        assert_eq!(ticks(stat), Some(20 + 30));
        assert_eq!(ticks("4711 (name"), None);
    }

    #[test]
    fn memory_is_read_by_name() {
        let text = "VmPeak:\t  999 kB\nVmRSS:\t   12 kB\nThreads:\t3\n";
        assert_eq!(kilobytes(text, "VmRSS:"), Some(12 * 1_024));
        assert_eq!(kilobytes(text, "Threads:"), None);
        assert_eq!(kilobytes(text, "Rss:"), None);
    }
}
