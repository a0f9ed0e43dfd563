//! The export of a tree: JSON lines with all that is needed to check each event offline against
//! checkpoints.
//!
//! First a header, then blocks of events, each followed by the list of their leaves, then one or
//! more checkpoints. The readable parts of an event's line (`at`, `event`) are derived from its
//! stored bytes; a reader that derives them again must get the same line byte by byte, or the line
//! was changed. So an export is either exactly what was written or not intact; no part of it is
//! free to choose.
//!
//! ```text
//! {"waybillExport":1,"deployment":"default","tree":"team_01k...","stream":"1795245100000000000"}
//! {"seq":3,"time":"1795245168120456789","at":"2026-11-21T...","subject":"control...","headers":[["Wb-Actor","..."],...],"payload":"...","event":{...}}
//! {"leaves":"<base64 of 32 bytes for each event since the last such line>"}
//! {"checkpoint":"waybill/default/team_01k...\n12\n..."}
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::checkpoint::millis;
use super::fields::{self, Fields};
use super::leaf::Stored;
use super::merkle::Hash;
use super::tree::{TreeId, is_deployment};
use crate::seq::StreamSeq;

/// Version of the export format.
const VERSION: u32 = 1;
/// Deepest nesting of a payload that is rendered as JSON; deeper payloads appear in `payload` only.
const MAX_DEPTH: usize = 32;

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

/// Identifies the exported tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub deployment: String,
    pub tree: TreeId,
    /// Creation time of CONTROL, in nanoseconds since the epoch.
    pub stream: i64,
}

/// One line of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Header(Header),
    /// An event; `withheld` names the fields that `stored.payload` contains only as hashes.
    Event {
        /// The stored event, without the withheld fields.
        stored: Stored,
        /// Names of the withheld fields.
        withheld: Vec<String>,
    },
    /// Leaves of the events since the previous such line.
    Leaves(Vec<Hash>),
    /// A signed note.
    Checkpoint(String),
}

/// Why a line does not belong to an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// The line is malformed.
    #[error("{0}")]
    Unreadable(String),
    /// The line can be parsed as this, but would have been written differently: its readable part
    /// contradicts its bytes.
    #[error("what is readable in it is not what its bytes say")]
    Differs(Box<Line>),
}

impl Line {
    /// The line of an event, without the fields that nobody is shown.
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
        // Serialising plain texts and numbers to memory cannot fail.
        written.unwrap_or_default()
    }

    /// Parses a line, and rejects whatever [`Line::write`] would have written differently.
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

/// A payload as JSON, transcoded from its bytes: all fields in stored order, even those of unknown
/// events. Bytes become lists of numbers. `null` if the payload is not a map, or contains what JSON
/// cannot express.
#[must_use]
pub fn readable(payload: &[u8]) -> String {
    transcoded(payload).unwrap_or_else(|| "null".into())
}

fn transcoded(payload: &[u8]) -> Option<String> {
    Fields::read(payload)?;
    let mut stored = rmp_serde::Deserializer::from_read_ref(payload);
    stored.set_max_depth(MAX_DEPTH);
    let mut json = Vec::with_capacity(payload.len() * 2);
    serde_transcode::transcode(&mut stored, &mut serde_json::Serializer::new(&mut json)).ok()?;
    String::from_utf8(json).ok()
}

#[cfg(test)]
mod tests;
