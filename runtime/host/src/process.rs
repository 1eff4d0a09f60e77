//! Who a process is: its PID alone may be another's tomorrow.

use std::{fs, io, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process of this boot or an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its PID.
    pub(crate) pid: i32,
    /// When it began, in clock ticks since the machine started.
    start: u64,
    /// Which start of the machine that was.
    boot: String,
}

impl Process {
    /// The process that has this PID now.
    pub(crate) fn of(pid: i32) -> io::Result<Process> {
        Ok(Process { pid, start: start_of(pid)?, boot: boot_id()? })
    }

    /// Opens it, if it still runs.
    pub(crate) fn open(&self) -> io::Result<Option<OwnedFd>> {
        if !self.is_of_this_boot()? {
            return Ok(None);
        }
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        // First the descriptor, then the look: what it names can't change in between.
        let opened = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            opened => opened?,
        };
        match start_of(self.pid) {
            Ok(start) if start == self.start => Ok(Some(opened)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(None),
        }
    }

    /// Whether the machine was not restarted since.
    pub(crate) fn is_of_this_boot(&self) -> io::Result<bool> {
        Ok(boot_id()? == self.boot)
    }
}

/// Which start of the machine this is.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_string())
}

/// Field 22 of `/proc/PID/stat`: proc_pid_stat(5).
fn start_of(pid: i32) -> io::Result<u64> {
    let text = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        // It ended between opening and reading its file.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(io::ErrorKind::NotFound.into()),
        text => text?,
    };
    // The second field is the program's name in parentheses, with whatever in it.
    let after = text.rsplit_once(") ").map(|(_, after)| after);
    after.and_then(|fields| fields.split(' ').nth(19)?.parse().ok()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has no start time"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_again_until_it_ends() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of(child.id() as i32).unwrap();
        assert!(process.open().unwrap().is_some());
        let other = Process { start: process.start + 1, ..process.clone() };
        assert!(other.open().unwrap().is_none(), "another process with the same number");
        let earlier = Process { boot: "x".into(), ..process.clone() };
        assert!(earlier.open().unwrap().is_none(), "before a restart of the machine");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process.open().unwrap().is_none());
    }
}
