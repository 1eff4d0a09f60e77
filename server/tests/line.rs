//! A full room: the line before it, and what one address may take.

mod common;

use std::sync::atomic::Ordering;

use common::{Client, TestServer};
use hyper::{Method, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
};

/// A page in line.
struct Waiting {
    lines: Lines<BufReader<TcpStream>>,
}

impl Waiting {
    async fn join(client: &Client) -> Waiting {
        let mut stream = TcpStream::connect(client.address).await.unwrap();
        let head = format!(
            "GET /api/labs/small/line HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\n\r\n",
            client.host,
            client.cookie.as_deref().unwrap()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Waiting { lines: BufReader::new(stream).lines() }
    }

    /// The next event of this kind, with its data.
    async fn event(&mut self, kind: &str) -> Value {
        let mut wanted = false;
        loop {
            let line = self.lines.next_line().await.unwrap().expect("the stream goes on");
            wanted |= line == format!("event: {kind}");
            if let Some(data) = line.strip_prefix("data: ").filter(|_| wanted) {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    /// Reads until it has this place.
    async fn place(&mut self, place: u64) -> Value {
        loop {
            let event = self.event("place").await;
            if event["place"] == place {
                return event;
            }
        }
    }
}

async fn full_server(nodes: u64) -> (TestServer, Vec<(Client, Value)>) {
    let server = TestServer::start().await;
    server.host.nodes_max.store(nodes, Ordering::Relaxed);
    let mut there = Vec::new();
    for _ in 0..nodes {
        let client = server.learner().await;
        let session = client.session().await;
        there.push((client, session));
    }
    (server, there)
}

async fn ask(client: &Client) -> StatusCode {
    client.post("/api/sessions", json!({ "lab": "small" })).await.status
}

#[tokio::test]
async fn the_lab_starts_by_itself_in_the_order_of_coming() {
    let (server, there) = full_server(2).await;
    let (ann, ben) = (server.learner().await, server.learner().await);
    assert_eq!(ask(&ann).await, StatusCode::SERVICE_UNAVAILABLE);
    let mut first = Waiting::join(&ann).await;
    let place = first.place(1).await;
    assert_eq!((&place["nodes"], &place["resource"]), (&json!(1), &json!("nodes")));
    assert_eq!(place["message"], "all 2 nodes of this server are in use");
    let mut second = Waiting::join(&ben).await;
    second.place(2).await;

    let (client, session) = &there[0];
    let path = format!("/api/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(client.ask(Method::DELETE, &path, Value::Null).await.status, StatusCode::NO_CONTENT);
    first.event("ready").await;
    assert_eq!(ask(&ann).await, StatusCode::OK, "it is there already");
    second.place(1).await;
    assert_eq!(ask(&server.learner().await).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.host.sessions().len(), 2);
}

#[tokio::test]
async fn a_place_falls_when_the_page_goes_away() {
    let (server, _there) = full_server(1).await;
    let (ann, ben) = (server.learner().await, server.learner().await);
    let mut first = Waiting::join(&ann).await;
    first.place(1).await;
    let mut second = Waiting::join(&ben).await;
    second.place(2).await;
    drop(first);
    second.place(1).await;
    drop(second);
    let mut others = server.app.sessions.watch_others_wait();
    others.wait_for(|wait| !wait).await.unwrap();
}

#[tokio::test]
async fn nobody_overtakes_those_in_line() {
    let (server, _there) = full_server(1).await;
    let ann = server.learner().await;
    let mut first = Waiting::join(&ann).await;
    first.place(1).await;
    // Room for one: it is ann's, whoever asks first.
    server.host.nodes_max.store(2, Ordering::Relaxed);
    let answer = server.learner().await.post("/api/sessions", json!({ "lab": "small" })).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    assert!(answer.headers.contains_key(RETRY_AFTER));
    first.event("ready").await;
}

#[tokio::test]
async fn while_others_wait_extend_gives_ten_minutes_at_most() {
    let (server, there) = full_server(1).await;
    let (client, session) = &there[0];
    let path = format!("/api/sessions/{}", session["id"].as_str().unwrap());
    server.app.host.extend(session["id"].as_str().unwrap(), 240).await.unwrap();
    let view = client.get(&path).await.json();
    assert_eq!((&view["extend_by"], &view["others_wait"]), (&json!(1800), &json!(false)));
    let ann = server.learner().await;
    let mut first = Waiting::join(&ann).await;
    // What lives is asked of host now and then, so the first word may be older.
    while first.place(1).await["seconds"].as_u64().unwrap() > 240 {}
    let view = client.get(&path).await.json();
    assert_eq!((&view["extend_by"], &view["others_wait"]), (&json!(600), &json!(true)));
    let longer = client.post(&format!("{path}/extend"), Value::Null).await.json();
    assert!((830..=840).contains(&longer["seconds_left"].as_u64().unwrap()), "{longer}");
    assert_eq!(longer["extend_by"], 0, "not again before it is needed");
}

#[tokio::test]
async fn w08_one_address_has_so_many_sessions() {
    let server = TestServer::start_with(|settings| settings.address_limits.sessions_max = 2).await;
    for _ in 0..2 {
        server.learner().await.session().await;
    }
    let answer = server.learner().await.post("/api/sessions", json!({ "lab": "small" })).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.headers.contains_key(RETRY_AFTER));
}

#[tokio::test]
async fn w08_only_a_trusted_proxy_speaks_for_others() {
    let ask = async |server: &TestServer, forwarded: &str| {
        let learner = server.learner().await;
        let request = learner
            .request(Method::POST, "/api/sessions")
            .header("origin", learner.origin())
            .header("content-type", "application/json")
            .header("x-forwarded-for", forwarded);
        learner.send(request.body(r#"{"lab":"small"}"#.to_owned().into()).unwrap()).await.status
    };
    let one_each = |settings: &mut drydock::config::Settings| settings.address_limits.sessions_max = 1;
    let server = TestServer::start_with(one_each).await;
    assert_eq!(ask(&server, "10.0.0.1").await, StatusCode::OK);
    assert_eq!(ask(&server, "10.0.0.2").await, StatusCode::TOO_MANY_REQUESTS, "anybody can say that");
    let server = TestServer::start_with(|settings| {
        one_each(settings);
        settings.trusted_proxies = drydock::web::address::Proxies::parse(&["127.0.0.1".into()]).unwrap();
    })
    .await;
    assert_eq!(ask(&server, "10.0.0.1").await, StatusCode::OK);
    assert_eq!(ask(&server, "10.0.0.2").await, StatusCode::OK);
    assert_eq!(ask(&server, "10.0.0.3, 10.0.0.2").await, StatusCode::TOO_MANY_REQUESTS);
}
