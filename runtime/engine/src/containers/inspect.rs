//! `GET /containers/{ref}/json`: what `docker inspect` prints as it is.

use std::{collections::BTreeMap, path::Path as FilePath};

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};

use super::{
    Container,
    config::{Config, HostConfig},
    directory,
    record::{Health, MountPoint, Record, Status},
};
use crate::{
    engine::{Engine, Shared},
    error::ApiError,
    filters::is_true,
    networks::{NetworkSettings, settings, shown_links},
    system::usage,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InspectQuery {
    size: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspect {
    id: String,
    created: String,
    path: String,
    args: Vec<String>,
    state: State_,
    image: String,
    resolv_conf_path: String,
    hostname_path: String,
    hosts_path: String,
    log_path: String,
    name: String,
    restart_count: u32,
    driver: &'static str,
    platform: &'static str,
    mount_label: &'static str,
    process_label: &'static str,
    app_armor_profile: &'static str,
    #[serde(rename = "ExecIDs")]
    exec_ids: Option<Vec<String>>,
    host_config: HostConfig,
    graph_driver: GraphDriver,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_rw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_root_fs: Option<u64>,
    mounts: Vec<MountPoint>,
    config: Config,
    network_settings: NetworkSettings,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct State_ {
    status: Status,
    running: bool,
    paused: bool,
    restarting: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    dead: bool,
    pid: i32,
    exit_code: i32,
    error: String,
    started_at: String,
    finished_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GraphDriver {
    pub(crate) data: BTreeMap<&'static str, String>,
    pub(crate) name: &'static str,
}

/// `GET /containers/{ref}/json`
pub(crate) async fn inspect(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<InspectQuery>,
) -> Result<Json<Inspect>, ApiError> {
    let container = engine.containers.find(&reference)?;
    Ok(Json(describe(&engine, &container, is_true(&query.size))))
}

fn describe(engine: &Engine, container: &Container, size: bool) -> Inspect {
    let record = container.record();
    let mut argv = record.argv().into_iter();
    let place = |name: &str| {
        // Made by the first start.
        let path = directory(&record.id).join(name);
        if record.state.started_at == crate::clock::NEVER {
            String::new()
        } else {
            path.display().to_string()
        }
    };
    let execs = engine.execs.running_in(&record.id);
    let sizes = size.then(|| sizes(engine, &record));
    let links = shown_links(engine, &record);
    Inspect {
        path: argv.next().unwrap_or_default(),
        args: argv.collect(),
        state: state(&record),
        resolv_conf_path: place("resolv.conf"),
        hostname_path: place("hostname"),
        hosts_path: place("hosts"),
        log_path: place("log"),
        name: format!("/{}", record.name),
        restart_count: record.restart_count,
        driver: "overlay2",
        platform: "linux",
        mount_label: "",
        process_label: "",
        app_armor_profile: "",
        exec_ids: Some(execs).filter(|execs| !execs.is_empty()),
        graph_driver: graph_driver(&record),
        size_rw: sizes.map(|(rw, _)| rw),
        size_root_fs: sizes.map(|(_, all)| all),
        network_settings: settings(engine, &record),
        id: record.id,
        created: record.created,
        image: record.image,
        host_config: HostConfig { links, ..record.host_config },
        mounts: record.mounts,
        config: record.config,
    }
}

fn state(record: &Record) -> State_ {
    let state = &record.state;
    State_ {
        status: state.status,
        running: state.status.is_active(),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: state.pid,
        exit_code: state.exit_code,
        error: state.error.clone(),
        started_at: state.started_at.clone(),
        finished_at: state.finished_at.clone(),
        health: state.health.clone(),
    }
}

fn graph_driver(record: &Record) -> GraphDriver {
    let overlay = record.overlay();
    let lower: Vec<String> =
        record.layers.iter().rev().map(|layer| crate::images::layers::shown(layer)).collect();
    let data = BTreeMap::from([
        ("ID", record.id.clone()),
        ("LowerDir", lower.join(":")),
        ("MergedDir", format!("{overlay}/merged")),
        ("UpperDir", format!("{overlay}/diff")),
        ("WorkDir", format!("{overlay}/work")),
    ]);
    GraphDriver { data, name: "overlay2" }
}

/// What a container wrote, and that with its image.
pub(super) fn sizes(engine: &Engine, record: &Record) -> (u64, u64) {
    let written = usage::size_of(&FilePath::new(&record.overlay()).join("diff"));
    let image = engine.images.by_id(&record.image).map_or(0, |image| image.size());
    (written, written + image)
}
