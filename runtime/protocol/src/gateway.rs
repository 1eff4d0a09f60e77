//! How host lends web the sockets it opened on sessions' gateway addresses.
//!
//! A unix stream socket. Web connects and sends one line of JSON, a [`Hello`]
//! with the sockets it still holds, together with copies of them (SCM_RIGHTS,
//! in the same order, at most 200 a message). Host answers with one message a
//! socket, a line of JSON ([`Lent`]) with one descriptor, first for all it
//! holds and then whenever one is opened; and a line without descriptor when a
//! session has ended. Queries that come while web is away queue in the socket.

use serde::{Deserialize, Serialize};

/// Which service a gateway socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// UDP 53.
    DnsUdp,
    /// TCP 53, listening.
    DnsTcp,
    /// TCP 80, listening: the hub (later).
    Hub,
    /// TCP 81, listening: the session's own API (later).
    Session,
    /// TCP 3128, listening: the forward proxy, where a session has one.
    Proxy,
}

/// The port of [`Service::Proxy`].
pub const PROXY_PORT: u16 = 3128;

/// What is reached without the proxy: the node itself, its containers, and the
/// session's other nodes.
pub const NO_PROXY: &str = "localhost,127.0.0.0/8,172.16.0.0/12,192.168.0.0/16,hub,gateway,\
                            node1,node2,node3,node4,node5";

/// A socket on a session's gateway address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name {
    /// The session's id.
    pub session: String,
    /// What it is for.
    pub service: Service,
}

/// Web's first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The versions that web speaks.
    #[serde(flatten)]
    pub hello: crate::Hello,
    /// The sockets whose copies come with this message.
    pub held: Vec<Name>,
}

/// A line from host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "snake_case")]
pub enum Lent {
    /// One descriptor comes with this line.
    Open(Name),
    /// The session is gone: close what belongs to it.
    Ended {
        /// The session's id.
        session: String,
    },
}
