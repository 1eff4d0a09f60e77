//! The host API over HTTP: see [`drydock_protocol::host`].

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Path, State, rejection::JsonRejection},
    http::StatusCode,
    routing::{delete, get, post},
};
use drydock_image::store::Store;
use drydock_protocol::{
    Hello,
    host::{AddNode, CreateSession, Extend, Instance, Session, Verb},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::UnixListener, sync::watch};

use crate::{error::HostError, host::Host, life, node::blocking, sessions};

const BODY_MAX: usize = 64 * 1024;
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 256;

type Answer<T> = Result<Json<T>, HostError>;

/// Serves the API until host stops, and then what has been asked already.
pub(crate) async fn serve(listener: UnixListener, host: Arc<Host>, mut stopping: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router(host));
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Without a sender, host has stopped as well.
            _ = stopping.changed() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = service.clone();
        tokio::spawn(async move {
            let _place = place;
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!("a connection ended: {error}");
            }
        });
    } // A caller closes its connection once it has its answer.
    drop(places.acquire_many(CONNECTIONS_MAX as u32).await);
}

fn router(host: Arc<Host>) -> Router {
    Router::new()
        .route("/v1", get(instance))
        .route("/v1/sessions", get(list).post(create))
        .route("/v1/sessions/{id}", get(show).delete(remove))
        .route("/v1/sessions/{id}/extend", post(extend))
        .route("/v1/sessions/{id}/nodes", post(add_node))
        .route("/v1/sessions/{id}/nodes/{node}", delete(remove_node))
        .route("/v1/sessions/{id}/nodes/{node}/{verb}", post(act))
        .fallback(async || HostError::NotFound("such path".into()))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(host)
}

/// A JSON body, whose errors are ours.
struct Body<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = HostError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Body<T>, HostError> {
        let parsed: Result<Json<T>, JsonRejection> = Json::from_request(request, state).await;
        parsed.map(|Json(value)| Body(value)).map_err(|error| HostError::Invalid(error.body_text()))
    }
}

/// Runs to the end what a caller began, even when the caller has gone.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, HostError>> + Send + 'static,
) -> Result<T, HostError> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(HostError::Call { what: "finish a request", source: io::Error::other(error.to_string()) })
        }
    }
}

async fn instance(State(host): State<Arc<Host>>) -> Answer<Instance> {
    let store = host.instance.store_dir();
    let images = blocking(move || {
        if !store.exists() {
            return Ok(Vec::new());
        }
        Ok(Store::open(store)?.index()?.images.keys().map(|key| familiar(key)).collect())
    })
    .await?;
    Ok(Json(Instance { hello: Hello::OURS, instance: host.instance.name.clone(), images }))
}

/// An image's name as `docker pull` takes it.
fn familiar(key: &str) -> String {
    key.strip_prefix("library/").unwrap_or(key).to_string()
}

async fn list(State(host): State<Arc<Host>>) -> Json<Vec<Session>> {
    let records = host.sessions().into_iter().map(|session| session.record());
    Json(records.filter(|record| !record.ended).map(|record| record.session).collect())
}

async fn create(State(host): State<Arc<Host>>, Body(asked): Body<CreateSession>) -> Answer<Session> {
    Ok(Json(to_the_end(async move { sessions::create(&host, asked).await }).await?))
}

async fn show(State(host): State<Arc<Host>>, Path(id): Path<String>) -> Answer<Session> {
    Ok(Json(host.session(&id)?.record().session))
}

async fn remove(State(host): State<Arc<Host>>, Path(id): Path<String>) -> Result<StatusCode, HostError> {
    let session = host.session(&id)?;
    to_the_end(async move { sessions::end(&host, &session).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn extend(
    State(host): State<Arc<Host>>,
    Path(id): Path<String>,
    Body(asked): Body<Extend>,
) -> Answer<Session> {
    Ok(Json(sessions::extend(&host, &id, asked)?))
}

async fn add_node(
    State(host): State<Arc<Host>>,
    Path(id): Path<String>,
    Body(asked): Body<AddNode>,
) -> Answer<Session> {
    Ok(Json(to_the_end(async move { sessions::add_node(&host, &id, asked).await }).await?))
}

async fn remove_node(
    State(host): State<Arc<Host>>,
    Path((id, node)): Path<(String, String)>,
) -> Answer<Session> {
    Ok(Json(to_the_end(async move { sessions::remove_node(&host, &id, &node).await }).await?))
}

async fn act(
    State(host): State<Arc<Host>>,
    Path((id, node, verb)): Path<(String, String, String)>,
) -> Answer<Session> {
    let verb: Verb = verb.parse().map_err(|()| HostError::NotFound(format!("verb \"{verb}\"")))?;
    let session = host.session(&id)?;
    Ok(Json(to_the_end(async move { life::act(&host, &session, &node, verb).await }).await?))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test]
    async fn errors_are_sentences_in_json() {
        let response = HostError::NotFound("session \"x\"".into()).into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        assert_eq!(body, r#"{"message":"there is no session \"x\""}"#);
    }

    #[test]
    fn images_are_named_as_people_type_them() {
        assert_eq!(familiar("library/busybox:latest"), "busybox:latest");
        assert_eq!(familiar("kim/app:1"), "kim/app:1");
    }
}
