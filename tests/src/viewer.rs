//! Somebody who looks at a node's terminal and types, straight on its agent
//! socket: the part of the way that the server has in its hands.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use drydock_protocol::agent::{HELLO, REQUEST, Request};
use drydock_protocol::terminal::{FromViewer, Size, ToViewer};
use drydock_protocol::{Hello, frame};

/// Bash says that its prompt stands there (OSC 133;B).
const PROMPT_MARK: &[u8] = b"\x1b]133;B";

/// An attached terminal.
pub struct Viewer {
    stream: UnixStream,
    /// How much of the stream was taken in.
    offset: u64,
    /// What was printed since somebody last waited for something.
    seen: Vec<u8>,
}

impl Viewer {
    /// Attaches to a node's first terminal, which is made by that.
    pub fn attach(agent: &Path) -> Result<Viewer> {
        Viewer::attach_within(agent, Duration::from_secs(60))
    }

    /// As [`Viewer::attach`], but for patience: how long it may say nothing.
    pub fn attach_within(agent: &Path, patience: Duration) -> Result<Viewer> {
        let mut stream =
            UnixStream::connect(agent).with_context(|| format!("cannot reach {}", agent.display()))?;
        stream.set_read_timeout(Some(patience))?;
        let request =
            Request::Attach { terminal: "1".into(), size: Size { cols: 80, rows: 24 }, view_only: false };
        let mut out = Vec::new();
        frame::write(&mut out, HELLO, &serde_json::to_vec(&Hello::OURS)?);
        frame::write(&mut out, REQUEST, &serde_json::to_vec(&request)?);
        stream.write_all(&out)?;
        let mut viewer = Viewer { stream, offset: 0, seen: Vec::new() };
        let (kind, _) = viewer.frame()?;
        if kind != HELLO {
            bail!("the node did not greet: frame {kind:#04x}");
        }
        Ok(viewer)
    }

    /// Reads until the shell's prompt stands there.
    pub fn prompt(&mut self) -> Result<()> {
        self.until(PROMPT_MARK)
    }

    /// Reads until these bytes were printed, and forgets all before their end.
    pub fn until(&mut self, wanted: &[u8]) -> Result<()> {
        loop {
            if let Some(at) = self.seen.windows(wanted.len()).position(|bytes| bytes == wanted) {
                self.seen.drain(..at + wanted.len());
                return Ok(());
            }
            // What can't be the wanted bytes' beginning is not kept.
            let past = self.seen.len().saturating_sub(wanted.len());
            self.seen.drain(..past);
            let (kind, payload) = self.frame()?;
            match ToViewer::decode(kind, &payload)? {
                ToViewer::Snapshot { offset, bytes, .. } => {
                    self.offset = offset;
                    self.seen.extend(bytes);
                }
                ToViewer::Output(bytes) => {
                    self.offset += bytes.len() as u64;
                    self.seen.extend(bytes);
                    self.send(&FromViewer::Ack(self.offset))?;
                }
                ToViewer::Resized(_) => {}
                other => bail!("the terminal ended: {other:?}"),
            }
        }
    }

    /// Types.
    pub fn typed(&mut self, text: &str) -> Result<()> {
        self.send(&FromViewer::Input(text.as_bytes().to_vec()))
    }

    /// How long one key takes to come back from the shell.
    pub fn echo(&mut self) -> Result<Duration> {
        self.seen.clear();
        let begin = Instant::now();
        self.typed("x")?;
        self.until(b"x")?;
        let took = begin.elapsed();
        // Ctrl-U keeps the command line short.
        self.typed("\x15")?;
        Ok(took)
    }

    /// How long Ctrl-C takes from the key to the next prompt while `yes` floods.
    pub fn interrupt_a_flood(&mut self) -> Result<Duration> {
        self.typed("yes\n")?;
        for _ in 0..10_000 {
            self.until(b"y\r\ny\r\n")?;
        }
        let begin = Instant::now();
        self.typed("\x03")?;
        self.prompt()?;
        Ok(begin.elapsed())
    }

    fn send(&mut self, frame: &FromViewer) -> Result<()> {
        let (kind, payload) = frame.encode();
        let mut out = Vec::new();
        frame::write(&mut out, kind, &payload);
        Ok(self.stream.write_all(&out)?)
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; frame::HEAD];
        self.stream.read_exact(&mut head)?;
        let (kind, length) = frame::head(head)?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        Ok((kind, payload))
    }
}
