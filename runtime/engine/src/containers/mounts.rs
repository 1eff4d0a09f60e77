//! What a container has mounted: `-v`, `--mount`, `--tmpfs`, volumes of the
//! image.

use std::path::Path;

use super::{
    config::{Config, HostConfig},
    record::MountPoint,
};
use crate::{engine::Engine, error::ApiError, random, volumes};

/// Reads all that is asked for, and makes volumes that are not there.
pub(super) fn resolve(
    engine: &Engine,
    config: &Config,
    host: &HostConfig,
) -> Result<Vec<MountPoint>, ApiError> {
    let mut found = Vec::new();
    for bind in host.binds.iter().flatten() {
        put(&mut found, from_bind(engine, bind)?);
    }
    for request in &host.mounts {
        let point = match request.kind.as_str() {
            "bind" => bind_mount(&request.source, &request.target, request.read_only)?,
            "volume" | "" => {
                let name = if request.source.is_empty() { random::id() } else { request.source.clone() };
                volume_mount(engine, &name, &request.target, if request.read_only { "ro" } else { "z" })?
            }
            "tmpfs" => tmpfs(&request.target),
            other => {
                return Err(ApiError::Invalid(format!(
                    "invalid mount config for type \"{other}\": mount type unknown"
                )));
            }
        };
        put(&mut found, point);
    }
    for path in config.volumes.iter().flatten().map(|(path, _)| path) {
        if !found.iter().any(|point: &MountPoint| point.destination == *path) {
            put(&mut found, volume_mount(engine, &random::id(), path, "")?);
        }
    }
    Ok(found)
}

/// A later one at the same place counts.
fn put(found: &mut Vec<MountPoint>, point: MountPoint) {
    found.retain(|other| other.destination != point.destination);
    found.push(point);
}

fn from_bind(engine: &Engine, bind: &str) -> Result<MountPoint, ApiError> {
    let invalid = |why: String| ApiError::Failed(format!("invalid volume specification: '{bind}': {why}"));
    let parts: Vec<&str> = bind.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        _ => return Err(ApiError::Invalid(format!("invalid volume specification: '{bind}'"))),
    };
    let options: Vec<&str> = mode.split(',').filter(|option| !option.is_empty()).collect();
    let known = [
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
    if let Some(unknown) = options.iter().find(|option| !known.contains(option)) {
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
    let readonly = options.contains(&"ro");
    if kind == "volume" {
        let mode = if mode.is_empty() { "z" } else { mode };
        let mut point = volume_mount(engine, source, target, mode)?;
        point.rw = !readonly;
        return Ok(point);
    }
    // Docker makes a missing directory for -v.
    if !Path::new(source).exists() {
        std::fs::create_dir_all(source).map_err(|error| {
            ApiError::Failed(format!("error while creating mount source path '{source}': {error}"))
        })?;
    }
    let mut point = bind_mount(source, target, readonly)?;
    mode.clone_into(&mut point.mode);
    Ok(point)
}

fn bind_mount(source: &str, target: &str, readonly: bool) -> Result<MountPoint, ApiError> {
    let refuse =
        |why: String| Err(ApiError::Invalid(format!("invalid mount config for type \"bind\": {why}")));
    if !source.starts_with('/') {
        return refuse(format!("invalid mount path: '{source}' mount path must be absolute"));
    }
    if !target.starts_with('/') {
        return refuse(format!("invalid mount path: '{target}' mount path must be absolute"));
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

fn volume_mount(engine: &Engine, name: &str, target: &str, mode: &str) -> Result<MountPoint, ApiError> {
    engine.volumes.make(engine, name, Default::default())?;
    Ok(MountPoint {
        kind: "volume".to_owned(),
        name: name.to_owned(),
        source: volumes::data(name).display().to_string(),
        destination: target.to_owned(),
        driver: "local".to_owned(),
        mode: mode.to_owned(),
        rw: mode != "ro",
        propagation: String::new(),
    })
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
