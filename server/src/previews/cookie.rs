//! Cookies on their way to a node's program and back: RFC 6265.

use axum::http::{HeaderMap, HeaderValue, header};

use super::proxy::Origin;
use crate::learner::{COOKIE_PLAIN, COOKIE_SECURE};

/// Whether a cookie of this name may be ours. With an origin of its own a
/// preview gets none of ours; on a port of this server's name it would get all.
fn is_ours(name: &[u8], origin: Origin) -> bool {
    // Browsers take the prefix in any case.
    name.eq_ignore_ascii_case(COOKIE_SECURE.as_bytes())
        || name == COOKIE_PLAIN.as_bytes()
        || (origin == Origin::Shared && name == crate::pages::THEME_COOKIE.as_bytes())
}

/// Takes our cookies out of a request.
pub(super) fn strip_request(headers: &mut HeaderMap, origin: Origin) {
    let Some(merged) = merged(headers) else { return };
    let kept: Vec<&[u8]> = merged
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty() && !is_ours(name_of(pair), origin))
        .collect();
    headers.remove(header::COOKIE);
    if let Ok(value) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
        && !kept.is_empty()
    {
        headers.insert(header::COOKIE, value);
    }
}

fn merged(headers: &HeaderMap) -> Option<Vec<u8>> {
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    (!all.is_empty()).then(|| all.join(&b"; "[..]))
}

/// Takes cookies of our names out of an answer, and the `Domain` out of others,
/// so that each stays with the host that set it.
pub(super) fn strip_answer(headers: &mut HeaderMap, origin: Origin) {
    let kept: Vec<HeaderValue> = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|value| kept(value.as_bytes(), origin))
        .collect();
    headers.remove(header::SET_COOKIE);
    for value in kept {
        headers.append(header::SET_COOKIE, value);
    }
}

fn kept(value: &[u8], origin: Origin) -> Option<HeaderValue> {
    let mut parts = value.split(|byte| *byte == b';');
    let pair = parts.next()?.trim_ascii();
    // A cookie without a name is sent back as its bare value, which may look
    // like one with a name.
    if name_of(pair).is_empty() || is_ours(name_of(pair), origin) {
        return None;
    }
    let attributes = parts.filter(|attribute| !attribute_name(attribute).eq_ignore_ascii_case(b"domain"));
    let all: Vec<&[u8]> = std::iter::once(pair).chain(attributes.map(<[u8]>::trim_ascii)).collect();
    HeaderValue::from_bytes(&all.join(&b"; "[..])).ok()
}

/// A cookie's name; nothing if there is no `=`.
fn name_of(pair: &[u8]) -> &[u8] {
    pair.iter().position(|byte| *byte == b'=').map_or(&b""[..], |end| pair[..end].trim_ascii())
}

/// An attribute's name, with or without a value.
fn attribute_name(attribute: &[u8]) -> &[u8] {
    attribute.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(value: &str, origin: Origin) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::SET_COOKIE, value.parse().unwrap());
        strip_answer(&mut headers, origin);
        headers.get(header::SET_COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    fn request(values: &[&str], origin: Origin) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::COOKIE, value.parse().unwrap());
        }
        strip_request(&mut headers, origin);
        headers.get(header::COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn no_cookie_of_ours_goes_there() {
        let sent = ["a=1; __Host-drydock=secret; b=2", "drydock=secret", "c"];
        assert_eq!(request(&sent, Origin::Own).unwrap(), "a=1; b=2; c");
        assert_eq!(request(&["theme=dark; drydock=x"], Origin::Own).unwrap(), "theme=dark", "the app's own");
        assert_eq!(request(&["theme=dark; drydock=x"], Origin::Shared), None);
        assert_eq!(request(&[], Origin::Own), None);
    }

    #[test]
    fn no_cookie_of_ours_comes_from_there() {
        for value in [
            "drydock=evil",
            "drydock =evil; Path=/",
            "__Host-drydock=evil; Secure; Path=/",
            "__HOST-drydock=evil; Secure; Path=/",
            "=drydock=evil",
            "drydock",
            "",
        ] {
            assert_eq!(answer(value, Origin::Own), None, "{value:?}");
        }
        assert_eq!(answer("theme=dark", Origin::Shared), None);
        assert_eq!(answer("theme=dark", Origin::Own).unwrap(), "theme=dark");
    }

    #[test]
    fn other_cookies_stay_with_their_host() {
        assert_eq!(
            answer("id=1; domain=localhost; Path=/; DOMAIN = .localhost; HttpOnly", Origin::Own).unwrap(),
            "id=1; Path=/; HttpOnly"
        );
        assert_eq!(answer("id=a=b;Domain; Secure", Origin::Own).unwrap(), "id=a=b; Secure");
    }
}
