//! The node's terminals: shells whose screens outlive whoever looks at them.
//!
//! Each terminal is a task (`terminal.rs`) that owns its PTY, its screen and
//! the list of its viewers; here is the list of terminals, and what an agent
//! connection does for its viewer is in `viewer.rs`.

mod screen;
mod terminal;
mod viewer;

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use drydock_protocol::{event::What, terminal::Size};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::{
    events::Events,
    launch::{LaunchError, Launcher},
    pty::Devpts,
    session::Proc,
};
use terminal::{Ask, Attachment, Terminal};
pub(crate) use viewer::serve;

/// The most terminals a node has at once.
const TERMINALS_MAX: usize = 8;
/// The longest name of a terminal, in bytes.
const NAME_MAX: usize = 32;
/// Requests that may wait for a terminal's task.
const ASKS: usize = 64;

/// A terminal can't be had.
#[derive(Debug, Error)]
pub(crate) enum TerminalError {
    #[error("a terminal's name has 1 to {NAME_MAX} letters, digits, '-' and '_'")]
    Name,
    #[error("this node has {TERMINALS_MAX} terminals already")]
    TooMany,
    #[error("there is no terminal {0}")]
    Missing(String),
    #[error("too many people look at terminal {0}")]
    TooManyViewers(String),
    #[error("cannot make a pseudoterminal: {0}")]
    Pty(std::io::Error),
    #[error("cannot start a shell: {0}")]
    Launch(#[from] LaunchError),
}

/// All terminals of the node.
#[derive(Debug)]
pub(crate) struct Terminals {
    open: RefCell<HashMap<String, mpsc::Sender<Ask>>>,
    launcher: Rc<Launcher>,
    events: Rc<Events>,
    devpts: Devpts,
    proc: Rc<Proc>,
}

impl Terminals {
    pub(crate) fn new(
        launcher: Rc<Launcher>,
        events: Rc<Events>,
        devpts: Devpts,
        proc: Rc<Proc>,
    ) -> Rc<Terminals> {
        Rc::new(Terminals { open: RefCell::default(), launcher, events, devpts, proc })
    }

    /// The devpts that all PTYs come from.
    pub(crate) fn devpts(&self) -> &Devpts {
        &self.devpts
    }

    /// The open terminals' names: numbers first, in their order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.open.borrow().keys().cloned().collect();
        names.sort_by_cached_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
        names
    }

    /// Looks at a terminal, which is made if it isn't there.
    async fn attach(
        self: &Rc<Terminals>,
        name: &str,
        size: Size,
        view_only: bool,
    ) -> Result<(Attachment, mpsc::Sender<Ask>), TerminalError> {
        // A terminal may end just now; then the next round makes a new one.
        loop {
            let asks = self.find_or_open(name, size)?;
            let (answer, answered) = oneshot::channel();
            let asked = asks.send(Ask::Attach { size, view_only, answer }).await;
            if let (Ok(()), Ok(attachment)) = (asked, answered.await) {
                let attachment = attachment.ok_or_else(|| TerminalError::TooManyViewers(name.to_owned()))?;
                return Ok((attachment, asks));
            }
            self.forget(name, &asks);
        }
    }

    /// Ends a terminal and all its programs.
    pub(crate) async fn close(&self, name: &str) -> Result<(), TerminalError> {
        let asks = self.open.borrow().get(name).cloned();
        let asks = asks.ok_or_else(|| TerminalError::Missing(name.to_owned()))?;
        let (answer, answered) = oneshot::channel();
        // If its task is gone, so are its programs.
        if asks.send(Ask::Close { answer }).await.is_ok() {
            let _ = answered.await;
        }
        Ok(())
    }

    fn find_or_open(
        self: &Rc<Terminals>,
        name: &str,
        size: Size,
    ) -> Result<mpsc::Sender<Ask>, TerminalError> {
        if let Some(asks) = self.open.borrow().get(name) {
            return Ok(asks.clone());
        }
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(letter) {
            return Err(TerminalError::Name);
        }
        if self.open.borrow().len() >= TERMINALS_MAX {
            return Err(TerminalError::TooMany);
        }
        let terminal = Terminal::open(&self.launcher, &self.devpts, screen::allowed(size))?;
        let (asks, asked) = mpsc::channel(ASKS);
        self.open.borrow_mut().insert(name.to_owned(), asks.clone());
        self.events.push(What::TerminalOpened { terminal: name.to_owned() });
        let (all, name, own) = (self.clone(), name.to_owned(), asks.clone());
        tokio::task::spawn_local(async move {
            let ended = terminal.run(&all, asked, || all.forget(&name, &own)).await;
            all.events.push(What::TerminalEnded { terminal: name.clone(), status: ended });
        });
        Ok(asks)
    }

    /// Takes a terminal off the list, if it still is this one.
    fn forget(&self, name: &str, asks: &mpsc::Sender<Ask>) {
        let mut open = self.open.borrow_mut();
        if open.get(name).is_some_and(|kept| kept.same_channel(asks)) {
            open.remove(name);
        }
    }
}
