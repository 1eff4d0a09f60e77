//! Previews: what nodes serve, each port at an origin of its own.
//!
//! | module | what |
//! | --- | --- |
//! | [`name`] | `<port>-<node>-<token>`, the origin's first label |
//! | [`proxy`] | a request and its answer, to the node and back |
//! | [`cookie`] | no cookie of ours goes there or comes from there |
//! | [`range`] | where no wildcard name resolves: a port of this server each |
//! | [`open`] | which ports are open, as that changes |
//! | [`page`] | what is shown instead, when there is nothing to show |

mod cookie;
mod name;
pub mod open;
mod page;
mod proxy;
mod range;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use drydock_protocol::host::Session;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::rustls::ServerConfig;

use crate::{config::Settings, learner::CookieKey, state::AppState};

/// Requests to one session's ports at once.
const REQUESTS_PER_SESSION: usize = 64;

/// Where previews are, and whose they are. Cheap to clone.
#[derive(Clone)]
pub struct Previews {
    shared: Arc<Shared>,
}

struct Shared {
    place: Place,
    key: CookieKey,
    roster: watch::Receiver<Arc<Vec<Session>>>,
    known: Mutex<Known>,
    slots: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// How a preview is reached.
enum Place {
    /// A name under this domain.
    Domain { scheme: String, domain: String, port: String },
    /// A port of this server's.
    Range(range::Range),
    /// There is no way.
    Nowhere,
}

/// The sessions' tokens, for as long as the list of sessions is the same.
#[derive(Default)]
struct Known {
    of: Arc<Vec<Session>>,
    sessions: HashMap<String, usize>,
}

/// A port of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Target {
    session: String,
    node: String,
    port: u16,
}

/// What a host name leads to.
enum Named {
    Elsewhere,
    Nothing,
    Target(Target),
}

impl Previews {
    /// Previews of these sessions' nodes, as the settings say.
    pub fn new(settings: &Settings, key: CookieKey, roster: watch::Receiver<Arc<Vec<Session>>>) -> Previews {
        let shared = Shared {
            place: Place::new(settings),
            key,
            roster,
            known: Mutex::default(),
            slots: Mutex::default(),
        };
        Previews { shared: Arc::new(shared) }
    }

    /// Speaks TLS on previews' own ports too.
    pub fn use_tls(&self, tls: Option<Arc<ServerConfig>>) {
        if let Place::Range(range) = &self.shared.place {
            range.use_tls(tls);
        }
    }

    /// Where a browser finds what serves this port of a node, if there is a way.
    pub fn address(&self, session: &Session, node: &str, port: u16) -> Option<String> {
        match &self.shared.place {
            Place::Domain { scheme, domain, port: own_port } => {
                let label = name::label(port, node, &self.shared.token(session))?;
                Some(format!("{scheme}://{label}.{domain}{own_port}/"))
            }
            Place::Range(range) => {
                let target = Target { session: session.id.clone(), node: node.to_owned(), port };
                range.address(self, target)
            }
            Place::Nowhere => None,
        }
    }

    /// What this Host header names.
    fn named(&self, host: &str) -> Named {
        let Place::Domain { domain, .. } = &self.shared.place else { return Named::Elsewhere };
        let host = host.to_ascii_lowercase();
        let host = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        let Some(label) = host.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.')) else {
            return Named::Elsewhere;
        };
        let Some((port, node, token)) = name::parse(label) else { return Named::Nothing };
        match self.shared.session_with(token) {
            Some(session) => Named::Target(Target { session, node: node.to_owned(), port }),
            None => Named::Nothing,
        }
    }

    /// The session, if it lives.
    fn session(&self, id: &str) -> Option<Session> {
        self.shared.roster.borrow().iter().find(|session| session.id == id).cloned()
    }

    /// The places for requests to a session's ports.
    fn slots(&self, session: &str) -> Arc<Semaphore> {
        let mut slots = self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|id, slots| id == session || slots.available_permits() < REQUESTS_PER_SESSION);
        slots
            .entry(session.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(REQUESTS_PER_SESSION)))
            .clone()
    }
}

impl Shared {
    /// What makes a session's previews unguessable. It is made from our key, so
    /// that it needs no keeping and survives a restart.
    fn token(&self, session: &Session) -> String {
        name::token(self.key.derive("preview", &[&session.id, &session.key]))
    }

    fn session_with(&self, token: &str) -> Option<String> {
        let now = self.roster.borrow().clone();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known.of, &now) {
            let sessions = now.iter().enumerate().map(|(at, session)| (self.token(session), at)).collect();
            *known = Known { of: now, sessions };
        }
        known.sessions.get(token).map(|at| known.of[*at].id.clone())
    }
}

impl Place {
    fn new(settings: &Settings) -> Place {
        let (scheme, authority) = settings.url.split_once("://").unwrap_or(("http", &settings.url));
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        match (&settings.preview_domain, settings.preview_ports) {
            (Some(domain), _) => Place::Domain {
                scheme: scheme.to_owned(),
                domain: domain.clone(),
                port: authority.strip_prefix(host).unwrap_or_default().to_owned(),
            },
            (None, Some(ports)) => {
                Place::Range(range::Range::new(settings.listen.ip(), ports, format!("{scheme}://{host}")))
            }
            (None, None) => Place::Nowhere,
        }
    }
}

/// Middleware: a request for a preview's host never reaches our own routes.
pub async fn by_host(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if app.origins.knows_host(host) {
        return next.run(request).await;
    }
    match app.previews.named(host) {
        Named::Elsewhere => next.run(request).await,
        Named::Nothing => page::gone(),
        Named::Target(target) => proxy::pass(&app.previews, &target, request, proxy::Origin::Own).await,
    }
}
