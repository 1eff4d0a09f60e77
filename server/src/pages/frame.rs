//! What all pages share: the learner's theme, the address, icons.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::learner::cookie;

/// The cookie that keeps the theme.
pub(crate) const THEME_COOKIE: &str = "theme";

/// Light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// As the system is set.
    #[default]
    System,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

impl Theme {
    /// All of them, in the menu's order.
    pub const ALL: [Theme; 3] = [Theme::System, Theme::Light, Theme::Dark];

    /// The word that the cookie keeps.
    pub fn word(self) -> &'static str {
        match self {
            Theme::System => "system",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    /// The word that the menu shows.
    pub fn label(self) -> &'static str {
        match self {
            Theme::System => "System",
            Theme::Light => "Light",
            Theme::Dark => "Dark",
        }
    }

    /// The value of the root's `data-theme`; the system's setting needs none.
    pub fn attribute(self) -> Option<&'static str> {
        (self != Theme::System).then(|| self.word())
    }

    /// The theme with this word.
    pub fn of_word(word: &str) -> Option<Theme> {
        Theme::ALL.into_iter().find(|theme| theme.word() == word)
    }
}

/// What every page needs to know of the request.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// The learner's theme.
    pub theme: Theme,
    /// The page's own path and query, to come back to.
    pub here: String,
    /// The page is the list of labs.
    pub at_labs: bool,
}

impl<S: Sync> FromRequestParts<S> for Frame {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Frame, Infallible> {
        let theme = cookie(&parts.headers, THEME_COOKIE).and_then(Theme::of_word).unwrap_or_default();
        let here = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Frame { theme, at_labs: parts.uri.path() == "/", here })
    }
}

/// An icon of the sprite, hidden from those who listen.
pub(crate) fn icon(name: &str) -> String {
    format!(r##"<svg class="icon" aria-hidden="true"><use href="#i-{name}"/></svg>"##)
}
