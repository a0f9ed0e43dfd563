//! Lists of VKEYS, page by page. Direct gets are disabled on this stream, so each page uses a
//! short-lived consumer. The consumer may run on a replica that lags, so the rest of the page is
//! read from the leader; all of it is, where this process may not create consumers.

use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use futures::StreamExt;
use serde_json::json;

use super::{STREAM, VaultKeyStore};
use crate::jetstream::api::Api;
use crate::jetstream::wire::{self, Delivery};
use crate::vault_keys::MAX_LISTED;
use crate::{ReadError, Record, StreamSeq};

/// The server removes an unused consumer after this long, for example if the process that created
/// it has died.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

impl VaultKeyStore {
    /// Up to `limit` messages from `from` that match one of the filters, in order.
    pub(super) async fn page(
        &self,
        filters: &[String],
        from: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let limit = limit.min(MAX_LISTED);
        let mut records = Vec::new();
        if limit == 0 {
            return Ok(records);
        }
        let connection = self.reader.connection();
        let is_whole = if connection.may_create_consumers() {
            let pulled = self.pull(filters, from, limit, &mut records);
            let pulled = connection.unless_lost(pulled).await;
            // A message may have broken the connection.
            let is_lost = pulled.is_none();
            pulled.unwrap_or(Ok(()))?;
            !is_lost && !self.reader.is_replicated()
        } else {
            false
        };
        if !is_whole {
            self.finish_at_leader(filters, from, limit, &mut records)
                .await?;
        }
        Ok(records)
    }

    async fn pull(
        &self,
        filters: &[String],
        from: StreamSeq,
        limit: usize,
        records: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        let client = &self.reader.connection().client;
        let inbox = client.new_inbox();
        let messages = client.subscribe(inbox.clone()).await.map_err(unavailable)?;
        let consumer = inbox.rsplit('.').next().unwrap_or("list").to_owned();
        self.open(&consumer, filters, from).await?;
        let verb = format!("CONSUMER.MSG.NEXT.{STREAM}.{consumer}");
        let body = json!({ "batch": limit, "no_wait": true }).to_string();
        let sent = client.publish_with_reply(Api::subject(&verb), inbox, body.into());
        sent.await.map_err(unavailable)?;
        let drained = self.drain(messages, from, limit, records).await;
        // The answer is not awaited, since the server also removes an idle consumer by itself.
        let delete = Api::subject(&format!("CONSUMER.DELETE.{STREAM}.{consumer}"));
        if let Err(error) = client.publish(delete, "".into()).await {
            tracing::debug!(%error, "deleting a consumer failed; the server removes it when it is idle");
        }
        drained
    }

    async fn open(
        &self,
        consumer: &str,
        filters: &[String],
        from: StreamSeq,
    ) -> Result<(), ReadError> {
        let body = json!({
            "stream_name": STREAM,
            "action": "create",
            "config": {
                "name": consumer,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": from.0.max(1),
                "ack_policy": "none",
                "replay_policy": "instant",
                "filter_subjects": filters,
                "mem_storage": true,
                "num_replicas": 1,
                "inactive_threshold": u64::try_from(FORGOTTEN_AFTER.as_nanos()).unwrap_or(u64::MAX),
            },
        });
        let verb = format!("CONSUMER.CREATE.{STREAM}.{consumer}");
        Ok(self.api.call(&verb, &body).await.map(drop)?)
    }

    /// Takes the messages of one pull request, until the server says that there are no more.
    async fn drain(
        &self,
        mut messages: Subscriber,
        from: StreamSeq,
        limit: usize,
        records: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        let patience = self.api.timeout();
        for delivered in 1..=limit as u64 {
            let message = tokio::time::timeout(patience, messages.next()).await;
            let message = message
                .map_err(|_| unavailable(format!("no answer within {patience:?}")))?
                .ok_or_else(|| unavailable("the subscription ended"))?;
            // A message with a place in the consumer's count is a stored one, whatever status its
            // publisher gave it.
            let delivery = message.reply.as_deref().and_then(Delivery::parse);
            match message.status {
                Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) if delivery.is_none() => {
                    // There are no messages, or no more.
                    return Ok(());
                }
                Some(status) if delivery.is_none() => {
                    return Err(unavailable(format!("consumer: status {status}")));
                }
                _ => {}
            }
            let delivery = delivery
                .filter(|it| it.consumer_seq == delivered)
                .ok_or_else(|| unavailable("a hole in what was delivered"))?;
            // A consumer on a lagging replica may start earlier than requested.
            if delivery.stream_seq >= from {
                records.push(wire::delivered(STREAM, delivery, message));
            }
        }
        Ok(())
    }

    async fn finish_at_leader(
        &self,
        filters: &[String],
        from: StreamSeq,
        limit: usize,
        records: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        while records.len() < limit {
            let next = records.last().map_or(from, |record| record.seq.next());
            let nearest = self.reader.next_of(filters, next).await?;
            match nearest {
                Some(record) => records.push(record),
                None => break,
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "as it is, it maps errors: `map_err(unavailable)`"
)]
fn unavailable(reason: impl ToString) -> ReadError {
    ReadError::Unavailable {
        reason: reason.to_string(),
    }
}
