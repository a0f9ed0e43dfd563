//! Answers queries: with the part that the model has, and the part that only the log has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use waybill_domain::task::TaskRow;
use waybill_log::{Log, ReadError};

use crate::detail::{self, Answers};
use crate::model::{Reader, ReaderError};
use crate::progress::Progress;
use crate::query::{
    ActivityNews, ActivityPage, AreKeysUsed, ByIdempotencyKey, Consistency, CountJobs, Counters,
    DeadGroups, Detail, Flow, FlowPage, FollowActivity, GetCounters, GetFlow, GetStats, GetTask,
    GroupDeadLetters, IdempotentTask, Inclusion, JobCounts, JobPage, ListActivity, ListFlows,
    ListJobs, ListRuns, ListSkipped, ListTasks, ProveConsistency, ProveInclusion, Refused, RunPage,
    RunTally, SelectTasks, Selection, SkippedPage, Stats, TallyRuns, TaskPage, TaskView, Verdict,
    Verify,
};
use crate::service::{ServiceConfig, end_of_tasks, now};
use crate::verify::verify;

/// How old the knowledge about idempotency keys may be: well within the two minutes in which the
/// server itself refuses duplicates.
const IDEMPOTENCY_FRESHNESS: Duration = Duration::from_secs(60);
/// Limit of headers, bodies and answers in one list, in bytes.
const LIST_DETAIL_BYTES: usize = 512 * 1024;
/// Room in a reply besides the large parts of a task: for its row, with a long URL and many
/// attempts.
const ROW_ROOM: usize = 64 * 1024;
/// Milliseconds after which a client may retry.
const RETRY_MS: u32 = 1_000;

/// Answers queries from one read model.
pub(crate) struct Answerer {
    reader: Reader,
    log: Arc<dyn Log>,
    progress: Progress,
    dir: PathBuf,
    lists: Arc<Semaphore>,
    /// Allows one comparison at a time, since each reads the whole log.
    verifying: Mutex<()>,
}

impl Answerer {
    pub(crate) fn new(
        reader: Reader,
        log: Arc<dyn Log>,
        progress: Progress,
        dir: PathBuf,
        config: &ServiceConfig,
    ) -> Self {
        Self {
            reader,
            log,
            progress,
            dir,
            lists: Arc::new(Semaphore::new(config.max_lists)),
            verifying: Mutex::new(()),
        }
    }

    pub(crate) async fn task(
        &self,
        query: GetTask,
        by: Instant,
        room: usize,
    ) -> Result<Option<TaskView>, Refused> {
        let mut row = self.reader.task(query.id).map_err(refused)?;
        if row.is_none() {
            // Another client may have just created the task: not found means that it was not in the
            // log when the query arrived.
            let end = end_of_tasks(&*self.log).await?;
            if !self.progress.reach(end, by).await {
                return Err(Refused::Behind);
            }
            row = self.reader.task(query.id).map_err(refused)?;
        }
        let Some(row) = row.filter(|row| query.team.is_none_or(|team| row.team == team)) else {
            return Ok(None);
        };
        let (detail, body_bytes) = if query.detail {
            let room = room.saturating_sub(ROW_ROOM);
            self.detail(&row, Answers::All, room).await?
        } else {
            (Detail::Omitted, None)
        };
        Ok(Some(TaskView {
            status: row.status_at(now()),
            replayed_as: self.reader.last_replay(row.id).map_err(refused)?,
            row,
            detail,
            body_bytes,
        }))
    }

    /// The large parts of a task, if they fit; otherwise only the length of its body.
    async fn detail(
        &self,
        row: &TaskRow,
        answers: Answers,
        room: usize,
    ) -> Result<(Detail, Option<u64>), Refused> {
        let detail = detail::read_with(&*self.log, row, answers)
            .await
            .map_err(|e| unreadable(&e))?;
        if size(&detail) <= room {
            return Ok((detail, None));
        }
        let body_bytes = match &detail {
            Detail::Read(read) => read.body.as_ref().map(|body| body.len() as u64),
            Detail::Omitted | Detail::Dropped => None,
        };
        Ok((Detail::Omitted, body_bytes))
    }

    pub(crate) async fn list(&self, query: ListTasks, room: usize) -> Result<TaskPage, Refused> {
        let with_detail = query.detail;
        let (page, _) = self
            .reading(move |reader| reader.list(&query, now()))
            .await?;
        let mut room = LIST_DETAIL_BYTES.min(room / 2);
        let mut tasks = Vec::with_capacity(page.rows.len());
        for (status, row) in page.rows {
            let (detail, body_bytes) = if with_detail && room > 0 {
                self.detail(&row, Answers::Usual, room).await?
            } else {
                (Detail::Omitted, None)
            };
            // The first one that does not fit ends it: the ones after it would have to be read to
            // find out that they do not fit.
            room = match &detail {
                Detail::Omitted => 0,
                detail => room - size(detail),
            };
            tasks.push(TaskView {
                status,
                replayed_as: page.replays.get(&row.id).copied(),
                row,
                detail,
                body_bytes,
            });
        }
        Ok(TaskPage {
            tasks,
            total: page.total,
            next: page.next,
            searched: page.searched,
        })
    }

    pub(crate) async fn by_idempotency_key(
        &self,
        query: ByIdempotencyKey,
        by: Instant,
    ) -> Result<Option<IdempotentTask>, Refused> {
        self.know_keys(by).await?;
        self.reader.by_idempotency_key(&query).map_err(refused)
    }

    pub(crate) async fn are_keys_used(
        &self,
        query: AreKeysUsed,
        by: Instant,
    ) -> Result<Vec<bool>, Refused> {
        self.know_keys(by).await?;
        self.reading(move |reader| reader.are_keys_used(&query))
            .await
    }

    /// Waits until all keys are known but for those that the server remembers itself.
    async fn know_keys(&self, by: Instant) -> Result<(), Refused> {
        if self.progress.status().is_fresh(IDEMPOTENCY_FRESHNESS) {
            return Ok(());
        }
        let end = end_of_tasks(&*self.log).await?;
        if self.progress.reach(end, by).await {
            Ok(())
        } else {
            Err(Refused::Behind)
        }
    }

    pub(crate) async fn runs(&self, query: ListRuns) -> Result<RunPage, Refused> {
        self.reading(move |reader| reader.runs(&query, now())).await
    }

    pub(crate) async fn runs_tally(&self, query: TallyRuns) -> Result<Vec<RunTally>, Refused> {
        self.reading(move |reader| reader.runs_tally(&query)).await
    }

    pub(crate) async fn flow(&self, query: GetFlow) -> Result<Option<Flow>, Refused> {
        self.reading(move |reader| reader.flow(&query)).await
    }

    pub(crate) async fn flows(&self, query: ListFlows) -> Result<FlowPage, Refused> {
        self.reading(move |reader| reader.flows(&query)).await
    }

    pub(crate) async fn dead_groups(&self, query: GroupDeadLetters) -> Result<DeadGroups, Refused> {
        self.reading(move |reader| reader.dead_groups(&query, now()))
            .await
    }

    pub(crate) async fn select(&self, query: SelectTasks) -> Result<Selection, Refused> {
        self.reading(move |reader| reader.select(&query, now()))
            .await
    }

    pub(crate) async fn jobs(&self, query: ListJobs) -> Result<JobPage, Refused> {
        self.reading(move |reader| reader.jobs(&query, now())).await
    }

    pub(crate) async fn job_counts(&self, query: CountJobs) -> Result<JobCounts, Refused> {
        self.reading(move |reader| reader.job_counts(&query, now()))
            .await
    }

    pub(crate) async fn counters(&self, query: GetCounters) -> Result<Counters, Refused> {
        self.reading(move |reader| reader.counters(&query.team, query.queue.as_ref(), now()))
            .await
    }

    pub(crate) async fn stats(&self, query: GetStats) -> Result<Stats, Refused> {
        self.reading(move |reader| reader.stats(&query, now()))
            .await
    }

    pub(crate) async fn activity(&self, query: ListActivity) -> Result<ActivityPage, Refused> {
        self.reading(move |reader| reader.activity(&query)).await
    }

    pub(crate) async fn follow_activity(
        &self,
        query: FollowActivity,
    ) -> Result<ActivityNews, Refused> {
        self.reading(move |reader| reader.follow_activity(&query))
            .await
    }

    pub(crate) async fn inclusion(
        &self,
        query: ProveInclusion,
    ) -> Result<Option<Inclusion>, Refused> {
        self.reading(move |reader| reader.inclusion(&query)).await
    }

    pub(crate) async fn consistency(
        &self,
        query: ProveConsistency,
    ) -> Result<Consistency, Refused> {
        self.reading(move |reader| reader.consistency(&query)).await
    }

    pub(crate) async fn skipped(&self, query: ListSkipped) -> Result<SkippedPage, Refused> {
        self.reading(move |reader| reader.skipped(&query)).await
    }

    pub(crate) async fn verify(&self, _: Verify) -> Result<Verdict, Refused> {
        let Ok(_alone) = self.verifying.try_lock() else {
            return Err(Refused::Unavailable {
                reason: "a comparison is under way".into(),
                retry_ms: RETRY_MS,
            });
        };
        // Beside the model's own folder, which may contain nothing else.
        let mut name = self.dir.file_name().unwrap_or_default().to_owned();
        name.push("-verify");
        let scratch = self.dir.with_file_name(name);
        verify(self.reader.store(), &self.log, &scratch)
            .await
            .map_err(|error| unavailable(error.to_string()))
    }

    /// Runs a read that may visit many rows, on a thread where it delays nothing else.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, ReaderError> + Send + 'static,
    ) -> Result<T, Refused> {
        // Fails only if the semaphore is closed, which never happens.
        let Ok(_permit) = self.lists.acquire().await else {
            return Err(unavailable("the projector is ending".into()));
        };
        let reader = self.reader.clone();
        let answer = spawn_blocking(move || read(&reader)).await;
        match answer {
            Ok(answer) => answer.map_err(refused),
            Err(_) => Err(unavailable("reading crashed".into())),
        }
    }
}

fn size(detail: &Detail) -> usize {
    let Detail::Read(detail) = detail else {
        return 0;
    };
    let headers = |headers: &[(String, String)]| -> usize {
        headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 11)
            .sum()
    };
    headers(&detail.headers)
        + detail.body.as_ref().map_or(0, String::len)
        + detail
            .result
            .as_ref()
            .map_or(0, |answer| headers(&answer.headers) + answer.body.len())
        + 256
}

fn refused(error: ReaderError) -> Refused {
    match error {
        ReaderError::Invalid(invalid) => Refused::Invalid {
            field: invalid.field.into(),
            message: invalid.message,
        },
        ReaderError::Model(error) => unavailable(error.to_string()),
    }
}

fn unreadable(error: &ReadError) -> Refused {
    unavailable(error.to_string())
}

fn unavailable(reason: String) -> Refused {
    Refused::Unavailable {
        reason,
        retry_ms: RETRY_MS,
    }
}
