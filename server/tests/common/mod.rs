//! A real web server on a free port, in front of a stand-in for host.

// Each test program uses a part of this, and none exports it.
#![allow(dead_code, unreachable_pub)]

pub mod host;

use std::{net::SocketAddr, path::Path, sync::Arc};

use drydock::{
    config::Settings,
    host::HostClient,
    state::AppState,
    web::{router::router, serve::serve},
};
use drydock_protocol::host::Limits;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    header::{COOKIE, HOST, HeaderMap, ORIGIN, SET_COOKIE},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};

use host::StubHost;

const GUIDE: &str = r#"---
title: A small lab
summary: For tests.
minutes: 1
---

## One

```sh run
true
```

```sh check title="It is there"
test -e MARKER || { echo "make it first"; exit 1; }
```

## Two

```quiz
Which?

- [ ] this
  No.
- [x] that
  Yes.
```
"#;

/// A server; it stops when dropped.
pub struct TestServer {
    pub address: SocketAddr,
    pub app: AppState,
    pub host: Arc<StubHost>,
    pub dir: Arc<tempfile::TempDir>,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

impl TestServer {
    pub async fn start() -> TestServer {
        TestServer::start_with(|_| {}).await
    }

    /// A server with other settings.
    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> TestServer {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let host = StubHost::start(dir.path());
        TestServer::over(dir, host, change).await
    }

    /// A server that people reach by another URL, over plain HTTP.
    pub async fn start_at(url: &str) -> TestServer {
        TestServer::start_with(|settings| {
            settings.url = url.into();
            settings.insecure_http = true;
        })
        .await
    }

    /// Stops, as at SIGTERM.
    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Stops, then starts again on the same state.
    pub async fn restart(mut self) -> TestServer {
        self.stop.take().unwrap().send(()).unwrap();
        self.serving.take().unwrap().await.unwrap();
        TestServer::over(self.dir.clone(), self.host.clone(), |_| {}).await
    }

    async fn over(
        dir: Arc<tempfile::TempDir>,
        host: Arc<StubHost>,
        change: impl FnOnce(&mut Settings),
    ) -> TestServer {
        let lab = dir.path().join("labs/small");
        std::fs::create_dir_all(&lab).unwrap();
        let marker = dir.path().join("marker");
        std::fs::write(lab.join("guide.md"), GUIDE.replace("MARKER", marker.to_str().unwrap())).unwrap();
        let web_dir = dir.path().join("web");
        std::fs::create_dir_all(&web_dir).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut settings = settings(address, &dir.path().join("labs"));
        change(&mut settings);
        let client = HostClient::new(&dir.path().join("host.sock"));
        let app = AppState::open(&web_dir, client, settings, address).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (for_run, for_router) = (app.clone(), app.clone());
        let serving = tokio::spawn(async move {
            let sessions = for_run.sessions.clone();
            let stopping = for_run.stopping.clone();
            let shutdown = async move {
                drop(stopped.await);
                stopping.send_replace(true);
            };
            tokio::select! {
                () = serve(listener, None, router(for_router), Default::default(), shutdown) => {}
                () = sessions.run() => {}
            }
        });
        TestServer { address, app, host, dir, stop: Some(stop), serving: Some(serving) }
    }

    pub fn origin(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    pub fn client(&self) -> Client {
        Client { address: self.address, host: format!("localhost:{}", self.address.port()), cookie: None }
    }

    /// A browser that has opened a page.
    pub async fn learner(&self) -> Client {
        let mut client = self.client();
        let answer = client.get("/").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        client.cookie = Some(answer.cookie().expect("a page makes a cookie"));
        client
    }
}

fn settings(address: SocketAddr, labs: &Path) -> Settings {
    Settings {
        listen: address,
        url: format!("http://localhost:{}", address.port()),
        tls: None,
        preview_domain: None,
        insecure_http: false,
        web_user: "nobody".into(),
        labs: labs.into(),
        node_binary: "/nonexistent".into(),
        limits: Limits::default(),
        sessions_max: 10,
        nodes_max: 4,
        policy: drydock_host::admission::Policy::default(),
        learner_sessions_max: 3,
        address_limits: drydock::config::AddressLimits { sessions_max: 0, sessions_per_minute: 0 },
        trusted_proxies: Default::default(),
        line_max: 10,
        egress_allow: Default::default(),
        egress_mb: 0,
        preview_ports: None,
        rates: Default::default(),
        session_minutes: 60,
        extend_minutes: 30,
        idle_minutes: 30,
    }
}

/// A browser, or something that pretends to be one.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub host: String,
    pub cookie: Option<String>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// `NAME=VALUE` of the learner's cookie.
    pub fn cookie(&self) -> Option<String> {
        let cookies = self.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies
            .filter(|value| value.contains("drydock="))
            .find_map(|value| Some(value.split(';').next()?.to_owned()))
    }
}

impl Client {
    pub fn origin(&self) -> String {
        format!("http://{}", self.host)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).body(Full::default()).unwrap()).await
    }

    /// As a page of ours does it.
    pub async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let request = self.request(method, path).header(ORIGIN, self.origin());
        let request =
            request.header("sec-fetch-site", "same-origin").header("content-type", "application/json");
        self.send(request.body(Full::from(body.to_string())).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, body).await
    }

    pub fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        request
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// The session for the small lab.
    pub async fn session(&self) -> Value {
        let answer = self.post("/api/sessions", serde_json::json!({ "lab": "small" })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }
}
