//! Whole imports, in the throw-away process that they run in.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use drydock_image::config::RunConfig;
use drydock_image::digest::Digest;
use drydock_image::import::Purpose;
use drydock_image::pack::{Recipe, pack};
use drydock_image::sandboxed::{self, SandboxedError};
use drydock_image::store::{ID_BASE, Index, Store, prune};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use support::{Tar, need_root};
use tar::EntryType;

struct Place {
    top: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        need_root();
        Place { top: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> PathBuf {
        self.top.path().join("store")
    }

    fn import_as(&self, archive: &[u8], purpose: Purpose) -> Result<Vec<String>, SandboxedError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let node = Path::new(env!("CARGO_BIN_EXE_drydock-image"));
        sandboxed::import(&self.store(), node, file, purpose, |_| {})
    }

    fn import(&self, archive: &[u8]) -> Result<Vec<String>, SandboxedError> {
        self.import_as(archive, Purpose::Catalogue)
    }

    fn index(&self) -> Index {
        Store::open(self.store()).unwrap().index().unwrap()
    }

    /// What is in the store but the lock and empty directories.
    fn files(&self) -> usize {
        ["blobs/sha256", "layers", "work"]
            .iter()
            .filter_map(|name| fs::read_dir(self.store().join(name)).ok())
            .map(|entries| entries.count())
            .sum()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn layer() -> Vec<u8> {
    Tar::default()
        .directory("bin/")
        .entry("bin/su", EntryType::Regular, "", b"program", |header| header.set_mode(0o4755))
        .file("etc/.wh.gone", "")
        .file("var/.wh..wh..opq", "")
        .bytes()
}

fn packed(names: &[&str], layer: &[u8]) -> Vec<u8> {
    let recipe = Recipe {
        names: names.iter().map(|name| name.to_string()).collect(),
        created_by: "a test".to_owned(),
        config: RunConfig { cmd: Some(vec!["su".to_owned()]), ..RunConfig::default() },
    };
    let mut archive = Vec::new();
    pack(None, layer, &recipe, 1_700_000_000, &mut archive).unwrap();
    archive
}

/// An archive as `docker save` of 20.10 writes it.
fn saved(layer: &[u8], diff_id: &Digest, second: Option<&str>) -> Vec<u8> {
    let diff_ids = vec![diff_id; 1 + usize::from(second.is_some())];
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    .to_string();
    let name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let mut layers = vec!["one/layer.tar"];
    let mut tar = Tar::default().entry("one/layer.tar", EntryType::Regular, "", layer, |_| {});
    if let Some(target) = second {
        layers.push("two/layer.tar");
        tar = tar.symlink("two/layer.tar", target);
    }
    let manifest = json!([{"Config": name, "RepoTags": ["kim/app:1"], "Layers": layers}]).to_string();
    tar.file(&name, &config).file("manifest.json", &manifest).bytes()
}

#[test]
fn a_packed_image_is_imported_under_its_names() {
    let place = Place::new();
    let names = place.import(&packed(&["busybox", "busybox:1"], &layer())).unwrap();
    assert_eq!(names, ["busybox:1", "busybox:latest"]);
    let index = place.index();
    let image = &index.images["library/busybox:latest"];
    assert_eq!(image, &index.images["library/busybox:1"]);
    assert_eq!(image.config.config.cmd, Some(vec!["su".to_owned()]));
    assert_eq!(image.config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
    assert_eq!(image.layers[0].diff_id, Digest::of(&layer()));

    let store = Store::open(place.store()).unwrap();
    let directory = store.layer_dir(&image.layers[0].diff_id);
    let su = fs::metadata(directory.join("bin/su")).unwrap();
    assert_eq!((su.uid(), su.gid(), su.mode() & 0o7777), (ID_BASE, ID_BASE, 0o4755));
    let gone = fs::symlink_metadata(directory.join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut opaque = [0; 1];
    rustix::fs::getxattr(directory.join("var"), "user.overlay.opaque", &mut opaque).unwrap();
    assert_eq!(fs::metadata(place.store()).unwrap().mode() & 0o7777, 0o700);
    for digest in [&image.manifest, &image.config_digest, &image.layers[0].digest] {
        assert_eq!(&Digest::of(&fs::read(store.blob(digest)).unwrap()), digest);
    }
}

#[test]
fn the_same_input_packs_to_the_same_bytes() {
    assert_eq!(packed(&["a"], &layer()), packed(&["a"], &layer()));
}

#[test]
fn what_no_image_needs_any_more_can_be_deleted() {
    let place = Place::new();
    place.import(&packed(&["a", "kept"], &layer())).unwrap();
    place.import(&packed(&["a"], &Tar::default().file("new", "x").bytes())).unwrap();
    let store = Store::open(place.store()).unwrap();
    assert_eq!(prune(&store).unwrap(), 0);
    place.import(&packed(&["kept"], &Tar::default().file("newer", "x").bytes())).unwrap();
    assert_eq!(prune(&store).unwrap(), 4);
    assert_eq!(place.files(), 8);
    for image in place.index().images.values() {
        assert!(store.layer_dirs(image).iter().all(|directory| directory.is_dir()));
    }
}

#[test]
fn a_nodes_root_has_no_name_and_is_one_image() {
    let place = Place::new();
    place.import_as(&packed(&[], &layer()), Purpose::NodeRoot).unwrap();
    let index = place.index();
    assert!(index.node_root.is_some() && index.images.is_empty());
    let error = place.import(&packed(&[], &layer())).unwrap_err().to_string();
    assert!(error.contains("has no name"), "{error}");
}

#[test]
fn an_archive_of_an_older_docker_save_is_understood() {
    let place = Place::new();
    let archive = saved(&layer(), &Digest::of(&layer()), Some("../one/layer.tar"));
    assert_eq!(place.import(&gzip(&archive)).unwrap(), ["kim/app:1"]);
    let index = place.index();
    let image = &index.images["kim/app:1"];
    assert_eq!(image.layers.len(), 2);
    let store = Store::open(place.store()).unwrap();
    assert_eq!(Digest::of(&store.blob_text(&image.manifest).unwrap()), image.manifest);
}

#[test]
fn what_is_not_what_it_says_is_refused_and_leaves_nothing() {
    let wrong = saved(&layer(), &Digest::of(b"something else"), None);
    let link_out = saved(&layer(), &Digest::of(&layer()), Some("../../etc/shadow"));
    let mut damaged = packed(&["a"], &layer());
    let start_of_layer = damaged.windows(3).position(|bytes| bytes == [0x1f, 0x8b, 8]).unwrap();
    damaged[start_of_layer + 20] ^= 1;
    let hostile = packed(&["a"], &Tar::default().file("../../work/x", "x").bytes());
    for (archive, words) in [
        (wrong, "configuration says"),
        (link_out, "leads out of it"),
        (damaged, "damaged"),
        (hostile, "path that no layer may have"),
        (b"no archive at all".to_vec(), "cannot read the archive"),
        (Tar::default().file("hello", "x").bytes(), "no image archive"),
    ] {
        let place = Place::new();
        let error = place.import(&archive).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(place.index(), Index::default());
        // What is left lies in `work`, which the next import empties.
        place.import(&packed(&["good"], &layer())).unwrap();
        assert_eq!(place.files(), 4, "{words}");
    }
}

#[test]
fn an_image_for_another_machine_is_refused() {
    let place = Place::new();
    let archive = saved(&layer(), &Digest::of(&layer()), None);
    let text = String::from_utf8_lossy(&archive).replace("amd64", "arm64");
    let error = place.import(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("linux/arm64"), "{error}");
}

#[test]
fn a05_a_bomb_ends_by_its_ratio_and_nothing_is_left() {
    let place = Place::new();
    // A file of 2 GiB of zeros in 2 MB: a gzip may have many members.
    let header =
        Tar::default().entry("manifest.json", EntryType::Regular, "", b"", |header| header.set_size(2 << 30));
    let header = &header.bytes()[..512];
    let bomb = [gzip(header), gzip(&vec![0; 64 << 20]).repeat(32)].concat();
    let error = place.import(&bomb).unwrap_err().to_string();
    assert!(error.contains("times its size"), "{error}");
    assert_eq!(place.index(), Index::default());
    place.import(&packed(&["good"], &layer())).unwrap();
    assert_eq!(place.files(), 4);
}

#[test]
fn the_process_needs_root_to_confine_itself() {
    need_root();
    let store = tempfile::tempdir().unwrap();
    let file = File::open("/dev/null").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_drydock-image"))
        .args(["unpack", "catalogue"])
        .arg(store.path())
        .stdin(file)
        .gid(65_534)
        .uid(65_534)
        .output();
    // Started by somebody else it reads nothing.
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(text.contains("must be started as root"), "{text}");
}
