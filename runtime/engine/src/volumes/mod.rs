//! Volumes: `/volumes/…`, directories on the node's disk.

pub(crate) mod mount;

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
    filters::{Filters, PruneQuery, is_true},
    random,
    server::ApiVersion,
    state_file,
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

/// What Docker marks a volume with that was given no name.
const ANONYMOUS: &str = "com.docker.volume.anonymous";
/// The most labels and options of a volume, together, and the bytes of each.
const TEXTS_MAX: usize = 256;
const TEXT_MAX: usize = 4096;

/// What a new volume is asked to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct New {
    pub(crate) driver: String,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// What to mount on it: `type`, `device`, `o`.
    pub(crate) options: Option<BTreeMap<String, String>>,
}

impl New {
    /// One without a name of its own.
    pub(crate) fn anonymous() -> New {
        New { labels: Some(BTreeMap::from([(ANONYMOUS.to_owned(), String::new())])), ..New::default() }
    }
}

impl Volume {
    fn is_anonymous(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.contains_key(ANONYMOUS))
    }
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
    pub(crate) fn make(&self, engine: &Engine, name: &str, new: New) -> Result<Volume, ApiError> {
        check(name, &new)?;
        if name.len() == 1 {
            return Err(ApiError::Invalid(format!(
                "create {name}: volume name is too short, names should be at least two alphanumeric characters"
            )));
        }
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
            labels: new.labels,
            mountpoint: data(name).display().to_string(),
            name: name.to_owned(),
            options: new.options,
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
        let is_anonymous = matches!(self.find(name), Ok(Some(volume)) if volume.is_anonymous());
        if !is_anonymous || !users(engine, name).is_empty() {
            return;
        }
        if let Err(error) = remove_now(engine, name) {
            tracing::warn!(%error, name, "a volume stays");
        }
    }
}

/// Refuses drivers and options that there are none of.
fn check(name: &str, new: &New) -> Result<(), ApiError> {
    if !matches!(new.driver.as_str(), "" | "local") {
        let driver = &new.driver;
        return Err(ApiError::NotFound(format!(
            "create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"
        )));
    }
    let texts: Vec<(&String, &String)> = new.labels.iter().chain(&new.options).flatten().collect();
    if texts.len() > TEXTS_MAX || texts.iter().any(|(key, value)| key.len() + value.len() > TEXT_MAX) {
        return Err(ApiError::Invalid(format!(
            "create {name}: a volume has at most {TEXTS_MAX} labels and options of {TEXT_MAX} bytes each"
        )));
    }
    let Some(options) = &new.options else { return Ok(()) };
    if let Some(unknown) = options.keys().find(|key| !["type", "device", "o", "size"].contains(&key.as_str()))
    {
        return Err(ApiError::Invalid(format!("create {name}: invalid option: \"{unknown}\"")));
    }
    if options.contains_key("size") {
        return Err(ApiError::Failed(format!("create {name}: quota size requested but no quota support")));
    }
    for missing in ["device", "type"] {
        if !options.contains_key(missing) {
            return Err(ApiError::Invalid(format!("create {name}: missing required option: \"{missing}\"")));
        }
    }
    Ok(())
}

fn users(engine: &Engine, name: &str) -> Vec<String> {
    let records = engine.containers.all().into_iter().map(|container| container.record());
    records
        .filter(|record| record.mounts.iter().any(|point| point.name == name))
        .map(|record| record.id)
        .collect()
}

fn remove_now(engine: &Engine, name: &str) -> Result<(), ApiError> {
    mount::release(name).map_err(failed(format!("remove {name}")))?;
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
    driver_opts: Option<BTreeMap<String, String>>,
}

/// `POST /volumes/create`
pub(crate) async fn create(
    State(engine): State<Shared>,
    body: Bytes,
) -> Result<(StatusCode, Json<Volume>), ApiError> {
    let body: CreateBody =
        from_body(&body).map_err(|error| ApiError::Invalid(format!("invalid JSON: {error}")))?;
    let mut labels = body.labels.filter(|labels| !labels.is_empty());
    let name = if body.name.is_empty() {
        labels.get_or_insert_default().extend(New::anonymous().labels.unwrap_or_default());
        random::id()
    } else {
        body.name
    };
    let options = body.driver_opts.filter(|options| !options.is_empty());
    let new = New { driver: body.driver, labels, options };
    Ok((StatusCode::CREATED, Json(engine.volumes.make(&engine, &name, new)?)))
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
    Query(query): Query<PruneQuery>,
    version: ApiVersion,
) -> Result<Json<Pruned>, ApiError> {
    let version = version.pair();
    let filters = Filters::parse(&query.filters)?;
    filters.only(&["all", "label", "label!"])?;
    // Older clients know nothing of `all`, and mean it.
    let all = filters.flag("all")?.unwrap_or(version < (1, 42));
    let (mut gone, mut space) = (Vec::new(), 0);
    for volume in engine.volumes.all()? {
        let is_meant = (all || volume.is_anonymous())
            && volume.options.is_none()
            && filters.prune_labels(&volume.labels.clone().unwrap_or_default());
        if is_meant && users(&engine, &volume.name).is_empty() {
            space += crate::system::usage::size_of(&data(&volume.name));
            remove_now(&engine, &volume.name)?;
            gone.push(volume.name);
        }
    }
    let reclaimed = BTreeMap::from([("reclaimed".to_owned(), u64::to_string(&space))]);
    engine.events.tell("volume", "prune", "", reclaimed);
    Ok(Json(Pruned { volumes_deleted: Some(gone).filter(|gone| !gone.is_empty()), space_reclaimed: space }))
}
