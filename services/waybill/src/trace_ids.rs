//! Exported spans have the ids that went out as `traceparent`.
//!
//! Requests and calls carry a W3C trace context whether or not traces are exported: it is stored with its task, and a repeated
//! attempt has the same one. The spans of the gateway and the worker therefore say their ids in the fields `trace_id`, `span_id` and
//! `parent_id`, and here these take the place of the random ones that OpenTelemetry would draw. Without it a target's own spans would
//! hang below a parent that no collector ever saw.

use std::cell::Cell;

use opentelemetry::trace::{
    SpanBuilder, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer, Span};

thread_local! {
    /// Ids of the span that this thread is building: a generator of ids does not get to know the span that they are for.
    static BUILDING: Cell<Option<Known>> = const { Cell::new(None) };
}

/// What a span says about itself.
#[derive(Debug, Clone, Copy)]
struct Known {
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
}

impl Known {
    fn of(attributes: &[KeyValue]) -> Option<Self> {
        let field = |name| {
            let found = attributes.iter().find(|field| field.key.as_str() == name);
            found.map(|field| field.value.as_str().into_owned())
        };
        let trace = TraceId::from_hex(&field("trace_id")?).ok()?;
        let span = SpanId::from_hex(&field("span_id")?).ok()?;
        let parent = field("parent_id").and_then(|id| SpanId::from_hex(&id).ok());
        (trace != TraceId::INVALID && span != SpanId::INVALID).then_some(Self {
            trace,
            span,
            parent,
        })
    }

    /// Where the span belongs: below a span of another process, or at the beginning of its trace.
    fn context(&self, around: &Context) -> Context {
        let Some(parent) = self.parent else {
            return around.clone();
        };
        around.with_remote_span_context(SpanContext::new(
            self.trace,
            parent,
            // Everything is recorded once an endpoint is configured.
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        ))
    }
}

/// Builds spans with the ids that they say.
#[derive(Debug, Clone)]
pub(crate) struct KnownTracer(pub(crate) SdkTracer);

impl Tracer for KnownTracer {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, around: &Context) -> Span {
        let known = builder.attributes.as_deref().and_then(Known::of);
        let Some(known) = known else {
            return self.0.build_with_context(builder, around);
        };
        BUILDING.set(Some(known));
        let span = self.0.build_with_context(builder, &known.context(around));
        BUILDING.set(None);
        span
    }
}

/// The ids of the span that is being built, or random ones.
#[derive(Debug, Default)]
pub(crate) struct KnownIds(RandomIdGenerator);

impl IdGenerator for KnownIds {
    fn new_trace_id(&self) -> TraceId {
        BUILDING
            .get()
            .map_or_else(|| self.0.new_trace_id(), |known| known.trace)
    }

    fn new_span_id(&self) -> SpanId {
        BUILDING
            .get()
            .map_or_else(|| self.0.new_span_id(), |known| known.span)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{Span as _, TracerProvider};
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
            let mut kept = self.0.lock().expect("nobody panics with it");
            kept.append(&mut batch);
            Ok(())
        }
    }

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn exported(fields: &[(&'static str, &'static str)]) -> SpanData {
        let exporter = Kept::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .with_id_generator(KnownIds::default())
            .build();
        let tracer = KnownTracer(provider.tracer("test"));
        let fields = fields
            .iter()
            .map(|(name, value)| KeyValue::new(*name, *value));
        let builder = SpanBuilder::from_name("s").with_attributes(fields);
        tracer.build_with_context(builder, &Context::new()).end();
        let mut spans = exporter.0.lock().expect("nobody panics with it");
        spans.pop().expect("one span")
    }

    #[test]
    fn a_span_has_the_ids_that_it_says() {
        let span = exported(&[
            ("trace_id", TRACE),
            ("span_id", "00f067aa0ba902b7"),
            ("parent_id", "b7ad6b7169203331"),
        ]);
        assert_eq!(span.span_context.trace_id().to_string(), TRACE);
        assert_eq!(span.span_context.span_id().to_string(), "00f067aa0ba902b7");
        assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    }

    #[test]
    fn a_span_without_a_parent_begins_its_trace() {
        let span = exported(&[("trace_id", TRACE), ("span_id", "00f067aa0ba902b7")]);
        assert_eq!(span.span_context.trace_id().to_string(), TRACE);
        assert_eq!(span.parent_span_id, SpanId::INVALID);
    }

    #[test]
    fn ids_that_are_none_are_not_taken_over() {
        for fields in [
            &[][..],
            &[("trace_id", TRACE)],
            &[("trace_id", "nonsense"), ("span_id", "00f067aa0ba902b7")],
            &[("trace_id", TRACE), ("span_id", "0000000000000000")],
        ] {
            let span = exported(fields);
            assert!(span.span_context.is_valid(), "{fields:?}");
            assert_ne!(span.span_context.trace_id().to_string(), TRACE);
        }
    }
}
