//! A container's files as a new image's top layer, for `POST /commit`.

use std::{collections::HashSet, path::PathBuf};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Query, State},
    http::StatusCode,
};
use drydock_image::{
    compose::Base,
    config::{History, ImageConfig, RunConfig},
    digest::Digest,
    reference::Reference,
};
use serde_json::{Value, json};

use super::{
    announce, change, helper,
    layers::sweep_held,
    parse,
    stage::{Report, Source, Task},
};
use crate::{
    clock,
    containers::{config::from_body, record::Status},
    engine::Shared,
    error::{ApiError, failed},
};

/// `POST /commit`. The container goes on meanwhile: what it writes just then
/// may be in the image half.
pub(crate) async fn create(
    State(engine): State<Shared>,
    Query(query): Query<Vec<(String, String)>>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let values = |key: &'static str| {
        query.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    };
    let value = |key: &'static str| values(key).next().unwrap_or_default();
    let record = engine.containers.find(value("container"))?.record();
    if matches!(record.state.status, Status::Removing | Status::Dead) {
        let word = if record.state.status == Status::Dead { "Dead" } else { "being removed" };
        return Err(ApiError::Conflict(format!("You cannot commit container {} which is {word}", record.id)));
    }
    let name = match (value("repo"), value("tag")) {
        ("", _) => None,
        (repo, "") => Some(parse(repo)?),
        (repo, tag) => Some(parse(&format!("{repo}:{tag}"))?),
    };
    let own =
        serde_json::to_vec(&record.config).map_err(failed("reading the container's settings failed"))?;
    let mut config: RunConfig = from_body(&own).map_err(failed("reading the container's settings failed"))?;
    if !matches!(body.trim_ascii(), b"" | b"null") {
        let given: RunConfig =
            from_body(&body).map_err(|error| ApiError::Invalid(format!("invalid JSON: {error}")))?;
        config = over(given, config);
    }
    for line in values("changes") {
        change::apply(&mut config, line)?;
    }
    let made = Commit {
        upper: PathBuf::from(record.overlay()).join("diff"),
        skip: HashSet::new(),
        parent: record.image.clone(),
        config,
        author: value("author").to_owned(),
        comment: value("comment").to_owned(),
        created_by: record.config.cmd.clone().unwrap_or_default().join(" "),
        name,
    };
    let named = made.name.as_ref().map(Reference::familiar).unwrap_or_default();
    let comment = made.comment.clone();
    let id = commit(&engine, made).await?.to_string();
    let mut attributes = record.attributes();
    for (key, value) in [("comment", comment), ("imageID", id.clone()), ("imageRef", named)] {
        attributes.insert(key.to_owned(), value);
    }
    engine.events.tell("container", "commit", &record.id, attributes);
    Ok((StatusCode::CREATED, Json(json!({ "Id": id }))))
}

/// What the request gives, and the container's own where it gives nothing.
fn over(given: RunConfig, own: RunConfig) -> RunConfig {
    let text = |given: String, own: String| if given.is_empty() { own } else { given };
    let mut env = given.env;
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let missing: Vec<String> =
        own.env.into_iter().filter(|entry| !env.iter().any(|held| name(held) == name(entry))).collect();
    env.extend(missing);
    RunConfig {
        user: text(given.user, own.user),
        exposed_ports: own.exposed_ports.into_iter().chain(given.exposed_ports).collect(),
        env,
        cmd: given.cmd.or(own.cmd),
        entrypoint: given.entrypoint.or(own.entrypoint),
        volumes: own.volumes.into_iter().chain(given.volumes).collect(),
        working_dir: text(given.working_dir, own.working_dir),
        labels: own.labels.into_iter().chain(given.labels).collect(),
        stop_signal: text(given.stop_signal, own.stop_signal),
        shell: given.shell.or(own.shell),
        healthcheck: given.healthcheck.or(own.healthcheck),
        on_build: given.on_build,
    }
}

/// What is committed.
pub(crate) struct Commit {
    /// The overlay's upper directory, below `/var/lib/docker`.
    pub(crate) upper: PathBuf,
    /// Paths in it that are not the container's own, such as the places of
    /// mounts; relative to it.
    pub(crate) skip: HashSet<PathBuf>,
    /// The id of the image below, `sha256:…`.
    pub(crate) parent: String,
    /// What a container of the new image runs.
    pub(crate) config: RunConfig,
    pub(crate) author: String,
    pub(crate) comment: String,
    /// What `docker history` says: the container's command.
    pub(crate) created_by: String,
    /// Its name, when it gets one.
    pub(crate) name: Option<Reference>,
}

/// Makes the image; gives its id.
pub(crate) async fn commit(engine: &Shared, commit: Commit) -> Result<Digest, ApiError> {
    let missing = || ApiError::NotFound(format!("No such image: {}", commit.parent));
    let parent = engine.images.by_id(&commit.parent).ok_or_else(missing)?.image;
    let created = Some(clock::now());
    let step = History {
        created: created.clone(),
        created_by: commit.created_by,
        comment: commit.comment,
        empty_layer: false,
    };
    let config = ImageConfig {
        created,
        author: Some(commit.author).filter(|author| !author.is_empty()),
        config: commit.config,
        history: parent.config.history.iter().cloned().chain([step]).collect(),
        ..parent.config.clone()
    };
    let _writing = engine.images.writing.lock().await;
    let from = Source::Upper { directory: commit.upper, skip: commit.skip };
    let task = Task::Compose { base: Box::new(Base { config, layers: parent.layers }), from };
    let image = match helper::start(engine, task).await?.run(Body::empty()).await?.pop() {
        Some(Report::Composed(image)) => image,
        _ => return Err(ApiError::Failed("the commit made no image".to_owned())),
    };
    let id = image.config_digest.to_string();
    engine.images.keep(engine, &image, Some(commit.parent))?;
    if let Some(name) = &commit.name {
        engine.images.tag(name.key(), &id)?;
        announce(engine, "tag", &id, &name.familiar());
    }
    sweep_held(engine).await;
    Ok(image.config_digest)
}
