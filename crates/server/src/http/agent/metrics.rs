//! The agent's figures for Prometheus.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use chatelaine_agent::cache::Counts;
use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::super::health::open_metrics;
use crate::agent::Host;
use crate::telemetry::metrics::method_name;

/// Upper bounds of the latency classes, in seconds.
const CLASSES: [f64; 10] = [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.025, 0.1, 1.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    route: String,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    result: &'static str,
}

/// All of them.
pub(crate) struct Metrics {
    registry: Registry,
    answers: Family<Answer, Counter>,
    latency: Histogram,
    cache: Family<Kind, Gauge>,
    cached: Gauge,
    oldest: Gauge,
    sealed: Gauge,
    rewrapped: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("chatelaine_agent"),
            answers: Family::default(),
            latency: Histogram::new(CLASSES),
            cache: Family::default(),
            cached: Gauge::default(),
            oldest: Gauge::default(),
            sealed: Gauge::default(),
            rewrapped: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Answered requests", metrics.answers.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from request to answer",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        registry.register(
            "cache",
            "Keys from memory (hit), fetched (miss), waited for with others (joined), taken out early (evicted), and fetches that \
             failed, since the start",
            metrics.cache.clone(),
        );
        registry.register("cached_keys", "Opened keys in memory", metrics.cached.clone());
        registry.register_with_unit(
            "cache_oldest_age",
            "Age of the oldest of them",
            Unit::Seconds,
            metrics.oldest.clone(),
        );
        registry.register("sealed", "Whether the service's master key is not open", metrics.sealed.clone());
        registry.register(
            "rotation_rewrapped_keys",
            "Keys wrapped anew in the rotation that runs, or in the last one",
            metrics.rewrapped.clone(),
        );
        metrics
    }

    pub(super) fn request(&self, method: &Method, route: &str, status: StatusCode, elapsed: Duration) {
        let answer = Answer {
            method: method_name(method),
            route: route.to_owned(),
            status: u32::from(status.as_u16()),
        };
        self.answers.get_or_create(&answer).inc();
        self.latency.observe(elapsed.as_secs_f64());
    }

    fn text(&self, counts: &Counts, sealed: bool, rewrapped: u64) -> String {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        for (result, value) in [
            ("hit", counts.hits),
            ("miss", counts.misses),
            ("joined", counts.joined),
            ("evicted", counts.evicted),
            ("failed", counts.failures),
        ] {
            self.cache.get_or_create(&Kind { result }).set(number(value));
        }
        self.cached.set(number(counts.entries));
        self.oldest.set(number(counts.oldest_seconds));
        self.sealed.set(i64::from(sealed));
        self.rewrapped.set(number(rewrapped));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// `GET /metrics`.
pub(super) async fn show(State(host): State<Arc<Host>>) -> Response {
    let rewrapped = host.agent.rotation().map_or(0, |rotation| rotation.done);
    open_metrics(host.metrics.text(&host.agent.counts(), host.agent.keyring().is_sealed(), rewrapped))
}
