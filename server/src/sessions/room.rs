//! What is full, in a learner's words, and about when a place comes free.

use std::{cmp::Reverse, collections::BinaryHeap};

use drydock_protocol::host::{Full, Resource, Session};

/// What is full, as the beginning of a sentence.
pub fn words(full: &Full) -> String {
    let Full { most, used, .. } = full;
    match full.resource {
        Resource::Sessions => format!("all {most} sessions of this server are in use"),
        Resource::Nodes if used >= most => format!("all {most} nodes of this server are in use"),
        Resource::Nodes => format!("{used} of the {most} nodes of this server are in use"),
        Resource::Memory => "all memory of this server is in use".into(),
        Resource::Disk => "all disk space of this server is in use".into(),
        Resource::Processes => "all process numbers of this server are in use".into(),
        Resource::Cpu => "all CPU time of this server is in use".into(),
        Resource::Ids => "all user numbers of this server are in use".into(),
    }
}

/// When a session ends if nobody extends it or types, and the nodes it frees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Seconds until then.
    pub(super) seconds: u64,
    /// Its nodes.
    pub(super) nodes: u64,
}

impl Leaving {
    pub(super) fn of(session: &Session, idle_left: u64) -> Leaving {
        // Only learners' sessions end because nobody types.
        let idle_left = if session.owner == super::OWNER_CLI { u64::MAX } else { idle_left };
        let seconds = super::seconds_left(session).min(idle_left);
        Leaving { seconds, nodes: session.nodes.len() as u64 }
    }
}

/// Seconds until each of those in line has its nodes, when `free` are free now
/// and who gets some keeps them for `keeps` seconds; `None` for who wants more
/// than there are.
pub(super) fn waits(leaving: &[Leaving], free: u64, wanted: &[u64], keeps: u64) -> Vec<Option<u64>> {
    let mut ends: BinaryHeap<Reverse<(u64, u64)>> =
        leaving.iter().map(|one| Reverse((one.seconds, one.nodes))).collect();
    let all = free + leaving.iter().map(|one| one.nodes).sum::<u64>();
    let (mut free, mut now) = (free, 0);
    let mut waits = Vec::new();
    for wanted in wanted {
        if *wanted > all {
            waits.push(None);
            continue;
        }
        while free < *wanted
            && let Some(Reverse((seconds, nodes))) = ends.pop()
        {
            free += nodes;
            now = now.max(seconds);
        }
        waits.push(Some(now));
        free = free.saturating_sub(*wanted);
        ends.push(Reverse((now + keeps, *wanted)));
    }
    waits
}

/// How many nodes are free for sure: of anything but nodes, none.
pub(super) fn free_nodes(full: &Full) -> u64 {
    match full.resource {
        Resource::Nodes => full.most.saturating_sub(full.used),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_free_as_sessions_end() {
        let leaving = |list: &[(u64, u64)]| -> Vec<Leaving> {
            list.iter().map(|(seconds, nodes)| Leaving { seconds: *seconds, nodes: *nodes }).collect()
        };
        let some = leaving(&[(600, 1), (240, 2), (900, 3)]);
        let waits = |free, wanted: &[u64]| super::waits(&some, free, wanted, 1000);
        assert_eq!(waits(0, &[1, 1, 1]), [Some(240), Some(240), Some(600)]);
        assert_eq!(waits(1, &[3]), [Some(240)]);
        assert_eq!(waits(3, &[2, 1, 1]), [Some(0), Some(0), Some(240)]);
        assert_eq!(waits(0, &[7, 6, 1]), [None, Some(900), Some(1900)], "who waits before leaves too");
        assert_eq!(super::waits(&[], 0, &[1], 1000), [None]);
    }

    #[test]
    fn what_is_full_is_said_by_its_name() {
        let full = |resource, most, used| Full { resource, most, used, asked: 3, soonest_deadline: None };
        assert_eq!(words(&full(Resource::Nodes, 60, 60)), "all 60 nodes of this server are in use");
        assert_eq!(words(&full(Resource::Nodes, 60, 58)), "58 of the 60 nodes of this server are in use");
        assert_eq!(free_nodes(&full(Resource::Nodes, 60, 58)), 2);
        assert_eq!(free_nodes(&full(Resource::Memory, 60, 58)), 0);
    }
}
