//! What an image has at a volume's place, copied into a volume that is empty:
//! so Docker gives a new volume its first files.

use std::{
    collections::HashMap,
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat,
        fchmod, fchown, fgetxattr, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, readlinkat, statat,
        symlinkat, utimensat,
    },
    io::Errno,
};

/// Directories deeper than this are no image's.
const DEPTH_MAX: usize = 128;
const CAPABILITY: &str = "security.capability";

/// Copies the directory `image` into the directory `volume`, if that is empty,
/// and gives it the other's owner and mode. Both are the container's own, and
/// nothing else changes them yet.
pub(super) fn fill(image: BorrowedFd<'_>, volume: &str) -> io::Result<()> {
    let to = open(rustix::fs::CWD, OsStr::new(volume), OFlags::DIRECTORY)?;
    if !names(to.as_fd())?.is_empty() {
        return Ok(());
    }
    let from = open(image, OsStr::new("."), OFlags::DIRECTORY)?;
    let mut copy = Copy { links: HashMap::new(), top: to };
    copy.directory(from.as_fd(), copy.top.try_clone()?.as_fd(), &mut Vec::new())
}

struct Copy {
    /// The first name, below the volume, of a file with several.
    links: HashMap<(u64, u64), OsString>,
    top: OwnedFd,
}

impl Copy {
    /// Copies a directory's content and then what it is itself, since making
    /// things in it changes its time. `path` is where it lies in the volume.
    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &mut Vec<OsString>,
    ) -> io::Result<()> {
        if path.len() > DEPTH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        for name in names(from)? {
            let name = OsStr::from_bytes(name.to_bytes());
            let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            path.push(name.to_owned());
            self.entry(from, to, name, &stat, path)?;
            path.pop();
        }
        let stat = rustix::fs::fstat(from)?;
        dress(from, to, &stat)?;
        Ok(futimens(to, &times(&stat))?)
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &OsStr,
        stat: &Stat,
        path: &mut Vec<OsString>,
    ) -> io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            mkdirat(to, name, Mode::from(0o700))?;
            let inner = open(from, name, OFlags::DIRECTORY)?;
            let copied = open(to, name, OFlags::DIRECTORY)?;
            return self.directory(inner.as_fd(), copied.as_fd(), path);
        }
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                return Ok(linkat(&self.top, first, to, name, AtFlags::empty())?);
            }
            self.links.insert(inode, path.join(OsStr::new("/")));
        }
        match kind {
            FileType::RegularFile => {
                let mut source = std::fs::File::from(open(from, name, OFlags::NONBLOCK)?);
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut target = std::fs::File::from(openat(to, name, flags, Mode::from(0o600))?);
                io::copy(&mut source, &mut target)?;
                dress(source.as_fd(), target.as_fd(), stat)?;
                return Ok(futimens(&target, &times(stat))?);
            }
            FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?, to, name)?,
            FileType::Fifo => mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), 0)?,
            // A node has no devices to give, and a socket means nothing here.
            _ => return Ok(()),
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        chownat(to, name, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)), flags)?;
        Ok(utimensat(to, name, &times(stat), flags)?)
    }
}

/// Owner, capability and mode, in this order: each change clears what follows.
fn dress(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    let mut value = [0; 64];
    match fgetxattr(from, CAPABILITY, &mut value[..]) {
        Ok(length) => fsetxattr(to, CAPABILITY, &value[..length], XattrFlags::empty())?,
        Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?)
}

fn open(at: impl AsFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(at, name, flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let entries = Dir::read_from(directory)?.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    let names: Vec<CString> = entries.collect::<Result<_, _>>()?;
    Ok(names.into_iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")).collect())
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn an_empty_volume_gets_what_the_image_has_and_another_stays() {
        let (image, volume) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(image.path().join("conf")).unwrap();
        fs::write(image.path().join("conf/a"), "one").unwrap();
        fs::hard_link(image.path().join("conf/a"), image.path().join("b")).unwrap();
        symlink("conf/a", image.path().join("link")).unwrap();
        fs::set_permissions(image.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let from = fs::File::open(image.path()).unwrap();
        let to = volume.path().to_str().unwrap();
        fill(from.as_fd(), to).unwrap();
        assert_eq!(fs::read_to_string(volume.path().join("conf/a")).unwrap(), "one");
        assert_eq!(fs::read_link(volume.path().join("link")).unwrap(), std::path::Path::new("conf/a"));
        assert_eq!(fs::metadata(volume.path().join("b")).unwrap().nlink(), 2);
        assert_eq!(fs::metadata(volume.path()).unwrap().mode() & 0o7777, 0o1777);
        fs::write(image.path().join("later"), "").unwrap();
        fill(from.as_fd(), to).unwrap();
        assert!(!volume.path().join("later").exists());
    }
}
