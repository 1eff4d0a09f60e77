//! Takes in what the connection brings, a slice of each frame's time at most,
//! and tells the other end how far it has come.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use drydock_protocol::terminal::{FromViewer, ToViewer};
use drydock_terminal::{Mark, Terminal};

use super::gutter::Times;
use super::{SCROLLBACK_LINES, TerminalView};
use crate::dom;

/// Milliseconds of each frame that taking in may cost.
const BUDGET_MS: f64 = 8.0;
/// Bytes that are taken in between two looks at the clock.
const SLICE: usize = 16 * 1024;
/// Bytes taken in before the other end is told.
const ACK_STEP: u64 = 64 * 1024;

/// What has come and was not yet taken in, and how far the rest has got.
#[derive(Default)]
pub(crate) struct Stream {
    queue: RefCell<VecDeque<ToViewer>>,
    /// Where in the stream the terminal is.
    offset: Cell<u64>,
    acked: Cell<u64>,
    /// The last mark that was told.
    last_mark: Cell<Option<u64>>,
    pub(crate) times: RefCell<Times>,
}

impl TerminalView {
    pub(crate) fn receive(&self, frame: ToViewer) {
        if matches!(frame, ToViewer::Snapshot { .. }) {
            // What came before over an older connection is in it.
            self.stream.queue.borrow_mut().clear();
        }
        self.stream.queue.borrow_mut().push_back(frame);
        self.take_in_soon();
    }

    /// Takes in what waits with the next frame. A page in the background has
    /// no frames and slow timers; there it is done at once, as otherwise the
    /// program would wait for whoever looks elsewhere.
    pub(crate) fn take_in_soon(&self) {
        if dom::document().hidden() {
            while !self.take_in() {}
        } else {
            self.request_frame();
        }
    }

    /// Takes in what waits, as long as a frame may take. Says whether all was.
    pub(crate) fn take_in(&self) -> bool {
        let end = dom::now_ms() + BUDGET_MS;
        let mut took = false;
        let done = loop {
            let Some(frame) = self.stream.queue.borrow_mut().pop_front() else { break true };
            took = true;
            self.take_frame(frame);
            if dom::now_ms() >= end {
                break self.stream.queue.borrow().is_empty();
            }
        };
        if took {
            self.acknowledge();
            self.after_output();
        }
        done
    }

    fn take_frame(&self, frame: ToViewer) {
        match frame {
            ToViewer::Snapshot { offset, size, bytes } => {
                let terminal = Terminal::from_dump(size.cols, size.rows, SCROLLBACK_LINES, &bytes);
                *self.core.borrow_mut() = terminal;
                let marks = self.core.borrow_mut().take_marks();
                self.tell_marks(&marks, None);
                self.stream.offset.set(offset);
                self.stream.acked.set(offset);
                self.selection.set(None);
                self.top_line.set(None);
                self.draw_all();
            }
            ToViewer::Output(mut bytes) => {
                let rest = bytes.split_off(bytes.len().min(SLICE));
                if !rest.is_empty() {
                    self.stream.queue.borrow_mut().push_front(ToViewer::Output(rest));
                }
                self.stream.offset.set(self.stream.offset.get() + bytes.len() as u64);
                self.core.borrow_mut().feed(&bytes);
            }
            ToViewer::Resized(size) => {
                self.core.borrow_mut().resize(size.cols, size.rows);
                self.selection.set(None);
                self.draw_all();
            }
            // The socket makes states of these.
            ToViewer::Ended(_) | ToViewer::Refused(_) => {}
        }
    }

    fn acknowledge(&self) {
        let offset = self.stream.offset.get();
        if offset - self.stream.acked.get() >= ACK_STEP && self.socket.send(&FromViewer::Ack(offset)) {
            self.stream.acked.set(offset);
        }
    }

    /// Tells what is new in the terminal. A viewer answers no queries: their
    /// answers come from where the program runs.
    pub(crate) fn after_output(&self) {
        let (marks, title) = {
            let mut core = self.core.borrow_mut();
            core.take_replies();
            let marks = core.take_marks();
            let changes = core.take_changes();
            self.frame.add_dirty(&changes, core.screen_line());
            (marks, changes.title.then(|| core.title().to_owned()))
        };
        self.tell_marks(&marks, Some(dom::now_ms()));
        if let Some(title) = title {
            (self.callbacks.on_title)(&title);
        }
        self.request_frame();
        (self.callbacks.on_output)();
    }

    /// Tells the marks that were not told before. `now_ms` is when they were
    /// printed; for those of a snapshot nobody knows.
    fn tell_marks(&self, marks: &[Mark], now_ms: Option<f64>) {
        let last = self.stream.last_mark.get();
        let news: Vec<_> =
            marks.iter().filter(|mark| last.is_none_or(|last| mark.id > last)).copied().collect();
        let Some(newest) = news.last() else { return };
        self.stream.last_mark.set(Some(newest.id));
        if let Some(now_ms) = now_ms {
            news.iter().for_each(|mark| self.stream.times.borrow_mut().see(mark, now_ms));
        }
        self.draw_all();
        (self.callbacks.on_marks)(&news);
    }
}
