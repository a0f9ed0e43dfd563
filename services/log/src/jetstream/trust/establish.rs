//! Determines at the start which keys' signatures count, and from which position of CONTROL on they
//! are required.

use waybill_domain::event::{ControlEvent, SignaturesRequired};
use waybill_domain::time::Timestamp;
use waybill_domain::trust::event::{self, Expected};
use waybill_domain::trust::{Accepted, Genuine, Keys, Trust, verify};

use super::super::api::Api;
use super::super::config::SignaturesConfig;
use super::super::connect::ConnectError;
use super::super::read::Reader;
use super::super::wire;
use crate::subject::ControlSubject;
use crate::{Bounds, Expectation, NewRecord, ReadError, Record, StreamSeq};

/// Aggregate of the event, in its subject.
const SIGNATURES: &str = "signatures";

/// The key that this process signs with, and the keys whose signatures it accepts.
///
/// # Errors
/// If a key cannot be read, or the log contradicts the configuration.
pub(in crate::jetstream) async fn establish(
    config: &SignaturesConfig,
    api: &Api,
    control: &Reader,
) -> Result<Trust, ConnectError> {
    let keys = keys(config).map_err(ConnectError::Config)?;
    let bounds = control.bounds().await.map_err(unreadable)?;
    let mut trust = Trust {
        stream: bounds.incarnation,
        signer: config.signer.clone(),
        keys,
        required_from: None,
    };
    if trust.keys.is_empty() {
        return Ok(trust);
    }
    trust.required_from = match config.required_from {
        Some(pinned) => Some(confirmed(pinned, &bounds, &trust, control).await?),
        None => discovered(&trust, control).await?,
    };
    if trust.required_from.is_none() && config.introduce {
        trust.required_from = Some(introduce(&trust, api, control).await?);
    }
    Ok(trust)
}

fn keys(config: &SignaturesConfig) -> Result<Keys, String> {
    let setting = |error| format!("nats.signatures.keys: {error}");
    let parsed = config.keys.iter().map(|line| Accepted::parse(line));
    let mut keys = parsed.collect::<Result<Vec<_>, _>>().map_err(setting)?;
    if let Some(signer) = &config.signer {
        let own = signer.public();
        if !keys.iter().any(|key| *key.key() == own) {
            keys.push(Accepted::new(own).map_err(setting)?);
        }
    }
    Keys::new(keys).map_err(setting)
}

/// Checks the configured position: it must be the first one, or the log must have an event there
/// that requires signatures.
async fn confirmed(
    pinned: u64,
    bounds: &Bounds,
    trust: &Trust,
    control: &Reader,
) -> Result<StreamSeq, ConnectError> {
    let refused = |what: String| {
        Err(ConnectError::Config(format!(
            "nats.signatures.required_from {what}"
        )))
    };
    let pinned = StreamSeq(pinned);
    if pinned.0 == 0 {
        return refused("must be a position of CONTROL, from 1 on, not 0".to_owned());
    }
    if pinned.0 == 1 {
        return Ok(pinned);
    }
    if pinned > bounds.last {
        return refused(format!(
            "is {pinned}, but CONTROL ends at {}: it is another log, or was restored from an older backup",
            bounds.last
        ));
    }
    let record = control.read(pinned).await.map_err(unreadable)?;
    if record.is_some_and(|record| requires(trust, &record)) {
        return Ok(pinned);
    }
    refused(format!(
        "is {pinned}, where CONTROL has no event signatures.required.v1 signed by a configured key"
    ))
}

/// The first event of the log that requires signatures, if there is one.
async fn discovered(trust: &Trust, control: &Reader) -> Result<Option<StreamSeq>, ConnectError> {
    let filter = filter()?;
    let mut from = StreamSeq(1);
    while let Some(record) = control.next(&filter, from).await.map_err(unreadable)? {
        if requires(trust, &record) {
            return Ok(Some(record.seq));
        }
        from = record.seq.next();
    }
    Ok(None)
}

/// Whether a record is a genuine event that requires signatures. Replayed copies can only come
/// after it, so the first one counts.
fn requires(trust: &Trust, record: &Record) -> bool {
    let here = Trust {
        required_from: Some(record.seq),
        ..trust.clone()
    };
    let event = ControlEvent::decode(&record.event, &record.payload);
    matches!(event, Ok(ControlEvent::SignaturesRequired(_)))
        && matches!(verify(&here, &record.stored()), Ok(Genuine::At(_)))
}

/// Appends the event that requires signatures. If two processes do so at once, one of them finds
/// the event of the other.
async fn introduce(trust: &Trust, api: &Api, control: &Reader) -> Result<StreamSeq, ConnectError> {
    let Some(signer) = &trust.signer else {
        let what = "signatures cannot be required without a private key of gateways";
        return Err(ConnectError::Config(what.to_owned()));
    };
    let filter = filter()?;
    let last = control.last(&filter).await.map_err(unreadable)?;
    let after = last.map_or(StreamSeq(0), |record| record.seq);
    let key = signer.public();
    let required = ControlEvent::SignaturesRequired(SignaturesRequired {
        key: signer.id(),
        at: wall(),
    });
    let (aggregate, id) = required.aggregate();
    let subject = ControlSubject::global(aggregate, id)
        .map_err(|error| ConnectError::Config(error.to_string()))?;
    let record = NewRecord {
        subject: subject.to_string(),
        event: required.name(),
        actor: "system:signatures".to_owned(),
        traceparent: None,
        origin: None,
        payload: required.encode().into(),
    };
    let failed = |error: &dyn std::fmt::Display| {
        ConnectError::Config(format!("signatures were not required: {error}"))
    };
    let mut message =
        wire::outgoing(record, api.client().max_payload()).map_err(|error| failed(&error))?;
    let expected = Expected {
        boundary: &filter,
        after,
    };
    let headers = wire::headers_of_leaf(&message.headers);
    let added = event::sign(
        signer,
        trust.stream,
        &message.subject,
        &headers,
        &message.payload,
        Some(expected),
        0,
    );
    wire::add(&mut message.headers, added).map_err(|error| failed(&error))?;
    let expect = Expectation::LastOn {
        filter: filter.clone(),
        seq: after,
    };
    wire::set_expectation(&mut message.headers, &expect);
    let sent = api
        .publish(&message.subject, message.headers, message.payload)
        .await;
    // Look for the event in any case: after a refusal or a lost answer it may still be in the log.
    let found = discovered(trust, control).await?;
    match (found, sent) {
        (Some(seq), _) => {
            tracing::info!(%seq, %key, "signatures are required on CONTROL from this position on");
            Ok(seq)
        }
        (None, Err(error)) => Err(failed(&error)),
        (None, Ok(_)) => Err(failed(&"the event is not in the log")),
    }
}

fn filter() -> Result<String, ConnectError> {
    ControlSubject::global_of_kind(SIGNATURES)
        .map_err(|error| ConnectError::Config(error.to_string()))
}

fn wall() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ms = now.map_or(0, |since| since.as_millis());
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "as it is, it maps errors: `map_err(unreadable)`"
)]
fn unreadable(error: ReadError) -> ConnectError {
    ConnectError::Config(format!("CONTROL cannot be read: {error}"))
}
