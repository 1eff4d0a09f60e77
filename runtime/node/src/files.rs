//! Writing and reading a file of the learner's, in a stage in `inner`.
//!
//! The paths are the learner's: whatever they name, be it a FIFO or a device,
//! only this short-lived process can be held up by it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use drydock_protocol::agent::NO_SUCH_FILE;
use thiserror::Error;

/// Why a file was not written or read.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("{0} is not an absolute path of a file")]
    Path(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is not a regular file")]
    NotRegular(PathBuf),
    #[error("{0}: {NO_SUCH_FILE}")]
    Missing(PathBuf),
    #[error("{path} is longer than {limit} bytes")]
    TooLong { path: PathBuf, limit: u64 },
}

/// Writes all of `from` to `path`: aside, then put in place by rename.
///
/// Directories that lack are made. A symlink is replaced, not followed.
pub(crate) fn put(path: &Path, mode: u32, from: &mut impl Read) -> Result<(), FileError> {
    let failed = |source| FileError::Io { path: path.into(), source };
    let (Some(directory), Some(_), true) = (path.parent(), path.file_name(), path.is_absolute()) else {
        return Err(FileError::Path(path.into()));
    };
    if path.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    fs::create_dir_all(directory).map_err(failed)?;
    let aside = directory.join(format!(".drydock-put.{}", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).map_err(failed)?;
    let written = io::copy(from, &mut file)
        .and_then(|_| file.set_permissions(fs::Permissions::from_mode(mode & 0o7777)))
        .and_then(|()| fs::rename(&aside, path));
    written.map_err(|source| {
        // It is of no use, and nothing more can be done if it stays.
        let _ = fs::remove_file(&aside);
        failed(source)
    })
}

/// Writes the regular file at `path` to `to`, if it is not longer than `limit`.
pub(crate) fn get(path: &Path, limit: u64, to: &mut impl Write) -> Result<(), FileError> {
    let failed = |source| FileError::Io { path: path.into(), source };
    let too_long = || FileError::TooLong { path: path.into(), limit };
    if !path.is_absolute() {
        return Err(FileError::Path(path.into()));
    }
    // Non-blocking, so that a FIFO without a writer is looked at, not waited for.
    let file: File =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map_err(
            |source| match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileError::Missing(path.into()),
                _ => failed(source),
            },
        )?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular(path.into()));
    }
    if metadata.len() > limit {
        return Err(too_long());
    }
    // Files of proc say 0, and any file may grow meanwhile.
    io::copy(&mut (&file).take(limit), to).map_err(failed)?;
    to.flush().map_err(failed)?;
    match (&file).read(&mut [0]).map_err(failed)? {
        0 => Ok(()),
        _ => Err(too_long()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_whole_with_its_mode_and_read_back() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/b/file");
        put(&path, 0o755, &mut &b"one"[..]).unwrap();
        put(&path, 0o640, &mut &b"second"[..]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        let mut out = Vec::new();
        get(&path, 6, &mut out).unwrap();
        assert_eq!(out, b"second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(matches!(get(&path, 5, &mut Vec::new()), Err(FileError::TooLong { .. })));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let fifo = scratch.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(get(&fifo, 10, &mut Vec::new()), Err(FileError::NotRegular(_))));
        assert!(matches!(get(Path::new("/dev/zero"), 10, &mut Vec::new()), Err(FileError::NotRegular(_))));
        let missing = get(Path::new("/nothing/here"), 10, &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(missing, "/nothing/here: there is no such file");
        assert!(put(scratch.path(), 0o644, &mut &b""[..]).is_err());
        assert!(matches!(put(Path::new("relative"), 0o644, &mut &b""[..]), Err(FileError::Path(_))));
        get(Path::new("/proc/self/status"), 1 << 20, &mut Vec::new()).unwrap();
    }

    #[test]
    fn nothing_is_left_of_a_file_that_did_not_come_whole() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("cut"))
            }
        }
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        assert!(put(&path, 0o644, &mut Broken).is_err());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
