//! The node's events: numbered here, kept for a while, given to whoever watches.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Instant,
};

use drydock_protocol::event::{Event, Port, What};
use tokio::sync::watch;

use crate::clock;

/// How many events are kept.
const KEPT: usize = 1000;
/// How many bytes of them, in JSON.
const KEPT_BYTES: usize = 2 << 20;

/// All that happened lately.
#[derive(Debug)]
pub(crate) struct Events {
    kept: RefCell<Kept>,
    newest: watch::Sender<u64>,
    watchers: watch::Sender<usize>,
    published: watch::Sender<Vec<Port>>,
    typed: Cell<Instant>,
    /// How often memory ran out, and whom it hit last, as far as events tell.
    out_of_memory: RefCell<(u64, Option<String>)>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Line>,
    bytes: usize,
}

#[derive(Debug)]
struct Line {
    seq: u64,
    json: Rc<[u8]>,
    /// What it is the whole state of. Only the newest of a kind counts: an older
    /// one is dropped for it, and it is kept for whoever comes later.
    state: Option<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Processes,
    Usage,
    Ports,
}

/// Somebody who watches.
#[derive(Debug)]
pub(crate) struct Watcher {
    events: Rc<Events>,
    newest: watch::Receiver<u64>,
    after: u64,
}

impl Events {
    pub(crate) fn new() -> Rc<Events> {
        Rc::new(Events {
            kept: RefCell::default(),
            newest: watch::Sender::new(0),
            watchers: watch::Sender::new(0),
            published: watch::Sender::new(Vec::new()),
            typed: Cell::new(Instant::now()),
            out_of_memory: RefCell::default(),
        })
    }

    /// Numbers an event and shows it to all who watch.
    pub(crate) fn push(&self, what: What) {
        let seq = *self.newest.borrow() + 1;
        let state = match &what {
            What::Processes { .. } => Some(State::Processes),
            What::Usage { .. } => Some(State::Usage),
            What::Ports { .. } => Some(State::Ports),
            _ => None,
        };
        if let What::Ports { ports } = &what {
            self.published.send_replace(ports.clone());
        }
        if let What::OutOfMemory { name } = &what {
            let mut known = self.out_of_memory.borrow_mut();
            *known = (known.0 + 1, name.clone());
        }
        let event = Event { seq, time_ms: clock::epoch_ms(), what };
        match serde_json::to_vec(&event) {
            Ok(json) => self.kept.borrow_mut().push(Line { seq, json: json.into(), state }),
            Err(error) => tracing::error!("cannot write an event in JSON: {error}"),
        }
        self.newest.send_replace(seq);
    }

    /// Watches from the event after `after` on.
    pub(crate) fn watch(self: &Rc<Events>, after: u64) -> Watcher {
        self.watchers.send_modify(|count| *count += 1);
        Watcher { events: self.clone(), newest: self.newest.subscribe(), after }
    }

    /// How many watch.
    pub(crate) fn watchers(&self) -> watch::Receiver<usize> {
        self.watchers.subscribe()
    }

    /// The published ports of containers, as the engine told them last.
    pub(crate) fn published(&self) -> watch::Receiver<Vec<Port>> {
        self.published.subscribe()
    }

    /// Somebody typed.
    pub(crate) fn touch(&self) {
        self.typed.set(Instant::now());
    }

    /// How often memory ran out, and whom it hit last, as far as events tell.
    pub(crate) fn out_of_memory(&self) -> (u64, Option<String>) {
        self.out_of_memory.borrow().clone()
    }

    /// Milliseconds since somebody typed, or since the node began.
    pub(crate) fn idle_ms(&self) -> u64 {
        self.typed.get().elapsed().as_millis() as u64
    }
}

impl Kept {
    fn push(&mut self, line: Line) {
        if line.state.is_some() {
            self.events.retain(|old| old.state != line.state);
            self.bytes = self.events.iter().map(|old| old.json.len()).sum();
        }
        self.bytes += line.json.len();
        self.events.push_back(line);
        while self.events.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.events.iter().position(|line| line.state.is_none()) else { break };
            self.bytes -= self.events.remove(oldest).map_or(0, |line| line.json.len());
        }
    }

    fn after(&self, seq: u64) -> Option<(u64, Rc<[u8]>)> {
        let next = self.events.partition_point(|line| line.seq <= seq);
        self.events.get(next).map(|line| (line.seq, line.json.clone()))
    }
}

impl Watcher {
    /// The next event in JSON. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Rc<[u8]> {
        loop {
            self.newest.mark_unchanged();
            let next = self.events.kept.borrow().after(self.after);
            if let Some((seq, json)) = next {
                self.after = seq;
                return json;
            }
            // The sender lives in `self.events`.
            let _ = self.newest.changed().await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.events.watchers.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(json: &[u8]) -> u64 {
        serde_json::from_slice::<Event>(json).unwrap().seq
    }

    #[tokio::test]
    async fn a_watcher_goes_on_where_it_was() {
        let events = Events::new();
        for _ in 0..3 {
            events.push(What::EngineStarted);
        }
        let mut watcher = events.watch(1);
        assert_eq!(seq(&watcher.next().await), 2);
        assert_eq!(seq(&watcher.next().await), 3);
        let (next, ()) = tokio::join!(watcher.next(), async { events.push(What::EngineStarted) });
        assert_eq!(seq(&next), 4);
        assert_eq!(*events.watchers().borrow(), 1);
        drop(watcher);
        assert_eq!(*events.watchers().borrow(), 0);
    }

    #[tokio::test]
    async fn only_the_last_thousand_and_the_last_state_are_kept() {
        let events = Events::new();
        for _ in 0..2 {
            events.push(What::Processes { processes: Vec::new() });
        }
        assert_eq!(seq(&events.watch(0).next().await), 2);
        for _ in 0..KEPT + 10 {
            events.push(What::EngineStarted);
        }
        events.push(What::Ports { ports: Vec::new() });
        let mut watcher = events.watch(0);
        assert_eq!(seq(&watcher.next().await), 2);
        assert_eq!(seq(&watcher.next().await), 15);
        assert_eq!(seq(&events.watch(KEPT as u64 + 12).next().await), KEPT as u64 + 13);
    }
}
