//! `docker-init`: the first process of containers run with `--init`. It is a
//! program of its own (`init/main.rs`), small and readable, since a container's
//! processes must be able to look at their parent.

use std::{fs, io, os::unix::fs::PermissionsExt, path::PathBuf};

use crate::engine::below_root;

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/docker-init"));

/// Where it is on the node's disk.
pub(crate) fn path() -> PathBuf {
    below_root(&["docker-init"])
}

/// Writes it, if it is not there as it should be.
pub(crate) fn install() -> io::Result<()> {
    let path = path();
    if fs::read(&path).is_ok_and(|held| held == PROGRAM) {
        return Ok(());
    }
    let aside = path.with_extension("new");
    fs::write(&aside, PROGRAM)?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o755))?;
    fs::rename(aside, path)
}
