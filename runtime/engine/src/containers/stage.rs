//! What a container's stage is told: the record in the terms of the kernel.

use std::{fs, io, io::Write, os::fd::OwnedFd};

use drydock_sandbox::capabilities;
use rustix::fs::MemfdFlags;

use super::{directory, mounts, record::Record};
use crate::{
    cgroups::Group,
    container::config,
    engine::Engine,
    error::{ApiError, failed},
    images::layers,
    networks::{self, Link},
};

fn own_network(record: &Record) -> bool {
    record.network() != "host" && networks::joined(record.network()).is_none()
}

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
    if own_network(record) {
        flags |= libc::CLONE_NEWNET;
    }
    flags as u64
}

/// All that the stage needs to know.
pub(super) fn stage_config(
    engine: &Engine,
    record: &Record,
    group: &Group,
    links: &[Link],
) -> Result<config::Run, ApiError> {
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
        own_network: own_network(record),
        join_network: networks::joined(record.network()).is_some(),
        tty: record.config.tty.then_some((host.console_size[0], host.console_size[1])),
        masked_paths: host.masked_paths.clone().unwrap_or_default(),
        readonly_paths: host.readonly_paths.clone().unwrap_or_default(),
        sysctls: host.sysctls.clone().unwrap_or_default().into_iter().collect(),
        devices: devices(record)?,
        privileged: host.privileged,
        init: init(record),
        process: process(engine, record, links),
    })
}

/// The overlay of a container.
pub(super) fn root(record: &Record) -> config::Root {
    config::Root {
        layers: layers::links(),
        lower: record.layers.iter().map(|hex| layers::link(hex)).chain([layers::INIT.to_owned()]).collect(),
        upper: record.overlay(),
        readonly: record.host_config.readonly_rootfs,
    }
}

fn mounts(record: &Record) -> Vec<config::Mount> {
    let mut mounts = Vec::new();
    for name in ["resolv.conf", "hostname", "hosts"] {
        let target = format!("/etc/{name}");
        if !record.mounts.iter().any(|point| point.destination == target) {
            // Who shares another's network has its names, too.
            let owner = networks::joined(record.network()).unwrap_or(&record.id);
            let source = config::Source::Bind(directory(owner).join(name).display().to_string());
            mounts.push(config::Mount { target, source, readonly: false, fill: false });
        }
    }
    for (target, options) in record.host_config.tmpfs.iter().flatten() {
        let source = config::Source::Tmpfs(options.clone());
        mounts.push(config::Mount { target: target.clone(), source, readonly: false, fill: false });
    }
    for point in &record.mounts {
        let source = match point.kind.as_str() {
            "tmpfs" => config::Source::Tmpfs(mounts::tmpfs_options(record, &point.destination)),
            _ => config::Source::Bind(point.source.clone()),
        };
        mounts.push(config::Mount {
            target: point.destination.clone(),
            source,
            readonly: !point.rw,
            fill: point.kind == "volume" && mounts::is_filled(record, point),
        });
    }
    // What lies deeper comes later.
    mounts.sort_by_key(|mount| mount.target.matches('/').count());
    mounts
}

/// Volumes and what else of the node is bound.
pub(super) fn volumes(record: &Record) -> Vec<config::Mount> {
    let mut mounts = mounts(record);
    mounts.retain(|mount| record.mounts.iter().any(|point| point.destination == mount.target));
    mounts
}

fn devices(record: &Record) -> Result<Vec<(String, String)>, ApiError> {
    if let Some(request) = record.host_config.device_requests.iter().flatten().next() {
        return Err(ApiError::Failed(no_driver(request)));
    }
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

/// Where the engine keeps the program for `--init`.
fn init(record: &Record) -> Option<String> {
    record.host_config.init.unwrap_or(false).then(|| crate::init::path().display().to_string())
}

/// The program with its arguments, by way of init where that is asked.
fn argv(record: &Record) -> Vec<String> {
    let mut argv = record.argv();
    if record.host_config.init == Some(true) {
        argv.splice(0..0, ["/sbin/docker-init", "--"].map(str::to_owned));
    }
    argv
}

/// Docker's words where nobody gives such devices: `--gpus`.
fn no_driver(request: &serde_json::Value) -> String {
    let words = |value: &serde_json::Value| -> String {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(|word| word.as_str()).collect::<Vec<_>>().join(" ")
    };
    let driver = request["Driver"].as_str().unwrap_or_default();
    let lists = request["Capabilities"].as_array().into_iter().flatten();
    let lists: Vec<String> = lists.map(|list| format!("[{}]", words(list))).collect();
    format!("could not select device driver \"{driver}\" with capabilities: [{}]", lists.join(" "))
}

/// The program of a container.
fn process(engine: &Engine, record: &Record, links: &[Link]) -> config::Process {
    let host = &record.host_config;
    config::Process {
        argv: argv(record),
        env: linked_environment(record, links),
        cwd: match record.config.working_dir.as_str() {
            "" => "/".to_owned(),
            given => given.to_owned(),
        },
        user: record.config.user.clone(),
        groups: host.group_add.clone().unwrap_or_default(),
        capabilities: capabilities_of(record),
        seccomp: seccomp_of(engine, record, host.privileged),
        no_new_privileges: no_new_privileges_of(record),
        rlimits: rlimits_of(record),
        oom_score_adj: host.oom_score_adj,
    }
}

/// The limits of a container's processes: name, soft, hard.
pub(crate) fn rlimits_of(record: &Record) -> Vec<(String, u64, u64)> {
    let number = |value: i64| u64::try_from(value).unwrap_or(libc::RLIM_INFINITY);
    let limits = record.host_config.ulimits.iter();
    limits.map(|limit| (limit.name.clone(), number(limit.soft), number(limit.hard))).collect()
}

/// Whether set-user-ID programs have no effect in a container.
pub(crate) fn no_new_privileges_of(record: &Record) -> bool {
    security_option(record, "no-new-privileges")
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

/// The first program's variables: those of links come first.
fn linked_environment(record: &Record, links: &[Link]) -> Vec<String> {
    let mut env: Vec<String> = links.iter().flat_map(|link| link.variables(&record.name)).collect();
    let own = environment(record, record.config.tty, &[]);
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    env.retain(|entry| !own.iter().any(|other| name(other) == name(entry)));
    env.splice(0..0, own);
    env
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
