//! A store without an index, as a node has it: loading, one more layer, saving.

mod support;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use drydock_image::compose::{Base, compose};
use drydock_image::config::ImageConfig;
use drydock_image::import::load;
use drydock_image::limits::Limits;
use drydock_image::save::{Item, save};
use drydock_image::store::{Image, Store};
use drydock_image::upper;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};
use support::{Tar, need_root};

fn base() -> Base {
    let config =
        ImageConfig { architecture: "amd64".to_owned(), os: "linux".to_owned(), ..ImageConfig::default() };
    Base { config, layers: Vec::new() }
}

fn composed(store: &Path, tar: Tar, base: Base) -> Image {
    compose(store, tar.bytes().as_slice(), base, Limits::default()).unwrap()
}

#[test]
fn a_layer_on_another_makes_an_image_that_survives_saving() {
    need_root();
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = composed(first.path(), Tar::default().file("etc/a", "one"), base());
    let below = Base { config: one.config.clone(), layers: one.layers.clone() };
    let two = composed(first.path(), Tar::default().file("etc/.wh.a", "").symlink("b", "etc/a"), below);
    assert_eq!((one.size, two.size), (3, 3 + 5));
    assert_eq!(two.config.rootfs.diff_ids.len(), 2);
    let names = vec!["docker.io/library/two:1".to_owned(), "docker.io/kim/two:latest".to_owned()];
    let mut archive = Vec::new();
    let store = Store::open(first.path()).unwrap();
    save(&[store], &[Item { names: names.clone(), image: two.clone() }], &mut archive).unwrap();
    let loaded = load(second.path(), archive.as_slice(), Limits::default(), &mut |_| {}).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].image, two);
    assert_eq!(HashSet::<&String>::from_iter(&loaded[0].names), HashSet::from_iter(&names));
    let top = Store::open(second.path()).unwrap().layer_dir(&two.layers[1].diff_id);
    assert!(fs::symlink_metadata(top.join("etc/a")).unwrap().file_type().is_char_device());
    assert_eq!(fs::read_dir(second.path().join("layers")).unwrap().count(), 2);
    assert!(!second.path().join("work").exists() && !second.path().join("index.json").exists());
}

#[test]
fn an_overlay_s_upper_directory_becomes_a_layer_and_back() {
    need_root();
    let (upper, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| upper.path().join(name);
    fs::create_dir_all(at("var/log")).unwrap();
    setxattr(at("var"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    setxattr(at("var/log"), "user.note", b"kept", XattrFlags::empty()).unwrap();
    mknodat(CWD, at("gone"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    fs::write(at("su"), "program").unwrap();
    fs::set_permissions(at("su"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(at("su"), at("sudo")).unwrap();
    symlink("/etc/shadow", at("link")).unwrap();
    fs::write(at(&"n".repeat(200)), "long").unwrap();
    fs::write(at("skipped"), "").unwrap();
    let mut tar = Vec::new();
    upper::write(upper.path(), &HashSet::from(["skipped".into()]), &mut tar).unwrap();
    let image = compose(store.path(), tar.as_slice(), base(), Limits::default()).unwrap();
    let layer = Store::open(store.path()).unwrap().layer_dir(&image.layers[0].diff_id);
    let metadata = |name: &str| fs::symlink_metadata(layer.join(name)).unwrap();
    assert!(metadata("gone").file_type().is_char_device() && metadata("gone").rdev() == 0);
    assert_eq!((metadata("su").mode() & 0o7777, metadata("sudo").nlink()), (0o4755, 2));
    assert_eq!(fs::read_link(layer.join("link")).unwrap(), Path::new("/etc/shadow"));
    assert_eq!(fs::read_to_string(layer.join("n".repeat(200))).unwrap(), "long");
    assert!(!layer.join("skipped").exists());
    let attribute = |path: &str, name: &str| {
        let mut value = [0; 16];
        rustix::fs::lgetxattr(layer.join(path), name, &mut value[..]).map(|length| value[..length].to_vec())
    };
    assert_eq!(attribute("var", "user.overlay.opaque").unwrap(), b"y");
    assert_eq!(attribute("var/log", "user.note").unwrap(), b"kept");
}

#[test]
fn too_many_layers_are_refused_and_nothing_stays() {
    need_root();
    let store = tempfile::tempdir().unwrap();
    let one = composed(store.path(), Tar::default().file("a", "one"), base());
    let layers = vec![one.layers[0].clone(); Limits::default().layers];
    let full = Base { config: one.config, layers };
    let refused = compose(store.path(), &b""[..], full, Limits::default()).unwrap_err();
    assert!(refused.to_string().starts_with("max depth exceeded"), "{refused}");
    assert_eq!(fs::read_dir(store.path().join("layers")).unwrap().count(), 1);
}
