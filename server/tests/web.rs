//! The web server over HTTP: who may do what, from where.

mod common;

use common::{Client, TestServer};
use http_body_util::Full;
use hyper::{
    Method, StatusCode,
    header::{HOST, ORIGIN, RETRY_AFTER, SET_COOKIE},
};
use serde_json::{Value, json};

#[tokio::test]
async fn w03_the_cookie_is_bound_to_this_host() {
    let server = TestServer::start().await;
    let answer = server.client().get("/").await;
    let cookie = answer.headers[SET_COOKIE].to_str().unwrap();
    let (value, attributes) = cookie.split_once("; ").unwrap();
    assert!(value.starts_with("__Host-drydock="), "{cookie}");
    let mut attributes: Vec<_> = attributes.split("; ").filter(|a| !a.starts_with("Max-Age")).collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);
    // Once there, it is not made again.
    assert!(!server.learner().await.get("/").await.headers.contains_key(SET_COOKIE));
}

#[tokio::test]
async fn w03_plain_http_has_a_cookie_of_another_name() {
    let server = TestServer::start_at("http://labs.example").await;
    let client = Client { host: "labs.example".into(), ..server.client() };
    let answer = client.get("/").await;
    let cookie = answer.headers[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("drydock=") && !cookie.contains("Secure"), "{cookie}");
    // On this machine itself the strict one holds.
    assert!(server.client().get("/").await.cookie().unwrap().starts_with("__Host-drydock="));
}

#[tokio::test]
async fn a_forged_cookie_is_nobodys() {
    let server = TestServer::start().await;
    let mut client = server.learner().await;
    let session = client.session().await;
    let path = format!("/api/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(client.get(&path).await.status, StatusCode::OK);
    let cookie = client.cookie.take().unwrap();
    let forged = format!("{}A", &cookie[..cookie.len() - 1]);
    client.cookie = Some(if forged == cookie { format!("{}B", &cookie[..cookie.len() - 1]) } else { forged });
    assert_eq!(client.get(&path).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn answers_carry_a_strict_policy() {
    let server = TestServer::start().await;
    let client = server.learner().await;
    for path in ["/", "/labs/small/1", "/api/labs/small/progress", "/nowhere", "/healthz"] {
        let head = client.send(client.request(Method::HEAD, path).body(Full::default()).unwrap()).await;
        let answer = client.get(path).await;
        assert_eq!(head.status, answer.status, "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        for part in ["default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"), "{path}: {policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
    }
}

#[tokio::test]
async fn another_sites_name_for_this_server_is_refused() {
    let server = TestServer::start().await;
    for host in ["evil.example", "localhost", "localhost:1", "labs.localhost:80"] {
        let client = Client { host: host.into(), ..server.client() };
        assert_eq!(client.get("/").await.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
}

#[tokio::test]
async fn w02_changes_come_from_our_own_pages_only() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let ours = server.origin();
    let attacks: [&[(&str, &str)]; 7] = [
        &[],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", &ours), ("sec-fetch-site", "cross-site")],
        &[("origin", &ours), ("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
    ];
    for headers in attacks {
        let mut request =
            learner.request(Method::POST, "/api/sessions").header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = learner.send(request.body(Full::from(r#"{"lab":"small"}"#)).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    let form = learner.request(Method::POST, "/api/sessions").header(ORIGIN, &ours);
    let form = form.header("content-type", "text/plain").body(Full::from(r#"{"lab":"small"}"#)).unwrap();
    assert_eq!(learner.send(form).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(server.host.sessions().is_empty());
    // A browser without Sec-Fetch-Site still gets through by its Origin.
    let old = learner.request(Method::POST, "/api/sessions").header(ORIGIN, &ours);
    let old = old.header("content-type", "application/json").body(Full::from(r#"{"lab":"small"}"#)).unwrap();
    assert_eq!(learner.send(old).await.status, StatusCode::OK);
}

#[tokio::test]
async fn no_get_changes_anything() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let session = learner.session().await;
    let id = session["id"].as_str().unwrap();
    for verb in ["stop", "kill", "reset", "start"] {
        let answer = learner.get(&format!("/api/sessions/{id}/nodes/node1/{verb}")).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(
        learner.get(&format!("/api/sessions/{id}/extend")).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(server.host.sessions()[0].id, id);
}

/// Paths of the API with everything filled in, and a body that fits.
fn filled(path: &str, id: &str) -> String {
    let path = path.replace("{id}", id).replace("{node}", "node1").replace("{terminal}", "1?cols=80&rows=24");
    path.replace("{verb}", "stop")
        .replace("{lab}", "small")
        .replace("{step}", "1")
        .replace("files", "files?path=/x")
}

fn body(path: &str) -> Value {
    match path.rsplit('/').next().unwrap() {
        "setup" | "checks" => json!({ "lab": "small", "step": 1 }),
        "nodes" => json!({}),
        "sessions" => json!({ "lab": "small" }),
        "quiz" => json!({ "quiz": 0, "answers": [0] }),
        "runs" => json!({ "block": 0, "exit": 0 }),
        _ => Value::Null,
    }
}

#[tokio::test]
async fn w06_each_route_answers_its_owner_only() {
    let server = TestServer::start().await;
    let (ann, ben) = (server.learner().await, server.learner().await);
    let nobody = server.client();
    let session = ann.session().await;
    let id = session["id"].as_str().unwrap();
    let random = "zzzzzzzzzzzzzzzzzzzzzzzzzz";
    for route in drydock::web::router::api() {
        for method in route.methods {
            let method: Method = method.parse().unwrap();
            let path = filled(route.path, id);
            let case = format!("{method} {path}");
            let of_nobody = nobody.ask(method.clone(), &path, body(route.path)).await;
            assert_eq!(of_nobody.status, StatusCode::UNAUTHORIZED, "{case}: {}", of_nobody.text());
            if !route.path.contains("{id}") {
                continue;
            }
            let of_ben = ben.ask(method.clone(), &path, body(route.path)).await;
            let of_random = ann.ask(method, &filled(route.path, random), body(route.path)).await;
            assert_eq!(of_ben.status, StatusCode::NOT_FOUND, "{case}");
            assert_eq!(of_ben.status, of_random.status, "{case}");
            assert_eq!(of_ben.body, of_random.body, "{case}");
        }
    }
    assert_eq!(server.host.sessions().len(), 1, "nothing was ended");
}

#[tokio::test]
async fn w06_unknown_fields_are_rejected() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let answer = learner.post("/api/sessions", json!({ "lab": "small", "role": "admin" })).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.json()["message"].is_string());
    let answer = learner.post("/api/sessions", json!({ "lab": "../etc" })).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_session_is_made_once_and_found_again() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let (one, two) = tokio::join!(learner.session(), learner.session());
    assert_eq!(one["id"], two["id"]);
    assert_eq!(one["nodes"][0]["name"], "node1");
    assert_eq!(one["nodes"][0].as_object().unwrap().get("agent"), None, "no path of this machine is told");
    assert_ne!(server.learner().await.session().await["id"], one["id"]);
}

#[tokio::test]
async fn a_session_can_be_extended_up_to_its_longest() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let session = learner.session().await;
    assert_eq!(session["seconds_left"], 3600);
    assert_eq!(session["extend_by"], 0, "it has all the time there is");
    server.app.host.extend(session["id"].as_str().unwrap(), 600).await.unwrap();
    let path = format!("/api/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(learner.get(&path).await.json()["extend_by"], 1800);
    let longer = learner.post(&format!("{path}/extend"), Value::Null).await.json();
    let left = longer["seconds_left"].as_u64().unwrap();
    assert!((2399..=2400).contains(&left), "{left}");
}

#[tokio::test]
async fn a_session_in_which_nobody_types_ends_and_says_why() {
    let server = TestServer::start_with(|settings| settings.idle_minutes = 0).await;
    let learner = server.learner().await;
    let mut roster = server.app.sessions.watch();
    learner.session().await;
    roster.wait_for(|sessions| sessions.len() == 1).await.unwrap();
    *server.host.idle_ms.lock().unwrap() = 3_600_000;
    server.app.sessions.end_idle().await;
    assert!(server.host.sessions().is_empty());
    let (_, value) = learner.cookie.as_ref().unwrap().split_once('=').unwrap();
    let ann = server.app.cookies.verify(value).unwrap();
    let past = server.app.sessions.past(&ann, "small").await.unwrap().unwrap();
    assert_eq!(past.reason, drydock::db::EndReason::Idle);
}

#[tokio::test]
async fn a_session_in_which_somebody_types_goes_on() {
    let server = TestServer::start_with(|settings| settings.idle_minutes = 1).await;
    let learner = server.learner().await;
    let mut roster = server.app.sessions.watch();
    let session = learner.session().await;
    assert!(session["idle_left"].as_u64().unwrap() > 50);
    roster.wait_for(|sessions| sessions.len() == 1).await.unwrap();
    server.app.sessions.end_idle().await;
    assert_eq!(server.host.sessions().len(), 1);
}

#[tokio::test]
async fn a_full_server_says_so() {
    let server = TestServer::start().await;
    let mut roster = server.app.sessions.watch();
    for count in 1..=4 {
        server.learner().await.session().await;
        roster.wait_for(|sessions| sessions.len() == count).await.unwrap();
    }
    assert_eq!(server.app.sessions.free_nodes(), 0);
    // Host is the judge: it counts what others make as well.
    let answer = server.learner().await.post("/api/sessions", json!({ "lab": "small" })).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key(RETRY_AFTER));
    assert_eq!(answer.json()["full"], true);
    assert_eq!(answer.json()["resource"], "nodes");
    assert_eq!(answer.json()["message"], "all 4 nodes of this server are in use");
}

#[tokio::test]
async fn progress_outlives_session_and_server() {
    let server = TestServer::start().await;
    let mut learner = server.learner().await;
    let session = learner.session().await;
    let id = session["id"].as_str().unwrap();

    let checks = format!("/api/sessions/{id}/checks");
    let step = json!({ "lab": "small", "step": 1 });
    let answer = learner.post(&checks, step.clone()).await.json();
    assert_eq!(answer, json!([{ "check": 0, "passed": false, "message": "make it first" }]));
    std::fs::write(server.dir.path().join("marker"), "").unwrap();
    assert_eq!(learner.post(&checks, step).await.json()[0]["passed"], true);
    let run = learner.post("/api/labs/small/steps/1/runs", json!({ "block": 0, "exit": 0 })).await;
    assert_eq!(run.status, StatusCode::NO_CONTENT, "{}", run.text());
    let quiz = "/api/labs/small/steps/2/quiz";
    let wrong = learner.post(quiz, json!({ "quiz": 0, "answers": [0] })).await.json();
    assert_eq!(wrong["right"], false);
    let progress = learner.get("/api/labs/small/progress").await.json();
    assert_eq!((&progress["steps"]["1"]["checks"], &progress["done"]), (&json!([0]), &Value::Null));
    let right = learner.post(quiz, json!({ "quiz": 0, "answers": [1] })).await.json();
    assert_eq!(right["right"], true);

    assert_eq!(learner.ask(Method::DELETE, &format!("/api/sessions/{id}"), Value::Null).await.status, 204);
    let server = server.restart().await;
    learner = Client { cookie: learner.cookie, ..server.client() };
    let progress = learner.get("/api/labs/small/progress").await.json();
    assert_eq!(progress["steps"]["1"]["runs"], json!({ "0": 0 }));
    assert_eq!(progress["steps"]["2"]["quizzes"], json!([0]));
    assert!(progress["done"].is_number());
    let other = server.learner().await.get("/api/labs/small/progress").await.json();
    assert_eq!(other["steps"], json!({}));
}

#[tokio::test]
async fn the_key_opens_a_session_for_somebody_else() {
    let server = TestServer::start().await;
    let session = server.learner().await.session().await;
    let id = session["id"].as_str().unwrap();
    let guest = server.learner().await;
    let wrong = guest.get(&format!("/sessions/{id}?key=wrong")).await;
    assert_eq!(wrong.status, StatusCode::NOT_FOUND);
    assert_eq!(guest.get(&format!("/api/sessions/{id}")).await.status, StatusCode::NOT_FOUND);
    let page = guest.get(&format!("/sessions/{id}?key=key-of-{id}")).await;
    assert!(page.status.is_success() || page.status.is_redirection(), "{}", page.status);
    assert_eq!(guest.get(&format!("/api/sessions/{id}")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn while_host_is_away_we_say_so() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    std::fs::remove_file(server.dir.path().join("host.sock")).unwrap();
    let answer = learner.post("/api/sessions", json!({ "lab": "small" })).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key(RETRY_AFTER));
    assert_eq!(learner.get("/labs/small/1").await.status, StatusCode::OK, "guides can be read on");
}

#[tokio::test]
async fn bodies_are_bounded() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let answer = learner.post("/api/sessions", json!({ "lab": "x".repeat(2 << 20) })).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let malformed = learner.request(Method::POST, "/api/sessions").header(ORIGIN, server.origin());
    let malformed = malformed.header("content-type", "application/json").body(Full::from("{{{{")).unwrap();
    assert_eq!(learner.send(malformed).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    for path in
        ["/metrics", "/debug", "/api", "/api/nodes", "/assets/x/page.js", "/labs/none", "/labs/small/99"]
    {
        assert_eq!(learner.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let no_host = hyper::Request::builder().uri("/").header(HOST, "").body(Full::default()).unwrap();
    assert_eq!(learner.send(no_host).await.status, StatusCode::MISDIRECTED_REQUEST);
}
