//! The format of the messages of TASKS, which the stream's metadata names.
//!
//! Format 1 has one event in each message. Format 2 has frames, from a sequence on that the
//! metadata names too. That sequence decides the meaning of positions, so it is set once, and every
//! process reads it before any message.

use serde_json::Value;

use super::api::Api;
use super::provision::ProvisionError;
use crate::{Positions, Stream};

/// Key of the format in the metadata. If it is missing, the format is 1.
const FORMAT_KEY: &str = "waybill.format";
/// Key of the sequence of the first message that may be a frame.
const FIRST_FRAME_KEY: &str = "waybill.first_frame";
/// The format with frames, which is the newest one that this build reads.
const FRAMES: u64 = 2;

/// How the positions of a stream are counted, according to its info.
///
/// # Errors
/// If this build does not know the format of the stream.
pub(super) fn positions(info: &Value) -> Result<Positions, ProvisionError> {
    let metadata = &info["config"]["metadata"];
    let number = |key: &str| match &metadata[key] {
        Value::Null => Ok(None),
        value => {
            let number = value.as_str().and_then(|text| text.parse::<u64>().ok());
            number.map(Some).ok_or_else(|| {
                ProvisionError::Impossible(format!(
                    "metadata.{key} of {} is {value}, which is no number",
                    Stream::Tasks.name()
                ))
            })
        }
    };
    match (number(FORMAT_KEY)?, number(FIRST_FRAME_KEY)?) {
        (None | Some(1), _) => Ok(Positions::OF_MESSAGES),
        (Some(FRAMES), Some(first)) if first > 0 => Ok(Positions::with_frames_from(first)),
        (Some(FRAMES), _) => Err(ProvisionError::Impossible(format!(
            "{} has format {FRAMES}, but metadata.{FIRST_FRAME_KEY} does not say where its frames begin",
            Stream::Tasks.name()
        ))),
        (Some(format), _) => Err(ProvisionError::TooNew {
            format,
            known: FRAMES,
        }),
    }
}

/// Switches TASKS to frames, from the next message on. The caller must be the only process that
/// uses the streams: another one that reads or appends meanwhile would count positions differently.
pub(super) async fn switch_to_frames(api: &Api) -> Result<Positions, ProvisionError> {
    let stream = Stream::Tasks.name();
    let failed = |what, reason: String| ProvisionError::Failed {
        what,
        stream: stream.to_owned(),
        reason,
    };
    let verb = format!("STREAM.INFO.{stream}");
    let info = api.ask(&verb, &Value::Null).await;
    let info = info.map_err(|error| failed("read", error.to_string()))?;
    let found = positions(&info)?;
    if found.has_frames() {
        return Ok(found);
    }
    let first = info["state"]["last_seq"].as_u64().unwrap_or(0) + 1;
    let mut config = info["config"].clone();
    config["metadata"][FORMAT_KEY] = FRAMES.to_string().into();
    config["metadata"][FIRST_FRAME_KEY] = first.to_string().into();
    let changed = api.call(&format!("STREAM.UPDATE.{stream}"), &config).await;
    let changed = changed.map_err(|error| failed("change", error.to_string()))?;
    tracing::info!(
        stream,
        first_frame = first,
        "events are stored in frames from now on; earlier versions of Waybill cannot read them"
    );
    positions(&changed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(metadata: &Value) -> Result<Positions, String> {
        let info = json!({ "config": { "metadata": metadata } });
        positions(&info).map_err(|error| error.to_string())
    }

    #[test]
    fn the_metadata_says_how_positions_are_counted() {
        assert_eq!(of(&Value::Null), Ok(Positions::OF_MESSAGES));
        assert_eq!(
            of(&json!({"waybill.partitions": "4"})),
            Ok(Positions::OF_MESSAGES)
        );
        let switched = json!({"waybill.format": "2", "waybill.first_frame": "18"});
        assert_eq!(of(&switched), Ok(Positions::with_frames_from(18)));
    }

    #[test]
    fn what_this_build_does_not_understand_it_does_not_run_on() {
        let newer = of(&json!({"waybill.format": "3", "waybill.first_frame": "18"}));
        assert!(newer.is_err_and(|why| why.contains("format 3")));
        for damaged in [
            json!({"waybill.format": "2"}),
            json!({"waybill.format": "2", "waybill.first_frame": "0"}),
            json!({"waybill.format": "2", "waybill.first_frame": "x"}),
            json!({"waybill.format": "two", "waybill.first_frame": "18"}),
        ] {
            assert!(of(&damaged).is_err(), "{damaged}");
        }
    }
}
