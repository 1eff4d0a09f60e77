//! One layer's tar into a directory that an overlay can use.
//!
//! No entry can act outside the directory: the kernel resolves every parent
//! with the directory as its root (`openat2`, `RESOLVE_IN_ROOT`), and the last
//! name of a path is never followed. Names that climb out are refused as well,
//! so that an archive made to harm fails with clear words.
//!
//! Deletions become what an overlay mounted with `userxattr` understands: a
//! character device 0:0 hides a name, `user.overlay.opaque` hides what a
//! directory had below. Neither needs a privilege in a user namespace. Devices
//! are skipped, and so are attributes that could speak to the overlay.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, openat2, statat, symlinkat,
    utimensat,
};
use rustix::io::Errno;

use crate::archive::{Archive, ArchiveError, Entry, Kind};
use crate::limits::Limits;
use crate::remove::remove_tree;

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OVERLAY_OPAQUE: &str = "user.overlay.opaque";
const OVERLAY_ATTRIBUTES: &str = "user.overlay.";
/// Names in one path. A directory this deep can still be removed again with
/// the descriptors that a process may have.
const DEPTH: usize = 256;
/// Owners are ids of a range of this length.
const ID_COUNT: u64 = crate::store::ID_COUNT as u64;

/// What came of a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of its files and of what its symbolic links say, as Docker counts
    /// a layer's size.
    pub bytes: u64,
    /// Devices that were not made.
    pub skipped_devices: u64,
}

/// Why a layer can't be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive itself is bad.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An entry's path leads out of the layer or names nothing.
    #[error("the entry {0:?} has a path that no layer may have")]
    Path(String),
    /// An entry's owner is not one that a node has.
    #[error("{path:?} belongs to {id}, and a node has ids up to 65535 only")]
    Owner {
        /// The entry.
        path: String,
        /// Its user or group.
        id: u64,
    },
    /// The kernel refused an entry.
    #[error("cannot {action} {path:?}: {source}")]
    Entry {
        /// What was tried.
        action: &'static str,
        /// The entry.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Unpacks the uncompressed tar in `reader` into the directory `root`.
pub fn unpack(root: BorrowedFd<'_>, reader: impl Read, limits: Limits) -> Result<Unpacked, LayerError> {
    let mut archive = Archive::new(reader, limits.entries);
    let mut layer =
        Layer { root, whiteouts: HashSet::new(), directories: Vec::new(), unpacked: Unpacked::default() };
    while let Some(entry) = archive.next_entry()? {
        layer.apply(&entry, &mut archive)?;
    }
    layer.settle_directories()?;
    // Whoever hashes the reader wants its last bytes too.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(ArchiveError::from)?;
    Ok(layer.unpacked)
}

/// The names of a path.
type OwnedPath = Vec<Vec<u8>>;

struct Layer<'a> {
    root: BorrowedFd<'a>,
    /// Paths that this layer deletes: a directory made there later must hide
    /// what was below.
    whiteouts: HashSet<Vec<u8>>,
    /// Directories whose times are set once nothing changes in them any more.
    directories: Vec<(OwnedPath, (i64, u32))>,
    unpacked: Unpacked,
}

/// An entry's place: an open parent, and its name there.
struct Place<'a> {
    parent: OwnedFd,
    name: &'a OsStr,
    path: &'a [u8],
}

impl Layer<'_> {
    fn apply(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), LayerError> {
        match entry.kind {
            Kind::Other => return Ok(()),
            Kind::Device => {
                self.unpacked.skipped_devices += 1;
                return Ok(());
            }
            _ => check_owner(entry)?,
        }
        let components = components(&entry.path)?;
        let Some((name, parents)) = components.split_last() else {
            return self.apply_root(entry);
        };
        if name.starts_with(WHITEOUT) {
            return self.whiteout(name, parents, entry);
        }
        let parent = self.open_parent(parents, &entry.path)?;
        let place = Place { parent, name: OsStr::from_bytes(name), path: &entry.path };
        let keep_directory = entry.kind == Kind::Directory;
        place.make_room(keep_directory)?;
        match entry.kind {
            Kind::File => self.unpacked.bytes += place.file(entry, content)?,
            Kind::Directory => {
                let hides = self.whiteouts.contains(&components.join(&b'/'));
                place.directory(entry, hides)?;
                self.directories.push((components.iter().map(|name| name.to_vec()).collect(), entry.mtime));
            }
            Kind::Symlink => {
                place.symlink(entry)?;
                self.unpacked.bytes += entry.link.len() as u64;
            }
            Kind::Hardlink => self.hardlink(&place, entry)?,
            Kind::Fifo => place.fifo(entry)?,
            Kind::Device | Kind::Other => {}
        }
        Ok(())
    }

    /// The entry `./` says who owns the layer's root.
    fn apply_root(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if entry.kind != Kind::Directory {
            return Err(LayerError::Path(text(&entry.path)));
        }
        dress(self.root, entry).map_err(refused("set up", &entry.path))?;
        self.directories.push((Vec::new(), entry.mtime));
        Ok(())
    }

    fn whiteout(&mut self, name: &[u8], parents: &[&[u8]], entry: &Entry) -> Result<(), LayerError> {
        if name == OPAQUE {
            let parent = self.open_parent(parents, &entry.path)?;
            let directory = reopen(parent.as_fd()).map_err(refused("open", &entry.path))?;
            return set_opaque(directory.as_fd()).map_err(refused("mark", &entry.path));
        }
        if name.starts_with(WHITEOUT_META) {
            return Ok(());
        }
        let hidden = &name[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(LayerError::Path(text(&entry.path)));
        }
        let parent = self.open_parent(parents, &entry.path)?;
        self.whiteouts.insert([parents, &[hidden]].concat().join(&b'/'));
        let hidden = OsStr::from_bytes(hidden);
        match mknodat(&parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            // The layer's own entry of that name stays; the deletion is of
            // what lies below, which only a directory lets through.
            Err(Errno::EXIST) => hide_below(parent.as_fd(), hidden).map_err(refused("mark", &entry.path)),
            Err(error) => Err(refused("delete", &entry.path)(error)),
        }
    }

    /// Opens the directory `components`, and makes what is missing of it.
    fn open_parent(&self, components: &[&[u8]], path: &[u8]) -> Result<OwnedFd, LayerError> {
        match open_inside(self.root, components) {
            Err(Errno::NOENT) => {}
            opened => return opened.map_err(refused("open the directory of", path)),
        }
        let Some((name, above)) = components.split_last() else {
            return Err(refused("open the directory of", path)(Errno::NOENT));
        };
        let above = self.open_parent(above, path)?;
        let name = OsStr::from_bytes(name);
        match mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(refused("make the directory of", path)(error)),
        }
        open_inside(self.root, components).map_err(refused("open the directory of", path))
    }

    fn hardlink(&self, place: &Place<'_>, entry: &Entry) -> Result<(), LayerError> {
        let target = components(&entry.link)?;
        let Some((name, parents)) = target.split_last() else {
            return Err(LayerError::Path(text(&entry.link)));
        };
        let parent = open_inside(self.root, parents).map_err(refused("link", &entry.path))?;
        let name = OsStr::from_bytes(name);
        linkat(&parent, name, &place.parent, place.name, AtFlags::empty())
            .map_err(refused("link", &entry.path))
    }

    fn settle_directories(&mut self) -> Result<(), LayerError> {
        for (components, mtime) in std::mem::take(&mut self.directories) {
            let components: Vec<&[u8]> = components.iter().map(Vec::as_slice).collect();
            let path = components.join(&b'/');
            let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            match open_directory(self.root, &components, OFlags::RDONLY, flags) {
                Ok(directory) => {
                    futimens(&directory, &timestamps(mtime)).map_err(refused("set the time of", &path))?;
                }
                // A later entry took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(refused("open", &path)(error)),
            }
        }
        Ok(())
    }
}

impl Place<'_> {
    /// Removes what stands in the entry's way: an earlier entry of the name.
    fn make_room(&self, keep_directory: bool) -> Result<(), LayerError> {
        let stat: Stat = match statat(&self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat.map_err(refused("look at", self.path))?,
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory && keep_directory {
            return Ok(());
        }
        remove_tree(self.parent.as_fd(), self.name).map_err(refused("replace", self.path))
    }

    fn file(&self, entry: &Entry, content: &mut impl Read) -> Result<u64, LayerError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.parent, self.name, flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(file.map_err(refused("make", self.path))?);
        let mut buffer = vec![0; 128 << 10];
        let mut written = 0;
        loop {
            let count = content.read(&mut buffer).map_err(ArchiveError::from)?;
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).map_err(|source| LayerError::Entry {
                action: "write",
                path: text(self.path),
                source,
            })?;
            written += count as u64;
        }
        dress(file.as_fd(), entry).map_err(refused("set up", self.path))?;
        futimens(&file, &timestamps(entry.mtime)).map_err(refused("set the time of", self.path))?;
        Ok(written)
    }

    fn directory(&self, entry: &Entry, hides: bool) -> Result<(), LayerError> {
        match mkdirat(&self.parent, self.name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(refused("make", self.path)(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory =
            openat(&self.parent, self.name, flags, Mode::empty()).map_err(refused("open", self.path))?;
        dress(directory.as_fd(), entry).map_err(refused("set up", self.path))?;
        if hides {
            set_opaque(directory.as_fd()).map_err(refused("mark", self.path))?;
        }
        Ok(())
    }

    fn symlink(&self, entry: &Entry) -> Result<(), LayerError> {
        let target = OsStr::from_bytes(&entry.link);
        symlinkat(target, &self.parent, self.name).map_err(refused("make the link", self.path))?;
        self.own(entry)
    }

    fn fifo(&self, entry: &Entry) -> Result<(), LayerError> {
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        mknodat(&self.parent, self.name, FileType::Fifo, mode, 0)
            .map_err(refused("make the pipe", self.path))?;
        self.own(entry)
    }

    /// Owner and time of what can't be opened.
    fn own(&self, entry: &Entry) -> Result<(), LayerError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = owner(entry);
        chownat(&self.parent, self.name, Some(uid), Some(gid), flags).map_err(refused("own", self.path))?;
        utimensat(&self.parent, self.name, &timestamps(entry.mtime), flags)
            .map_err(refused("set the time of", self.path))
    }
}

/// Refuses an owner that no node has; after it, [`owner`] is exact.
fn check_owner(entry: &Entry) -> Result<(), LayerError> {
    match [entry.uid, entry.gid].into_iter().find(|id| *id >= ID_COUNT) {
        Some(id) => Err(LayerError::Owner { path: text(&entry.path), id }),
        None => Ok(()),
    }
}

fn owner(entry: &Entry) -> (Uid, Gid) {
    (Uid::from_raw(entry.uid as u32), Gid::from_raw(entry.gid as u32))
}

/// The names of a path; none for the root itself.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, LayerError> {
    let names: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    if names.len() > DEPTH || names.contains(&b"..".as_slice()) {
        return Err(LayerError::Path(text(path)));
    }
    Ok(names)
}

/// Opens a directory as a place to work in, with `root` as the root that
/// symbolic links resolve in.
fn open_inside(root: BorrowedFd<'_>, components: &[&[u8]]) -> Result<OwnedFd, Errno> {
    open_directory(root, components, OFlags::PATH, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

fn open_directory(
    root: BorrowedFd<'_>,
    components: &[&[u8]],
    access: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let path = if components.is_empty() { b".".to_vec() } else { components.join(&b'/') };
    let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = resolve | ResolveFlags::NO_XDEV;
    loop {
        match openat2(root, OsStr::from_bytes(&path), flags, Mode::empty(), resolve) {
            // The kernel could not rule out a concurrent rename elsewhere.
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}

/// A descriptor to read and change, from one that only names a directory.
fn reopen(directory: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Gives a file or directory its owner, attributes and mode, in this order:
/// a change of owner clears capabilities and set-user-ID bits.
fn dress(file: BorrowedFd<'_>, entry: &Entry) -> Result<(), Errno> {
    let (uid, gid) = owner(entry);
    fchown(file, Some(uid), Some(gid))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_wanted(name)) {
        fsetxattr(file, name.as_str(), value, XattrFlags::empty())?;
    }
    fchmod(file, Mode::from_raw_mode(entry.mode))
}

/// File capabilities hold in the node's user namespace only; `user.` is the
/// image's own, except where it would speak to the overlay.
fn is_wanted(attribute: &str) -> bool {
    attribute == "security.capability"
        || (attribute.starts_with("user.") && !attribute.starts_with(OVERLAY_ATTRIBUTES))
}

fn set_opaque(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    fsetxattr(directory, OVERLAY_OPAQUE, b"y", XattrFlags::empty())
}

fn hide_below(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => set_opaque(directory.as_fd()),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(error) => Err(error),
    }
}

fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn refused(action: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> LayerError {
    let path = text(path);
    move |error| LayerError::Entry { action, path, source: error.into() }
}
