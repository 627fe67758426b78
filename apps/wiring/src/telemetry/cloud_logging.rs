//! Lines as Cloud Logging reads them: one JSON object each, fields flattened beside the message.
//!
//! `severity`, `time`, `message` and the trace are what Cloud Logging understands by itself
//! (<https://cloud.google.com/logging/docs/structured-logging>); everything else becomes `jsonPayload` under
//! its own name. Fields of spans belong to each line within; a line's own win.

use std::{
    fmt,
    io::{self, Write as _},
    time::UNIX_EPOCH,
};

use legwork_core::time::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

/// The field that names a trace, in spans and lines: 32 hexadecimal digits.
const TRACE: &str = "trace";
/// What Cloud Logging calls it.
const TRACE_MEMBER: &str = "logging.googleapis.com/trace";

/// Writes each line to stderr.
#[derive(Debug)]
pub(super) struct CloudLogging {
    project: String,
}

impl CloudLogging {
    /// Traces are named below this project.
    pub(super) fn new(project: &str) -> Self {
        Self { project: project.to_owned() }
    }

    fn rendered<S>(&self, event: &Event<'_>, context: &Context<'_, S>) -> String
    where
        S: Subscriber + for<'l> LookupSpan<'l>,
    {
        let mut fields = Fields::default();
        for span in
            context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            if let Some(known) = span.extensions().get::<SpanFields>() {
                fields.0.extend(known.0.clone());
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        self.line(*metadata.level(), metadata.target(), now(), fields.0)
    }

    /// Returns a line without its end.
    fn line(&self, level: Level, target: &str, now: Timestamp, mut fields: Map<String, Value>) -> String {
        if let Some(trace) = fields.remove(TRACE) {
            let name = format!("projects/{}/traces/{}", self.project, trace.as_str().unwrap_or_default());
            fields.insert(TRACE_MEMBER.to_owned(), name.into());
        }
        fields.insert("severity".to_owned(), severity(level).into());
        fields.insert("time".to_owned(), now.to_string().into());
        fields.insert("target".to_owned(), target.into());
        Value::Object(fields).to_string()
    }
}

/// Returns Cloud Logging's word for a level.
fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

/// The fields of a span.
struct SpanFields(Map<String, Value>);

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for CloudLogging {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(SpanFields(fields.0));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(known) = span.extensions_mut().get_mut::<SpanFields>() {
            known.0.extend(fields.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = self.rendered(event, &context);
        line.push('\n');
        // There is nobody to tell where stderr is closed.
        drop(io::stderr().lock().write_all(line.as_bytes()));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a log has the machine's own time, whatever clock the use cases have"
)]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Collects fields as JSON.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Collects the fields of each line as the layer does.
    struct Kept(Arc<Mutex<Vec<Value>>>, CloudLogging);

    impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Kept {
        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            self.1.on_new_span(attributes, id, context);
        }

        fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
            self.1.on_record(id, values, context);
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            let line = self.1.rendered(event, &context);
            self.0.lock().unwrap().push(serde_json::from_str(&line).unwrap());
        }
    }

    fn lines(work: impl FnOnce()) -> Vec<Value> {
        let kept = Arc::<Mutex<Vec<Value>>>::default();
        let layer = Kept(Arc::clone(&kept), CloudLogging::new("p"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        Arc::into_inner(kept).unwrap().into_inner().unwrap()
    }

    #[test]
    fn a_line_has_its_severity_its_message_and_its_fields_beside_it() {
        let lines = lines(|| {
            tracing::warn!(task.id = %"t1", status = 503_u16, error = "no\nanswer", "callback attempt failed");
        });

        assert_eq!(lines[0]["severity"], "WARNING");
        assert_eq!(lines[0]["message"], "callback attempt failed");
        assert_eq!(lines[0]["task.id"], "t1");
        assert_eq!(lines[0]["status"], 503);
        assert_eq!(lines[0]["error"], "no\nanswer");
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'), "{}", lines[0]);
    }

    #[test]
    fn a_line_has_the_fields_of_its_spans_and_its_own_win() {
        let lines = lines(|| {
            let outer =
                tracing::info_span!("request", request.id = "r1", trace = tracing::field::Empty, status = 1);
            outer.record(TRACE, "0af7651916cd43dd8448eb211c80319c");
            let _entered = outer.enter();
            tracing::info!(status = 2, "answered");
        });

        assert_eq!(lines[0]["request.id"], "r1");
        assert_eq!(lines[0]["status"], 2);
        assert_eq!(lines[0][TRACE_MEMBER], "projects/p/traces/0af7651916cd43dd8448eb211c80319c");
        assert_eq!(lines[0].get(TRACE), None);
    }

    #[test]
    fn a_line_is_one_line() {
        let line = CloudLogging::new("p").line(
            Level::INFO,
            "t",
            Timestamp::from_unix_ms(0),
            Map::from_iter([("message".to_owned(), Value::from("two\nlines \u{2028}"))]),
        );

        assert!(!line.contains('\n'), "{line}");
    }
}
