//! An overlay's upper directory as a layer's tar, for `docker commit`.
//!
//! What the overlay wrote for its own use is turned back: a character device
//! 0:0 becomes a `.wh.` entry, and an opaque directory gets `.wh..wh..opq`.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

const OPAQUE: &str = "user.overlay.opaque";
const OVERLAY_ATTRIBUTES: &str = "user.overlay.";
/// The kernel allows no larger attribute, and no longer list of names.
const ATTRIBUTE_SIZE: usize = 64 << 10;

/// The first name of a file with several, by its device and inode.
type Links = HashMap<(u64, u64), PathBuf>;

/// Writes all below `root` to `out`, but the paths in `skip`, which are relative
/// to it. Nothing is followed; entries are in the order of their names.
pub fn write(root: &Path, skip: &HashSet<PathBuf>, out: impl Write) -> io::Result<()> {
    let mut tar = Builder::new(out);
    let mut links = Links::new();
    // A stack of our own: how deep directories go was not our choice.
    let mut waiting = below(root)?;
    while let Some(path) = waiting.pop() {
        let name = path.strip_prefix(root).map_err(io::Error::other)?;
        if skip.contains(name) {
            continue;
        }
        let added = fs::symlink_metadata(&path).and_then(|metadata| {
            add(&path, name, &metadata, &mut tar, &mut links)?;
            if metadata.is_dir() { below(&path) } else { Ok(Vec::new()) }
        });
        match added {
            Ok(inner) => waiting.extend(inner),
            // A container that runs may remove it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    tar.into_inner()?.flush()
}

/// What is in a directory, the first name last.
fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = entries.collect::<io::Result<_>>()?;
    paths.sort_by(|one, other| other.cmp(one));
    Ok(paths)
}

fn add<W: Write>(
    path: &Path,
    name: &Path,
    metadata: &Metadata,
    tar: &mut Builder<W>,
    links: &mut Links,
) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_char_device() && metadata.rdev() == 0 {
        return add_whiteout(name, tar);
    }
    let mut header = header(metadata);
    if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        return tar.append_link(&mut header, name, fs::read_link(path)?);
    }
    if !metadata.is_dir() && metadata.nlink() > 1 {
        let inode = (metadata.dev(), metadata.ino());
        if let Some(first) = links.get(&inode) {
            header.set_entry_type(EntryType::Link);
            return tar.append_link(&mut header, name, first);
        }
        links.insert(inode, name.to_owned());
    }
    if metadata.is_dir() {
        let attributes = attributes(path)?;
        add_attributes(&attributes, tar)?;
        header.set_entry_type(EntryType::Directory);
        let mut with_slash = name.as_os_str().to_owned();
        with_slash.push("/");
        tar.append_data(&mut header, with_slash, io::empty())?;
        if attributes.iter().any(|(name, value)| name == OPAQUE && value == b"y") {
            tar.append_data(&mut empty_file(), name.join(".wh..wh..opq"), io::empty())?;
        }
        return Ok(());
    }
    if metadata.is_file() {
        let (file, attributes) = (open(path)?, attributes(path)?);
        add_attributes(&attributes, tar)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        return tar.append_data(&mut header, name, whole(file, metadata.len()));
    }
    let entry = match () {
        () if kind.is_char_device() => EntryType::Char,
        () if kind.is_block_device() => EntryType::Block,
        () if kind.is_fifo() => EntryType::Fifo,
        // Sockets have no place in a tar.
        () => return Ok(()),
    };
    header.set_entry_type(entry);
    if entry != EntryType::Fifo {
        header.set_device_major(rustix::fs::major(metadata.rdev()))?;
        header.set_device_minor(rustix::fs::minor(metadata.rdev()))?;
    }
    tar.append_data(&mut header, name, io::empty())
}

fn add_whiteout<W: Write>(name: &Path, tar: &mut Builder<W>) -> io::Result<()> {
    let mut hidden = OsString::from(".wh.");
    hidden.push(name.file_name().unwrap_or_default());
    tar.append_data(&mut empty_file(), name.with_file_name(hidden), io::empty())
}

fn empty_file() -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn header(metadata: &Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(metadata.uid().into());
    header.set_gid(metadata.gid().into());
    header.set_mtime(metadata.mtime().max(0) as u64);
    header.set_size(0);
    header
}

/// Attributes that belong to the image, as pax records before its entry.
fn add_attributes<W: Write>(attributes: &[(String, Vec<u8>)], tar: &mut Builder<W>) -> io::Result<()> {
    let ours = attributes.iter().filter(|(name, _)| {
        name == "security.capability" || (name.starts_with("user.") && !name.starts_with(OVERLAY_ATTRIBUTES))
    });
    let records: Vec<(String, &[u8])> =
        ours.map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.as_slice())).collect();
    if records.is_empty() {
        return Ok(());
    }
    tar.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), *value)))
}

/// The extended attributes of a file or directory; none where the filesystem
/// has none.
fn attributes(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; ATTRIBUTE_SIZE];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    names.truncate(length);
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; ATTRIBUTE_SIZE];
        match rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]) {
            Ok(length) => value.truncate(length),
            // It went meanwhile, or is for others to read.
            Err(Errno::NODATA | Errno::PERM | Errno::OPNOTSUPP) => continue,
            Err(error) => return Err(error.into()),
        }
        found.push((String::from_utf8_lossy(name).into_owned(), value));
    }
    Ok(found)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Exactly `length` bytes, whatever happens to the file meanwhile: the header
/// is written already.
fn whole(file: File, length: u64) -> impl Read {
    file.chain(io::repeat(0)).take(length)
}
