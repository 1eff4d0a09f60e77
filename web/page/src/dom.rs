//! The few things that are done to the document, in short words.

use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{AddEventListenerOptions, Document, Element, Event, EventTarget, HtmlElement, Node, Window};

/// The window. A page without one does not run this code.
pub(crate) fn window() -> Window {
    web_sys::window().expect("the module runs in a page")
}

/// The document.
pub(crate) fn document() -> Document {
    window().document().expect("a page has a document")
}

/// The page's body.
pub(crate) fn body() -> HtmlElement {
    document().body().expect("a page has a body")
}

/// The element with this id.
pub(crate) fn by_id(id: &str) -> Option<Element> {
    document().get_element_by_id(id)
}

/// The first element below `root` that fits.
pub(crate) fn find(root: &Element, selector: &str) -> Option<Element> {
    root.query_selector(selector).ok().flatten()
}

/// All elements below `root` that fit.
pub(crate) fn all(root: &Element, selector: &str) -> Vec<Element> {
    let Ok(list) = root.query_selector_all(selector) else { return Vec::new() };
    (0..list.length()).filter_map(|index| list.item(index)?.dyn_into().ok()).collect()
}

/// A new element of this class.
pub(crate) fn make(tag: &str, class: &str) -> Element {
    let element = document().create_element(tag).expect("tag names here are plain");
    if !class.is_empty() {
        element.set_class_name(class);
    }
    element
}

/// A new element of this class with this text.
pub(crate) fn make_text(tag: &str, class: &str, text: &str) -> Element {
    let element = make(tag, class);
    element.set_text_content(Some(text));
    element
}

/// A new button.
pub(crate) fn button(class: &str, label: &str) -> Element {
    let button = make_text("button", class, label);
    set(&button, "type", "button");
    button
}

/// An icon of the page's sprite.
pub(crate) fn icon(name: &str) -> Element {
    shape("icon", name)
}

/// A symbol of the page's sprite with a class of its own.
pub(crate) fn shape(class: &str, name: &str) -> Element {
    const SVG: Option<&str> = Some("http://www.w3.org/2000/svg");
    let svg = document().create_element_ns(SVG, "svg").expect("svg is a tag");
    set(&svg, "class", class);
    set(&svg, "aria-hidden", "true");
    let drawn = document().create_element_ns(SVG, "use").expect("use is a tag");
    set(&drawn, "href", &format!("#i-{name}"));
    add(&svg, &drawn);
    svg
}

/// Puts `child` at the end of `parent`.
pub(crate) fn add(parent: &Node, child: &Node) {
    // It fails only for a child that contains its parent.
    let _ = parent.append_child(child);
}

/// Puts text at the end of `parent`.
pub(crate) fn add_text(parent: &Node, text: &str) {
    add(parent, &document().create_text_node(text));
}

/// Takes out all that `element` holds.
pub(crate) fn clear(element: &Element) {
    element.set_text_content(None);
}

/// Sets an attribute; the names here are plain, so it can't fail.
pub(crate) fn set(element: &Element, name: &str, value: &str) {
    let _ = element.set_attribute(name, value);
}

/// Adds or takes away an attribute that stands without a value.
pub(crate) fn flag(element: &Element, name: &str, on: bool) {
    // As above.
    let _ = element.toggle_attribute_with_force(name, on);
}

/// Shows or hides an element.
pub(crate) fn show(element: &Element, shown: bool) {
    flag(element, "hidden", !shown);
}

/// Adds or takes away a class.
pub(crate) fn class(element: &Element, name: &str, on: bool) {
    let _ = element.class_list().toggle_with_force(name, on);
}

/// The value of a `data-` attribute.
pub(crate) fn data(element: &Element, name: &str) -> Option<String> {
    element.get_attribute(&format!("data-{name}"))
}

/// The number in a `data-` attribute.
pub(crate) fn data_number(element: &Element, name: &str) -> Option<usize> {
    data(element, name)?.parse().ok()
}

/// Moves the focus.
pub(crate) fn focus(element: &Element) {
    if let Some(element) = element.dyn_ref::<HtmlElement>() {
        let _ = element.focus();
    }
}

/// Calls `handler` for each such event, for as long as the page lives.
pub(crate) fn on<E: JsCast + 'static>(target: &EventTarget, kind: &str, handler: impl FnMut(E) + 'static) {
    listen(target, kind, false, handler);
}

/// As [`on`], before the event goes down to the element it is for.
pub(crate) fn on_first<E: JsCast + 'static>(
    target: &EventTarget,
    kind: &str,
    handler: impl FnMut(E) + 'static,
) {
    listen(target, kind, true, handler);
}

fn listen<E: JsCast + 'static>(
    target: &EventTarget,
    kind: &str,
    capture: bool,
    mut handler: impl FnMut(E) + 'static,
) {
    let closure = Closure::<dyn FnMut(Event)>::new(move |event: Event| handler(event.unchecked_into()));
    let options = AddEventListenerOptions::new();
    options.set_capture(capture);
    let callback = closure.as_ref().unchecked_ref();
    let _ = target.add_event_listener_with_callback_and_add_event_listener_options(kind, callback, &options);
    // The listener lives as long as its element: the browser then frees both.
    closure.into_js_value();
}

/// Calls `then` once, after this many milliseconds.
pub(crate) fn after(milliseconds: i32, then: impl FnOnce() + 'static) {
    let callback = Closure::once_into_js(then);
    let _ = window()
        .set_timeout_with_callback_and_timeout_and_arguments_0(callback.unchecked_ref(), milliseconds);
}

/// So many seconds or up to half as many more, in milliseconds: pages that were
/// told the same don't come back all at once.
pub(crate) fn jittered(seconds: f64) -> i32 {
    (seconds * 1000.0 * (1.0 + js_sys::Math::random() / 2.0)) as i32
}

/// Calls `tick` again and again.
pub(crate) fn every(milliseconds: i32, tick: impl FnMut() + 'static) {
    let callback = Closure::<dyn FnMut()>::new(tick).into_js_value();
    let _ = window()
        .set_interval_with_callback_and_timeout_and_arguments_0(callback.unchecked_ref(), milliseconds);
}

/// Milliseconds on a clock that never jumps.
pub(crate) fn now_ms() -> f64 {
    window().performance().map_or(0.0, |performance| performance.now())
}

/// The element an event happened in, or the nearest around it, that fits.
pub(crate) fn closest(event: &Event, selector: &str) -> Option<Element> {
    event.target()?.dyn_into::<Element>().ok()?.closest(selector).ok().flatten()
}

/// What this browser keeps under `key`.
pub(crate) fn kept(key: &str) -> Option<String> {
    window().local_storage().ok().flatten()?.get_item(key).ok().flatten()
}

/// Keeps `value` in this browser. One that keeps nothing forgets it, no more.
pub(crate) fn keep(key: &str, value: &str) {
    if let Ok(Some(storage)) = window().local_storage() {
        let _ = storage.set_item(key, value);
    }
}

/// A JavaScript error in words.
pub(crate) fn words(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{error:?}"),
    }
}
