//! What this machine has and lacks of what nodes need.

use std::{fs, io, os::fd::AsFd, path::Path};

use drydock_sandbox::{
    cgroup::layout::{Kind, Layout},
    id_map::{self, IdMap},
    mount::{self, Attributes},
    namespaces,
};

use crate::modules;

/// The oldest kernel that has all calls: overlays over id-mapped layers.
const KERNEL: (u32, u32) = (5, 19);
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
    /// What it is for.
    pub what_for: String,
    /// What to do when it is missing.
    pub what_to_do: String,
}

/// Looks at this machine. `state_dir` need not exist.
pub fn features(state_dir: &Path) -> Vec<Feature> {
    let mut found = vec![kernel(), root()];
    found.extend(NAMESPACES.map(namespace));
    found.push(user_namespaces_allowed());
    found.extend(FILESYSTEMS.map(filesystem));
    found.extend([id_mapped_mounts(state_dir), loop_devices(), mkfs(), links(), seccomp()]);
    found.extend(controllers());
    found.extend(delegation());
    found.extend([kernel_modules(), nftables(), swap_accounting(), typing_ioctl()]);
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
    Feature { name: name.into(), ok, needed: true, what_for: what_for.into(), what_to_do: what_to_do.into() }
}

fn useful(name: impl Into<String>, ok: bool, what_for: &str, what_to_do: &str) -> Feature {
    Feature { needed: false, ..needed(name, ok, what_for, what_to_do) }
}

fn kernel() -> Feature {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.trim().parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = KERNEL;
    let name = format!("Linux {major}.{minor} or newer");
    needed(name, version >= KERNEL, "nodes share image layers", "install a newer kernel (Debian 12 has 6.1)")
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
    use drydock_sandbox::link::{self, End};
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

fn typing_ioctl() -> Feature {
    let value = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").unwrap_or_default();
    let what_to_do = "sysctl dev.tty.legacy_tiocsti=0 (nodes refuse the call in any case)";
    useful(
        "no typing into terminals by ioctl",
        value.trim() != "1",
        "a second lock on learners' terminals",
        what_to_do,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_says_what_it_is_for_and_what_to_do() {
        let features = features(Path::new("/var/lib/drydock"));
        for feature in &features {
            assert!(!feature.what_for.is_empty() && !feature.what_to_do.is_empty(), "{feature:?}");
        }
        let missing = Feature { ok: false, ..loop_devices() };
        let words = complaint(&[missing]).unwrap();
        assert_eq!(words, "loop devices is missing (a disk of fixed size for each node): modprobe loop");
        assert_eq!(complaint(&[useful("x", false, "y", "z")]), None);
    }
}
