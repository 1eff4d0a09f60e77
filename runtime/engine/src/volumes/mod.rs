//! Volumes: `/volumes/…`, directories on the node's disk.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use crate::{
    clock,
    containers::config::from_body,
    engine::{Engine, Shared, below_root},
    error::{ApiError, failed},
    filters::{Filters, is_true},
    random, state_file,
};

/// The most volumes a node may have.
const VOLUMES_MAX: usize = 1000;

/// A volume, as kept on disk and shown by `docker volume inspect`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Volume {
    created_at: String,
    driver: String,
    labels: Option<BTreeMap<String, String>>,
    mountpoint: String,
    name: String,
    options: Option<BTreeMap<String, String>>,
    scope: String,
}

/// Where volumes are.
pub(crate) struct Volumes;

/// The directory that a volume's files are in.
pub(crate) fn data(name: &str) -> PathBuf {
    below_root(&["volumes", name, "_data"])
}

fn about(name: &str) -> PathBuf {
    below_root(&["volumes", name, "volume.json"])
}

fn is_valid(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let bytes = name.as_bytes();
    (2..=255).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|byte| allowed(*byte))
}

impl Volumes {
    pub(crate) fn load() -> io::Result<Volumes> {
        fs::create_dir_all(below_root(&["volumes"]))?;
        Ok(Volumes)
    }

    /// Makes a volume, unless it is there.
    pub(crate) fn make(
        &self,
        engine: &Engine,
        name: &str,
        labels: Option<BTreeMap<String, String>>,
    ) -> Result<Volume, ApiError> {
        if !is_valid(name) {
            return Err(ApiError::Invalid(format!(
                "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
                 \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            )));
        }
        if let Some(volume) = self.find(name)? {
            return Ok(volume);
        }
        if self.all()?.len() >= VOLUMES_MAX {
            return Err(ApiError::Conflict(format!(
                "this node has {VOLUMES_MAX} volumes already: remove some"
            )));
        }
        fs::create_dir_all(data(name)).map_err(failed(format!("create {name}")))?;
        let volume = Volume {
            created_at: clock::now()
                .split('.')
                .next()
                .map(|time| time.trim_end_matches('Z').to_owned() + "Z")
                .unwrap_or_default(),
            driver: "local".to_owned(),
            labels,
            mountpoint: data(name).display().to_string(),
            name: name.to_owned(),
            options: None,
            scope: "local".to_owned(),
        };
        state_file::write(&about(name), &volume).map_err(failed(format!("create {name}")))?;
        engine.events.tell(
            "volume",
            "create",
            name,
            BTreeMap::from([("driver".to_owned(), "local".to_owned())]),
        );
        Ok(volume)
    }

    fn find(&self, name: &str) -> Result<Option<Volume>, ApiError> {
        if !is_valid(name) {
            return Ok(None);
        }
        state_file::read(&about(name)).map_err(failed(format!("reading volume {name} failed")))
    }

    fn all(&self) -> Result<Vec<Volume>, ApiError> {
        let entries = fs::read_dir(below_root(&["volumes"])).map_err(failed("reading volumes failed"))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut all = Vec::new();
        for name in names {
            all.extend(self.find(&name)?);
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// Removes a volume that was made without a name, if nobody else uses it.
    pub(crate) fn remove_anonymous(&self, engine: &Engine, name: &str) {
        let anonymous = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !anonymous || !users(engine, name).is_empty() {
            return;
        }
        if let Err(error) = remove_now(engine, name) {
            tracing::warn!(%error, name, "a volume stays");
        }
    }
}

fn users(engine: &Engine, name: &str) -> Vec<String> {
    let records = engine.containers.all().into_iter().map(|container| container.record());
    records
        .filter(|record| record.mounts.iter().any(|point| point.name == name))
        .map(|record| record.id)
        .collect()
}

fn remove_now(engine: &Engine, name: &str) -> Result<(), ApiError> {
    fs::remove_dir_all(below_root(&["volumes", name])).map_err(failed(format!("remove {name}")))?;
    engine.events.tell(
        "volume",
        "destroy",
        name,
        BTreeMap::from([("driver".to_owned(), "local".to_owned())]),
    );
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct VolumesQuery {
    filters: String,
    force: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct List {
    volumes: Vec<Volume>,
    warnings: Option<Vec<String>>,
}

/// `GET /volumes`
pub(crate) async fn list(
    State(engine): State<Shared>,
    Query(query): Query<VolumesQuery>,
) -> Result<Json<List>, ApiError> {
    let filters = Filters::parse(&query.filters)?;
    filters.only(&["dangling", "driver", "label", "name"])?;
    let dangling = filters.flag("dangling")?;
    let mut volumes = engine.volumes.all()?;
    volumes.retain(|volume| {
        filters.allows("name", |wanted| volume.name.contains(wanted))
            && filters.allows("driver", |wanted| volume.driver == wanted)
            && filters.labels(&volume.labels.clone().unwrap_or_default())
            && dangling.is_none_or(|wanted| users(&engine, &volume.name).is_empty() == wanted)
    });
    Ok(Json(List { volumes, warnings: None }))
}

/// A volume with what it takes, for `docker system df`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Used {
    #[serde(flatten)]
    volume: Volume,
    usage_data: UsageData,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UsageData {
    ref_count: usize,
    size: u64,
}

/// All volumes with what they take.
pub(crate) fn usage(engine: &Engine) -> Result<Vec<Used>, ApiError> {
    let volumes = engine.volumes.all()?.into_iter();
    Ok(volumes
        .map(|volume| {
            let usage_data = UsageData {
                ref_count: users(engine, &volume.name).len(),
                size: crate::system::usage::size_of(&data(&volume.name)),
            };
            Used { volume, usage_data }
        })
        .collect())
}

/// `GET /volumes/{name}`
pub(crate) async fn inspect(
    State(engine): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<Volume>, ApiError> {
    let found = engine.volumes.find(&name)?;
    found.map(Json).ok_or_else(|| ApiError::NotFound(format!("get {name}: no such volume")))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CreateBody {
    name: String,
    driver: String,
    labels: Option<BTreeMap<String, String>>,
}

/// `POST /volumes/create`
pub(crate) async fn create(
    State(engine): State<Shared>,
    body: Bytes,
) -> Result<(StatusCode, Json<Volume>), ApiError> {
    let body: CreateBody =
        from_body(&body).map_err(|error| ApiError::Invalid(format!("invalid JSON: {error}")))?;
    let name = if body.name.is_empty() { random::id() } else { body.name };
    if !matches!(body.driver.as_str(), "" | "local") {
        let driver = body.driver;
        return Err(ApiError::NotFound(format!(
            "create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"
        )));
    }
    Ok((StatusCode::CREATED, Json(engine.volumes.make(&engine, &name, body.labels)?)))
}

/// `DELETE /volumes/{name}`
pub(crate) async fn remove(
    State(engine): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<VolumesQuery>,
) -> Result<StatusCode, ApiError> {
    if engine.volumes.find(&name)?.is_none() {
        if is_true(&query.force) {
            return Ok(StatusCode::NO_CONTENT);
        }
        return Err(ApiError::NotFound(format!("get {name}: no such volume")));
    }
    let users = users(&engine, &name);
    if !users.is_empty() {
        return Err(ApiError::Conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
    }
    remove_now(&engine, &name)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pruned {
    volumes_deleted: Option<Vec<String>>,
    space_reclaimed: u64,
}

/// `POST /volumes/prune`
pub(crate) async fn prune(
    State(engine): State<Shared>,
    Query(query): Query<VolumesQuery>,
) -> Result<Json<Pruned>, ApiError> {
    let filters = Filters::parse(&query.filters)?;
    let all = filters.flag("all")?.unwrap_or(false);
    let (mut gone, mut space) = (Vec::new(), 0);
    for volume in engine.volumes.all()? {
        let anonymous = volume.name.len() == 64;
        if (all || anonymous) && users(&engine, &volume.name).is_empty() {
            space += crate::system::usage::size_of(&data(&volume.name));
            remove_now(&engine, &volume.name)?;
            gone.push(volume.name);
        }
    }
    Ok(Json(Pruned { volumes_deleted: Some(gone).filter(|gone| !gone.is_empty()), space_reclaimed: space }))
}
