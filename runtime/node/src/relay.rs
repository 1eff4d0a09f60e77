//! The engine's cgroup requests on their way to host and back.
//!
//! Host connects to the agent socket and takes them on. While it is away they
//! wait; what it had not answered when it went is asked again when it is back.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    os::fd::OwnedFd,
    rc::Rc,
    time::Duration,
};

use bytes::BytesMut;
use drydock_agent::{AgentError, frames};
use drydock_protocol::{
    cgroup::{ANSWER, ASK, Answer, Outcome, Request},
    frame::{self, FrameError},
};
use drydock_sandbox::fdpass;
use tokio::{net::UnixStream, sync::watch};

/// The most requests that may wait.
const WAITING_MAX: usize = 1024;
/// How long a request may wait for host.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer, in bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// The most descriptors that may have come before their answer is read.
const FDS_MAX: usize = 64;

/// Gives an answer and its descriptors to whoever asked.
type Reply = Box<dyn FnOnce(Result<Outcome, String>, Vec<OwnedFd>)>;

/// Requests under way.
pub(crate) struct Relay {
    waiting: RefCell<Waiting>,
    /// Counts up with each request and with each connection of host's.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Waiting {
    /// By the number they carry to host, which is the relay's own: the engine
    /// counts anew when it is restarted.
    requests: BTreeMap<u64, (Request, Reply)>,
    last: u64,
    connection: u64,
}

impl Relay {
    pub(crate) fn new() -> Rc<Relay> {
        Rc::new(Relay { waiting: RefCell::default(), changes: watch::Sender::new(0) })
    }

    /// Asks host; the reply is called once, with host's answer or our own.
    pub(crate) fn ask(self: &Rc<Relay>, mut request: Request, reply: Reply) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.requests.len() >= WAITING_MAX {
            drop(waiting);
            return reply(Err("too many control group requests wait for the host".into()), Vec::new());
        }
        waiting.last += 1;
        let seq = waiting.last;
        request.seq = seq;
        waiting.requests.insert(seq, (request, reply));
        drop(waiting);
        self.changes.send_modify(|changes| *changes += 1);
        let relay = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(PATIENCE).await;
            relay.answer(seq, Err("the host did not answer in time".into()), Vec::new());
        });
    }

    fn answer(&self, seq: u64, result: Result<Outcome, String>, fds: Vec<OwnedFd>) {
        let found = self.waiting.borrow_mut().requests.remove(&seq);
        if let Some((_, reply)) = found {
            reply(result, fds);
        }
    }

    /// Serves host's connection until it goes or a newer one takes over.
    pub(crate) async fn serve(&self, stream: UnixStream, read: BytesMut) -> Result<(), AgentError> {
        let connection = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.connection += 1;
            waiting.connection
        };
        self.changes.send_modify(|changes| *changes += 1);
        tokio::select! {
            result = self.send(&stream, connection) => result,
            result = self.receive(&stream, read) => result,
        }
    }

    async fn send(&self, stream: &UnixStream, connection: u64) -> Result<(), AgentError> {
        let mut changes = self.changes.subscribe();
        let mut sent = 0;
        loop {
            changes.mark_unchanged();
            let (next, newest) = {
                let waiting = self.waiting.borrow();
                let next = waiting.requests.range(sent + 1..).next();
                (next.map(|(seq, (request, _))| (*seq, serde_json::to_vec(request))), waiting.connection)
            };
            if newest != connection {
                return Ok(());
            }
            if let Some((seq, json)) = next {
                let mut bytes = Vec::new();
                frame::write(&mut bytes, ASK, &json?);
                fdpass::send_stream(stream, &bytes, &[]).await?;
                sent = seq;
            } else if changes.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    async fn receive(&self, stream: &UnixStream, mut read: BytesMut) -> Result<(), AgentError> {
        let mut fds = VecDeque::new();
        let mut buffer = vec![0; 8192];
        loop {
            while let Some((kind, payload)) = frames::take(&mut read, ANSWER_MAX)? {
                if kind != ANSWER {
                    return Err(FrameError::Unknown(kind).into());
                }
                let Answer { seq, result } = serde_json::from_slice(&payload)?;
                let count = match &result {
                    Ok(Outcome::Made { hierarchies }) => hierarchies.len(),
                    _ => 0,
                };
                if fds.len() < count {
                    return Err(FrameError::Malformed { kind }.into());
                }
                self.answer(seq, result, fds.drain(..count).collect());
            }
            let got = fdpass::recv_stream(stream, &mut buffer).await?;
            if got.len == 0 {
                return Ok(());
            }
            read.extend_from_slice(&buffer[..got.len]);
            fds.extend(got.fds);
            if fds.len() > FDS_MAX {
                return Err(FrameError::Malformed { kind: ANSWER }.into());
            }
        }
    }
}
