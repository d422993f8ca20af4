//! Log lines as the host reads them: hclog's JSON on stderr.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io::Write;
use std::panic;
use std::path::Path;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends what `tracing` and panics say to the host. `RUST_LOG` filters by target and level, such as `info,warehouse=debug`; without
/// it, info and above arrive. A program that has a subscriber of its own keeps it.
pub(crate) fn init() {
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let everywhere = || Targets::new().with_default(LevelFilter::INFO);
    let (filter, wrong) = match asked.parse::<Targets>() {
        Ok(filter) if !asked.is_empty() => (filter, None),
        Ok(_) => (everywhere(), None),
        Err(error) => (everywhere(), Some(error)),
    };
    let _ = Registry::default().with(filter).with(HostLog).try_init();
    if let Some(error) = wrong {
        tracing::warn!("RUST_LOG={asked} is no list of levels such as info,warehouse=debug: {error}");
    }
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture().to_string();
        let said = said(info.payload());
        tracing::error!(place, backtrace, "panic: {said}");
        if let Some(at) = info.location() {
            let file = Path::new(at.file()).file_name().unwrap_or_default().to_string_lossy();
            LAST.set(Some((said.to_string(), format!("{file}:{}", at.line()))));
        }
    }));
}

thread_local! {
    /// The thread's last panic: what it said, and the file and line that it was at.
    static LAST: Cell<Option<(String, String)>> = const { Cell::new(None) };
}

/// The file and line of a panic that this thread has just caught. None where the hook was not asked, as in tests within one process.
pub(crate) fn place(said: &str) -> Option<String> {
    LAST.take().filter(|(last, _)| last == said).map(|(_, place)| place)
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(without a message)")
}

/// Writes lines for the host's log, as a layer of a subscriber. A plugin has it unless it sets a subscriber of its own. A line has the
/// fields of the spans that it is in; a call's own are `method` and, where the host's call belongs to a trace, `trace_id` and `span_id`.
pub struct HostLog;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for HostLog {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(own) = span.extensions().get::<Fields>() {
                fields.others.extend(own.others.clone());
            }
        }
        event.record(&mut fields);
        let mut line = fields.others;
        line.insert("@level".into(), json!(level));
        line.insert("@message".into(), json!(fields.message));
        line.insert("@module".into(), json!(event.metadata().target()));
        // Six digits after the point: with another number the host reads the line as text.
        line.insert("@timestamp".into(), json!(chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()));
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        // In one write, so that lines of several threads do not mix. A host that is gone reads nothing.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        } else {
            self.others.insert(field.name().trim_start_matches('@').to_string(), value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }
}
