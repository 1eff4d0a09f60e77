//! `POST /images/create?fromSrc=-`: a root's tar becomes an image of one layer.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use drydock_image::{
    compose::Base,
    config::{History, ImageConfig},
    reference::Reference,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    announce, change, helper,
    layers::sweep_held,
    parse,
    stage::{Report, Source, Task},
};
use crate::{clock, engine::Shared, error::ApiError};

/// What an import is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    pub(super) from_src: String,
    pub(super) repo: String,
    pub(super) tag: String,
    pub(super) message: String,
    pub(super) changes: Vec<String>,
}

pub(super) async fn import(engine: &Shared, wanted: Wanted, body: Body) -> Result<Response, ApiError> {
    let (name, config) = match read(&wanted) {
        Ok(read) => read,
        Err(error) => {
            helper::drain(body).await;
            return Err(error);
        }
    };
    let _writing = engine.images.writing.lock().await;
    let task = Task::Compose { base: Box::new(Base { config, layers: Vec::new() }), from: Source::Stdin };
    let reports = helper::start(engine, task).await?.run(body).await;
    let image = match reports?.pop() {
        Some(Report::Composed(image)) => image,
        _ => return Err(ApiError::Failed("the import made no image".to_owned())),
    };
    let id = image.config_digest.to_string();
    engine.images.keep(engine, &image, None)?;
    if let Some(name) = &name {
        engine.images.tag(name.key(), &id)?;
    }
    announce(engine, "import", &id, &id);
    sweep_held(engine).await;
    let line = format!("{}\r\n", json!({ "status": id }));
    Ok(([("content-type", "application/json")], line).into_response())
}

/// The image's name, if it gets one, and what is known of it before its layer.
fn read(wanted: &Wanted) -> Result<(Option<Reference>, ImageConfig), ApiError> {
    if wanted.from_src != "-" {
        return Err(ApiError::Invalid(format!(
            "{} can't be fetched: this node reaches no other machine. Import a file of the node",
            wanted.from_src
        )));
    }
    let name = match (wanted.repo.as_str(), wanted.tag.as_str()) {
        ("", _) => None,
        (repo, "") => Some(parse(repo)?),
        (repo, tag) => Some(parse(&format!("{repo}:{tag}"))?),
    };
    let created = Some(clock::now());
    let comment = if wanted.message.is_empty() { "Imported from -" } else { &wanted.message };
    let step = History { created: created.clone(), comment: comment.to_owned(), ..History::default() };
    let mut config = ImageConfig {
        created,
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        history: vec![step],
        ..ImageConfig::default()
    };
    for line in &wanted.changes {
        change::apply(&mut config.config, line)?;
    }
    Ok((name, config))
}
