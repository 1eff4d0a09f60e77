//! Event listeners that go when the terminal is closed.

use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{AbortController, AddEventListenerOptions, Event, EventTarget};

/// Listeners that end together.
pub(crate) struct Listeners {
    controller: Option<AbortController>,
}

impl Default for Listeners {
    fn default() -> Listeners {
        // It fails in no browser that runs wasm.
        Listeners { controller: AbortController::new().ok() }
    }
}

impl Listeners {
    /// Calls `handler` for each such event.
    pub(crate) fn on<E: JsCast + 'static>(
        &self,
        target: &EventTarget,
        kind: &str,
        handler: impl FnMut(E) + 'static,
    ) {
        self.listen(target, kind, false, handler);
    }

    /// As [`Listeners::on`], for events that the handler may cancel though
    /// browsers would not wait for it: wheel and touch.
    pub(crate) fn on_cancelable<E: JsCast + 'static>(
        &self,
        target: &EventTarget,
        kind: &str,
        handler: impl FnMut(E) + 'static,
    ) {
        self.listen(target, kind, true, handler);
    }

    fn listen<E: JsCast + 'static>(
        &self,
        target: &EventTarget,
        kind: &str,
        active: bool,
        mut handler: impl FnMut(E) + 'static,
    ) {
        let closure = Closure::<dyn FnMut(Event)>::new(move |event: Event| handler(event.unchecked_into()));
        let options = AddEventListenerOptions::new();
        if active {
            options.set_passive(false);
        }
        if let Some(controller) = &self.controller {
            options.set_signal(&controller.signal());
        }
        let callback = closure.as_ref().unchecked_ref();
        // It fails only for a signal that was aborted, and then nothing is to be heard.
        let _ =
            target.add_event_listener_with_callback_and_add_event_listener_options(kind, callback, &options);
        closure.into_js_value();
    }

    /// Ends them.
    pub(crate) fn remove_all(&self) {
        if let Some(controller) = &self.controller {
            controller.abort();
        }
    }
}
