//! Figures for Prometheus. Labels come from fixed lists (routes, methods, statuses), so their number is bounded.

use std::time::Duration;

use chatelaine_core::manager::{Irregularities, ReapReport};
use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::identity::Counters;

/// Upper bounds of the latency classes, in seconds.
const CLASSES: [f64; 12] = [0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    route: String,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Check {
    check: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

/// All metrics of the server.
pub struct Metrics {
    registry: Registry,
    answers: Family<Answer, Counter>,
    latencies: Family<Route, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    refused_tokens: Counter,
    checks: Family<Check, Gauge>,
    reaped: Family<Result, Counter>,
    reaper_runs: Family<Result, Counter>,
    rotation_runs: Family<Result, Counter>,
    rotation_records: Counter,
    identity: Family<Result, Gauge>,
    irregularities: Family<Result, Gauge>,
    audit_events: Gauge,
    audit_refusals_left_out: Gauge,
    resident_memory: Gauge,
}

/// A running request.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The method, if it is one that routes know; others could be anything and are not written down.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let latencies: Family<Route, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(CLASSES));
        let mut metrics = Self {
            registry: Registry::with_prefix("chatelaine"),
            answers: Family::default(),
            latencies,
            in_flight: Gauge::default(),
            refused_tokens: Counter::default(),
            checks: Family::default(),
            reaped: Family::default(),
            reaper_runs: Family::default(),
            rotation_runs: Family::default(),
            rotation_records: Counter::default(),
            identity: Family::default(),
            irregularities: Family::default(),
            audit_events: Gauge::default(),
            audit_refusals_left_out: Gauge::default(),
            resident_memory: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("http_requests", "Answered requests", metrics.answers.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time from request to answer",
            Unit::Seconds,
            metrics.latencies.clone(),
        );
        registry.register("http_requests_in_flight", "Requests being worked on", metrics.in_flight.clone());
        registry.register("identity_refused_tokens", "Refused tokens", metrics.refused_tokens.clone());
        registry.register(
            "identity",
            "Token validations by result since the start",
            metrics.identity.clone(),
        );
        registry.register(
            "ready",
            "Whether a check of /readyz passed when it was last asked",
            metrics.checks.clone(),
        );
        registry.register("reaper_keys", "Keys and tombstones the reaper dealt with", metrics.reaped.clone());
        registry.register("reaper_runs", "Runs of the reaper", metrics.reaper_runs.clone());
        registry.register(
            "master_key_rotation_runs",
            "Times records were looked through for those under retired master keys",
            metrics.rotation_runs.clone(),
        );
        registry.register(
            "master_key_rotation_records",
            "Records wrapped anew under a newer master key",
            metrics.rotation_records.clone(),
        );
        registry.register(
            "store_irregularities",
            "Times something was met in the store that should not be, since the start",
            metrics.irregularities.clone(),
        );
        registry.register(
            "audit_events",
            "Number of the last event of the audit trail",
            metrics.audit_events.clone(),
        );
        registry.register(
            "audit_refusals_left_out",
            "Refusals since the start that the audit trail only counts",
            metrics.audit_refusals_left_out.clone(),
        );
        registry.register_with_unit(
            "process_resident_memory",
            "Resident memory",
            Unit::Bytes,
            metrics.resident_memory.clone(),
        );
        metrics
    }

    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub(crate) fn request(&self, method: &Method, route: &str, status: StatusCode, elapsed: Duration) {
        let method = method_name(method);
        let answer = Answer { method, route: route.to_owned(), status: u32::from(status.as_u16()) };
        self.answers.get_or_create(&answer).inc();
        self.latencies.get_or_create(&Route { method, route: answer.route }).observe(elapsed.as_secs_f64());
    }

    pub(crate) fn refused_token(&self) {
        self.refused_tokens.inc();
    }

    /// After a run of a rotation: the records wrapped anew.
    pub(crate) fn rotated(&self, outcome: &std::result::Result<u64, String>) {
        let result = if outcome.is_ok() { "ended" } else { "failed" };
        self.rotation_runs.get_or_create(&Result { result }).inc();
        self.rotation_records.inc_by(*outcome.as_ref().unwrap_or(&0));
    }

    pub(crate) fn check(&self, check: &'static str, ok: bool) {
        self.checks.get_or_create(&Check { check }).set(i64::from(ok));
    }

    pub(crate) fn reaped(&self, result: &std::result::Result<ReapReport, chatelaine_core::Error>) {
        let outcome = if result.is_ok() { "success" } else { "failure" };
        self.reaper_runs.get_or_create(&Result { result: outcome }).inc();
        let Ok(report) = result else { return };
        for (result, count) in [
            ("purged", report.purged),
            ("restored", report.restored),
            ("cleared", report.cleared),
            ("remade", report.remade),
            ("expired", report.expired),
            ("corrupt", report.corrupt),
        ] {
            self.reaped.get_or_create(&Result { result }).inc_by(count);
        }
    }

    /// All figures in OpenMetrics text.
    pub(crate) fn encode(
        &self,
        counters: &Counters,
        met: Irregularities,
        audit_events: u64,
        left_out: u64,
    ) -> String {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for (result, count) in [
            ("cache_hit", counters.cache_hits),
            ("negative_cache_hit", counters.negative_hits),
            ("cache_miss", counters.misses),
            ("validation", counters.upstream_validations),
            ("validation_failure", counters.upstream_failures),
            ("cached_tokens", counters.entries),
        ] {
            self.identity.get_or_create(&Result { result }).set(signed(count));
        }
        for (result, count) in
            [("planted_tombstone", met.planted_tombstones), ("damaged_record", met.damaged_records)]
        {
            self.irregularities.get_or_create(&Result { result }).set(signed(count));
        }
        self.audit_events.set(signed(audit_events));
        self.audit_refusals_left_out.set(signed(left_out));
        if let Some(bytes) = resident_memory() {
            self.resident_memory.set(signed(bytes));
        }
        let mut text = String::with_capacity(8192);
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        text
    }
}

/// Resident memory of this process, from the second field of `/proc/self/statm`, in bytes.
fn resident_memory() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_with_their_labels() {
        let metrics = Metrics::new();
        let running = metrics.begin();
        metrics.request(&Method::GET, "/v1/keys/{key_id}", StatusCode::OK, Duration::from_millis(1));
        metrics.request(
            &Method::from_bytes(b"BREW").unwrap(),
            "unknown",
            StatusCode::NOT_FOUND,
            Duration::ZERO,
        );
        let met = Irregularities { damaged_records: 3, ..Irregularities::default() };
        let text = metrics.encode(&Counters::default(), met, 7, 3);
        for line in [
            "chatelaine_http_requests_total{method=\"GET\",route=\"/v1/keys/{key_id}\",status=\"200\"} 1",
            "chatelaine_http_requests_total{method=\"other\",route=\"unknown\",status=\"404\"} 1",
            "chatelaine_http_requests_in_flight 1",
            "chatelaine_store_irregularities{result=\"damaged_record\"} 3",
            "chatelaine_audit_events 7",
            "chatelaine_audit_refusals_left_out 3",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
        drop(running);
        let text = metrics.encode(&Counters::default(), met, 7, 3);
        assert!(text.contains("chatelaine_http_requests_in_flight 0"));
    }
}
