//! A learner's network breaks in the middle of output.

use drydock_protocol::terminal::{FromViewer, ToViewer};
use drydock_tests::http::request;
use drydock_tests::instance::Instance;
use drydock_tests::websocket::{BINARY, WebSocket};

const LINES: u64 = 600;

/// What a page has been shown: the numbers that were counted, in order.
struct Page {
    socket: WebSocket,
    text: Vec<u8>,
}

impl Page {
    fn open(instance: &Instance, path: &str, cookie: &str) -> Page {
        Page { socket: WebSocket::open(instance.port, path, cookie), text: Vec::new() }
    }

    fn types(&mut self, text: &str) {
        let (kind, payload) = FromViewer::Input(text.into()).encode();
        self.socket.say(&[&[kind], &payload[..]].concat()).expect("the terminal takes input");
    }

    /// Reads until so much was counted.
    fn until(&mut self, last: u64) {
        while !self.numbers().contains(&last) {
            let (kind, message) = self.socket.frame().expect("the terminal goes on");
            if kind != BINARY {
                continue;
            }
            let (kind, payload) = message.split_first().expect("a frame has a kind");
            match ToViewer::decode(*kind, payload).expect("it is a frame") {
                ToViewer::Snapshot { bytes, .. } | ToViewer::Output(bytes) => self.text.extend(bytes),
                ToViewer::Resized(_) => {}
                other => panic!("the terminal ended: {other:?}"),
            }
        }
    }

    /// All `n1 n2 …` so far. The last may be cut in the middle, so its line has
    /// to be over.
    fn numbers(&self) -> Vec<u64> {
        let text = String::from_utf8_lossy(&self.text);
        let whole = text.rfind('\r').map_or("", |end| &text[..end]);
        let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
        whole.split('n').skip(1).filter_map(|part| digits(part).parse().ok()).collect()
    }
}

#[test]
fn k02_after_a_network_drop_no_line_is_lost_or_doubled() {
    let instance = Instance::start();
    let cookie = request(instance.port, "GET", "/", &[], "").cookie().expect("a learner gets a cookie");
    let origin = format!("http://localhost:{}", instance.port);
    let headers = [
        ("Cookie", cookie.as_str()),
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/json"),
    ];
    let made = request(instance.port, "POST", "/api/sessions", &headers, r#"{"lab":"namespaces"}"#);
    let id = made.json()["id"].as_str().expect("a session has an id").to_owned();
    let path = format!("/api/sessions/{id}/nodes/node1/terminals/1?cols=80&rows=24");
    let mut page = Page::open(&instance, &path, &cookie);
    page.types(&format!(
        "clear; i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo n$i; sleep 0.005; done\n"
    ));
    for seen in [100, 200, 350] {
        page.until(seen);
        assert_in_order(&page.numbers());
        // Nobody says goodbye.
        drop(page);
        page = Page::open(&instance, &path, &cookie);
    }
    page.until(LINES);
    assert_eq!(page.numbers(), (1..=LINES).collect::<Vec<u64>>());
}

fn assert_in_order(numbers: &[u64]) {
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "lines are lost or doubled");
}
