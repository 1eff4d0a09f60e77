//! A run of a container: from its record to a process, and from its process's
//! end back to the record.

use std::{
    fs, io,
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use drydock_protocol::{cgroup::Limits, event::What};
use drydock_sandbox::{capabilities, fdpass};
use rustix::fs::MemfdFlags;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    Container, directory,
    record::{Endpoint, Record, Status},
    tell,
};
use crate::{
    cgroups::Group,
    clock,
    container::{FromStage, GO, config},
    engine::{Engine, STORE, Shared},
    error::{ApiError, failed},
    keeper::{Exit, Spawn, Spawned},
    log::{self, Stream},
};

const RUNTIME_ERROR: &str = "failed to create task for container: failed to create shim task: OCI runtime create failed: \
    runc create failed: unable to start container process: ";
/// A message of a stage is no longer.
const MESSAGE_MAX: usize = 16 * 1024;
/// After its end a container's output is complete at once; if not, somebody
/// else holds the pipe, and is not waited for longer.
const DRAIN: Duration = Duration::from_secs(2);

/// Starts the container. Its `busy` lock is held by the caller.
pub(super) async fn start(engine: &Shared, container: &Arc<Container>) -> Result<(), ApiError> {
    let record = container.record();
    engine
        .networks
        .check(record.network())
        .map_err(|error| error.context("failed to set up container networking: "))?;
    match begin(engine, container, &record).await {
        Ok(()) => Ok(()),
        Err(failure) => {
            engine.networks.free(&container.id);
            container.change(|record| {
                record.state.exit_code = failure.exit_code;
                failure.error.to_string().clone_into(&mut record.state.error);
                record.endpoint = None;
            })?;
            container.life.send_modify(|life| life.exit_code = failure.exit_code);
            container.log.complete();
            tell(engine, &container.record(), "die", Some(failure.exit_code));
            Err(failure.error)
        }
    }
}

/// Why a start failed, and the exit code that shows.
struct Failure {
    error: ApiError,
    exit_code: i32,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        Failure { error, exit_code: 128 }
    }
}

/// The engine's ends of a container's stdio, and the stage's.
struct Stdio {
    theirs: [OwnedFd; 3],
    stdin: Option<OwnedFd>,
    outputs: Vec<(Stream, OwnedFd)>,
}

impl Stdio {
    fn new(record: &Record) -> io::Result<Stdio> {
        let null = || fs::File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        if record.config.tty {
            return Ok(Stdio { theirs: [null()?, null()?, null()?], stdin: None, outputs: Vec::new() });
        }
        let (stdin_theirs, stdin) = if record.config.open_stdin {
            let (read, write) = io::pipe()?;
            (OwnedFd::from(read), Some(OwnedFd::from(write)))
        } else {
            (null()?, None)
        };
        let (stdout, stdout_theirs) = io::pipe()?;
        let (stderr, stderr_theirs) = io::pipe()?;
        Ok(Stdio {
            theirs: [stdin_theirs, stdout_theirs.into(), stderr_theirs.into()],
            stdin,
            outputs: vec![(Stream::Stdout, stdout.into()), (Stream::Stderr, stderr.into())],
        })
    }
}

async fn begin(engine: &Shared, container: &Arc<Container>, record: &Record) -> Result<(), Failure> {
    let key = container.key();
    prepare_overlay(record)?;
    let endpoint = engine.networks.reserve(record)?;
    write_files(engine, record, endpoint.as_ref())?;
    let group = engine.cgroups.make(&engine.keeper, &limits(record)).await?;
    let stage = config::Stage::Run(Box::new(stage_config(engine, record, &group)?));
    let memfd = memfd(&stage)?;
    let (control, their_control) = fdpass::packet_pair().map_err(failed("making a socket failed"))?;
    let stdio = Stdio::new(record).map_err(failed("making pipes failed"))?;
    park(engine, &key, &stdio).await?;
    let mut fds: Vec<BorrowedFd<'_>> = stdio.theirs.iter().map(AsFd::as_fd).collect();
    fds.extend([their_control.as_fd(), memfd.as_fd()]);
    fds.extend(group.tasks.iter().map(AsFd::as_fd));
    let spawn = Spawn {
        key: &key,
        args: &["container", "run"],
        namespaces: namespaces(record),
        fds,
        cgroup: group.directory.as_ref().map(AsFd::as_fd),
    };
    let started = engine.keeper.spawn(spawn).await.map_err(failed("starting a process failed"));
    let (spawned, exit) = match started {
        Ok(started) => started,
        Err(error) => {
            clean_up(engine, &key, group.number, endpoint.as_ref()).await;
            return Err(error.into());
        }
    };
    drop((their_control, memfd, stdio.theirs));
    // From here on the process is on disk: a restart of ours finds it.
    container.change(|record| {
        record.group = group.number;
        record.endpoint.clone_from(&endpoint);
    })?;
    let pidfd = Arc::new(spawned.pidfd.try_clone().map_err(failed("copying a descriptor failed"))?);
    let mut console = None;
    match follow_stage(engine, control, endpoint.as_ref(), &mut console).await {
        Ok(()) => {}
        Err(failure) => {
            give_up(&key, &spawned, exit).await;
            clean_up(engine, &key, group.number, endpoint.as_ref()).await;
            container.change(|record| record.group = None)?;
            return Err(failure);
        }
    }
    let mut outputs = stdio.outputs;
    if let Some(console) = &console {
        engine
            .keeper
            .park(&key, "console", console.as_fd())
            .await
            .map_err(failed("keeping the terminal failed"))?;
        outputs.push((Stream::Stdout, console.try_clone().map_err(failed("copying a descriptor failed"))?));
    }
    {
        let mut live = container.live();
        live.pidfd = Some(pidfd);
        live.stdin = stdio.stdin.map(Arc::new);
        live.console = console.map(Arc::new);
    }
    container.change(|record| now_running(record, spawned.pid))?;
    container.life.send_modify(|life| life.up = true);
    tell(engine, &container.record(), "start", None);
    attend(engine.clone(), container.clone(), outputs, exit);
    Ok(())
}

/// What a record says of a container from its start on.
fn now_running(record: &mut Record, pid: i32) {
    let state = &mut record.state;
    state.status = Status::Running;
    state.pid = pid;
    state.exit_code = 0;
    state.error.clear();
    state.oom_killed = false;
    state.started_at = clock::now();
    state.finished_at = clock::NEVER.to_owned();
    record.stopped = false;
}

/// An overlay mounted as volatile can be mounted again only with a new work
/// directory.
fn prepare_overlay(record: &Record) -> Result<(), ApiError> {
    let work = Path::new(&record.overlay()).join("work");
    if fs::symlink_metadata(work.join("work")).is_err() {
        return Ok(());
    }
    super::remove_tree(&work)
        .and_then(|()| fs::create_dir(&work))
        .map_err(failed("preparing the root filesystem failed"))
}

async fn park(engine: &Engine, key: &str, stdio: &Stdio) -> Result<(), ApiError> {
    let failed = || failed("keeping the container's pipes failed");
    for (stream, fd) in &stdio.outputs {
        engine.keeper.park(key, stream.name(), fd.as_fd()).await.map_err(failed())?;
    }
    if let Some(stdin) = &stdio.stdin {
        engine.keeper.park(key, "stdin", stdin.as_fd()).await.map_err(failed())?;
    }
    Ok(())
}

fn namespaces(record: &Record) -> u64 {
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

/// The container's limits, in the form of host's requests.
pub(super) fn limits(record: &Record) -> Limits {
    let host = &record.host_config;
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let cpu_milli = match (positive(host.nano_cpus), positive(host.cpu_quota)) {
        (Some(nano), _) => Some((nano / 1_000_000).max(1)),
        (None, Some(quota)) => Some((quota * 1000 / positive(host.cpu_period).unwrap_or(100_000)).max(1)),
        (None, None) => None,
    };
    Limits {
        memory: positive(host.memory),
        memory_swap: positive(host.memory_swap),
        pids: host.pids_limit.and_then(positive),
        cpu_milli,
        cpu_shares: positive(host.cpu_shares),
    }
}

fn stage_config(engine: &Engine, record: &Record, group: &Group) -> Result<config::Run, ApiError> {
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

/// Writes `hostname`, `hosts` and `resolv.conf`.
fn write_files(engine: &Engine, record: &Record, endpoint: Option<&Endpoint>) -> Result<(), ApiError> {
    let place = directory(&record.id);
    let hostname = &record.config.hostname;
    let full = match record.config.domainname.as_str() {
        "" => hostname.clone(),
        domain => format!("{hostname}.{domain} {hostname}"),
    };
    let mut hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
        ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        .to_owned();
    for extra in record.host_config.extra_hosts.iter().flatten() {
        if let Some((name, address)) = extra.split_once([':', '=']) {
            let address = if address == "host-gateway" {
                crate::networks::GATEWAY.to_string()
            } else {
                address.to_owned()
            };
            hosts.push_str(&format!("{address}\t{name}\n"));
        }
    }
    if let Some(endpoint) = endpoint {
        hosts.push_str(&format!("{}\t{full}\n", endpoint.address));
    }
    let write = |name: &str, text: &str| {
        fs::write(place.join(name), text).map_err(failed(format!("writing the container's {name} failed")))
    };
    if record.network() == "host" {
        for name in ["hosts", "resolv.conf"] {
            let text = fs::read_to_string(format!("/etc/{name}"))
                .map_err(failed(format!("reading /etc/{name} failed")))?;
            write(name, &text)?;
        }
        return write("hostname", &format!("{hostname}\n"));
    }
    write("hostname", &format!("{hostname}\n"))?;
    write("hosts", &hosts)?;
    write("resolv.conf", &resolv_conf(engine, record))
}

fn resolv_conf(engine: &Engine, record: &Record) -> String {
    let host = &record.host_config;
    let mut text =
        "# Generated by Docker Engine.\n# This file can be edited; Docker Engine will not make further \
        changes once it\n# has been modified.\n\n"
            .to_owned();
    let gateway = [engine.spec.gateway.to_string()];
    let servers = if host.dns.is_empty() { &gateway[..] } else { &host.dns };
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !host.dns_search.is_empty() {
        text.push_str(&format!("search {}\n", host.dns_search.join(" ")));
    }
    if !host.dns_options.is_empty() {
        text.push_str(&format!("options {}\n", host.dns_options.join(" ")));
    }
    let overrides = if host.dns.is_empty() { "[]" } else { "[nameservers]" };
    text.push_str(&format!(
        "\n# Based on host file: '/etc/resolv.conf' (legacy)\n# Overrides: {overrides}\n"
    ));
    text
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

/// Goes with a stage until its program runs: sets up its network, takes its
/// terminal, and learns of failures.
async fn follow_stage(
    engine: &Shared,
    control: OwnedFd,
    endpoint: Option<&Endpoint>,
    console: &mut Option<OwnedFd>,
) -> Result<(), Failure> {
    let control = fdpass::Packets::new(control).map_err(failed("listening to the container failed"))?;
    let (mut ready, mut closed) = (false, false);
    loop {
        let message = control.recv(MESSAGE_MAX).await.map_err(failed("listening to the container failed"))?;
        let Some((bytes, mut fds)) = message else {
            // A stage that fails before it takes our word closes with that
            // unread, which is told before its own last word.
            if !std::mem::replace(&mut closed, true) {
                continue;
            }
            // The socket closed by the program's exec, or by the stage's death.
            return if ready {
                Ok(())
            } else {
                Err(ApiError::Failed(format!("{RUNTIME_ERROR}it ended early")).into())
            };
        };
        match serde_json::from_slice(&bytes).map_err(failed("the container sent what is no message"))? {
            FromStage::Network => {
                let Some(network) = fds.pop() else { continue };
                engine
                    .networks
                    .connect(endpoint, network.as_fd())
                    .await
                    .map_err(|error| error.context("failed to set up container networking: "))?;
                if let Err(error) = control.send(GO, &[]).await {
                    // It has failed by itself, and says so next.
                    tracing::debug!(%error, "a container's stage has ended");
                }
            }
            FromStage::Console => *console = fds.pop(),
            FromStage::Ready { .. } => ready = true,
            FromStage::Failed { message, exec, plain } => return Err(stage_failure(&message, exec, plain)),
        }
    }
}

fn stage_failure(message: &str, exec: bool, plain: bool) -> Failure {
    if plain {
        return Failure { error: ApiError::Failed(message.to_owned()), exit_code: 126 };
    }
    let text = format!("{RUNTIME_ERROR}{message}: unknown");
    if !exec {
        return Failure { error: ApiError::Failed(text), exit_code: 128 };
    }
    let denied = message.ends_with("permission denied") || message.ends_with("is a directory");
    Failure { error: ApiError::Invalid(text), exit_code: if denied { 126 } else { 127 } }
}

/// Ends a process that did not become the program.
async fn give_up(key: &str, spawned: &Spawned, exit: oneshot::Receiver<Exit>) {
    if let Err(error) = super::kill::signal(&spawned.pidfd, libc::SIGKILL) {
        tracing::warn!(%error, key, "ending a failed container's process failed");
    }
    if exit.await.is_err() {
        tracing::warn!(key, "the end of a failed container's process was not told");
    }
}

/// Gives back what a run held.
async fn clean_up(engine: &Engine, key: &str, group: Option<u32>, endpoint: Option<&Endpoint>) {
    if let Some(endpoint) = endpoint {
        engine.networks.release(endpoint).await;
    }
    if let Some(number) = group
        && let Err(error) = engine.cgroups.remove(&engine.keeper, number).await
    {
        tracing::warn!(%error, key, "a container's cgroup stays");
    }
    if let Err(error) = engine.keeper.forget(key).await {
        tracing::warn!(%error, key, "PID 1 was not told that a process is done with");
    }
}

/// Moves a running container's output into its log, and ends the run when its
/// process does.
pub(super) fn attend(
    engine: Shared,
    container: Arc<Container>,
    outputs: Vec<(Stream, OwnedFd)>,
    exit: oneshot::Receiver<Exit>,
) {
    let terminal = container.locked().config.tty;
    let pumps: Vec<JoinHandle<()>> = outputs
        .into_iter()
        .map(|(stream, fd)| {
            let (log, id) = (container.log.clone(), container.id.clone());
            tokio::spawn(async move {
                if let Err(error) = log::pump(fd, stream, terminal, log).await {
                    tracing::warn!(%error, container = id, stream = stream.name(), "reading output failed");
                }
            })
        })
        .collect();
    tokio::spawn(async move {
        let Ok(exit) = exit.await else {
            tracing::warn!(container = container.id, "PID 1 didn't tell the container's end");
            return;
        };
        let drained = async {
            for pump in pumps {
                // A pump that panicked has no more output.
                let _ = pump.await;
            }
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!(container = container.id, "output was still held open after the end");
        }
        if let Err(error) = end(&engine, &container, exit).await {
            tracing::error!(%error, container = container.id, "ending the container's run failed");
        }
    });
}

/// Writes down how a run ended and lets everybody know.
pub(super) async fn end(engine: &Shared, container: &Arc<Container>, exit: Exit) -> Result<(), ApiError> {
    let record = container.record();
    let oom_killed = match record.group {
        Some(number) => {
            engine.cgroups.oom_kills(&engine.keeper, number).await.unwrap_or_else(|error| {
                tracing::warn!(%error, container = container.id, "whether memory ran out is not known");
                0
            }) > 0
        }
        None => false,
    };
    *container.live() = super::Live::default();
    container.change(|record| {
        let state = &mut record.state;
        state.status = Status::Exited;
        state.pid = 0;
        state.exit_code = exit.status;
        state.oom_killed = oom_killed;
        state.finished_at = clock::from_ms(exit.time_ms);
        record.endpoint = None;
        record.group = None;
    })?;
    container.log.complete();
    clean_up(engine, &container.key(), record.group, record.endpoint.as_ref()).await;
    if oom_killed {
        tell(engine, &record, "oom", None);
        // Without a limit of its own it was the node's that it met.
        if record.host_config.memory <= 0 {
            let program = record.argv().into_iter().next();
            let name = program.and_then(|path| path.rsplit('/').next().map(str::to_owned));
            engine.keeper.event(What::OutOfMemory { name });
        }
    }
    tell(engine, &container.record(), "die", Some(exit.status));
    container.life.send_modify(|life| {
        life.up = false;
        life.exits += 1;
        life.exit_code = exit.status;
    });
    after(engine, container).await
}

/// What happens to a container that ended: it is removed, or started again.
async fn after(engine: &Shared, container: &Arc<Container>) -> Result<(), ApiError> {
    let record = container.record();
    if record.host_config.auto_remove {
        return super::remove::remove(engine, container, true).await;
    }
    let policy = &record.host_config.restart_policy;
    let again = match policy.name.as_str() {
        "always" | "unless-stopped" => !record.stopped,
        "on-failure" => {
            let limit = policy.maximum_retry_count;
            !record.stopped
                && record.state.exit_code != 0
                && (limit == 0 || i64::from(record.restart_count) < limit)
        }
        _ => false,
    };
    if again {
        super::start::again(engine.clone(), container.clone(), record.restart_count);
    }
    Ok(())
}
