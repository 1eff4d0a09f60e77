//! What nodes cost: their processes' memory and time, and what the kernel holds.

use std::path::Path;

use anyhow::{Context, Result};

/// The processes of one node, by the cgroup that host made for it.
pub(crate) fn processes(session: &str, node: &str) -> Vec<i32> {
    let group = format!("/n-{session}-{node}/");
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_in = |pid: &i32| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.contains(&group)
    };
    pids.filter(is_in).collect()
}

/// The proportional set size of some processes together, in KiB.
pub(crate) fn pss_kb(pids: &[i32]) -> u64 {
    pids.iter().filter_map(|pid| field(Path::new(&format!("/proc/{pid}/smaps_rollup")), "Pss:")).sum()
}

/// The time that some processes have been on a CPU, in ns.
pub(crate) fn cpu_ns(pids: &[i32]) -> u64 {
    let of_thread = |path: std::path::PathBuf| -> Option<u64> {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    let threads = |pid: &i32| std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    pids.iter().flat_map(threads).filter_map(|thread| of_thread(thread.path())).sum()
}

/// Of `/proc/meminfo`, in KiB.
pub(crate) fn meminfo(name: &str) -> Result<u64> {
    field(Path::new("/proc/meminfo"), name).with_context(|| format!("/proc/meminfo has no {name}"))
}

fn field(path: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
