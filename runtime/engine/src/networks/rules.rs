//! The node's packet filter rules, and what they are made from.

use std::{
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use drydock_sandbox::nft::{
    NftError,
    bridges::{self, Bridge, Forward},
};

/// What the kernel has been told. The lock is held while it is told more, so
/// that both stay the same.
#[derive(Debug, Default)]
pub(super) struct Rules(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    bridges: Vec<Bridge>,
    forwards: Vec<Forward>,
}

impl Rules {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the rules for all bridges and ports, whatever was there.
    pub(super) fn replace(&self, bridges: Vec<Bridge>, forwards: Vec<Forward>) -> Result<(), NftError> {
        let mut told = self.told();
        *told = Told { bridges, forwards };
        bridges::replace(&told.bridges, &told.forwards)
    }

    /// Adds a bridge.
    pub(super) fn add_bridge(&self, bridge: Bridge) -> Result<(), NftError> {
        let mut told = self.told();
        told.bridges.retain(|other| other.name != bridge.name);
        told.bridges.push(bridge);
        bridges::replace(&told.bridges, &told.forwards)
    }

    /// Removes a bridge.
    pub(super) fn remove_bridge(&self, name: &str) -> Result<(), NftError> {
        let mut told = self.told();
        told.bridges.retain(|other| other.name != name);
        bridges::replace(&told.bridges, &told.forwards)
    }

    /// Opens ports.
    pub(super) fn open(&self, forwards: &[Forward]) -> Result<(), NftError> {
        let mut told = self.told();
        let new: Vec<Forward> =
            forwards.iter().filter(|forward| !told.forwards.contains(forward)).copied().collect();
        let before = told.forwards.len();
        // A container that ended while the rules were made may be in the way.
        told.forwards.retain(|old| !new.iter().any(|new| key(new) == key(old)));
        let stale = told.forwards.len() < before;
        told.forwards.extend(&new);
        if !stale && bridges::open_ports(&new).is_ok() {
            return Ok(());
        }
        // The learner's root may have taken the table away, too.
        bridges::replace(&told.bridges, &told.forwards)
    }

    /// Closes ports, as far as they are open.
    pub(super) fn close(&self, forwards: &[Forward]) -> Result<(), NftError> {
        let mut told = self.told();
        let (gone, kept): (Vec<Forward>, Vec<Forward>) =
            told.forwards.iter().partition(|forward| forwards.contains(forward));
        told.forwards = kept;
        bridges::close_ports(&gone).or_else(|_| bridges::replace(&told.bridges, &told.forwards))
    }
}

/// What a port of the node is known by.
fn key(forward: &Forward) -> (u8, Ipv4Addr, u16) {
    (forward.protocol, forward.address, forward.port)
}
