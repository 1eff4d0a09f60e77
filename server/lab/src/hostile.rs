//! Guides that somebody wrote to break us (row M01 of the security plan): no
//! panic, and no tag or attribute that is not on the short list.

use proptest::prelude::*;

use crate::{
    Lab, Piece, Step,
    diagnostic::Report,
    guide::parse,
    html::{self, is_allowed},
};

const FRONT: &str = "---\ntitle: A\nsummary: B.\nminutes: 5\nnodes: 2\n---\n";

/// What is tried, each alone and in every mixture.
const CORPUS: &[&str] = &[
    "<img src=x onerror=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><annotation-xml encoding=\"text/html\"><script>alert(1)</script></annotation-xml></math>",
    "<script>alert(1)</script>",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?>",
    "<style>@import 'x'</style>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href=\"javascript:alert(1)\">x</a>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<svg></p><style><a id=\"</style><img src=1 onerror=alert(1)>\">",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
    "<x onclick=alert(1) style=position:fixed>y</x>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](java&#10;script:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](\u{1}javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x)",
    "[x](https://a.example/\"onmouseover=\"alert(1))",
    "[x](https://a.example \"t\\\" onmouseover=\\\"alert(1)\")",
    "[x]: javascript:alert(1)\n\n[x]",
    "<javascript:alert(1)>",
    "<https://a.example/?\"><script>alert(1)</script>>",
    "![x\" onerror=\"alert(1)](x.png \"t\")",
    "![x](javascript:alert(1))",
    "[![x](https://a.example/x.png)](javascript:alert(1))",
    "```\"><script>alert(1)</script>\n</code></pre><script>alert(1)</script>\n```",
    "```js\" onclick=alert(1)\nx\n```",
    "    </code></pre><script>alert(1)</script>",
    "`</code><script>alert(1)</script>`",
    "## </h1><script>alert(1)</script> {#x onclick=alert(1)}",
    "| <b> | `|` |\n|:-:|-:|\n| <script>alert(1)</script> | [x](javascript:1) |",
    "> [!TIP]\n> **<img src=x onerror=alert(1)>**\n>\n> <script>alert(1)</script>",
    "> [!NOTE]\n> [x](javascript:alert(1))",
    "```quiz\n<script>alert(1)</script> [q](javascript:1)\n- [x] <img src=x onerror=alert(1)>\n  <b onclick=1>x</b>\n- [ ] [y](javascript:1)\n```",
    "~~~sh check title=\"<img src=x onerror=alert(1)> [x](javascript:1) `</code>`\"\nfalse\n~~~",
    "```sh run capture=\"A:(x)\" answer=\"<b>\"\necho {{A}}\n```",
    "```output\n<script>[..]\n```",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<a\nhref='x'\nonclick=alert(1)>",
    "- a\n  - <script>\n\n1. b",
    "Term\n: <script>",
    "[^1]\n\n[^1]: <script>alert(1)</script>",
    "$$<script>$$",
    "\0\u{feff}\u{202e}<script>",
    "***a** <b>b</b>*~~c~~",
];

const TAGS: &[&str] = &[
    "p",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "pre",
    "code",
    "ul",
    "ol",
    "li",
    "em",
    "strong",
    "del",
    "a",
    "br",
    "hr",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
];

/// Whether all tags and attributes in `html` are on the list. Stricter than a
/// browser: what it does not understand is refused.
fn check(html: &str) -> Result<(), String> {
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        let end = rest[open..].find('>').ok_or_else(|| format!("open tag in {html}"))? + open;
        check_tag(&rest[open + 1..end]).map_err(|why| format!("{why} in {html}"))?;
        if rest[..open].contains('>') {
            return Err(format!("bare > in {html}"));
        }
        rest = &rest[end + 1..];
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), String> {
    if let Some(name) = tag.strip_prefix('/') {
        return if TAGS.contains(&name) { Ok(()) } else { Err(format!("</{name}>")) };
    }
    let tag = tag.strip_suffix(" /").unwrap_or(tag);
    let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
    if !TAGS.contains(&name) {
        return Err(format!("<{name}>"));
    }
    while !attributes.is_empty() {
        let (key, rest) = attributes.split_once("=\"").ok_or(format!("attributes {attributes}"))?;
        let (value, rest) = rest.split_once('"').ok_or(format!("open value {rest}"))?;
        let fits = match (name, key) {
            ("a", "href") => {
                is_allowed(&value.replace("&amp;", "&").replace("&quot;", "\"").replace("&#39;", "'"))
            }
            ("a", "class") => value == "port-link",
            ("a", "data-node") => {
                value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            }
            ("a", "data-port") => value.parse::<u16>().is_ok(),
            ("a", "rel") => value == "noopener noreferrer",
            ("a", "target") => value == "_blank",
            ("ol", "start") => value.bytes().all(|b| b.is_ascii_digit()),
            ("code", "class") => value.starts_with("language-") && !value.contains(['<', '&', ' ']),
            _ => false,
        };
        if !fits {
            return Err(format!("{key}={value} of <{name}>"));
        }
        attributes = rest.trim_start();
    }
    Ok(())
}

/// All HTML that a step gives the page.
fn htmls(step: &Step) -> Vec<&str> {
    let mut all = vec![step.title_html.as_str()];
    for piece in &step.pieces {
        match piece {
            Piece::Html(html) => all.push(html),
            Piece::Callout(callout) => {
                all.push(&callout.html);
                all.extend(callout.title_html.as_deref());
            }
            Piece::Check(check) => all.push(&check.title_html),
            Piece::Quiz(quiz) => {
                all.push(&quiz.question_html);
                all.extend(
                    quiz.answers.iter().flat_map(|answer| [answer.text_html.as_str(), &answer.reply_html]),
                );
            }
            _ => {}
        }
    }
    all
}

fn check_guide(body: &str) -> Result<(), String> {
    let text = format!("{FRONT}{body}");
    let mut report = Report::new("guide.md".into(), &text);
    let (_, intro, steps) = parse(&text, &mut report).ok_or("no guide")?;
    check(&intro)?;
    steps.iter().flat_map(htmls).try_for_each(check)
}

#[test]
fn the_checker_sees_what_it_should() {
    for bad in [
        "<script>",
        "<p onclick=\"x\">",
        "<a href=\"javascript:x\">",
        "<p",
        "<p style=\"x\">",
        "<img src=\"x\">",
    ] {
        assert!(check(bad).is_err(), "{bad}");
    }
    assert_eq!(
        check("<p>a <a href=\"https://b\" rel=\"noopener noreferrer\" target=\"_blank\">c</a></p>"),
        Ok(())
    );
}

#[test]
fn m01_nothing_of_the_corpus_gets_through() {
    for fragment in CORPUS {
        for body in
            [fragment.to_string(), format!("## A\n\n{fragment}\n"), format!("## A\n\n- x\n\n  {fragment}\n")]
        {
            assert_eq!(check_guide(&body), Ok(()), "{body}");
        }
        assert_eq!(check(&html::inline(fragment)), Ok(()), "{fragment}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn m01_no_mixture_gets_through(
        parts in proptest::collection::vec((proptest::sample::select(CORPUS), "[ \n>`*#\\-]{0,4}"), 0..8),
    ) {
        let body: String = parts.into_iter().flat_map(|(fragment, between)| [fragment.to_owned(), between]).collect();
        prop_assert_eq!(check_guide(&body), Ok(()));
        let step = format!("## A\n\n{body}");
        prop_assert_eq!(check_guide(&step), Ok(()));
        prop_assert_eq!(check(&html::inline(&body)), Ok(()));
    }

    #[test]
    fn no_text_makes_it_panic(text in "(---\n)?(\\PC|[\n `~#>\\[\\]():=\"{}-]){0,200}") {
        let mut report = Report::new("guide.md".into(), &text);
        let _ = parse(&text, &mut report);
        let _ = check_guide(&text);
        let _ = crate::Expected::parse(&text, 1).compare(&text);
    }

    #[test]
    fn no_fence_makes_it_panic(info in "[a-z ]{0,8}( (run|inner|check|setup|solve|node|kill|term|prompt|file|exit|capture|answer|keys)(=\"?\\PC{0,6}\"?)?){0,4}", text in "\\PC{0,20}") {
        let _ = check_guide(&format!("## A\n```{info}\n{text}\n```\n~~~{info}\n{text}\n~~~"));
    }
}

#[test]
fn linting_any_folder_is_safe() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("lab");
    std::fs::create_dir(&dir).unwrap();
    for text in ["", "---\n---\n", "\u{feff}---\ntitle: x", "---\n---\n## \u{1F980}[x](y)\n\u{1F980}[x](y)"] {
        std::fs::write(dir.join("guide.md"), text).unwrap();
        assert!(!Lab::lint(&dir, None).is_empty(), "{text}");
    }
    std::fs::write(dir.join("guide.md"), [0xff, 0xfe]).unwrap();
    assert!(!Lab::lint(&dir, None).is_empty());
}
