//! The look that the account menu offers.

use axum::{
    Form,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::frame::{THEME_COOKIE, Theme};

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    theme: String,
    #[serde(default)]
    back: String,
}

/// `POST /theme`: keeps the choice in a cookie and goes back.
///
/// The cookie holds no more than a word that the page's script may set too, so
/// it is neither signed nor kept from scripts.
pub(super) async fn choose(Form(choice): Form<Choice>) -> Response {
    let theme = Theme::of_word(&choice.theme).unwrap_or_default();
    let cookie = format!("{THEME_COOKIE}={}; Path=/; Max-Age=34560000; SameSite=Lax", theme.word());
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        headers.insert(header::SET_COOKIE, value);
    }
    (headers, Redirect::to(own_path(&choice.back))).into_response()
}

/// `path` if it stays on this site, else the list of labs.
fn own_path(path: &str) -> &str {
    let other_site = path.starts_with("//") || path.starts_with("/\\");
    let printable = path.bytes().all(|byte| byte.is_ascii_graphic());
    if path.starts_with('/') && !other_site && printable && path.len() <= 500 { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn the_way_back_stays_on_this_site() {
        assert_eq!(own_path("/labs/namespaces/3?x=1"), "/labs/namespaces/3?x=1");
        for bad in ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nb", "x"] {
            assert_eq!(own_path(bad), "/", "{bad:?}");
        }
    }
}
