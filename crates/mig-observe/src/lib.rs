#![doc = include_str!("../README.md")]

mod listener;
mod metrics;
mod readiness;

pub use listener::{answer, bind, serve};
pub use metrics::{CONTENT_TYPE, Counter, Counters, Gauge, Gauges, Histogram, Histograms, Metrics};
pub use readiness::{AlwaysReady, Readiness, check};
