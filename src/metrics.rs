//! What this process counts as it goes, and the page that Prometheus reads.
//!
//! The one place that knows the library. What others know anyway, such as the state of an exchange, is not counted a
//! second time here: it is asked for when the page is read, and put on it as a [`Page`] of the moment.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

use crate::market::ExchangeName;

/// The media type of the page: the text format, which every version of Prometheus and `promtool` read.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Upper bounds of the times of requests, in seconds: from the shortest answer to the longest wait for storage.
const DURATIONS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 1.0, 10.0];

/// The counters of this process. A clone counts on the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// Of the HTTP server.
    pub http: HttpMetrics,
    /// Of what is asked of exchanges.
    pub exchanges: ExchangeMetrics,
}

impl Metrics {
    /// Counters at zero, those of the process itself (CPU, memory, descriptors) included.
    pub fn new() -> Self {
        let metrics =
            Self { registry: Registry::new(), http: HttpMetrics::new(), exchanges: ExchangeMetrics::new() };
        register(&metrics.registry, metrics.http.requests.clone());
        register(&metrics.registry, metrics.http.durations.clone());
        register(&metrics.registry, metrics.http.kept_answers.clone());
        register(&metrics.registry, metrics.exchanges.requests.clone());
        register(&metrics.registry, metrics.exchanges.dials.clone());
        register(&metrics.registry, prometheus::process_collector::ProcessCollector::for_self());
        metrics
    }

    /// The page: what was counted, and `more`.
    pub fn page(&self, more: &Page) -> String {
        let families = [self.registry.gather(), more.registry.gather()].concat();
        let page = TextEncoder::new().encode_to_string(&families);
        page.unwrap_or_else(|error| format!("# {error}\n"))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Requests that were served, and how long they took. Every worker counts on series of its own, because a counter that
/// two threads write costs more than all else that is counted.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    kept_answers: IntCounterVec,
    num_workers: Arc<AtomicUsize>,
}

impl HttpMetrics {
    fn new() -> Self {
        let durations = HistogramOpts::new(
            "ratebook_http_request_duration_seconds",
            "Time from the head of a request to the head of its answer",
        );
        Self {
            requests: counters(
                "ratebook_http_requests_total",
                "Requests answered, by route and status",
                &["route", "status", "worker"],
            ),
            durations: HistogramVec::new(durations.buckets(DURATIONS.to_vec()), &["route", "worker"])
                .expect(VALID),
            kept_answers: counters(
                "ratebook_http_kept_answers_total",
                "Questions for current courses, by whether an answer that was kept could be given",
                &["outcome", "worker"],
            ),
            num_workers: Arc::default(),
        }
    }

    /// Counters for one more worker.
    pub fn worker(&self) -> WorkerMetrics {
        let worker = self.num_workers.fetch_add(1, Ordering::Relaxed).to_string();
        WorkerMetrics {
            kept: self.kept_answers.with_label_values(&["hit", &worker]),
            asked: self.kept_answers.with_label_values(&["miss", &worker]),
            all: self.clone(),
            routes: RefCell::default(),
            worker,
        }
    }
}

/// The counters of one worker, with those at hand that it has used.
#[derive(Debug)]
pub struct WorkerMetrics {
    all: HttpMetrics,
    worker: String,
    routes: RefCell<Vec<RouteMetrics>>,
    kept: IntCounter,
    asked: IntCounter,
}

/// The counters of one route.
#[derive(Debug)]
struct RouteMetrics {
    route: &'static str,
    durations: Histogram,
    /// By status; there are few.
    requests: Vec<(u16, IntCounter)>,
}

impl WorkerMetrics {
    /// Counts one request. A route is one of a few names, whatever the path was.
    pub fn count_request(&self, route: &'static str, status: u16, took: Duration) {
        let mut routes = self.routes.borrow_mut();
        let at = routes.iter().position(|it| it.route == route).unwrap_or_else(|| {
            let durations = self.all.durations.with_label_values(&[route, &self.worker]);
            routes.push(RouteMetrics { route, durations, requests: Vec::new() });
            routes.len() - 1
        });
        let Some(of_route) = routes.get_mut(at) else { return };
        of_route.durations.observe(took.as_secs_f64());
        match of_route.requests.iter().find(|(known, _)| *known == status) {
            Some((_, requests)) => requests.inc(),
            None => {
                let requests =
                    self.all.requests.with_label_values(&[route, &status.to_string(), &self.worker]);
                requests.inc();
                of_route.requests.push((status, requests));
            }
        }
    }

    /// Counts one question for current courses.
    pub fn count_question(&self, is_kept: bool) {
        if is_kept { self.kept.inc() } else { self.asked.inc() }
    }
}

/// What was asked of exchanges.
#[derive(Debug, Clone)]
pub struct ExchangeMetrics {
    requests: IntCounterVec,
    dials: IntCounterVec,
}

impl ExchangeMetrics {
    fn new() -> Self {
        Self {
            requests: counters(
                "ratebook_exchange_requests_total",
                "REST requests to an exchange, by status, or `none` without an answer",
                &["exchange", "status"],
            ),
            dials: counters(
                "ratebook_exchange_dials_total",
                "Sockets dialled to an exchange, by whether they opened",
                &["exchange", "outcome"],
            ),
        }
    }

    /// Counts one REST request, by the status of its answer; `None` if there was none.
    pub fn count_request(&self, exchange: ExchangeName, status: Option<u16>) {
        let status = status.map_or("none".to_owned(), |status| status.to_string());
        self.requests.with_label_values(&[exchange.as_str(), &status]).inc();
    }

    /// Counts one dial.
    pub fn count_dial(&self, exchange: ExchangeName, is_open: bool) {
        let outcome = if is_open { "opened" } else { "failed" };
        self.dials.with_label_values(&[exchange.as_str(), outcome]).inc();
    }
}

impl Default for ExchangeMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What is known elsewhere, at the moment when the page is read.
#[derive(Debug, Default)]
pub struct Page {
    registry: Registry,
}

impl Page {
    /// A page without anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts values that go up and down on the page: each with the values of `labels`, in their order.
    pub fn gauges<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        let gauges = GaugeVec::new(Opts::new(name, help), &labels).expect(VALID);
        for (labels, value) in values {
            gauges.with_label_values(&labels).set(value);
        }
        register(&self.registry, gauges);
    }

    /// Puts values that only grow on the page.
    pub fn counters<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], u64)>,
    ) {
        let counters = counters(name, help, &labels);
        for (labels, value) in values {
            counters.with_label_values(&labels).inc_by(value);
        }
        register(&self.registry, counters);
    }

    /// Puts one value that goes up and down on the page.
    pub fn gauge(&self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [], [([], value)]);
    }

    /// Puts one value that only grows on the page.
    pub fn counter(&self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [], [([], value)]);
    }
}

/// Why making a metric cannot fail: names and labels are constants of this program, and a test reads all of them.
const VALID: &str = "names and labels of metrics are valid";

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect(VALID)
}

fn register(registry: &Registry, metric: impl Collector + 'static) {
    registry.register(Box::new(metric)).expect(VALID);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_and_what_is_told_are_on_one_page() {
        let metrics = Metrics::new();
        for _ in 0..2 {
            let worker = metrics.http.worker();
            worker.count_request("/v1/courses", 200, Duration::from_millis(3));
            worker.count_request("/v1/courses", 503, Duration::from_millis(3));
            worker.count_question(true);
        }
        metrics.clone().exchanges.count_request(ExchangeName::new("kraken"), Some(429));
        metrics.exchanges.count_request(ExchangeName::new("kraken"), None);
        metrics.exchanges.count_dial(ExchangeName::new("kraken"), false);
        let more = Page::new();
        more.gauges("ratebook_ages_seconds", "Ages", ["exchange"], [(["kraken"], 0.25)]);
        more.counter("ratebook_things_total", "Things", 7);
        let page = metrics.page(&more);
        for line in [
            r#"ratebook_http_requests_total{route="/v1/courses",status="200",worker="0"} 1"#,
            r#"ratebook_http_requests_total{route="/v1/courses",status="503",worker="1"} 1"#,
            r#"ratebook_http_request_duration_seconds_bucket{route="/v1/courses",worker="0",le="0.0025"} 0"#,
            r#"ratebook_http_request_duration_seconds_bucket{route="/v1/courses",worker="0",le="0.005"} 2"#,
            r#"ratebook_http_kept_answers_total{outcome="hit",worker="1"} 1"#,
            r#"ratebook_http_kept_answers_total{outcome="miss",worker="0"} 0"#,
            r#"ratebook_exchange_requests_total{exchange="kraken",status="429"} 1"#,
            r#"ratebook_exchange_requests_total{exchange="kraken",status="none"} 1"#,
            r#"ratebook_exchange_dials_total{exchange="kraken",outcome="failed"} 1"#,
            r#"ratebook_ages_seconds{exchange="kraken"} 0.25"#,
            "ratebook_things_total 7",
            "# TYPE process_resident_memory_bytes gauge",
        ] {
            assert!(page.lines().any(|it| it == line), "{line} is not in:\n{page}");
        }
    }
}
