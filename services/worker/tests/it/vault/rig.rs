//! A minimal gateway for the vault: it stores, rotates and revokes tokens in a real log, with a
//! real barrier.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::{FenceTiming, LeaseKind};
use waybill_domain::event::{
    ControlEvent, Failure, FailureKind, SealedHeaders, TaskCreated, TaskEvent, TokenCreated,
    TokenEnd, TokenRevoked, TokenRotated,
};
use waybill_domain::id::{Environment, EpochId, TaskId, TokenId};
use waybill_domain::partition::Partition;
use waybill_domain::task::TaskRequest;
use waybill_domain::time::Timestamp;
use waybill_domain::vault::{CredentialHeaders, RawHeaders};
use waybill_fence::{Fence, FenceParts};
use waybill_log::subject::ControlSubject;
use waybill_log::{
    Append, Atomicity, Expectation, JetStreamLog, KeyName, Log, NewRecord, Stream, StreamSeq,
    VaultKeys,
};
use waybill_testkit::eventually;
use waybill_vault::{
    Context, EpochSealer, OpenRing, SealRing, SecretBytes, Unwrapper, WrappedKey, begin_epoch,
    fresh_rings, seal,
};
use waybill_worker::vault::{OpeningParts, SweepPace, Vault, VaultParts};
use waybill_worker::{Clock, SystemClock};

use crate::rig::{Hand, LEASE_TTL, PATIENCE, Rig, config, team};

/// Length of leases in these tests.
pub(super) const LEASE: Duration = Duration::from_secs(2);

pub(crate) struct VaultRig {
    pub(crate) rig: Rig,
    pub(crate) fence: Arc<Fence>,
    seal_ring: SealRing,
    open_ring: Arc<OpenRing>,
    stop: CancellationToken,
}

/// A worker, and its vault.
pub(super) struct Opener {
    pub(super) hand: Hand,
    pub(super) vault: Arc<Vault>,
}

/// An epoch and its key.
pub(super) struct Epoch {
    id: EpochId,
    pub(super) name: KeyName,
    sealer: EpochSealer,
}

impl Epoch {
    /// Removes the credentials from a task's headers and seals them under the key of the epoch.
    pub(super) fn seal_headers(&self, task: &mut TaskCreated) {
        let raw = RawHeaders::take(&mut task.headers, &CredentialHeaders::and(&[]))
            .expect("the task brings credentials");
        let id = task.id.to_string();
        let context = Context::task(task.team.as_str(), &id);
        let secret = SecretBytes::new(raw.encode().to_vec());
        let envelope = self.sealer.seal(&context, &secret).expect("sealed");
        task.sealed = Some(SealedHeaders {
            headers: raw.places(),
            envelope,
            epoch: Some(self.id),
        });
    }
}

impl Drop for VaultRig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl VaultRig {
    pub(crate) async fn new() -> Self {
        Self::over(Rig::new().await).await
    }

    /// A rig whose workers have only the permissions that they need.
    pub(crate) async fn guarded() -> Self {
        Self::over(Rig::guarded().await).await
    }

    async fn over(rig: Rig) -> Self {
        let (seal_ring, open_ring) = fresh_rings().expect("randomness");
        let stop = CancellationToken::new();
        let (apply, control) = watch::channel(StreamSeq(0));
        let (fence, task) = Fence::new(FenceParts {
            fences: Arc::new(rig.log.clone()),
            log: Arc::new(rig.log.clone()),
            nats: rig.log.client(),
            control,
            copy: Arc::default(),
            timing: FenceTiming::lasting(LEASE),
            kind: LeaseKind::Gateway,
        });
        tokio::spawn(task.run(stop.clone()));
        let (log, stopping) = (rig.log.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = follow(log, apply) => {}
            }
        });
        eventually(PATIENCE, async || fence.is_serving())
            .await
            .expect("the gateway gets its lease");
        Self {
            rig,
            fence,
            seal_ring,
            open_ring: Arc::new(open_ring),
            stop,
        }
    }

    /// Starts a worker with the keys of the vault, and a lease.
    pub(super) async fn worker(&self, name: &str) -> Opener {
        let opener = self.worker_at(name, &self.rig.nats.url()).await;
        eventually(PATIENCE, async || opener.vault.is_serving())
            .await
            .expect("the worker gets its lease");
        opener
    }

    pub(super) async fn worker_at(&self, name: &str, url: &str) -> Opener {
        self.worker_with(name, url, Some(Arc::clone(&self.open_ring) as _))
            .await
    }

    /// Starts a worker of which only the vault connects to NATS at the given address: if that is
    /// cut off, it still runs tasks.
    pub(super) async fn worker_with_vault_at(&self, name: &str, url: &str) -> Opener {
        let beside = waybill_log::connect(&config(url, LEASE_TTL.as_secs()))
            .await
            .expect("the log is there");
        let (vault, service) = Vault::new(parts(&beside, Some(Arc::clone(&self.open_ring) as _)));
        let made = Arc::clone(&vault);
        let hand = self
            .rig
            .worker_with(name, &self.rig.nats.url(), |_| Some((made, service)))
            .await;
        eventually(PATIENCE, async || vault.is_serving())
            .await
            .expect("the worker gets its lease");
        Opener { hand, vault }
    }

    pub(super) async fn worker_with(
        &self,
        name: &str,
        url: &str,
        unwrapper: Option<Arc<dyn Unwrapper>>,
    ) -> Opener {
        let mut made = None;
        let hand = self
            .rig
            .worker_with(name, url, |log| {
                let (vault, service) = Vault::new(parts(log, unwrapper));
                made = Some(Arc::clone(&vault));
                Some((vault, service))
            })
            .await;
        Opener {
            hand,
            vault: made.expect("a vault"),
        }
    }

    /// Stores a credential, as a gateway would.
    pub(super) async fn keep(&self, value: &str) -> TokenId {
        self.keep_for(value, |_| {}).await
    }

    pub(super) async fn keep_for(
        &self,
        value: &str,
        change: impl FnOnce(&mut TokenCreated),
    ) -> TokenId {
        let token = a_token_id();
        let mut event = TokenCreated {
            token: token.clone(),
            team: team(),
            environment: Environment::Live,
            name: "a credential".to_owned(),
            version: 1,
            envelope: String::new(),
            fits_header: true,
            allowed_hosts: Vec::new(),
            expires_at: None,
            created_by: "system:test".to_owned(),
            at: SystemClock.now(),
        };
        change(&mut event);
        let team = event.team.in_environment(event.environment);
        event.envelope = self.sealed(&team.to_string(), &token, 1, value).await;
        self.append(ControlEvent::TokenCreated(event)).await;
        token
    }

    /// Gives a token another value, and waits until the former one is no longer used.
    pub(super) async fn rotate(&self, token: &TokenId, version: u32, value: &str) {
        let envelope = self
            .sealed(&team().to_string(), token, version, value)
            .await;
        let event = TokenRotated {
            token: token.clone(),
            team: team(),
            version,
            envelope,
            fits_header: true,
            at: SystemClock.now(),
        };
        let seq = self.append(ControlEvent::TokenRotated(event)).await;
        self.fence.everywhere(seq).await.expect("everybody knows");
        self.erase(token, version - 1).await;
    }

    /// Revokes a token. When this returns, the revocation has taken effect everywhere.
    pub(super) async fn revoke(&self, token: &TokenId) {
        let seq = self.append_revocation(token).await;
        self.fence.everywhere(seq).await.expect("everybody knows");
        self.erase(token, 1).await;
    }

    pub(super) async fn append_revocation(&self, token: &TokenId) -> StreamSeq {
        self.append(ControlEvent::TokenRevoked(TokenRevoked {
            token: token.clone(),
            team: team(),
            reason: TokenEnd::Requested,
            at: SystemClock.now(),
        }))
        .await
    }

    pub(super) async fn erase(&self, token: &TokenId, version: u32) {
        let name = key_name(token, version);
        self.rig.log.erase(&name).await.expect("erased");
    }

    /// Seals a value, stores its key, and returns the envelope.
    pub(super) async fn sealed(
        &self,
        team: &str,
        token: &TokenId,
        version: u32,
        value: &str,
    ) -> String {
        let context = Context::token(team, token.as_str(), version);
        let secret = SecretBytes::from(value.to_owned());
        let (envelope, wrapped) = seal(&self.seal_ring, None, &context, &secret)
            .await
            .expect("sealed");
        let name = KeyName::Token {
            team: waybill_domain::id::TeamId::parse(team).expect("a team"),
            token: token.clone(),
            version,
        };
        self.store(&name, &wrapped).await;
        envelope.to_text()
    }

    /// Removes the credentials from a task's headers and seals them for that task alone.
    pub(super) async fn seal_headers(&self, task: &mut TaskCreated) -> KeyName {
        let raw = RawHeaders::take(&mut task.headers, &CredentialHeaders::and(&[]))
            .expect("the task brings credentials");
        let id = task.id.to_string();
        let context = Context::task(task.team.as_str(), &id);
        let secret = SecretBytes::new(raw.encode().to_vec());
        let (envelope, wrapped) = seal(&self.seal_ring, None, &context, &secret)
            .await
            .expect("sealed");
        let name = KeyName::Task {
            team: task.team.clone(),
            task: task.id,
        };
        self.store(&name, &wrapped).await;
        task.sealed = Some(SealedHeaders {
            headers: raw.places(),
            envelope: envelope.to_text(),
            epoch: None,
        });
        name
    }

    /// Begins an epoch, as a gateway does for the first task with a credential.
    pub(super) async fn begin_epoch(&self, partition: Partition) -> Epoch {
        let random = u128::from(getrandom::u64().expect("randomness"));
        let id = EpochId::new(SystemClock.now(), random);
        let (team, text) = (team(), id.to_string());
        let context = Context::epoch(team.as_str(), &text);
        let made = begin_epoch(&self.seal_ring, None, &context).await;
        let (sealer, wrapped) = made.expect("wrapped");
        let name = KeyName::Epoch {
            partition,
            team: team.clone(),
            epoch: id,
        };
        self.store(&name, &wrapped).await;
        Epoch { id, name, sealer }
    }

    pub(super) async fn store(&self, name: &KeyName, wrapped: &WrappedKey) {
        let bytes = wrapped.to_bytes().to_vec().into();
        let stored = self.rig.log.put(name, bytes, StreamSeq(0), None).await;
        stored.expect("the key is stored");
    }

    pub(crate) async fn append(&self, event: ControlEvent) -> StreamSeq {
        let (aggregate, id) = event.aggregate();
        let team = team();
        let subject = ControlSubject::of_team(&team, aggregate, id).expect("a subject");
        let append = Append {
            stream: Stream::Control,
            records: vec![NewRecord {
                subject: subject.to_string(),
                event: event.name(),
                actor: "system:test".to_owned(),
                traceparent: None,
                origin: None,
                payload: event.encode().into(),
            }],
            expect: Expectation::None,
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        let appended = self.rig.log.append(append).await.expect("appended");
        appended.seqs[0]
    }

    /// Runs a task that fails, and returns the failure.
    pub(super) async fn failure_of(&self, task: TaskId) -> Failure {
        let events = self.rig.until(task, "dead").await;
        match events.last() {
            Some(TaskEvent::Dead(dead)) => dead.failure.clone(),
            other => panic!("{task} is not dead: {other:?}"),
        }
    }

    /// Tasks that refer to a token by the header `X-Key`.
    pub(super) async fn using(&self, token: &TokenId, path: &str) -> TaskId {
        self.rig.create(path, with_key(token)).await
    }

    /// Checks that no record of either log contains a text.
    pub(super) async fn assert_nowhere(&self, secret: &str) {
        for stream in [Stream::Tasks, Stream::Control] {
            let records = self
                .rig
                .log
                .range(stream, &[], StreamSeq(1), StreamSeq(u64::MAX), 100_000)
                .await
                .expect("the log can be read");
            for record in records {
                let found = record
                    .payload
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes());
                assert!(!found, "{} {}", record.subject, record.seq);
            }
        }
    }
}

pub(super) fn with_key(token: &TokenId) -> impl FnOnce(&mut TaskRequest) + use<> {
    let header = ("X-Key".to_owned(), token.to_string());
    move |task| task.headers = vec![header]
}

pub(super) fn key_name(token: &TokenId, version: u32) -> KeyName {
    KeyName::Token {
        team: team(),
        token: token.clone(),
        version,
    }
}

pub(super) fn a_token_id() -> TokenId {
    let random = u128::from(getrandom::u64().expect("randomness"));
    TokenId::new(Timestamp(1_700_000_000_000), random)
}

pub(super) fn assert_final(failure: &Failure, kind: FailureKind, message: &str) {
    assert_eq!((failure.kind, failure.message.as_str()), (kind, message));
}

fn parts(log: &JetStreamLog, unwrapper: Option<Arc<dyn Unwrapper>>) -> VaultParts {
    VaultParts {
        log: Arc::new(log.clone()),
        keys: Arc::new(log.clone()),
        tallies: Arc::new(log.clone()),
        clock: Arc::new(SystemClock),
        opening: unwrapper.map(|unwrapper| OpeningParts {
            unwrapper,
            fences: Arc::new(log.clone()),
            nats: log.client(),
            timing: FenceTiming::lasting(LEASE),
        }),
        usage_flush: Duration::from_millis(500),
        sweep: SweepPace {
            first: Duration::from_millis(100),
            every: Duration::from_millis(300),
            older_than: Duration::ZERO,
            epochs_every: Duration::from_millis(300),
            epochs_older_than: Duration::ZERO,
        },
    }
}

async fn follow(log: JetStreamLog, applied: watch::Sender<StreamSeq>) {
    let mut tail = log.tail(Stream::Control, Vec::new(), StreamSeq(1));
    loop {
        let batch = tail.next_batch(100).await.unwrap_or_default();
        if let Some(last) = batch.last() {
            applied.send_replace(last.seq);
        }
    }
}
