//! Where containers' processes live: on v1 in groups that host makes on
//! request, on v2 in groups that we make ourselves below `inner`.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
};

use drydock_protocol::{
    cgroup::{Action, Limits, Outcome},
    keeper::CGROUP_FD,
    node::{CgroupFd, Spec},
};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::{
    container::config,
    error::{ApiError, failed},
    keeper::Keeper,
};

/// The node's `inner`, as we inherited it.
#[derive(Debug)]
pub(crate) struct Cgroups {
    /// v1: controllers and the `tasks` file of `inner`.
    tasks: Vec<(String, OwnedFd)>,
    /// v2: the directory of `inner`.
    directory: Option<OwnedFd>,
    next: AtomicU32,
}

/// A container's place.
#[derive(Debug)]
pub(crate) struct Group {
    /// The number of its own group, if it has one.
    pub(crate) number: Option<u32>,
    /// v1 files to write `0` to.
    pub(crate) tasks: Vec<OwnedFd>,
    /// The v2 directory to start in.
    pub(crate) directory: Option<OwnedFd>,
}

impl Group {
    /// Moves a thread into it (v1).
    pub(crate) fn enter(&self, thread: i32) -> io::Result<()> {
        for tasks in &self.tasks {
            rustix::io::write(tasks, thread.to_string().as_bytes())?;
        }
        Ok(())
    }
}

impl Cgroups {
    /// Takes over the inherited descriptors.
    pub(crate) fn inherited(spec: &Spec) -> io::Result<Cgroups> {
        let (mut tasks, mut directory) = (Vec::new(), None);
        for (number, kind) in (CGROUP_FD..).zip(&spec.cgroups) {
            // SAFETY: PID 1 gave us one descriptor for each entry, and each is
            // taken over once.
            let fd = unsafe { OwnedFd::from_raw_fd(number) };
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
            match kind {
                CgroupFd::V1Tasks { controllers } => tasks.push((controllers.clone(), fd)),
                CgroupFd::V2Dir => directory = Some(fd),
            }
        }
        // In the hybrid layout v2 has no controllers; the limits are v1's.
        if !tasks.is_empty() {
            directory = None;
        }
        let cgroups = Cgroups { tasks, directory, next: AtomicU32::new(1) };
        if let Some(inner) = &cgroups.directory {
            for controller in ["+memory", "+pids", "+cpu"] {
                if let Err(error) = write_in(inner, "cgroup.subtree_control", controller) {
                    tracing::warn!(%error, controller, "containers can't be limited");
                }
            }
        }
        Ok(cgroups)
    }

    /// Whether limits are v2's.
    pub(crate) fn is_v2(&self) -> bool {
        self.directory.is_some()
    }

    /// The hierarchies, for a container's `/sys/fs/cgroup`.
    pub(crate) fn hierarchies(&self) -> config::Cgroups {
        if self.is_v2() {
            return config::Cgroups::V2;
        }
        config::Cgroups::V1(self.tasks.iter().map(|(controllers, _)| controllers.clone()).collect())
    }

    /// v1 `tasks` files of `inner` itself, for helpers of ours.
    pub(crate) fn inner_tasks(&self) -> Vec<BorrowedFd<'_>> {
        self.tasks.iter().map(|(_, fd)| fd.as_fd()).collect()
    }

    /// The v2 group for helpers of ours.
    pub(crate) fn helpers(&self) -> Result<Option<OwnedFd>, ApiError> {
        let Some(inner) = &self.directory else { return Ok(None) };
        make_directory(inner, "helpers").map(Some).map_err(failed("making a cgroup failed"))
    }

    /// Group numbers up to this one are in use.
    pub(crate) fn reserve(&self, number: u32) {
        self.next.fetch_max(number + 1, Ordering::Relaxed);
    }

    /// Makes a group of its own for a container that runs in `inner` (v1).
    pub(crate) async fn make_own(&self, keeper: &Keeper) -> Result<Group, ApiError> {
        self.of(keeper, Some(self.next.fetch_add(1, Ordering::Relaxed))).await
    }

    /// Changes a group's limits; those not given end.
    pub(crate) async fn limit(&self, keeper: &Keeper, number: u32, limits: &Limits) -> Result<(), ApiError> {
        let Some(inner) = &self.directory else {
            let action = Action::Limit(limits.clone());
            keeper.cgroup(number, action).await.map_err(failed("limiting a cgroup failed"))?;
            return Ok(());
        };
        open_directory(inner, &name(number))
            .and_then(|group| {
                for (file, text) in [("memory.max", "max"), ("pids.max", "max"), ("cpu.max", "max 100000")] {
                    write_in(&group, file, text)?;
                }
                limit(&group, limits)
            })
            .map_err(failed("limiting a cgroup failed"))
    }

    /// A file of a v2 group; `None` on v1, where groups are not to be read from
    /// inside the node, and where the kernel has no such file.
    pub(crate) fn read(&self, number: u32, file: &str) -> Option<String> {
        let inner = self.directory.as_ref()?;
        read_in(&open_directory(inner, &name(number)).ok()?, file).ok()
    }

    /// The number of the group that a container with these limits gets. On v1 it
    /// stays in `inner` where no limit is asked for.
    pub(crate) fn number(&self, limits: &Limits) -> Option<u32> {
        let own = self.is_v2() || *limits != Limits::default();
        own.then(|| self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a container's place, by its number.
    pub(crate) async fn make(
        &self,
        keeper: &Keeper,
        number: Option<u32>,
        limits: &Limits,
    ) -> Result<Group, ApiError> {
        let Some(number) = number else {
            let tasks = self.copies(|_| true)?;
            return Ok(Group { number: None, tasks, directory: None });
        };
        if let Some(inner) = &self.directory {
            let directory = make_directory(inner, &name(number)).map_err(failed("making a cgroup failed"))?;
            limit(&directory, limits).map_err(failed("limiting a cgroup failed"))?;
            return Ok(Group { number: Some(number), tasks: Vec::new(), directory: Some(directory) });
        }
        let action = Action::Make(limits.clone());
        let (outcome, mut own) =
            keeper.cgroup(number, action).await.map_err(failed("making a cgroup failed"))?;
        let Outcome::Made { hierarchies } = outcome else {
            return Err(ApiError::Failed("making a cgroup failed: the answer is none".to_owned()));
        };
        let mut tasks = self.copies(|controllers| !hierarchies.iter().any(|made| made == controllers))?;
        tasks.append(&mut own);
        Ok(Group { number: Some(number), tasks, directory: None })
    }

    fn copies(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<OwnedFd>, ApiError> {
        let chosen = self.tasks.iter().filter(|(controllers, _)| wanted(controllers));
        chosen
            .map(|(_, fd)| fd.try_clone())
            .collect::<io::Result<_>>()
            .map_err(failed("copying a descriptor failed"))
    }

    /// Opens the place of a container that runs, for a further process.
    pub(crate) async fn of(&self, keeper: &Keeper, number: Option<u32>) -> Result<Group, ApiError> {
        let Some(number) = number else {
            return Ok(Group { number: None, tasks: self.copies(|_| true)?, directory: None });
        };
        if let Some(inner) = &self.directory {
            let directory =
                open_directory(inner, &name(number)).map_err(failed("opening a cgroup failed"))?;
            return Ok(Group { number: Some(number), tasks: Vec::new(), directory: Some(directory) });
        }
        // A group that is there already is only opened again.
        let (outcome, mut own) = keeper
            .cgroup(number, Action::Make(Limits::default()))
            .await
            .map_err(failed("opening a cgroup failed"))?;
        let Outcome::Made { hierarchies } = outcome else {
            return Err(ApiError::Failed("opening a cgroup failed: the answer is none".to_owned()));
        };
        let mut tasks = self.copies(|controllers| !hierarchies.iter().any(|made| made == controllers))?;
        tasks.append(&mut own);
        Ok(Group { number: Some(number), tasks, directory: None })
    }

    /// How often the group's memory limit ended a process.
    pub(crate) async fn oom_kills(&self, keeper: &Keeper, number: u32) -> Result<u64, ApiError> {
        let Some(inner) = &self.directory else {
            let (outcome, _) =
                keeper.cgroup(number, Action::OomKills).await.map_err(failed("reading a cgroup failed"))?;
            return Ok(if let Outcome::OomKills(count) = outcome { count } else { 0 });
        };
        let events = open_directory(inner, &name(number)).and_then(|group| read_in(&group, "memory.events"));
        let events = match events {
            // It went with its last process, or its start got no further.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other.map_err(failed("reading a cgroup failed"))?,
        };
        let count = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|count| count.parse().ok());
        Ok(count.unwrap_or(0))
    }

    /// Freezes or thaws a group's processes.
    pub(crate) async fn freeze(&self, keeper: &Keeper, number: u32, frozen: bool) -> Result<(), ApiError> {
        let Some(inner) = &self.directory else {
            let action = if frozen { Action::Freeze } else { Action::Thaw };
            keeper.cgroup(number, action).await.map_err(failed("freezing a cgroup failed"))?;
            return Ok(());
        };
        open_directory(inner, &name(number))
            .and_then(|group| write_in(&group, "cgroup.freeze", if frozen { "1" } else { "0" }))
            .map_err(failed("freezing a cgroup failed"))
    }

    /// Removes a group whose processes have ended.
    pub(crate) async fn remove(&self, keeper: &Keeper, number: u32) -> Result<(), ApiError> {
        let Some(inner) = &self.directory else {
            keeper.cgroup(number, Action::Remove).await.map_err(failed("removing a cgroup failed"))?;
            return Ok(());
        };
        match rustix::fs::unlinkat(inner, name(number), AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("removing a cgroup failed")(error)),
        }
    }
}

fn name(number: u32) -> String {
    format!("c-{number}")
}

fn make_directory(inner: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(inner, name, Mode::from(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => open_directory(inner, name),
        Err(error) => Err(error.into()),
    }
}

fn open_directory(inner: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(inner, name, flags, Mode::empty())?)
}

fn write_in(group: &OwnedFd, file: &str, text: &str) -> io::Result<()> {
    let opened = rustix::fs::openat(group, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    File::from(opened).write_all(text.as_bytes())
}

fn read_in(group: &OwnedFd, file: &str) -> io::Result<String> {
    let opened = rustix::fs::openat(group, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    File::from(opened).take(64 * 1024).read_to_string(&mut text)?;
    Ok(text)
}

fn limit(group: &OwnedFd, limits: &Limits) -> io::Result<()> {
    const PERIOD: u64 = 100_000;
    if let Some(memory) = limits.memory {
        write_in(group, "memory.max", &memory.to_string())?;
        let swap = limits.memory_swap.map_or(memory, |both| both.saturating_sub(memory));
        match write_in(group, "memory.swap.max", &swap.to_string()) {
            // A kernel without swap accounting has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    if let Some(pids) = limits.pids {
        write_in(group, "pids.max", &pids.to_string())?;
    }
    if let Some(milli) = limits.cpu_milli {
        write_in(group, "cpu.max", &format!("{} {PERIOD}", milli * PERIOD / 1000))?;
    }
    if let Some(shares) = limits.cpu_shares {
        // As in every runtime: 2..262144 shares become 1..10000 weight.
        let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
        write_in(group, "cpu.weight", &weight.to_string())?;
    }
    Ok(())
}
