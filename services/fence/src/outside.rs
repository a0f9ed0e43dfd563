//! The barrier for those who are no gateway: a command line asks whichever gateway is there.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::client::{Request, RequestErrorKind};
use futures::StreamExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::{FenceRecord, FenceTiming, GatewayId, MarkRecord};
use waybill_log::{Fences, StreamSeq};

use crate::{Fence, FenceError};

/// Where gateways are asked; one of them answers.
const SUBJECT: &str = "wb.fence.settle";
const GATEWAYS: &str = "gateways";
/// The answer when all know.
const SETTLED: &[u8] = b"settled";
/// Questions answered at a time; each waits for the barrier, which they share.
const MAX_AT_A_TIME: usize = 64;
/// Beyond the longest life of a lease: for a mark to be stored.
const MARGIN: Duration = Duration::from_secs(3);
/// Pause before the questions are subscribed to again.
const PAUSE: Duration = Duration::from_millis(500);

/// Answers until stopped.
pub async fn answer(fence: Arc<Fence>, nats: Client, stop: CancellationToken) {
    let serve = async {
        loop {
            if let Err(error) = serve(&fence, &nats).await {
                tracing::warn!(%error, "the barrier is not open to commands");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
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
        let seq = std::str::from_utf8(&question.payload).ok();
        let seq = seq.and_then(|text| text.parse().ok()).map(StreamSeq);
        let (Some(seq), Some(to)) = (seq, question.reply) else {
            continue;
        };
        let (fence, nats) = (Arc::clone(fence), nats.clone());
        answering.spawn(async move {
            let answer = match fence.everywhere(seq).await {
                Ok(()) => SETTLED.into(),
                Err(error) => error.to_string().into(),
            };
            // Whoever asked may be gone; asking again is safe.
            let _ = nats.publish(to, answer).await;
        });
        while answering.try_join_next().is_some() {}
    }
    Ok(())
}

/// Returns once what stands at `seq` of CONTROL holds everywhere. Where no gateway answers there may still be one that is cut off and
/// serves on its last lease, and there may be workers: the mark is made here then, and every lease from before it is waited out.
pub async fn settle(
    fences: &dyn Fences,
    nats: &Client,
    seq: StreamSeq,
    timing: FenceTiming,
) -> Result<(), FenceError> {
    let longest = timing.horizon() + MARGIN;
    let request = Request::new()
        .payload(seq.to_string().into())
        .timeout(Some(longest));
    match nats.send_request(SUBJECT, request).await {
        Ok(answer) if *answer.payload == *SETTLED => Ok(()),
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
