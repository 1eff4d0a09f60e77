//! Control groups, on v1, v2 and both at once: cgroups(7).
//!
//! A [`Group`] is one name in every hierarchy of the machine. Files that both
//! versions have go by v1 where a controller is there, else by v2.

mod device;
mod file;
pub mod layout;
mod v1;
mod v2;

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use thiserror::Error;

pub use device::Device;
use layout::{Hierarchy, Kind, Layout};

/// How long processes may take to die, and a group to become empty.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

/// A control group could not be made, changed or removed.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// This machine has none mounted.
    #[error("no control group hierarchy is mounted")]
    NotMounted,
    /// A file or directory of a group did not do.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was to be done.
        what: &'static str,
        /// With which.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file of a group lacks a line.
    #[error("{path} has no line \"{key}\"")]
    NoKey {
        /// Which file.
        path: PathBuf,
        /// The line's first word.
        key: String,
    },
    /// No hierarchy has this controller.
    #[error("this machine has no control group controller \"{0}\"")]
    NoController(&'static str),
    /// Processes did not die.
    #[error("{left} processes of control group {path} did not end")]
    Unkillable {
        /// How many.
        left: usize,
        /// Of which group.
        path: PathBuf,
    },
}

/// Limits of a group. `None` means no limit of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap in bytes.
    pub memory_swap: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// CPU time in thousandths of a core.
    pub cpu_milli: Option<u64>,
    /// CPU weight, 2 to 262144; the kernel's own when not given.
    pub cpu_shares: Option<u64>,
}

/// A control group, by its path below each hierarchy's root.
#[derive(Debug, Clone)]
pub struct Group {
    layout: Arc<Layout>,
    path: PathBuf,
}

impl Group {
    /// The group at `path`, which need not exist.
    pub fn new(layout: Arc<Layout>, path: impl Into<PathBuf>) -> Group {
        Group { layout, path: path.into() }
    }

    /// The group called `name` below this one.
    pub fn child(&self, name: &str) -> Group {
        Group { layout: self.layout.clone(), path: self.path.join(name) }
    }

    /// Its path below each hierarchy's root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn v1(&self) -> impl Iterator<Item = (&Hierarchy, PathBuf)> {
        self.layout.v1.iter().map(|hierarchy| (hierarchy, hierarchy.path.join(&self.path)))
    }

    fn v2(&self) -> Option<PathBuf> {
        self.layout.v2.as_ref().map(|root| root.join(&self.path))
    }

    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        self.v1().map(|(_, directory)| directory).chain(self.v2())
    }

    /// Where v1 has this controller.
    fn with(&self, controller: &str) -> Option<PathBuf> {
        self.v1().find(|(hierarchy, _)| hierarchy.has(controller)).map(|(_, directory)| directory)
    }

    /// The v2 directory, where v2 has the controllers.
    fn unified(&self, controller: &'static str) -> Result<PathBuf, CgroupError> {
        self.v2().filter(|_| self.layout.kind() == Kind::V2).ok_or(CgroupError::NoController(controller))
    }

    /// Makes it and what is above it, in every hierarchy.
    pub fn create(&self) -> Result<(), CgroupError> {
        let levels: Vec<_> = self.path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        for path in levels.into_iter().rev() {
            for hierarchy in &self.layout.v1 {
                let directory = hierarchy.path.join(path);
                file::make_directory(&directory)?;
                if hierarchy.has("cpuset") {
                    v1::cpuset::inherit(&directory)?;
                }
            }
            if let Some(root) = &self.layout.v2 {
                let directory = root.join(path);
                if let Some(parent) = directory.parent() {
                    v2::enable_for_children(parent)?;
                }
                file::make_directory(&directory)?;
            }
        }
        Ok(())
    }

    /// Makes only the group itself, and nothing for its parent's other children:
    /// on v2, a parent that holds a process can't have controllers for them yet.
    pub fn create_bare(&self) -> Result<(), CgroupError> {
        self.directories().try_for_each(|directory| file::make_directory(&directory))
    }

    /// On v2, moves a process into it.
    pub fn enter(&self, pid: i32) -> Result<(), CgroupError> {
        self.v2().map_or(Ok(()), |directory| file::write(&directory, "cgroup.procs", pid))
    }

    /// Sets its limits.
    pub fn limit(&self, limits: &Limits) -> Result<(), CgroupError> {
        self.limit_memory(limits)?;
        self.limit_pids(limits)?;
        self.limit_cpu(limits)?;
        limits.cpu_shares.map_or(Ok(()), |shares| self.set_shares(shares))
    }

    /// Sets those limits that are given, and leaves the others.
    pub fn tighten(&self, limits: &Limits) -> Result<(), CgroupError> {
        if limits.memory.is_some() || limits.memory_swap.is_some() {
            self.limit_memory(limits)?;
        }
        if limits.pids.is_some() {
            self.limit_pids(limits)?;
        }
        if limits.cpu_milli.is_some() {
            self.limit_cpu(limits)?;
        }
        limits.cpu_shares.map_or(Ok(()), |shares| self.set_shares(shares))
    }

    fn limit_memory(&self, limits: &Limits) -> Result<(), CgroupError> {
        match self.with("memory") {
            Some(group) => v1::memory::limit(&group, limits.memory, limits.memory_swap),
            None => v2::memory::limit(&self.unified("memory")?, limits.memory, limits.memory_swap),
        }
    }

    fn limit_pids(&self, limits: &Limits) -> Result<(), CgroupError> {
        match self.with("pids") {
            Some(group) => v1::pids::limit(&group, limits.pids),
            None => v2::pids::limit(&self.unified("pids")?, limits.pids),
        }
    }

    fn limit_cpu(&self, limits: &Limits) -> Result<(), CgroupError> {
        match self.with("cpu") {
            Some(group) => v1::cpu::limit(&group, limits.cpu_milli),
            None => v2::cpu::limit(&self.unified("cpu")?, limits.cpu_milli),
        }
    }

    fn set_shares(&self, shares: u64) -> Result<(), CgroupError> {
        match self.with("cpu") {
            Some(group) => v1::cpu::shares(&group, shares),
            None => v2::cpu::shares(&self.unified("cpu")?, shares),
        }
    }

    /// Bounds how many bytes of a block device are read and written a second;
    /// `None` takes the bound away. On v1 it counts for processes right in this
    /// group, on v2 for those below as well.
    pub fn limit_device(&self, device: Device, rate: Option<u64>) -> Result<(), CgroupError> {
        match self.with("blkio") {
            Some(group) => v1::blkio::limit(&group, device, rate),
            None => v2::io::limit(&self.unified("io")?, device, rate),
        }
    }

    /// On v1, the devices that [`Group::limit_device`] bounds here. v2 forgets
    /// them with the group.
    pub fn limited_devices(&self) -> Result<Vec<Device>, CgroupError> {
        self.with("blkio").map_or(Ok(Vec::new()), |group| v1::blkio::limited(&group))
    }

    /// How a single-threaded process enters it on v1: for each hierarchy its
    /// controllers and a descriptor to write `0` to.
    pub fn tasks(&self) -> Result<Vec<(String, OwnedFd)>, CgroupError> {
        self.v1()
            .map(|(hierarchy, directory)| {
                Ok((hierarchy.controllers.clone(), file::open_for_writing(&directory, "tasks")?))
            })
            .collect()
    }

    /// How a process enters it on v2, with `CLONE_INTO_CGROUP`: its directory.
    pub fn directory(&self) -> Result<Option<OwnedFd>, CgroupError> {
        self.v2().map(|directory| file::open_directory(&directory)).transpose()
    }

    /// On v2, lets `owner` make and fill groups below its child `inner`. On v1
    /// nothing is given away: a delegated v1 freezer makes SIGKILL ineffective.
    pub fn delegate(&self, inner: &Group, owner: u32) -> Result<(), CgroupError> {
        if self.layout.kind() != Kind::V2 {
            return Ok(());
        }
        let (Some(node), Some(inner)) = (self.v2(), inner.v2()) else { return Ok(()) };
        v2::enable_for_children(&inner)?;
        v2::delegate(&node, &inner, owner)
    }

    /// Freezes or thaws its processes.
    pub fn freeze(&self, frozen: bool) -> Result<(), CgroupError> {
        match self.with("freezer") {
            Some(group) => v1::freezer::set(&group, frozen),
            None => v2::freeze(&self.unified("freezer")?, frozen),
        }
    }

    /// How often its memory limit ended a process.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        match self.with("memory") {
            Some(group) => v1::memory::oom_kills(&group),
            None => v2::memory::oom_kills(&self.unified("memory")?),
        }
    }

    /// Names of the groups below it, in any hierarchy.
    pub fn children(&self) -> Result<Vec<String>, CgroupError> {
        let mut names = Vec::new();
        for directory in self.directories() {
            names.extend(
                below(&directory)?
                    .into_iter()
                    .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned())),
            );
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Ends every process in it and below it, frozen ones too. Blocks until
    /// they are gone.
    pub fn kill(&self) -> Result<(), CgroupError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = self.kill_once()?;
            if left == 0 {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(CgroupError::Unkillable { left, path: self.path.clone() });
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn kill_once(&self) -> Result<usize, CgroupError> {
        if let Some(directory) = self.with("freezer") {
            for group in tree(&directory)? {
                v1::freezer::set(&group, false)?;
            }
        }
        if let Some(directory) = self.v2().filter(|directory| directory.join("cgroup.kill").exists()) {
            v2::kill(&directory)?;
        }
        let mut left = 0;
        for directory in self.directories() {
            for group in tree(&directory)? {
                let pids = processes(&group)?;
                left += pids.len();
                pids.into_iter().for_each(|pid| kill_member(&group, pid));
            }
        }
        Ok(left)
    }

    /// Removes it from every hierarchy where it holds neither a process nor a
    /// group.
    pub fn remove_if_empty(&self) -> Result<(), CgroupError> {
        for directory in self.directories() {
            match fs::remove_dir(&directory) {
                Err(error)
                    if error.kind() != io::ErrorKind::NotFound
                        && error.raw_os_error() != Some(libc::EBUSY) =>
                {
                    return Err(CgroupError::File { what: "remove", path: directory, source: error });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes it and what is below it from every hierarchy. It must hold no
    /// process; one that is just dying is waited for. It is no error if it is gone.
    pub fn remove(&self) -> Result<(), CgroupError> {
        for directory in self.directories() {
            for group in tree(&directory)?.into_iter().rev() {
                remove_directory(&group)?;
            }
        }
        Ok(())
    }
}

/// The group's directory and all below it, parents first; empty if it is gone.
fn tree(directory: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut found = vec![directory.to_path_buf()];
    let mut next = 0;
    while next < found.len() {
        found.extend(below(&found[next].clone())?);
        next += 1;
    }
    Ok(found)
}

fn below(directory: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let failed = |source| CgroupError::File { what: "list", path: directory.to_path_buf(), source };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn processes(group: &Path) -> Result<Vec<i32>, CgroupError> {
    match file::read(group, "cgroup.procs") {
        Err(CgroupError::File { source, .. })
            if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) =>
        {
            Ok(Vec::new())
        }
        text => Ok(text?.lines().filter_map(|line| line.parse().ok()).collect()),
    }
}

/// Kills a process if it is still the one that the group holds: between
/// reading its number and here it may have ended and the number be another's.
fn kill_member(group: &Path, pid: i32) {
    let Some(number) = Pid::from_raw(pid) else { return };
    let Ok(process) = pidfd_open(number, PidfdFlags::empty()) else { return };
    if processes(group).is_ok_and(|pids| pids.contains(&pid)) {
        // It fails only for one that has just ended, which the caller sees.
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
}

fn remove_directory(group: &Path) -> Result<(), CgroupError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            Err(source) => {
                return Err(CgroupError::File { what: "remove", path: group.to_path_buf(), source });
            }
        }
    }
}

#[cfg(test)]
mod tests;
