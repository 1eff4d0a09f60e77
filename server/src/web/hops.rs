//! Headers that belong to one connection and are not passed on: RFC 9110, 7.6.1.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

const NAMES: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
];

/// Takes them out; but for an upgrade, if that is to be passed on.
pub fn strip(headers: &mut HeaderMap, upgrade: bool) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != header::UPGRADE)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in NAMES {
        headers.remove(name);
    }
    if upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(header::UPGRADE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_belongs_to_one_connection_stays_there() {
        let mut got = headers(&[
            ("connection", "close, X-Own"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("content-type", "text/plain"),
        ]);
        strip(&mut got, false);
        assert_eq!(got, headers(&[("content-type", "text/plain")]));
    }

    #[test]
    fn an_upgrade_is_asked_for_on_both_sides() {
        let mut got = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        strip(&mut got, true);
        assert_eq!(got, headers(&[("connection", "upgrade"), ("upgrade", "websocket")]));
    }
}
