//! A process in a running container: it joins the container's namespaces, and
//! a first process waits outside for the status of the second, which runs
//! inside, since a PID namespace holds only for children.

use std::os::fd::{AsFd, OwnedFd};

use nix::{
    sched::{CloneFlags, setns},
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork},
};
use rustix::fs::{Mode, OFlags};

use super::{
    StageError,
    config::{Exec, FDS_FROM},
    control::{Control, FromStage},
    dev, entry, inherited, process, step,
};

/// Joins the container and runs the program.
pub(super) fn run(config: &Exec, control: &Control) -> Result<u8, StageError> {
    let container = inherited(FDS_FROM);
    let first_tasks = FDS_FROM + 1;
    entry::enter_cgroups(first_tasks, config.waiter_tasks)?;
    let first_own = first_tasks + config.waiter_tasks as i32;
    let own_tasks: Vec<OwnedFd> =
        (first_own..first_own + config.cgroup_tasks as i32).map(inherited).collect();
    let group = config.cgroup_dir.then(|| open_group(&inherited(first_own + config.cgroup_tasks as i32)));
    let group = group.transpose()?;
    let namespaces = CloneFlags::from_bits_truncate(config.namespaces);
    setns(container.as_fd(), namespaces).map_err(step("joining the container"))?;
    drop(container);
    // SAFETY: this process has one thread, so the child may do anything.
    match unsafe { fork() }.map_err(step("starting a process in the container"))? {
        ForkResult::Parent { child } => {
            drop((own_tasks, group));
            control.tell(&FromStage::Ready { pid: Some(child.as_raw()) }, &[])?;
            // What it holds is closed already, and must not be closed again.
            std::process::exit(wait_for(child)?.into())
        }
        ForkResult::Child => {
            own_tasks.into_iter().try_for_each(entry::enter)?;
            group.map_or(Ok(()), entry::enter)?;
            let terminal = config.tty.map(|size| dev::open_terminal(size, control)).transpose()?;
            process::become_program(&config.process, terminal, false, control)
        }
    }
}

/// How a v2 group is entered. It is opened before the container's control group
/// namespace is joined: in that one there would be no way in from outside.
fn open_group(directory: &OwnedFd) -> Result<OwnedFd, StageError> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, "cgroup.procs", flags, Mode::empty()).map_err(step("opening a cgroup"))
}

/// Waits for the program, holding nothing open that it may wait for.
fn wait_for(child: nix::unistd::Pid) -> Result<u8, StageError> {
    // SAFETY: nothing uses these descriptors any more; 3 is the control socket,
    // whose end the engine waits for.
    unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(status as u8),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as u8),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(step("waiting for the program")(error)),
        }
    }
}
