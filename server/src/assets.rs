//! Styles, fonts, scripts and the page's WASM, embedded in the program.
//!
//! All are served under one hash of the whole set, `/assets/HASH/…`, so that
//! they can refer to each other by relative paths and be kept for ever.

use std::{borrow::Cow, sync::LazyLock};

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest, Sha256};

use crate::error::AppError;

#[derive(RustEmbed)]
#[folder = "../web/styles"]
#[allow_missing = true]
struct Styles;

#[derive(RustEmbed)]
#[folder = "../web/assets"]
#[allow_missing = true]
struct Static;

/// What `drydock-bindgen` made of the page's crate; absent until it was built.
#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Page;

static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<Cow<'static, str>> = Vec::new();
    names.extend(Styles::iter().map(|name| Cow::Owned(format!("styles/{name}"))));
    names.extend(Page::iter().map(|name| Cow::Owned(format!("page/{name}"))));
    names.extend(Static::iter());
    names.sort();
    let mut hash = Sha256::new();
    for name in &names {
        if let Some(file) = find(name) {
            hash.update(name.as_bytes());
            hash.update(file.metadata.sha256_hash());
        }
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
});

/// The path of an asset: `styles/…`, `page/…`, or a path in `web/assets`.
pub fn url(path: &str) -> String {
    format!("/assets/{}/{path}", *HASH)
}

/// Whether the page's WASM was built into this program.
pub fn has_page() -> bool {
    find("page/page.js").is_some()
}

/// `GET /assets/{hash}/{*path}`
pub async fn serve(Path((hash, path)): Path<(String, String)>) -> Response {
    let Some(file) = find(&path).filter(|_| hash == *HASH) else {
        return AppError::NotFound.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, content_type(&path)),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (StatusCode::OK, headers, file.data.into_owned()).into_response()
}

fn find(path: &str) -> Option<EmbeddedFile> {
    if let Some(style) = path.strip_prefix("styles/") {
        Styles::get(style)
    } else if let Some(page) = path.strip_prefix("page/") {
        Page::get(page)
    } else {
        Static::get(path)
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("woff2") => "font/woff2",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
