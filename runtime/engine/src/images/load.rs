//! `POST /images/load`

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use drydock_image::{import::Loaded, reference::Reference};
use serde_json::json;

use super::{
    announce, helper,
    layers::sweep_held,
    stage::{Report, Task},
};
use crate::{engine::Shared, error::ApiError};

/// `POST /images/load`: a child unpacks the archive onto the node's disk. What
/// goes wrong with it is told in the stream, as Docker does.
pub(crate) async fn load(State(engine): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let _writing = engine.images.writing.lock().await;
    let told = match load_all(&engine, body).await {
        Ok(lines) => lines.into_iter().map(|line| json!({ "stream": line })).collect(),
        Err(error) => {
            let message = error.to_string();
            vec![json!({ "errorDetail": { "message": message }, "error": message })]
        }
    };
    sweep_held(&engine).await;
    let text: String = told.into_iter().map(|line| format!("{line}\r\n")).collect();
    Ok(([("content-type", "application/json")], text).into_response())
}

async fn load_all(engine: &Shared, body: Body) -> Result<Vec<String>, ApiError> {
    let reports = helper::start(engine, Task::Load).await?.run(body).await?;
    let mut lines = Vec::new();
    for report in reports {
        if let Report::Loaded(loaded) = report {
            lines.extend(take(engine, &loaded)?);
        }
    }
    Ok(lines)
}

/// Puts an image into the list; gives what is said of it.
fn take(engine: &Shared, loaded: &Loaded) -> Result<Vec<String>, ApiError> {
    let images = &engine.images;
    images.keep(engine, &loaded.image, None)?;
    let id = loaded.image.config_digest.to_string();
    let mut lines = Vec::new();
    for name in &loaded.names {
        let name: Reference = super::parse(name)?;
        let familiar = name.familiar();
        let before = images.locked().names.get(&name.key()).cloned();
        if let Some(before) = before.filter(|before| *before != id) {
            lines.push(format!(
                "The image {familiar} already exists, renaming the old one with ID {before} to empty string\n"
            ));
        }
        images.name(name.key(), &id)?;
        lines.push(format!("Loaded image: {familiar}\n"));
    }
    if loaded.names.is_empty() {
        lines.push(format!("Loaded image ID: {id}\n"));
    }
    announce(engine, "load", &id, &id);
    Ok(lines)
}
