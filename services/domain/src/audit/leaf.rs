//! The leaf of an event: one hash over every stored part of it that readers use.
//!
//! It covers stored bytes, not decoded values, so it needs no canonical form and loses no
//! precision. Every part is length-prefixed, so two different events never hash the same bytes.

use bytes::Bytes;

use super::fields;
use super::merkle::Hash;
use crate::seq::StreamSeq;

/// Domain separation: what the bytes are, and the version of the format.
const MARK: &[u8] = b"waybill leaf v1";
/// The stream that all trees cover.
const STREAM: &[u8] = b"CONTROL";

/// An event as it is stored in CONTROL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Position in CONTROL.
    pub seq: StreamSeq,
    /// When the server stored it, in nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// The subject it is stored under.
    pub subject: String,
    /// Its headers that belong to Waybill (`Wb-...`) or trace its origin (`traceparent`), sorted by
    /// name. The others only control the append, and mean nothing afterwards.
    pub headers: Vec<(String, String)>,
    /// Its payload; in a copy that withholds fields, their hashes take the place of their values.
    pub payload: Bytes,
}

impl Stored {
    /// Whether the leaf covers a header with that name.
    #[must_use]
    pub fn is_of_leaf(header: &str) -> bool {
        header.starts_with("Wb-") || header == "traceparent"
    }

    /// The value of the header `name`, if the event has it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The bytes whose hash is the leaf. `stream` is the creation time of CONTROL in nanoseconds,
    /// so that another stream has other leaves.
    ///
    /// `None` if a withheld field is missing or does not hold a hash.
    #[must_use]
    pub fn leaf_bytes(&self, stream: i64, withheld: &[String]) -> Option<Vec<u8>> {
        let payload = fields::commitment(&self.payload, withheld)?;
        let mut bytes = Vec::with_capacity(512);
        put(&mut bytes, MARK);
        put(&mut bytes, STREAM);
        put(&mut bytes, &stream.to_be_bytes());
        put(&mut bytes, &self.seq.0.to_be_bytes());
        put(&mut bytes, &self.time_ns.to_be_bytes());
        put(&mut bytes, self.subject.as_bytes());
        put(&mut bytes, &(self.headers.len() as u64).to_be_bytes());
        for (name, value) in &self.headers {
            put(&mut bytes, name.as_bytes());
            put(&mut bytes, value.as_bytes());
        }
        put(&mut bytes, &payload.0);
        Some(bytes)
    }

    /// The leaf of a record of which nothing is withheld.
    #[must_use]
    pub fn leaf(&self, stream: i64) -> Hash {
        // This fails only if a withheld field is missing, and none is withheld.
        Hash::of_leaf(&self.leaf_bytes(stream, &[]).unwrap_or_default())
    }
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    // No part is longer than a message, which is some MiB.
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        Stored {
            seq: StreamSeq(7),
            time_ns: 1_795_245_168_120_456_789,
            subject: "control.team_1.key.key_2".into(),
            headers: vec![
                ("Wb-Actor".into(), "operator:cli".into()),
                ("Wb-Event".into(), "key.created.v1".into()),
            ],
            payload: Bytes::from_static(b"\x81\xa3mac\xa1x"),
        }
    }

    #[test]
    fn every_part_counts() {
        let whole = stored().leaf(1);
        let changed = |change: fn(&mut Stored)| {
            let mut other = stored();
            change(&mut other);
            other.leaf(1)
        };
        let others = [
            stored().leaf(2),
            changed(|s| s.seq = StreamSeq(8)),
            changed(|s| s.time_ns += 1),
            changed(|s| s.subject.push('x')),
            changed(|s| s.headers[0].1.push('x')),
            changed(|s| s.headers[0].0.push('x')),
            changed(|s| s.headers.truncate(1)),
            changed(|s| s.headers.push(("Wb-New".into(), "1".into()))),
            changed(|s| s.headers.swap(0, 1)),
            changed(|s| s.payload = Bytes::from_static(b"\x81\xa3mac\xa1y")),
            changed(|s| s.payload = Bytes::new()),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(*other, whole, "{at}");
        }
        let different: std::collections::BTreeSet<_> = others.iter().collect();
        assert_eq!(different.len(), others.len());
    }

    #[test]
    fn the_bytes_of_a_leaf_are_for_ever() {
        insta::assert_snapshot!(stored().leaf(1).to_string(), @"eeb4f823de702d54539664ddf8b84ff4d9de56a771f2337428df2a038f801025");
    }
}
