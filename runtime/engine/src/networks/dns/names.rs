//! Whose name is whose: what containers are called in the networks they share.

use std::net::Ipv4Addr;

use super::super::place::{Attachment, Endpoint};
use crate::{
    containers::record::Record,
    engine::{Engine, Shared},
    random,
};

/// The names of a container in a user-defined network, besides its full id.
pub(crate) fn names(record: &Record, attachment: &Attachment) -> Vec<String> {
    let mut names = vec![record.name.clone()];
    let aliases = attachment.aliases.iter().flatten().cloned();
    let more = aliases.chain([record.id[..12].to_owned(), record.config.hostname.clone()]);
    for name in more {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The addresses that a name means to a container, in no certain order; none
/// where it means nothing.
pub(super) fn addresses(engine: &Shared, asker: &str, name: &str) -> Option<Vec<Ipv4Addr>> {
    for (network, attachment) in networks_of(engine, asker) {
        // `web.appnet` means `web` in that network.
        let short = name.strip_suffix(&network.to_ascii_lowercase()).and_then(|rest| rest.strip_suffix('.'));
        let linked = linked(engine, &attachment, name);
        let wanted = [Some(name), short, linked.as_deref()];
        let wanted = |own: &str| wanted.iter().flatten().any(|name| own.eq_ignore_ascii_case(name));
        let mut found = Vec::new();
        for_each_in(engine, &network, |record, attachment, endpoint| {
            if wanted(&record.id) || names(record, attachment).iter().any(|own| wanted(own)) {
                found.push(endpoint.address);
            }
        });
        if !found.is_empty() {
            // Each in turn comes first, more or less.
            let first = random::number() as usize % found.len();
            found.rotate_left(first);
            return Some(found);
        }
    }
    None
}

/// The container that a name stands for by `--link`.
fn linked(engine: &Engine, attachment: &Attachment, name: &str) -> Option<String> {
    attachment.links.iter().flatten().find_map(|link| {
        let (target, alias) = link.split_once(':').unwrap_or((link, link));
        let target = target.trim_start_matches('/');
        alias.eq_ignore_ascii_case(name).then(|| {
            engine.containers.find(target).map_or_else(|_| target.to_owned(), |found| found.id.clone())
        })
    })
}

/// The name of an address in a network that the container shares.
pub(super) fn name_of(engine: &Shared, asker: &str, address: Ipv4Addr) -> Option<String> {
    networks_of(engine, asker).into_iter().find_map(|(network, _)| {
        let mut found = None;
        for_each_in(engine, &network, |record, _, endpoint| {
            if endpoint.address == address {
                found = Some(format!("{}.{network}", record.name));
            }
        });
        found
    })
}

/// Whether anything outside can be asked: not from internal networks alone.
pub(super) fn has_way_out(engine: &Shared, asker: &str) -> bool {
    let Ok(container) = engine.containers.find(asker) else { return false };
    let record = container.locked();
    record.sandbox.as_ref().is_some_and(|sandbox| sandbox.way_out().is_some())
}

/// The user-defined networks that the container is in.
fn networks_of(engine: &Shared, asker: &str) -> Vec<(String, Attachment)> {
    let Ok(container) = engine.containers.find(asker) else { return Vec::new() };
    let record = container.locked();
    let endpoints = record.sandbox.iter().flat_map(|sandbox| sandbox.endpoints.keys());
    let user_defined = endpoints.filter(|name| *name != "bridge");
    user_defined.map(|name| (name.clone(), record.networks.get(name).cloned().unwrap_or_default())).collect()
}

/// Calls `with` for each container that has a place in the network.
fn for_each_in(engine: &Shared, network: &str, mut with: impl FnMut(&Record, &Attachment, &Endpoint)) {
    for container in engine.containers.all() {
        let record = container.locked();
        let endpoint = record.sandbox.as_ref().and_then(|sandbox| sandbox.endpoints.get(network));
        if let Some(endpoint) = endpoint {
            let attachment = record.networks.get(network).cloned().unwrap_or_default();
            with(&record, &attachment, endpoint);
        }
    }
}
