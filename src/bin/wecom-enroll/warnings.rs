//! The library's warnings as lines for people: where, what happened, and what follows.
//!
//! At the default verbosity only. With `-v` or `RUST_LOG`, events are told in full instead.

use std::{collections::BTreeMap, fmt, time::Duration};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::progress::{Screen, seconds};

/// Prints each event it gets as one line.
pub(crate) struct Warnings(pub(crate) Screen);

/// Fields by their names, which the library documents at `Client`.
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
        self.0.say(&fields.line());
    }
}

impl Fields {
    fn line(&self) -> String {
        let field = |name| self.0.get(name).map(String::as_str);
        let message = field("message").unwrap_or_default();
        let place = match (field("meeting"), field("page")) {
            (Some(meeting), Some(page)) => format!("meeting {meeting}, page {page}: "),
            _ => String::new(),
        };
        let Some(error) = field("error") else { return format!("warning: {place}{message}") };
        // What WeCom adds to each errmsg fills three lines, and `-v` tells it.
        let error = error.split_once(", hint: [").map_or(error, |(before, _)| before);
        let delay = field("delay").unwrap_or_default();
        let follows = match message {
            "attempt failed, trying again" => format!("; trying again in {delay}"),
            "throttled, holding every call" => format!("; every call holds for {delay}"),
            _ => String::new(),
        };
        format!("warning: {place}{error}{follows}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: &[(&'static str, &str)]) -> String {
        Fields(fields.iter().map(|&(name, text)| (name, text.to_owned())).collect()).line()
    }

    #[test]
    fn a_warning_tells_where_it_happened_and_what_follows() {
        let place = [("meeting", "M1"), ("page", "10"), ("list", "webinar"), ("delay", "4.6 s")];
        let retry = [("message", "attempt failed, trying again"), ("error", "HTTP status 503")];
        assert_eq!(
            line(&[&place[..], &retry].concat()),
            "warning: meeting M1, page 10: HTTP status 503; trying again in 4.6 s"
        );
        let errmsg = "errcode 45009: freq out of limit, hint: [1_2], from ip: 1.2.3.4";
        let held = [("message", "throttled, holding every call"), ("error", errmsg)];
        assert_eq!(
            line(&[&place[..], &held].concat()),
            "warning: meeting M1, page 10: errcode 45009: freq out of limit; every call holds for 4.6 s"
        );
        assert_eq!(line(&[("message", "of another crate")]), "warning: of another crate");
    }
}
