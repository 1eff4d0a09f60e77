//! Starting a node and ending it.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use drydock_image::store::{self, Store};
use drydock_protocol::{
    Hello,
    host::{Features, Limits},
    node::{CGROUP_FD, CgroupFd, READY_FD, SPEC_FD, Spec},
};
use drydock_sandbox::{
    cgroup::{
        Group, Limits as GroupLimits,
        layout::{Kind, Layout},
    },
    disk, fdpass,
    id_map::{self, IdMap},
    loop_device::{self, LoopDevice},
    mount,
    spawn::{Command, Executable},
};
use tokio::io::unix::AsyncFd;

use crate::{
    config::Rates,
    disk_rate,
    error::HostError,
    instance::Instance,
    network::{GATEWAY, Network},
    stage::{self, StageFds, StageSpec},
};

/// How long a node may take from its first process to its readiness.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long a killed node may take to end: a process that waits in the kernel
/// for what never comes takes no signal.
const END_WITHIN: Duration = Duration::from_secs(10);
/// How long a disk may take to be let go of by the kernel.
const DISK_FREE_WITHIN: Duration = Duration::from_secs(5);
/// What PID 1 and the engine may use beside what the learner runs.
pub(crate) const RESERVE: GroupLimits = GroupLimits {
    memory: Some(256 << 20),
    memory_swap: Some(256 << 20),
    pids: Some(512),
    cpu_milli: Some(1000),
    cpu_shares: Some(4096),
};

/// A node's first process.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    pub(crate) pidfd: Arc<AsyncFd<OwnedFd>>,
}

/// What a start needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) instance: Instance,
    pub(crate) layout: Arc<Layout>,
    pub(crate) stage_program: Arc<Executable>,
    pub(crate) node_program: Arc<Executable>,
    pub(crate) socket_group: u32,
    pub(crate) session: String,
    pub(crate) name: String,
    pub(crate) address: std::net::Ipv4Addr,
    pub(crate) base: u32,
    pub(crate) cut: bool,
    pub(crate) limits: Limits,
    pub(crate) features: Features,
    pub(crate) rates: Rates,
    /// The disk may be damaged, whatever it says.
    pub(crate) check_disk: bool,
}

/// A node's control groups.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    pub(crate) node: Group,
    pub(crate) init: Group,
    pub(crate) inner: Group,
}

impl Groups {
    pub(crate) fn of(layout: Arc<Layout>, instance: &Instance, session: &str, name: &str) -> Groups {
        let node = Group::new(layout, format!("{}/n-{session}-{name}", instance.group()));
        Groups { init: node.child("init"), inner: node.child("inner"), node }
    }

    /// Makes those that hold the limits, for the owner of `base`.
    fn limit(&self, limits: &Limits, base: u32) -> Result<(), HostError> {
        self.init.create()?;
        self.inner.create()?;
        self.init.limit(&RESERVE)?;
        let memory = Some(limits.memory_mb << 20);
        self.inner.limit(&GroupLimits {
            memory,
            memory_swap: memory,
            pids: Some(limits.pids),
            cpu_milli: Some(limits.cpu_milli),
            cpu_shares: None,
        })?;
        Ok(self.node.delegate(&self.inner, base)?)
    }
}

/// What a stage inherits.
struct Inherited {
    agent: UnixListener,
    docker: UnixListener,
    id_map: OwnedFd,
    node_tasks: Vec<(String, OwnedFd)>,
    init_tasks: Vec<(String, OwnedFd)>,
    inner_tasks: Vec<(String, OwnedFd)>,
    node_directory: Option<OwnedFd>,
}

/// Starts a node. When it fails, nothing of it is left but its disk.
pub(crate) async fn start(plan: &Plan, network: &Network) -> Result<Running, HostError> {
    let groups = Groups::of(plan.layout.clone(), &plan.instance, &plan.session, &plan.name);
    let disk = blocking({
        let plan = plan.clone();
        move || attach_disk(&plan)
    });
    let inherited = blocking({
        let (plan, groups) = (plan.clone(), groups.clone());
        move || prepare(&plan, &groups)
    });
    let started = match tokio::try_join!(disk, inherited) {
        Ok((disk, inherited)) => run_stage(plan, network, &groups, Arc::new(disk), inherited).await,
        Err(error) => Err(error),
    };
    if started.is_err() {
        clean_up(plan, Some(network)).await?;
    }
    started
}

/// Removes what a node that has ended leaves behind, but not its disk.
pub(crate) async fn clean_up(plan: &Plan, network: Option<&Network>) -> Result<(), HostError> {
    if let Some(network) = network {
        network.disconnect(plan.address).await?;
    }
    let groups = Groups::of(plan.layout.clone(), &plan.instance, &plan.session, &plan.name);
    blocking(move || {
        groups.node.kill()?;
        Ok(groups.node.remove()?)
    })
    .await
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Makes the disk, or takes the one that was kept, and puts it on a loop device.
fn attach_disk(plan: &Plan) -> Result<LoopDevice, HostError> {
    let path = plan.instance.disk(&plan.session, &plan.name);
    if path.exists() {
        wait_until_free(&path)?;
        disk::repair(&path, plan.check_disk)?;
    } else {
        disk::create(&path, plan.limits.disk_mb << 20, plan.limits.inodes, plan.base)?;
    }
    let file = open_without_path(&path)?;
    Ok(loop_device::attach(&file, &disk_label(&plan.instance, &plan.session, &plan.name))?)
}

/// What a node's loop device is known by.
pub(crate) fn disk_label(instance: &Instance, session: &str, name: &str) -> String {
    let mut label = format!("{} {session} {name}", instance.name);
    label.truncate(loop_device::LABEL_MAX);
    label
}

/// Opens a disk by a mount of its own, which is the file and nothing else: every
/// node sees the names of all loop devices' files, and this one's is `/`.
fn open_without_path(path: &Path) -> Result<File, HostError> {
    let tree = mount::copy(path)?;
    let number = tree.as_raw_fd();
    let opened = File::options().read(true).write(true).open(format!("/proc/self/fd/{number}"));
    opened.map_err(HostError::file("open", path))
}

/// The kernel lets go of a disk a moment after the last process that saw it
/// has ended. Mounted twice, its filesystem would be destroyed. It is no error
/// if there is none.
pub(crate) fn wait_until_free(path: &Path) -> Result<(), HostError> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(HostError::file("look at", path))?,
    };
    let until = std::time::Instant::now() + DISK_FREE_WITHIN;
    while loop_device::list()?.iter().any(|used| used.holds(&metadata)) {
        if std::time::Instant::now() > until {
            return Err(HostError::Conflict("the node's disk is still in use".into()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn prepare(plan: &Plan, groups: &Groups) -> Result<Inherited, HostError> {
    groups.node.create()?;
    // On v2 a group whose children have controllers can't hold the stage, so
    // its children are made when the stage is through with it.
    if plan.layout.kind() != Kind::V2 {
        groups.limit(&plan.limits, plan.base)?;
    }
    let directory = plan.instance.node_dir(&plan.session, &plan.name);
    fs::create_dir_all(&directory).map_err(HostError::file("make", &directory))?;
    let map = IdMap { inside: store::ID_BASE, outside: plan.base, count: store::ID_COUNT };
    let tasks = |group: &Group| if plan.layout.kind() == Kind::V2 { Ok(Vec::new()) } else { group.tasks() };
    Ok(Inherited {
        agent: listen(&directory.join("agent.sock"), plan.socket_group)?,
        docker: listen(&directory.join("docker.sock"), plan.socket_group)?,
        id_map: id_map::user_namespace(map)?,
        node_tasks: tasks(&groups.node)?,
        init_tasks: tasks(&groups.init)?,
        inner_tasks: tasks(&groups.inner)?,
        node_directory: groups.node.directory()?,
    })
}

/// Binds a socket for web's group; one that is there was an earlier start's.
pub(crate) fn listen(path: &Path, group: u32) -> Result<UnixListener, HostError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(HostError::file("replace", path)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(HostError::file("listen on", path))?;
    std::os::unix::fs::chown(path, None, Some(group)).map_err(HostError::file("give away", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(HostError::file("open up", path))?;
    Ok(listener)
}

/// Starts the stage and leads it to readiness; ends it when it fails.
async fn run_stage(
    plan: &Plan,
    network: &Network,
    groups: &Groups,
    disk: Arc<LoopDevice>,
    inherited: Inherited,
) -> Result<Running, HostError> {
    let (ours, theirs) = fdpass::packet_pair().map_err(HostError::call("make a socket pair"))?;
    let (ready, ready_end) = io::pipe().map_err(HostError::call("make a pipe"))?;
    let (log, log_end) = io::pipe().map_err(HostError::call("make a pipe"))?;
    let (spec, child) = blocking({
        let plan = plan.clone();
        let device = disk.path.clone();
        move || spawn(&plan, &device, &inherited, theirs, ready_end, log_end)
    })
    .await?;
    crate::log::follow(plan.session.clone(), plan.name.clone(), log.into());
    let pidfd = Arc::new(watch(child.pidfd)?);
    let running = Running { pid: child.pid, pidfd };
    let control = fdpass::Packets::new(ours).map_err(HostError::call("talk to a stage"))?;
    let led = async {
        send(&control, &spec).await?;
        lead(plan, network, groups, child.pid, &control).await?;
        become_ready(ready.into()).await
    };
    let led = async {
        match tokio::time::timeout(READY_WITHIN, led).await {
            Ok(result) => result,
            Err(_) => Err(HostError::Stage(format!("the node was not ready within {READY_WITHIN:?}"))),
        }
    };
    // Beside each other: a device's first rule takes the kernel 30 ms. From then
    // on the node's own mount keeps the device.
    let (result, rated) = tokio::join!(led, rate_disk(plan, groups, disk.clone()));
    drop(disk);
    match result.and(rated) {
        Ok(()) => Ok(running),
        Err(error) => {
            end(&running, groups).await?;
            Err(error)
        }
    }
}

async fn rate_disk(plan: &Plan, groups: &Groups, disk: Arc<LoopDevice>) -> Result<(), HostError> {
    let (layout, groups, rate) = (plan.layout.clone(), groups.clone(), plan.rates.disk_mb_s << 20);
    blocking(move || disk_rate::set(&layout, &groups, &disk, rate)).await
}

/// Starts the stage as the first process of a new PID namespace.
fn spawn(
    plan: &Plan,
    device: &Path,
    inherited: &Inherited,
    control: OwnedFd,
    ready: io::PipeWriter,
    log: io::PipeWriter,
) -> Result<(Vec<u8>, drydock_sandbox::spawn::Child), HostError> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(HostError::file("open", "/dev/null"))?;
    // A node must never wait for host to read its log.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::WRONLY;
    rustix::fs::fcntl_setfl(&log, flags).map_err(|errno| HostError::call("prepare a log")(errno.into()))?;
    let unified = plan.layout.kind() == Kind::V2;
    let spec = spec_file(plan, inherited, unified)?;

    let mut fds = vec![null.as_fd(), null.as_fd(), log.as_fd(), spec.as_fd()];
    fds.extend([inherited.agent.as_fd(), inherited.docker.as_fd(), ready.as_fd()]);
    debug_assert_eq!((fds[SPEC_FD as usize].as_raw_fd(), fds.len()), (spec.as_raw_fd(), CGROUP_FD as usize));
    debug_assert_eq!(fds[READY_FD as usize].as_raw_fd(), ready.as_raw_fd());
    if unified {
        // The place of the directory that comes when it is made.
        fds.push(null.as_fd());
    }
    fds.extend(inherited.inner_tasks.iter().map(|(_, fd)| fd.as_fd()));
    let first = fds.len() as i32;
    let mut own = |fd| {
        fds.push(fd);
        fds.len() as i32 - 1
    };
    let control_number = own(control.as_fd());
    let stage_fds = StageFds {
        first,
        id_map: own(inherited.id_map.as_fd()),
        program: own(plan.node_program.as_fd()),
        node_tasks: inherited.node_tasks.iter().map(|(_, fd)| own(fd.as_fd())).collect(),
        init_tasks: inherited.init_tasks.iter().map(|(_, fd)| own(fd.as_fd())).collect(),
    };
    let orders = orders(plan, device, inherited, unified, stage_fds)?;

    let argv = ["drydock".to_string(), stage::ARGUMENT.into(), control_number.to_string()];
    let namespaces = (libc::CLONE_NEWPID | libc::CLONE_NEWNS) as u64;
    let mut command = Command::new(&plan.stage_program, argv)?.fds(fds).namespaces(namespaces)?;
    if let Some(directory) = &inherited.node_directory {
        command = command.cgroup(directory.as_fd());
    }
    Ok((orders, command.spawn()?))
}

/// PID 1's own orders, in a memfd at offset 0.
fn spec_file(plan: &Plan, inherited: &Inherited, unified: bool) -> Result<OwnedFd, HostError> {
    let v1 = inherited
        .inner_tasks
        .iter()
        .map(|(controllers, _)| CgroupFd::V1Tasks { controllers: controllers.clone() });
    let spec = Spec {
        hello: Hello::OURS,
        session: plan.session.clone(),
        name: plan.name.clone(),
        address: plan.address,
        gateway: GATEWAY,
        features: plan.features,
        limits: plan.limits,
        cgroups: if unified { vec![CgroupFd::V2Dir] } else { v1.collect() },
    };
    let failed = "write a node's orders";
    let text = serde_json::to_vec(&spec).map_err(|error| HostError::call(failed)(error.into()))?;
    let file = rustix::fs::memfd_create("node", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|errno| HostError::call(failed)(errno.into()))?;
    rustix::io::pwrite(&file, &text, 0).map_err(|errno| HostError::call(failed)(errno.into()))?;
    Ok(file)
}

fn orders(
    plan: &Plan,
    device: &Path,
    inherited: &Inherited,
    unified: bool,
    fds: StageFds,
) -> Result<Vec<u8>, HostError> {
    let store = Store::open(plan.instance.store_dir())?;
    let root = store.index()?.node_root.ok_or_else(|| {
        HostError::Machine(format!(
            "{} holds no root image for nodes; `./dev up` makes one",
            store.path().display()
        ))
    })?;
    let spec = StageSpec {
        hostname: plan.name.clone(),
        base: plan.base,
        staging: staging(&plan.instance),
        layers: store.layer_dirs(&root),
        store: store.path().to_path_buf(),
        disk: device.to_path_buf(),
        features: plan.features,
        hierarchies: inherited.node_tasks.iter().map(|(controllers, _)| controllers.clone()).collect(),
        unified,
        fds,
    };
    serde_json::to_vec(&spec).map_err(|error| HostError::call("write a stage's orders")(error.into()))
}

/// The directory that each stage mounts over, in a mount namespace of its own.
pub(crate) fn staging(instance: &Instance) -> PathBuf {
    instance.run_dir.join("stage")
}

/// Does for the stage what takes the machine's root.
async fn lead(
    plan: &Plan,
    network: &Network,
    groups: &Groups,
    pid: i32,
    control: &fdpass::Packets,
) -> Result<(), HostError> {
    let netns = expect(control, stage::UNSHARED).await?;
    id_map::write(pid, IdMap::node(plan.base))?;
    let directory = if plan.layout.kind() == Kind::V2 {
        let (groups, limits, base) = (groups.clone(), plan.limits, plan.base);
        blocking(move || {
            groups.init.create_bare()?;
            groups.init.enter(pid)?;
            groups.limit(&limits, base)?;
            Ok(groups.inner.directory()?)
        })
        .await?
    } else {
        None
    };
    let fds: Vec<_> = directory.iter().map(|fd| fd.as_fd()).collect();
    control.send(stage::MAPPED, &fds).await.map_err(HostError::call("talk to a stage"))?;
    network.connect(plan.address, netns.as_fd(), plan.rates.network_mb_s << 20, plan.cut).await?;
    send(control, stage::LINKED).await?;
    // The stage closes the socket by becoming PID 1, or says what is wrong.
    match receive(control).await? {
        None => Ok(()),
        Some((message, _)) => Err(unexpected(&message)),
    }
}

async fn send(control: &fdpass::Packets, message: &[u8]) -> Result<(), HostError> {
    control.send(message, &[]).await.map_err(HostError::call("talk to a stage"))
}

async fn receive(control: &fdpass::Packets) -> Result<Option<(Vec<u8>, Vec<OwnedFd>)>, HostError> {
    control.recv(stage::MESSAGE_MAX).await.map_err(HostError::call("listen to a stage"))
}

async fn expect(control: &fdpass::Packets, wanted: &[u8]) -> Result<OwnedFd, HostError> {
    match receive(control).await? {
        Some((message, fds)) if message == wanted => {
            fds.into_iter().next().ok_or_else(|| HostError::Stage("the stage sent no descriptor".into()))
        }
        Some((message, _)) => Err(unexpected(&message)),
        None => Err(HostError::Stage("the stage ended before it was done".into())),
    }
}

fn unexpected(message: &[u8]) -> HostError {
    let words = message.strip_prefix(stage::FAILED).unwrap_or(message);
    HostError::Stage(format!("cannot start the node: {}", String::from_utf8_lossy(words)))
}

/// Waits until PID 1 has said that it is ready.
async fn become_ready(ready: OwnedFd) -> Result<(), HostError> {
    let failed = "wait for a node";
    let mut ready =
        tokio::net::unix::pipe::Receiver::from_owned_fd(ready).map_err(HostError::call(failed))?;
    let mut byte = [0];
    match tokio::io::AsyncReadExt::read(&mut ready, &mut byte).await {
        Ok(1) if byte == *b"1" => Ok(()),
        Ok(_) => Err(HostError::Stage("the node's first process ended before it was ready".into())),
        Err(error) => Err(HostError::call(failed)(error)),
    }
}

/// Makes a pidfd something to wait for.
pub(crate) fn watch(pidfd: OwnedFd) -> Result<AsyncFd<OwnedFd>, HostError> {
    // SAFETY: an `OwnedFd` gives the same open descriptor until it is dropped, and
    // nothing takes it out of the `AsyncFd` before.
    let watched = unsafe { AsyncFd::register_with_interest(pidfd, tokio::io::Interest::READABLE) };
    watched.map_err(|error| HostError::call("watch a process")(error.into()))
}

/// Waits until a process has ended, and reaps it if it is ours.
pub(crate) async fn ended(pidfd: &AsyncFd<OwnedFd>) -> Result<(), HostError> {
    pidfd.readable().await.map_err(HostError::call("wait for a process"))?.retain_ready();
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG;
    match rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.get_ref().as_fd()), options) {
        // Started by an earlier host: init has reaped it, or will.
        Ok(_) | Err(rustix::io::Errno::CHILD) => Ok(()),
        Err(errno) => Err(HostError::call("reap a process")(errno.into())),
    }
}

/// Kills a node's first process, and so all its processes, and waits for the
/// end. Frozen ones are thawed, which the kernel would otherwise wait for.
///
/// Where something in the node can't be killed this fails, and may be tried
/// again.
pub(crate) async fn end(running: &Running, groups: &Groups) -> Result<(), HostError> {
    match rustix::process::pidfd_send_signal(running.pidfd.get_ref(), rustix::process::Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(errno) => return Err(HostError::call("kill a node")(errno.into())),
    }
    let node = groups.node.clone();
    let ended = tokio::time::timeout(END_WITHIN, ended(&running.pidfd));
    let (ended, killed) = tokio::join!(ended, blocking(move || Ok(node.kill()?)));
    killed?;
    ended.map_err(|_| HostError::Conflict(format!("the node did not end within {END_WITHIN:?}")))?
}
