//! Counters, gauges and histograms.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter as RawCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge as RawGauge;
use prometheus_client::metrics::histogram::Histogram as RawHistogram;
use prometheus_client::registry::Registry;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type FloatGauge = RawGauge<f64, AtomicU64>;

/// All counters of one program. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// No counters yet; `prefix` and `_` begin the name of each.
    pub fn new(prefix: &str) -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix(prefix))))
    }

    /// A number that only grows. Its name in the text ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let raw = RawCounter::default();
        self.with(|registry| registry.register(name, help, raw.clone()));
        Counter(raw)
    }

    /// Counters under one name, told apart by labels.
    pub fn counters<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> Counters<N> {
        let family = Family::default();
        self.with(|registry| registry.register(name, help, family.clone()));
        Counters { labels, family }
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let raw = FloatGauge::default();
        self.with(|registry| registry.register(name, help, raw.clone()));
        Gauge(raw)
    }

    /// Gauges under one name, told apart by labels.
    pub fn gauges<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> Gauges<N> {
        let family = Family::default();
        self.with(|registry| registry.register(name, help, family.clone()));
        Gauges { labels, family }
    }

    /// How long something takes, in seconds, from a thousandth to a minute.
    pub fn histogram(&self, name: &str, help: &str) -> Histogram {
        let raw = durations();
        self.with(|registry| registry.register(name, help, raw.clone()));
        Histogram(raw)
    }

    /// Histograms under one name, told apart by labels.
    pub fn histograms<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> Histograms<N> {
        let family = Family::new_with_constructor(durations as fn() -> RawHistogram);
        self.with(|registry| registry.register(name, help, family.clone()));
        Histograms { labels, family }
    }

    /// Everything in the text format; see [`CONTENT_TYPE`].
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail; half a text is better than none.
        let _ = self.with(|registry| encode(&mut text, registry));
        text
    }

    fn with<T>(&self, work: impl FnOnce(&mut Registry) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn durations() -> RawHistogram {
    RawHistogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ])
}

fn labels<const N: usize>(names: [&'static str; N], values: [&str; N]) -> Labels {
    names.into_iter().zip(values.map(str::to_owned)).collect()
}

/// A number that only grows.
#[derive(Debug, Clone)]
pub struct Counter(RawCounter);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.inc_by(count);
    }

    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Counters told apart by `N` labels.
#[derive(Debug, Clone)]
pub struct Counters<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels, RawCounter>,
}

impl<const N: usize> Counters<N> {
    /// Adds to the counter with these label values. Use words of the program:
    /// every new combination is kept for ever.
    pub fn add(&self, values: [&str; N], count: u64) {
        self.family.get_or_create(&labels(self.labels, values)).inc_by(count);
    }

    pub fn get(&self, values: [&str; N]) -> u64 {
        self.family.get_or_create(&labels(self.labels, values)).get()
    }
}

/// A number that goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge(FloatGauge);

impl Gauge {
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

/// Gauges told apart by `N` labels.
#[derive(Debug, Clone)]
pub struct Gauges<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels, FloatGauge>,
}

impl<const N: usize> Gauges<N> {
    /// As [`Counters::add`].
    pub fn set(&self, values: [&str; N], value: f64) {
        self.family.get_or_create(&labels(self.labels, values)).set(value);
    }

    /// Forgets a value that is not known any more.
    pub fn remove(&self, values: [&str; N]) {
        self.family.remove(&labels(self.labels, values));
    }
}

/// How long something takes.
#[derive(Debug, Clone)]
pub struct Histogram(RawHistogram);

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }
}

/// Histograms told apart by `N` labels.
#[derive(Debug, Clone)]
pub struct Histograms<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels, RawHistogram, fn() -> RawHistogram>,
}

impl<const N: usize> Histograms<N> {
    /// As [`Counters::add`].
    pub fn observe(&self, values: [&str; N], duration: Duration) {
        self.family.get_or_create(&labels(self.labels, values)).observe(duration.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_every_kind_with_its_labels() {
        let metrics = Metrics::new("test");
        let counter = metrics.counter("things", "Things seen");
        let refused = metrics.counters("refused", "Things refused", ["source", "reason"]);
        let level = metrics.gauge("level_seconds", "Level");
        let depths = metrics.gauges("depth", "Depths", ["queue"]);
        let time = metrics.histogram("time_seconds", "Time");
        let pass = metrics.histograms("pass_seconds", "Time of a pass", ["pass"]);
        counter.add(3);
        refused.add(["relay", "a \"b\"\n\\"], 1);
        refused.add(["relay", "a \"b\"\n\\"], 1);
        level.set(1.5);
        depths.set(["a"], 7.0);
        depths.set(["b"], 7.0);
        depths.remove(["b"]);
        time.observe(Duration::from_millis(20));
        pass.observe(["x"], Duration::from_secs(100));
        assert_eq!((counter.get(), refused.get(["relay", "a \"b\"\n\\"])), (3, 2));
        let text = metrics.text();
        for line in [
            "# TYPE test_things counter",
            "test_things_total 3",
            r#"test_refused_total{source="relay",reason="a \"b\"\n\\"} 2"#,
            "test_level_seconds 1.5",
            r#"test_depth{queue="a"} 7.0"#,
            r#"test_time_seconds_bucket{le="0.01"} 0"#,
            r#"test_time_seconds_bucket{le="0.025"} 1"#,
            r#"test_pass_seconds_bucket{le="60.0",pass="x"} 0"#,
            r#"test_pass_seconds_count{pass="x"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("queue=\"b\""), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
