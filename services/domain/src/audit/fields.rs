//! Finds the fields of a stored payload in its bytes, without knowing which event it is.
//!
//! A payload is a MessagePack map with names as keys. It is hashed field by field rather than as a
//! whole, so that a copy that is handed out can replace a field (the MAC of a key, or an erased
//! value) by its hash: the proof still holds. Everything here works on bytes, not on decoded
//! values, so it also works for events that this version does not know.

use sha2::{Digest, Sha256};

use super::merkle::Hash;
use crate::id::TeamId;

/// Fields that are withheld from every copy, whatever the event. They are hashes of secrets; every
/// event that has one uses one of these names.
pub const WITHHELD: &[&str] = &[
    "mac",
    "password",
    "password_hash",
    "refresh_mac",
    "code_mac",
    "secret_mac",
    "token_mac",
    "verifier",
];
/// The most values that may still be open: a guard against nonsense, since lengths come from the
/// bytes. Reading does not recurse, so depth costs nothing.
const MAX_ITEMS: u64 = 1 << 20;

const MARK_FIELDS: &[u8] = b"waybill payload fields v1\0";
const MARK_RAW: &[u8] = b"waybill payload raw v1\0";

/// One field of a payload, borrowed from the stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, decoded from `key`.
    pub name: &'a str,
    key: &'a [u8],
    /// The value, in MessagePack.
    pub value: &'a [u8],
}

/// A payload, split into its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The head of the map: marker and number of entries.
    head: &'a [u8],
    fields: Vec<Field<'a>>,
}

impl<'a> Fields<'a> {
    /// Reads a payload. `None` if it is not exactly one complete map whose keys are strings.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let (head, count) = match *payload.first()? {
            marker @ 0x80..=0x8f => (1, u64::from(marker & 0x0f)),
            0xde => (3, big_endian(payload, 1, 2)?),
            0xdf => (5, big_endian(payload, 1, 4)?),
            _ => return None,
        };
        let mut fields = Vec::with_capacity(usize::try_from(count.min(64)).unwrap_or(0));
        let mut at = head;
        for _ in 0..count {
            let key_end = end_of(payload, at)?;
            let value_end = end_of(payload, key_end)?;
            let key = payload.get(at..key_end)?;
            fields.push(Field {
                name: text(key)?,
                key,
                value: payload.get(key_end..value_end)?,
            });
            at = value_end;
        }
        (at == payload.len()).then_some(Self {
            head: &payload[..head],
            fields,
        })
    }

    /// The fields, in stored order.
    #[must_use]
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// The string in a field. `None` if there is no such field, or it holds something else.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.fields
            .iter()
            .find(|field| field.name == name)
            .and_then(|field| text(field.value))
    }
}

/// The hash of a payload that goes into its leaf. `withheld` names the fields that [`withhold`] has
/// replaced by their hash.
///
/// `None` if a withheld field is missing or does not hold a hash.
#[must_use]
pub fn commitment(payload: &[u8], withheld: &[String]) -> Option<Hash> {
    let Some(map) = Fields::read(payload) else {
        let hash = Sha256::new().chain_update(MARK_RAW).chain_update(payload);
        return withheld.is_empty().then(|| Hash(hash.finalize().into()));
    };
    let mut found = 0;
    let mut hash = Sha256::new().chain_update(MARK_FIELDS);
    put(&mut hash, map.head);
    for field in &map.fields {
        put(&mut hash, field.key);
        if withheld.iter().any(|name| name == field.name) {
            found += 1;
            hash.update(held_back(field.value)?.0);
        } else {
            hash.update(Hash::of(field.value).0);
        }
    }
    (found == withheld.len()).then(|| Hash(hash.finalize().into()))
}

fn put(hash: &mut Sha256, bytes: &[u8]) {
    // A payload is at most some MiB.
    hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    hash.update(bytes);
}

/// A copy of a payload without its [`WITHHELD`] fields, and the names of these fields. `None` if
/// there is nothing to withhold.
#[must_use]
pub fn withhold(payload: &[u8]) -> Option<(Vec<u8>, Vec<String>)> {
    let map = Fields::read(payload)?;
    let secret = |field: &&Field<'_>| WITHHELD.contains(&field.name);
    let withheld: Vec<String> = map
        .fields
        .iter()
        .filter(secret)
        .map(|field| field.name.to_owned())
        .collect();
    if withheld.is_empty() {
        return None;
    }
    let mut copy = map.head.to_vec();
    for field in &map.fields {
        copy.extend_from_slice(field.key);
        if WITHHELD.contains(&field.name) {
            copy.extend_from_slice(&BIN_32);
            copy.extend_from_slice(&Hash::of(field.value).0);
        } else {
            copy.extend_from_slice(field.value);
        }
    }
    Some((copy, withheld))
}

/// The MessagePack marker of 32 bytes, with which the hash of a withheld value begins.
const BIN_32: [u8; 2] = [0xc4, 32];

fn held_back(value: &[u8]) -> Option<Hash> {
    value.strip_prefix(&BIN_32).and_then(Hash::from_slice)
}

/// The team named by the payload's field `team`.
#[must_use]
pub fn team(payload: &[u8]) -> Option<TeamId> {
    TeamId::parse(Fields::read(payload)?.text("team")?).ok()
}

fn big_endian(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(
        bytes
            .iter()
            .fold(0, |number, &byte| number << 8 | u64::from(byte)),
    )
}

/// Decodes a MessagePack string.
fn text(value: &[u8]) -> Option<&str> {
    let head = match *value.first()? {
        0xa0..=0xbf => 1,
        0xd9 => 2,
        0xda => 3,
        0xdb => 5,
        _ => return None,
    };
    std::str::from_utf8(value.get(head..)?).ok()
}

/// Where the value that begins at `at` ends (MessagePack specification, "Formats"). `None` if the
/// bytes end before it.
fn end_of(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut open: u64 = 1;
    while open > 0 {
        let marker = *bytes.get(at)?;
        let sized =
            |width: usize| big_endian(bytes, at + 1, width).map(|length| (1 + width, length));
        // Bytes of the head, bytes of content after it, and number of nested values.
        let (head, content, inside) = match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (1, 0, 0),
            0x80..=0x8f => (1, 0, 2 * u64::from(marker & 0x0f)),
            0x90..=0x9f => (1, 0, u64::from(marker & 0x0f)),
            0xa0..=0xbf => (1, u64::from(marker & 0x1f), 0),
            0xcc | 0xd0 => (1, 1, 0),
            0xcd | 0xd1 => (1, 2, 0),
            0xca | 0xce | 0xd2 => (1, 4, 0),
            0xcb | 0xcf | 0xd3 => (1, 8, 0),
            // Extensions of fixed length: a type and 1, 2, 4, 8 or 16 bytes.
            0xd4..=0xd8 => (2, 1 << (marker - 0xd4), 0),
            0xc4 | 0xd9 => content_of(sized(1)?),
            0xc5 | 0xda => content_of(sized(2)?),
            0xc6 | 0xdb => content_of(sized(4)?),
            0xc7 => content_of(sized(1)?).with_type(),
            0xc8 => content_of(sized(2)?).with_type(),
            0xc9 => content_of(sized(4)?).with_type(),
            0xdc => items_of(sized(2)?, 1),
            0xdd => items_of(sized(4)?, 1),
            0xde => items_of(sized(2)?, 2),
            0xdf => items_of(sized(4)?, 2),
            0xc1 => return None,
        };
        at = at
            .checked_add(head)?
            .checked_add(usize::try_from(content).ok()?)?;
        open = open - 1 + inside;
        if at > bytes.len() || open > MAX_ITEMS {
            return None;
        }
    }
    Some(at)
}

type Extent = (usize, u64, u64);

fn content_of((head, length): (usize, u64)) -> Extent {
    (head, length, 0)
}

fn items_of((head, count): (usize, u64), each: u64) -> Extent {
    (head, 0, each * count)
}

trait WithType {
    /// An extension has its type byte between length and content.
    fn with_type(self) -> Self;
}

impl WithType for Extent {
    fn with_type(self) -> Self {
        (self.0 + 1, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::samples;
    use proptest::prelude::*;
    use serde::Serialize;

    #[derive(Serialize)]
    struct Sample {
        team: String,
        mac: String,
        numbers: Vec<i64>,
        nested: std::collections::BTreeMap<String, Option<f64>>,
        flag: bool,
        blob: serde_bytes_like::Blob,
    }

    /// Bytes as MessagePack's `bin`.
    mod serde_bytes_like {
        #[derive(Debug)]
        pub(super) struct Blob(pub(super) Vec<u8>);

        impl serde::Serialize for Blob {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }
    }

    #[test]
    fn a_withheld_field_keeps_the_commitment() {
        for event in samples::control_events() {
            let payload = event.encode();
            let whole = commitment(&payload, &[]).expect("a payload");
            let Some((copy, withheld)) = withhold(&payload) else {
                continue;
            };
            assert_eq!(
                commitment(&copy, &withheld),
                Some(whole),
                "{}",
                event.name()
            );
            // A hash counts as a withheld value only if the field is listed.
            assert_ne!(commitment(&copy, &[]), Some(whole));
            assert_eq!(commitment(&payload, &withheld), None);
            assert_eq!(commitment(&copy, &["nothing".into()]), None);
        }
    }

    #[test]
    fn no_sample_shows_a_mac() {
        for event in samples::control_events() {
            let payload = event.encode();
            let copy = withhold(&payload).map_or(payload, |(copy, _)| copy);
            let secret = "ab".repeat(32);
            let shown = copy
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!shown, "{}", event.name());
        }
    }

    #[test]
    fn the_team_of_every_known_event_is_found_in_its_bytes() {
        for event in samples::control_events() {
            let found = team(&event.encode());
            assert_eq!(found.as_ref(), event.team(), "{}", event.name());
        }
    }

    #[test]
    fn what_is_no_map_is_committed_to_as_it_is() {
        for payload in [
            &b""[..],
            b"\x90",
            b"\x81\x01\x02",
            b"\x81\xa1a",
            b"\x80\x00",
            b"\xc1",
        ] {
            assert_eq!(Fields::read(payload), None, "{payload:?}");
            assert!(commitment(payload, &[]).is_some());
            assert_eq!(commitment(payload, &["mac".into()]), None);
        }
        assert_ne!(commitment(b"\x80", &[]), commitment(b"\x90", &[]));
    }

    proptest! {
        #[test]
        fn any_map_is_read_to_its_end(
            texts in proptest::collection::vec(".{0,300}", 2),
            numbers in proptest::collection::vec(any::<i64>(), 0..20),
            nested in proptest::collection::btree_map(".{0,40}", any::<Option<f64>>(), 0..20),
            flag in any::<bool>(),
            blob in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let sample = Sample {
                team: texts[0].clone(),
                mac: texts[1].clone(),
                numbers,
                nested,
                flag,
                blob: serde_bytes_like::Blob(blob),
            };
            let payload = rmp_serde::to_vec_named(&sample).expect("plain data");
            let fields = Fields::read(&payload).expect("a map");
            prop_assert_eq!(fields.fields().len(), 6);
            prop_assert_eq!(fields.text("team"), Some(texts[0].as_str()));
            let (copy, withheld) = withhold(&payload).expect("it has a mac");
            prop_assert_eq!(commitment(&copy, &withheld), commitment(&payload, &[]));
        }

        #[test]
        fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            let whole = commitment(&payload, &[]);
            prop_assert!(whole.is_some());
            let _ = withhold(&payload);
        }

        #[test]
        fn no_change_of_one_bit_keeps_the_commitment(at in any::<proptest::sample::Index>(), bit in 0..8_u8) {
            for event in samples::control_events() {
                let payload = event.encode();
                let mut altered = payload.clone();
                let at = at.index(altered.len());
                altered[at] ^= 1 << bit;
                prop_assert_ne!(commitment(&altered, &[]), commitment(&payload, &[]));
            }
        }
    }
}
