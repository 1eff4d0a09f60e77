//! `docker events`: what happened, to whoever listens, with a short memory.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{Mutex, PoisonError},
};

use axum::{
    body::{Body, Bytes},
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{engine::Shared, error::ApiError, filters::Filters, images::repository};

/// How many events are remembered for `--since`.
const REMEMBERED: usize = 256;

/// An event, as the API tells it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Event {
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    from: String,
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    scope: &'static str,
    time: i64,
    #[serde(rename = "timeNano")]
    time_nano: i64,
}

#[derive(Debug, Clone, Serialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: BTreeMap<String, String>,
}

/// The stream of events.
pub(crate) struct Events {
    remembered: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<Event>,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events { remembered: Mutex::default(), sender: broadcast::channel(REMEMBERED).0 }
    }

    /// Tells an event of a thing of this kind.
    pub(crate) fn tell(
        &self,
        kind: &'static str,
        action: &str,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let now = Timestamp::now();
        let with_id = kind == "container" || kind == "image";
        let event = Event {
            status: if with_id { action.to_owned() } else { String::new() },
            id: if with_id { id.to_owned() } else { String::new() },
            from: attributes.get("image").filter(|_| kind == "container").cloned().unwrap_or_default(),
            kind,
            action: action.to_owned(),
            actor: Actor { id: id.to_owned(), attributes },
            scope: "local",
            time: now.as_second(),
            time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
        };
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() == REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back(event.clone());
        // Nobody listening is no failure.
        let _ = self.sender.send(event);
    }

    fn since(&self, time_nano: i64) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let past = remembered.iter().filter(|event| event.time_nano >= time_nano).cloned().collect();
        (past, self.sender.subscribe())
    }

    pub(crate) fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EventsQuery {
    since: String,
    until: String,
    filters: String,
}

/// `GET /events`
pub(crate) async fn stream(
    State(engine): State<Shared>,
    Query(query): Query<EventsQuery>,
) -> Result<Response, ApiError> {
    let filters = Filters::parse(&query.filters)?;
    let since = nanoseconds(&query.since)?.unwrap_or(i64::MAX);
    let until = nanoseconds(&query.until)?;
    let (past, mut receiver) = engine.events.since(since);
    let (mut sender, body) = channel();
    tokio::spawn(async move {
        for event in past.into_iter().filter(|event| matches(event, &filters)) {
            if until.is_some_and(|until| event.time_nano > until) || sender.send(&event).await.is_err() {
                return;
            }
        }
        let end = async {
            let Some(until) = until else { return std::future::pending().await };
            let left = until - i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
            tokio::time::sleep(std::time::Duration::from_nanos(left.max(0) as u64)).await;
        };
        tokio::pin!(end);
        loop {
            let event = tokio::select! {
                biased;
                () = &mut end => return,
                () = sender.closed() => return,
                event = receiver.recv() => event,
            };
            match event {
                Ok(event) if matches(&event, &filters) => {
                    if sender.send(&event).await.is_err() {
                        return;
                    }
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    });
    Ok(([("content-type", "application/json")], body).into_response())
}

/// A body of JSON values, one a line, as they are sent.
pub(crate) fn channel() -> (JsonLines, Body) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(16);
    let stream = futures_util::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>))
    });
    (JsonLines(sender), Body::from_stream(stream))
}

/// The sending end of [`channel`].
pub(crate) struct JsonLines(tokio::sync::mpsc::Sender<Bytes>);

/// The client has gone away.
pub(crate) struct Gone;

impl JsonLines {
    pub(crate) async fn send<T: Serialize>(&mut self, value: &T) -> Result<(), Gone> {
        let mut line = serde_json::to_vec(value).map_err(|_| Gone)?;
        line.extend_from_slice(b"\r\n");
        self.0.send(line.into()).await.map_err(|_| Gone)
    }

    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

/// `1700000000.000000001` as nanoseconds; 0 is the epoch here, not "never".
fn nanoseconds(text: &str) -> Result<Option<i64>, ApiError> {
    if text == "0" { Ok(Some(0)) } else { crate::filters::unix_time(text) }
}

/// Actions with more after a colon, which are asked for without it.
const OPEN_ACTIONS: [&str; 3] = ["health_status", "exec_create", "exec_start"];

fn matches(event: &Event, filters: &Filters) -> bool {
    let attribute = |key: &str| event.actor.attributes.get(key).map(String::as_str).unwrap_or_default();
    let begins = |key: &str| {
        filters
            .allows(key, |wanted| event.actor.id.starts_with(wanted) || attribute("name").starts_with(wanted))
    };
    let is_open = filters.values("event").any(|wanted| OPEN_ACTIONS.contains(&wanted));
    let image = attribute(if event.kind == "image" { "name" } else { "image" });
    filters.allows("event", |wanted| event.action == wanted || (is_open && event.action.starts_with(wanted)))
        && filters.allows("type", |wanted| wanted == event.kind)
        && filters.allows("scope", |wanted| wanted == event.scope)
        && (!filters.has("daemon") || (event.kind == "daemon" && begins("daemon")))
        && ["container", "plugin", "volume", "network", "node", "service", "secret", "config"]
            .into_iter()
            .all(begins)
        && filters.allows("image", |wanted| {
            [&event.actor.id, image].into_iter().any(|name| name == wanted || repository(name) == wanted)
        })
        && filters.labels(&event.actor.attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &'static str, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let events = Events::new();
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        events.tell(kind, action, id, attributes.collect());
        events.since(0).0.remove(0)
    }

    #[test]
    fn filters_mean_what_they_mean_to_dockerd() {
        let died =
            event("container", "die", "0123", &[("name", "web"), ("image", "alpine:3"), ("tier", "front")]);
        let health = event("container", "health_status: healthy", "0123", &[("name", "web")]);
        let pulled = event("image", "pull", "alpine:latest", &[("name", "alpine")]);
        let fits = |event: &Event, text: &str| matches(event, &Filters::parse(text).unwrap());
        for text in [
            r#"{"container":["web"]}"#,
            r#"{"container":["01"]}"#,
            r#"{"event":["die"],"type":["container"]}"#,
            r#"{"image":["alpine"]}"#,
            r#"{"label":["tier=front"]}"#,
            "{}",
        ] {
            assert!(fits(&died, text), "{text}");
        }
        for text in [
            r#"{"container":["db"]}"#,
            r#"{"event":["health_status"]}"#,
            r#"{"label":["tier=back"]}"#,
            r#"{"daemon":["x"]}"#,
        ] {
            assert!(!fits(&died, text), "{text}");
        }
        assert!(fits(&health, r#"{"event":["health_status"]}"#));
        assert!(fits(&pulled, r#"{"image":["alpine"]}"#) && !fits(&pulled, r#"{"image":["busybox"]}"#));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let events = Events::new();
        for number in 0..REMEMBERED + 10 {
            events.tell("volume", "create", &number.to_string(), BTreeMap::new());
        }
        let (past, _) = events.since(0);
        assert_eq!((past.len(), past[0].actor.id.as_str()), (REMEMBERED, "10"));
    }
}
