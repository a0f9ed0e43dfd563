//! A gateway as its fence sees it: a lease, something that applies CONTROL, and a network that can be cut.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::{FenceTiming, LeaseKind};
use waybill_domain::trust::{Signer, Speaker};
use waybill_edge::fence::{CopyCheck, Fence, FenceParts};
use waybill_log::jetstream::SignaturesConfig;
use waybill_log::subject::ControlSubject;
use waybill_log::{
    Append, Atomicity, Expectation, Fences, JetStreamLog, Log, NatsConfig, NewRecord, Stream,
    StreamSeq,
};
use waybill_testkit::{NatsServer, Proxy, eventually};

use crate::world::SOON;

/// As long as leases last in these tests.
pub(super) const LEASE: Duration = Duration::from_secs(2);

/// What gateways of these tests sign with, from the first record on.
pub(super) fn signatures() -> Result<SignaturesConfig> {
    Ok(SignaturesConfig {
        required_from: Some(1),
        signer: Some(Signer::new(Speaker::Control, &[7; 32])?),
        ..SignaturesConfig::default()
    })
}

pub(super) struct Member {
    pub(super) fence: Arc<Fence>,
    /// What the fence wants compared; nobody answers by itself.
    pub(super) copy: Arc<CopyCheck>,
    pub(super) proxy: Proxy,
    log: JetStreamLog,
    applied: watch::Receiver<StreamSeq>,
    frozen: watch::Sender<bool>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Member {
    pub(super) async fn start(nats: &NatsServer) -> Result<Self> {
        Self::begin(nats, false, LeaseKind::Gateway).await
    }

    pub(super) async fn start_worker(nats: &NatsServer) -> Result<Self> {
        Self::begin(nats, false, LeaseKind::Worker).await
    }

    /// It applies nothing of CONTROL until it is told to.
    pub(super) async fn start_frozen(nats: &NatsServer) -> Result<Self> {
        Self::begin(nats, true, LeaseKind::Gateway).await
    }

    /// Signs what it says and believes nothing else.
    pub(super) async fn start_signed(nats: &NatsServer) -> Result<Self> {
        let (gateway, signatures) = (LeaseKind::Gateway, signatures()?);
        Self::begin_with(nats, false, gateway, signatures).await
    }

    async fn begin(nats: &NatsServer, is_frozen: bool, kind: LeaseKind) -> Result<Self> {
        Self::begin_with(nats, is_frozen, kind, SignaturesConfig::default()).await
    }

    async fn begin_with(
        nats: &NatsServer,
        is_frozen: bool,
        kind: LeaseKind,
        signatures: SignaturesConfig,
    ) -> Result<Self> {
        let proxy = Proxy::start(format!("127.0.0.1:{}", nats.port())).await?;
        let config = NatsConfig {
            signatures,
            ..NatsConfig::at(proxy.url())
        };
        let log = waybill_log::connect(&config).await?;
        let fences = Arc::new(log.clone());
        Ok(Self::on(log, fences, proxy, kind, is_frozen))
    }

    /// One that sees FENCE as somebody else shows it.
    pub(super) async fn start_seeing<F: Fences>(
        nats: &NatsServer,
        seeing: impl FnOnce(JetStreamLog) -> Arc<F>,
    ) -> Result<Self> {
        let proxy = Proxy::start(format!("127.0.0.1:{}", nats.port())).await?;
        let log = waybill_log::connect(&NatsConfig::at(proxy.url())).await?;
        let fences = seeing(log.clone());
        Ok(Self::on(log, fences, proxy, LeaseKind::Gateway, false))
    }

    fn on(
        log: JetStreamLog,
        fences: Arc<dyn Fences>,
        proxy: Proxy,
        kind: LeaseKind,
        is_frozen: bool,
    ) -> Self {
        let (frozen, is_frozen) = watch::channel(is_frozen);
        let (apply, applied) = watch::channel(StreamSeq(0));
        let stop = CancellationToken::new();
        let copy = Arc::<CopyCheck>::default();
        let (fence, task) = Fence::new(FenceParts {
            fences,
            log: Arc::new(log.clone()),
            nats: log.client(),
            control: applied.clone(),
            copy: Arc::clone(&copy),
            timing: FenceTiming::lasting(LEASE),
            kind,
        });
        let applying = follow(log.clone(), is_frozen, apply, stop.clone());
        let tasks = vec![tokio::spawn(applying), tokio::spawn(task.run(stop.clone()))];
        Self {
            fence,
            copy,
            proxy,
            log,
            applied,
            frozen,
            stop,
            tasks,
        }
    }

    pub(super) fn log(&self) -> &JetStreamLog {
        &self.log
    }

    pub(super) async fn serving(&self) -> Result<()> {
        eventually(SOON, async || self.fence.is_serving()).await?;
        Ok(())
    }

    pub(super) fn applied(&self) -> StreamSeq {
        *self.applied.borrow()
    }

    pub(super) fn freeze_control(&self) {
        self.frozen.send_replace(true);
    }

    pub(super) fn thaw_control(&self) {
        self.frozen.send_replace(false);
    }

    /// Something that takes a right away.
    pub(super) async fn append(&self) -> Result<StreamSeq> {
        let record = NewRecord {
            subject: ControlSubject::global("test", "x")?.to_string(),
            event: "test.v1",
            actor: "system:test".to_owned(),
            traceparent: None,
            origin: None,
            payload: bytes::Bytes::new(),
        };
        let append = Append {
            stream: Stream::Control,
            records: vec![record],
            expect: Expectation::None,
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        let appended = self.log.append(append).await?;
        appended.seqs.first().copied().context("a sequence")
    }

    /// How often somebody has begun.
    pub(super) async fn starts(&self) -> Result<usize> {
        let filters = ["control._.gateway.*".to_owned()];
        let all = StreamSeq(u64::MAX);
        let records = self
            .log
            .range(Stream::Control, &filters, StreamSeq(1), all, 1_000)
            .await?;
        Ok(records.len())
    }

    pub(super) async fn fence_last(&self) -> Result<StreamSeq> {
        Ok(self.log.fence_bounds().await?.last)
    }

    /// Something that is no record, where workers may write.
    pub(super) async fn write_garbage(&self) -> Result<()> {
        let context = async_nats::jetstream::new(self.log.client());
        let stored = context.publish("fence.worker.garbage", "x".into()).await?;
        stored.await?;
        Ok(())
    }

    /// What an operator does who puts back a backup.
    pub(super) async fn make_fence_anew(&self) -> Result<()> {
        let context = async_nats::jetstream::new(self.log.client());
        let mut stream = context.get_stream("FENCE").await?;
        let config = stream.info().await?.config.clone();
        context.delete_stream("FENCE").await?;
        context.create_stream(config).await?;
        Ok(())
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        for task in self.tasks {
            task.await?;
        }
        assert!(!self.fence.is_serving());
        Ok(())
    }
}

async fn follow(
    log: JetStreamLog,
    mut frozen: watch::Receiver<bool>,
    applied: watch::Sender<StreamSeq>,
    stop: CancellationToken,
) {
    let mut tail = log.tail(Stream::Control, Vec::new(), StreamSeq(1));
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return,
            batch = tail.next_batch(100) => batch,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            thawed = frozen.wait_for(|frozen| !frozen) => drop(thawed),
        }
        if let Some(last) = batch.unwrap_or_default().last() {
            applied.send_replace(last.seq);
        }
    }
}
