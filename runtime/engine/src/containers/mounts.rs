//! What a container has mounted: `--volumes-from`, `-v`, `--mount`, `--tmpfs`,
//! volumes of the image.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{
    config::{Config, HostConfig, MountRequest},
    record::{MountPoint, Record},
};
use crate::{
    engine::Engine,
    error::ApiError,
    random,
    volumes::{self, New},
};

/// The most mounts of one container.
const MOUNTS_MAX: usize = 256;
/// What may stand after the second colon of `-v`.
const BIND_OPTIONS: &[&str] = &[
    "ro",
    "rw",
    "z",
    "Z",
    "nocopy",
    "cached",
    "delegated",
    "consistent",
    "rprivate",
    "private",
    "rslave",
    "slave",
    "rshared",
    "shared",
];
const PROPAGATIONS: &[&str] = &["rprivate", "private", "rslave", "slave", "rshared", "shared"];

/// Reads all that is asked for, and makes volumes that are not there.
pub(super) fn resolve(
    engine: &Engine,
    config: &Config,
    host: &HostConfig,
) -> Result<Vec<MountPoint>, ApiError> {
    let mut found = Vec::new();
    for from in host.volumes_from.iter().flatten() {
        for point in of_other(engine, from)? {
            put(&mut found, point);
        }
    }
    let mut asked: Vec<String> = host.tmpfs.iter().flatten().map(|(path, _)| path.clone()).collect();
    for bind in host.binds.iter().flatten() {
        refuse_twice(&mut asked, bind.split(':').nth(1).unwrap_or_default())?;
        put(&mut found, from_bind(engine, bind)?);
    }
    for request in &host.mounts {
        refuse_twice(&mut asked, &request.target)?;
        put(&mut found, from_request(engine, request)?);
    }
    for path in config.volumes.iter().flatten().map(|(path, _)| path) {
        if !found.iter().any(|point: &MountPoint| point.destination == *path) && !asked.contains(path) {
            put(&mut found, anonymous(engine, path, "")?);
        }
    }
    if found.len() > MOUNTS_MAX {
        return Err(ApiError::Invalid(format!("a container has at most {MOUNTS_MAX} mounts")));
    }
    Ok(found)
}

/// A later one at the same place counts.
fn put(found: &mut Vec<MountPoint>, point: MountPoint) {
    found.retain(|other| other.destination != point.destination);
    found.push(point);
}

fn refuse_twice(asked: &mut Vec<String>, target: &str) -> Result<(), ApiError> {
    if asked.iter().any(|other| other == target) {
        return Err(ApiError::Invalid(format!("Duplicate mount point: {target}")));
    }
    asked.push(target.to_owned());
    Ok(())
}

/// The mounts of another container, for `--volumes-from NAME[:ro]`.
fn of_other(engine: &Engine, from: &str) -> Result<Vec<MountPoint>, ApiError> {
    let (name, mode) = from.split_once(':').unwrap_or((from, ""));
    if name.is_empty() {
        return Err(ApiError::Invalid("malformed volumes-from specification".to_owned()));
    }
    let options: Vec<&str> = mode.split(',').filter(|option| !option.is_empty()).collect();
    if options.iter().any(|option| !["ro", "rw", "z", "Z"].contains(option)) {
        return Err(ApiError::Invalid(format!("invalid mode: {mode}")));
    }
    let points = engine.containers.find(name)?.record().mounts;
    let points = points.into_iter().map(|mut point| {
        point.rw = point.rw && !options.contains(&"ro");
        mode.clone_into(&mut point.mode);
        point
    });
    Ok(points.collect())
}

fn from_bind(engine: &Engine, bind: &str) -> Result<MountPoint, ApiError> {
    let invalid = |why: String| ApiError::Invalid(format!("invalid volume specification: '{bind}': {why}"));
    let parts: Vec<&str> = bind.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        _ => return Err(ApiError::Invalid(format!("invalid volume specification: '{bind}'"))),
    };
    let options: Vec<&str> = mode.split(',').filter(|option| !option.is_empty()).collect();
    if let Some(unknown) = options.iter().find(|option| !BIND_OPTIONS.contains(option)) {
        return Err(ApiError::Invalid(format!("invalid mode: {unknown}")));
    }
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    if !target.starts_with('/') {
        return Err(invalid(format!(
            "invalid mount config for type \"{kind}\": invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    if Path::new(target) == Path::new("/") {
        return Err(invalid(format!(
            "invalid mount config for type \"{kind}\": invalid specification: destination can't be '/'"
        )));
    }
    if kind == "volume" {
        let mode = if mode.is_empty() { "z" } else { mode };
        return volume_mount(engine, source, New::default(), target, mode, !options.contains(&"ro"));
    }
    if options.contains(&"nocopy") {
        return Err(ApiError::Invalid(format!("invalid mode: {mode}")));
    }
    // Docker makes a missing directory for -v.
    if !Path::new(source).exists() {
        std::fs::create_dir_all(source).map_err(|error| {
            ApiError::Failed(format!("error while creating mount source path '{source}': {error}"))
        })?;
    }
    let mut point = bind_mount(source, target, options.contains(&"ro"))?;
    mode.clone_into(&mut point.mode);
    if let Some(propagation) = options.iter().find(|option| PROPAGATIONS.contains(option)) {
        (*propagation).clone_into(&mut point.propagation);
    }
    Ok(point)
}

/// `VolumeOptions` of a mount that is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct VolumeOptions {
    no_copy: bool,
    labels: BTreeMap<String, String>,
    driver_config: Driver,
    subpath: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Driver {
    name: String,
    options: BTreeMap<String, String>,
}

/// `BindOptions` of a mount that is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BindOptions {
    propagation: String,
    create_mountpoint: bool,
}

/// `TmpfsOptions` of a mount that is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TmpfsOptions {
    size_bytes: i64,
    mode: u32,
}

fn options<T: Default + serde::de::DeserializeOwned>(value: &Option<Value>) -> Result<T, ApiError> {
    let Some(value) = value else { return Ok(T::default()) };
    T::deserialize(value).map_err(|error| ApiError::Invalid(format!("invalid mount config: {error}")))
}

fn from_request(engine: &Engine, request: &MountRequest) -> Result<MountPoint, ApiError> {
    let MountRequest { kind, source, target, .. } = request;
    let refuse =
        |why: &str| Err(ApiError::Invalid(format!("invalid mount config for type \"{kind}\": {why}")));
    if target.is_empty() {
        return refuse("field Target must not be empty");
    }
    if Path::new(target) == Path::new("/") {
        return refuse("invalid specification: destination can't be '/'");
    }
    if !target.starts_with('/') {
        return refuse(&format!("invalid mount path: '{target}' mount path must be absolute"));
    }
    match kind.as_str() {
        "bind" => {
            let wanted: BindOptions = options(&request.bind_options)?;
            if source.is_empty() {
                return refuse("field Source must not be empty");
            }
            if wanted.create_mountpoint && source.starts_with('/') && !Path::new(source).exists() {
                std::fs::create_dir_all(source).map_err(|error| {
                    ApiError::Failed(format!("error while creating mount source path '{source}': {error}"))
                })?;
            }
            let mut point = bind_mount(source, target, request.read_only)?;
            if !wanted.propagation.is_empty() {
                if !PROPAGATIONS.contains(&wanted.propagation.as_str()) {
                    return refuse(&format!("invalid propagation mode: {}", wanted.propagation));
                }
                point.propagation = wanted.propagation;
            }
            Ok(point)
        }
        "volume" => {
            let wanted: VolumeOptions = options(&request.volume_options)?;
            if source.is_empty() && wanted.no_copy && request.read_only {
                return refuse("must not set ReadOnly mode when using anonymous volumes");
            }
            if !wanted.subpath.is_empty() {
                return Err(ApiError::NotImplemented(
                    "mounting a part of a volume is not supported by this engine: leave volume-subpath out"
                        .to_owned(),
                ));
            }
            if source.is_empty() {
                return anonymous(engine, target, "z")
                    .map(|point| MountPoint { rw: !request.read_only, ..point });
            }
            let new = New {
                driver: wanted.driver_config.name,
                labels: Some(wanted.labels).filter(|labels| !labels.is_empty()),
                options: Some(wanted.driver_config.options).filter(|options| !options.is_empty()),
            };
            volume_mount(engine, source, new, target, "z", !request.read_only)
        }
        "tmpfs" if !source.is_empty() => refuse("field Source must not be specified"),
        "tmpfs" => {
            let wanted: TmpfsOptions = options(&request.tmpfs_options)?;
            if wanted.size_bytes < 0 {
                return refuse("size must not be negative");
            }
            Ok(MountPoint { rw: !request.read_only, ..tmpfs(target) })
        }
        "" => Err(ApiError::Invalid("mount type unknown".to_owned())),
        _ => refuse("mount type unknown"),
    }
}

fn bind_mount(source: &str, target: &str, readonly: bool) -> Result<MountPoint, ApiError> {
    let refuse =
        |why: String| Err(ApiError::Invalid(format!("invalid mount config for type \"bind\": {why}")));
    if !source.starts_with('/') {
        return refuse(format!("invalid mount path: '{source}' mount path must be absolute"));
    }
    if !Path::new(source).exists() {
        return refuse(format!("bind source path does not exist: {source}"));
    }
    Ok(MountPoint {
        kind: "bind".to_owned(),
        name: String::new(),
        source: source.to_owned(),
        destination: target.to_owned(),
        driver: String::new(),
        mode: String::new(),
        rw: !readonly,
        propagation: "rprivate".to_owned(),
    })
}

fn volume_mount(
    engine: &Engine,
    name: &str,
    new: New,
    target: &str,
    mode: &str,
    rw: bool,
) -> Result<MountPoint, ApiError> {
    engine.volumes.make(engine, name, new)?;
    Ok(MountPoint {
        kind: "volume".to_owned(),
        name: name.to_owned(),
        source: volumes::data(name).display().to_string(),
        destination: target.to_owned(),
        driver: "local".to_owned(),
        mode: mode.to_owned(),
        rw,
        propagation: String::new(),
    })
}

/// A new volume without a name of its own.
fn anonymous(engine: &Engine, target: &str, mode: &str) -> Result<MountPoint, ApiError> {
    volume_mount(engine, &random::id(), New::anonymous(), target, mode, true)
}

fn tmpfs(target: &str) -> MountPoint {
    MountPoint {
        kind: "tmpfs".to_owned(),
        name: String::new(),
        source: String::new(),
        destination: target.to_owned(),
        driver: String::new(),
        mode: String::new(),
        rw: true,
        propagation: String::new(),
    }
}

/// The options of a tmpfs that `--mount` asked for.
pub(super) fn tmpfs_options(record: &Record, target: &str) -> String {
    let request = record.host_config.mounts.iter().find(|request| request.target == target);
    // It was read when the container was created.
    let wanted: TmpfsOptions =
        request.and_then(|request| options(&request.tmpfs_options).ok()).unwrap_or_default();
    let mut all = Vec::new();
    if wanted.size_bytes > 0 {
        all.push(format!("size={}", wanted.size_bytes));
    }
    if wanted.mode != 0 {
        all.push(format!("mode={:o}", wanted.mode & 0o7777));
    }
    all.join(",")
}

/// Whether an empty volume there gets what the image has.
pub(super) fn is_filled(record: &Record, point: &MountPoint) -> bool {
    let request = record.host_config.mounts.iter().find(|request| request.target == point.destination);
    let wanted: VolumeOptions =
        request.and_then(|request| options(&request.volume_options).ok()).unwrap_or_default();
    !wanted.no_copy && !point.mode.split(',').any(|option| option == "nocopy")
}
