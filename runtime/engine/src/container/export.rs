//! A container's files as a tar on stdout, for `docker export`: the overlay is
//! mounted once more, read-only, out of everybody's sight.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::mount::{MsFlags, mount};
use tar::{Builder, EntryType, Header};

use super::{
    StageError,
    config::{Export, FDS_FROM},
    entry, rootfs, step,
};

/// Writes the tar.
pub(super) fn run(config: &Export) -> Result<u8, StageError> {
    entry::enter_cgroups(FDS_FROM, config.cgroup_tasks)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(step("making mounts private"))?;
    let upper = &config.root.upper;
    let mut lower = vec![format!("{upper}/diff")];
    lower.extend(config.root.lower.iter().rev().cloned());
    let root = rootfs::overlay_readonly(&format!("{upper}/merged"), &config.root.layers, &lower)?;
    rootfs::pivot(&root)?;
    let mut tar = Builder::new(io::BufWriter::with_capacity(64 * 1024, io::stdout().lock()));
    let mut links = HashMap::new();
    add_directory(Path::new("/"), &mut tar, &mut links).map_err(step("writing the tar"))?;
    let mut out = tar.into_inner().map_err(step("ending the tar"))?;
    out.flush().map_err(step("ending the tar"))?;
    Ok(0)
}

/// The first name of a file with several, by its device and inode.
type Links = HashMap<(u64, u64), PathBuf>;

fn add_directory<W: Write>(from: &Path, tar: &mut Builder<W>, links: &mut Links) -> io::Result<()> {
    // A stack of our own: how deep directories go is the learner's choice.
    let mut waiting = vec![from.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path)?;
        if path != Path::new("/") {
            add(&path, &metadata, tar, links)?;
        }
        if metadata.is_dir() {
            let mut names: Vec<PathBuf> = fs::read_dir(&path)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<io::Result<_>>()?;
            names.sort_by(|one, other| other.cmp(one));
            waiting.extend(names);
        }
    }
    Ok(())
}

fn add<W: Write>(
    path: &Path,
    metadata: &Metadata,
    tar: &mut Builder<W>,
    links: &mut Links,
) -> io::Result<()> {
    let name = path.strip_prefix("/").unwrap_or(path);
    let kind = metadata.file_type();
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(metadata.uid().into());
    header.set_gid(metadata.gid().into());
    header.set_mtime(metadata.mtime().max(0) as u64);
    header.set_size(0);
    if metadata.is_dir() {
        header.set_entry_type(EntryType::Directory);
        let mut with_slash = name.as_os_str().to_owned();
        with_slash.push("/");
        return tar.append_data(&mut header, with_slash, io::empty());
    }
    if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        return tar.append_link(&mut header, name, fs::read_link(path)?);
    }
    if metadata.nlink() > 1 {
        let inode = (metadata.dev(), metadata.ino());
        if let Some(first) = links.get(&inode) {
            header.set_entry_type(EntryType::Link);
            return tar.append_link(&mut header, name, first);
        }
        links.insert(inode, name.to_owned());
    }
    if metadata.is_file() {
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        return tar.append_data(&mut header, name, whole(File::open(path)?, metadata.len()));
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

/// Exactly `length` bytes, whatever happens to the file meanwhile: the header
/// is written already.
fn whole(file: File, length: u64) -> impl io::Read {
    use io::Read;
    file.chain(io::repeat(0)).take(length)
}
