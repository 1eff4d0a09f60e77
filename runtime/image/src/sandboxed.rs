//! Imports by the privileged side: it makes the store's directory and starts
//! the throw-away process that does the rest, without a look at the archive.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::import::{Progress, Purpose};
use crate::store::{ID_BASE, Lock};

/// One line of what the process reports.
const LINE: u64 = 64 << 10;
/// All that it reports.
const REPORTS: u64 = 64 << 20;

/// What the throw-away process tells on its standard output, one JSON a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// It is at work.
    Progress(Progress),
    /// It has brought in these names.
    Imported(Vec<String>),
    /// It has not, for this reason.
    Failed(String),
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxedError {
    /// The store's directory can't be made.
    #[error("cannot make the image store {path}: {source}")]
    Store {
        /// The store.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The store can't be locked.
    #[error("cannot lock the image store {path}: {source}")]
    Lock {
        /// The store.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The process can't be started or heard.
    #[error("cannot run {program} unpack: {source}")]
    Run {
        /// The node binary.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// The import itself failed.
    #[error("{0}")]
    Import(String),
    /// The process has left something else than a store.
    #[error("the image store has {0:?}, which no import makes; remove the store, and import anew")]
    Form(std::path::PathBuf),
    /// The process died.
    #[error("unpacking ended early: {0}")]
    Died(String),
}

/// Imports `archive` into the store at `store`, which is made if it is
/// missing; gives the names that were brought in. Blocks until it is done.
///
/// Needs root. `node_binary` is the node's static binary, whose `unpack` is
/// [`crate::unpack::main`].
pub fn import(
    store: &Path,
    node_binary: &Path,
    archive: File,
    purpose: Purpose,
    mut on_progress: impl FnMut(Progress),
) -> Result<Vec<String>, SandboxedError> {
    make_store(store)
        .map_err(|source| SandboxedError::Store { path: store.display().to_string(), source })?;
    let _lock = Lock::take(store)
        .map_err(|source| SandboxedError::Lock { path: store.display().to_string(), source })?;
    let run = |source| SandboxedError::Run { program: node_binary.display().to_string(), source };
    let mut child = Command::new(node_binary)
        .args(["unpack", purpose.as_str()])
        .arg(store)
        .env_clear()
        .stdin(Stdio::from(archive))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(run)?;
    let outcome = match child.stdout.take() {
        Some(stdout) => listen(stdout, &mut on_progress),
        None => Err(io::Error::other("it has no standard output")),
    };
    if outcome.is_err() {
        // What it says makes no sense: it may be under somebody else's command.
        child.kill().map_err(run)?;
    }
    let status = child.wait().map_err(run)?;
    check_form(store)?;
    match outcome.map_err(run)? {
        Some(Report::Imported(names)) if status.success() => Ok(names),
        Some(Report::Failed(reason)) => Err(SandboxedError::Import(reason)),
        _ => Err(SandboxedError::Died(status.to_string())),
    }
}

/// Makes the store's directory: nobody but root passes it on the host.
pub fn make_store(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    let owned = fs::metadata(path)?;
    if std::os::unix::fs::MetadataExt::uid(&owned) != ID_BASE {
        chown(path, Some(ID_BASE), Some(ID_BASE))?;
    }
    Ok(())
}

/// Whoever reads the store as root follows its paths. So nothing where a path
/// of it leads may be a link, even if the process came under an archive's
/// command: it alone could make one, and it has ended now.
fn check_form(store: &Path) -> Result<(), SandboxedError> {
    let is = |path: &Path, directory: bool| match fs::symlink_metadata(path) {
        Ok(metadata) if directory => metadata.is_dir(),
        Ok(metadata) => metadata.is_file(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let check = |path: &Path, directory: bool| match is(path, directory) {
        true => Ok(()),
        false => Err(SandboxedError::Form(path.to_owned())),
    };
    for (name, directory) in [("index.json", false), ("lock", false), ("blobs", true), ("layers", true)] {
        check(&store.join(name), directory)?;
    }
    let blobs = store.join("blobs/sha256");
    check(&blobs, true)?;
    for (parent, directory) in [(blobs, false), (store.join("layers"), true)] {
        let Ok(entries) = fs::read_dir(&parent) else { continue };
        for entry in entries {
            let entry = entry.map_err(|_| SandboxedError::Form(parent.clone()))?;
            check(&entry.path(), directory)?;
        }
    }
    Ok(())
}

/// Hears the process to its end; gives its last word that is not progress.
fn listen(stdout: ChildStdout, on_progress: &mut impl FnMut(Progress)) -> io::Result<Option<Report>> {
    let mut reader = BufReader::new(stdout.take(REPORTS));
    let mut last = None;
    loop {
        let mut line = Vec::new();
        reader.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(last);
        }
        match serde_json::from_slice(&line)? {
            Report::Progress(progress) => on_progress(progress),
            report => last = Some(report),
        }
    }
}

impl Purpose {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Purpose::Catalogue => "catalogue",
            Purpose::NodeRoot => "node-root",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Purpose> {
        [Purpose::Catalogue, Purpose::NodeRoot].into_iter().find(|purpose| purpose.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_store_with_links_in_its_paths_is_none() {
        for (link, target) in
            [("layers", "/"), ("index.json", "/etc/shadow"), ("blobs/sha256/x", "/etc/shadow")]
        {
            let store = tempfile::tempdir().unwrap();
            fs::create_dir_all(store.path().join("blobs/sha256")).unwrap();
            assert!(check_form(store.path()).is_ok());
            symlink(target, store.path().join(link)).unwrap();
            assert!(
                matches!(check_form(store.path()), Err(SandboxedError::Form(path)) if path.ends_with(link))
            );
        }
    }
}
