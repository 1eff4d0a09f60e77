//! Leases of id ranges, which all instances on a machine share.
//!
//! A lease is a file named by the range's first id; in it stands the session
//! file whose node has the range. Where that file is gone, the lease is void.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use crate::error::HostError;

/// The leases, locked against other instances.
#[derive(Debug)]
pub(crate) struct Leases {
    directory: PathBuf,
    _lock: Flock<File>,
}

impl Leases {
    /// Locks the leases below `run`, the run directory of all instances.
    pub(crate) fn lock(run: &Path) -> Result<Leases, HostError> {
        let directory = run.join("ids");
        fs::create_dir_all(&directory).map_err(HostError::file("make", &directory))?;
        let file = File::open(run).map_err(HostError::file("open", run))?;
        // Held by others for some file operations only.
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| HostError::file("lock", run)(errno.into()))?;
        Ok(Leases { directory, _lock: lock })
    }

    /// Takes a range for a node of the session with this file; `false` if
    /// another session has it.
    pub(crate) fn take(&self, base: u32, record: &Path) -> Result<bool, HostError> {
        let path = self.path(base);
        let owner = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            owner => Some(PathBuf::from(owner.map_err(HostError::file("read", &path))?)),
        };
        if owner.is_some_and(|owner| owner != record && owner.exists()) {
            return Ok(false);
        }
        if let Err(error) = fs::write(&path, record.as_os_str().as_encoded_bytes()) {
            // Half of a path names nobody; a lease that can't be removed is void.
            let _ = fs::remove_file(&path);
            return Err(HostError::file("write", &path)(error));
        }
        Ok(true)
    }

    /// Removes the leases of an instance that no node of it has: `owners` are
    /// its sessions' files by the ranges of their nodes.
    pub(crate) fn sweep(&self, sessions: &Path, owners: &BTreeMap<u32, PathBuf>) -> Result<(), HostError> {
        for entry in fs::read_dir(&self.directory).map_err(HostError::file("list", &self.directory))? {
            let path = entry.map_err(HostError::file("list", &self.directory))?.path();
            let owner = PathBuf::from(fs::read_to_string(&path).map_err(HostError::file("read", &path))?);
            let base = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            let is_had = base.and_then(|base| owners.get(&base)) == Some(&owner);
            if owner.parent() == Some(sessions) && !is_had {
                tracing::warn!("giving back the ids of {}, which no node has", path.display());
                fs::remove_file(&path).map_err(HostError::file("remove", path))?;
            }
        }
        Ok(())
    }

    /// Gives a range back, if it is the session's.
    pub(crate) fn give_back(&self, base: u32, record: &Path) -> Result<(), HostError> {
        let path = self.path(base);
        match fs::read_to_string(&path) {
            Ok(owner) if Path::new(&owner) == record => {
                fs::remove_file(&path).map_err(HostError::file("remove", path))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(HostError::file("read", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes void leases, and the directory if no other is left.
    pub(crate) fn tidy(&self) -> Result<(), HostError> {
        for entry in fs::read_dir(&self.directory).map_err(HostError::file("list", &self.directory))? {
            let path = entry.map_err(HostError::file("list", &self.directory))?.path();
            let owner = fs::read_to_string(&path).map_err(HostError::file("read", &path))?;
            if !Path::new(&owner).exists() {
                fs::remove_file(&path).map_err(HostError::file("remove", path))?;
            }
        }
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                Err(HostError::file("remove", &self.directory)(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, base: u32) -> PathBuf {
        self.directory.join(base.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_exclusive_while_its_session_lives() {
        let run = std::env::temp_dir().join(format!("drydock-lease-{}", std::process::id()));
        fs::create_dir_all(&run).unwrap();
        let (one, other) = (run.join("one.json"), run.join("other.json"));
        fs::write(&one, "").unwrap();
        let leases = Leases::lock(&run).unwrap();
        assert!(leases.take(7, &one).unwrap());
        assert!(leases.take(7, &one).unwrap(), "again by the same session");
        assert!(!leases.take(7, &other).unwrap());
        leases.give_back(7, &other).unwrap();
        assert!(!leases.take(7, &other).unwrap(), "only its owner gives it back");
        leases.sweep(Path::new("/elsewhere"), &BTreeMap::new()).unwrap();
        leases.sweep(&run, &BTreeMap::from([(7, one.clone())])).unwrap();
        assert!(!leases.take(7, &other).unwrap(), "a sweep leaves what a node or another instance has");
        leases.sweep(&run, &BTreeMap::from([(8, one.clone())])).unwrap();
        assert!(leases.take(7, &one).unwrap(), "no node of its session has the range");
        fs::remove_file(&one).unwrap();
        assert!(leases.take(7, &other).unwrap(), "the session's file is gone");
        // That one never got its file, so its lease is void too.
        leases.tidy().unwrap();
        fs::remove_dir(&run).unwrap();
    }
}
