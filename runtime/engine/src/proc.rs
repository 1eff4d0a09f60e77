//! Reading `/proc`: the node's processes, for `docker top` and the event
//! stream.

use std::{collections::BTreeMap, fs, io, os::unix::fs::MetadataExt};

use drydock_protocol::event::Process;

/// No more processes than this are told.
const PROCESSES_MAX: usize = 4096;
const KINDS: [&str; 7] = ["pid", "mnt", "net", "uts", "ipc", "user", "cgroup"];

/// The PIDs of the node's processes, in order.
pub(crate) fn pids() -> io::Result<Vec<i32>> {
    let names = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut pids: Vec<i32> = names.take(PROCESSES_MAX).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// The processes of a container, by its first one: all in its PID namespace,
/// where it has one of its own, and all below these.
pub(crate) fn members(first: i32) -> io::Result<Vec<i32>> {
    let own = namespace(first, "pid").filter(|own| Some(*own) != namespace(std::process::id() as i32, "pid"));
    let all = pids()?;
    let mut members: std::collections::BTreeSet<i32> = all
        .iter()
        .copied()
        .filter(|pid| *pid == first || (own.is_some() && namespace(*pid, "pid") == own))
        .collect();
    let parents: Vec<(i32, i32)> = all.iter().filter_map(|pid| Some((*pid, parent(*pid)?))).collect();
    loop {
        let before = members.len();
        for (pid, parent) in &parents {
            if members.contains(parent) {
                members.insert(*pid);
            }
        }
        if members.len() == before {
            return Ok(members.into_iter().collect());
        }
    }
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// All processes with their namespaces. One that ends meanwhile is left out.
pub(crate) fn processes() -> io::Result<Vec<Process>> {
    Ok(pids()?.into_iter().filter_map(process).collect())
}

fn process(pid: i32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let parent = field("PPid:")?.parse().ok()?;
    let inner_pid =
        field("NSpid:").and_then(|list| list.split_whitespace().last()?.parse().ok()).unwrap_or(pid);
    let name = field("Name:")?.to_owned();
    // Not to be read for what is out of the learner's reach, such as PID 1.
    let namespaces: BTreeMap<String, u64> =
        KINDS.into_iter().filter_map(|kind| Some((kind.to_owned(), namespace(pid, kind)?))).collect();
    Some(Process { pid, parent, inner_pid, name, namespaces })
}

/// The identifier of a process's namespace.
pub(crate) fn namespace(pid: i32, kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok().map(|metadata| metadata.ino())
}

/// One line of `ps`, as far as we show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) uid: u32,
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) state: char,
    /// Clock ticks that it ran.
    pub(crate) ticks: u64,
    /// Clock ticks after boot when it began.
    pub(crate) started: u64,
    pub(crate) terminal: i32,
    pub(crate) virtual_bytes: u64,
    pub(crate) resident_pages: u64,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// Reads a process's line.
pub(crate) fn line(pid: i32) -> Option<Line> {
    let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut line = parse_stat(&stat)?;
    line.uid = uid;
    let text = String::from_utf8_lossy(&arguments);
    let words: Vec<&str> = text.split('\0').filter(|word| !word.is_empty()).collect();
    line.arguments = if words.is_empty() { format!("[{}]", line.name) } else { words.join(" ") };
    Some(line)
}

fn parse_stat(stat: &str) -> Option<Line> {
    // The name may have any byte, brackets too.
    let (before, after) = stat.rsplit_once(')')?;
    let (pid, name) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Line {
        uid: 0,
        pid: pid.trim().parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        state: fields.first()?.chars().next()?,
        ticks: number(11)? + number(12)?,
        started: number(19)?,
        terminal: fields.get(4)?.parse().ok()?,
        virtual_bytes: number(20)?,
        resident_pages: number(21)?,
        name: name.to_owned(),
        arguments: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_is_read_whole() {
        let stat =
            "12 (a) b) S 3 12 12 34816 12 4194304 1 0 0 0 5 6 0 0 20 0 1 0 777 4096 2 18446744073709551615";
        let line = parse_stat(stat).unwrap();
        assert_eq!((line.pid, line.name.as_str(), line.parent, line.state), (12, "a) b", 3, 'S'));
        assert_eq!((line.ticks, line.started, line.terminal), (11, 777, 34816));
        assert_eq!((line.virtual_bytes, line.resident_pages), (4096, 2));
    }

    #[test]
    fn our_own_process_is_there_with_its_namespaces() {
        let pid = std::process::id() as i32;
        let own = processes().unwrap().into_iter().find(|process| process.pid == pid).unwrap();
        assert_eq!(own.namespaces.len(), KINDS.len());
    }
}
