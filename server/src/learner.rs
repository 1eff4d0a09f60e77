//! Who asks: a learner is a signed cookie.

use std::{io, path::Path};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::AppError;

/// The cookie's name where browsers honour `Secure`: TLS and this machine.
pub const COOKIE_SECURE: &str = "__Host-drydock";
/// The cookie's name with plain HTTP beyond this machine.
pub const COOKIE_PLAIN: &str = "drydock";

/// 400 days, the longest that browsers keep a cookie.
const MAX_AGE_SECONDS: u64 = 400 * 24 * 3600;

/// Bytes of a learner's id.
const ID_BYTES: usize = 16;

/// Somebody with a valid cookie.
///
/// As an extractor it answers 401 without one. Pages make the cookie when it is
/// missing, so a page's handler always has a learner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Learner {
    /// 32 hexadecimal digits.
    pub id: String,
}

impl Learner {
    /// A new learner with a random id.
    pub fn new() -> io::Result<Learner> {
        let mut bytes = [0; ID_BYTES];
        random(&mut bytes)?;
        Ok(Learner { id: bytes.iter().map(|byte| format!("{byte:02x}")).collect() })
    }
}

impl<S: Sync> FromRequestParts<S> for Learner {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Learner, AppError> {
        parts.extensions.get::<Learner>().cloned().ok_or(AppError::NoLearner)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Learner {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Learner>, AppError> {
        Ok(parts.extensions.get::<Learner>().cloned())
    }
}

/// The key that signs cookies.
#[derive(Clone)]
pub struct CookieKey([u8; 32]);

impl CookieKey {
    /// Reads the key, making it first if there is none.
    pub fn open(file: &Path) -> io::Result<CookieKey> {
        match std::fs::read(file) {
            Ok(bytes) => bytes.try_into().map(CookieKey).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{} is not 32 bytes long", file.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => CookieKey::make(file),
            Err(error) => Err(error),
        }
    }

    fn make(file: &Path) -> io::Result<CookieKey> {
        use std::{io::Write, os::unix::fs::OpenOptionsExt};
        let mut key = [0; 32];
        random(&mut key)?;
        let aside = file.with_extension("new");
        let mut out =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        out.write_all(&key)?;
        out.sync_all()?;
        std::fs::rename(&aside, file)?;
        Ok(CookieKey(key))
    }

    /// The cookie's value for a learner: `ID.SIGNATURE`.
    pub fn sign(&self, learner: &Learner) -> String {
        let tag = self.mac(&learner.id).finalize().into_bytes();
        format!("{}.{}", learner.id, BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    /// The learner whose signed cookie this is.
    pub fn verify(&self, value: &str) -> Option<Learner> {
        let (id, tag) = value.split_once('.')?;
        if id.len() != 2 * ID_BYTES || !id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return None;
        }
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?;
        self.mac(id).verify_slice(&tag).ok()?;
        Some(Learner { id: id.into() })
    }

    /// Bytes that nobody else can know, the same each time for a purpose and
    /// these words.
    pub fn derive(&self, purpose: &str, words: &[&str]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for word in [&[purpose], words].concat() {
            // With its length, so that no two lists of words are the same bytes.
            mac.update(&(word.len() as u64).to_le_bytes());
            mac.update(word.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn mac(&self, id: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(b"learner:");
        mac.update(id.as_bytes());
        mac
    }
}

/// The `Set-Cookie` header for a learner.
pub fn set_cookie(key: &CookieKey, learner: &Learner, secure: bool) -> String {
    let value = key.sign(learner);
    let (name, flag) = if secure { (COOKIE_SECURE, "; Secure") } else { (COOKIE_PLAIN, "") };
    format!("{name}={value}; Path=/; Max-Age={MAX_AGE_SECONDS}; HttpOnly; SameSite=Lax{flag}")
}

/// The value of a cookie in a request.
pub fn cookie<'a>(headers: &'a axum::http::HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(axum::http::header::COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_was_tampered_with_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        let key = CookieKey::open(&dir.path().join("key")).unwrap();
        let learner = Learner::new().unwrap();
        let value = key.sign(&learner);
        assert_eq!(key.verify(&value), Some(learner));
        let other = Learner::new().unwrap();
        let (_, tag) = value.split_once('.').unwrap();
        assert_eq!(key.verify(&format!("{}.{tag}", other.id)), None);
        assert_eq!(key.verify(&value[..value.len() - 1]), None);
        assert_eq!(key.verify(""), None);
    }

    #[test]
    fn the_key_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let learner = Learner::new().unwrap();
        let value = CookieKey::open(&file).unwrap().sign(&learner);
        assert_eq!(CookieKey::open(&file).unwrap().verify(&value), Some(learner));
    }
}
