//! The line before a full room: a place in it, in words, held by an open stream.

use std::cell::RefCell;

use serde::Deserialize;
use web_sys::{Element, Event, EventSource, MessageEvent};

use crate::{
    api,
    app::app,
    cover, dom, live, phone,
    session::Phase,
    words::{self, number, ordinal},
};

/// Seconds after which a place is asked for again when the line refuses.
const AGAIN_SECONDS: f64 = 10.0;

/// A place in line, as the server tells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Place {
    /// 1 is next.
    place: u64,
    /// About how long it takes, if the server can say.
    seconds: Option<u64>,
    /// How many nodes are waited for.
    nodes: u64,
    /// What is full.
    message: String,
}

thread_local! {
    /// The place is held while this is open.
    static STREAM: RefCell<Option<EventSource>> = const { RefCell::new(None) };
}

/// Takes a place and tells where it stands, until the lab starts.
pub(crate) fn wait() {
    close();
    let Some(lab) = app().lab.as_deref() else { return };
    let Ok(stream) = EventSource::new(&format!("/api/labs/{}/line", api::escaped(lab))) else {
        return again_later();
    };
    dom::on::<MessageEvent>(&stream, "place", |event| {
        if let Ok(place) = serde_json::from_str::<Place>(&event.data().as_string().unwrap_or_default()) {
            stands(place);
        }
    });
    dom::on::<Event>(&stream, "ready", |_| {
        close();
        app().session.start();
    });
    dom::on::<MessageEvent>(&stream, "over", |event| {
        close();
        let said = serde_json::from_str::<serde_json::Value>(&event.data().as_string().unwrap_or_default());
        let message = said.ok().and_then(|said| Some(said["message"].as_str()?.to_owned()));
        app().session.set_phase(Phase::Failed { message: message.unwrap_or_default() });
    });
    let source = stream.clone();
    dom::on::<Event>(&stream, "error", move |_| {
        // A broken connection the browser mends by itself; a refusal it doesn't.
        if source.ready_state() == EventSource::CLOSED {
            again_later();
        }
    });
    STREAM.set(Some(stream));
}

fn stands(place: Place) {
    let before = match app().session.phase() {
        Phase::Full { place, .. } => place.map(|place| place.place),
        _ => None,
    };
    if before != Some(place.place) {
        live::polite(&format!("The room is full. You are {} in line.", ordinal(place.place)));
    }
    app().session.set_phase(Phase::Full { message: place.message.clone(), place: Some(place) });
}

/// The line itself is full, or the server is away: whether there is room by
/// then is asked first.
fn again_later() {
    close();
    dom::after(dom::jittered(AGAIN_SECONDS), || {
        if matches!(app().session.phase(), Phase::Full { .. }) {
            app().session.try_again_quietly();
        }
    });
}

fn close() {
    if let Some(stream) = STREAM.take() {
        stream.close();
    }
}

fn leave() {
    close();
    app().session.set_phase(Phase::Left);
}

/// The cover of who waits. One that is there stays, with new words: its buttons
/// may have the focus.
pub(crate) fn cover(old: Option<&Element>, message: &str, place: Option<&Place>) -> Element {
    let cover = match old.filter(|old| old.class_list().contains("full")) {
        Some(old) => old.clone(),
        None => empty(),
    };
    if let Some(text) = dom::find(&cover, ".why") {
        dom::clear(&text);
        let message = words::sentence(message);
        dom::add_text(&text, &format!("{}, so ", message.trim_end_matches('.')));
        let title = dom::data(&dom::body(), "lab-title").unwrap_or_else(|| "the lab".to_owned());
        dom::add(&text, &dom::make_text("b", "", &title));
        dom::add_text(&text, " can’t start yet.");
    }
    if let Some(row) = dom::find(&cover, ".place") {
        dom::clear(&row);
        dom::show(&row, place.is_some());
        if let Some(place) = place {
            dom::add(&row, &dom::make_text("b", "about", &about(place.seconds)));
            dom::add_text(&row, " ");
            dom::add(&row, &dom::make_text("span", "", &until(place)));
        }
    }
    cover
}

fn empty() -> Element {
    let cover = cover::cover("The room is full", "");
    dom::class(&cover, "full", true);
    let inner = cover::inner(&cover);
    if let Some(text) = dom::find(&inner, "p") {
        dom::class(&text, "why", true);
    }
    dom::add(&inner, &dom::make("p", "place"));
    dom::add(&inner, &dom::make_text("p", "", "Leave this page open: the lab starts by itself."));
    cover::buttons(
        &cover,
        vec![
            ("Read the guide meanwhile", "button fill", Box::new(read)),
            ("Leave the line", "button", Box::new(leave)),
        ],
    );
    cover
}

/// The cover of who left the line.
pub(crate) fn left_cover() -> Element {
    let text = "You can read on here. Start the lab when you want to work in its nodes.";
    let cover = cover::cover("You are not in line", text);
    cover::buttons(&cover, vec![("Start the lab", "button fill", Box::new(|| app().session.start()))]);
    cover
}

fn read() {
    phone::view("guide");
    if let Some(guide) = dom::by_id("guide") {
        dom::focus(&guide);
    }
}

fn about(seconds: Option<u64>) -> String {
    match seconds {
        None => "Not soon".to_owned(),
        Some(0..60) => "Under a minute".to_owned(),
        Some(seconds @ 60..7200) => format!("About {} min", seconds.div_ceil(60)),
        Some(seconds) => format!("About {} h", seconds.div_ceil(3600)),
    }
}

fn until(place: &Place) -> String {
    let nodes = match place.nodes {
        1 => "a node is free".to_owned(),
        many => format!("{} nodes are free", number(many)),
    };
    let until = match place.seconds {
        None => "This server has too few nodes for this lab.".to_owned(),
        Some(_) => format!("until {nodes}, if nobody extends."),
    };
    format!("{until} You are {} in line.", ordinal(place.place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_said_as_people_say_it() {
        let place = |place, seconds, nodes| Place { place, seconds, nodes, message: String::new() };
        let said = until(&place(2, Some(240), 3));
        assert_eq!(said, "until three nodes are free, if nobody extends. You are second in line.");
        assert_eq!(
            until(&place(1, Some(240), 1)),
            "until a node is free, if nobody extends. You are first in line."
        );
        assert_eq!(about(Some(240)), "About 4 min");
        assert_eq!(about(Some(7201)), "About 3 h");
        assert_eq!(about(Some(59)), "Under a minute");
    }
}
