//! Where a request really comes from.

use std::net::IpAddr;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{error::AppError, state::AppState};

/// The other end of the connection; the accept loop puts it into each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Who asks: the peer, or whoever a trusted proxy says it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for Address {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Address, AppError> {
        let known = parts.extensions.get::<Address>().copied();
        known.ok_or_else(|| AppError::internal("a request without an address"))
    }
}

/// Proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: u128,
    bits: u32,
}

impl Proxies {
    /// Reads addresses, each alone or as a network such as `10.0.0.0/8`.
    pub fn parse(words: &[String]) -> Result<Proxies, String> {
        words.iter().map(|word| network(word.trim())).collect::<Result<_, _>>().map(Proxies)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub fn has(&self, address: IpAddr) -> bool {
        let address = bits_of(address);
        self.0
            .iter()
            .any(|network| (address ^ network.address).checked_shr(128 - network.bits).unwrap_or(0) == 0)
    }

    /// The nearest address that is no proxy of ours: each proxy adds whom it
    /// speaks for at the end, so what stands before is anybody's word.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let values = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let named: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
        let mut address = peer;
        for name in named.iter().rev() {
            if !self.has(address) {
                break;
            }
            match name.parse::<IpAddr>() {
                Ok(next) => address = next,
                Err(_) => break,
            }
        }
        address.to_canonical()
    }
}

fn network(word: &str) -> Result<Network, String> {
    let bad = || format!("{word:?} is not an address or a network such as 10.0.0.0/8");
    let (address, bits) = word.split_once('/').map_or((word, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) => bits.parse::<u32>().ok().filter(|bits| *bits <= most).ok_or_else(bad)?,
    };
    Ok(Network { address: bits_of(address), bits: 128 - most + bits })
}

/// All addresses as IPv6, so that `::ffff:10.0.0.1` is 10.0.0.1.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Middleware: puts the [`Address`] into the request's extensions.
pub async fn know_address(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else {
        return AppError::internal("a connection without an address").into_response();
    };
    let address = Address(app.settings.trusted_proxies.client(peer, request.headers()));
    request.extensions_mut().insert(address);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let proxies: Vec<String> = proxies.iter().map(|word| (*word).to_owned()).collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        Proxies::parse(&proxies).unwrap().client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(client(&[], "127.0.0.1", &["8.8.8.8"]), "127.0.0.1");
        assert_eq!(client(&["10.0.0.1"], "127.0.0.1", &["8.8.8.8"]), "127.0.0.1");
        assert_eq!(client(&["127.0.0.0/8"], "127.0.0.9", &["8.8.8.8"]), "8.8.8.8");
        assert_eq!(client(&["127.0.0.1"], "127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn what_the_visitor_claims_is_not_taken_for_the_proxys_word() {
        assert_eq!(client(&["127.0.0.1"], "127.0.0.1", &["1.1.1.1, 8.8.8.8"]), "8.8.8.8");
        assert_eq!(client(&["127.0.0.1"], "127.0.0.1", &["1.1.1.1", "8.8.8.8"]), "8.8.8.8");
        assert_eq!(
            client(&["127.0.0.1", "10.0.0.0/8"], "127.0.0.1", &["1.1.1.1, 8.8.8.8, 10.2.3.4"]),
            "8.8.8.8"
        );
        assert_eq!(client(&["127.0.0.1"], "127.0.0.1", &["8.8.8.8, nonsense"]), "127.0.0.1");
        assert_eq!(client(&["::1", "127.0.0.1"], "::ffff:127.0.0.1", &["2001:db8::7"]), "2001:db8::7");
    }

    #[test]
    fn networks_are_checked() {
        for bad in ["10.0.0.0/33", "x", "10.0.0.1/", "::/129"] {
            assert!(Proxies::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        let all = Proxies::parse(&["0.0.0.0/0".to_owned()]).unwrap();
        assert!(all.has("9.9.9.9".parse().unwrap()) && !all.has("2001:db8::1".parse().unwrap()));
    }
}
