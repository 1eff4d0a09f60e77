//! How much memory the node's programs have, and whether it ran out:
//! control group `inner` in the kernel's own files.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};

/// A file of a control group is shorter.
const FILE_MAX: usize = 8192;

/// The node's control group `inner`, held since before any learner's program
/// ran: later there may be anything at its path.
#[derive(Debug)]
pub(crate) struct Memory {
    inner: Option<Inner>,
    /// The most that the node's programs may have, in bytes.
    pub limit: u64,
}

#[derive(Debug)]
enum Inner {
    V1(OwnedFd),
    V2(OwnedFd),
}

impl Memory {
    /// Finds the group. Without it the node runs all the same.
    pub(crate) fn open(limit: u64) -> Memory {
        let open = |path| {
            let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, path, flags, Mode::empty())
        };
        let inner = match (open("/sys/fs/cgroup/memory/inner"), open("/sys/fs/cgroup/inner")) {
            (Ok(group), _) => Some(Inner::V1(group)),
            (_, Ok(group)) => Some(Inner::V2(group)),
            (Err(errno), Err(_)) => {
                tracing::warn!("how much memory is used is not known: {errno}");
                None
            }
        };
        Memory { inner, limit }
    }

    /// Bytes in use, without pages of files that nobody has used lately: those
    /// the kernel takes back before it ends anything.
    pub(crate) fn used(&self) -> Option<u64> {
        let (used, inactive) = match self.inner.as_ref()? {
            Inner::V1(group) => {
                let stat = read(group, "memory.stat")?;
                (read(group, "memory.usage_in_bytes")?, keyed(&stat, "total_inactive_file"))
            }
            Inner::V2(group) => {
                let stat = read(group, "memory.stat")?;
                (read(group, "memory.current")?, keyed(&stat, "inactive_file"))
            }
        };
        Some(used.trim().parse::<u64>().ok()?.saturating_sub(inactive.unwrap_or(0)))
    }

    /// How often the node's own limit ended a program. On v1 a group counts its
    /// own processes only; `told` is what the engine says of its containers.
    pub(crate) fn oom_kills(&self, told: u64) -> u64 {
        let count = |group, name, key| read(group, name).and_then(|text| keyed(&text, key));
        match &self.inner {
            Some(Inner::V1(group)) => count(group, "memory.oom_control", "oom_kill").unwrap_or(0) + told,
            Some(Inner::V2(group)) => count(group, "memory.events.local", "oom").unwrap_or(told),
            None => told,
        }
    }
}

/// The text of a group's file.
pub(crate) fn read(group: &OwnedFd, name: &str) -> Option<String> {
    let file = rustix::fs::openat(group, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = vec![0; FILE_MAX];
    let mut len = 0;
    while len < FILE_MAX {
        match rustix::io::read(&file, &mut text[len..]).ok()? {
            0 => break,
            count => len += count,
        }
    }
    text.truncate(len);
    String::from_utf8(text).ok()
}

/// The number behind a word at the beginning of a line.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::keyed;

    #[test]
    fn numbers_are_found_by_their_whole_word() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!(keyed(text, "oom_kill"), Some(2));
        assert_eq!(keyed(text, "oom"), None);
    }
}
