//! Makes the barrier available to processes that are not gateways: a command line asks any gateway.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::header::HeaderMap;
use async_nats::{Client, Subject};
use bytes::Bytes;
use futures::StreamExt;
use metrics::counter;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::{FenceRecord, FenceTiming, GatewayId, MarkRecord};
use waybill_domain::trust::{Message, Trust};
use waybill_log::{Fences, StreamSeq};

use crate::sending::{signature, signed};
use crate::{Fence, FenceError};

/// Subject of the requests; one gateway of the queue group replies.
const SUBJECT: &str = "wb.fence.settle";
const GATEWAYS: &str = "gateways";
/// Reply once the change holds everywhere.
const SETTLED: &[u8] = b"settled";
/// Limit of requests that are answered at a time. Each waits for the barrier, and they share its
/// marks.
const MAX_AT_A_TIME: usize = 64;
/// Time limit beyond the longest life of a lease: for storing a mark.
const MARGIN: Duration = Duration::from_secs(3);
/// Pause before the subscription is renewed.
const PAUSE: Duration = Duration::from_millis(500);

/// Answers requests until stopped.
pub async fn answer(fence: Arc<Fence>, nats: Client, stop: CancellationToken) {
    let serve = async {
        loop {
            if let Err(error) = serve(&fence, &nats).await {
                tracing::warn!(%error, "the subscription to barrier requests failed, so the command line cannot wait for changes of access; subscribing again");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    // Cut-off requests get no reply, and the caller asks another gateway.
    tokio::select! {
        () = stop.cancelled() => {}
        () = serve => {}
    }
}

async fn serve(fence: &Arc<Fence>, nats: &Client) -> Result<(), async_nats::SubscribeError> {
    let mut questions = nats.queue_subscribe(SUBJECT, GATEWAYS.to_owned()).await?;
    let mut answering = JoinSet::new();
    while let Some(question) = questions.next().await {
        while answering.len() >= MAX_AT_A_TIME {
            answering.join_next().await;
        }
        let Some((seq, to)) = asked(&fence.trust, &question) else {
            counter!("waybill_fence_messages_refused_total").increment(1);
            continue;
        };
        let (fence, nats) = (Arc::clone(fence), nats.clone());
        answering.spawn(async move {
            let answer: Bytes = match fence.everywhere(seq).await {
                Ok(()) => SETTLED.into(),
                Err(error) => error.to_string().into(),
            };
            let headers = answer_headers(&fence.trust, seq, &to, &answer);
            // The caller may be gone; asking again is safe.
            let _ = nats.publish_with_headers(to, headers, answer).await;
        });
        while answering.try_join_next().is_some() {}
    }
    Ok(())
}

/// The position that is asked for, and where the reply goes. The request is signed together with
/// its reply subject, so nobody can replay it with another one; and the reply is signed by the
/// gateway together with the request, so it answers no other request.
fn asked(trust: &Trust, question: &async_nats::Message) -> Option<(StreamSeq, Subject)> {
    let text = std::str::from_utf8(&question.payload).ok()?;
    let (seq, to) = (text.parse().ok()?, question.reply.clone()?);
    let parts = [to.as_bytes(), &*question.payload];
    match trust.check_message(Message::Settle, &parts, signature(question), false) {
        Ok(()) => Some((StreamSeq(seq), to)),
        Err(void) => {
            tracing::warn!(%void, "a request to the barrier is not validly signed; it is not answered");
            None
        }
    }
}

fn answer_headers(trust: &Trust, seq: StreamSeq, to: &str, answer: &[u8]) -> HeaderMap {
    let seq = seq.to_string();
    let parts = [to.as_bytes(), seq.as_bytes(), answer];
    signed(trust, Message::Settled, &parts)
}

/// Returns once the record at `seq` of CONTROL holds everywhere. If no gateway answers, one may
/// still be cut off and deciding under its last lease, and there may be workers. In that case, this
/// function publishes the mark itself, and waits until every older lease has ended.
pub async fn settle(
    fences: &dyn Fences,
    nats: &Client,
    seq: StreamSeq,
    timing: FenceTiming,
) -> Result<(), FenceError> {
    let longest = timing.horizon() + MARGIN;
    let trust = fences.trust();
    let (text, inbox) = (seq.to_string(), nats.new_inbox());
    let question = [inbox.as_bytes(), text.as_bytes()];
    let request = Request::new()
        .headers(signed(&trust, Message::Settle, &question))
        .payload(text.clone().into())
        .inbox(inbox.clone())
        .timeout(Some(longest));
    match nats.send_request(SUBJECT, request).await {
        Ok(answer) if *answer.payload == *SETTLED => {
            let parts = [inbox.as_bytes(), text.as_bytes(), &*answer.payload];
            trust
                .check_message(Message::Settled, &parts, signature(&answer), false)
                .map_err(|_| FenceError::Unconfirmed)
        }
        Ok(_) => Err(FenceError::Unconfirmed),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => {
            let mark = FenceRecord::Mark(MarkRecord {
                gateway: GatewayId::new(crate::random()),
                control: seq,
            });
            fences
                .publish(mark, MARGIN)
                .await
                .map_err(|_| FenceError::Unconfirmed)?;
            tokio::time::sleep(timing.horizon()).await;
            Ok(())
        }
        Err(_) => Err(FenceError::Unconfirmed),
    }
}
