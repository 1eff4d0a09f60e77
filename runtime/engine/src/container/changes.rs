//! What a container changed, for `docker diff`: what its overlay's upper
//! directory has, against the layers below.

use std::{
    fs::{self, Metadata},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    StageError,
    config::{Changes, FDS_FROM, Root},
    entry, step,
};

/// A changed path, with Docker's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Change {
    /// From the root.
    pub path: String,
    /// How it changed.
    pub kind: Kind,
}

/// How a path changed, by Docker's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Kind {
    /// It was there before.
    Changed,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> u8 {
        kind as u8
    }
}

impl TryFrom<u8> for Kind {
    type Error = String;

    fn try_from(number: u8) -> Result<Kind, String> {
        match number {
            0 => Ok(Kind::Changed),
            1 => Ok(Kind::Added),
            2 => Ok(Kind::Deleted),
            other => Err(format!("{other} is no kind of change")),
        }
    }
}

/// The place of `docker-init` that we make, which nobody asked for. Those of
/// other mounts are in a layer of their own.
const PLACES: [&str; 4] = ["sbin", "sbin/docker-init", "usr/sbin", "usr/sbin/docker-init"];

/// Writes the changes as a JSON list on stdout.
pub(super) fn run(config: &Changes) -> Result<u8, StageError> {
    entry::enter_cgroups(FDS_FROM, config.cgroup_tasks)?;
    let found = changes(&config.root).map_err(step("reading what changed"))?;
    let text = serde_json::to_vec(&found).map_err(|error| StageError::Config(error.to_string()))?;
    io::stdout().lock().write_all(&text).map_err(step("telling what changed"))?;
    Ok(0)
}

/// In the order of their paths.
fn changes(root: &Root) -> io::Result<Vec<Change>> {
    let upper = Path::new(&root.upper).join("diff");
    let mut found = Vec::new();
    let mut waiting = names(&upper)?.into_iter().map(PathBuf::from).collect::<Vec<_>>();
    while let Some(name) = waiting.pop() {
        let here = upper.join(&name);
        let metadata = fs::symlink_metadata(&here)?;
        let below = below(root, &name);
        let kind = match (is_whiteout(&metadata), &below) {
            (true, None) => continue,
            (true, Some(_)) => Kind::Deleted,
            (false, Some(_)) => Kind::Changed,
            (false, None) => Kind::Added,
        };
        if !is_place(&name, kind, &metadata) {
            found.push(Change { path: format!("/{}", name.display()), kind });
        }
        if metadata.is_dir() {
            if is_opaque(&here) && below.is_some_and(|below| below.is_dir()) {
                hidden(root, &name, &upper, &mut found)?;
            }
            waiting.extend(names(&here)?.into_iter().map(|below| name.join(below)));
        }
    }
    // A directory of ours stays only where something in it changed.
    let paths: Vec<String> = found.iter().map(|change| change.path.clone()).collect();
    found.retain(|change| {
        let ours = PLACES.contains(&change.path.trim_start_matches('/')) && change.kind == Kind::Changed;
        !ours || paths.iter().any(|path| path.starts_with(&format!("{}/", change.path)))
    });
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn names(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

/// What the topmost layer that knows a path has there.
fn below(root: &Root, name: &Path) -> Option<Metadata> {
    for layer in root.lower.iter().rev() {
        let layer = Path::new(&root.layers).join(layer);
        match fs::symlink_metadata(layer.join(name)) {
            Ok(metadata) => return Some(metadata).filter(|metadata| !is_whiteout(metadata)),
            Err(_) if hides(&layer, name) => return None,
            Err(_) => {}
        }
    }
    None
}

/// Whether a layer hides a path by what it has above it: a whiteout, a file, or
/// an opaque directory.
fn hides(layer: &Path, name: &Path) -> bool {
    name.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).any(|above| {
        let here = layer.join(above);
        fs::symlink_metadata(&here).is_ok_and(|metadata| !metadata.is_dir() || is_opaque(&here))
    })
}

/// What an opaque directory hides of the layers below.
fn hidden(root: &Root, name: &Path, upper: &Path, found: &mut Vec<Change>) -> io::Result<()> {
    let mut known = std::collections::BTreeSet::new();
    for layer in root.lower.iter().rev() {
        let layer = Path::new(&root.layers).join(layer);
        known.extend(names(&layer.join(name)).unwrap_or_default());
        if hides(&layer, &name.join("any")) {
            break;
        }
    }
    for one in known {
        let one = name.join(one);
        if below(root, &one).is_some() && fs::symlink_metadata(upper.join(&one)).is_err() {
            found.push(Change { path: format!("/{}", one.display()), kind: Kind::Deleted });
        }
    }
    Ok(())
}

fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 2];
    matches!(rustix::fs::lgetxattr(directory, "user.overlay.opaque", &mut value[..]), Ok(1) if value[0] == b'y')
}

/// Whether it is a place of ours with nothing in it.
fn is_place(name: &Path, kind: Kind, metadata: &Metadata) -> bool {
    let ours = PLACES.iter().any(|place| Path::new(place) == name);
    ours && kind == Kind::Added && (metadata.is_dir() || metadata.len() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_against_all_layers() {
        let place = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        make("layers/low/etc/profile");
        make("layers/low/root/keep");
        make("layers/high/opt/file");
        make("c/diff/etc/profile");
        make("c/diff/root/new.txt");
        fs::create_dir_all(place.path().join("c/diff/opt/app")).unwrap();
        make("layers/low/sbin/mount");
        fs::create_dir_all(place.path().join("c/diff/sbin")).unwrap();
        fs::write(place.path().join("c/diff/sbin/docker-init"), "").unwrap();
        let root = Root {
            layers: place.path().join("layers").display().to_string(),
            lower: vec!["low".to_owned(), "high".to_owned()],
            upper: place.path().join("c").display().to_string(),
            readonly: false,
        };
        let told: Vec<(String, Kind)> =
            changes(&root).unwrap().into_iter().map(|change| (change.path, change.kind)).collect();
        let expected = [
            ("/etc", Kind::Changed),
            ("/etc/profile", Kind::Changed),
            ("/opt", Kind::Changed),
            ("/opt/app", Kind::Added),
            ("/root", Kind::Changed),
            ("/root/new.txt", Kind::Added),
        ];
        assert_eq!(told, expected.map(|(path, kind)| (path.to_owned(), kind)));
        make("c/diff/sbin/new");
        assert!(changes(&root).unwrap().iter().any(|change| change.path == "/sbin"));
    }
}
