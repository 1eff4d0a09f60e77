//! The ports that nodes serve: links in the foot of a terminal and in the guide.

use web_sys::Element;

use crate::{
    api::{Node, Port},
    app::app,
    dom, live,
};

/// The foot has room for so many.
const SHOWN: usize = 6;

/// The open ports of a node, as links; `None` when there are none.
pub(crate) fn foot(node: &Node) -> Option<Element> {
    let ports = node.ports.as_deref().filter(|ports| !ports.is_empty())?;
    let list = dom::make("span", "ports");
    dom::add_text(&list, if ports.len() == 1 { "Port" } else { "Ports" });
    for port in ports.iter().take(SHOWN) {
        dom::add_text(&list, " ");
        dom::add(&list, &entry(node, port));
    }
    if ports.len() > SHOWN {
        dom::add_text(&list, &format!(" and {} more", ports.len() - SHOWN));
    }
    Some(list)
}

fn entry(node: &Node, port: &Port) -> Element {
    let number = port.port.to_string();
    let what = match &port.container {
        Some(container) => format!("Port {number} of {}: container {container}", node.name),
        None => format!("Port {number} of {}", node.name),
    };
    let Some(url) = &port.url else {
        let text = dom::make_text("span", "mono", &number);
        dom::set(&text, "title", &format!("{what}. This server has no address to show it at."));
        return text;
    };
    let link = dom::make_text("a", "mono", &number);
    lead(&link, url);
    dom::set(&link, "title", &what);
    link
}

fn lead(link: &Element, url: &str) {
    dom::set(link, "href", url);
    dom::set(link, "target", "_blank");
    dom::set(link, "rel", "noopener noreferrer");
}

/// Makes the guide's links to ports live, or not, as the ports are.
pub(crate) fn mark_links() {
    let Some(guide) = dom::by_id("guide") else { return };
    for link in dom::all(&guide, "a.port-link") {
        let number = dom::data(&link, "port").unwrap_or_default();
        let node = find(&dom::data(&link, "node").unwrap_or_default());
        let ports = node.as_ref().and_then(|node| node.ports.clone()).unwrap_or_default();
        let open = ports.iter().find(|port| port.port.to_string() == number);
        match open.and_then(|port| port.url.as_ref()) {
            Some(url) => {
                lead(&link, url);
                let _ = link.remove_attribute("title");
                let _ = link.remove_attribute("aria-disabled");
            }
            None => {
                let _ = link.remove_attribute("href");
                let name = node.map_or_else(|| "the node".to_owned(), |node| node.name);
                let why = match open {
                    Some(_) => "This server has no address to show it at".to_owned(),
                    None => format!("Nobody serves port {number} on {name} now"),
                };
                dom::set(&link, "title", &why);
                dom::set(&link, "role", "link");
                dom::set(&link, "aria-disabled", "true");
            }
        }
    }
}

/// The node with this name; the first where none is named.
fn find(name: &str) -> Option<Node> {
    let session = app().session.now()?;
    session.nodes.into_iter().find(|node| name.is_empty() || node.name == name)
}

/// Says aloud which ports have opened.
pub(crate) fn announce(before: Option<&Node>, now: &Node) {
    let known = |port: &Port| {
        before
            .and_then(|node| node.ports.as_ref())
            .is_none_or(|ports| ports.iter().any(|old| old.port == port.port))
    };
    for port in now.ports.iter().flatten().filter(|port| port.url.is_some() && !known(port)) {
        live::polite(&format!("Port {} of {} is open.", port.port, now.name));
    }
}
