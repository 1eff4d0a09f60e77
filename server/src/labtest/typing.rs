//! A node's terminal, and blocks typed into it as the page does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use drydock_agent::{Agent, AttachedReceiver, AttachedSender};
use drydock_protocol::{
    host::Node,
    terminal::{FromViewer, Size, ToViewer},
};
use drydock_script::{Action, Outcome, Refusal, Script, look};
use drydock_terminal::Terminal;
use tokio::time::timeout;

/// As much room as the page has beside a guide on a screen of 1440 pixels.
const SIZE: Size = Size { cols: 89, rows: 36 };
/// As much as the page and PID 1 keep.
const SCROLLBACK_LINES: usize = 1000;
/// How many of the screen's last lines a failure shows.
const SHOWN_LINES: usize = 12;

/// An attached terminal.
pub(super) struct Typist {
    sender: AttachedSender,
    receiver: AttachedReceiver,
    terminal: Terminal,
    /// Bytes of the terminal's stream taken in.
    offset: u64,
    began: Instant,
}

impl Typist {
    /// Attaches to terminal `term` of `node`.
    pub(super) async fn attach(node: &Node, term: &str) -> Result<Typist> {
        let agent = Agent::connect(&node.agent).await?;
        let (sender, mut receiver) = agent.attach(term, SIZE, false).await?.split();
        let (offset, size, bytes) = match receiver.recv().await? {
            Some(ToViewer::Snapshot { offset, size, bytes }) => (offset, size, bytes),
            Some(ToViewer::Refused(why)) => bail!("{why}"),
            other => bail!("the terminal of {} did not begin with a snapshot but with {other:?}", node.name),
        };
        let terminal = Terminal::from_dump(size.cols, size.rows, SCROLLBACK_LINES, &bytes);
        Ok(Typist { sender, receiver, terminal, offset, began: Instant::now() })
    }

    /// Types a block and waits for its end, `patience` at most.
    pub(super) async fn run(&mut self, mut script: Script, patience: Duration) -> Result<Outcome> {
        let deadline = self.now() + patience.as_millis() as u64;
        loop {
            let now = self.now();
            match look(&self.terminal, |view| script.advance(view, now)) {
                Action::Done(outcome) => return Ok(outcome),
                Action::Type(bytes) => self.sender.send(FromViewer::Input(bytes)).await?,
                Action::Wait { until } => {
                    let overdue = now >= deadline;
                    if overdue {
                        bail!("not done after {} s\n{}", patience.as_secs_f32(), self.screen());
                    }
                    self.take_in(until.unwrap_or(deadline).min(deadline)).await?;
                }
                Action::Refused(Refusal::Screen) => bail!("a program has the screen\n{}", self.screen()),
                Action::Refused(Refusal::NothingRuns) => {
                    bail!("nothing runs that this could be typed into\n{}", self.screen())
                }
            }
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Takes in the next of what the terminal prints, or waits until then.
    async fn take_in(&mut self, until: u64) -> Result<()> {
        let wait = Duration::from_millis(until.saturating_sub(self.now()));
        let Ok(frame) = timeout(wait, self.receiver.recv()).await else { return Ok(()) };
        match frame?.context("the terminal was closed")? {
            ToViewer::Output(bytes) => {
                self.terminal.feed(&bytes);
                self.offset += bytes.len() as u64;
                self.sender.send(FromViewer::Ack(self.offset)).await?;
            }
            ToViewer::Resized(size) => self.terminal.resize(size.cols, size.rows),
            ToViewer::Snapshot { offset, size, bytes } => {
                self.terminal = Terminal::from_dump(size.cols, size.rows, SCROLLBACK_LINES, &bytes);
                self.offset = offset;
            }
            ToViewer::Ended(status) => bail!("the terminal's shell ended with exit {status}"),
            ToViewer::Refused(why) => bail!("{why}"),
        }
        Ok(())
    }

    /// The screen's last lines.
    fn screen(&self) -> String {
        let rows = self.terminal.text();
        let end = rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
        let lines: Vec<String> =
            rows[end.saturating_sub(SHOWN_LINES)..end].iter().map(|row| format!("| {row}")).collect();
        lines.join("\n")
    }
}
