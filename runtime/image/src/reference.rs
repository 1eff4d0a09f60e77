//! Image references, as people type them.
//!
//! `busybox` means `docker.io/library/busybox:latest`. The grammar and the
//! error texts are those of Docker's command line, which learners meet first.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry that a name without one belongs to.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of a reference without one.
pub const DEFAULT_TAG: &str = "latest";

const OFFICIAL: &str = "library/";
const NAME_LENGTH: usize = 255;
const TAG_LENGTH: usize = 128;

/// A normalised image reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no image reference; each text is Docker's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// The grammar doesn't allow it.
    #[error("invalid reference format")]
    Format,
    /// A repository's name has upper-case letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// The name is an image ID.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// The name is too long.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// The digest is not one that we know.
    #[error("unsupported digest algorithm")]
    Algorithm,
}

impl Reference {
    /// The registry, `docker.io` where none was given.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository in the registry, such as `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag: the one given, or `latest` where neither tag nor digest was.
    pub fn tag(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (None, None) => Some(DEFAULT_TAG),
            (tag, _) => tag.as_deref(),
        }
    }

    /// Whether the text itself named a tag.
    pub fn has_explicit_tag(&self) -> bool {
        self.tag.is_some()
    }

    /// The digest, where one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The repository as Docker shows it: `busybox`, `kim/app`, `ghcr.io/a/b`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return format!("{}/{}", self.domain, self.path);
        }
        match self.path.strip_prefix(OFFICIAL) {
            // `library/a/b` is not an official image, and would be read otherwise.
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference as Docker shows it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// The name by which the store's index knows it: `library/busybox:latest`,
    /// with the registry in front where that is not the default one.
    pub fn key(&self) -> String {
        let name = if self.domain == DEFAULT_DOMAIN {
            self.path.clone()
        } else {
            format!("{}/{}", self.domain, self.path)
        };
        match self.tag() {
            Some(tag) => format!("{name}:{tag}"),
            None => self.with_suffix(name),
        }
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = self.tag() {
            name = format!("{name}:{tag}");
        }
        if let Some(digest) = &self.digest {
            name = format!("{name}@{digest}");
        }
        name
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.with_suffix(format!("{}/{}", self.domain, self.path)))
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Reference, InvalidReference> {
        if is_identifier(text) {
            return Err(InvalidReference::Identifier(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        let name_end = remainder.find(':').unwrap_or(remainder.len());
        let remote = &remainder[..name_end];
        if remote.to_lowercase() != remote {
            return Err(InvalidReference::Uppercase(remote.to_owned()));
        }
        if !is_domain(&domain) {
            return Err(InvalidReference::Format);
        }
        let (rest, digest) = match remainder.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if !is_path(path) || !tag.is_none_or(is_tag) {
            return Err(InvalidReference::Format);
        }
        if domain.len() + 1 + path.len() > NAME_LENGTH {
            return Err(InvalidReference::TooLong);
        }
        Ok(Reference { path: path.to_owned(), tag: tag.map(str::to_owned), digest, domain })
    }
}

/// Whether `text` has the form of a full image ID.
pub fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Splits off the registry. The first part is one if it looks like a host:
/// it has a dot, a port or an upper-case letter, or is `localhost`.
fn split_domain(text: &str) -> (String, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        return (domain.to_owned(), format!("{OFFICIAL}{remainder}"));
    }
    (domain.to_owned(), remainder.to_owned())
}

fn parse_digest(text: &str) -> Result<Digest, InvalidReference> {
    let Some((algorithm, hex)) = text.split_once(':') else { return Err(InvalidReference::Format) };
    let is_hex = hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_word = algorithm.starts_with(|first: char| first.is_ascii_alphabetic())
        && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+._-".contains(&byte));
    if !is_hex || !is_word {
        return Err(InvalidReference::Format);
    }
    if algorithm != "sha256" {
        return Err(InvalidReference::Algorithm);
    }
    text.parse().map_err(|_| InvalidReference::Format)
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit())) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// Lower-case words, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !is_word(*first) || !is_word(*last) {
        return false;
    }
    bytes.split(|byte| is_word(*byte)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_LENGTH
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        text.parse::<Reference>().unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
    }

    fn error(text: &str) -> String {
        text.parse::<Reference>().expect_err(text).to_string()
    }

    #[test]
    fn short_names_are_completed() {
        assert_eq!(full("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(full("busybox:1"), "docker.io/library/busybox:1");
        assert_eq!(full("kim/app"), "docker.io/kim/app:latest");
        assert_eq!(full("index.docker.io/kim/app"), "docker.io/kim/app:latest");
        assert_eq!(full("docker.io/busybox"), "docker.io/library/busybox:latest");
        assert_eq!(full("localhost/app"), "localhost/app:latest");
        assert_eq!(full("localhost:5000/app:v1"), "localhost:5000/app:v1");
        assert_eq!(full("[::1]:5000/app"), "[::1]:5000/app:latest");
        assert_eq!(full("kim/a__b---c.d/e_f"), "docker.io/kim/a__b---c.d/e_f:latest");
    }

    #[test]
    fn a_digest_stands_without_a_tag() {
        let digest = Digest::of(b"");
        let reference: Reference = format!("busybox@{digest}").parse().unwrap();
        assert_eq!(reference.tag(), None);
        assert_eq!(reference.digest(), Some(&digest));
        assert_eq!(reference.familiar(), format!("busybox@{digest}"));
        assert_eq!(full(&format!("busybox:1@{digest}")), format!("docker.io/library/busybox:1@{digest}"));
    }

    #[test]
    fn familiar_names_and_keys() {
        let of = |text: &str| text.parse::<Reference>().unwrap();
        assert_eq!(of("docker.io/library/busybox").familiar(), "busybox:latest");
        assert_eq!(of("library/a/b").familiar_name(), "library/a/b");
        assert_eq!(of("ghcr.io/a/b:2").familiar(), "ghcr.io/a/b:2");
        assert_eq!(of("busybox").key(), "library/busybox:latest");
        assert_eq!(of("ghcr.io/a/b:2").key(), "ghcr.io/a/b:2");
    }

    #[test]
    fn errors_are_in_dockers_words() {
        assert_eq!(
            error("Bad Image!"),
            "invalid reference format: repository name (library/Bad Image!) must be lowercase"
        );
        assert_eq!(
            error("UPPER:v1"),
            "invalid reference format: repository name (library/UPPER) must be lowercase"
        );
        for text in
            ["", ":", "a:", "a//b", "-a", "a_", "a..b", "a___b", "a:-x", "a b", "a@sha256:12", "a/../b"]
        {
            assert_eq!(error(text), "invalid reference format", "{text:?}");
        }
        assert!(error(&"a".repeat(64)).ends_with("cannot specify 64-byte hexadecimal strings"));
        assert_eq!(error("a/".repeat(130).trim_end_matches('/')), InvalidReference::TooLong.to_string());
        assert_eq!(error(&format!("a:{}", "t".repeat(129))), "invalid reference format");
        assert_eq!(error(&format!("a@sha512:{}", "0".repeat(128))), "unsupported digest algorithm");
    }
}
