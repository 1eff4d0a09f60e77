//! `GET /images/get` and `GET /images/{name}/get`: images as an archive.

use std::collections::BTreeSet;

use axum::response::{IntoResponse, Response};
use drydock_image::{
    reference::{DEFAULT_DOMAIN, Reference},
    save::Item,
};

use super::{announce, helper, is_tag, parse, repository, stage::Task};
use crate::{engine::Shared, error::ApiError};

/// How many images one archive may have.
const NAMES_MAX: usize = 64;

pub(super) async fn save(engine: &Shared, names: &[String]) -> Result<Response, ApiError> {
    if names.is_empty() || names.len() > NAMES_MAX {
        return Err(ApiError::Invalid(format!("an archive has 1 to {NAMES_MAX} images")));
    }
    let mut items: Vec<Item> = Vec::new();
    for name in names {
        let (item, names) = item(engine, name)?;
        match items.iter_mut().find(|other| other.image.config_digest == item.image.config_digest) {
            Some(other) => other.names.extend(names),
            None => items.push(Item { names: names.into_iter().collect(), ..item }),
        }
    }
    let ids: Vec<String> = items.iter().map(|item| item.image.config_digest.to_string()).collect();
    let body = helper::start(engine, Task::Save(items)).await?.into_body().await?;
    ids.iter().for_each(|id| announce(engine, "save", id, id));
    Ok(([("content-type", "application/x-tar")], body).into_response())
}

/// An image and which of its names go with it: the one asked for; all of a
/// repository where no tag was; none for an id.
fn item(engine: &Shared, text: &str) -> Result<(Item, BTreeSet<String>), ApiError> {
    let missing = || ApiError::NotFound(format!("No such image: {text}"));
    let held = engine.images.locked();
    let of = |image: &drydock_image::store::Image| Item { names: Vec::new(), image: image.clone() };
    if let Some(image) = held.by_id(text)? {
        return Ok((of(image), BTreeSet::new()));
    }
    let reference = parse(text)?;
    let image = held.by_name(&reference).ok_or_else(missing)?;
    let id = image.config_digest.to_string();
    let whole = |key: &str| key.parse::<Reference>().map(|name| name.to_string()).unwrap_or_default();
    let names = match reference.digest().is_some() || reference.has_explicit_tag() {
        true => BTreeSet::from([whole(&reference.key())]),
        false => {
            let all = held.names.iter().filter(|(key, holder)| {
                **holder == id && is_tag(key) && repository(key) == repository(&reference.key())
            });
            all.map(|(key, _)| whole(key)).collect()
        }
    };
    debug_assert!(names.iter().all(|name| !name.is_empty()), "keys are names, such as {DEFAULT_DOMAIN}/…");
    Ok((of(image), names))
}
