//! A container's files for `docker cp`: what a path is, a tar of it, and a tar
//! into it.
//!
//! A running container is entered: its mount namespace becomes this process's,
//! root included, so that whatever links it has, and however they change
//! meanwhile, they lead nowhere else. For one that doesn't run the same is made
//! of its overlay and its mounts.

use std::{
    fs::{self, Metadata},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns},
};
use serde::{Deserialize, Serialize};

use super::{
    StageError,
    config::{FDS_FROM, Files, FilesTask, Place, Source},
    control::{Control, FromStage},
    entry, extract, inherited, rootfs, step, tree,
};

/// Why a path can't be had, for the engine to put into Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is nothing at the path.
    Missing,
    /// A directory is needed and it is none.
    NotDirectory,
    /// Nothing can be written there.
    ReadOnly,
    /// What was sent can't be put there.
    Unfit(String),
}

/// What is at a path, with the names of Docker's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStat {
    /// The last part of the path.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// Permissions and kind, as Go's `os.FileMode` has them.
    pub mode: u32,
    /// When it was changed, RFC 3339.
    pub mtime: String,
    /// Where a symbolic link leads in the end.
    pub link_target: String,
}

/// Does what is asked.
pub(super) fn run(config: &Files, control: &Control) -> Result<u8, StageError> {
    entry::enter_cgroups(FDS_FROM, config.cgroup_tasks)?;
    match &config.place {
        Place::Running => {
            let container = inherited(FDS_FROM + config.cgroup_tasks as i32);
            setns(container.as_fd(), CloneFlags::CLONE_NEWNS).map_err(step("joining the container"))?;
        }
        Place::Stopped { root, mounts } => {
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .map_err(step("making mounts private"))?;
            let opened = rootfs::overlay(root)?;
            for wanted in mounts {
                if let Source::Bind(source) = &wanted.source {
                    rootfs::bind(source, &wanted.target, wanted.readonly, opened.as_fd())?;
                }
            }
            rootfs::pivot(&opened)?;
        }
    }
    std::env::set_current_dir("/").map_err(step("entering the root"))?;
    match &config.task {
        FilesTask::Stat { path } => control.tell(&FromStage::Stat(path_stat(&whole_path(path))?), &[])?,
        FilesTask::Get { path } => {
            let path = whole_path(path);
            control.tell(&FromStage::Stat(path_stat(&path)?), &[])?;
            get(&path).map_err(step("writing the tar"))?;
        }
        FilesTask::Put { path, keep_kind } => {
            let path = whole_path(path);
            let metadata = fs::metadata(&path).map_err(refusal)?;
            if !metadata.is_dir() {
                return Err(StageError::Refused(Refusal::NotDirectory));
            }
            extract::extract(Path::new(&path), *keep_kind, io::stdin().lock())?;
        }
    }
    Ok(0)
}

/// An error of a path in the engine's terms.
pub(super) fn refusal(error: io::Error) -> StageError {
    match error.raw_os_error() {
        Some(libc::ENOENT) => StageError::Refused(Refusal::Missing),
        Some(libc::ENOTDIR) => StageError::Refused(Refusal::NotDirectory),
        Some(libc::EROFS) => StageError::Refused(Refusal::ReadOnly),
        _ => step("looking at the path")(error),
    }
}

/// From the root, without `..`; a `/` or `/.` at the end stays, for it means
/// what a link leads to.
fn whole_path(text: &str) -> String {
    let mut path = PathBuf::from("/");
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            _ => {}
        }
    }
    let mut path = path.to_string_lossy().into_owned();
    if text == "." || text.ends_with("/.") {
        path.push_str(if path == "/" { "." } else { "/." });
    } else if text.ends_with('/') && path != "/" {
        path.push('/');
    }
    path
}

/// The last part, as Go's `filepath.Base` finds it.
fn base(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    match path.rsplit('/').next() {
        None | Some("") => "/",
        Some(name) => name,
    }
}

fn path_stat(path: &str) -> Result<PathStat, StageError> {
    let metadata = fs::symlink_metadata(path).map_err(refusal)?;
    let target = if metadata.is_symlink() { link_target(path) } else { String::new() };
    let time = jiff::Timestamp::new(metadata.mtime(), metadata.mtime_nsec() as i32).unwrap_or_default();
    Ok(PathStat {
        name: base(path).to_owned(),
        size: metadata.size(),
        mode: go_mode(&metadata),
        mtime: time.to_string(),
        link_target: target,
    })
}

/// Where a link leads in the end; as far as it says where that is missing.
fn link_target(path: &str) -> String {
    let target = fs::canonicalize(path).or_else(|_| {
        let said = fs::read_link(path)?;
        let from = Path::new(path).parent().unwrap_or(Path::new("/"));
        Ok::<_, io::Error>(PathBuf::from(whole_path(&from.join(said).to_string_lossy())))
    });
    target.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

fn go_mode(metadata: &Metadata) -> u32 {
    let mode = metadata.mode();
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => 1 << 31,
        libc::S_IFLNK => 1 << 27,
        libc::S_IFBLK => 1 << 26,
        libc::S_IFCHR => 1 << 26 | 1 << 21,
        libc::S_IFIFO => 1 << 25,
        libc::S_IFSOCK => 1 << 24,
        _ => 0,
    };
    let bit = |from: u32, to: u32| if mode & from == 0 { 0 } else { to };
    mode & 0o777
        | kind
        | bit(libc::S_ISUID, 1 << 23)
        | bit(libc::S_ISGID, 1 << 22)
        | bit(libc::S_ISVTX, 1 << 20)
}

/// Writes the tar: a directory with all below it, or what else it is.
fn get(path: &str) -> io::Result<()> {
    let name = match base(path) {
        "/" => &b""[..],
        name => Path::new(name).as_os_str().as_bytes(),
    };
    let mut out = io::BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let mut tar = tree::Tar::new(&mut out);
    tar.add_all(Path::new(path), name)?;
    tar.finish()?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_root_and_keep_their_end() {
        for (text, path) in [
            ("", "/"),
            ("/", "/"),
            (".", "/."),
            ("/.", "/."),
            ("a/../../b", "/b"),
            ("/opt/app/.", "/opt/app/."),
            ("/opt//app/", "/opt/app/"),
            ("/../..", "/"),
        ] {
            assert_eq!(whole_path(text), path, "{text}");
        }
    }

    #[test]
    fn the_last_part_is_go_s() {
        for (path, name) in [("/", "/"), ("/a/b", "b"), ("/a/b/", "b"), ("/a/.", "."), ("/.", ".")] {
            assert_eq!(base(path), name, "{path}");
        }
    }

    #[test]
    fn modes_are_go_s() {
        let place = tempfile::tempdir().unwrap();
        let mode = |path: &Path| go_mode(&fs::symlink_metadata(path).unwrap());
        assert_eq!(mode(place.path()) >> 31, 1);
        let link = place.path().join("link");
        std::os::unix::fs::symlink("/nowhere/../x", &link).unwrap();
        assert_eq!(mode(&link) & !0o777, 1 << 27);
        assert_eq!(path_stat(link.to_str().unwrap()).unwrap().link_target, "/x");
        assert_eq!(mode(Path::new("/dev/null")) & !0o777, 1 << 26 | 1 << 21);
    }
}
