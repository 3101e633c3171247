//! Records what a test's thread logs: one line per event, with its spans.
//!
//! ```text
//! WARN enrolls{meeting="M1" list="webinar"}:call{page=1}: attempt failed, retrying attempt=1 ...
//! WARN new enrolls{meeting="M1" list="webinar"}:call{page=1}
//! ```

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    sync::Once,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::{Interest, set_global_default},
};
use tracing_core::span::Current;

#[derive(Default)]
struct Log {
    text: String,
    /// All spans, each with the id of its parent. The first span has id 1.
    spans: Vec<(&'static Metadata<'static>, String, Option<Id>)>,
    entered: Vec<Id>,
}

thread_local! {
    /// The log of this thread's test, after it called [`record`].
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Records everything that this thread logs from now on, at every level, by every crate.
///
/// There is one subscriber for the process, because scoped subscribers of concurrent tests disturb each
/// other's caches.
pub(crate) fn record() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| set_global_default(Recorder).unwrap());
    LOG.set(Some(Log::default()));
}

pub(crate) fn recorded() -> String {
    LOG.take().unwrap().text
}

struct Recorder;

/// Fields as text. The message comes first.
#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?} {}", self.0);
        } else {
            write!(self.0, "{}={value:?} ", field.name()).unwrap();
        }
    }
}

impl Log {
    fn path(&self, span: Option<&Id>) -> String {
        let Some((metadata, fields, parent)) = span.and_then(|id| self.spans.get(index(id))) else {
            return String::new();
        };
        let before = self.path(parent.as_ref());
        let colon = if before.is_empty() { "" } else { ":" };
        format!("{before}{colon}{}{{{}}}", metadata.name(), fields.trim_end())
    }

    fn line(&mut self, level: Level, text: &str) {
        writeln!(self.text, "{level} {}", text.trim()).unwrap();
    }
}

fn index(id: &Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

fn with_log<T: Default>(f: impl FnOnce(&mut Log) -> T) -> T {
    LOG.with_borrow_mut(|log| log.as_mut().map(f).unwrap_or_default())
}

impl Subscriber for Recorder {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        LOG.with_borrow(Option::is_some)
    }

    fn current_span(&self) -> Current {
        let current = with_log(|log| {
            let id = log.entered.last()?;
            Some(Current::new(id.clone(), log.spans.get(index(id))?.0))
        });
        current.unwrap_or_else(Current::none)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        with_log(|log| {
            let current = log.entered.last().filter(|_| span.is_contextual());
            let parent = span.parent().or(current).cloned();
            log.spans.push((span.metadata(), fields.0, parent));
            let id = Id::from_u64(log.spans.len() as u64);
            let path = log.path(Some(&id));
            log.line(*span.metadata().level(), &format!("new {path}"));
            Some(id)
        })
        .unwrap_or(Id::from_u64(u64::MAX))
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        with_log(|log| {
            if let Some(span) = log.spans.get_mut(index(span)) {
                span.1.push_str(&fields.0);
            }
            let path = log.path(Some(span));
            log.line(Level::TRACE, &format!("now {path}"));
        });
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        with_log(|log| {
            let current = log.entered.last().filter(|_| event.is_contextual());
            let path = log.path(event.parent().or(current));
            let target = event.metadata().target();
            let place = if path.is_empty() { target.to_owned() } else { path };
            log.line(*event.metadata().level(), &format!("{place}: {}", fields.0));
        });
    }

    fn enter(&self, span: &Id) {
        with_log(|log| log.entered.push(span.clone()));
    }

    fn exit(&self, span: &Id) {
        with_log(|log| {
            let last = log.entered.iter().rposition(|entered| entered == span);
            last.map(|last| log.entered.remove(last))
        });
    }
}
