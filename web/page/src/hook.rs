//! `window.drydock.terminals`: the open terminals, for tests.

use js_sys::{Array, Function, Object, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};

use crate::{app::app, dom, terminal::TerminalView};
use std::rc::Rc;

/// Puts the list where tests look for it.
pub(crate) fn start() {
    let drydock = Object::new();
    let getter = Closure::<dyn Fn() -> Array>::new(list).into_js_value();
    let descriptor = Object::new();
    put(&descriptor, "get", &getter);
    put(&descriptor, "enumerable", &JsValue::TRUE);
    Object::define_property(&drydock, &"terminals".into(), &descriptor);
    put(&dom::window(), "drydock", &drydock);
}

fn list() -> Array {
    app().tabs.panes().iter().filter_map(|pane| pane.view()).map(|view| terminal(&view)).collect()
}

fn terminal(view: &Rc<TerminalView>) -> JsValue {
    let object = Object::new();
    put(&object, "name", &view.name().into());
    let this = view.clone();
    let write = Closure::<dyn Fn(JsValue) -> Uint8Array>::new(move |bytes: JsValue| {
        let bytes = match bytes.as_string() {
            Some(text) => text.into_bytes(),
            None => Uint8Array::new(&bytes).to_vec(),
        };
        Uint8Array::from(this.write(&bytes).as_slice())
    });
    put(&object, "write", &function(write.into_js_value()));
    let this = view.clone();
    let text =
        Closure::<dyn Fn() -> Array>::new(move || this.text().into_iter().map(JsValue::from).collect());
    put(&object, "text", &function(text.into_js_value()));
    let this = view.clone();
    let size = Closure::<dyn Fn() -> Object>::new(move || {
        let (cols, rows) = this.size();
        let size = Object::new();
        put(&size, "cols", &cols.into());
        put(&size, "rows", &rows.into());
        size
    });
    put(&object, "size", &function(size.into_js_value()));
    object.into()
}

fn function(value: JsValue) -> Function {
    value.unchecked_into()
}

fn put(object: &Object, key: &str, value: &JsValue) {
    // Plain objects of ours take every key.
    let _ = Reflect::set(object, &key.into(), value);
}
