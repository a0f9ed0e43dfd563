//! Values of messages and values of the API.

use std::collections::BTreeMap;
use std::collections::HashMap;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Timestamp as ProtoTime, Value as ProtoValue};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use tonic::Status;
use waybill_api_jobs::calls::{HeldJob, LEASES};
use waybill_api_jobs::models::job::JobsJob;
use waybill_api_jobs::models::status::JobsStatus;
use waybill_commands::entropy;
use waybill_domain::time::Timestamp;
use waybill_edge::iso::Iso;

use crate::pb;

/// Seconds of a lease that is not said.
const USUAL_LEASE: i64 = 300;
/// Whole numbers up to here are exact in a `Struct`, which has doubles only.
const EXACT: f64 = 9_007_199_254_740_992.0;
const NANOS_PER_MS: i32 = 1_000_000;

/// Seconds of a lease: 0 is not said, and what is out of bounds counts as the nearest.
pub(crate) fn lease_secs(given: i32) -> i64 {
    if given == 0 {
        return USUAL_LEASE;
    }
    let (least, most) = LEASES;
    i64::from(given).clamp(least, most)
}

/// A text that is empty is not said.
pub(crate) fn said(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// A number that is 0 is not said.
pub(crate) fn counted(number: i32) -> Option<i64> {
    Some(i64::from(number)).filter(|number| *number != 0)
}

/// Texts by name as a JSON object. None at all are not said.
pub(crate) fn object(texts: HashMap<String, String>) -> Result<Option<Box<RawValue>>, Status> {
    if texts.is_empty() {
        return Ok(None);
    }
    let sorted: BTreeMap<_, _> = texts.into_iter().collect();
    raw(&sorted).map(Some)
}

/// A `Struct` as JSON.
pub(crate) fn json(given: Struct) -> Result<Box<RawValue>, Status> {
    raw(&object_of(given))
}

fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, Status> {
    let raw = serde_json::value::to_raw_value(value);
    raw.map_err(|_| Status::invalid_argument("the message holds a value that JSON does not have"))
}

fn object_of(given: Struct) -> Value {
    let members = given.fields.into_iter();
    let members = members.map(|(name, value)| (name, json_of(value)));
    Value::Object(members.collect::<Map<_, _>>())
}

fn json_of(value: ProtoValue) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(is)) => Value::Bool(is),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(number)) => Value::from(number_of(number)),
        Some(Kind::StructValue(of)) => object_of(of),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json_of).collect(),
    }
}

/// A double as JSON writes it: whole ones without a fraction, and `null` for what is no number.
fn number_of(number: f64) -> Option<Number> {
    if number.fract() == 0.0 && number.abs() <= EXACT {
        // Nothing is cut off: it is whole, and far within 64 bits.
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}

/// JSON as a `Struct`: an empty one if it is no object.
pub(crate) fn structure(json: &RawValue) -> Struct {
    match serde_json::from_str(json.get()) {
        Ok(Value::Object(members)) => struct_of(members),
        _ => Struct::default(),
    }
}

fn struct_of(members: Map<String, Value>) -> Struct {
    let members = members.into_iter();
    Struct {
        fields: members.map(|(name, value)| (name, proto(value))).collect(),
    }
}

fn proto(value: Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(is) => Kind::BoolValue(is),
        Value::String(text) => Kind::StringValue(text),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::Object(members) => Kind::StructValue(struct_of(members)),
        Value::Array(values) => Kind::ListValue(ListValue {
            values: values.into_iter().map(proto).collect(),
        }),
    };
    ProtoValue { kind: Some(kind) }
}

/// A time as REST takes it. One that no calendar has stands for the nearest that it has.
pub(crate) fn rfc3339(at: ProtoTime) -> String {
    let millis = at.seconds.saturating_mul(1_000);
    let millis = millis.saturating_add(i64::from(at.nanos / NANOS_PER_MS));
    Timestamp(millis.clamp(0, Timestamp::MAX.0)).to_rfc3339()
}

pub(crate) fn time(at: Timestamp) -> ProtoTime {
    let nanos = i32::try_from(at.0.rem_euclid(1_000)).unwrap_or_default();
    ProtoTime {
        seconds: at.0.div_euclid(1_000),
        nanos: nanos * NANOS_PER_MS,
    }
}

fn time_of(iso: Option<Iso>) -> Option<ProtoTime> {
    iso.map(|iso| time(iso.0))
}

fn int(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

/// A count, which never comes near the end of 63 bits.
pub(crate) fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn word(status: JobsStatus) -> pb::JobStatus {
    match status {
        JobsStatus::Pending => pb::JobStatus::Pending,
        JobsStatus::Scheduled => pb::JobStatus::Scheduled,
        JobsStatus::Processing => pb::JobStatus::Processing,
        JobsStatus::Completed => pb::JobStatus::Completed,
        JobsStatus::Failed => pb::JobStatus::Failed,
        JobsStatus::Deadletter => pb::JobStatus::Deadletter,
        JobsStatus::Cancelled => pb::JobStatus::Cancelled,
    }
}

/// A job that was read.
pub(crate) fn job(job: JobsJob) -> pb::Job {
    pb::Job {
        status: word(job.status).into(),
        payload: Some(structure(&job.payload)),
        result: job.result.as_deref().map(structure),
        retry_count: int(job.retry_count),
        max_retries: int(job.max_retries),
        last_error: job.last_error.unwrap_or_default(),
        priority: int(job.priority),
        timeout_seconds: int(job.timeout_seconds),
        created_at: Some(time(job.created_at.0)),
        scheduled_at: time_of(job.scheduled_at),
        started_at: time_of(job.started_at),
        completed_at: time_of(job.completed_at),
        lease_expires_at: time_of(job.lease_expires_at),
        assigned_worker_id: job.assigned_worker_id.unwrap_or_default(),
        idempotency_key: job.idempotency_key.unwrap_or_default(),
        lease_id: job.lease_id.unwrap_or_default(),
        id: job.id,
        organization_id: job.organization_id,
        queue_name: job.queue_name,
    }
}

/// A job that its worker holds from now on.
pub(crate) fn held(held: &HeldJob, organization: &str, worker: &str) -> pb::Job {
    let created = &held.created;
    // A key that Waybill made did not come from the client.
    let key = created.idempotency_key.clone();
    let key = key.filter(|key| !key.contains('→'));
    pb::Job {
        id: held.id(),
        organization_id: organization.to_owned(),
        queue_name: created.queue.to_string(),
        status: pb::JobStatus::Processing.into(),
        payload: Some(structure(&held.payload())),
        result: None,
        retry_count: int(held.retry_count()),
        max_retries: int(created.max_retries),
        last_error: String::new(),
        priority: int(created.priority.value()),
        timeout_seconds: int(held.timeout_seconds()),
        created_at: Some(time(held.created_at())),
        scheduled_at: created.not_before.map(time),
        started_at: Some(time(entropy::now())),
        completed_at: None,
        lease_expires_at: Some(time(held.ends)),
        assigned_worker_id: worker.to_owned(),
        idempotency_key: key.unwrap_or_default(),
        lease_id: held.claim.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_is_json_and_json_a_struct_again() {
        let text = r#"{"a":[1,-2.5,null,true],"b":{"c":"ä"},"n":9007199254740992}"#;
        let given = RawValue::from_string(text.to_owned()).expect("JSON");
        let there = structure(&given);
        assert_eq!(json(there).expect("JSON").get(), text);
        for other in ["[1]", "1", "null", r#""x""#] {
            let other = RawValue::from_string(other.to_owned()).expect("JSON");
            assert_eq!(structure(&other), Struct::default());
        }
    }

    #[test]
    fn what_is_no_number_is_null_and_what_is_large_stays_a_number() {
        assert_eq!(number_of(f64::NAN), None);
        assert_eq!(number_of(f64::INFINITY), None);
        assert_eq!(number_of(-0.0), Some(Number::from(0)));
        assert_eq!(number_of(1e300), Number::from_f64(1e300));
    }

    #[test]
    fn zero_is_not_said_and_what_is_out_of_bounds_is_the_nearest() {
        let leases = [0, 1, 5, 3_600, 3_601, -1].map(lease_secs);
        assert_eq!(leases, [300, 5, 5, 3_600, 3_600, 5]);
        assert_eq!([0, -3, 7].map(counted), [None, Some(-3), Some(7)]);
    }

    #[test]
    fn times_go_there_and_back() {
        let at = Timestamp(1_800_000_000_123);
        let there = time(at);
        assert_eq!((there.seconds, there.nanos), (1_800_000_000, 123_000_000));
        assert_eq!(rfc3339(there), at.to_rfc3339());
        let never = ProtoTime {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(rfc3339(never), Timestamp::MAX.to_rfc3339());
    }
}
