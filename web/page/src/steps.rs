//! Steps: going from one to the next without losing the terminals, the list of
//! steps, and starting a step over.

use std::{cell::Cell, collections::BTreeMap};

use serde::Deserialize;
use serde_json::json;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{Element, Event, HtmlAnchorElement, HtmlTemplateElement, KeyboardEvent, MouseEvent};

use crate::{api, app::app, dom, live, next, ports, quiz, run_row};

/// The step that is shown.
#[derive(Default)]
pub(crate) struct Steps {
    /// Grows with each step that is asked for, so that the last one asked for wins.
    asked: Cell<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Progress {
    steps: BTreeMap<usize, StepProgress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StepProgress {
    done: Option<f64>,
}

impl Steps {
    /// The step's number; `None` on a page with terminals only.
    pub(crate) fn number(&self) -> Option<usize> {
        dom::data_number(&dom::by_id("step")?, "step")
    }

    /// Connects links and the list of steps.
    pub(crate) fn start(&'static self) {
        dom::on::<MouseEvent>(&dom::document(), "click", move |event| self.clicked(&event));
        dom::on::<Event>(&dom::window(), "popstate", move |_| {
            if let Ok(path) = dom::window().location().pathname() {
                self.go(&path, false);
            }
        });
        if let Some(nav) = dom::by_id("steps") {
            dom::on::<KeyboardEvent>(&nav, "keydown", |event| {
                if event.key() == "Escape" {
                    open_list(false);
                }
            });
        }
        on_click("step-over", || app().steps.start_over());
        on_click("lab-over", || {
            open_list(false);
            app().session.ask_lab_over();
        });
        self.shown();
    }

    /// A plain click on a link to a step of this lab stays in this document.
    fn clicked(&'static self, event: &MouseEvent) {
        if dom::closest(event, "#steps-toggle, #steps-toggle-bar").is_some() {
            let open = dom::by_id("steps").is_some_and(|nav| nav.class_list().contains("open"));
            return open_list(!open);
        }
        if dom::closest(event, "#steps").is_none() {
            open_list(false);
        }
        let Some(link) = dom::closest(event, "a[href]") else { return };
        let Ok(link) = link.dyn_into::<HtmlAnchorElement>() else { return };
        let Some(lab) = &app().lab else { return };
        let modified = event.ctrl_key() || event.shift_key() || event.alt_key() || event.meta_key();
        let here = dom::window().location().origin().is_ok_and(|origin| origin == link.origin());
        let path = link.pathname();
        let step = path.strip_prefix(&format!("/labs/{lab}/")).and_then(|step| step.parse::<usize>().ok());
        if event.default_prevented() || modified || event.button() != 0 || !here || step.is_none() {
            return;
        }
        event.prevent_default();
        self.go(&path, true);
    }

    fn go(&'static self, path: &str, push: bool) {
        let asked = self.asked.get() + 1;
        self.asked.set(asked);
        let path = path.to_owned();
        spawn_local(async move {
            let page = api::text("GET", &path, None::<&()>).await;
            if self.asked.get() != asked {
                return;
            }
            let shown = page.ok().and_then(|page| show(&page));
            if shown.is_none() {
                // The server's own page says best what is wrong.
                let _ = dom::window().location().set_href(&path);
                return;
            }
            if push && let Ok(history) = dom::window().history() {
                let _ = history.push_state_with_url(&JsValue::NULL, "", Some(&path));
            }
            open_list(false);
            self.shown();
            self.opened();
            if let Some(guide) = dom::by_id("guide") {
                guide.set_scroll_top(0);
                dom::focus(&guide);
            }
        });
    }

    /// A step's text is there: its blocks come to life.
    fn shown(&self) {
        quiz::opened();
        app().checks.opened();
        run_row::draw_all();
    }

    /// A step is open and the session is there: prepares what the step needs.
    pub(crate) fn opened(&'static self) {
        let (Some(session), Some(step)) = (app().session.id(), self.number()) else { return };
        app().runs.recall(&session);
        run_row::draw_all();
        ports::mark_links();
        let prepared = format!("drydock-prepared-{session}-{step}");
        let has_setup = dom::by_id("step").is_some_and(|step| step.has_attribute("data-setup"));
        if has_setup && dom::kept(&prepared).is_none() {
            self.prepare(step, prepared);
        } else {
            app().files.compare();
            app().checks.try_soon();
        }
    }

    /// Runs the step's setup; blocks wait for it.
    fn prepare(&'static self, step: usize, kept: String) {
        let (Some(lab), Some(path)) = (&app().lab, app().session.path("/setup")) else { return };
        app().runs.prepare(true);
        spawn_local(async move {
            match api::tell("POST", &path, Some(&json!({ "lab": lab, "step": step }))).await {
                Ok(()) => dom::keep(&kept, "1"),
                Err(failure) => app().tabs.complain(&failure.message),
            }
            app().runs.prepare(false);
            app().files.compare();
            app().checks.try_soon();
        });
    }

    /// Clears what an earlier try left, so that the step can be done again.
    pub(crate) fn start_over(&'static self) {
        open_list(false);
        let (Some(lab), Some(step), Some(session)) = (&app().lab, self.number(), app().session.id()) else {
            return;
        };
        app().runs.forget_step(step);
        spawn_local(async move {
            let forget = format!("/api/labs/{lab}/steps/{step}/progress");
            if let Err(failure) = api::tell("DELETE", &forget, None::<&()>).await {
                app().tabs.complain(&failure.message);
            }
            self.go(&format!("/labs/{lab}/{step}"), false);
            live::polite("The step starts over.");
            self.prepare(step, format!("drydock-prepared-{session}-{step}"));
        });
    }

    /// Reads from the server which steps are done, and shows it.
    pub(crate) fn refresh(&'static self) {
        let Some(lab) = &app().lab else { return };
        spawn_local(async move {
            if let Ok(progress) = api::get::<Progress>(&format!("/api/labs/{lab}/progress")).await {
                self.show_progress(&progress);
            }
        });
    }

    fn show_progress(&self, progress: &Progress) {
        let done = |step: usize| progress.steps.get(&step).is_some_and(|step| step.done.is_some());
        let here = self.number();
        for item in dom::all(&dom::body(), "#steps-list > li") {
            let Some(number) = dom::data_number(&item, "step") else { continue };
            let is_done = done(number);
            if is_done == item.class_list().contains("done") {
                continue;
            }
            dom::class(&item, "done", is_done);
            if let Some(time) = dom::find(&item, ".step-time").filter(|_| is_done) {
                time.set_text_content(Some("done"));
            }
            if let Some(mark) = dom::find(&item, ".step-mark").filter(|_| is_done && here != Some(number)) {
                dom::clear(&mark);
                dom::add(&mark, &dom::icon("check"));
            }
        }
        if here.is_some_and(done)
            && let Some(shown) = dom::find(&dom::body(), "#step .step-done[hidden]")
        {
            dom::show(&shown, true);
            live::polite("Step done.");
        }
        next::mark();
    }
}

/// Puts the page's step and list of steps in place of those that are shown.
fn show(page: &str) -> Option<()> {
    let template = dom::make("template", "").dyn_into::<HtmlTemplateElement>().ok()?;
    // Our own server's page; scripts in it do not run this way.
    template.set_inner_html(page);
    let content = template.content();
    let new = |selector: &str| content.query_selector(selector).ok().flatten();
    let guide = new("#guide")?;
    let list = new("#steps-list")?;
    let title = dom::data(&new("#step")?, "title")?;
    dom::by_id("guide")?.set_inner_html(&guide.inner_html());
    dom::by_id("steps-list")?.set_inner_html(&list.inner_html());
    dom::document().set_title(&title);
    Some(())
}

/// Opens or folds the list of steps.
fn open_list(open: bool) {
    let Some(nav) = dom::by_id("steps") else { return };
    if nav.class_list().contains("open") == open {
        return;
    }
    let inside = dom::document().active_element().is_some_and(|active| nav.contains(Some(&active)));
    dom::class(&nav, "open", open);
    let toggles: Vec<Element> =
        ["steps-toggle", "steps-toggle-bar"].iter().filter_map(|id| dom::by_id(id)).collect();
    for toggle in &toggles {
        dom::set(toggle, "aria-expanded", if open { "true" } else { "false" });
    }
    if open && let Some(here) = dom::find(&nav, "[aria-current=step]") {
        dom::focus(&here);
    } else if inside {
        let visible = |toggle: &&Element| toggle.get_bounding_client_rect().width() > 0.0;
        if let Some(toggle) = toggles.iter().find(visible) {
            dom::focus(toggle);
        }
    }
}

fn on_click(id: &str, act: impl Fn() + 'static) {
    if let Some(button) = dom::by_id(id) {
        dom::on::<Event>(&button, "click", move |_| act());
    }
}
