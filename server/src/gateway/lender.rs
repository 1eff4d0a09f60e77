//! The connection to host over which sockets are lent.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

use drydock_protocol::gateway::{Hello, Lent, Name};
use drydock_sandbox::fdpass;
use tokio::{net::UnixStream, task::JoinHandle};

use super::serve;
use crate::{egress::Egress, sessions::Sessions};

/// Descriptors in one message.
const FDS_PER_MESSAGE: usize = 200;

/// The longest line that host may send, in bytes.
const LINE_MAX: usize = 64 * 1024;

/// How long to wait before connecting again.
const RETRY: Duration = Duration::from_millis(500);

/// Sockets that we hold, each with the task that answers on it. They outlive
/// a connection to host, and are handed back on the next.
#[derive(Default)]
struct Held {
    sockets: BTreeMap<Name, Socket>,
}

struct Socket {
    copy: OwnedFd,
    task: JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn run(path: &Path, sessions: &Sessions, egress: &Egress) {
    let mut held = Held::default();
    let mut said = false;
    loop {
        match borrow(path, (sessions, egress), &mut held).await {
            Ok(()) => tracing::info!("host closed the gateway connection"),
            Err(error) if !said => tracing::warn!(%error, "no gateway connection to host"),
            Err(_) => {}
        }
        said = true;
        tokio::time::sleep(RETRY).await;
    }
}

/// One connection: hands back what is held, then takes what is lent.
async fn borrow(path: &Path, services: (&Sessions, &Egress), held: &mut Held) -> io::Result<()> {
    let stream = UnixStream::connect(path).await?;
    hand_back(&stream, held).await?;
    let mut line = Vec::new();
    let mut fds = VecDeque::new();
    let mut buffer = [0; 4096];
    loop {
        let received = fdpass::recv_stream(&stream, &mut buffer).await?;
        if received.len == 0 {
            return Ok(());
        }
        fds.extend(received.fds);
        for byte in &buffer[..received.len] {
            if *byte != b'\n' {
                line.push(*byte);
                if line.len() > LINE_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of host's has no end"));
                }
                continue;
            }
            let lent = serde_json::from_slice(&line)?;
            line.clear();
            take(held, lent, &mut fds, services)?;
        }
    }
}

async fn hand_back(stream: &UnixStream, held: &Held) -> io::Result<()> {
    let names: Vec<Name> = held.sockets.keys().cloned().collect();
    let copies: Vec<BorrowedFd<'_>> = held.sockets.values().map(|socket| socket.copy.as_fd()).collect();
    let hello = Hello { hello: drydock_protocol::Hello::OURS, held: names };
    let mut text = serde_json::to_vec(&hello)?;
    text.push(b'\n');
    // One line may need several messages for its descriptors; each takes along
    // at least one byte of it.
    let messages = copies.len().div_ceil(FDS_PER_MESSAGE).max(1);
    let mut rest = &text[..];
    for index in 0..messages {
        let last = index + 1 == messages;
        let (piece, left) = rest.split_at(if last { rest.len() } else { 1 });
        let fds = copies.chunks(FDS_PER_MESSAGE).nth(index).unwrap_or_default();
        fdpass::send_stream(stream, piece, fds).await?;
        rest = left;
    }
    Ok(())
}

fn take(
    held: &mut Held,
    lent: Lent,
    fds: &mut VecDeque<OwnedFd>,
    (sessions, egress): (&Sessions, &Egress),
) -> io::Result<()> {
    match lent {
        Lent::Open(name) => {
            let fd = fds.pop_front().ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("no socket came for {name:?}"))
            })?;
            // Host lends all it has to each new connection: a socket that we
            // serve already stays as it is.
            if held.sockets.contains_key(&name) {
                return Ok(());
            }
            let copy = fd.try_clone()?;
            match serve::start(&name, fd, sessions, egress) {
                Ok(task) => drop(held.sockets.insert(name, Socket { copy, task })),
                Err(error) => tracing::error!(?name, %error, "cannot serve a gateway socket"),
            }
            sessions.refresh();
        }
        Lent::Ended { session } => {
            held.sockets.retain(|name, _| name.session != session);
            egress.forget(&session);
            sessions.refresh();
        }
    }
    Ok(())
}
