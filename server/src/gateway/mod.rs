//! Services on the sessions' gateway address, 192.168.0.1: DNS, and the forward
//! proxy where a session has one.
//!
//! Host opens the sockets inside each session's network and lends copies; see
//! [`drydock_protocol::gateway`]. So a service knows which session speaks by
//! the socket it is asked on, and no port of this machine is open for it.

mod answer;
mod lender;
mod rate;
mod serve;

use std::path::PathBuf;

pub(crate) use answer::GATEWAY;

use crate::{egress::Egress, sessions::Sessions};

/// Serves the gateway sockets for ever; connects again when host restarts.
pub async fn run(socket: PathBuf, sessions: Sessions, egress: Egress) {
    lender::run(&socket, &sessions, &egress).await;
}
