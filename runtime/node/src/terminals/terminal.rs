//! One terminal: a shell on a PTY, its screen, and who looks at it.
//!
//! One task does it all, in turns of at most [`CHUNK`] bytes: what was typed is
//! written first, then output is read, as long as every attached viewer can
//! take it. So `yes` fills no memory, and Ctrl-C comes through at once.

use std::{collections::BTreeMap, io, os::fd::AsFd, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use drydock_protocol::terminal::{CHUNK, FromViewer, Size, ToViewer, WINDOW};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{TerminalError, Terminals, screen, screen::Screen};
use crate::{
    descriptor::Descriptor,
    launch::{Launched, Launcher},
    pty::{self, Devpts, Pty},
    stage::Task,
};

/// The most viewers of one terminal.
const VIEWERS_MAX: usize = 32;
/// Bytes that may wait for the program to read them.
const INPUT_MAX: usize = 1 << 20;
/// How long a viewer that holds the program back may say nothing.
const STALL: Duration = Duration::from_secs(10);
/// Frames that may wait to be sent to a viewer, whatever their size.
const FRAMES_MAX: usize = 1024;
/// The program is held back while fewer than this many more would fit.
const FRAMES_SPARE: usize = 128;
/// So many bytes in one turn are a flood.
const FLOOD: u64 = 8 * 1024;
/// How long a flood is left alone after each turn while nobody looks.
const UNSEEN_PAUSE: Duration = Duration::from_millis(20);
/// Bytes still read once the shell has ended.
const LAST_BYTES: usize = 1 << 20;

/// What the terminal's task is asked.
pub(super) enum Ask {
    /// Look at it; no answer when there are too many viewers.
    Attach { size: Size, view_only: bool, answer: oneshot::Sender<Option<Attachment>> },
    /// A frame from a viewer.
    From(u64, FromViewer),
    /// A viewer is gone.
    Gone(u64),
    /// End it and all its programs.
    Close { answer: oneshot::Sender<()> },
}

/// A viewer's side of the terminal.
pub(super) struct Attachment {
    pub id: u64,
    /// What to send it.
    pub frames: mpsc::Receiver<Frame>,
    /// Why it is dropped, when it is.
    pub dropped: oneshot::Receiver<String>,
}

/// A frame for viewers, written down once for all of them.
#[derive(Clone)]
pub(super) struct Frame {
    pub kind: u8,
    pub payload: Bytes,
}

impl From<ToViewer> for Frame {
    fn from(frame: ToViewer) -> Frame {
        let (kind, payload) = frame.encode();
        Frame { kind, payload: payload.into() }
    }
}

struct Viewer {
    frames: mpsc::Sender<Frame>,
    dropped: oneshot::Sender<String>,
    view_only: bool,
    room: Size,
    /// It has taken in the output up to here.
    acknowledged: u64,
    acknowledged_at: Instant,
    /// When it last typed, counted in inputs; 0 for never.
    typed: u64,
}

impl Viewer {
    /// How many more bytes it can take, where `offset` are printed.
    fn room(&self, offset: u64) -> usize {
        if self.frames.capacity() < FRAMES_SPARE {
            return 0;
        }
        let room = WINDOW.saturating_sub(offset - self.acknowledged);
        usize::try_from(room).unwrap_or(CHUNK)
    }
}

pub(super) struct Terminal {
    pty: Descriptor,
    shell: Launched,
    screen: Screen,
    size: Size,
    /// Bytes of output so far.
    offset: u64,
    input: BytesMut,
    viewers: BTreeMap<u64, Viewer>,
    next_viewer: u64,
    /// The viewer whose size it has.
    decider: Option<u64>,
    inputs: u64,
    /// Whether a program still has the PTY's other end.
    open: bool,
    buffer: Box<[u8]>,
}

impl Terminal {
    /// Starts a shell.
    pub(super) fn open(launcher: &Launcher, devpts: &Devpts, size: Size) -> Result<Terminal, TerminalError> {
        let Pty { master, peer } = devpts.pty(size).map_err(TerminalError::Pty)?;
        let pty = Descriptor::new(master).map_err(TerminalError::Pty)?;
        let argv = ["/bin/bash", "--rcfile", "/etc/drydock/bashrc", "-i"];
        let task = Task::Program {
            argv: argv.map(str::to_owned).to_vec(),
            env: launcher.environment(true),
            cwd: "/root".into(),
        };
        let shell = launcher.start(task, true, [peer.as_fd(); 3])?;
        Ok(Terminal {
            pty,
            shell,
            screen: Screen::new(size),
            size,
            offset: 0,
            input: BytesMut::new(),
            viewers: BTreeMap::new(),
            next_viewer: 1,
            decider: None,
            inputs: 0,
            open: true,
            buffer: vec![0; CHUNK].into_boxed_slice(),
        })
    }

    /// Serves it until its shell ends; returns the shell's exit status.
    /// `forget` takes it off the list before its viewers hear of the end.
    pub(super) async fn run(
        mut self,
        all: &Terminals,
        mut asks: mpsc::Receiver<Ask>,
        forget: impl FnOnce(),
    ) -> i32 {
        let mut closing = None;
        let status = loop {
            let room = self.room();
            let held = room == 0;
            let stalled_at = self.stalled_at();
            tokio::select! {
                biased;
                Some(ask) = asks.recv() => if let Some(answer) = self.take(ask, all) {
                    closing = Some(answer);
                    break self.kill(all).await;
                },
                written = self.pty.write(&self.input), if !self.input.is_empty() => match written {
                    Ok(count) => self.input.advance(count),
                    Err(_) => self.input.clear(),
                },
                status = &mut self.shell.status => break status.unwrap_or(-1),
                read = self.pty.read(&mut self.buffer[..room]), if self.open && !held => {
                    let before = self.offset;
                    match read {
                        Ok(count) if count > 0 => self.printed(count, room),
                        _ => self.open = false,
                    }
                    self.pause(self.offset - before).await;
                }
                () = tokio::time::sleep_until(stalled_at), if held => self.drop_stalled(),
            }
        };
        self.read_last();
        forget();
        self.tell(ToViewer::Ended(status));
        if let Some(answer) = closing {
            // Whoever asked may be gone.
            let _ = answer.send(());
        }
        status
    }

    /// Lets other terminals have their turn. A flood that nobody looks at, and
    /// so nobody holds back, is slowed down, or it would keep PID 1 busy.
    async fn pause(&self, printed: u64) {
        if self.viewers.is_empty() && printed >= FLOOD {
            tokio::time::sleep(UNSEEN_PAUSE).await;
        } else {
            tokio::task::yield_now().await;
        }
    }

    /// Does what is asked; only for `Close` is its answer left to the caller.
    fn take(&mut self, ask: Ask, all: &Terminals) -> Option<oneshot::Sender<()>> {
        match ask {
            Ask::Attach { size, view_only, answer } => {
                let attachment = self.attach(screen::allowed(size), view_only);
                let id = attachment.as_ref().map(|attachment| attachment.id);
                if let (Err(_), Some(id)) = (answer.send(attachment), id) {
                    self.detach(id);
                }
            }
            Ask::From(id, frame) => self.hear(id, frame, all),
            Ask::Gone(id) => {
                self.detach(id);
            }
            Ask::Close { answer } => return Some(answer),
        }
        None
    }

    fn attach(&mut self, room: Size, view_only: bool) -> Option<Attachment> {
        if self.viewers.len() >= VIEWERS_MAX {
            return None;
        }
        let id = self.next_viewer;
        self.next_viewer += 1;
        if self.decider.is_none() && !view_only {
            self.decider = Some(id);
            self.resize(room);
        }
        let (frames, to_send) = mpsc::channel(FRAMES_MAX);
        let (dropped, hears) = oneshot::channel();
        let snapshot =
            ToViewer::Snapshot { offset: self.offset, size: self.size, bytes: self.screen.snapshot() };
        // It is empty, and the receiver is right here.
        let _ = frames.try_send(snapshot.into());
        let viewer = Viewer {
            frames,
            dropped,
            view_only,
            room,
            acknowledged: self.offset,
            acknowledged_at: Instant::now(),
            typed: 0,
        };
        self.viewers.insert(id, viewer);
        Some(Attachment { id, frames: to_send, dropped: hears })
    }

    fn hear(&mut self, id: u64, frame: FromViewer, all: &Terminals) {
        let Some(viewer) = self.viewers.get_mut(&id) else { return };
        match frame {
            FromViewer::Ack(offset) => {
                let offset = offset.min(self.offset);
                if offset > viewer.acknowledged {
                    viewer.acknowledged = offset;
                    viewer.acknowledged_at = Instant::now();
                }
            }
            _ if viewer.view_only => {}
            FromViewer::Resize(room) => {
                viewer.room = screen::allowed(room);
                if self.decider == Some(id) {
                    self.resize(screen::allowed(room));
                }
            }
            FromViewer::Input(bytes) => {
                if self.input.len() + bytes.len() > INPUT_MAX {
                    self.drop_viewer(id, "more was typed than the program reads");
                    return;
                }
                self.inputs += 1;
                viewer.typed = self.inputs;
                let room = viewer.room;
                self.decider = Some(id);
                self.resize(room);
                self.input.extend_from_slice(&bytes);
                all.events.touch();
            }
        }
    }

    /// Takes a viewer off the list. The one who typed last among the rest now
    /// decides the size.
    fn detach(&mut self, id: u64) -> Option<Viewer> {
        let viewer = self.viewers.remove(&id)?;
        if self.decider == Some(id) {
            let next = self.viewers.iter().filter(|(_, viewer)| !viewer.view_only);
            self.decider = next.max_by_key(|(id, viewer)| (viewer.typed, **id)).map(|(id, _)| *id);
            if let Some(room) = self.decider.and_then(|id| self.viewers.get(&id)).map(|viewer| viewer.room) {
                self.resize(room);
            }
        }
        Some(viewer)
    }

    fn drop_viewer(&mut self, id: u64, why: &str) {
        if let Some(viewer) = self.detach(id) {
            // Its connection may be gone already.
            let _ = viewer.dropped.send(why.to_owned());
        }
    }

    fn resize(&mut self, size: Size) {
        if size == self.size {
            return;
        }
        self.size = size;
        self.screen.resize(size);
        if let Err(error) = pty::resize(&self.pty, size) {
            tracing::warn!("cannot resize a pseudoterminal: {error}");
        }
        self.tell(ToViewer::Resized(size));
    }

    /// How much may be read now: as much as the slowest viewer can take.
    fn room(&self) -> usize {
        self.viewers.values().map(|viewer| viewer.room(self.offset)).min().unwrap_or(CHUNK).min(CHUNK)
    }

    /// When the first of those that hold the program back is to be dropped.
    fn stalled_at(&self) -> Instant {
        let holding = self.viewers.values().filter(|viewer| viewer.room(self.offset) == 0);
        holding.map(|viewer| viewer.acknowledged_at).min().unwrap_or_else(Instant::now) + STALL
    }

    fn drop_stalled(&mut self) {
        let now = Instant::now();
        let stalled =
            |viewer: &Viewer| viewer.room(self.offset) == 0 && now >= viewer.acknowledged_at + STALL;
        let ids: Vec<_> =
            self.viewers.iter().filter(|(_, viewer)| stalled(viewer)).map(|(id, _)| *id).collect();
        for id in ids {
            self.drop_viewer(id, "this viewer has stalled");
        }
    }

    /// `count` bytes are in the buffer; takes in more, up to `room`, if there
    /// are any, since a PTY gives little at a time.
    fn printed(&mut self, mut count: usize, room: usize) {
        while count < room {
            match self.pty.try_read(&mut self.buffer[count..room]) {
                Ok(more) if more > 0 => count += more,
                _ => break,
            }
        }
        let output = self.buffer[..count].to_vec();
        let replies = self.screen.feed(&output);
        if self.input.len() + replies.len() <= INPUT_MAX {
            self.input.extend_from_slice(&replies);
        }
        self.offset += count as u64;
        let now = Instant::now();
        for viewer in self.viewers.values_mut() {
            if viewer.acknowledged + count as u64 == self.offset {
                // It had taken in all: its time begins with this.
                viewer.acknowledged_at = now;
            }
        }
        self.tell(ToViewer::Output(output));
    }

    /// Tells all viewers; drops those who have no room even for this.
    fn tell(&mut self, frame: ToViewer) {
        let frame = Frame::from(frame);
        let full = |viewer: &Viewer| {
            matches!(viewer.frames.try_send(frame.clone()), Err(mpsc::error::TrySendError::Full(_)))
        };
        let ids: Vec<_> = self.viewers.iter().filter(|(_, viewer)| full(viewer)).map(|(id, _)| *id).collect();
        for id in ids {
            self.drop_viewer(id, "this viewer has stalled");
        }
    }

    /// Kills the shell and every process of its session.
    async fn kill(&mut self, all: &Terminals) -> i32 {
        if all.launcher.reaper.has(self.shell.pid)
            && let Err(error) = all.proc.kill_session(self.shell.pid)
        {
            tracing::warn!("cannot end all programs of a terminal: {error}");
        }
        (&mut self.shell.status).await.unwrap_or(-1)
    }

    /// What was printed just before the end.
    fn read_last(&mut self) {
        let end = self.offset + LAST_BYTES as u64;
        while self.offset < end {
            match self.pty.try_read(&mut self.buffer) {
                Ok(count) if count > 0 => self.printed(count, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                _ => break,
            }
        }
    }
}
