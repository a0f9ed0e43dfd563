//! Messages of the barrier that a stranger makes up, who may reach NATS and has no key.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_nats::client::Request;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::{FenceRecord, FenceTiming, LeaseKind, LeaseRecord};
use waybill_edge::fence::outside::answer;
use waybill_edge::fence::settle;
use waybill_log::{Fences, JetStreamLog, NatsConfig, StreamSeq};
use waybill_testkit::NatsServer;

use super::LATE;
use super::rig::{LEASE, Member, signatures};

async fn a_stranger(nats: &NatsServer) -> Result<JetStreamLog> {
    Ok(waybill_log::connect(&NatsConfig::at(nats.url())).await?)
}

/// Says in the name of a gateway that it has applied everything, and that it holds no lease any more.
async fn speak_for(member: &Member, stranger: &JetStreamLog) -> Result<()> {
    let holder = member.fence.holder();
    let applied = StreamSeq(stranger.fence_bounds().await?.last.0 + 1_000);
    let subject = format!("wb.fence.ack.{holder}");
    let client = stranger.client();
    client.publish(subject, applied.to_string().into()).await?;
    client.flush().await?;
    let record = FenceRecord::Lease(LeaseRecord {
        gateway: holder,
        kind: LeaseKind::Gateway,
        applied,
        control: StreamSeq(1),
        released: true,
    });
    stranger.publish(record, LATE).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_a_gateway_without_its_key() -> Result<()> {
    for is_signed in [false, true] {
        let nats = NatsServer::start().await?;
        let start = async || {
            if is_signed {
                Member::start_signed(&nats).await
            } else {
                Member::start(&nats).await
            }
        };
        let (one, two) = (start().await?, start().await?);
        one.serving().await?;
        two.serving().await?;
        two.freeze_control();
        let seq = one.append().await?;
        speak_for(&two, &a_stranger(&nats).await?).await?;
        // A gateway that has not applied it may still hold a lease: nobody may be told that it knows.
        let early = tokio::time::timeout(LEASE / 4, one.fence.everywhere(seq)).await;
        assert_eq!(
            early.is_ok(),
            !is_signed,
            "without signatures it is believed"
        );
        assert!(
            one.fence.is_serving(),
            "made-up records cost nobody a lease"
        );
        two.thaw_control();
        one.fence.everywhere(seq).await?;
        one.stop().await?;
        two.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whoever_has_a_key_asks_the_barrier_and_answers_for_it() -> Result<()> {
    let nats = NatsServer::start().await?;
    let gateway = Member::start_signed(&nats).await?;
    gateway.serving().await?;
    let stop = CancellationToken::new();
    let (fence, client) = (Arc::clone(&gateway.fence), gateway.log().client());
    let answering = tokio::spawn(answer(fence, client, stop.clone()));
    let seq = gateway.append().await?;
    let timing = FenceTiming::lasting(LEASE);
    let operator = NatsConfig {
        signatures: signatures()?,
        ..NatsConfig::at(nats.url())
    };
    let operator = waybill_log::connect(&operator).await?;
    settle(&operator, &operator.client(), seq, timing).await?;

    let stranger = a_stranger(&nats).await?;
    let question = Request::new()
        .payload(seq.to_string().into())
        .timeout(Some(Duration::from_millis(500)));
    let asked = stranger
        .client()
        .send_request("wb.fence.settle", question)
        .await;
    assert!(asked.is_err(), "it is not answered: {asked:?}");
    stop.cancel();
    answering.await?;

    // Whoever answers in a gateway's place is not believed either.
    let impostor = stranger.client();
    let mut questions = impostor.subscribe("wb.fence.settle").await?;
    impostor.flush().await?;
    let lying = tokio::spawn(async move {
        use futures::StreamExt as _;
        if let Some(to) = questions.next().await.and_then(|question| question.reply) {
            impostor.publish(to, "settled".into()).await?;
            impostor.flush().await?;
        }
        anyhow::Ok(())
    });
    let settled = settle(&operator, &operator.client(), seq, timing).await;
    assert!(settled.is_err(), "the lie was believed");
    lying.await??;
    gateway.stop().await
}
