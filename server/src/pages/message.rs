//! Pages that say one thing: not found, room full, an error of ours.

use askama::Template;
use axum::{
    http::header,
    response::{Html, IntoResponse, Response},
};

use super::frame::Frame;
use crate::error::AppError;

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    frame: Frame,
    title: String,
    text: String,
    near: Option<Near<'a>>,
    /// Where "Try again" leads.
    again: Option<String>,
    code: Option<&'a str>,
}

/// The lab whose name is closest to what was asked for.
pub(super) struct Near<'a> {
    pub(super) slug: &'a str,
    pub(super) title: &'a str,
}

/// The page for a request that can't be served.
pub fn error_page(error: &AppError) -> Response {
    let text = match error {
        AppError::Internal { .. } => {
            "Something broke on the server, not on your side. Your nodes keep running and your progress is kept."
                .to_owned()
        }
        AppError::NotFound => "The address may have a typing error, or what was here is gone.".to_owned(),
        other => sentence(&other.to_string()),
    };
    let title = match error {
        AppError::NotFound => "There is no such page",
        AppError::Full { .. } => "The room is full",
        AppError::Busy(_) | AppError::TooMany { .. } => "The server is busy",
        AppError::Internal { .. } => "This page could not be made",
        _ => "This can’t be done",
    };
    let code = match error {
        AppError::Internal { code } => Some(code.as_str()),
        _ => None,
    };
    let again = match error {
        AppError::Internal { .. } | AppError::Busy(_) | AppError::TooMany { .. } | AppError::Full { .. } => {
            Some(String::new())
        }
        _ => None,
    };
    let page = Message { frame: Frame::default(), title: title.to_owned(), text, near: None, again, code };
    answer(&page, error)
}

/// The page for an address that leads nowhere.
pub async fn not_found(frame: Frame) -> Response {
    let text = "The address may have a typing error, or what was here is gone.".to_owned();
    let page = Message {
        frame,
        title: "There is no such page".to_owned(),
        text,
        near: None,
        again: None,
        code: None,
    };
    answer(&page, &AppError::NotFound)
}

/// The page for a lab that is not there.
pub(super) fn no_lab(frame: Frame, asked: &str, near: Option<Near<'_>>) -> Response {
    let asked: String = asked.chars().take(60).collect();
    let page = Message {
        frame,
        title: format!("There is no lab “{asked}”"),
        text: if near.is_some() { String::new() } else { "The list has all there are.".to_owned() },
        near,
        again: None,
        code: None,
    };
    answer(&page, &AppError::NotFound)
}

/// The page for a session that is gone, or was never this browser's.
pub(super) fn no_session(frame: Frame) -> Response {
    let page = Message {
        frame,
        title: "This session is not here".to_owned(),
        text: "It has ended, or the address lacks its key. Whoever made the session can see its full address again."
            .to_owned(),
        near: None,
        again: None,
        code: None,
    };
    answer(&page, &AppError::NotFound)
}

fn answer(page: &Message<'_>, error: &AppError) -> Response {
    let mut response = match page.render() {
        Ok(html) => (error.status(), Html(html)).into_response(),
        Err(broken) => {
            tracing::error!(%broken, "the page of an error could not be made");
            (error.status(), error.to_string()).into_response()
        }
    };
    if let Some(seconds) = error.retry_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), chars.as_str().trim_end_matches('.')),
        None => String::new(),
    }
}
