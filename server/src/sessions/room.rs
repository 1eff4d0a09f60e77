//! What is full, in a learner's words, and about when a place comes free.

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
        let seconds = super::seconds_left(session).min(idle_left);
        Leaving { seconds, nodes: session.nodes.len() as u64 }
    }
}

/// Seconds until so many nodes are free, when `free` are free now; `None` if
/// they won't be even when all have left.
pub(super) fn seconds_until(mut leaving: Vec<Leaving>, free: u64, needed: u64) -> Option<u64> {
    leaving.sort_by_key(|one| one.seconds);
    let mut free = free;
    let mut seconds = 0;
    for one in leaving {
        if free >= needed {
            break;
        }
        free += one.nodes;
        seconds = one.seconds;
    }
    (free >= needed).then_some(seconds)
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
        assert_eq!(seconds_until(some.clone(), 0, 1), Some(240));
        assert_eq!(seconds_until(some.clone(), 1, 3), Some(240));
        assert_eq!(seconds_until(some.clone(), 0, 4), Some(900));
        assert_eq!(seconds_until(some.clone(), 0, 7), None);
        assert_eq!(seconds_until(some, 3, 2), Some(0));
        assert_eq!(seconds_until(Vec::new(), 0, 1), None);
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
