//! One step, as the format's right column says.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use drydock_agent::Agent;
use drydock_lab::{Block, CheckScript, Exit, Expected, File, Lab, NodeAction, NodeVerb, Piece, Step};
use drydock_protocol::host::{AddNode, Node, Session, Verb};
use drydock_script::{End, Names, Outcome, Script};
use tokio::time::sleep;

use super::{report::Failure, typing::Typist};
use crate::{api::checks, host::HostClient};

/// How long a check may take to pass after the step's blocks: what a command
/// began may still be under way when it has ended.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries of what converges.
const AGAIN: Duration = Duration::from_millis(250);
/// How much of a script's output is looked at, in bytes.
const OUTPUT_MAX: usize = 64 << 10;
/// How many lines of output a failure shows.
const SHOWN_LINES: usize = 12;

/// A lab's session and what is known of it from step to step.
pub(super) struct Stage<'a> {
    lab: &'a Lab,
    host: HostClient,
    session: Session,
    slow: u32,
    /// By node and terminal.
    typists: HashMap<(String, String), Typist>,
    captured: Names,
}

impl<'a> Stage<'a> {
    pub(super) fn new(lab: &'a Lab, host: HostClient, session: Session, slow: u32) -> Stage<'a> {
        Stage { lab, host, session, slow, typists: HashMap::new(), captured: Names::new() }
    }

    /// Tests a step; what went wrong. After a failed block the step's rest is
    /// left out, since it would fail for the same reason.
    pub(super) async fn test(&mut self, step: &Step) -> Vec<Failure> {
        let mut failures = self.set_up(step).await;
        if failures.is_empty() {
            failures = self.checks_before(step).await;
            match self.pieces(step).await {
                Ok(()) => failures.extend(self.checks_after(step).await),
                Err(failure) => {
                    failures.push(failure);
                    self.leave_terminals().await;
                }
            }
        }
        failures
    }

    fn failure(&self, line: usize, message: impl Into<String>) -> Failure {
        Failure { file: self.lab.dir.join("guide.md"), line, message: message.into() }
    }

    fn node(&self, name: &str) -> Result<&Node> {
        let node = self.session.nodes.iter().find(|node| node.name == name);
        node.with_context(|| format!("the session has no node {name}"))
    }

    /// Runs the setup scripts, twice: a step can be started over.
    async fn set_up(&self, step: &Step) -> Vec<Failure> {
        for time in ["first", "second"] {
            for script in step.setups() {
                let words = match self.script(script).await {
                    Ok((0, _)) => continue,
                    Ok((status, last_line)) => format!("exit {status}: {last_line}"),
                    Err(error) => format!("{error:#}"),
                };
                return vec![
                    self.failure(script.line, format!("setup failed, run the {time} time: {words}")),
                ];
            }
        }
        Vec::new()
    }

    /// Runs a setup or check script: its exit status and its last line.
    async fn script(&self, script: &CheckScript) -> Result<(i32, String)> {
        let agent = Agent::connect(&self.node(&script.node)?.agent).await?;
        let output = agent.run(checks::exec_of(script, self.slow), b"", OUTPUT_MAX).await?;
        Ok((output.status, checks::last_line(&output.stdout)))
    }

    async fn checks_before(&self, step: &Step) -> Vec<Failure> {
        let mut failures = Vec::new();
        for check in step.checks() {
            match self.script(&check.script).await {
                Ok((1.., _)) => {}
                Ok(_) => failures.push(self.failure(
                    check.script.line,
                    format!("the check \"{}\" passes before the step's blocks have run", check.title),
                )),
                Err(error) => failures.push(self.failure(check.script.line, format!("{error:#}"))),
            }
        }
        failures
    }

    async fn checks_after(&self, step: &Step) -> Vec<Failure> {
        let mut failures = Vec::new();
        for check in step.checks() {
            let deadline = Instant::now() + CHECK_PATIENCE * self.slow;
            loop {
                let words = match self.script(&check.script).await {
                    Ok((0, _)) => break,
                    Ok((status, last_line)) => format!("exit {status}: {last_line}"),
                    Err(error) => format!("{error:#}"),
                };
                if Instant::now() >= deadline {
                    let message =
                        format!("the check \"{}\" fails after the step's blocks: {words}", check.title);
                    failures.push(self.failure(check.script.line, message));
                    break;
                }
                sleep(AGAIN).await;
            }
        }
        failures
    }

    async fn pieces(&mut self, step: &Step) -> Result<(), Failure> {
        let mut output: Option<(&Block, String)> = None;
        for piece in &step.pieces {
            match piece {
                Piece::Run(block) | Piece::Solve(block) => {
                    let outcome = self
                        .block(block)
                        .await
                        .map_err(|error| self.failure(block.line, format!("{error:#}")))?;
                    output = Some((block, outcome.output));
                }
                Piece::Output(expected) => {
                    let Some((block, text)) = output.take() else { continue };
                    self.compare(block, text, expected).await?;
                }
                Piece::File(file) => {
                    self.put(file).await.map_err(|error| self.failure(file.line, format!("{error:#}")))?;
                }
                Piece::NodeAction(action) => {
                    self.act(action)
                        .await
                        .map_err(|error| self.failure(action.line, format!("{error:#}")))?;
                }
                // Quizzes were checked for their shape when the guide was read.
                Piece::Html(_)
                | Piece::Callout(_)
                | Piece::Copy(_)
                | Piece::Check(_)
                | Piece::Setup(_)
                | Piece::Quiz(_) => {}
            }
        }
        Ok(())
    }

    /// Types a block; an error unless it ended as it should.
    async fn block(&mut self, block: &Block) -> Result<Outcome> {
        let script = Script::new(&block.script, &self.captured)?;
        // When a program is interrupted is part of what the guide says, and no limit.
        let interrupted = Duration::from_millis(block.script.interrupt_ms.unwrap_or(0));
        let patience = interrupted + Duration::from_millis(block.script.timeout_ms) * self.slow;
        let outcome = self.typist(&block.node, &block.term).await?.run(script, patience).await?;
        self.captured.extend(outcome.captured.iter().cloned());
        if !outcome.as_wanted {
            bail!("{}", unwanted(block, &outcome));
        }
        Ok(outcome)
    }

    async fn typist(&mut self, node: &str, term: &str) -> Result<&mut Typist> {
        let key = (node.to_owned(), term.to_owned());
        if !self.typists.contains_key(&key) {
            let typist = Typist::attach(self.node(node)?, term).await?;
            self.typists.insert(key.clone(), typist);
        }
        self.typists.get_mut(&key).context("a terminal that was just attached is gone")
    }

    /// Compares output with what the guide shows. With `expect=`, the block is
    /// run again until it holds or the time is over.
    async fn compare(
        &mut self,
        block: &Block,
        mut output: String,
        expected: &Expected,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_millis(block.expect_ms.unwrap_or(0)) * self.slow;
        loop {
            let Err(difference) = expected.compare(&output) else { return Ok(()) };
            if Instant::now() >= deadline {
                let line = difference.at.map_or(expected.line, |at| expected.line + 1 + at);
                return Err(self
                    .failure(line, format!("the output of line {} is not this\n{difference}", block.line)));
            }
            sleep(AGAIN).await;
            output = self
                .block(block)
                .await
                .map_err(|error| self.failure(block.line, format!("{error:#}")))?
                .output;
        }
    }

    async fn put(&self, file: &File) -> Result<()> {
        let agent = Agent::connect(&self.node(&file.node)?.agent).await?;
        Ok(agent.put(&file.path, 0o644, file.content.as_bytes()).await?)
    }

    async fn act(&mut self, action: &NodeAction) -> Result<()> {
        let id = self.session.id.clone();
        let verb = match action.verb {
            NodeVerb::Kill => Verb::Kill,
            NodeVerb::Stop => Verb::Stop,
            NodeVerb::Start => Verb::Start,
            NodeVerb::Cut => Verb::Cut,
            NodeVerb::Join => Verb::Join,
            NodeVerb::Reset => Verb::Reset,
            NodeVerb::Add => {
                self.session = self.host.add_node(&id, &AddNode { name: action.node.clone() }).await?;
                return Ok(
                    crate::sessions::copy_files(self.lab, &self.session, action.node.as_deref()).await?
                );
            }
        };
        let node = action.node.as_deref().context("the guide does not say which node")?;
        self.session = self.host.verb(&id, node, verb).await?;
        if !matches!(verb, Verb::Cut | Verb::Join) {
            // Its terminals ended with it.
            self.typists.retain(|(of, _), _| of != node);
        }
        if verb == Verb::Reset {
            self.copy_files(Some(node)).await?;
        }
        Ok(())
    }

    /// Gives a node, or all, what the lab has for them.
    pub(super) async fn copy_files(&self, only: Option<&str>) -> Result<()> {
        crate::sessions::copy_files(self.lab, &self.session, only).await.map_err(|error| anyhow!("{error}"))
    }

    /// Ends all terminals and what runs in them, so that the next step begins
    /// with fresh ones.
    async fn leave_terminals(&mut self) {
        for (node, term) in std::mem::take(&mut self.typists).into_keys() {
            let closed = match self.node(&node) {
                Ok(node) => match Agent::connect(&node.agent).await {
                    Ok(agent) => agent.close(&term).await,
                    Err(error) => Err(error),
                },
                Err(_) => continue,
            };
            if let Err(error) = closed {
                eprintln!("terminal {term} of {node} could not be closed: {error}");
            }
        }
    }
}

/// What is wrong with how a block ended.
fn unwanted(block: &Block, outcome: &Outcome) -> String {
    let exit = outcome.exit.map_or("no exit status".to_owned(), |status| format!("exit {status}"));
    let wanted = match block.script.exit {
        Exit::Any => "any".to_owned(),
        Exit::Status(status) => status.to_string(),
    };
    let mut words = match outcome.end {
        End::Early => format!("it ended with {exit}, and should wait at a prompt"),
        _ if !outcome.uncaptured.is_empty() => {
            format!("nothing in the output is {}", outcome.uncaptured.join(" or "))
        }
        _ => format!("{exit}, wanted {wanted}"),
    };
    let lines: Vec<&str> = outcome.output.lines().collect();
    for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
        words.push_str("\n| ");
        words.push_str(line);
    }
    words
}
