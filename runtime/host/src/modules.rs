//! Kernel modules that nodes need, loaded when host starts: what a learner does
//! should not be what brings code into the kernel, nor wait for it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where modprobe is, which a daemon's PATH need not name.
const TOOL_PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// A module that is loaded, unless the kernel has it built in.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    pub(crate) what_for: &'static str,
}

/// Not among them is br_netfilter: it would send the machine's own bridged
/// frames through the machine's firewall.
pub(crate) const MODULES: [Module; 14] = [
    Module { name: "overlay", what_for: "a node's root over the shared layers" },
    Module { name: "loop", what_for: "a node's disk of fixed size" },
    Module { name: "ext4", what_for: "the filesystem of a node's disk" },
    Module { name: "bridge", what_for: "a session's network, and docker0 in a node" },
    Module { name: "veth", what_for: "a node's link to its session, and a container's to its node" },
    Module { name: "nf_tables", what_for: "address translation for containers" },
    Module { name: "nft_chain_nat", what_for: "address translation for containers" },
    Module { name: "nft_masq", what_for: "containers that reach other nodes" },
    Module { name: "nft_nat", what_for: "published ports" },
    Module { name: "nft_ct", what_for: "answers to what containers began" },
    Module { name: "nft_fib_ipv4", what_for: "published ports on every address of a node" },
    Module { name: "nft_limit", what_for: "the rate of a node's network" },
    Module { name: "inet_diag", what_for: "which ports a node's programs listen on" },
    Module { name: "tcp_diag", what_for: "which ports a node's programs listen on" },
];

/// Loads those that are not there yet; what can't be loaded is logged. Whether
/// nodes can do without is for [`crate::doctor`] to say.
pub(crate) fn load() {
    let Some(directory) = directory() else { return };
    for module in MODULES.iter().filter(|module| !is_there(&directory, module.name)) {
        if let Err(error) = modprobe(module.name) {
            tracing::warn!("cannot load kernel module {} ({}): {error}", module.name, module.what_for);
        }
    }
}

/// Those that are neither in the kernel nor can be loaded. A kernel without
/// modules has none to miss.
pub(crate) fn missing() -> Vec<&'static Module> {
    let Some(directory) = directory() else { return Vec::new() };
    MODULES
        .iter()
        .filter(|module| {
            !is_there(&directory, module.name) && !is_listed(&directory, "modules.dep", module.name)
        })
        .collect()
}

/// Whether the kernel could load this one.
pub(crate) fn is_loadable(name: &str) -> bool {
    directory().is_some_and(|directory| is_listed(&directory, "modules.dep", name))
}

/// The modules of the kernel that runs, if it has any.
fn directory() -> Option<PathBuf> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let directory = Path::new("/lib/modules").join(release.trim());
    directory.join("modules.dep").exists().then_some(directory)
}

fn is_there(directory: &Path, name: &str) -> bool {
    Path::new("/sys/module").join(name).exists() || is_listed(directory, "modules.builtin", name)
}

/// Whether an index names the module's file, compressed or not.
fn is_listed(directory: &Path, index: &str, name: &str) -> bool {
    fs::read_to_string(directory.join(index)).is_ok_and(|text| names(&text, name))
}

fn names(index: &str, name: &str) -> bool {
    let files = index.lines().filter_map(|line| line.split(':').next()?.rsplit('/').next());
    files.filter_map(|file| file.split_once(".ko")).any(|(stem, _)| stem.replace('-', "_") == name)
}

fn modprobe(name: &str) -> io::Result<()> {
    let mut command = Command::new("modprobe");
    command.env_clear().env("PATH", TOOL_PATH).args(["--", name]).stdin(Stdio::null());
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_modules_by_their_files() {
        let index =
            "kernel/fs/overlayfs/overlay.ko:\nkernel/net/nf-tables.ko.xz: kernel/lib/libcrc32c.ko.xz\n";
        assert!(names(index, "overlay") && names(index, "nf_tables"));
        // What a module needs has a line of its own.
        assert!(!names(index, "libcrc32c") && !names(index, "over"));
    }
}
