//! Markdown to HTML, with tags and attributes of a short list only.
//!
//! Tags: p h2 h3 h4 h5 h6 blockquote pre code ul ol li em strong del a br hr
//! table thead tbody tr th td. Attributes: `href`, `rel` and `target` of `a`,
//! `class`, `data-node` and `data-port` of an `a` to what a node serves,
//! `start` of `ol`, `class="language-…"` of `code`. Everything else in a guide
//! becomes text or is left out.

use pulldown_cmark::{Alignment, CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// What of Markdown is understood: CommonMark, and what guides need beyond it.
pub(crate) fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_GFM
}

/// What had to be left out of some Markdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Raw HTML.
    Html,
    /// A link to somewhere it may not lead.
    Link(String),
    /// A picture.
    Image,
}

/// HTML of these events. `dropped` is told what was left out, with the index
/// of its event.
pub(crate) fn render<'a>(
    events: impl IntoIterator<Item = Event<'a>>,
    dropped: &mut Vec<(usize, Dropped)>,
) -> String {
    let mut safe = Vec::new();
    let mut links: Vec<bool> = Vec::new();
    for (index, event) in events.into_iter().enumerate() {
        match event {
            Event::Html(_) | Event::InlineHtml(_) => dropped.push((index, Dropped::Html)),
            Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => {}
            Event::Start(Tag::Link { dest_url, .. }) => {
                let allowed = is_allowed(&dest_url);
                links.push(allowed);
                if allowed {
                    safe.push(Event::InlineHtml(link(&dest_url).into()));
                } else {
                    dropped.push((index, Dropped::Link(dest_url.into_string())));
                }
            }
            Event::End(TagEnd::Link) => {
                if links.pop() == Some(true) {
                    safe.push(Event::InlineHtml("</a>".into()));
                }
            }
            Event::Start(Tag::Image { .. }) => dropped.push((index, Dropped::Image)),
            Event::End(TagEnd::Image) => {}
            other => safe.push(plain(other)),
        }
    }
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, safe.into_iter());
    html
}

/// The event without what would become an attribute of ours not to allow.
fn plain(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
            level: lowered(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(lowered(level))),
        // An alignment would become an inline style, which the page forbids.
        Event::Start(Tag::Table(columns)) => Event::Start(Tag::Table(vec![Alignment::None; columns.len()])),
        Event::Start(Tag::BlockQuote(_)) => Event::Start(Tag::BlockQuote(None)),
        Event::End(TagEnd::BlockQuote(_)) => Event::End(TagEnd::BlockQuote(None)),
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
            let language: String =
                info.chars().take_while(|c| c.is_ascii_alphanumeric() || "+-".contains(*c)).collect();
            match language.is_empty() {
                true => Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)),
                false => Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(CowStr::from(language)))),
            }
        }
        other => other,
    }
}

/// A sub-heading of the guide is one level up on the page, where the step's
/// heading is `h1`.
fn lowered(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 | HeadingLevel::H2 | HeadingLevel::H3 => HeadingLevel::H2,
        HeadingLevel::H4 => HeadingLevel::H3,
        HeadingLevel::H5 => HeadingLevel::H4,
        HeadingLevel::H6 => HeadingLevel::H5,
    }
}

/// Whether a link may lead there: http, https, mailto, a node's port, the same
/// page, or a relative address.
pub(crate) fn is_allowed(url: &str) -> bool {
    // Browsers drop tabs and line ends inside an address before they look at
    // its scheme, and spaces and other controls before it.
    if url.chars().any(char::is_control) || url.starts_with(char::is_whitespace) {
        return false;
    }
    match scheme(url) {
        Some("port") => PortLink::parse(url).is_some(),
        Some(scheme) => {
            ["http", "https", "mailto"].iter().any(|allowed| scheme.eq_ignore_ascii_case(allowed))
        }
        None => true,
    }
}

/// What stands before the first `:`, unless a `/`, `?` or `#` comes first.
pub(crate) fn scheme(url: &str) -> Option<&str> {
    let end = url.find([':', '/', '?', '#'])?;
    url[end..].starts_with(':').then_some(&url[..end])
}

/// A link to what a node serves: `port:8080`, `port:node2/8080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortLink<'a> {
    /// The node; the lab's first when it is not said.
    pub(crate) node: Option<&'a str>,
    /// The port.
    pub(crate) port: u16,
}

impl PortLink<'_> {
    /// What the link's address says.
    pub(crate) fn parse(url: &str) -> Option<PortLink<'_>> {
        let rest = url.strip_prefix("port:")?;
        let (node, port) = rest.split_once('/').map_or((None, rest), |(node, port)| (Some(node), port));
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !port.bytes().all(|b| b.is_ascii_digit()) || !node.is_none_or(is_name) {
            return None;
        }
        Some(PortLink { node, port: port.parse().ok().filter(|port| *port != 0)? })
    }
}

fn link(url: &str) -> String {
    // Where it leads is known once the port is open: the page sets it then.
    if let Some(PortLink { node, port }) = PortLink::parse(url) {
        let node = node.unwrap_or_default();
        return format!(r#"<a class="port-link" data-node="{node}" data-port="{port}">"#);
    }
    let lab = lab_address(url);
    let href = escaped(lab.as_deref().unwrap_or(url));
    let outside = scheme(url).is_some() || url.starts_with("//");
    match outside {
        true => format!(r#"<a href="{href}" rel="noopener noreferrer" target="_blank">"#),
        false => format!(r#"<a href="{href}">"#),
    }
}

/// The page of the lab that `../SLUG/guide.md` names: a link that works in a
/// checkout too.
pub(crate) fn lab_address(url: &str) -> Option<String> {
    let slug = url.strip_prefix("../")?.strip_suffix("/guide.md")?;
    slug.bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        .then(|| format!("/labs/{slug}"))
}

/// `text` as an attribute's value or as text.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// One line of Markdown as inline HTML: the paragraph's own tags left out.
pub(crate) fn inline(markdown: &str) -> String {
    let events = Parser::new_ext(markdown, options())
        .filter(|event| !matches!(event, Event::Start(Tag::Paragraph) | Event::End(TagEnd::Paragraph)));
    render(events, &mut Vec::new()).trim_end().to_owned()
}

/// The text of some Markdown, without its marks.
pub(crate) fn text(markdown: &str) -> String {
    let mut out = String::new();
    for event in Parser::new_ext(markdown, options()) {
        match event {
            Event::Text(text) | Event::Code(text) => out.push_str(&text),
            Event::SoftBreak | Event::HardBreak => out.push(' '),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(markdown: &str) -> (String, Vec<Dropped>) {
        let mut dropped = Vec::new();
        let html = render(Parser::new_ext(markdown, options()), &mut dropped);
        (html, dropped.into_iter().map(|(_, what)| what).collect())
    }

    #[test]
    fn links_lead_where_they_may() {
        for allowed in [
            "https://a.example/x?y=1&z",
            "HTTP://a",
            "mailto:a@b.example",
            "#top",
            "a/b.md",
            "/labs/x",
            "a:b/../c".trim_start_matches("a:"),
            "?x=a:b",
            "./a:b",
            "port:8080",
            "port:node2/80",
        ] {
            assert!(is_allowed(allowed), "{allowed}");
        }
        for refused in [
            "javascript:alert(1)",
            "JavaScript:x",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc",
            " javascript:x",
            "java\nscript:x",
            "\u{1}javascript:x",
            "port:",
            "port:0",
            "port:80800",
            "port:+80",
            "port:node1/",
            "port:/80",
            "port:a\"b/80",
            "PORT:80",
            "ftp://x",
            "blob:x",
            ":x",
        ] {
            assert!(!is_allowed(refused), "{refused}");
        }
    }

    #[test]
    fn a_refused_link_is_its_text() {
        let (out, dropped) = html("[x *y*](javascript:alert(1))");
        assert_eq!(out, "<p>x <em>y</em></p>\n");
        assert_eq!(dropped, [Dropped::Link("javascript:alert(1)".into())]);
        assert_eq!(html("[x](java&#115;cript:alert)").0, "<p>x</p>\n");
    }

    #[test]
    fn outside_links_open_beside() {
        assert_eq!(
            html("[x](https://a.example/?a=1&b=\"2\" \"t\")").0,
            "<p><a href=\"https://a.example/?a=1&amp;b=&quot;2&quot;\" rel=\"noopener noreferrer\" target=\"_blank\">x</a></p>\n"
        );
        assert_eq!(html("[x](../layers/guide.md)").0, "<p><a href=\"/labs/layers\">x</a></p>\n");
    }

    #[test]
    fn links_to_ports_wait_for_the_page() {
        let (out, _) = html("[the page](port:8080) [other](port:node2/80)");
        let first = r#"<a class="port-link" data-node="" data-port="8080">the page</a>"#;
        let second = r#"<a class="port-link" data-node="node2" data-port="80">other</a>"#;
        assert_eq!(out, format!("<p>{first} {second}</p>\n"));
    }

    #[test]
    fn raw_html_is_dropped() {
        let (out, dropped) = html("a <b onclick=x>c</b>\n\n<script>alert(1)</script>\n\nd");
        assert_eq!(out, "<p>a c</p>\n<p>d</p>\n");
        assert!(dropped.iter().all(|what| *what == Dropped::Html) && !dropped.is_empty());
    }

    #[test]
    fn tables_have_no_styles_and_pictures_are_text() {
        assert!(!html("| a |\n|:-:|\n| b |").0.contains("style"));
        assert_eq!(html("![alt](x.png \"t\")").0, "<p>alt</p>\n");
    }

    #[test]
    fn headings_follow_the_steps_own() {
        assert_eq!(html("### a\n#### b").0, "<h2>a</h2>\n<h3>b</h3>\n");
    }

    #[test]
    fn a_title_is_inline() {
        assert_eq!(inline("The `x` is <b>there</b>"), "The <code>x</code> is there");
        assert_eq!(text("The `x` is *there*"), "The x is there");
    }
}
