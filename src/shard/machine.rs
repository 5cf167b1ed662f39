//! What the machine must have for an executor to start, looked at before the first one does: glommio panics where io_uring
//! is missing and has no words for the rest.

use io_uring::{IoUring, Probe};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io;

/// glommio refuses to start with less lockable memory than this, root or not.
const LOCKED_MEMORY_MIN: u64 = 512 << 10;
/// Where the kernel says whether io_uring is turned off: 0 no, 1 for all but administrators, 2 for all.
const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

/// What this machine lacks, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Unsuitable {
    /// The administrator turned io_uring off.
    #[error(
        "io_uring is turned off on this machine (kernel.io_uring_disabled = {0}); turn it on with: sysctl -w kernel.io_uring_disabled=0"
    )]
    TurnedOff(String),
    /// Something between this process and the kernel refuses io_uring.
    #[error(
        "this process may not use io_uring ({0}); a container's seccomp profile usually forbids it: let it allow io_uring_setup, io_uring_enter and io_uring_register"
    )]
    Forbidden(Errno),
    /// No io_uring, or one without what an executor needs.
    #[error(
        "the kernel has no io_uring that can be used ({0}); Linux 5.8 or later is needed, with io_uring compiled in"
    )]
    Missing(Errno),
    /// The limit of locked memory is too low.
    #[error(
        "{0} bytes of memory may be locked and io_uring needs {LOCKED_MEMORY_MIN}; raise the limit with: ulimit -l, or LimitMEMLOCK= in the service"
    )]
    LockedMemory(u64),
    /// The kernel is short of something at the moment.
    #[error("cannot set up io_uring: {0}")]
    Resources(Errno),
}

/// Takes all that the operator allows: each connection is a descriptor, and most systems start a process with a
/// thousand of them and a low limit of locked memory, but let it ask for more.
pub fn raise_limits() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let Rlimit { current, maximum } = getrlimit(resource);
        if current != maximum {
            // What was there before goes on to hold if this fails.
            let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
        }
    }
    if getrlimit(Resource::Memlock).maximum.is_some_and(|maximum| maximum < LOCKED_MEMORY_MIN) {
        let enough = Some(LOCKED_MEMORY_MIN);
        // Only an administrator may.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: enough, maximum: enough });
    }
}

/// Looks whether executors can run here.
///
/// # Errors
/// The first thing that they lack.
pub fn check() -> Result<(), Unsuitable> {
    if let Some(allowed) = getrlimit(Resource::Memlock).current
        && allowed < LOCKED_MEMORY_MIN
    {
        return Err(Unsuitable::LockedMemory(allowed));
    }
    // All operations that glommio uses came with the kernel that can be asked which ones it has, or before.
    let made = IoUring::new(2).and_then(|ring| ring.submitter().register_probe(&mut Probe::new()));
    made.map_err(|error| why(&error, fs::read_to_string(DISABLED).ok().as_deref()))
}

/// Puts a refusal of the kernel into words. `disabled` is what [`DISABLED`] holds, where the kernel has it.
fn why(error: &io::Error, disabled: Option<&str>) -> Unsuitable {
    let error = Errno::from_io_error(error).unwrap_or(Errno::IO);
    match (error, disabled.map(str::trim)) {
        (Errno::PERM, Some(value)) if value != "0" => Unsuitable::TurnedOff(value.to_owned()),
        (Errno::PERM | Errno::ACCESS, _) => Unsuitable::Forbidden(error),
        // What a container runtime answers for a call that its profile forbids.
        (Errno::NOSYS, Some(_)) => Unsuitable::Forbidden(error),
        (Errno::NOSYS | Errno::INVAL, _) => Unsuitable::Missing(error),
        // Kernels before 5.12 count the rings themselves.
        (Errno::NOMEM, _) => getrlimit(Resource::Memlock)
            .current
            .map_or(Unsuitable::Resources(error), Unsuitable::LockedMemory),
        _ => Unsuitable::Resources(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(errno: Errno, disabled: Option<&str>) -> String {
        why(&errno.into(), disabled).to_string()
    }

    #[test]
    fn a_refusal_says_who_refuses_and_what_to_do() {
        assert!(words(Errno::PERM, Some("2\n")).contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(words(Errno::PERM, Some("0\n")).contains("seccomp"));
        assert!(words(Errno::PERM, None).contains("seccomp"));
        // A kernel that has the switch has io_uring.
        assert!(words(Errno::NOSYS, Some("0\n")).contains("seccomp"));
        assert!(words(Errno::NOSYS, None).contains("Linux 5.8"));
        assert!(words(Errno::INVAL, None).contains("Linux 5.8"));
        assert!(words(Errno::MFILE, Some("0\n")).contains("open files"));
    }
}
