//! `traceparent` (W3C Trace Context, level 1): read, continued, or begun.

use waybill_commands::entropy;

/// Length of `00-<32 hex>-<16 hex>-<2 hex>`.
const CHARS: usize = 55;

/// A trace context: which trace, which step of it, whether it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// Reads a header. `None` for what the standard calls invalid; a later version is read as far as this one goes.
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
            && hex(trace, 32)
            && !zero(trace)
            && hex(span, 16)
            && !zero(span)
            && hex(flags, 2);
        valid.then(|| Self(format!("00-{trace}-{span}-{flags}")))
    }

    /// The beginning of a trace. It is marked as recorded: whoever exports decides how much.
    #[must_use]
    pub fn root() -> Self {
        let ids: [u8; 24] = entropy::random();
        let (trace, span) = ids.split_at(16);
        Self(format!(
            "00-{}-{}-01",
            hex::encode(trace),
            hex::encode(span)
        ))
    }

    /// A further step of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        let span = hex::encode(entropy::random::<8>());
        Self(format!("00-{}-{span}-{}", self.trace_id(), &self.0[53..]))
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

    /// As in the header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[test]
    fn a_child_continues_the_trace() {
        let parent = TraceParent::parse(VALID).expect("valid");
        let child = parent.child();
        assert_eq!(child.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_ne!(child, parent);
        assert!(child.as_str().ends_with("-00"));
        assert_eq!(TraceParent::parse(child.as_str()), Some(child.clone()));
        let root = TraceParent::root();
        assert_eq!(TraceParent::parse(root.as_str()), Some(root.clone()));
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
}
