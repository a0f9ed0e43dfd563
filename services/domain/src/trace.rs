//! W3C Trace Context, level 1: links a call to the request that created its task
//! (<https://www.w3.org/TR/trace-context/>).

use sha2::{Digest, Sha256};

use crate::id::TaskId;

/// Length of `00-<32 hex>-<16 hex>-<2 hex>`.
const CHARS: usize = 55;
/// Bytes of the ids of a trace and of a span.
const TRACE_BYTES: usize = 16;
const SPAN_BYTES: usize = 8;
/// Flags of a trace that its caller did not mark as recorded.
const NOT_RECORDED: &str = "00";
const RECORDED: &str = "01";

/// A trace context, the value of the header `traceparent`: which trace, which span of it, and
/// whether it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// Reads a header. `None` for what the standard calls invalid; a later version is read as far
    /// as this one goes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let known = text.get(..CHARS)?;
        let rest = &text[CHARS..];
        let mut parts = known.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, chars| {
            part.len() == chars
                && part
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let zero = |part: &str| part.bytes().all(|b| b == b'0');
        let valid = parts.next().is_none()
            && hex(version, 2)
            && version != "ff"
            && (rest.is_empty() || version != "00" && rest.starts_with('-'))
            && hex(trace, 2 * TRACE_BYTES)
            && !zero(trace)
            && hex(span, 2 * SPAN_BYTES)
            && !zero(span)
            && hex(flags, 2);
        valid.then(|| Self::new(trace, span, flags))
    }

    fn new(trace: &str, span: &str, flags: &str) -> Self {
        Self(format!("00-{trace}-{span}-{flags}"))
    }

    /// The beginning of a trace with random ids. It is marked as recorded: whoever exports decides
    /// how much.
    #[must_use]
    pub fn root(trace: [u8; TRACE_BYTES], span: [u8; SPAN_BYTES]) -> Self {
        Self::new(&hex::encode(trace), &hex::encode(span), RECORDED)
    }

    /// A further span of the same trace, with a random id.
    #[must_use]
    pub fn child(&self, span: [u8; SPAN_BYTES]) -> Self {
        Self::new(self.trace_id(), &hex::encode(span), self.flags())
    }

    /// The span of a call for a task, within the trace of the request that created it, or else
    /// within a trace of the task's own. Computed from the task and the number of the call, so that
    /// repeating the call yields the same span.
    #[must_use]
    pub fn of_call(parent: Option<&Self>, task: TaskId, number: u32) -> Self {
        let task = task.to_string();
        let digest = Sha256::new()
            .chain_update(&task)
            .chain_update(number.to_be_bytes())
            .finalize();
        let span = hex::encode(&digest[..SPAN_BYTES]);
        match parent {
            Some(parent) => Self::new(parent.trace_id(), &span, parent.flags()),
            None => {
                let trace = hex::encode(&Sha256::digest(&task)[..TRACE_BYTES]);
                Self::new(&trace, &span, NOT_RECORDED)
            }
        }
    }

    /// 32 hex characters.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }

    /// 16 hex characters.
    #[must_use]
    pub fn span_id(&self) -> &str {
        &self.0[36..52]
    }

    fn flags(&self) -> &str {
        &self.0[53..]
    }

    /// As in the header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Partition;
    use crate::time::Timestamp;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn a_task() -> TaskId {
        TaskId::new(Timestamp(1), 1, Partition::new(0).expect("a partition"))
    }

    #[test]
    fn a_child_continues_the_trace() {
        let parent = TraceParent::parse(VALID).expect("valid");
        let child = parent.child([7; 8]);
        assert_eq!(child.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(child.span_id(), "0707070707070707");
        assert_ne!(child, parent);
        assert!(child.as_str().ends_with("-00"));
        assert_eq!(TraceParent::parse(child.as_str()), Some(child.clone()));
        let root = TraceParent::root([1; 16], [2; 8]);
        assert_eq!(TraceParent::parse(root.as_str()), Some(root.clone()));
        assert!(root.as_str().ends_with("-01"));
    }

    #[test]
    fn invalid_ones_are_passed_over() {
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-x",
            "00-0af7651916cd43dd8448eb211c80319cé-7ad6b7169203331-00",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
        let later = format!("{}-more", VALID.replacen("00", "01", 1));
        assert!(TraceParent::parse(&later).is_some());
    }

    #[test]
    fn a_call_belongs_to_the_trace_of_its_request() {
        let parent = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let call = |number| TraceParent::of_call(parent.as_ref(), a_task(), number);
        assert_eq!(call(1).trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(call(1).as_str().ends_with("-01"));
        assert_ne!(call(1).span_id(), "00f067aa0ba902b7");
        assert_eq!(call(1), call(1));
        assert_ne!(call(1), call(2));
    }

    #[test]
    fn without_a_trace_all_calls_of_a_task_share_one() {
        let call = |number| TraceParent::of_call(None, a_task(), number);
        assert_eq!(call(1).trace_id(), call(2).trace_id());
        assert_ne!(call(1).span_id(), call(2).span_id());
        assert_eq!(TraceParent::parse(call(1).as_str()), Some(call(1)));
    }
}
