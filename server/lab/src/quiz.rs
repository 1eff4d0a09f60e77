//! Questions.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde::Serialize;

use crate::{
    diagnostic::{Place, Report},
    html,
};

/// A question with one or many right answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiz {
    /// Counts the step's questions.
    pub index: usize,
    /// The question, as HTML blocks.
    pub question_html: String,
    /// More than one answer is right.
    pub multiple: bool,
    /// The answers, in the guide's order; at least two.
    pub answers: Vec<QuizAnswer>,
    /// Its line in the guide, from 1.
    pub line: usize,
}

/// An answer to choose. `right` and `reply_html` must not be sent to the page
/// before it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuizAnswer {
    /// Inline HTML.
    pub text_html: String,
    /// Whether it is right.
    pub right: bool,
    /// What is said when it was chosen; may be empty.
    pub reply_html: String,
}

/// What is said to chosen answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// All right answers were chosen, and no wrong one.
    pub right: bool,
    /// One reply for each chosen answer.
    pub replies: Vec<Reply>,
}

/// What is said to one chosen answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// The answer, counted from 0.
    pub answer: usize,
    /// Whether it is right.
    pub right: bool,
    /// The reason; may be empty.
    pub reply_html: String,
}

impl Quiz {
    /// Judges the answers chosen, counted from 0; numbers that are no answer
    /// make it wrong.
    pub fn judge(&self, chosen: &[usize]) -> Verdict {
        let mut right =
            self.answers.iter().enumerate().all(|(index, answer)| answer.right == chosen.contains(&index));
        let mut replies = Vec::new();
        for (index, answer) in self.answers.iter().enumerate().filter(|(index, _)| chosen.contains(index)) {
            replies.push(Reply { answer: index, right: answer.right, reply_html: answer.reply_html.clone() });
        }
        right &= chosen.iter().all(|index| *index < self.answers.len());
        Verdict { right, replies }
    }
}

/// Reads a quiz block's text, which begins on the line after `line`: the
/// question, then a list whose items begin with `[ ]` or `[x]`. An answer is
/// one line; what is indented under it is the reply.
pub(crate) fn read(text: &str, index: usize, line: usize, report: &mut Report<'_>) -> Option<Quiz> {
    let place = |offset: usize| Place::line(line + 1 + text[..offset.min(text.len())].matches('\n').count());
    let mut question = Vec::new();
    let mut answers = Vec::new();
    let mut item: Option<(usize, Vec<Event<'_>>)> = None;
    let mut lists = 0;
    for (event, range) in
        Parser::new_ext(text, html::options() | Options::ENABLE_TASKLISTS).into_offset_iter()
    {
        match &event {
            Event::Start(Tag::List(_)) => lists += 1,
            Event::End(TagEnd::List(_)) => lists -= 1,
            _ => {}
        }
        match (&event, lists) {
            (Event::Start(Tag::List(_)), 1) | (Event::End(TagEnd::List(_)), 0) => {}
            (Event::Start(Tag::Item), 1) => item = Some((range.start, Vec::new())),
            (Event::End(TagEnd::Item), 1) => {
                if let Some((start, events)) = item.take() {
                    answers.extend(answer(events, place(start), report));
                }
            }
            _ => match &mut item {
                Some((_, events)) => events.push(event),
                None => question.push(event),
            },
        }
    }
    let question_html = html::render(question, &mut Vec::new()).trim_end().to_owned();
    let right = answers.iter().filter(|answer: &&QuizAnswer| answer.right).count();
    let wrong = if question_html.is_empty() {
        Some(("a quiz needs a question", "write it above the list of answers"))
    } else if answers.len() < 2 {
        Some(("a quiz needs two answers at least", "write them as `- [ ] wrong` and `- [x] right`"))
    } else if right == 0 {
        Some(("no answer is right", "mark the right one with `- [x]`"))
    } else {
        None
    };
    if let Some((message, help)) = wrong {
        report.error(Place::line(line), message).help(help);
        return None;
    }
    Some(Quiz { index, question_html, multiple: right > 1, answers, line })
}

/// One item of the list: its mark, its first line, and the rest.
fn answer(events: Vec<Event<'_>>, place: Place, report: &mut Report<'_>) -> Option<QuizAnswer> {
    let loose = matches!(events.first(), Some(Event::Start(Tag::Paragraph)));
    let mut events = events.into_iter().skip(usize::from(loose)).peekable();
    let Some(Event::TaskListMarker(right)) =
        events.next_if(|event| matches!(event, Event::TaskListMarker(_)))
    else {
        report.error(place, "an answer begins with `[ ]` or `[x]`");
        return None;
    };
    let mut text = Vec::new();
    while let Some(event) = events.next_if(|event| !ends_answer(event)) {
        text.push(event);
    }
    let mut rest: Vec<Event<'_>> = Vec::new();
    match events.next() {
        // The reply is on the answer's next line, in the same paragraph.
        Some(Event::SoftBreak | Event::HardBreak) => {
            rest.push(Event::Start(Tag::Paragraph));
            let mut open = true;
            for event in events {
                if open && !loose && matches!(event, Event::Start(ref tag) if is_block(tag)) {
                    rest.push(Event::End(TagEnd::Paragraph));
                    open = false;
                }
                open &= !(loose && matches!(event, Event::End(TagEnd::Paragraph)));
                rest.push(event);
            }
            if open {
                rest.push(Event::End(TagEnd::Paragraph));
            }
        }
        Some(Event::End(TagEnd::Paragraph)) | None => rest.extend(events),
        Some(block) => {
            rest.push(block);
            rest.extend(events);
        }
    }
    let render = |events: Vec<Event<'_>>| html::render(events, &mut Vec::new()).trim().to_owned();
    Some(QuizAnswer { text_html: render(text), right, reply_html: render(rest) })
}

fn ends_answer(event: &Event<'_>) -> bool {
    match event {
        Event::SoftBreak | Event::HardBreak | Event::End(TagEnd::Paragraph) => true,
        Event::Start(tag) => is_block(tag),
        _ => false,
    }
}

fn is_block(tag: &Tag<'_>) -> bool {
    !matches!(tag, Tag::Emphasis | Tag::Strong | Tag::Strikethrough | Tag::Link { .. } | Tag::Image { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Diagnostic;

    fn read_text(text: &str) -> (Option<Quiz>, Vec<Diagnostic>) {
        let mut report = Report::new("guide.md".into(), "");
        let quiz = read(text, 0, 10, &mut report);
        (quiz, report.into_found())
    }

    #[test]
    fn a_list_is_a_quiz() {
        let (quiz, found) = read_text(
            "Which `kernel`?\n\n- [ ] The *image's*\n  An image has none.\n- [x] The node's\n- [ ] None\n\n  Something must run.\n",
        );
        assert_eq!(found, []);
        let quiz = quiz.unwrap();
        assert_eq!(quiz.question_html, "<p>Which <code>kernel</code>?</p>");
        assert!(!quiz.multiple);
        let answers: Vec<(&str, bool, &str)> =
            quiz.answers.iter().map(|a| (a.text_html.as_str(), a.right, a.reply_html.as_str())).collect();
        assert_eq!(
            answers,
            [
                ("The <em>image's</em>", false, "<p>An image has none.</p>"),
                ("The node's", true, ""),
                ("None", false, "<p>Something must run.</p>"),
            ]
        );
    }

    #[test]
    fn tight_answers_have_replies_on_the_next_line() {
        let (quiz, _) = read_text("Q\n- [ ] a\n  why `a`\n- [x] b\n  why b\n- [x] c\n");
        let quiz = quiz.unwrap();
        assert!(quiz.multiple);
        assert_eq!(quiz.answers[0].reply_html, "<p>why <code>a</code></p>");
        assert_eq!(quiz.answers[1].reply_html, "<p>why b</p>");
    }

    #[test]
    fn judging_wants_all_right_ones_and_no_other() {
        let quiz = read_text("Q\n- [x] a\n- [ ] b\n- [x] c\n").0.unwrap();
        assert!(quiz.judge(&[2, 0]).right);
        assert!(!quiz.judge(&[0]).right);
        assert!(!quiz.judge(&[0, 1, 2]).right);
        assert!(!quiz.judge(&[0, 2, 9]).right);
        assert!(!quiz.judge(&[]).right);
        assert_eq!(
            quiz.judge(&[1, 9]).replies,
            [Reply { answer: 1, right: false, reply_html: String::new() }]
        );
    }

    #[test]
    fn what_is_no_quiz_is_said() {
        for wrong in
            ["- [x] a\n- [ ] b\n", "Q\n- [x] a\n", "Q\n- [ ] a\n- [ ] b\n", "Q\n- a\n- [x] b\n", "", "Q"]
        {
            let (quiz, found) = read_text(wrong);
            assert!(quiz.is_none() && !found.is_empty(), "{wrong}");
        }
        assert_eq!(read_text("Q\n- [x] a\n- b\n- [ ] c").1[0].line, 13);
    }
}
