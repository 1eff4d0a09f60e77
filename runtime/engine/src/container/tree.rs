//! Files as a tar. Nothing is followed, and of what changes meanwhile the tar
//! stays a tar.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use tar::{Builder, EntryType, Header};

/// The room for a name in a header; a longer one has an entry of its own.
const NAME: usize = 100;

/// A tar that is written.
pub(super) struct Tar<W: Write> {
    to: Builder<W>,
    /// The first name of a file with several, by its device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Tar<W> {
    pub(super) fn new(to: W) -> Tar<W> {
        Tar { to: Builder::new(to), links: HashMap::new() }
    }

    /// Writes the end.
    pub(super) fn finish(self) -> io::Result<()> {
        self.to.into_inner()?.flush()
    }

    /// Adds what is at a path under a name and, if it is a directory, all below
    /// it. What is gone before its turn is left out.
    pub(super) fn add_all(&mut self, from: &Path, name: &[u8]) -> io::Result<()> {
        self.add_each(vec![(from.to_owned(), name.to_vec())], true)
    }

    /// Adds what is below a directory, without a name before it.
    pub(super) fn add_below(&mut self, directory: &Path) -> io::Result<()> {
        let waiting = below(directory)?.into_iter().map(|name| {
            let bytes = name.as_bytes().to_vec();
            (directory.join(&name), bytes)
        });
        self.add_each(waiting.collect(), false)
    }

    /// `first`: the first must be there.
    fn add_each(&mut self, mut waiting: Vec<(PathBuf, Vec<u8>)>, mut first: bool) -> io::Result<()> {
        // A stack of our own: how deep directories go is the learner's choice.
        while let Some((path, name)) = waiting.pop() {
            // A path that ends in `/` or `/.` means what a link leads to.
            let metadata = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !first => continue,
                other => other?,
            };
            first = false;
            self.add(&path, &name, &metadata)?;
            if metadata.is_dir() && !is_the_kernels(&path) {
                let names = match below(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    other => other?,
                };
                waiting.extend(
                    names
                        .into_iter()
                        .map(|below| (path.join(&below), [&name[..], below.as_bytes()].join(&b'/'))),
                );
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, name: &[u8], metadata: &Metadata) -> io::Result<()> {
        let kind = metadata.file_type();
        let mut header = Header::new_gnu();
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(metadata.uid().into());
        header.set_gid(metadata.gid().into());
        header.set_mtime(metadata.mtime().max(0) as u64);
        header.set_size(0);
        if metadata.is_dir() {
            header.set_entry_type(EntryType::Directory);
            return self.put(header, &[name, b"/"].concat(), None, io::empty());
        }
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = fs::read_link(path)?;
            return self.put(header, name, Some(target.as_os_str().as_bytes()), io::empty());
        }
        if metadata.nlink() > 1 {
            let inode = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&inode).cloned() {
                header.set_entry_type(EntryType::Link);
                return self.put(header, name, Some(&first), io::empty());
            }
            self.links.insert(inode, name.to_vec());
        }
        if metadata.is_file() {
            let file = open(path)?;
            header.set_entry_type(EntryType::Regular);
            header.set_size(metadata.len());
            return self.put(header, name, None, whole(file, metadata.len()));
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
        self.put(header, name, None, io::empty())
    }

    /// Writes an entry; names may be of any length and begin with `/`.
    fn put(
        &mut self,
        mut header: Header,
        name: &[u8],
        link: Option<&[u8]>,
        data: impl Read,
    ) -> io::Result<()> {
        if name.len() > NAME {
            self.long(EntryType::GNULongName, name)?;
        }
        if let Some(link) = link {
            if link.len() > NAME {
                self.long(EntryType::GNULongLink, link)?;
            }
            cut(&mut header.as_old_mut().linkname, link);
        }
        cut(&mut header.as_old_mut().name, name);
        header.set_cksum();
        self.to.append(&header, data)
    }

    fn long(&mut self, kind: EntryType, text: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        cut(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64 + 1);
        header.set_entry_type(kind);
        header.set_cksum();
        self.to.append(&header, text.chain(&[0][..]))
    }
}

/// Whether a directory is of a filesystem that the kernel fills, or a
/// container's `/dev`: these are no files of the container.
fn is_the_kernels(directory: &Path) -> bool {
    // proc, sysfs, cgroup, cgroup2, devpts, mqueue; see statfs(2).
    const FILLED: [u32; 6] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x1cd1, 0x1980_0202];
    let Ok(stat) = rustix::fs::statfs(directory) else { return false };
    let kind = stat.f_type as u32;
    FILLED.contains(&kind) || (directory == Path::new("/dev") && kind == libc::TMPFS_MAGIC as u32)
}

/// What is in a directory, the first name last.
fn below(directory: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_by(|one, other| other.cmp(one));
    Ok(names)
}

fn cut(field: &mut [u8; NAME], text: &[u8]) {
    let length = text.len().min(NAME);
    field[..length].copy_from_slice(&text[..length]);
}

/// Opens a file that was a regular one a moment ago; what has become a pipe
/// doesn't hold us up, and a link is not followed.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Exactly `length` bytes, whatever happens to the file meanwhile: the header
/// is written already.
fn whole(file: File, length: u64) -> impl Read {
    file.chain(io::repeat(0)).take(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_comes_back_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let long = "n".repeat(200);
        fs::write(place.path().join(&long), "data").unwrap();
        std::os::unix::fs::symlink("t".repeat(150), place.path().join("link")).unwrap();
        fs::hard_link(place.path().join(&long), place.path().join("zz")).unwrap();
        for (root, first) in [(&b"app"[..], "app/"), (b"", "/")] {
            let mut bytes = Vec::new();
            let mut tar = Tar::new(&mut bytes);
            tar.add_all(place.path(), root).unwrap();
            tar.finish().unwrap();
            let mut archive = tar::Archive::new(&bytes[..]);
            let found: Vec<(String, EntryType, String)> = archive
                .entries()
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let link = entry.link_name_bytes().map(|link| text(&link)).unwrap_or_default();
                    (text(&entry.path_bytes()), entry.header().entry_type(), link)
                })
                .collect();
            let prefix = String::from_utf8_lossy(root).into_owned();
            assert_eq!(found[0].0, first);
            assert_eq!(found[1], (format!("{prefix}/link"), EntryType::Symlink, "t".repeat(150)));
            assert_eq!(found[2].0, format!("{prefix}/{long}"));
            assert_eq!(found[3], (format!("{prefix}/zz"), EntryType::Link, format!("{prefix}/{long}")));
        }
    }
}
