//! `POST /images/create`: from the catalogue into the learner's list. Nothing
//! is copied; the layers are there.

use axum::{
    body::Body,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use drydock_image::{
    digest::Digest,
    reference::{DEFAULT_DOMAIN, Reference},
    store::Image,
};
use serde::Serialize;

use super::{announce, canonical, import, is_tag, parse};
use crate::{
    engine::{Engine, Shared},
    error::{ApiError, failed},
    system::events::{Gone, JsonLines, channel},
};

/// A line of progress.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress_detail: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Empty {}

/// `POST /images/create`: pulls, or imports the request's body.
pub(crate) async fn create(
    State(engine): State<Shared>,
    Query(query): Query<Vec<(String, String)>>,
    body: Body,
) -> Result<Response, ApiError> {
    let value = |key: &str| -> String {
        query.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    if !value("fromSrc").is_empty() {
        let changes = query.iter().filter(|(name, _)| name == "changes").map(|(_, line)| line.clone());
        let wanted = import::Wanted {
            from_src: value("fromSrc"),
            repo: value("repo"),
            tag: value("tag"),
            message: value("message"),
            changes: changes.collect(),
        };
        return import::import(&engine, wanted, body).await;
    }
    pull(&engine, &value("fromImage"), &value("tag"))
}

fn pull(engine: &Shared, image: &str, tag: &str) -> Result<Response, ApiError> {
    let text = match tag {
        "" => image.to_owned(),
        digest if digest.starts_with("sha256:") => format!("{image}@{digest}"),
        tag => format!("{image}:{tag}"),
    };
    let reference = parse(&text)?;
    let image = in_catalogue(engine, &reference)?;
    let held = engine.images.locked().by_name(&reference).map(|image| image.config_digest.clone());
    let newer = held.as_ref() != Some(&image.config_digest);
    let present: Vec<Digest> = {
        let held = engine.images.locked();
        held.images.values().flat_map(|image| &image.layers).map(|layer| layer.diff_id.clone()).collect()
    };
    engine.images.keep(engine, &image, None)?;
    let key = reference.key();
    // A digest alone gives the image no tag.
    for key in [canonical(&reference, &image.manifest)].into_iter().chain(Some(key).filter(|key| is_tag(key)))
    {
        engine.images.name(key, &image.config_digest.to_string())?;
    }
    announce(engine, "pull", &reference.familiar(), &reference.familiar_name());
    let (mut to, body) = channel();
    tokio::spawn(async move {
        // The client may have gone away: the image is pulled all the same.
        let _ = report(&mut to, &reference, &image, newer, &present).await;
    });
    Ok(([("content-type", "application/json")], body).into_response())
}

async fn report(
    to: &mut JsonLines,
    reference: &Reference,
    image: &Image,
    newer: bool,
    present: &[Digest],
) -> Result<(), Gone> {
    let first = Line {
        status: format!("Pulling from {}", reference.path()),
        id: Some(reference.tag().map_or_else(|| image.manifest.to_string(), str::to_owned)),
        ..Line::default()
    };
    to.send(&first).await?;
    if newer {
        let (old, new): (Vec<_>, Vec<_>) =
            image.layers.iter().partition(|layer| present.contains(&layer.diff_id));
        let layer = |digest: &Digest, status: &str| Line {
            status: status.to_owned(),
            progress_detail: Some(Empty {}),
            id: Some(digest.short().to_owned()),
        };
        for one in &old {
            to.send(&layer(&one.digest, "Already exists")).await?;
        }
        for status in ["Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"] {
            for one in &new {
                to.send(&layer(&one.digest, status)).await?;
            }
        }
    }
    let words = if newer { "Downloaded newer image" } else { "Image is up to date" };
    for status in
        [format!("Digest: {}", image.manifest), format!("Status: {words} for {}", reference.familiar())]
    {
        to.send(&Line { status, ..Line::default() }).await?;
    }
    Ok(())
}

/// The image of the catalogue, or Docker Hub's words.
fn in_catalogue(engine: &Engine, reference: &Reference) -> Result<Image, ApiError> {
    if reference.domain() != DEFAULT_DOMAIN {
        return Err(ApiError::NotFound(format!(
            "registry {} can't be reached from this node: it pulls from the lab's own catalogue only",
            reference.domain()
        )));
    }
    let index = engine.store.index().map_err(failed("reading the catalogue failed"))?;
    if let Some(image) = index.find(reference) {
        return Ok(image.clone());
    }
    let name = reference.familiar_name();
    let prefix = format!("{}:", reference.path());
    if index.images.keys().any(|key| key.starts_with(&prefix)) {
        let full = reference.familiar();
        return Err(ApiError::NotFound(format!(
            "manifest for {full} not found: manifest unknown: manifest unknown"
        )));
    }
    Err(ApiError::NotFound(format!(
        "pull access denied for {name}, repository does not exist or may require 'docker login': denied: requested \
         access to the resource is denied"
    )))
}
