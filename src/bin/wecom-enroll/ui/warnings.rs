//! [`Warnings`]: log events as lines for people: the position, what happened, and what follows.
//!
//! Used at the default verbosity. With `-v` or `RUST_LOG`, events are logged in full instead.

use std::{collections::BTreeMap, fmt, time::Duration};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::ui::{screen::Screen, text::seconds};

/// Prints each event as one line.
pub(crate) struct Warnings(pub(crate) Screen);

/// Fields of an event and its spans. [`wecom_enroll::Client`] documents their names.
#[derive(Clone, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let time = Duration::try_from_secs_f64(value).unwrap_or_default();
        self.0.insert(field.name(), seconds(time));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Warnings {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend(of_span.0.clone());
            }
        }
        event.record(&mut fields);
        self.0.print_line(&fields.line(event.metadata().name()));
    }
}

impl Fields {
    /// Returns the line for the event with this name.
    fn line(&self, event: &str) -> String {
        let field = |name| self.0.get(name).map(String::as_str);
        let position = match (field("meeting"), field("page")) {
            (Some(meeting), Some(page)) => format!("meeting {meeting}, page {page}: "),
            _ => String::new(),
        };
        let Some(error) = field("error") else {
            let message = field("message").unwrap_or_default();
            return format!("warning: {position}{message}");
        };
        let delay = field("delay").unwrap_or_default();
        let consequence = match event {
            "attempt_failed" => format!("; retrying in {delay}"),
            "throttled" => format!("; all calls wait for {delay}"),
            _ => String::new(),
        };
        format!("warning: {position}{error}{consequence}")
    }
}
