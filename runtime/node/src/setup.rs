//! What a node needs before anything runs in it: its name, its network, the
//! files that name them, limits, and the Docker socket.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::Ipv4Addr,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::Path,
};

use anyhow::Context;
use drydock_protocol::node::Spec;
use drydock_sandbox::link;
use nix::sys::resource::Resource;

/// Where programs in the node find the Docker API.
const DOCKER_SOCKET: &str = "/run/docker.sock";
/// The longest `/etc/group` that is read, in bytes.
const GROUP_MAX: u64 = 1 << 20;

/// Sets up the node. Only what nothing works without is an error: a learner
/// may have broken their node's files, and still wants a shell to mend them.
pub(crate) async fn node(spec: &Spec) -> anyhow::Result<()> {
    limits().context("cannot set limits")?;
    nix::unistd::sethostname(&spec.name).context("cannot set the host name")?;
    for (path, value) in sysctls() {
        // Which of them there are depends on the kernel.
        if let Err(error) = fs::write(Path::new("/proc/sys").join(path), value) {
            tracing::info!("cannot set {path} to {value}: {error}");
        }
    }
    for (path, content) in files(spec) {
        if let Err(error) = replace(Path::new(path), &content) {
            tracing::warn!("cannot write {path}: {error}");
        }
    }
    network(spec.address).await.context("cannot configure the network")
}

/// PID 1 keeps many descriptors; nobody writes a core file.
fn limits() -> nix::Result<()> {
    let (_, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE)?;
    nix::sys::resource::setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    // Not 0: at 1 the kernel starts no helper for a dump either.
    nix::sys::resource::setrlimit(Resource::RLIMIT_CORE, 1, 1)
}

/// Settings of the node's own network namespace. (Host has made those of the
/// user namespace, which PID 1 may not.)
fn sysctls() -> [(&'static str, &'static str); 7] {
    [
        ("net/ipv6/conf/all/disable_ipv6", "1"),
        ("net/ipv6/conf/default/disable_ipv6", "1"),
        // Bridged frames would pass the node's NAT.
        ("net/bridge/bridge-nf-call-iptables", "0"),
        ("net/bridge/bridge-nf-call-ip6tables", "0"),
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/ping_group_range", "0 65535"),
        ("net/ipv4/ip_unprivileged_port_start", "0"),
    ]
}

fn files(spec: &Spec) -> [(&'static str, String); 3] {
    let Spec { name, address, gateway, .. } = spec;
    [
        ("/etc/hostname", format!("{name}\n")),
        ("/etc/hosts", format!("127.0.0.1\tlocalhost\n{address}\t{name}\n")),
        ("/etc/resolv.conf", format!("nameserver {gateway}\noptions timeout:2 attempts:2\n")),
    ]
}

/// Puts a new file in a path's place, whatever is there: a link the learner
/// made is not followed, a FIFO not waited for.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let aside = path.with_extension("drydock-new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&aside)?;
    file.write_all(content.as_bytes())?;
    fs::rename(&aside, path)
}

async fn network(address: Ipv4Addr) -> Result<(), link::LinkError> {
    let handle = link::connect()?;
    let links = link::list(&handle).await?;
    let named = |name| links.iter().find(|(_, known)| known == name).map(|(index, _)| *index);
    if let Some(lo) = named("lo") {
        link::up(&handle, lo).await?;
    }
    // A node that is cut from its network starts without.
    if let Some(eth0) = named("eth0") {
        link::add_address(&handle, eth0, address.into(), 24).await?;
        link::up(&handle, eth0).await?;
    }
    Ok(())
}

/// The Docker API's socket in the node, listening; its group is `docker`.
pub(crate) fn docker_socket() -> io::Result<OwnedFd> {
    match fs::remove_file(DOCKER_SOCKET) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(DOCKER_SOCKET)?;
    std::os::unix::fs::chown(DOCKER_SOCKET, Some(0), Some(docker_group().unwrap_or(0)))?;
    fs::set_permissions(DOCKER_SOCKET, fs::Permissions::from_mode(0o660))?;
    Ok(socket.into())
}

/// The group `docker` of the node's own `/etc/group`, if it has one.
fn docker_group() -> Option<u32> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open("/etc/group").ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    Read::by_ref(&mut &file).take(GROUP_MAX).read_to_string(&mut text).ok()?;
    group_in(&text, "docker")
}

/// A group's id in the text of a group(5) file.
fn group_in(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// The spec that host wrote to a memfd.
pub(crate) fn read_spec(file: &File) -> anyhow::Result<Spec> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; file.metadata()?.size().min(1 << 20) as usize];
    file.read_exact_at(&mut bytes, 0).context("cannot read the node's spec")?;
    serde_json::from_slice(&bytes).context("the node's spec is not one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let text = "root:x:0:\nmydocker:x:7:\ndocker:x:999:kim\n";
        assert_eq!(group_in(text, "docker"), Some(999));
        assert_eq!(group_in("docker:x", "docker"), None);
    }

    #[test]
    fn a_link_in_a_files_place_is_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, other) = (scratch.path().join("hosts"), scratch.path().join("other"));
        std::os::unix::fs::symlink(&other, &path).unwrap();
        replace(&path, "new").unwrap();
        assert!(!other.exists());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }
}
