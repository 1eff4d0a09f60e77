//! A client's tar into a directory of a container, whose root is this process's
//! root: no name, link or change meanwhile leads anywhere else.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use tar::{Archive, Entry, EntryType};

use super::{
    StageError,
    files::{Refusal, refusal},
    step,
};

/// Puts all of the tar below a directory.
///
/// `keep_kind`: a directory is not replaced by something else, nor the other
/// way round.
pub(super) fn extract(place: &Path, keep_kind: bool, from: impl Read) -> Result<(), StageError> {
    let mut archive = Archive::new(from);
    // Times of directories, which what is put into them changes.
    let mut directories = Vec::new();
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = name_of(&entry)?;
        let path = place.join(&name);
        if name.as_os_str().is_empty() && !entry.header().entry_type().is_dir() {
            continue;
        }
        if put(&mut entry, &path, place, keep_kind)? {
            let seconds = entry.header().mtime().unwrap_or(0);
            if entry.header().entry_type().is_dir() {
                directories.push((path, seconds));
            } else {
                set_time(&path, seconds).map_err(refusal)?;
            }
        }
    }
    for (path, seconds) in directories.into_iter().rev() {
        match set_time(&path, seconds) {
            // Somebody removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(refusal)?,
        }
    }
    Ok(())
}

fn unreadable(error: io::Error) -> StageError {
    StageError::Refused(Refusal::Unfit(format!("Error processing tar file: {error}")))
}

/// An entry's name without what leads up.
fn name_of<R: Read>(entry: &Entry<'_, R>) -> Result<PathBuf, StageError> {
    let path = entry.path().map_err(unreadable)?;
    let mut name = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => name.push(part),
            Component::ParentDir => {
                let words = format!("invalid tar entry: \"{}\" leads out of the directory", path.display());
                return Err(StageError::Refused(Refusal::Unfit(words)));
            }
            _ => {}
        }
    }
    Ok(name)
}

/// Makes one entry; false where there is nothing to make.
fn put<R: Read>(
    entry: &mut Entry<'_, R>,
    path: &Path,
    place: &Path,
    keep_kind: bool,
) -> Result<bool, StageError> {
    let kind = entry.header().entry_type();
    let mode = entry.header().mode().unwrap_or(0o644) & 0o7777;
    make_room(path, kind.is_dir(), keep_kind)?;
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(refusal)?;
    }
    match kind {
        EntryType::Directory => match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(refusal)?,
        },
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::open(path, flags, Mode::from(0o600));
            let mut file = File::from(file.map_err(|error| refusal(error.into()))?);
            io::copy(entry, &mut file).map_err(step("writing a file"))?;
        }
        EntryType::Symlink => {
            let target = entry.link_name().map_err(unreadable)?.unwrap_or_default();
            std::os::unix::fs::symlink(target, path).map_err(refusal)?;
        }
        EntryType::Link => {
            let target = entry.link_name().map_err(unreadable)?.unwrap_or_default();
            let target = target.components().filter(|part| matches!(part, Component::Normal(_)));
            fs::hard_link(place.join(target.collect::<PathBuf>()), path).map_err(refusal)?;
            return Ok(true);
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            let header = entry.header();
            let number = |field: io::Result<Option<u32>>| field.ok().flatten().unwrap_or(0);
            let device = rustix::fs::makedev(number(header.device_major()), number(header.device_minor()));
            let kind = match kind {
                EntryType::Char => FileType::CharacterDevice,
                EntryType::Block => FileType::BlockDevice,
                _ => FileType::Fifo,
            };
            rustix::fs::mknodat(CWD, path, kind, Mode::from(mode), device)
                .map_err(|error| refusal(error.into()))?;
        }
        // Comments and what nobody has heard of.
        _ => return Ok(false),
    }
    give(entry, path, mode)?;
    Ok(true)
}

/// Owner, then permissions, for the first takes set-user-ID away.
fn give<R: Read>(entry: &Entry<'_, R>, path: &Path, mode: u32) -> Result<(), StageError> {
    let id = |field: io::Result<u64>| u32::try_from(field.unwrap_or(0)).unwrap_or(0);
    let (uid, gid) = (id(entry.header().uid()), id(entry.header().gid()));
    rustix::fs::chownat(
        CWD,
        path,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(|error| refusal(error.into()))?;
    if entry.header().entry_type() == EntryType::Symlink {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(refusal)
}

/// Takes away what is in the way.
fn make_room(path: &Path, directory: bool, keep_kind: bool) -> Result<(), StageError> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(_) => return Ok(()),
    };
    let unfit = |words: String| Err(StageError::Refused(Refusal::Unfit(words)));
    if keep_kind && there.is_dir() && !directory {
        return unfit(format!("cannot overwrite directory \"{}\" with non-directory", path.display()));
    }
    if keep_kind && !there.is_dir() && directory {
        return unfit(format!("cannot overwrite non-directory \"{}\" with directory", path.display()));
    }
    if there.is_dir() {
        return if directory { Ok(()) } else { fs::remove_dir_all(path).map_err(refusal) };
    }
    fs::remove_file(path).map_err(refusal)
}

fn set_time(path: &Path, seconds: u64) -> io::Result<()> {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tar_of(name: &str, kind: EntryType, link: &str, data: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o640);
        header.set_mtime(77);
        header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        header.set_cksum();
        let mut tar = tar::Builder::new(Vec::new());
        tar.append(&header, data).unwrap();
        tar.into_inner().unwrap()
    }

    #[test]
    fn files_get_their_content_mode_and_time() {
        use std::os::unix::fs::MetadataExt;
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("f"), "old").unwrap();
        extract(place.path(), true, &tar_of("./f", EntryType::Regular, "", b"new")[..]).unwrap();
        let metadata = fs::metadata(place.path().join("f")).unwrap();
        assert_eq!((metadata.mode() & 0o777, metadata.mtime()), (0o640, 77));
        assert_eq!(fs::read(place.path().join("f")).unwrap(), b"new");
    }

    #[test]
    fn kinds_are_kept_where_that_is_asked() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("d")).unwrap();
        let tar = tar_of("d", EntryType::Regular, "", b"x");
        assert!(matches!(extract(place.path(), true, &tar[..]), Err(StageError::Refused(Refusal::Unfit(_)))));
        extract(place.path(), false, &tar[..]).unwrap();
        assert!(place.path().join("d").is_file());
    }

    #[test]
    fn a_link_at_the_name_is_replaced_and_names_that_lead_up_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        fs::write(&outside, "kept").unwrap();
        let inside = place.path().join("in");
        fs::create_dir(&inside).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("f")).unwrap();
        extract(&inside, true, &tar_of("f", EntryType::Regular, "", b"new")[..]).unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"kept");
        assert!(extract(&inside, true, &tar_of("../x", EntryType::Regular, "", b"x")[..]).is_err());
        assert!(!place.path().join("x").exists());
    }

    proptest! {
        #[test]
        fn no_bytes_break_it_or_lead_out(bytes in proptest::collection::vec(any::<u8>(), 0..2048), at in 0usize..512) {
            let place = tempfile::tempdir().unwrap();
            let inside = place.path().join("in");
            fs::create_dir(&inside).unwrap();
            // A sound header with some bytes changed, then whatever follows.
            let mut tar = tar_of("a/b", EntryType::Regular, "", b"");
            for (offset, byte) in bytes.iter().take(8).enumerate() {
                let place = (at + offset) % 512;
                tar[place] = *byte;
            }
            let mut header = tar::Header::from_byte_slice(&tar[..512]).clone();
            header.set_cksum();
            tar[..512].copy_from_slice(header.as_bytes());
            tar.truncate(512);
            tar.extend_from_slice(&bytes);
            let _ = extract(&inside, true, &tar[..]);
            prop_assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        }
    }
}
