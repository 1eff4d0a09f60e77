//! A node's disk: a sparse ext4 image whose size and inode count are its limits.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Command,
};

use thiserror::Error;

/// Where the ext4 tools are, which a daemon's PATH need not name.
const TOOL_PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// A disk image could not be made.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The file could not be made.
    #[error("cannot make disk image {path}: {source}")]
    Create {
        /// The image.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The tool is not there.
    #[error("cannot run {tool} (Debian package e2fsprogs): {source}")]
    Tool {
        /// Its name.
        tool: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The tool failed.
    #[error("{tool} failed on {path}: {words}")]
    Failed {
        /// Its name.
        tool: &'static str,
        /// The image.
        path: String,
        /// What it said.
        words: String,
    },
}

/// Makes an image of exactly `bytes` and `inodes`, whose root belongs to `owner`.
///
/// It has no journal: a node's disk does not outlive a crash of the machine.
pub fn create(path: &Path, bytes: u64, inodes: u64, owner: u32) -> Result<(), DiskError> {
    let failed = |source| DiskError::Create { path: path.display().to_string(), source };
    if path.exists() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    // Aside, since whoever is ended meanwhile leaves half an image.
    let aside = path.with_extension("new");
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
    let made = made
        .and_then(|file| file.set_len(bytes))
        .map_err(failed)
        .and_then(|()| format(&aside, inodes, owner))
        .and_then(|()| fs::rename(&aside, path).map_err(failed));
    if made.is_err() {
        // Why it failed says more than that this fails as well; host sweeps it
        // at its next start.
        let _ = fs::remove_file(&aside);
    }
    made
}

fn format(path: &Path, inodes: u64, owner: u32) -> Result<(), DiskError> {
    let extended = format!("root_owner={owner}:{owner},lazy_itable_init=1,nodiscard");
    let inodes = inodes.to_string();
    run("mkfs.ext4", path, &["-q", "-F", "-m", "0", "-N", &inodes, "-O", "^has_journal", "-E", &extended], 0)
}

/// Makes an image usable again that is not clean: after a crash of the machine,
/// or when the machine's own disk was full. With `force` it is looked through
/// even if it says that it is clean.
pub fn repair(path: &Path, force: bool) -> Result<(), DiskError> {
    let options: &[&str] = if force { &["-f", "-y"] } else { &["-y"] };
    // 0: clean, 1: errors corrected.
    run("e2fsck", path, options, 1)
}

fn run(tool: &'static str, path: &Path, args: &[&str], worst: i32) -> Result<(), DiskError> {
    let output = Command::new(tool)
        .args(args)
        .arg(path)
        .env_clear()
        .env("PATH", TOOL_PATH)
        .output()
        .map_err(|source| DiskError::Tool { tool, source })?;
    match output.status.code() {
        Some(status) if status <= worst => Ok(()),
        _ => Err(DiskError::Failed {
            tool,
            path: path.display().to_string(),
            words: String::from_utf8_lossy(&output.stderr).trim().to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn an_image_is_sparse_and_exact() {
        let path = std::env::temp_dir().join(format!("drydock-disk-{}", std::process::id()));
        create(&path, 256 << 20, 4096, 1_000_000).expect("this test needs e2fsprogs");
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.len(), 256 << 20);
        assert!(found.blocks() * 512 < 16 << 20, "{} blocks", found.blocks());
        assert!(
            matches!(create(&path, 1, 1, 0), Err(DiskError::Create { .. })),
            "an image is never overwritten"
        );
        repair(&path, false).unwrap();
        repair(&path, true).unwrap();
        fs::remove_file(&path).unwrap();
    }
}
