//! An instance's name, and where its things are.
//!
//! The name comes from the state directory. Every control group, namespace
//! mount, run directory, disk and loop device carries it, so that two instances
//! on one machine never touch each other's.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The state directory of an installed Drydock.
pub const DEFAULT_STATE: &str = "/var/lib/drydock";
const RUN: &str = "/run/drydock";
const NAME_MAX: usize = 12;
/// The control group of all instances.
pub(crate) const GROUP: &str = "drydock";

/// An instance of Drydock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its name: lower-case letters, digits and hyphens.
    pub name: String,
    /// What outlives a restart of the machine.
    pub state_dir: PathBuf,
    /// What doesn't.
    pub run_dir: PathBuf,
    /// The host API's socket.
    pub host_socket: PathBuf,
    /// Where web gets gateway sockets.
    pub gateway_socket: PathBuf,
}

impl Instance {
    /// The instance with this state directory, which need not exist.
    ///
    /// The path is taken as it is given, made absolute: symbolic links are not
    /// followed.
    pub fn of(state_dir: &Path) -> Instance {
        let state_dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_path_buf());
        // Without a trailing slash.
        let state_dir: PathBuf = state_dir.components().collect();
        let name = name(&state_dir);
        let run_dir = Path::new(RUN).join(&name);
        Instance {
            host_socket: run_dir.join("host.sock"),
            gateway_socket: run_dir.join("gateway.sock"),
            name,
            state_dir,
            run_dir,
        }
    }

    /// The run directory of all instances on this machine.
    pub(crate) fn run_of_all(&self) -> &Path {
        Path::new(RUN)
    }

    pub(crate) fn sessions_dir(&self) -> PathBuf {
        self.state_dir.join("sessions")
    }

    pub(crate) fn disks_dir(&self) -> PathBuf {
        self.state_dir.join("disks")
    }

    pub(crate) fn bin_dir(&self) -> PathBuf {
        self.state_dir.join("bin")
    }

    pub(crate) fn store_dir(&self) -> PathBuf {
        self.state_dir.join("store")
    }

    pub(crate) fn disk(&self, session: &str, node: &str) -> PathBuf {
        self.disks_dir().join(format!("{session}-{node}.img"))
    }

    /// Where sessions' network namespaces are held.
    pub(crate) fn nets_dir(&self) -> PathBuf {
        self.run_dir.join("net")
    }

    /// Where nodes' sockets are.
    pub(crate) fn sockets_dir(&self) -> PathBuf {
        self.run_dir.join("s")
    }

    pub(crate) fn node_dir(&self, session: &str, node: &str) -> PathBuf {
        self.sockets_dir().join(session).join(node)
    }

    /// The control group that holds all of the instance's.
    pub(crate) fn group(&self) -> String {
        format!("{GROUP}/{}", self.name)
    }
}

fn name(state_dir: &Path) -> String {
    if state_dir == Path::new(DEFAULT_STATE) {
        return "drydock".into();
    }
    let base = state_dir.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let base: String = base.chars().filter(char::is_ascii_alphanumeric).take(NAME_MAX).collect();
    let digest = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
    let base = if base.is_empty() { "state" } else { &base };
    format!("{base}-{:02x}{:02x}", digest[0], digest[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_directory_gives_the_plain_name() {
        assert_eq!(Instance::of(Path::new("/var/lib/drydock/")).name, "drydock");
        assert_eq!(
            Instance::of(Path::new("/var/lib/drydock")).host_socket,
            Path::new("/run/drydock/drydock/host.sock")
        );
    }

    #[test]
    fn other_directories_differ_even_with_the_same_last_part() {
        let one = Instance::of(Path::new("/tmp/one/My State_dir-2026"));
        let other = Instance::of(Path::new("/tmp/other/My State_dir-2026"));
        assert!(one.name.starts_with("mystatedir20-") && other.name.starts_with("mystatedir20-"));
        assert_ne!(one.name, other.name);
        assert_eq!(one.name.len(), 17);
        assert!(Instance::of(Path::new("/")).name.starts_with("state-"));
    }

    #[test]
    fn socket_paths_fit_the_kernels_limit() {
        let instance = Instance::of(Path::new("/tmp/abcdefghijkl"));
        let path = instance.node_dir(&"x".repeat(26), &"n".repeat(20)).join("docker.sock");
        assert!(path.as_os_str().len() < 108, "{}", path.display());
    }
}
