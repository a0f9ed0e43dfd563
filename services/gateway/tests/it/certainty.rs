//! A task is called absent only when it is certain: a projector may be cut off from the leader of the log without knowing it.

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use waybill_log::{
    Append, AppendError, Appended, Bounds, JetStreamLog, Log, ReadError, Record, Stream, StreamSeq,
    Tail,
};
use waybill_projector::{Projector, ProjectorConfig};
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use crate::world::{SOON, World, a_task};

/// The end of TASKS that a reader is told while it is cut off.
type Ends = watch::Receiver<Option<Bounds>>;

/// A log whose reader is cut off from the leader of TASKS: it gets no further records, and is told that there are none.
struct CutOff {
    log: JetStreamLog,
    ends: Ends,
}

struct CutOffTail {
    tail: Box<dyn Tail>,
    ends: Ends,
    /// Arrived while it was cut off.
    held: Option<Result<Vec<Record>, ReadError>>,
}

#[async_trait]
impl Tail for CutOffTail {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        if self.held.is_none() {
            self.held = Some(self.tail.next_batch(max).await);
        }
        let healed = self.ends.wait_for(Option::is_none).await;
        healed.expect("the test has not ended");
        self.held.take().unwrap_or_else(|| Ok(Vec::new()))
    }
}

#[async_trait]
impl Log for CutOff {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.log.append(append).await
    }

    fn tail(&self, stream: Stream, filters: Vec<String>, from: StreamSeq) -> Box<dyn Tail> {
        let tail = self.log.tail(stream, filters, from);
        if stream == Stream::Control {
            return tail;
        }
        Box::new(CutOffTail {
            tail,
            ends: self.ends.clone(),
            held: None,
        })
    }

    async fn read(&self, stream: Stream, seq: StreamSeq) -> Result<Option<Record>, ReadError> {
        self.log.read(stream, seq).await
    }

    async fn range(
        &self,
        stream: Stream,
        filters: &[String],
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        self.log.range(stream, filters, from, to, limit).await
    }

    async fn last(&self, stream: Stream, filter: &str) -> Result<Option<Record>, ReadError> {
        self.log.last(stream, filter).await
    }

    async fn bounds(&self, stream: Stream) -> Result<Bounds, ReadError> {
        let told = (*self.ends.borrow()).filter(|_| stream == Stream::Tasks);
        match told {
            Some(bounds) => Ok(bounds),
            None => self.log.bounds(stream).await,
        }
    }

    async fn purge_tasks(&self, first: StreamSeq) -> Result<u64, ReadError> {
        self.log.purge_tasks(first).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_cut_off_projector_does_not_know_is_not_called_absent() -> Result<()> {
    let world = World::start().await?;
    let stop = CancellationToken::new();
    let other = world.another("other", &stop).await?;
    let other_http = Http::at(other.addr()).with_key(&world.key);
    // The only projector from now on.
    world.projector.shutdown().await?;
    let (cut, ends) = watch::channel(None);
    let projector = Projector::start(
        ProjectorConfig::default(),
        Arc::new(CutOff {
            log: world.log.clone(),
            ends,
        }),
        world.log.client(),
        world.folder.path().join("cut-off"),
    );
    eventually(SOON, async || projector.is_ready()).await?;
    let known = other_http.create(&a_task()).await?;
    let read = world.http.get(&format!("/v1/tasks/{known}")).await?;
    assert_eq!(read.status, 200, "{}", read.text());

    cut.send_replace(Some(world.log.bounds(Stream::Tasks).await?));
    // Accepted by another gateway, so this one does not know how far the log must be read.
    let id = other_http.create(&a_task()).await?;
    let path = format!("/v1/tasks/{id}");
    let uncertain = world.http.get(&path).await?;
    assert_eq!(
        (uncertain.status.as_u16(), uncertain.code().as_str()),
        (503, "reads_unavailable"),
        "{}",
        uncertain.text()
    );
    assert!(uncertain.header("retry-after").is_some());
    // What is known is answered all the same.
    let read = world.http.get(&format!("/v1/tasks/{known}")).await?;
    assert_eq!(read.status, 200, "{}", read.text());

    cut.send_replace(None);
    let read = world.http.get(&path).await?;
    assert_eq!(read.status, 200, "{}", read.text());
    let absent = read.task()["id"].as_str().context("an id")?.to_owned();
    let absent = absent.split_at(absent.len() - 4).0.to_owned() + "0000";
    let absent = world.http.get(&format!("/v1/tasks/{absent}")).await?;
    assert_eq!(absent.status, 404, "{}", absent.text());

    stop.cancel();
    other.wait().await?;
    world.shutdown.cancel();
    world.gateway.wait().await?;
    projector.shutdown().await?;
    Ok(())
}
