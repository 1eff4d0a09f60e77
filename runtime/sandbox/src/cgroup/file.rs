//! Reading and writing a control group's files.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::OwnedFd,
    path::Path,
};

use super::CgroupError;

fn failed(what: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::File { what, path: path.to_path_buf(), source }
}

/// Writes a value in one call, as the kernel wants it.
pub(super) fn write(directory: &Path, name: &str, value: impl ToString) -> Result<(), CgroupError> {
    let path = directory.join(name);
    let mut file =
        OpenOptions::new().write(true).open(&path).map_err(|source| failed("open", &path, source))?;
    file.write_all(value.to_string().as_bytes()).map_err(|source| failed("write", &path, source))
}

/// [`write`], where the kernel has such a file.
pub(super) fn write_if_there(directory: &Path, name: &str, value: impl ToString) -> Result<(), CgroupError> {
    if directory.join(name).exists() { write(directory, name, value) } else { Ok(()) }
}

/// Reads a file whole.
pub(super) fn read(directory: &Path, name: &str) -> Result<String, CgroupError> {
    let path = directory.join(name);
    std::fs::read_to_string(&path).map_err(|source| failed("read", &path, source))
}

/// The number after `key` in a file of `key number` lines.
pub(super) fn keyed(directory: &Path, name: &str, key: &str) -> Result<u64, CgroupError> {
    let text = read(directory, name)?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok());
    value.ok_or_else(|| CgroupError::NoKey { path: directory.join(name), key: key.to_string() })
}

/// Opens a file for writing, to be passed on.
pub(super) fn open_for_writing(directory: &Path, name: &str) -> Result<OwnedFd, CgroupError> {
    let path = directory.join(name);
    let file = OpenOptions::new().write(true).open(&path).map_err(|source| failed("open", &path, source))?;
    Ok(file.into())
}

/// Opens a group's directory.
pub(super) fn open_directory(directory: &Path) -> Result<OwnedFd, CgroupError> {
    Ok(File::open(directory).map_err(|source| failed("open", directory, source))?.into())
}

/// Makes a directory; one that is there is fine.
pub(super) fn make_directory(directory: &Path) -> Result<(), CgroupError> {
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("make", directory, error)),
        _ => Ok(()),
    }
}
