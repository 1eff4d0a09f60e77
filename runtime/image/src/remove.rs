//! Removing a tree that somebody else made, however deep.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;

/// Makes names that were not used before by this process.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// Removes `name` in `parent` with all below it, following no link.
///
/// A recursion would need a descriptor for each level, and links let an
/// archive make more levels than a process has descriptors. So each directory
/// below is first moved up beside `name`: the tree is taken apart level by
/// level with two descriptors.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let mut pending = vec![name.to_owned()];
    while let Some(name) = pending.pop() {
        match unlinkat(parent, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR) => {}
            Err(error) => return Err(error),
        }
        empty(parent, &name, &mut pending)?;
        unlinkat(parent, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// Empties the directory `name`; what directories it had stand in `parent` and
/// `pending` then.
fn empty(parent: BorrowedFd<'_>, name: &OsStr, pending: &mut Vec<OsString>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    let names: Vec<CString> = Dir::read_from(&directory)?
        .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
        .collect::<Result<_, _>>()?;
    for inner in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        match unlinkat(&directory, inner, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => {
                pending.push(move_up(&directory, OsStr::from_bytes(inner.to_bytes()), parent)?);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn move_up(
    directory: &impl std::os::fd::AsFd,
    name: &OsStr,
    parent: BorrowedFd<'_>,
) -> Result<OsString, Errno> {
    loop {
        let number = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let unused = OsString::from(format!(".removed-{number}"));
        match renameat_with(directory, name, parent, &unused, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(unused),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_tree_deeper_than_the_descriptors_allow_goes() {
        let top = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(top.path()).unwrap();
        rustix::fs::mkdirat(&root, "tree", Mode::RWXU).unwrap();
        let mut directory = openat(&root, "tree", OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&directory, "d", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("/etc", &directory, "link").unwrap();
            directory = openat(&directory, "d", OFlags::PATH, Mode::empty()).unwrap();
        }
        remove_tree(root.as_fd(), OsStr::new("tree")).unwrap();
        assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), 0);
        assert!(std::fs::metadata("/etc").is_ok());
    }
}
