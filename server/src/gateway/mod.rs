//! Services on the sessions' gateway address, 192.168.0.1: DNS so far.
//!
//! Host opens the sockets inside each session's network and lends copies; see
//! [`drydock_protocol::gateway`]. So a service knows which session speaks by
//! the socket it is asked on, and no port of this machine is open for it.

mod answer;
mod lender;
mod serve;

use std::path::PathBuf;

use crate::sessions::Sessions;

/// Serves the gateway sockets for ever; connects again when host restarts.
pub async fn run(socket: PathBuf, sessions: Sessions) {
    lender::run(&socket, &sessions).await;
}
