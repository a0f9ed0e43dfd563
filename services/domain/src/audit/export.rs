//! The export of a tree: JSON lines that carry all that is needed to check each event, offline, against checkpoints.
//!
//! First a header, then blocks of events with the list of their leaves behind them, then one checkpoint or more. What is readable in an
//! event's line (`at`, `event`) is made from its stored bytes; a reader that makes it again finds every byte of the line the
//! same, or the line was changed. So an export is either exactly what was written or not intact; nothing in it is free to choose.
//!
//! ```text
//! {"waybillExport":1,"deployment":"default","tree":"team_01k...","stream":"1795245100000000000"}
//! {"seq":3,"time":"1795245168120456789","at":"2026-11-21T...","subject":"control...","headers":[["Wb-Actor","..."],...],"payload":"...","event":{...}}
//! {"leaves":"<base64 of 32 bytes for each event since the last such line>"}
//! {"checkpoint":"waybill/default/team_01k...\n12\n..."}
//! ```

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::checkpoint::millis;
use super::fields;
use super::leaf::Stored;
use super::merkle::Hash;
use super::tree::{TreeId, is_deployment};
use crate::seq::StreamSeq;

/// Version of this format.
const VERSION: u32 = 1;
/// Deepest nesting of a payload that is shown; deeper ones are in `payload` alone.
const MAX_DEPTH: usize = 32;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    #[serde(rename = "waybillExport")]
    version: u32,
    deployment: String,
    tree: String,
    stream: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine<'a> {
    seq: u64,
    time: String,
    at: String,
    subject: String,
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    withheld: Vec<String>,
    payload: String,
    #[serde(borrow)]
    event: &'a RawValue,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeavesLine {
    leaves: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointLine {
    checkpoint: String,
}

/// Which tree an export is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name of the deployment.
    pub deployment: String,
    /// Which tree.
    pub tree: TreeId,
    /// Creation time of CONTROL, in nanoseconds since the epoch.
    pub stream: i64,
}

/// One line of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The first one.
    Header(Header),
    /// An event; `withheld` names the fields of which `stored.payload` has only the hashes.
    Event {
        /// As stored, but for what is withheld.
        stored: Stored,
        /// Names of fields.
        withheld: Vec<String>,
    },
    /// Leaves of the events since the last such line.
    Leaves(Vec<Hash>),
    /// A signed note.
    Checkpoint(String),
}

/// Why a line is not one of an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It can be read as this, but would not have been written like that: what people read in it is not what its bytes say.
    #[error("what is readable in it is not what its bytes say")]
    Differs(Box<Line>),
}

impl Line {
    /// An event, without what nobody is shown.
    #[must_use]
    pub fn event(mut stored: Stored) -> Self {
        let withheld = match fields::withhold(&stored.payload) {
            None => Vec::new(),
            Some((copy, withheld)) => {
                stored.payload = Bytes::from(copy);
                withheld
            }
        };
        Self::Event { stored, withheld }
    }

    /// The line, without its line break.
    #[must_use]
    pub fn write(&self) -> String {
        let written = match self {
            Self::Header(header) => serde_json::to_string(&HeaderLine {
                version: VERSION,
                deployment: header.deployment.clone(),
                tree: header.tree.name().to_owned(),
                stream: header.stream.to_string(),
            }),
            Self::Event { stored, withheld } => {
                let event = readable(&stored.payload);
                serde_json::value::RawValue::from_string(event).and_then(|event| {
                    serde_json::to_string(&EventLine {
                        seq: stored.seq.0,
                        time: stored.time_ns.to_string(),
                        at: millis(stored.time_ns).to_rfc3339(),
                        subject: stored.subject.clone(),
                        headers: stored.headers.clone(),
                        withheld: withheld.clone(),
                        payload: BASE64.encode(&stored.payload),
                        event: &event,
                    })
                })
            }
            Self::Leaves(leaves) => {
                let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
                serde_json::to_string(&LeavesLine {
                    leaves: BASE64.encode(bytes),
                })
            }
            Self::Checkpoint(note) => serde_json::to_string(&CheckpointLine {
                checkpoint: note.clone(),
            }),
        };
        // Writing plain texts and numbers to memory has no way to fail.
        written.unwrap_or_default()
    }

    /// Reads a line, and refuses whatever [`Line::write`] would not have written like that.
    pub fn read(line: &str) -> Result<Self, BadLine> {
        let read = Self::parse(line).map_err(BadLine::Unreadable)?;
        if read.write() == line {
            Ok(read)
        } else {
            Err(BadLine::Differs(Box::new(read)))
        }
    }

    fn parse(line: &str) -> Result<Self, String> {
        fn json<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, String> {
            serde_json::from_str(line).map_err(|error| format!("it cannot be read: {error}"))
        }
        if line.starts_with("{\"seq\":") {
            let read: EventLine<'_> = json(line)?;
            let payload = BASE64
                .decode(&read.payload)
                .map_err(|_| "its payload is no base64")?;
            let stored = Stored {
                seq: StreamSeq(read.seq),
                time_ns: read.time.parse().map_err(|_| "its time is no number")?,
                subject: read.subject,
                headers: read.headers,
                payload: Bytes::from(payload),
            };
            return Ok(Self::Event {
                stored,
                withheld: read.withheld,
            });
        }
        if line.starts_with("{\"leaves\":") {
            let read: LeavesLine = json(line)?;
            let bytes = BASE64
                .decode(&read.leaves)
                .map_err(|_| "its leaves are no base64")?;
            let (leaves, rest) = bytes.as_chunks();
            return match rest {
                [] => Ok(Self::Leaves(
                    leaves.iter().map(|leaf| Hash(*leaf)).collect(),
                )),
                _ => Err("its leaves are no hashes".into()),
            };
        }
        if line.starts_with("{\"checkpoint\":") {
            let read: CheckpointLine = json(line)?;
            return Ok(Self::Checkpoint(read.checkpoint));
        }
        let read: HeaderLine = json(line)?;
        if read.version != VERSION {
            return Err(format!(
                "it is of version {}, and {VERSION} is known here",
                read.version
            ));
        }
        if !is_deployment(&read.deployment) {
            return Err("it names no deployment".into());
        }
        Ok(Self::Header(Header {
            deployment: read.deployment,
            tree: TreeId::parse(&read.tree).ok_or("it names no tree")?,
            stream: read.stream.parse().map_err(|_| "its stream is no number")?,
        }))
    }
}

/// A payload as JSON, straight from its bytes: the same for events that are not known here. Bytes are hex. `null`: it is no map, or holds
/// what JSON cannot say.
#[must_use]
pub fn readable(payload: &[u8]) -> String {
    let mut json = String::with_capacity(payload.len() * 2);
    let mut rest = payload;
    let whole = payload
        .first()
        .is_some_and(|marker| matches!(marker, 0x80..=0x8f | 0xde | 0xdf));
    match value(&mut rest, &mut json, 0) {
        Some(()) if whole && rest.is_empty() => json,
        _ => "null".into(),
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &mut &[u8], width: usize) -> Option<u64> {
    let bytes = take(bytes, width)?;
    Some(
        bytes
            .iter()
            .fold(0, |number, &byte| number << 8 | u64::from(byte)),
    )
}

fn length(bytes: &mut &[u8], width: usize) -> Option<usize> {
    usize::try_from(number(bytes, width)?).ok()
}

fn value(bytes: &mut &[u8], json: &mut String, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    let marker = *take(bytes, 1)?.first()?;
    // Writing to a text has no way to fail.
    match marker {
        0x00..=0x7f => write!(json, "{marker}").ok()?,
        0xe0..=0xff => write!(json, "{}", marker.cast_signed()).ok()?,
        0xc0 => json.push_str("null"),
        0xc2 => json.push_str("false"),
        0xc3 => json.push_str("true"),
        0xcc..=0xcf => write!(json, "{}", number(bytes, 1 << (marker - 0xcc))?).ok()?,
        0xd0..=0xd3 => {
            let width = 1_u32 << (marker - 0xd0);
            let raw = number(bytes, width as usize)?.cast_signed();
            let unused = 64 - 8 * width;
            // Extends the sign.
            write!(json, "{}", raw << unused >> unused).ok()?;
        }
        0xca => {
            let bits = u32::try_from(number(bytes, 4)?).ok()?;
            float(f64::from(f32::from_bits(bits)), json)?;
        }
        0xcb => float(f64::from_bits(number(bytes, 8)?), json)?,
        0xa0..=0xbf => text(bytes, usize::from(marker & 0x1f), json)?,
        0xd9 => sized(bytes, 1, json, text)?,
        0xda => sized(bytes, 2, json, text)?,
        0xdb => sized(bytes, 4, json, text)?,
        0xc4 => sized(bytes, 1, json, blob)?,
        0xc5 => sized(bytes, 2, json, blob)?,
        0xc6 => sized(bytes, 4, json, blob)?,
        0x90..=0x9f => list(bytes, usize::from(marker & 0x0f), json, depth)?,
        0xdc | 0xdd => {
            let count = length(bytes, if marker == 0xdc { 2 } else { 4 })?;
            list(bytes, count, json, depth)?;
        }
        0x80..=0x8f => map(bytes, usize::from(marker & 0x0f), json, depth)?,
        0xde | 0xdf => {
            let count = length(bytes, if marker == 0xde { 2 } else { 4 })?;
            map(bytes, count, json, depth)?;
        }
        _ => return None,
    }
    Some(())
}

fn sized(
    bytes: &mut &[u8],
    width: usize,
    json: &mut String,
    write: fn(&mut &[u8], usize, &mut String) -> Option<()>,
) -> Option<()> {
    let length = length(bytes, width)?;
    write(bytes, length, json)
}

fn float(number: f64, json: &mut String) -> Option<()> {
    json.push_str(&serde_json::Number::from_f64(number)?.to_string());
    Some(())
}

fn text(bytes: &mut &[u8], length: usize, json: &mut String) -> Option<()> {
    let text = std::str::from_utf8(take(bytes, length)?).ok()?;
    json.push_str(&serde_json::to_string(text).ok()?);
    Some(())
}

fn blob(bytes: &mut &[u8], length: usize, json: &mut String) -> Option<()> {
    write!(json, "\"{}\"", hex::encode(take(bytes, length)?)).ok()
}

fn list(bytes: &mut &[u8], count: usize, json: &mut String, depth: usize) -> Option<()> {
    json.push('[');
    for at in 0..count {
        if at > 0 {
            json.push(',');
        }
        value(bytes, json, depth + 1)?;
    }
    json.push(']');
    Some(())
}

fn map(bytes: &mut &[u8], count: usize, json: &mut String, depth: usize) -> Option<()> {
    json.push('{');
    for at in 0..count {
        if at > 0 {
            json.push(',');
        }
        let before = json.len();
        value(bytes, json, depth + 1)?;
        // Only texts are keys in JSON.
        if json.as_bytes().get(before) != Some(&b'"') {
            return None;
        }
        json.push(':');
        value(bytes, json, depth + 1)?;
    }
    json.push('}');
    Some(())
}

#[cfg(test)]
mod tests;
