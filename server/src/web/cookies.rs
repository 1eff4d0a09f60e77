//! Middleware: who asks, by cookie; pages make a new learner when nobody does.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    error::AppError,
    learner::{COOKIE_PLAIN, COOKIE_SECURE, Learner, cookie, set_cookie},
    state::AppState,
};

/// Puts the [`Learner`] into the request's extensions.
pub async fn know_learner(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let secure = app.origins.is_secure(request.headers());
    let name = if secure { COOKIE_SECURE } else { COOKIE_PLAIN };
    let known = cookie(request.headers(), name).and_then(|value| app.cookies.verify(value));
    let path = request.uri().path();
    let page = matches!(*request.method(), Method::GET | Method::HEAD)
        && !path.starts_with("/api/")
        && !path.starts_with("/assets/");
    let made = match (&known, page) {
        (None, true) => match Learner::new() {
            Ok(learner) => Some(learner),
            Err(error) => return AppError::internal(error).into_response(),
        },
        _ => None,
    };
    if let Some(learner) = known.or_else(|| made.clone()) {
        request.extensions_mut().insert(learner);
    }
    let mut response = next.run(request).await;
    if let Some(learner) = made {
        let value = set_cookie(&app.cookies, &learner, secure);
        let value = HeaderValue::from_str(&value).expect("a cookie of ours is plain ASCII");
        response.headers_mut().append(header::SET_COOKIE, value);
        // A page with a new learner's cookie is theirs alone.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
