//! What this machine has and lacks of what nodes need.

mod kernel;
mod overlay;
mod settings;

use std::{ffi::CString, fs, io, os::fd::AsFd, path::Path};

use drydock_sandbox::{
    cgroup::layout::{Kind, Layout},
    id_map::{self, IdMap},
    link,
    mount::{self, Attributes},
    namespaces,
};

pub use settings::{Change, Roots, apply, changes};

use crate::modules;

const NAMESPACES: [&str; 7] = ["user", "pid", "mnt", "net", "uts", "ipc", "cgroup"];
const FILESYSTEMS: [&str; 7] = ["overlay", "ext4", "tmpfs", "proc", "sysfs", "devpts", "mqueue"];
const TOOLS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Something that nodes need, or are better with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Feature {
    /// What it is called.
    pub name: String,
    /// Whether it is there.
    pub ok: bool,
    /// Whether nodes can't do without.
    pub needed: bool,
    /// Whether it is there, and only has another value than it should.
    pub change: bool,
    /// What it is for.
    pub what_for: String,
    /// What is lost without it.
    pub lost: String,
    /// What to do when it is missing.
    pub what_to_do: String,
}

impl Feature {
    fn without(mut self, lost: &str) -> Feature {
        self.lost = lost.into();
        self
    }
}

/// Looks at this machine: all that there is to say. `state_dir` need not exist.
pub fn report(state_dir: &Path, web_user: &str) -> Vec<Feature> {
    let mut found = features(state_dir);
    found.extend([disk_rate(), vxlan(), tun(), docker_socket(web_user), state_directory(state_dir)]);
    found.extend(settings::features(&Roots::machine()));
    found
}

/// What host looks at before it starts.
pub fn features(state_dir: &Path) -> Vec<Feature> {
    let mut found: Vec<_> = kernel::features(&release()).into();
    found.push(root());
    found.extend(NAMESPACES.map(namespace));
    found.push(user_namespaces_allowed());
    found.extend(FILESYSTEMS.map(filesystem));
    found.extend([overlay_in_user_namespace(), id_mapped_mounts(state_dir)]);
    found.extend([loop_devices(), mkfs(), links(), seccomp()]);
    found.extend(controllers());
    found.extend(delegation());
    found.extend([kernel_modules(), nftables(), swap_accounting()]);
    found
}

/// One line about what is missing, or nothing.
pub fn complaint(features: &[Feature]) -> Option<String> {
    let lacks = features.iter().filter(|feature| feature.needed && !feature.ok);
    let words: Vec<_> = lacks
        .map(|feature| format!("{} is missing ({}): {}", feature.name, feature.what_for, feature.what_to_do))
        .collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn needed(name: impl Into<String>, ok: bool, what_for: &str, what_to_do: &str) -> Feature {
    Feature {
        name: name.into(),
        ok,
        needed: true,
        change: false,
        what_for: what_for.into(),
        lost: "host does not start".into(),
        what_to_do: what_to_do.into(),
    }
}

fn useful(name: impl Into<String>, ok: bool, what_for: &str, what_to_do: &str) -> Feature {
    Feature { needed: false, lost: what_for.into(), ..needed(name, ok, what_for, what_to_do) }
}

fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()
}

fn root() -> Feature {
    let ok = nix::unistd::geteuid().is_root();
    needed("root", ok, "host makes namespaces and mounts", "start `drydock host` (or `./dev up`) as root")
}

fn namespace(kind: &str) -> Feature {
    let ok = Path::new("/proc/self/ns").join(kind).exists();
    needed(
        format!("{kind} namespaces"),
        ok,
        "they are what a node is",
        "use a kernel with namespaces (Debian's has)",
    )
}

fn user_namespaces_allowed() -> Feature {
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let ok = most.trim().parse::<u64>().is_ok_and(|most| most > 0);
    let what_to_do = "sysctl user.max_user_namespaces=15000";
    needed("user namespaces allowed", ok, "learners are root in their node only", what_to_do)
}

fn filesystem(kind: &str) -> Feature {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let ok = known.split_whitespace().any(|word| word == kind) || modules::is_loadable(kind);
    let what_for = match kind {
        "overlay" => "a node's root over the shared layers",
        "ext4" => "a node's disk",
        _ => "a node's own view of itself",
    };
    needed(format!("filesystem {kind}"), ok, what_for, &format!("modprobe {kind}"))
}

fn id_mapped_mounts(state_dir: &Path) -> Feature {
    let there = state_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let attempt = || -> Result<(), Box<dyn std::error::Error>> {
        let map = id_map::user_namespace(IdMap::node(1_000_000))?;
        let tree = mount::copy(there)?;
        let id_map = Some(map.as_fd());
        Ok(mount::set_attributes(tree.as_fd(), Attributes { id_map, ..Attributes::default() })?)
    };
    let name = format!("id-mapped mounts of {}", there.display());
    let what_to_do = "keep the state directory on ext4, xfs or btrfs";
    needed(name, attempt().is_ok(), "one copy of an image for all nodes", what_to_do)
}

fn loop_devices() -> Feature {
    let ok = Path::new("/dev/loop-control").exists() || modules::is_loadable("loop");
    needed("loop devices", ok, "a disk of fixed size for each node", "modprobe loop")
}

fn mkfs() -> Feature {
    let ok = TOOLS.iter().any(|directory| Path::new(directory).join("mkfs.ext4").exists());
    needed("mkfs.ext4", ok, "a disk of fixed size for each node", "apt-get install e2fsprogs")
}

/// Makes a bridge and a veth pair in a namespace that is gone after.
fn links() -> Feature {
    let attempt = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let namespace = namespaces::new_network_namespace(|| Ok(()))?;
        std::thread::scope(|scope| scope.spawn(|| make_links(&namespace)).join())
            .unwrap_or_else(|_| Err("the attempt panicked".into()))
    };
    let what_to_do = "modprobe -a bridge veth";
    needed("bridge and veth links", attempt().is_ok(), "a session's private network", what_to_do)
}

fn make_links(namespace: &std::os::fd::OwnedFd) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use drydock_sandbox::link::End;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let handle = link::connect_in(namespace.as_fd())?;
        let bridge = link::add_bridge(&handle, "br0", None).await?;
        let near = End { name: "one", mac: None, netns: None };
        let far = End { name: "other", mac: None, netns: None };
        link::add_veth(&handle, &near, &far).await?;
        let port = link::index(&handle, "one").await?;
        link::set_bridge(&handle, port, bridge).await?;
        Ok(link::pin_port(&handle, port, link::Mac([2, 0, 0, 0, 0, 1])).await?)
    })
}

fn seccomp() -> Feature {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let ok = actions.split_whitespace().any(|action| action == "errno");
    needed(
        "seccomp filters",
        ok,
        "keeping learners from the kernel's riskier calls",
        "use a kernel with seccomp (Debian's has)",
    )
}

fn controllers() -> Vec<Feature> {
    let layout = Layout::detect().ok();
    let unified =
        layout.as_ref().filter(|layout| layout.kind() == Kind::V2).and_then(|layout| layout.v2.clone());
    let listed = unified.and_then(|root| fs::read_to_string(root.join("cgroup.controllers")).ok());
    let has = |controller: &str| match &listed {
        Some(listed) => listed.split_whitespace().any(|name| name == controller) || controller == "freezer",
        None => layout.as_ref().is_some_and(|layout| layout.v1.iter().any(|one| one.has(controller))),
    };
    let what_to_do =
        "mount control groups (systemd does), with `cgroup_enable=memory` on the kernel's command line";
    ["memory", "pids", "cpu", "freezer"]
        .map(|name| {
            needed(format!("control group controller {name}"), has(name), "a node's limits", what_to_do)
        })
        .into()
}

/// On v2, which gives groups to nodes.
fn delegation() -> Option<Feature> {
    let layout = Layout::detect().ok().filter(|layout| layout.kind() == Kind::V2)?;
    let what_to_do = "mount -o remount,nsdelegate /sys/fs/cgroup (systemd mounts it so)";
    let what_for = "a learner can't move their node's first process into another group";
    Some(useful("control groups with nsdelegate", layout.namespaces_delegate, what_for, what_to_do))
}

/// Whether a disk's speed can be held down.
fn disk_rate() -> Feature {
    let ok = Layout::detect().is_ok_and(|layout| layout.limits_devices());
    let what_to_do = "use a kernel with CONFIG_BLK_DEV_THROTTLING, and control groups with `blkio` or `io`";
    useful("disk rate", ok, "a node's disk is held to disk_mb_s", what_to_do)
        .without("one node can keep the machine's disk busy")
}

/// Host loads them when it starts.
fn kernel_modules() -> Feature {
    let missing: Vec<_> =
        modules::missing().iter().map(|module| format!("{} ({})", module.name, module.what_for)).collect();
    let what_to_do = format!("install the kernel's modules {}", missing.join(", "));
    useful("kernel modules", missing.is_empty(), "links, disks and address translation", &what_to_do)
}

fn nftables() -> Feature {
    // The node's engine talks to it in the node's own network namespace.
    let attempt = || -> io::Result<()> {
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Netlink,
            nix::sys::socket::SockType::Raw,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            nix::sys::socket::SockProtocol::NetlinkNetFilter,
        )?;
        drop(socket);
        Ok(())
    };
    useful("nftables", attempt().is_ok(), "containers' networks in a node", "modprobe nf_tables")
}

fn swap_accounting() -> Feature {
    let swapless = fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() <= 1);
    let counted = Layout::detect().is_ok_and(|layout| {
        layout.kind() == Kind::V2
            || layout
                .v1
                .iter()
                .any(|one| one.has("memory") && one.path.join("memory.memsw.limit_in_bytes").exists())
    });
    let what_to_do = "add `swapaccount=1` to the kernel's command line, or turn swap off";
    useful("swap counted or off", swapless || counted, "a node's memory limit holds", what_to_do)
}

fn vxlan() -> Feature {
    let attempt = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let namespace = namespaces::new_network_namespace(|| Ok(()))?;
        let make = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let handle = link::connect_in(namespace.as_fd())?;
                Ok(link::add_vxlan(&handle, "vxlan0", 7).await?)
            })
        };
        std::thread::scope(|scope| scope.spawn(make).join())
            .unwrap_or_else(|_| Err("the attempt panicked".into()))
    };
    let ok = attempt().is_ok();
    useful("vxlan links", ok, "overlay networks of a swarm", "modprobe vxlan")
        .without("labs about swarm networks don't work")
}

fn overlay_in_user_namespace() -> Feature {
    let what_to_do = "use Linux 5.11 or newer, with overlay for user namespaces (Debian's has it)";
    let attempt = overlay::attempt();
    let ok = attempt.inspect_err(|error| tracing::debug!("no overlay in a user namespace: {error}")).is_ok();
    needed("overlay in a user namespace", ok, "the root of each container", what_to_do)
}

fn tun() -> Feature {
    let opened = fs::File::options().read(true).write(true).open("/dev/net/tun");
    useful("/dev/net/tun", opened.is_ok(), "labs that make tunnels", "modprobe tun")
        .without("programs in nodes can't make tun and tap links")
}

/// The machine's own Docker is a way to root for whoever may use its socket.
fn docker_socket(web_user: &str) -> Feature {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let found = fs::metadata("/var/run/docker.sock").ok().filter(|found| found.file_type().is_socket());
    let open = found.is_some_and(|found| {
        let user = nix::unistd::User::from_name(web_user).ok().flatten();
        let in_group = user.is_some_and(|user| {
            let name = CString::new(web_user).unwrap_or_default();
            let groups = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_default();
            groups.iter().any(|group| group.as_raw() == found.gid())
        });
        found.mode() & 0o002 != 0 || (in_group && found.mode() & 0o020 != 0)
    });
    let what_to_do =
        format!("take {web_user} from the group that may open /var/run/docker.sock, and others too");
    useful("Docker's socket closed to web", !open, "a hole in the web server is no way to root", &what_to_do)
        .without("whoever takes over the web server has the machine")
}

fn state_directory(state_dir: &Path) -> Feature {
    use std::os::unix::fs::MetadataExt;
    let safe = match fs::metadata(state_dir) {
        Ok(found) => found.uid() == 0 && found.mode() & 0o066 == 0,
        // It is made by the first start.
        Err(_) => true,
    };
    let what_to_do = format!("chown root {0} && chmod 0711 {0}", state_dir.display());
    useful("state directory closed to others", safe, "disks and sessions are root's to see", &what_to_do)
        .without("users of this machine can see learners' disks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_says_what_it_is_for_and_what_to_do() {
        let features = report(Path::new("/var/lib/drydock"), "nobody");
        for feature in &features {
            let words = [&feature.what_for, &feature.lost, &feature.what_to_do];
            assert!(words.iter().all(|words| !words.is_empty()), "{feature:?}");
        }
        let missing = Feature { ok: false, ..loop_devices() };
        let words = complaint(&[missing]).unwrap();
        assert_eq!(words, "loop devices is missing (a disk of fixed size for each node): modprobe loop");
        assert_eq!(complaint(&[useful("x", false, "y", "z")]), None);
    }
}
