//! The archive's files, laid down in the store's work directory.
//!
//! A layer may stand in the archive before the index that says what it is, and
//! the archive may be a pipe: so every file is kept under a number first, and
//! its path and digest remembered.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::archive::{Archive, Kind};
use crate::compression::Plain;
use crate::digest::{Digest, Hashing};
use crate::limits::Limits;

use super::{ImportError, Progress, Watched, unsound, write};

/// Files in an archive; an image of 127 layers has under 400.
const FILES: u64 = 50_000;

/// A file of the archive.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    number: usize,
    /// The digest of its bytes.
    pub(super) digest: Digest,
    /// How many they are.
    pub(super) size: u64,
}

/// All files of an archive.
pub(super) struct Staging {
    directory: PathBuf,
    files: HashMap<String, Staged>,
    links: HashMap<String, String>,
    /// How many were laid down; a path may come twice.
    count: usize,
    text_limit: u64,
}

/// Reads a whole archive, compressed or not, into `directory`.
pub(super) fn read(
    archive: impl Read,
    directory: &Path,
    limits: Limits,
    progress: &mut dyn FnMut(Progress),
) -> Result<Staging, ImportError> {
    let mut tell = |done| progress(Progress { what: "reading the archive".to_owned(), done });
    let watched = Watched { inner: archive, done: 0, told: 0, progress: &mut tell };
    let plain =
        Plain::new(watched, limits).map_err(|error| unsound(format!("cannot read the archive: {error}")))?;
    let mut archive = Archive::new(plain, FILES);
    let mut staging = Staging {
        directory: directory.to_owned(),
        files: HashMap::new(),
        links: HashMap::new(),
        count: 0,
        text_limit: limits.text,
    };
    while let Some(entry) = archive.next_entry()? {
        let Some(path) = plain_path(&entry.path) else {
            return Err(unsound(format!(
                "the archive has a file {:?}",
                String::from_utf8_lossy(&entry.path)
            )));
        };
        match entry.kind {
            Kind::File => {
                let staged = staging.add(&mut archive)?;
                staging.files.insert(path, staged);
            }
            // Older versions of `docker save` write a layer once and link to it.
            Kind::Symlink | Kind::Hardlink => {
                let target = link_target(&path, &entry.link, entry.kind);
                staging
                    .links
                    .insert(path, target.ok_or_else(|| unsound("a link in the archive leads out of it"))?);
            }
            _ => {}
        }
    }
    Ok(staging)
}

impl Staging {
    /// Where a staged file lies.
    pub(super) fn file(&self, staged: &Staged) -> PathBuf {
        self.directory.join(format!("file-{}", staged.number))
    }

    /// The file of that path in the archive.
    pub(super) fn get(&self, path: &str) -> Option<&Staged> {
        let path = self.links.get(path).map_or(path, String::as_str);
        self.files.get(path)
    }

    /// The blob of that digest, whose content is known to have it.
    pub(super) fn blob(&self, digest: &Digest) -> Result<&Staged, ImportError> {
        let staged = self.get(&format!("blobs/sha256/{}", digest.hex()));
        let staged = staged.ok_or_else(|| unsound(format!("the archive lacks the blob {digest}")))?;
        if staged.digest != *digest {
            return Err(unsound(format!("the blob {digest} is damaged: its digest is {}", staged.digest)));
        }
        Ok(staged)
    }

    /// The bytes of a small file.
    pub(super) fn text(&self, staged: &Staged) -> Result<Vec<u8>, ImportError> {
        if staged.size > self.text_limit {
            return Err(unsound(format!(
                "{} has {} bytes, too many for a description",
                staged.digest, staged.size
            )));
        }
        std::fs::read(self.file(staged)).map_err(write("read a staged file"))
    }

    fn add(&mut self, content: &mut impl Read) -> Result<Staged, ImportError> {
        let number = self.count;
        self.count += 1;
        let path = self.directory.join(format!("file-{number}"));
        let mut file = Hashing::new(File::create_new(path).map_err(write("stage a file"))?);
        io::copy(content, &mut file).map_err(write("stage a file"))?;
        let (digest, size, _) = file.finish();
        Ok(Staged { number, digest, size })
    }
}

/// A path without `.` and `/` in front; nothing where it climbs.
fn plain_path(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    (!names.contains(&"..")).then(|| names.join("/"))
}

/// Where a link leads inside the archive; only names count, nothing is opened.
fn link_target(path: &str, link: &[u8], kind: Kind) -> Option<String> {
    let link = std::str::from_utf8(link).ok()?;
    let mut names: Vec<&str> = if kind == Kind::Symlink { path.split('/').collect() } else { Vec::new() };
    names.pop();
    for name in link.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop()?;
            }
            name => names.push(name),
        }
    }
    Some(names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_resolve_by_name_only() {
        assert_eq!(
            link_target("a/layer.tar", b"../b/layer.tar", Kind::Symlink),
            Some("b/layer.tar".to_owned())
        );
        assert_eq!(
            link_target("a/layer.tar", b"b/layer.tar", Kind::Hardlink),
            Some("b/layer.tar".to_owned())
        );
        assert_eq!(link_target("layer.tar", b"../../etc/shadow", Kind::Symlink), None);
    }

    #[test]
    fn climbing_paths_are_none() {
        assert_eq!(plain_path(b"./blobs//sha256/x"), Some("blobs/sha256/x".to_owned()));
        assert_eq!(plain_path(b"blobs/../../x"), None);
    }
}
