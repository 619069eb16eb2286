//! From `tracing` events to lines.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::Output;
use super::line::{Fields, Severity};

/// Events of other crates must be at least this bad to be written: what
/// libraries say about their work can hold credentials and results.
const FOREIGN: Level = Level::WARN;

/// Writes every event of ours at or above a severity.
pub(super) struct LineLayer {
    /// May change while the program runs.
    threshold: Arc<AtomicU8>,
    output: Arc<Output>,
}

impl LineLayer {
    pub(super) const fn new(threshold: Arc<AtomicU8>, output: Arc<Output>) -> Self {
        Self { threshold, output }
    }

    fn threshold(&self) -> u8 {
        self.threshold.load(Ordering::Relaxed)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LineLayer {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        const ERROR: u8 = Severity::Error as u8;
        const WARNING: u8 = Severity::Warning as u8;
        const INFO: u8 = Severity::Info as u8;
        Some(match self.threshold() {
            level if level <= ERROR => LevelFilter::ERROR,
            level if level <= WARNING => LevelFilter::WARN,
            level if level <= INFO => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        })
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let target = metadata.target();
        // It warns of returned messages with their bodies, which are commands
        // and results.
        let limit = if target.starts_with("lapin") { Level::ERROR } else { FOREIGN };
        target.starts_with("mig") || *metadata.level() <= limit
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut Collect(&mut fields));
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(&mut Collect(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut Collect(&mut own));
        let severity = own.severity.unwrap_or_else(|| severity_of(*event.metadata().level()));
        if severity as u8 > self.threshold() {
            return;
        }
        let mut fields = Fields::default();
        if let Some(scope) = context.event_scope(event) {
            for span in scope.from_root() {
                if let Some(outer) = span.extensions().get::<Fields>() {
                    fields.overlay(outer);
                }
            }
        }
        fields.overlay(&own);
        self.output.write(severity, &fields.line(severity));
    }
}

fn severity_of(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warning,
        Level::INFO => Severity::Info,
        Level::DEBUG | Level::TRACE => Severity::Debug,
    }
}

struct Collect<'a>(&'a mut Fields);

impl Visit for Collect<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.set(field.name(), value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        // The whole chain: a log line is the top where it is printed once.
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        self.0.set(field.name(), text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.set(field.name(), format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::{Sink, file::RotatingFile};
    use super::*;

    /// What `events` writes to a log file at `threshold`, without the times.
    fn logged(threshold: Severity, events: impl FnOnce()) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.log");
        let sink = Sink::File(RotatingFile::open(&path, 0).unwrap());
        let threshold = Arc::new(AtomicU8::new(threshold as u8));
        let layer = LineLayer::new(threshold, Arc::new(Output(Mutex::new(sink))));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().map(|line| line["2016/09/01 12:00:00 ".len()..].to_owned()).collect()
    }

    #[test]
    fn fields_of_spans_and_events_fill_the_columns() {
        let lines = logged(Severity::Info, || {
            let span = tracing::info_span!("pass", op.id = 7u64, action.id = tracing::field::Empty);
            let _entered = span.enter();
            span.record("action.id", 8u64);
            tracing::info!(command.id = 9u64, agent.queueloc = %"linux.web1", "result stored");
            tracing::warn!("coped");
        });
        assert_eq!(
            lines,
            ["7 8 9 [info] result stored agent.queueloc=linux.web1", "7 8 - [warning] coped"]
        );
    }

    #[test]
    fn the_threshold_and_the_severity_field_decide() {
        let events = || {
            tracing::error!(severity = "critical", "c");
            tracing::error!("e");
            tracing::info!(severity = "notice", "n");
            tracing::info!("i");
            tracing::debug!("d");
            tracing::trace!("t");
        };
        let lines = |threshold| logged(threshold, events);
        assert_eq!(lines(Severity::Critical), ["- - - [critical] c"]);
        assert_eq!(
            lines(Severity::Notice),
            ["- - - [critical] c", "- - - [error] e", "- - - [notice] n"]
        );
        assert_eq!(lines(Severity::Debug).len(), 5);
    }

    #[test]
    fn other_crates_are_heard_only_when_something_is_wrong() {
        let lines = logged(Severity::Debug, || {
            tracing::info!(target: "lapin::frames", "password=hunter2");
            tracing::debug!(target: "sqlx::query", "select 1");
            tracing::warn!(target: "lapin::returned", "returned: the body");
            tracing::warn!(target: "rustls", "odd");
            tracing::debug!(target: "mig_store::db", "ours");
        });
        assert_eq!(lines, ["- - - [warning] odd", "- - - [debug] ours"]);
    }

    #[test]
    fn an_error_is_logged_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("top")]
        struct Top(#[source] std::fmt::Error);
        let error: &(dyn std::error::Error + 'static) = &Top(std::fmt::Error);
        let lines = logged(Severity::Info, || tracing::error!(error, "failed"));
        let cause = std::fmt::Error;
        assert_eq!(lines, [format!("- - - [error] failed error=\"top: {cause}\"")]);
    }
}
