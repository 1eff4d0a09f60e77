//! `POST /containers/create` and `POST /containers/{ref}/rename`

use std::{fs, os::unix::fs::DirBuilderExt, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{
    Container,
    config::{CreateBody, HostConfig, from_body},
    directory, health, limits, mounts, name_taken, names,
    record::{Record, State as RunState},
    tell,
};
use crate::{
    clock,
    container::StageError,
    engine::{Engine, Shared},
    error::{ApiError, failed},
    images::Local,
    networks, random,
};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CreateQuery {
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Created {
    id: String,
    warnings: Vec<String>,
}

/// `POST /containers/create`
pub(crate) async fn create(
    State(engine): State<Shared>,
    Query(query): Query<CreateQuery>,
    body: Bytes,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let body: CreateBody =
        from_body(&body).map_err(|error| ApiError::Invalid(format!("invalid JSON: {error}")))?;
    let name = query.name.trim_start_matches('/');
    if !name.is_empty() && !names::is_valid(name) {
        return Err(ApiError::Invalid(format!(
            "Invalid container name ({}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            query.name
        )));
    }
    let image = engine.images.find(&body.config.image)?;
    let warnings = networks::warnings(&body.host_config);
    let record = new_record(&engine, name, body, &image)?;
    let container = store(&engine, record)?;
    tell(&engine, &container.record(), "create", None);
    Ok((StatusCode::CREATED, Json(Created { id: container.id.clone(), warnings })))
}

fn new_record(engine: &Engine, name: &str, body: CreateBody, image: &Local) -> Result<Record, ApiError> {
    let CreateBody { mut config, mut host_config, networking_config } = body;
    let id = random::id();
    networks::check_mode(engine, &mut config, &mut host_config)?;
    merge_image(&mut config, image);
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) && config.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(ApiError::Invalid("no command specified".to_owned()));
    }
    health::check(&config)?;
    normalise(engine, &mut host_config)?;
    if config.hostname.is_empty() {
        config.hostname = match host_config.network_mode.as_str() {
            "host" => engine.spec.name.clone(),
            _ => id[..12].to_owned(),
        };
    }
    let networks = networks::attachments(engine, &host_config, networking_config.endpoints_config)?;
    let mounts = mounts::resolve(engine, &config, &host_config)?;
    let name = match name {
        "" => free_name(engine),
        given => given.to_owned(),
    };
    Ok(Record {
        id,
        name,
        created: clock::now(),
        image: image.id.to_string(),
        layers: image.layers(),
        config,
        host_config,
        mounts,
        state: RunState::default(),
        restart_count: 0,
        networks,
        sandbox: None,
        group: None,
        stopped: false,
        streak: 0,
    })
}

/// What the image says, where the request says nothing.
fn merge_image(config: &mut super::config::Config, image: &Local) {
    let from = &image.config().config;
    if config.user.is_empty() {
        config.user.clone_from(&from.user);
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&from.working_dir);
    }
    // A new entrypoint makes the image's command meaningless.
    if config.entrypoint.is_none() {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&from.cmd);
        }
        config.entrypoint.clone_from(&from.entrypoint);
    }
    // `--entrypoint ""` arrives as one empty word.
    if config.entrypoint.as_ref().is_some_and(|words| words.len() == 1 && words[0].is_empty()) {
        config.entrypoint = None;
    }
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for entry in from.env.iter() {
        if !config.env.iter().any(|own| name(own) == name(entry)) {
            config.env.push(entry.clone());
        }
    }
    if !config.env.iter().any(|own| name(own) == "PATH") {
        config.env.push(DEFAULT_PATH.to_owned());
    }
    for (key, value) in &from.labels {
        config.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    for port in from.exposed_ports.keys() {
        config.exposed_ports.entry(port.clone()).or_default();
    }
    if !from.volumes.is_empty() {
        let volumes = config.volumes.get_or_insert_default();
        for path in from.volumes.keys() {
            volumes.entry(path.clone()).or_default();
        }
    }
    config.volumes.take_if(|volumes| volumes.is_empty());
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&from.stop_signal);
    }
    if config.shell.is_none() {
        config.shell.clone_from(&from.shell);
    }
    health::merge(&mut config.healthcheck, from.healthcheck.as_ref());
}

/// Fills in Docker's defaults and refuses what can't be.
fn normalise(engine: &Engine, host: &mut HostConfig) -> Result<(), ApiError> {
    match host.network_mode.as_str() {
        "" | "default" => "bridge".clone_into(&mut host.network_mode),
        _ => {}
    }
    match host.log_config.kind.as_str() {
        "" => "json-file".clone_into(&mut host.log_config.kind),
        "json-file" | "local" | "none" => {}
        other => {
            return Err(ApiError::Invalid(format!(
                "error looking up logging plugin {other}: plugin \"{other}\" not found"
            )));
        }
    }
    check_security(host.security_opt.as_deref().unwrap_or_default())?;
    if host.restart_policy.name.is_empty() {
        "no".clone_into(&mut host.restart_policy.name);
    }
    if host.cgroupns_mode.is_empty() {
        "private".clone_into(&mut host.cgroupns_mode);
    }
    if host.ipc_mode.is_empty() {
        "private".clone_into(&mut host.ipc_mode);
    }
    if host.runtime.is_empty() {
        "runc".clone_into(&mut host.runtime);
    }
    if host.shm_size == 0 {
        host.shm_size = 64 << 20;
    }
    host.oom_kill_disable.get_or_insert(false);
    if !host.privileged {
        let list = |paths: &[&str]| Some(paths.iter().map(|path| (*path).to_owned()).collect());
        if host.masked_paths.is_none() {
            host.masked_paths = list(&drydock_sandbox::masks::MASKED);
        }
        if host.readonly_paths.is_none() {
            host.readonly_paths = list(&drydock_sandbox::masks::READONLY);
        }
    }
    limits::normalise(engine, host)?;
    for name in
        host.cap_add.iter().chain(&host.cap_drop).flatten().filter(|name| !name.eq_ignore_ascii_case("all"))
    {
        drydock_sandbox::capabilities::parse(name)
            .map_err(|error| ApiError::Invalid(StageError::from(error).to_string()))?;
    }
    Ok(())
}

/// Refuses security options that are none, or that this engine can't honour.
fn check_security(options: &[String]) -> Result<(), ApiError> {
    for option in options {
        let name = option.split(['=', ':']).next().unwrap_or_default();
        match (name, option.len() > name.len()) {
            ("no-new-privileges" | "disable", _) | ("label" | "apparmor" | "writable-cgroups", true) => {}
            ("seccomp", true) if matches!(&option["seccomp=".len()..], "unconfined" | "builtin") => {}
            ("seccomp", true) => {
                return Err(ApiError::NotImplemented(
                    "seccomp profiles of your own are not supported by this engine: use seccomp=unconfined, or leave \
                     the option out for Docker's own profile"
                        .to_owned(),
                ));
            }
            (_, false) => return Err(ApiError::Invalid(format!("invalid --security-opt 1: \"{option}\""))),
            (_, true) => return Err(ApiError::Invalid(format!("invalid --security-opt 2: \"{option}\""))),
        }
    }
    Ok(())
}

fn free_name(engine: &Engine) -> String {
    let mut attempt = 0;
    loop {
        let name = names::generate(random::number(), attempt);
        if engine.containers.holder(&name).is_none() {
            return name;
        }
        attempt += 1;
    }
}

fn store(engine: &Engine, record: Record) -> Result<Arc<Container>, ApiError> {
    if let Some(holder) = engine.containers.holder(&record.name) {
        return Err(name_taken(&record.name, &holder));
    }
    let make = |path: &std::path::Path| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o710)
            .create(path)
            .map_err(failed(format!("making {} failed", path.display())))
    };
    make(&directory(&record.id))?;
    let overlay = std::path::PathBuf::from(record.overlay());
    for part in ["diff", "work", "merged"] {
        make(&overlay.join(part))?;
    }
    fs::set_permissions(overlay.join("diff"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(failed("making the container's root failed"))?;
    let container = Arc::new(Container::new(record).map_err(failed("making the container's log failed"))?);
    container.change(|_| ())?;
    engine.containers.add(container.clone())?;
    Ok(container)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RenameQuery {
    name: String,
}

/// `POST /containers/{ref}/rename`
pub(crate) async fn rename(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<RenameQuery>,
) -> Result<StatusCode, ApiError> {
    let container = engine.containers.find(&reference)?;
    let name = query.name.trim_start_matches('/');
    if container.locked().name == name {
        let text = "Renaming a container with the same name as its current name";
        return Err(ApiError::Invalid(text.to_owned()));
    }
    if !names::is_valid(name) {
        return Err(ApiError::Invalid(format!(
            "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )));
    }
    engine.containers.rename(&container, name)?;
    tell(&engine, &container.record(), "rename", None);
    Ok(StatusCode::NO_CONTENT)
}
