//! Ending all processes of a session: setsid(2), credentials(7).

use std::{io, os::fd::OwnedFd};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use rustix::{
    fs::{Dir, Mode, OFlags},
    process::{PidfdFlags, pidfd_open, pidfd_send_signal},
};

/// The node's proc, held since before any learner's program ran.
#[derive(Debug)]
pub(crate) struct Proc(OwnedFd);

impl Proc {
    pub(crate) fn open() -> io::Result<Proc> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Proc(rustix::fs::open("/proc", flags, Mode::empty())?))
    }

    /// Kills every process of the session that `leader`, not reaped yet, began.
    pub(crate) fn kill_session(&self, leader: i32) -> io::Result<()> {
        // The leader may not have begun its session yet, or be a zombie by now
        // and its group empty; then these have nobody to reach.
        let _ = kill(Pid::from_raw(leader), Signal::SIGKILL);
        let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        for entry in Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Ok(pid) = name.parse::<i32>() else { continue };
            let Some(process) = rustix::process::Pid::from_raw(pid) else { continue };
            // Opened before it is looked at, so that what is looked at is killed.
            let Ok(pidfd) = pidfd_open(process, PidfdFlags::empty()) else { continue };
            if session_of(&self.0, pid) == Some(leader) {
                // It may have ended meanwhile.
                let _ = pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
            }
        }
        Ok(())
    }
}

/// The process's session, field 6 of `stat`: proc_pid_stat(5).
fn session_of(proc: &OwnedFd, pid: i32) -> Option<i32> {
    let file = rustix::fs::openat(proc, format!("{pid}/stat"), OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 512];
    let len = rustix::io::read(&file, &mut buffer).ok()?;
    session_in(&buffer[..len])
}

fn session_in(stat: &[u8]) -> Option<i32> {
    // The name, in parentheses, may itself hold parentheses and spaces.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// Sends a signal to the process group of a leader that is not reaped yet, or
/// to it alone while it has no group.
pub(crate) fn signal_group(leader: i32, signal: i32) -> io::Result<()> {
    let (leader, signal) = (Pid::from_raw(leader), Signal::try_from(signal)?);
    match killpg(leader, signal) {
        Err(Errno::ESRCH) => Ok(kill(leader, signal)?),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::session_in;

    #[test]
    fn the_session_is_found_behind_any_name() {
        assert_eq!(session_in(b"12 (a) R) S 1 2 77 8 9"), Some(77));
        assert_eq!(session_in(b"12 (bash) S 1 12 12 34816"), Some(12));
        assert_eq!(session_in(b"12 (ba"), None);
    }
}
