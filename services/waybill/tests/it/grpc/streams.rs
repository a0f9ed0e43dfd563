//! Calls that stay open: jobs that are pushed, and a worker that claims and reports on one stream.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Code;
use waybill_api_jobs_grpc::pb;
use waybill_api_jobs_grpc::pb::process_request::Request as Asked;
use waybill_api_jobs_grpc::pb::process_response::Response as Said;

use super::{Client, SOON, done, job, lesser_key, refused};
use crate::installation::Installation;

fn stream_of(queue: &str, worker: &str) -> pb::StreamJobsRequest {
    pb::StreamJobsRequest {
        queue_name: queue.to_owned(),
        worker_id: worker.to_owned(),
        lease_duration_secs: 30,
    }
}

async fn next<T>(stream: &mut tonic::Streaming<T>) -> Result<T> {
    let message = tokio::time::timeout(SOON, stream.message()).await;
    let message = message.context("a message in time")??;
    message.context("the stream goes on")
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_pushed_one_at_a_time_until_the_key_is_revoked() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let admin = Client::of(&up, &key).await?;
    let wish = json!({"name": "worker", "scopes": ["jobs:read", "jobs:write"]});
    let own = lesser_key(&mut installation, &http, wish).await?;
    let client = admin.with_key(&own);

    let request = client.ask(stream_of("pushed", "w"));
    let mut stream = client.queue().stream_jobs(request).await?.into_inner();
    let first = client.enqueue(job("pushed")).await?.job_id;
    let second = client.enqueue(job("pushed")).await?.job_id;
    let held = next(&mut stream).await?;
    assert_eq!((&held.id, held.assigned_worker_id.as_str()), (&first, "w"));
    assert_eq!(client.job(&second).await?.status(), pb::JobStatus::Pending);
    client.complete(done(&held)).await?;
    let held = next(&mut stream).await?;
    assert_eq!(held.id, second);
    // A failure settles it as well, and it comes again after its pause.
    client.fail(&held, None).await?;
    let held = next(&mut stream).await?;
    assert_eq!((&held.id, held.retry_count), (&second, 1));
    client.complete(done(&held)).await?;

    // A client that goes away while it waits takes no job with it.
    drop(stream);
    client.enqueue(job("pushed")).await?;
    let held = client.claim("pushed", "other").await?;
    assert_eq!(held.retry_count, 0);
    client.complete(done(&held)).await?;

    let request = client.ask(stream_of("pushed", "w"));
    let mut stream = client.queue().stream_jobs(request).await?.into_inner();
    let id = http.with_key(&own).get("/v1/key").await?.json()["apiKey"]["id"].clone();
    let id = id.as_str().context("an id")?.to_owned();
    let revoked = http
        .post(&format!("/apikeys/{id}/revoke"), &json!({}))
        .await?;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    let ended = tokio::time::timeout(SOON, stream.message()).await?;
    refused(ended, Code::Unauthenticated, "Invalid API key");

    let request = admin.ask(stream_of("pushed", ""));
    let no_worker = admin.queue().stream_jobs(request).await.map(|_| ());
    refused(no_worker, Code::InvalidArgument, "Worker ID is required");
    let begun = Instant::now();
    let request = admin.ask(stream_of("pushed", "w"));
    let _open = admin.queue().stream_jobs(request).await?;
    up.interrupt().await?;
    assert!(begun.elapsed() < SOON, "an open stream holds no gateway up");
    Ok(())
}

fn claim(queue: &str, batch_size: i32) -> pb::ProcessRequest {
    asked(Asked::Dequeue(pb::DequeueRequest {
        queue_name: queue.to_owned(),
        worker_id: "w".to_owned(),
        lease_duration_secs: 30,
        batch_size,
    }))
}

fn asked(request: Asked) -> pb::ProcessRequest {
    pb::ProcessRequest {
        request: Some(request),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_claims_and_reports_on_one_stream() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let client = Client::of(&up, &key).await?;
    for _ in 0..2 {
        client.enqueue(job("both")).await?;
    }
    let (requests, given) = mpsc::channel(16);
    let given = futures::stream::unfold(given, |mut given| async move {
        let next: pb::ProcessRequest = given.recv().await?;
        Some((next, given))
    });
    let request = client.ask(given);
    let mut answers = client.queue().process_jobs(request).await?.into_inner();

    requests.send(claim("both", 2)).await?;
    let mut held = Vec::new();
    for _ in 0..2 {
        match next(&mut answers).await?.response {
            Some(Said::Job(job)) => held.push(job),
            other => anyhow::bail!("no job: {other:?}"),
        }
    }
    // All at once: the answers come in the order of the requests.
    requests
        .send(asked(Asked::Complete(done(&held[0]))))
        .await?;
    requests
        .send(asked(Asked::Complete(done(&held[0]))))
        .await?;
    let mut stale = done(&held[1]);
    stale.lease_id = "stale".to_owned();
    requests.send(asked(Asked::Complete(stale))).await?;
    requests
        .send(asked(Asked::RenewLease(pb::RenewLeaseRequest {
            job_id: held[1].id.clone(),
            worker_id: "w".to_owned(),
            lease_id: held[1].lease_id.clone(),
            extension_secs: 60,
        })))
        .await?;
    requests
        .send(asked(Asked::Fail(pb::FailRequest {
            job_id: held[1].id.clone(),
            worker_id: "w".to_owned(),
            lease_id: held[1].lease_id.clone(),
            error: "it broke".to_owned(),
            retry: Some(false),
        })))
        .await?;
    requests.send(claim("both", 1)).await?;
    requests.send(claim("a b", 1)).await?;
    requests.send(pb::ProcessRequest { request: None }).await?;
    let mut told = Vec::new();
    for _ in 0..8 {
        told.push(match next(&mut answers).await?.response {
            Some(Said::Complete(done)) => format!("complete {}", done.success),
            Some(Said::Fail(failed)) => format!("fail {}", failed.will_retry),
            Some(Said::RenewLease(renewed)) => format!("renew {}", renewed.success),
            Some(Said::Error(error)) => error.code,
            other => format!("{other:?}"),
        });
    }
    assert_eq!(
        told,
        [
            "complete true",
            "CONFLICT",
            "LEASE_EXPIRED",
            "renew true",
            "fail false",
            "NO_JOBS",
            "INVALID_ARGUMENT",
            "INVALID_REQUEST"
        ]
    );
    drop(requests);
    let ended = tokio::time::timeout(Duration::from_secs(20), answers.message()).await??;
    assert!(ended.is_none());
    up.interrupt().await?;
    Ok(())
}
