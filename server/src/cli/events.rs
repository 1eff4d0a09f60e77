//! `drydock session events`: what happens in nodes, as it happens.

use std::io::{self, Write};

use anyhow::{Result, bail};
use drydock_agent::{Agent, AgentError};
use drydock_protocol::{
    event::{Event, Port, Process, What},
    host::{Node, Session},
};
use serde_json::json;
use tokio::sync::mpsc;

use super::Context;
use crate::sessions::running;

/// Events that may wait to be printed.
const QUEUE: usize = 256;

#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// The session
    id: String,
    /// The node [default: all nodes that run]
    node: Option<String>,
    /// Print JSON, an event a line
    #[arg(long)]
    json: bool,
}

/// Prints events until the nodes have ended.
pub(super) async fn run(context: &Context, args: &EventsArgs) -> Result<()> {
    let session = context.host.session(&args.id).await?;
    let (events, mut queue) = mpsc::channel(QUEUE);
    for node in chosen(&session, args.node.as_deref())? {
        let (events, node) = (events.clone(), node.clone());
        tokio::spawn(async move {
            let followed = follow(&node, &events).await;
            // Nobody prints any more: then nobody needs the error.
            if let Err(error) = followed {
                drop(events.send(Err((node.name, error))).await);
            }
        });
    }
    drop(events);
    let mut out = io::stdout();
    while let Some(event) = queue.recv().await {
        match event {
            Ok((node, event)) if args.json => writeln!(out, "{}", json!({ "node": node, "event": event }))?,
            Ok((node, event)) => writeln!(out, "{}", line(&node, &event))?,
            Err((node, error)) => bail!("{node}: {error}"),
        }
        out.flush()?;
    }
    Ok(())
}

fn chosen<'a>(session: &'a Session, name: Option<&str>) -> Result<Vec<&'a Node>> {
    let nodes: Vec<&Node> =
        running(session).filter(|node| name.is_none_or(|name| node.name == name)).collect();
    match (nodes.is_empty(), name) {
        (false, _) => Ok(nodes),
        (true, Some(name)) => bail!("session {} has no node {name} that runs", session.id),
        (true, None) => bail!("session {} has no node that runs", session.id),
    }
}

type Sent = Result<(String, Event), (String, AgentError)>;

async fn follow(node: &Node, events: &mpsc::Sender<Sent>) -> Result<(), AgentError> {
    let mut stream = Agent::connect(&node.agent).await?.events(0).await?;
    while let Some(event) = stream.next().await? {
        if events.send(Ok((node.name.clone(), event))).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// One event on one line. What learners chose is written as Rust writes text,
/// so that it can't speak to the terminal.
fn line(node: &str, event: &Event) -> String {
    let time = i64::try_from(event.time_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let time = time.map_or_else(String::new, |time| time.to_string());
    format!("{time} {node} {}", words(&event.what))
}

fn words(what: &What) -> String {
    match what {
        What::EngineStarted => "the engine started".into(),
        What::EngineEnded { status } => format!("the engine ended with status {status}"),
        What::TerminalOpened { terminal } => format!("terminal {} opened", plain(terminal)),
        What::TerminalEnded { terminal, status } => {
            format!("terminal {} ended with status {status}", plain(terminal))
        }
        What::Container { name, image, action, status, .. } => {
            let status = status.map(|status| format!(" with status {status}")).unwrap_or_default();
            format!("container {} of {}: {}{status}", plain(name), plain(image), plain(action))
        }
        What::Image { name, action } => format!("image {}: {}", plain(name), plain(action)),
        What::Processes { processes } => processes_words(processes),
        What::Usage { memory, memory_limit, cpu_us, tasks } => {
            let number = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
            let memory = number(memory.map(|bytes| bytes >> 20));
            let cpu = cpu_us.map_or_else(|| "?".to_owned(), |us| format!("{:.2}", us as f64 / 1e6));
            format!("uses {memory} of {} MB, {cpu} s of CPU, {} tasks", memory_limit >> 20, number(*tasks))
        }
        What::Ports { ports } => ports_words(ports),
        What::OutOfMemory { name } => {
            let name = name.as_deref().map_or_else(|| "a process".to_owned(), plain);
            format!("out of memory: the kernel ended {name}")
        }
    }
}

fn processes_words(processes: &[Process]) -> String {
    let mut namespaces: Vec<u64> =
        processes.iter().filter_map(|process| process.namespaces.get("pid").copied()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let names: Vec<_> = processes.iter().map(|process| plain(&process.name)).collect();
    format!("{} processes in {} PID namespaces: {}", processes.len(), namespaces.len(), names.join(" "))
}

fn ports_words(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "no port is published".into();
    }
    let one = |port: &Port| {
        let Port { host_ip, host_port, protocol, container_port, name, .. } = port;
        format!("{host_ip}:{host_port}->{container_port}/{} of {}", plain(protocol), plain(name))
    };
    format!("published: {}", ports.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn plain(text: &str) -> String {
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_that_cannot_speak_to_the_terminal() {
        let what = What::Container {
            id: "c".repeat(64),
            name: "we\u{1b}[31mb\n".into(),
            image: "nginx".into(),
            action: "die".into(),
            pid: None,
            status: Some(137),
        };
        let event = Event { seq: 1, time_ms: 1_700_000_000_123, what };
        assert_eq!(
            line("node1", &event),
            "2023-11-14T22:13:20.123Z node1 container we\\u{1b}[31mb\\n of nginx: die with status 137"
        );
    }

    #[test]
    fn use_is_told_in_words() {
        let usage = What::Usage {
            memory: Some(5 << 20),
            memory_limit: 1 << 30,
            cpu_us: Some(1_250_000),
            tasks: None,
        };
        assert_eq!(words(&usage), "uses 5 of 1024 MB, 1.25 s of CPU, ? tasks");
    }
}
