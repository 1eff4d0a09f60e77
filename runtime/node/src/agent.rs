//! The agent socket: what the outside asks of the node.
//! See [`drydock_protocol::agent`].

use std::{cell::Cell, io, rc::Rc, time::Duration};

use drydock_agent::{
    AgentError,
    frames::{FrameReader, FrameWriter},
};
use drydock_protocol::{
    Hello,
    agent::{DONE, EVENT, FAILED, HELLO, REQUEST, Request, Status},
    frame::FrameError,
};
use serde::Serialize;
use tokio::{
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use crate::{dial, exec, init::Node, ports, stage::Task, terminals};

/// The most connections at once.
const CONNECTIONS_MAX: usize = 256;
/// The longest hello or request, in bytes.
const REQUEST_MAX: usize = 256 * 1024;
/// How long a client may take for hello and request.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// The longest frame after the request, in bytes.
const FRAME_MAX: usize = 128 * 1024;
/// How long one event may take to be written.
const WRITE: Duration = Duration::from_secs(20);

/// Accepts connections for as long as it is polled.
pub(crate) async fn serve(node: Rc<Node>, listener: UnixListener) {
    let open = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (node, open) = (node.clone(), open.clone());
                open.set(open.get() + 1);
                tokio::task::spawn_local(async move {
                    let open = Opened(open);
                    if let Err(error) = connection(&node, stream, open.0.get()).await {
                        tracing::debug!("agent connection: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::error!("cannot accept on the agent socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Counts a connection as open until it is dropped, by a panic too.
struct Opened(Rc<Cell<usize>>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn connection(node: &Rc<Node>, stream: UnixStream, open: usize) -> Result<(), AgentError> {
    let (read, write) = stream.into_split();
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    if open > CONNECTIONS_MAX {
        return fail(&mut writer, "this node has too many connections").await;
    }
    reader.limit(REQUEST_MAX);
    let request = timeout(REQUEST_TIME, request(&mut reader, &mut writer)).await;
    let request = match request.map_err(|_| AgentError::Closed)? {
        Err(error @ (AgentError::Json(_) | AgentError::Frame(_) | AgentError::Version { .. })) => {
            return fail(&mut writer, &error.to_string()).await;
        }
        other => other?,
    };
    reader.limit(FRAME_MAX);
    answer(node, request, reader, writer).await
}

/// Hellos in both directions, then the request.
async fn request(
    reader: &mut FrameReader<OwnedReadHalf>,
    writer: &mut FrameWriter<OwnedWriteHalf>,
) -> Result<Request, AgentError> {
    let (kind, payload) = reader.expect().await?;
    if kind != HELLO {
        return Err(FrameError::Unknown(kind).into());
    }
    let theirs: Hello = serde_json::from_slice(&payload)?;
    Hello::OURS.agree(theirs).ok_or(AgentError::Version { theirs })?;
    writer.send(HELLO, &serde_json::to_vec(&Hello::OURS)?).await?;
    match reader.expect().await? {
        (REQUEST, payload) => Ok(serde_json::from_slice(&payload)?),
        (other, _) => Err(FrameError::Unknown(other).into()),
    }
}

async fn answer(
    node: &Rc<Node>,
    request: Request,
    reader: FrameReader<OwnedReadHalf>,
    mut writer: FrameWriter<OwnedWriteHalf>,
) -> Result<(), AgentError> {
    match request {
        Request::Attach { terminal, size, view_only } => {
            terminals::serve(&node.terminals, (&terminal, size, view_only), reader, writer).await
        }
        Request::Terminals => done(&mut writer, &node.terminals.names()).await,
        Request::Close { terminal } => match node.terminals.close(&terminal).await {
            Ok(()) => done(&mut writer, &()).await,
            Err(error) => fail(&mut writer, &error.to_string()).await,
        },
        Request::Exec(exec) => exec::exec(node, exec, (reader, writer)).await,
        Request::Put { path, mode } => exec::file(node, Task::Put { path, mode }, (reader, writer)).await,
        Request::Get { path, limit } => exec::file(node, Task::Get { path, limit }, (reader, writer)).await,
        Request::Events { after } => events(node, after, reader, writer).await,
        Request::Ports => ports::serve(node, reader, writer).await,
        Request::Dial { port } => match dial::connect(node, port).await {
            Ok(dialled) => {
                done(&mut writer, &()).await?;
                dialled.relay(reader, writer).await
            }
            Err(error) => fail(&mut writer, &error.to_string()).await,
        },
        Request::Status => done(&mut writer, &status(node)).await,
        Request::Cgroups => {
            let (read, buffered) = reader.into_inner();
            // Both halves come from one stream, so they fit.
            let stream = read.reunite(writer.into_inner()).map_err(io::Error::other)?;
            node.relay.serve(stream, buffered).await
        }
        Request::Shutdown { grace_ms } => {
            done(&mut writer, &()).await?;
            node.end(Duration::from_millis(grace_ms));
            Ok(())
        }
    }
}

fn status(node: &Node) -> Status {
    let (told, oom_name) = node.events.out_of_memory();
    Status {
        engine: node.keeper.is_up(),
        engine_starts: node.engine_starts.get(),
        terminals: node.terminals.names(),
        idle_ms: node.events.idle_ms(),
        memory_used: node.memory.used(),
        memory_limit: Some(node.memory.limit),
        oom_kills: node.memory.oom_kills(told),
        oom_name,
    }
}

async fn events(
    node: &Rc<Node>,
    after: u64,
    mut reader: FrameReader<OwnedReadHalf>,
    mut writer: FrameWriter<OwnedWriteHalf>,
) -> Result<(), AgentError> {
    let mut watcher = node.events.watch(after);
    loop {
        let event = tokio::select! {
            event = watcher.next() => event,
            // A watcher has nothing to say but that it goes.
            _ = reader.next() => return Ok(()),
        };
        timeout(WRITE, writer.send(EVENT, &event)).await.map_err(|_| AgentError::Closed)??;
    }
}

async fn done(writer: &mut FrameWriter<OwnedWriteHalf>, answer: &impl Serialize) -> Result<(), AgentError> {
    Ok(writer.send(DONE, &serde_json::to_vec(answer)?).await?)
}

async fn fail(writer: &mut FrameWriter<OwnedWriteHalf>, words: &str) -> Result<(), AgentError> {
    Ok(writer.send(FAILED, words.as_bytes()).await?)
}
