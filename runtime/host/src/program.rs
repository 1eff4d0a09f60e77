//! The node's program as it is installed: under a name with its digest, so that
//! nodes of two versions can run side by side.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use drydock_sandbox::spawn::Executable;
use sha2::{Digest, Sha256};

use crate::error::HostError;

/// Nodes may execute it but not read it, which keeps them from tracing PID 1.
const MODE: u32 = 0o711;

/// Copies the program into `directory`, opens it there, and removes others:
/// nodes that run one keep it all the same.
pub(crate) fn install(program: &Path, directory: &Path) -> Result<Executable, HostError> {
    let bytes = fs::read(program).map_err(HostError::file("read", program))?;
    if !bytes.starts_with(b"\x7fELF") {
        return Err(HostError::Machine(format!("{} is not a program for Linux", program.display())));
    }
    let digest = Sha256::digest(&bytes);
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let path = directory.join(format!("drydock-node-{hex}"));
    if !path.exists() {
        write(&path, &bytes)?;
    }
    let opened = Executable::at(&path)?;
    for entry in fs::read_dir(directory).map_err(HostError::file("list", directory))? {
        let other = entry.map_err(HostError::file("list", directory))?.path();
        if other != path {
            fs::remove_file(&other).map_err(HostError::file("remove", &other))?;
        }
    }
    Ok(opened)
}

fn write(path: &PathBuf, bytes: &[u8]) -> Result<(), HostError> {
    let aside = path.with_extension("new");
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&aside)
        .and_then(|mut file| file.write_all(bytes));
    written.map_err(HostError::file("write", &aside))?;
    fs::set_permissions(&aside, std::os::unix::fs::PermissionsExt::from_mode(MODE))
        .map_err(HostError::file("set the mode of", &aside))?;
    fs::rename(&aside, path).map_err(HostError::file("put in place", path))
}
