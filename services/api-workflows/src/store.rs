//! Making members: all of them in one append, or none.

use futures::StreamExt;
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepted, Accepting};
use waybill_api_tasks::credentials::Checked;
use waybill_domain::event::TaskCreated;
use waybill_domain::flow::MemberOf;
use waybill_domain::id::TaskId;
use waybill_domain::time::Timestamp;
use waybill_edge::error::ApiError;
use waybill_edge::idempotency::Repeat;
use waybill_log::{Append, Atomicity, Expectation, MsgId, Stream};

/// Tasks with credentials in their headers wait until the key of their seal is stored; this many at the same time.
const SEALED_AT_A_TIME: usize = 32;

/// A member that is ready to be stored.
pub struct Ready {
    pub id: TaskId,
    pub checked: Checked,
    pub member: MemberOf,
    /// What the whole is found by when it is asked for again: of the first member.
    pub key: Option<String>,
}

/// What became of an append.
pub enum Stored {
    /// The members are in the log.
    New(Vec<TaskCreated>),
    /// An append with the same id was stored before.
    Before,
}

/// Stores members, in this order. `repeated_by`: the same id makes them once, whoever sends it.
pub async fn store(
    state: &TasksApi,
    accepting: &Accepting<'_>,
    members: Vec<Ready>,
    at: Timestamp,
    repeated_by: Option<MsgId>,
) -> Result<Stored, ApiError> {
    let repeat = match repeated_by {
        Some(_) => Repeat::ByKey,
        None => Repeat::AfterLooking,
    };
    let accepted: Vec<Result<Accepted, ApiError>> = futures::stream::iter(members)
        .map(async |ready| {
            let Ready {
                id,
                mut checked,
                member,
                key,
            } = ready;
            checked.spec.member = Some(Box::new(member));
            accepting.accept_as(checked, key, id, at).await
        })
        .buffered(SEALED_AT_A_TIME)
        .collect()
        .await;
    let mut records = Vec::with_capacity(accepted.len());
    let mut created = Vec::with_capacity(accepted.len());
    for accepted in accepted {
        let Accepted {
            created: event,
            record,
        } = accepted?;
        created.push(event);
        records.push(record);
    }
    let appended = state.log.append(Append {
        stream: Stream::Tasks,
        records,
        expect: Expectation::None,
        atomicity: Atomicity::Atomic,
        msg_id: repeated_by,
    });
    let first = created.first().map(|event| event.id);
    match appended.await {
        Ok(appended) if appended.duplicate => Ok(Stored::Before),
        Ok(appended) => {
            accepting.acknowledged(&appended);
            Ok(Stored::New(created))
        }
        Err(error) => {
            let error = ApiError::from(error);
            Err(match first {
                Some(id) => error.for_unknown(id, repeat),
                None => error,
            })
        }
    }
}
