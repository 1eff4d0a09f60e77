//! `GET /sessions/ID?key=KEY`: the terminals of a session made without a browser.

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::{error_page, frame::Frame, message::no_session};
use crate::{error::AppError, learner::Learner, state::AppState};

#[derive(Template)]
#[template(path = "session.html")]
struct SessionPage<'a> {
    frame: Frame,
    id: &'a str,
}

/// The key that the session's address carries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Key {
    key: String,
}

/// With the key: lets this browser in, and goes on to the address without it.
pub(super) async fn show(
    State(app): State<AppState>,
    learner: Learner,
    frame: Frame,
    Path(id): Path<String>,
    Query(Key { key }): Query<Key>,
) -> Response {
    let found = match key.is_empty() {
        true => app.sessions.get(&learner, &id).await,
        false => app.sessions.open_with_key(&learner, &id, &key).await,
    };
    match found {
        Ok(session) if !key.is_empty() => Redirect::to(&format!("/sessions/{}", session.id)).into_response(),
        Ok(session) => match (SessionPage { frame, id: &session.id }).render() {
            Ok(html) => Html(html).into_response(),
            Err(error) => error_page(&AppError::internal(error)),
        },
        Err(AppError::NotFound) => no_session(frame),
        Err(error) => error_page(&error),
    }
}
