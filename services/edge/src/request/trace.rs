//! The trace context of a request: continued from its caller's, or begun.

use waybill_commands::entropy;
use waybill_domain::trace::TraceParent;

/// The beginning of a trace.
#[must_use]
pub(super) fn begun() -> TraceParent {
    TraceParent::root(entropy::random(), entropy::random())
}

/// The span of a request within its caller's trace; without a caller's, that of a trace of its own.
#[must_use]
pub(super) fn continued(caller: Option<&TraceParent>) -> TraceParent {
    caller.map_or_else(begun, |caller| caller.child(entropy::random()))
}
