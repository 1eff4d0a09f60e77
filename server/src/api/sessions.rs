//! `/api/sessions`: a learner's sessions.

use axum::{
    Json as Answer,
    extract::{Path, State},
    http::StatusCode,
};
use drydock_protocol::agent::OpenPort;
use drydock_protocol::host::{Limits, Node, NodeState, Session};
use serde::{Deserialize, Serialize};

use super::Json;
use crate::{
    db,
    error::AppError,
    learner::Learner,
    previews::open::Open as OpenPorts,
    sessions::{
        health::{Health, Healths},
        seconds_left,
    },
    state::AppState,
    web::address::Address,
};

/// A session as the page sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionView {
    id: String,
    lab: String,
    created: u64,
    deadline: u64,
    now: u64,
    seconds_left: u64,
    /// By how many seconds Extend would move the end.
    extend_by: u64,
    /// Others are in line, so Extend gives less.
    others_wait: bool,
    /// After how many minutes without typing it ends.
    idle_minutes: u64,
    /// Seconds until it ends for that, if nobody does anything.
    idle_left: u64,
    nodes: Vec<NodeView>,
    nodes_max: u32,
    limits: Limits,
}

/// A node as the page sees it: nothing of this machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeView {
    name: String,
    address: std::net::Ipv4Addr,
    state: NodeState,
    cut: bool,
    error: Option<String>,
    /// How it does, where somebody watches.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    /// The ports that it serves, where somebody watches.
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<Vec<PortView>>,
}

/// A port that a node serves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PortView {
    port: u16,
    /// The container that it leads to, if any.
    container: Option<String>,
    /// Where a browser finds it; `None` where this server has no place for it.
    url: Option<String>,
}

impl SessionView {
    /// What the page may know of a session.
    pub fn new(app: &AppState, session: &Session) -> SessionView {
        SessionView {
            id: session.id.clone(),
            lab: session.purpose.clone(),
            created: session.created,
            deadline: session.deadline,
            now: db::now() as u64,
            seconds_left: seconds_left(session),
            extend_by: app.sessions.extend_seconds(session),
            others_wait: app.sessions.others_wait(),
            idle_minutes: app.settings.idle_minutes,
            idle_left: app.sessions.idle_left(session),
            nodes: session.nodes.iter().map(NodeView::new).collect(),
            nodes_max: session.nodes_max,
            limits: session.limits,
        }
    }

    /// With what the nodes say of themselves.
    pub fn with_health(mut self, healths: &Healths) -> SessionView {
        for node in &mut self.nodes {
            node.health = healths.get(&node.name).cloned();
        }
        self
    }
}

impl SessionView {
    /// With the ports that the nodes serve now.
    pub fn with_ports(mut self, app: &AppState, session: &Session, open: &OpenPorts) -> SessionView {
        for node in &mut self.nodes {
            let ports = open.get(&node.name);
            let view = |port: &OpenPort| PortView {
                port: port.port,
                container: port.container.clone(),
                url: app.previews.address(session, &node.name, port.port),
            };
            node.ports = ports.map(|ports| ports.iter().map(view).collect());
        }
        self
    }
}

impl NodeView {
    fn new(node: &Node) -> NodeView {
        NodeView {
            name: node.name.clone(),
            address: node.address,
            state: node.state,
            cut: node.cut,
            error: node.error.clone(),
            health: None,
            ports: None,
        }
    }
}

/// The body of `POST /api/sessions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    lab: String,
}

/// `POST /api/sessions`: the learner's session for a lab, made or found.
pub async fn open(
    State(app): State<AppState>,
    learner: Learner,
    Address(address): Address,
    Json(body): Json<Open>,
) -> Result<Answer<SessionView>, AppError> {
    let session = app.sessions.open(&learner, address, &body.lab).await?;
    Ok(Answer(SessionView::new(&app, &session)))
}

/// `GET /api/sessions/{id}`; of one that has ended, its owner learns why.
pub async fn get(
    State(app): State<AppState>,
    learner: Learner,
    Path(id): Path<String>,
) -> Result<Answer<SessionView>, AppError> {
    let session = app.sessions.get_or_end(&learner, &id).await?;
    Ok(Answer(SessionView::new(&app, &session)))
}

/// `DELETE /api/sessions/{id}`
pub async fn end(
    State(app): State<AppState>,
    learner: Learner,
    Path(id): Path<String>,
) -> Result<StatusCode, AppError> {
    app.sessions.end(&learner, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/sessions/{id}/extend`
pub async fn extend(
    State(app): State<AppState>,
    learner: Learner,
    Path(id): Path<String>,
) -> Result<Answer<SessionView>, AppError> {
    let session = app.sessions.extend(&learner, &id).await?;
    Ok(Answer(SessionView::new(&app, &session)))
}
