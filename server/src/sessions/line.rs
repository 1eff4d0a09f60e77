//! The line before a full room.
//!
//! A place is held by an open connection of a page. When that breaks, the place
//! is kept for a moment, so that a reload loses nothing. The first in line gets
//! what comes free; nobody overtakes, so a lab of three nodes is not starved by
//! labs of one.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use drydock_protocol::host::{Full, Resource};
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::{
    Sessions,
    room::{self, Leaving},
};
use crate::{error::AppError, learner::Learner};

/// How long a place is kept whose page has gone.
const KEEP: Duration = Duration::from_secs(5);

/// How often it is tried whether there is room, when nothing is heard.
const EVERY: Duration = Duration::from_secs(2);

/// What a page in line is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Nothing yet.
    Waiting,
    /// Where it stands.
    Place(Place),
    /// The session is there.
    Ready,
    /// There will be none, and why.
    Over(String),
}

/// A place in line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// 1 is next.
    pub place: usize,
    /// About how many seconds it takes, if nobody extends; `None` when nobody
    /// can say.
    pub seconds: Option<u64>,
    /// How many nodes are waited for.
    pub nodes: u64,
    /// Whether waiting helps by sessions that end.
    pub resource: Resource,
    /// What is full.
    pub message: String,
}

/// All who wait.
pub(super) struct Line {
    max: usize,
    state: Mutex<State>,
    /// Somebody came, or something came free.
    changed: Notify,
    others: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiter>,
    last: u64,
    full: Option<Full>,
}

struct Waiter {
    number: u64,
    learner: Learner,
    address: IpAddr,
    lab: String,
    nodes: u64,
    news: watch::Sender<News>,
    /// Since when no page holds the place.
    left: Option<Instant>,
}

/// Who is next.
struct Next {
    number: u64,
    learner: Learner,
    address: IpAddr,
    lab: String,
}

impl Line {
    pub(super) fn new(max: u32) -> Line {
        Line {
            max: max as usize,
            state: Mutex::default(),
            changed: Notify::new(),
            others: watch::Sender::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody waits; changes can be waited for.
    pub(super) fn others(&self) -> watch::Receiver<bool> {
        self.others.subscribe()
    }

    /// Whether somebody else would be overtaken by this learner; what is full
    /// then.
    pub(super) fn before(&self, learner: &Learner) -> Option<Full> {
        let state = self.lock();
        let first = state.waiting.iter().find(|waiter| waiter.is_held())?;
        if first.learner == *learner { None } else { state.full }
    }

    /// Takes a place, or goes on with the one that is kept.
    pub(super) fn join(
        &self,
        learner: &Learner,
        address: IpAddr,
        lab: &str,
        nodes: u64,
    ) -> Result<watch::Receiver<News>, AppError> {
        let mut state = self.lock();
        let mine = state.waiting.iter_mut().find(|one| one.learner == *learner && one.lab == lab);
        if let Some(mine) = mine {
            mine.left = None;
            return Ok(mine.news.subscribe());
        }
        if state.waiting.iter().any(|one| one.learner == *learner) {
            return Err(AppError::Conflict("you are in line for another lab: leave that line first".into()));
        }
        // Half the line at most for one address, so that others find a place.
        let neighbours = state.waiting.iter().filter(|one| one.address == address).count();
        if state.waiting.len() >= self.max || neighbours >= self.max.div_ceil(2) {
            let words = format!("the room is full, and {} are in line already", state.waiting.len());
            return Err(AppError::TooMany { message: words, retry_seconds: 60 });
        }
        state.last += 1;
        let (news, receiver) = watch::channel(News::Waiting);
        let (number, learner, lab) = (state.last, learner.clone(), lab.to_owned());
        state.waiting.push(Waiter { number, learner, address, lab, nodes, news, left: None });
        drop(state);
        self.changed.notify_one();
        Ok(receiver)
    }

    /// Forgets those whose pages have gone.
    fn sweep(&self, now: Instant) {
        let mut state = self.lock();
        for waiter in &mut state.waiting {
            waiter.left = if waiter.is_held() { None } else { waiter.left.or(Some(now)) };
        }
        state.waiting.retain(|one| one.left.is_none_or(|left| now.duration_since(left) < KEEP));
        let waits = !state.waiting.is_empty();
        drop(state);
        self.others.send_if_modified(|others| std::mem::replace(others, waits) != waits);
    }

    fn next(&self) -> Option<Next> {
        let state = self.lock();
        let first = state.waiting.iter().find(|waiter| waiter.is_held())?;
        Some(Next {
            number: first.number,
            learner: first.learner.clone(),
            address: first.address,
            lab: first.lab.clone(),
        })
    }

    /// Somebody leaves the line, with these words.
    fn leave(&self, number: u64, last: News) {
        let mut state = self.lock();
        if let Some(at) = state.waiting.iter().position(|one| one.number == number) {
            state.waiting.remove(at).news.send_replace(last);
        }
    }

    fn note(&self, full: Full) {
        self.lock().full = Some(full);
    }

    /// Tells everybody where they stand.
    fn tell(&self, leaving: &[Leaving], keeps: u64) {
        let state = self.lock();
        let Some(full) = state.full else { return };
        let wanted: Vec<u64> = state.waiting.iter().map(|waiter| waiter.nodes).collect();
        let waits = room::waits(leaving, room::free_nodes(&full), &wanted, keeps);
        for (index, (waiter, seconds)) in state.waiting.iter().zip(waits).enumerate() {
            let news = News::Place(Place {
                place: index + 1,
                seconds,
                nodes: waiter.nodes,
                resource: full.resource,
                message: room::words(&full),
            });
            waiter.news.send_if_modified(|old| {
                let differs = *old != news;
                *old = news;
                differs
            });
        }
    }
}

impl Waiter {
    fn is_held(&self) -> bool {
        self.news.receiver_count() > 0
    }
}

/// Gives what comes free to those who wait; runs for ever.
pub(super) async fn run(sessions: &Sessions) {
    let line = &sessions.shared.line;
    let mut roster = sessions.watch();
    loop {
        line.sweep(Instant::now());
        serve(sessions).await;
        line.sweep(Instant::now());
        line.tell(&sessions.leaving(), sessions.shared.settings.session_minutes * 60);
        let waits = *line.others.borrow();
        tokio::select! {
            () = line.changed.notified() => {}
            changed = roster.changed(), if waits => if changed.is_err() { return },
            () = tokio::time::sleep(EVERY), if waits => {}
        }
    }
}

async fn serve(sessions: &Sessions) {
    let line = &sessions.shared.line;
    while let Some(next) = line.next() {
        match sessions.open_in_turn(&next.learner, next.address, &next.lab).await {
            Ok(_) => line.leave(next.number, News::Ready),
            Err(AppError::Full { full, .. }) => return line.note(full),
            // Host is away, or many sessions are being made: that passes.
            Err(AppError::Busy(_)) => return,
            Err(error) => line.leave(next.number, News::Over(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const FULL: Full = Full { resource: Resource::Nodes, most: 3, used: 3, asked: 1, soonest_deadline: None };

    fn learner(id: &str) -> Learner {
        Learner { id: id.into() }
    }

    fn place(receiver: &watch::Receiver<News>) -> (usize, Option<u64>) {
        match &*receiver.borrow() {
            News::Place(place) => (place.place, place.seconds),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places_are_in_order_and_fall_with_their_page() {
        let line = Line::new(10);
        let ann = line.join(&learner("ann"), HERE, "swarm", 3).unwrap();
        let ben = line.join(&learner("ben"), HERE, "one", 1).unwrap();
        line.note(FULL);
        line.tell(&[Leaving { seconds: 240, nodes: 3 }, Leaving { seconds: 500, nodes: 1 }], 600);
        assert_eq!((place(&ann), place(&ben)), ((1, Some(240)), (2, Some(500))));
        assert!(line.before(&learner("ann")).is_none());
        assert!(line.before(&learner("ben")).is_some(), "nobody overtakes");
        drop(ann);
        let now = Instant::now();
        line.sweep(now);
        let ann = line.join(&learner("ann"), HERE, "swarm", 3).unwrap();
        line.sweep(now + KEEP);
        line.tell(&[], 600);
        assert_eq!((place(&ann), place(&ben)), ((1, None), (2, None)), "back in time");
        drop(ann);
        line.sweep(now + KEEP);
        assert!(line.before(&learner("ben")).is_none(), "who is away does not hold up others");
        line.sweep(now + KEEP + KEEP);
        line.tell(&[], 600);
        assert_eq!(place(&ben).0, 1);
        drop(ben);
        line.sweep(now + KEEP + KEEP);
        line.sweep(now + KEEP + KEEP + KEEP);
        assert!(!*line.others().borrow());
    }

    #[test]
    fn the_line_is_bounded_for_all_and_for_one_address() {
        let line = Line::new(4);
        let mut held = Vec::new();
        for id in ["a", "b"] {
            held.push(line.join(&learner(id), HERE, "lab", 1).unwrap());
        }
        assert!(matches!(line.join(&learner("c"), HERE, "lab", 1), Err(AppError::TooMany { .. })));
        for id in ["c", "d"] {
            held.push(line.join(&learner(id), [10, 0, 0, held.len() as u8].into(), "lab", 1).unwrap());
        }
        let more = line.join(&learner("e"), [10, 0, 0, 9].into(), "lab", 1);
        assert!(matches!(more, Err(AppError::TooMany { .. })));
        assert!(line.join(&learner("a"), HERE, "lab", 1).is_ok(), "a second page of the same place");
        assert!(matches!(line.join(&learner("a"), HERE, "other", 1), Err(AppError::Conflict(_))));
    }
}
