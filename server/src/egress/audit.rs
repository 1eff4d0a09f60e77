//! Who asked for which host: a line in web's log for each host of a session.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// Hosts of one session that get a line; a learner can make up as many as they
/// like.
const HOSTS_MAX: usize = 200;

/// The longest name that is written.
const HOST_MAX: usize = 253;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Reached,
    NotListed,
    PrivateAddress,
    Unreachable,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Reached => "reached",
            Outcome::NotListed => "not on the list",
            Outcome::PrivateAddress => "address refused",
            Outcome::Unreachable => "not reached",
        }
    }
}

/// The hosts that a session has a line for already.
#[derive(Debug)]
pub(super) struct Audit {
    session: String,
    said: Mutex<BTreeSet<(String, u16, Outcome)>>,
}

impl Audit {
    pub(super) fn new(session: &str) -> Audit {
        Audit { session: session.to_owned(), said: Mutex::default() }
    }

    /// Notes that a node asked for a host; the first time in the log.
    pub(super) fn note(&self, node: IpAddr, host: &str, port: u16, outcome: Outcome) {
        let host: String = host.chars().filter(|c| c.is_ascii_graphic()).take(HOST_MAX).collect();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < HOSTS_MAX && said.insert((host.clone(), port, outcome)) {
            let session = &self.session;
            tracing::info!(session, %node, host, port, outcome = outcome.word(), "egress");
            if said.len() == HOSTS_MAX {
                tracing::warn!(session, "egress: further hosts of this session get no line");
            }
        }
    }
}
