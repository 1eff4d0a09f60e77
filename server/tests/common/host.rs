//! A stand-in for `drydock host` and a node's PID 1: the sockets and the
//! protocols are the real ones, the nodes are not there.

use std::{
    collections::BTreeMap,
    path::{Path as FilePath, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use drydock_agent::frames::{FrameReader, FrameWriter};
use drydock_protocol::{
    Hello,
    agent::{DONE, Exec, HELLO, Request, Status, ToClient},
    host::{CreateSession, Extend, Failure, Full, Instance, Node, NodeState, Resource, Session},
    terminal::{FromViewer, Size, ToViewer},
};
use tokio::net::{UnixListener, UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf};

pub struct StubHost {
    dir: PathBuf,
    sessions: Mutex<BTreeMap<String, Session>>,
    made: AtomicU64,
    /// How many nodes there may be.
    pub nodes_max: AtomicU64,
    /// How long nobody typed, as the nodes say.
    pub idle_ms: Mutex<u64>,
}

type Refusal = (StatusCode, Json<Failure>);

impl StubHost {
    pub fn start(dir: &FilePath) -> Arc<StubHost> {
        let host = Arc::new(StubHost {
            dir: dir.into(),
            sessions: Mutex::default(),
            made: AtomicU64::new(0),
            nodes_max: AtomicU64::new(4),
            idle_ms: Mutex::default(),
        });
        let listener = UnixListener::bind(dir.join("host.sock")).unwrap();
        let router = Router::new()
            .route("/v1", get(instance))
            .route("/v1/sessions", get(list).post(create))
            .route("/v1/sessions/{id}", get(find).delete(remove))
            .route("/v1/sessions/{id}/extend", post(extend))
            .route("/v1/sessions/{id}/nodes/{node}/{verb}", post(verb))
            .with_state(host.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        host
    }

    pub fn sessions(&self) -> Vec<Session> {
        self.sessions.lock().unwrap().values().cloned().collect()
    }

    /// As if the session's time was over.
    pub fn end(&self, id: &str) {
        self.sessions.lock().unwrap().remove(id);
    }
}

fn not_found() -> Refusal {
    (StatusCode::NOT_FOUND, Json(Failure { message: "no such session".into(), full: None }))
}

async fn instance() -> Json<Instance> {
    Json(Instance { hello: Hello::OURS, instance: "test".into(), images: vec!["busybox:latest".into()] })
}

async fn list(State(host): State<Arc<StubHost>>) -> Json<Vec<Session>> {
    Json(host.sessions())
}

async fn find(State(host): State<Arc<StubHost>>, Path(id): Path<String>) -> Result<Json<Session>, Refusal> {
    host.sessions.lock().unwrap().get(&id).cloned().map(Json).ok_or_else(not_found)
}

async fn remove(State(host): State<Arc<StubHost>>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    host.sessions.lock().unwrap().remove(&id).map(|_| StatusCode::NO_CONTENT).ok_or_else(not_found)
}

async fn extend(
    State(host): State<Arc<StubHost>>,
    Path(id): Path<String>,
    Json(extend): Json<Extend>,
) -> Result<Json<Session>, Refusal> {
    let mut sessions = host.sessions.lock().unwrap();
    let session = sessions.get_mut(&id).ok_or_else(not_found)?;
    session.deadline = now() + extend.seconds;
    Ok(Json(session.clone()))
}

async fn verb(
    State(host): State<Arc<StubHost>>,
    Path((id, node, verb)): Path<(String, String, String)>,
) -> Result<Json<Session>, Refusal> {
    let mut sessions = host.sessions.lock().unwrap();
    let session = sessions.get_mut(&id).ok_or_else(not_found)?;
    let node = session.nodes.iter_mut().find(|found| found.name == node).ok_or_else(not_found)?;
    node.state =
        if matches!(verb.as_str(), "stop" | "kill") { NodeState::Stopped } else { NodeState::Running };
    Ok(Json(session.clone()))
}

async fn create(
    State(host): State<Arc<StubHost>>,
    Json(create): Json<CreateSession>,
) -> Result<Json<Session>, Refusal> {
    let mut sessions = host.sessions.lock().unwrap();
    let used = sessions.values().map(|session| session.nodes.len() as u64).sum::<u64>();
    let (most, asked) = (host.nodes_max.load(Ordering::Relaxed), create.nodes.len() as u64);
    if used + asked > most {
        let soonest_deadline = sessions.values().map(|session| session.deadline).min();
        let full = Some(Full { resource: Resource::Nodes, most, used, asked, soonest_deadline });
        let failure = Failure { message: "no room".into(), full };
        return Err((StatusCode::SERVICE_UNAVAILABLE, Json(failure)));
    }
    let id = format!("{:026}", host.made.fetch_add(1, Ordering::Relaxed));
    let mut nodes = Vec::new();
    for (index, name) in create.nodes.iter().enumerate() {
        let agent = host.dir.join(format!("{id}-{name}.sock"));
        let listener = UnixListener::bind(&agent).unwrap();
        tokio::spawn(serve_agent(host.clone(), listener));
        nodes.push(Node {
            name: name.clone(),
            address: [192, 168, 0, 11 + index as u8].into(),
            mac: String::new(),
            state: NodeState::Running,
            cut: false,
            error: None,
            base_id: 1_000_000,
            pid: None,
            agent,
            docker: "/nonexistent".into(),
        });
    }
    let session = Session {
        id: id.clone(),
        owner: create.owner,
        purpose: create.purpose,
        key: format!("key-of-{id}"),
        created: now(),
        deadline: now() + create.seconds,
        features: create.features,
        limits: create.limits,
        nodes_max: create.nodes_max.unwrap_or(5),
        nodes,
    };
    sessions.insert(id, session.clone());
    Ok(Json(session))
}

fn now() -> u64 {
    drydock::db::now() as u64
}

async fn serve_agent(host: Arc<StubHost>, listener: UnixListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let host = host.clone();
        tokio::spawn(async move { converse(&host, stream).await });
    }
}

/// One agent connection. Whoever breaks off ends it.
async fn converse(host: &StubHost, stream: UnixStream) -> Option<()> {
    let (read, write) = stream.into_split();
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    reader.next().await.ok()??;
    writer.send(HELLO, &serde_json::to_vec(&Hello::OURS).unwrap()).await.ok()?;
    let (_, request) = reader.next().await.ok()??;
    match serde_json::from_slice(&request).unwrap() {
        Request::Attach { size, .. } => terminal(reader, writer, size).await,
        Request::Exec(exec) => run(writer, exec).await,
        Request::Status => {
            let status = Status { idle_ms: *host.idle_ms.lock().unwrap(), ..Status::default() };
            writer.send(DONE, &serde_json::to_vec(&status).unwrap()).await.ok()
        }
        other => panic!("the stand-in does not do {other:?}"),
    }
}

/// A terminal that prints what is typed; `flood` makes it print without end,
/// `exit` ends it.
async fn terminal(
    mut reader: FrameReader<OwnedReadHalf>,
    mut writer: FrameWriter<OwnedWriteHalf>,
    size: Size,
) -> Option<()> {
    let mut say = async |frame: ToViewer| {
        let (kind, payload) = frame.encode();
        writer.send(kind, &payload).await.ok()
    };
    say(ToViewer::Snapshot { offset: 0, size, bytes: b"$ ".to_vec() }).await?;
    loop {
        let (kind, payload) = reader.next().await.ok()??;
        match FromViewer::decode(kind, &payload).unwrap() {
            FromViewer::Input(bytes) if bytes == b"exit" => return say(ToViewer::Ended(0)).await,
            FromViewer::Input(bytes) if bytes == b"flood" => loop {
                say(ToViewer::Output(vec![b'y'; 64 * 1024])).await?;
            },
            FromViewer::Input(bytes) => say(ToViewer::Output(bytes)).await?,
            FromViewer::Resize(size) => say(ToViewer::Resized(size)).await?,
            FromViewer::Ack(_) => {}
        }
    }
}

async fn run(mut writer: FrameWriter<OwnedWriteHalf>, exec: Exec) -> Option<()> {
    let output = tokio::process::Command::new(&exec.argv[0]).args(&exec.argv[1..]).output().await.unwrap();
    for frame in [ToClient::Stdout(output.stdout), ToClient::Exit(output.status.code().unwrap_or(255))] {
        let (kind, payload) = frame.encode();
        writer.send(kind, &payload).await.ok()?;
    }
    Some(())
}
