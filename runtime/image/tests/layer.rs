//! What unpacking does with sound and with hostile layers.
//!
//! Names such as A01 are rows of the list of attacks.

mod support;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use drydock_image::layer::{self, LayerError, Unpacked};
use drydock_image::limits::Limits;
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use proptest::prelude::*;
use support::{Tar, need_root};
use tar::EntryType;

/// A layer's directory, beside files that nothing may touch.
struct Place {
    top: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        need_root();
        let place = Place { top: tempfile::tempdir().unwrap() };
        fs::create_dir(place.layer()).unwrap();
        fs::create_dir(place.top.path().join("outside")).unwrap();
        fs::write(place.top.path().join("outside/secret"), "untouched").unwrap();
        place
    }

    fn layer(&self) -> PathBuf {
        self.top.path().join("layer")
    }

    fn unpack(&self, tar: Tar) -> Result<Unpacked, LayerError> {
        self.unpack_bytes(&tar.bytes(), Limits::default())
    }

    fn unpack_bytes(&self, bytes: &[u8], limits: Limits) -> Result<Unpacked, LayerError> {
        let root = File::open(self.layer()).unwrap();
        layer::unpack(root.as_fd(), bytes, limits)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.layer().join(path)).unwrap()
    }

    fn metadata(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.layer().join(path)).unwrap()
    }

    fn xattr(&self, path: &str, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 256];
        let count = rustix::fs::lgetxattr(self.layer().join(path), name, &mut value).ok()?;
        value.truncate(count);
        Some(value)
    }

    fn assert_outside_is_untouched(&self) {
        let outside = self.top.path().join("outside");
        let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"]);
        let secret = outside.join("secret");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "untouched");
        assert_eq!(
            (fs::metadata(&secret).unwrap().nlink(), fs::metadata(&outside).unwrap().mode() & 0o777),
            (1, 0o755)
        );
        assert_eq!(fs::read_dir(self.top.path()).unwrap().count(), 2);
    }
}

fn is_whiteout(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

#[test]
fn a_plain_layer_is_as_its_archive_says() {
    let place = Place::new();
    let tar = Tar::default()
        .entry("./", EntryType::Directory, "", b"", |header| header.set_mode(0o755))
        .directory("usr/")
        .directory("usr/bin/")
        .symlink("bin", "usr/bin")
        .entry("bin/su", EntryType::Regular, "", b"program", |header| header.set_mode(0o4755))
        .hardlink("bin/sudo", "usr/bin/su")
        .entry("home/kim/notes", EntryType::Regular, "", b"mine", |header| {
            header.set_uid(1000);
            header.set_gid(100);
            header.set_mode(0o600);
        })
        .entry("run/pipe", EntryType::Fifo, "", b"", |_| {});
    assert_eq!(place.unpack(tar).unwrap(), Unpacked { bytes: 18, skipped_devices: 0 });
    let su = place.metadata("usr/bin/su");
    assert_eq!((su.mode() & 0o7777, su.nlink(), su.mtime()), (0o4755, 2, 1_000_000_000));
    assert_eq!(place.metadata("usr/bin").mtime(), 1_000_000_000);
    let notes = place.metadata("home/kim/notes");
    assert_eq!((notes.uid(), notes.gid(), notes.mode() & 0o7777), (1000, 100, 0o600));
    assert!(place.metadata("run/pipe").file_type().is_fifo());
    assert_eq!(fs::read_link(place.layer().join("bin")).unwrap(), Path::new("usr/bin"));
}

#[test]
fn deletions_take_the_form_that_an_overlay_reads() {
    let place = Place::new();
    let tar = Tar::default()
        .file("etc/.wh.gone", "")
        .directory("var/")
        .file("var/.wh..wh..opq", "")
        .file(".wh..wh.plnk", "")
        .file("opt/.wh.remade", "")
        .directory("opt/remade/")
        .directory("srv/kept/")
        .file("srv/.wh.kept", "");
    place.unpack(tar).unwrap();
    assert!(is_whiteout(&place.metadata("etc/gone")));
    assert_eq!(place.xattr("var", "user.overlay.opaque").as_deref(), Some(b"y".as_slice()));
    // Deleted and made again, in either order: what was below stays hidden.
    for path in ["opt/remade", "srv/kept"] {
        assert!(place.metadata(path).is_dir());
        assert_eq!(place.xattr(path, "user.overlay.opaque").as_deref(), Some(b"y".as_slice()), "{path}");
    }
    assert_eq!(fs::read_dir(place.layer()).unwrap().count(), 4);
}

#[test]
fn an_overlay_of_user_attributes_reads_them_so() {
    let place = Place::new();
    let lower = place.top.path().join("lower");
    for directory in ["etc", "var/old", "opt/remade/old", "srv"] {
        fs::create_dir_all(lower.join(directory)).unwrap();
    }
    for file in ["etc/gone", "etc/stays", "srv/below"] {
        fs::write(lower.join(file), "below").unwrap();
    }
    let tar = Tar::default()
        .file("etc/.wh.gone", "")
        .directory("var/")
        .file("var/.wh..wh..opq", "")
        .file("var/new", "above")
        .file("opt/.wh.remade", "")
        .directory("opt/remade/")
        .file("srv/above", "above");
    place.unpack(tar).unwrap();

    let merged = place.top.path().join("merged");
    fs::create_dir(&merged).unwrap();
    // This thread's own mounts, which go with it.
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let options = format!("userxattr,lowerdir={}:{}", place.layer().display(), lower.display());
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str())).unwrap();
    let names = |path: &str| {
        let entries = fs::read_dir(merged.join(path)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let seen = ["etc", "var", "opt/remade", "srv"].map(names);
    nix::mount::umount(&merged).unwrap();
    fs::remove_dir(&merged).unwrap();
    assert_eq!(seen[0], ["stays"]);
    assert_eq!(seen[1], ["new"]);
    assert!(seen[2].is_empty());
    assert_eq!(seen[3], ["above", "below"]);
}

#[test]
fn a01_paths_that_climb_out_are_refused() {
    for path in
        ["../outside/new", "a/../../outside/new", "..", ".wh...", ".wh..", "x/.wh.", "/../outside/new"]
    {
        let place = Place::new();
        let result = place.unpack(Tar::default().file(path, "x"));
        assert!(matches!(result, Err(LayerError::Path(_))), "{path}: {result:?}");
        place.assert_outside_is_untouched();
    }
    let place = Place::new();
    assert!(place.unpack(Tar::default().hardlink("stolen", "../outside/secret")).is_err());
    place.assert_outside_is_untouched();
}

#[test]
fn a01_an_absolute_path_is_inside() {
    let place = Place::new();
    place.unpack(Tar::default().file("/etc/passwd", "inside")).unwrap();
    assert_eq!(place.read("etc/passwd"), "inside");
}

#[test]
fn a01_links_that_lead_out_end_at_the_layers_root() {
    let place = Place::new();
    let outside = place.top.path().join("outside").display().to_string();
    for target in [outside.as_str(), "../outside", "../../../../../../outside"] {
        let place = Place::new();
        let tar = Tar::default().symlink("a", target).file("a/new", "x");
        // Inside, the link dangles: the kernel takes the layer for the root.
        assert!(place.unpack(tar).is_err(), "{target}");
        place.assert_outside_is_untouched();
    }
    let tar = Tar::default().symlink("a", "/").file("a/etc/x", "inside");
    place.unpack(tar).unwrap();
    assert_eq!(place.read("etc/x"), "inside");

    let stolen = Tar::default().symlink("l", &outside).hardlink("stolen", "l/secret");
    assert!(place.unpack(stolen).is_err());
    place.assert_outside_is_untouched();
}

#[test]
fn a01_the_last_name_is_never_followed() {
    let place = Place::new();
    let secret = place.top.path().join("outside/secret").display().to_string();
    let tar = Tar::default().symlink("x", &secret).file("x", "mine");
    place.unpack(tar).unwrap();
    assert_eq!(place.read("x"), "mine");
    place.assert_outside_is_untouched();
}

#[test]
fn a02_a_directory_entry_over_a_link_changes_nothing_behind_it() {
    let place = Place::new();
    let outside = place.top.path().join("outside").display().to_string();
    let tar = Tar::default().symlink("x", &outside).entry("x", EntryType::Directory, "", b"", |header| {
        header.set_mode(0o777);
    });
    place.unpack(tar).unwrap();
    assert!(place.metadata("x").is_dir());
    place.assert_outside_is_untouched();
}

#[test]
fn a02_limits_are_met_early() {
    let place = Place::new();
    let many: Vec<u8> =
        (0..1000).fold(Tar::default(), |tar, number| tar.file(&format!("{number}"), "")).bytes();
    let limits = Limits { entries: 100, ..Limits::default() };
    assert!(matches!(place.unpack_bytes(&many, limits), Err(LayerError::Archive(_))));
    assert_eq!(fs::read_dir(place.layer()).unwrap().count(), 100);
    let deep = Tar::default()
        .entry("x", EntryType::GNULongName, "", "d/".repeat(1000).as_bytes(), |_| {})
        .file("x", "");
    assert!(matches!(place.unpack(deep), Err(LayerError::Path(_))));
}

#[test]
fn a07_devices_are_skipped_and_overlay_attributes_dropped() {
    let place = Place::new();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::default()
        .entry("dev/kmsg", EntryType::Char, "", b"", |header| {
            header.set_device_major(1).unwrap();
            header.set_device_minor(11).unwrap();
        })
        .entry("dev/sda", EntryType::Block, "", b"", |_| {})
        .xattrs(&[
            ("trusted.overlay.redirect", b"/etc"),
            ("user.overlay.redirect", b"/etc"),
            ("user.overlay.opaque", b"y"),
            ("user.note", b"kept"),
            ("security.capability", &capability),
            ("security.selinux", b"label"),
        ])
        .file("program", "x");
    assert_eq!(place.unpack(tar).unwrap().skipped_devices, 2);
    assert!(!place.layer().join("dev/kmsg").exists());
    for name in
        ["trusted.overlay.redirect", "user.overlay.redirect", "user.overlay.opaque", "security.selinux"]
    {
        assert_eq!(place.xattr("program", name), None, "{name}");
    }
    assert_eq!(place.xattr("program", "user.note").as_deref(), Some(b"kept".as_slice()));
    assert!(place.xattr("program", "security.capability").is_some());
}

#[test]
fn owners_beyond_a_nodes_range_are_refused() {
    let place = Place::new();
    let tar = Tar::default().entry("x", EntryType::Regular, "", b"", |header| header.set_uid(65_536));
    assert!(place.unpack(tar).unwrap_err().to_string().contains("65536"));
    let tar = Tar::default().entry("./", EntryType::Directory, "", b"", |header| header.set_gid(1 << 32));
    assert!(matches!(place.unpack(tar), Err(LayerError::Owner { .. })));
}

#[test]
fn a_later_entry_replaces_an_earlier_one_whole() {
    let place = Place::new();
    let tar = Tar::default()
        .file("x/deep/file", "old")
        .file("x", "new")
        .directory("y/")
        .file("y/kept", "kept")
        .directory("y/");
    place.unpack(tar).unwrap();
    assert_eq!(place.read("x"), "new");
    assert_eq!(place.read("y/kept"), "kept");
    assert_eq!(place.metadata("x").permissions().mode() & 0o777, 0o644);
}

/// One entry of an arbitrary layer, of names that meet often.
fn arbitrary_entry() -> impl Strategy<Value = (u8, String, String)> {
    let name = prop::sample::select(vec![
        "a",
        "b",
        "..",
        ".",
        "",
        "/",
        ".wh.a",
        ".wh..wh..opq",
        "outside",
        "secret",
    ]);
    let path = |names: Vec<&str>| names.join("/");
    let paths = prop::collection::vec(name, 1..6).prop_map(path);
    (0..7_u8, paths.clone(), paths)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a01_no_layer_changes_anything_outside(entries in prop::collection::vec(arbitrary_entry(), 1..12)) {
        let place = Place::new();
        // One bad entry ends a layer, so each is a layer of its own, into one place.
        for (kind, path, link) in entries {
            let kind = match kind {
                0 => EntryType::Regular,
                1 => EntryType::Directory,
                2 => EntryType::Link,
                3 => EntryType::Fifo,
                4 => EntryType::Char,
                _ => EntryType::Symlink,
            };
            let link = if link.starts_with('/') { format!("{}{link}", place.top.path().display()) } else { link };
            let content: &[u8] = if kind == EntryType::Regular { b"x" } else { b"" };
            let _ = place.unpack(Tar::default().entry(&path, kind, &link, content, |header| header.set_mode(0o777)));
        }
        place.assert_outside_is_untouched();
    }
}
