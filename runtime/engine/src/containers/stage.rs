//! What a container's stage is told: the record in the terms of the kernel.

use std::{fs, io, io::Write, os::fd::OwnedFd};

use drydock_sandbox::capabilities;
use rustix::fs::MemfdFlags;

use super::{directory, record::Record};
use crate::{
    cgroups::Group,
    container::config,
    engine::{Engine, STORE},
    error::{ApiError, failed},
};

/// The namespaces of its own that a container begins in.
pub(super) fn namespaces(record: &Record) -> u64 {
    let host = &record.host_config;
    let mut flags = libc::CLONE_NEWNS;
    if host.pid_mode != "host" {
        flags |= libc::CLONE_NEWPID;
    }
    if host.uts_mode != "host" && record.network() != "host" {
        flags |= libc::CLONE_NEWUTS;
    }
    if host.ipc_mode != "host" {
        flags |= libc::CLONE_NEWIPC;
    }
    if record.network() != "host" {
        flags |= libc::CLONE_NEWNET;
    }
    flags as u64
}

/// All that the stage needs to know.
pub(super) fn stage_config(engine: &Engine, record: &Record, group: &Group) -> Result<config::Run, ApiError> {
    let host = &record.host_config;
    let own_uts = namespaces(record) & libc::CLONE_NEWUTS as u64 != 0;
    Ok(config::Run {
        cgroup_tasks: group.tasks.len(),
        cgroups: engine.cgroups.hierarchies(),
        cgroup_namespace: host.cgroupns_mode != "host",
        root: root(record),
        mounts: mounts(record),
        shm_size: u64::try_from(host.shm_size).unwrap_or(64 << 20),
        hostname: own_uts.then(|| record.config.hostname.clone()),
        domainname: record.config.domainname.clone(),
        own_ipc: host.ipc_mode != "host",
        own_pid: host.pid_mode != "host",
        own_network: record.network() != "host",
        tty: record.config.tty.then_some((host.console_size[0], host.console_size[1])),
        masked_paths: host.masked_paths.clone().unwrap_or_default(),
        readonly_paths: host.readonly_paths.clone().unwrap_or_default(),
        sysctls: host.sysctls.clone().unwrap_or_default().into_iter().collect(),
        devices: devices(record)?,
        privileged: host.privileged,
        process: process(engine, record),
    })
}

/// The overlay of a container.
pub(super) fn root(record: &Record) -> config::Root {
    config::Root {
        layers: format!("{STORE}/layers"),
        lower: record.layers.clone(),
        upper: record.overlay(),
        readonly: record.host_config.readonly_rootfs,
    }
}

fn mounts(record: &Record) -> Vec<config::Mount> {
    let mut mounts = Vec::new();
    for name in ["resolv.conf", "hostname", "hosts"] {
        let target = format!("/etc/{name}");
        if !record.mounts.iter().any(|point| point.destination == target) {
            let source = config::Source::Bind(directory(&record.id).join(name).display().to_string());
            mounts.push(config::Mount { target, source, readonly: false });
        }
    }
    for (target, options) in record.host_config.tmpfs.iter().flatten() {
        let source = config::Source::Tmpfs(options.clone());
        mounts.push(config::Mount { target: target.clone(), source, readonly: false });
    }
    for point in &record.mounts {
        let source = match point.kind.as_str() {
            "tmpfs" => config::Source::Tmpfs(String::new()),
            _ => config::Source::Bind(point.source.clone()),
        };
        mounts.push(config::Mount { target: point.destination.clone(), source, readonly: !point.rw });
    }
    // What lies deeper comes later.
    mounts.sort_by_key(|mount| mount.target.matches('/').count());
    mounts
}

fn devices(record: &Record) -> Result<Vec<(String, String)>, ApiError> {
    let mut found = Vec::new();
    for device in &record.host_config.devices {
        let path = &device.path_on_host;
        if let Err(error) = fs::metadata(path) {
            let why = if error.kind() == io::ErrorKind::NotFound {
                "no such file or directory".to_owned()
            } else {
                error.to_string()
            };
            return Err(ApiError::Failed(format!(
                "error gathering device information while adding custom device \"{path}\": {why}"
            )));
        }
        let inside = if device.path_in_container.is_empty() { path } else { &device.path_in_container };
        found.push((path.clone(), inside.clone()));
    }
    Ok(found)
}

/// The program of a container.
fn process(engine: &Engine, record: &Record) -> config::Process {
    let host = &record.host_config;
    config::Process {
        argv: record.argv(),
        env: environment(record, record.config.tty, &[]),
        cwd: match record.config.working_dir.as_str() {
            "" => "/".to_owned(),
            given => given.to_owned(),
        },
        user: record.config.user.clone(),
        groups: host.group_add.clone().unwrap_or_default(),
        capabilities: capabilities_of(record),
        seccomp: seccomp_of(engine, record, host.privileged),
        no_new_privileges: security_option(record, "no-new-privileges"),
        rlimits: host
            .ulimits
            .iter()
            .map(|limit| {
                let number = |value: i64| u64::try_from(value).unwrap_or(libc::RLIM_INFINITY);
                (limit.name.clone(), number(limit.soft), number(limit.hard))
            })
            .collect(),
        oom_score_adj: host.oom_score_adj,
    }
}

fn security_option(record: &Record, name: &str) -> bool {
    let options = record.host_config.security_opt.iter().flatten();
    options.map(String::as_str).any(|option| {
        option == name || option.strip_prefix(name).is_some_and(|rest| matches!(rest, ":true" | "=true"))
    })
}

/// The filter of a container's programs.
pub(crate) fn seccomp_of(engine: &Engine, record: &Record, privileged: bool) -> config::Seccomp {
    let options = record.host_config.security_opt.iter().flatten();
    let unconfined = options
        .map(String::as_str)
        .any(|option| matches!(option, "seccomp=unconfined" | "seccomp:unconfined"));
    if privileged || unconfined {
        let features = engine.spec.features;
        return config::Seccomp::Node { userns: features.userns, netfilter: features.netfilter };
    }
    config::Seccomp::Default
}

/// The names of a container's capabilities.
pub(crate) fn capabilities_of(record: &Record) -> Vec<String> {
    let host = &record.host_config;
    let all = || capabilities::NODE.to_vec();
    let has_all =
        |names: &Option<Vec<String>>| names.iter().flatten().any(|name| name.eq_ignore_ascii_case("all"));
    let named = |names: &Option<Vec<String>>| -> Vec<_> {
        names.iter().flatten().filter_map(|name| capabilities::parse(name).ok()).collect()
    };
    if host.privileged {
        return all().iter().map(ToString::to_string).collect();
    }
    let mut held = if has_all(&host.cap_add) { all() } else { capabilities::DOCKER_DEFAULT.to_vec() };
    if has_all(&host.cap_drop) {
        held.clear();
    }
    let dropped = named(&host.cap_drop);
    held.retain(|one| !dropped.contains(one));
    // No container has more than the node itself.
    let added = named(&host.cap_add).into_iter().filter(|one| capabilities::NODE.contains(one));
    held.extend(added);
    held.sort_by_key(|one| one.index());
    held.dedup();
    held.iter().map(ToString::to_string).collect()
}

/// Variables in Docker's order: the path, the host name, the terminal's kind,
/// then what image and user say.
pub(crate) fn environment(record: &Record, tty: bool, more: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut env = vec![
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("HOSTNAME={}", record.config.hostname),
    ];
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    for entry in record.config.env.iter().chain(more) {
        let held = env.iter().position(|own| name(own) == name(entry));
        match (held, entry.contains('=')) {
            (Some(place), true) => env[place].clone_from(entry),
            (None, true) => env.push(entry.clone()),
            // A name alone takes the variable away.
            (Some(place), false) => drop(env.remove(place)),
            (None, false) => {}
        }
    }
    env
}

/// A memfd with a stage's configuration.
pub(crate) fn memfd(stage: &config::Stage) -> Result<OwnedFd, ApiError> {
    let bytes = serde_json::to_vec(stage).map_err(failed("writing the stage's configuration failed"))?;
    let memfd =
        rustix::fs::memfd_create("stage", MemfdFlags::CLOEXEC).map_err(failed("making a memfd failed"))?;
    let mut file = fs::File::from(memfd);
    file.write_all(&bytes).map_err(failed("writing the stage's configuration failed"))?;
    Ok(file.into())
}
