//! Logs on standard error, metrics for Prometheus, traces by OTLP.

use std::io::IsTerminal;

use anyhow::Context;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use waybill_domain::task::status::Status;
use waybill_log::Stream;

use crate::config::{Config, LogConfig, LogFormat};
use crate::operations::{self, Operations};
use crate::trace_ids::{KnownIds, KnownTracer};

/// Bounds of all latency histograms, in seconds: from what an idle system takes to the longest callout.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
];
/// Bounds of the histogram of append sizes.
const RECORDS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1000.0,
];

/// Exports the remaining traces when dropped.
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    /// What `/readyz` of the port for metrics is about.
    pub operations: Operations,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown()
        {
            tracing::warn!(%error, "the last traces were not exported");
        }
    }
}

/// Starts logs for commands that end by themselves: they print what they do, so only problems are logged unless more is asked for.
pub(crate) fn start_beside(config: &Config, command: &'static str) -> anyhow::Result<Telemetry> {
    let mut config = config.clone();
    if config.log.filter == LogConfig::default().filter {
        config.log.filter = "warn".into();
    }
    start_logs(&config, command)
}

/// Starts logs and traces.
fn start_logs(config: &Config, role: &'static str) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_new(&config.log.filter).with_context(|| {
        format!(
            "configuration: log.filter: {:?} is no filter",
            config.log.filter
        )
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log.format {
        LogFormat::Pretty => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let traces = config
        .telemetry
        .otlp_endpoint
        .as_deref()
        .map(|to| exporter(to, role))
        .transpose()?;
    let spans = traces.as_ref().map(|traces| {
        tracing_opentelemetry::layer().with_tracer(KnownTracer(traces.tracer("waybill")))
    });
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(spans)
        .try_init()?;
    Ok(Telemetry {
        traces,
        operations: Operations::default(),
    })
}

/// Starts logs, traces and metrics, for roles. Must be called inside a runtime.
pub(crate) fn start(config: &Config, role: &'static str) -> anyhow::Result<Telemetry> {
    let telemetry = start_logs(config, role)?;
    if let Some(address) = config.metrics_address()? {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
            .set_buckets_for_metric(Matcher::Suffix("_records".into()), RECORDS)?;
        operations::listen(address, builder, telemetry.operations.clone())?;
        describe();
        begin(role);
    }
    Ok(telemetry)
}

fn exporter(endpoint: &str, role: &'static str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .context("configuration: telemetry.otlp_endpoint")?;
    let resource = Resource::builder()
        .with_service_name(format!("waybill-{role}"))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_id_generator(KnownIds::default())
        .with_resource(resource)
        .build())
}

/// Starts all counters at zero. A counter that appeared with its first increment would hide it from `rate()`, and an alert over a sum of which a
/// part is missing never fires.
fn begin(role: &str) {
    if matches!(role, "up" | "gateway") {
        counter!("waybill_accepted_total").absolute(0);
        counter!("waybill_mail_sent_total").absolute(0);
        counter!("waybill_mail_lost_total").absolute(0);
    }
    if matches!(role, "up" | "worker") {
        counter!("waybill_tasks_started_total").absolute(0);
        counter!("waybill_tasks_retried_total").absolute(0);
        counter!("waybill_partitions_given_away_total").absolute(0);
        counter!("waybill_limit_mismatch_total").absolute(0);
        for ok in ["true", "false"] {
            counter!("waybill_tasks_succeeded_total", "ok" => ok).absolute(0);
        }
        counter!("waybill_webhooks_given_up_total").absolute(0);
        counter!("waybill_attempts_cut_off_total").absolute(0);
        for why in [
            "released",
            "worker_lost",
            "worker_fault",
            "vault_away",
            "other",
        ] {
            counter!("waybill_attempts_uncounted_total", "why" => why).absolute(0);
        }
        for fault in ["descriptors", "ports", "memory", "resolver"] {
            counter!("waybill_worker_faults_total", "fault" => fault).absolute(0);
        }
        counter!("waybill_retention_purged_messages_total").absolute(0);
        counter!("waybill_tasks_restated_total").absolute(0);
        counter!("waybill_worker_pauses_total").absolute(0);
        for status in [Status::Failed, Status::Timeout, Status::Cancelled] {
            counter!("waybill_tasks_failed_total", "status" => status.as_str()).absolute(0);
        }
    }
    if matches!(role, "up" | "gateway" | "worker") {
        counter!("waybill_fence_messages_refused_total").absolute(0);
    }
    for kind in ["gateway", "worker"] {
        if role == "up" || role == kind {
            counter!("waybill_fence_demands_refused_total", "kind" => kind).absolute(0);
        }
    }
    for stream in ["CONTROL", "FENCE"] {
        counter!("waybill_log_void_records_total", "stream" => stream).absolute(0);
    }
    counter!("waybill_log_servers_left_total").absolute(0);
    for stream in [Stream::Control, Stream::Tasks] {
        for kind in ["conflict", "full", "rejected", "unavailable", "unknown"] {
            counter!("waybill_log_append_errors_total", "stream" => stream.name(), "kind" => kind)
                .absolute(0);
        }
    }
}

/// What each metric means; Prometheus shows it.
fn describe() {
    waybill_log::quarantine::describe();
    describe_counter!(
        "waybill_log_void_records_total",
        "Records read that are not signed by whoever may say them, so that they do not count"
    );
    describe_counter!(
        "waybill_log_servers_left_total",
        "Connections that left a server of NATS through which the leaders of the streams did not answer, for one through which they did"
    );
    describe_counter!(
        "waybill_fence_messages_refused_total",
        "Acknowledgements and questions to the barrier that are not signed by whoever may say them"
    );
    describe_counter!(
        "waybill_fence_demands_refused_total",
        "Times that records of FENCE asked for a position that CONTROL does not hold, since they are of a history that was lost"
    );
    describe_counter!(
        "waybill_accepted_total",
        "Tasks accepted: durable in the log"
    );
    describe_counter!(
        "waybill_mail_sent_total",
        "Letters that the mail server has taken"
    );
    describe_counter!(
        "waybill_mail_lost_total",
        "Letters given up: refused for good, too old, unreadable, or notices that could not be stored"
    );
    describe_gauge!(
        "waybill_mail_waiting",
        "Letters in the stream MAIL; every gateway that sends mail shows the same"
    );
    describe_counter!("waybill_tasks_started_total", "Attempts started");
    describe_counter!(
        "waybill_tasks_succeeded_total",
        "Tasks completed; ok=\"false\": by an answer that is no success, such as a 404"
    );
    describe_counter!(
        "waybill_tasks_failed_total",
        "Tasks that ended otherwise, by status"
    );
    describe_counter!(
        "waybill_tasks_retried_total",
        "Attempts that failed and will be repeated"
    );
    describe_counter!(
        "waybill_webhooks_given_up_total",
        "Completion webhooks that were tried as often as they are and never delivered"
    );
    describe_histogram!(
        "waybill_accept_seconds",
        Unit::Seconds,
        "From a request to its durable answer"
    );
    describe_histogram!(
        "waybill_queue_wait_seconds",
        Unit::Seconds,
        "From due to started"
    );
    describe_histogram!(
        "waybill_callout_seconds",
        Unit::Seconds,
        "Calls to targets and completion webhooks"
    );
    describe_histogram!(
        "waybill_end_to_end_seconds",
        Unit::Seconds,
        "From due to ended"
    );
    describe_histogram!(
        "waybill_log_append_batch_records",
        "Records of an append to the log"
    );
    describe_histogram!(
        "waybill_log_append_seconds",
        Unit::Seconds,
        "Appends to the log"
    );
    describe_counter!(
        "waybill_log_append_errors_total",
        "Appends that failed, by kind"
    );
    describe_gauge!(
        "waybill_projector_lag_records",
        "Records of the log that are not in the read model yet"
    );
    describe_gauge!("waybill_partitions", "Partitions of the log");
    describe_gauge!(
        "waybill_oldest_due_seconds",
        Unit::Seconds,
        "For how long due work of a partition has stood still with free slots; the longest of this worker, 0 while all move"
    );
    describe_counter!(
        "waybill_partitions_given_away_total",
        "Partitions that this worker gave away since their due work stood still"
    );
    describe_counter!(
        "waybill_limit_mismatch_total",
        "Slots of limit keys that were not held by what runs, or the other way round: a defect"
    );
    describe_gauge!(
        "waybill_partitions_owned",
        "Partitions served by this worker"
    );
    describe_gauge!(
        "waybill_log_full",
        "1 while creations are refused for want of room"
    );
    describe_gauge!(
        "waybill_log_high_water_bytes",
        Unit::Bytes,
        "Bytes of TASKS above which creations are refused"
    );
    describe_gauge!(
        "waybill_log_owed_bytes",
        Unit::Bytes,
        "Bytes of TASKS that open tasks may still need"
    );
    describe_gauge!(
        "waybill_stream_bytes",
        Unit::Bytes,
        "Bytes in each stream of the log"
    );
    describe_gauge!(
        "waybill_stream_max_bytes",
        Unit::Bytes,
        "Bytes that each stream of the log may take; 0: no limit"
    );
    describe_gauge!(
        "waybill_disk_free_bytes",
        Unit::Bytes,
        "Free on the disk of the data folder"
    );
    describe_gauge!(
        "waybill_disk_total_bytes",
        Unit::Bytes,
        "All of the disk of the data folder"
    );
    describe_gauge!(
        "waybill_storage_bytes",
        Unit::Bytes,
        "Bytes that all streams together take in files"
    );
    describe_gauge!(
        "waybill_storage_max_bytes",
        Unit::Bytes,
        "Bytes that all streams together may take in files; 0: no limit is known"
    );
    describe_gauge!(
        "waybill_tasks_open",
        "Tasks of this worker's partitions that have not ended, and ended ones whose webhook is still to be delivered"
    );
    describe_gauge!(
        "waybill_stream_subscribers",
        "Event streams open on this gateway"
    );
    describe_counter!(
        "waybill_captures_lost_total",
        "Calls whose request and answer could not be kept for people to look at"
    );
    describe_histogram!(
        "waybill_vault_resolve_seconds",
        Unit::Seconds,
        "Putting credentials of the vault into a request"
    );
    describe_counter!(
        "waybill_vault_integrity_errors_total",
        "What the vault holds and does not open although nobody took it away"
    );
    describe_counter!(
        "waybill_http_requests_total",
        "Requests, by route and status"
    );
}
