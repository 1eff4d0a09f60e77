//! A container's first process: from a fresh set of namespaces to its program.

use std::{
    io::Write,
    os::fd::{AsFd, OwnedFd},
};

use super::{
    StageError,
    config::{Cgroups, FDS_FROM, Run},
    control::{Control, FromStage},
    dev, inherited, process, rootfs, step,
};

/// Makes the container around this process and executes its program.
pub(super) fn run(config: &Run, control: &Control) -> Result<u8, StageError> {
    enter_cgroups(FDS_FROM, config.cgroup_tasks)?;
    if config.join_network {
        let other = inherited(FDS_FROM + config.cgroup_tasks as i32);
        nix::sched::setns(&other, nix::sched::CloneFlags::CLONE_NEWNET)
            .map_err(step("joining the other container's network namespace"))?;
    }
    if config.own_network {
        without_ipv6()?;
        let network =
            std::fs::File::open("/proc/self/ns/net").map_err(step("opening our network namespace"))?;
        control.tell(&FromStage::Network, &[network.as_fd()])?;
    }
    // On v2 always: PID 1's control group namespace allows moves between groups,
    // PID 1's own included, and so is not for containers.
    if config.cgroup_namespace || config.cgroups == Cgroups::V2 {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)
            .map_err(step("making a cgroup namespace"))?;
    }
    if let Some(hostname) = &config.hostname {
        nix::unistd::sethostname(hostname).map_err(step(format!("setting the host name \"{hostname}\"")))?;
        set_domainname(&config.domainname)?;
    }
    rootfs::make(config)?;
    for (name, value) in &config.sysctls {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        std::fs::write(&path, value).map_err(step(format!("open {path}")))?;
    }
    let console = config.tty.map(|size| dev::console(size, control)).transpose()?;
    rootfs::hide(config)?;
    if config.own_network {
        control.wait_for_go()?;
    }
    process::become_program(&config.process, console, true, control)
}

/// Links of our network namespace that are made from now on have no IPv6.
fn without_ipv6() -> Result<(), StageError> {
    // The node's own `/proc/sys` may be masked; its clean one is not.
    let paths =
        ["/.drydock/proc/sys", "/proc/sys"].map(|base| format!("{base}/net/ipv6/conf/default/disable_ipv6"));
    let Some(path) = paths.iter().find(|path| std::path::Path::new(path).exists()) else { return Ok(()) };
    std::fs::write(path, "1").map_err(step("switching IPv6 off"))
}

/// Moves this process into cgroups: v1 `tasks` files, numbered from `first`.
pub(super) fn enter_cgroups(first: i32, count: usize) -> Result<(), StageError> {
    for number in first..first + count as i32 {
        enter(inherited(number))?;
    }
    Ok(())
}

/// Moves this process into the group of a v1 `tasks` or v2 `cgroup.procs` file.
pub(super) fn enter(file: OwnedFd) -> Result<(), StageError> {
    std::fs::File::from(file).write_all(b"0").map_err(step("entering a cgroup"))
}

fn set_domainname(name: &str) -> Result<(), StageError> {
    if name.is_empty() {
        return Ok(());
    }
    // SAFETY: the kernel reads `len` bytes of a string that lives on.
    let result = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    if result == 0 { Ok(()) } else { Err(step("setting the domain name")(std::io::Error::last_os_error())) }
}
