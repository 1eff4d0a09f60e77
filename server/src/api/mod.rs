//! Handlers of `/api`: JSON in, JSON out, a file a resource.

pub mod checks;
pub mod events;
pub mod files;
pub mod line;
pub mod nodes;
pub mod progress;
pub mod sessions;
pub mod terminal;

use axum::{
    extract::{FromRequest, Request, rejection::JsonRejection},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use crate::error::AppError;

/// A JSON body; what is wrong with it is told in our own form.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, Response> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Json(value)),
            Err(rejection) => Err(refuse(&rejection)),
        }
    }
}

fn refuse(rejection: &JsonRejection) -> Response {
    let mut response = AppError::Bad(rejection.body_text()).into_response();
    *response.status_mut() = rejection.status();
    response
}
