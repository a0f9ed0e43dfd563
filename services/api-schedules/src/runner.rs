//! The running of schedules: by one gateway at a time, as a lease says.
//!
//! Two that run them for a moment do no harm. A run's task has a key that follows from the schedule, its version and the instant, and the
//! log takes it once. What did not fire is noted behind what came before it. How far all schedules have come is noted every few minutes, and
//! only once everything before that is stored; whoever goes on begins there and asks which runs have a task already. So the death of a
//! gateway at any point loses no instant and makes no task twice. Where the log keeps less than that, it is noted more often: of a run whose
//! task has left the log nobody can tell that it has fired.
//!
//! Nothing is looked through at each tick: schedules stand in the order of their next instants.

mod clock;
mod fire;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;
use waybill_api_tasks::TasksApi;
use waybill_commands::{Author, entropy};
use waybill_domain::actor::Actor;
use waybill_domain::event::{Boundary, ControlEvent, SchedulesReached};
use waybill_domain::id::{ScheduleId, TeamId};
use waybill_domain::recurring::RunId;
use waybill_domain::schedule::{Course, Schedule};
use waybill_domain::time::Timestamp;
use waybill_edge::error::ApiError;
use waybill_edge::turns::{Turn, take_turns};
use waybill_log::{Leases, Stream};
use waybill_projector::query::{AreKeysUsed, MAX_KEYS, Position};

use clock::Clock;

/// Name of the lease.
const LEASE: &str = "schedules";
/// Schedules that are settled together: their runs are asked about and stored side by side.
const TOGETHER: usize = 2_000;
/// Of those, how many are under way at a time.
const AT_A_TIME: usize = 512;
/// Reads of the log at a time, when many schedules are new.
const READS_AT_A_TIME: usize = 32;
/// Questions about keys at a time.
const QUESTIONS_AT_A_TIME: usize = 4;
/// How often it is noted how far all schedules have come, if one has fired.
const NOTED_EVERY: Duration = Duration::from_secs(600);
/// The same where the log has less history: so many times in the time that it keeps.
const NOTED_IN_HISTORY: u32 = 4;
/// How often it is looked how much history there is, while something is not noted.
const LOOKED_EVERY: Duration = Duration::from_secs(1);
/// Longest sleep: then the clock is looked at again, which may have been set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Pause after something failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs schedules whenever there are some and no other gateway does, until the gateway drains.
pub async fn run(state: TasksApi, leases: Arc<dyn Leases>) {
    let is_work = || {
        let directory = state.auth.directory();
        // Nobody else empties it.
        let _ = directory.take_changed_schedules();
        directory.has_schedules()
    };
    take_turns(&state, &*leases, LEASE, is_work, || {
        Runner::new(state.clone())
    })
    .await;
}

struct Runner {
    state: TasksApi,
    clock: Clock,
    courses: HashMap<ScheduleId, Course>,
    /// When each of them is to be looked at next.
    queue: BTreeSet<(Timestamp, ScheduleId)>,
    waits: HashMap<ScheduleId, Timestamp>,
    /// As of when the courses are known to be settled; `None` while some are under way.
    settled_at: Option<Timestamp>,
    /// Since when a run has fired without a note of how far all have come.
    unnoted: Option<Instant>,
    /// When it was looked last how much history the log has.
    looked: Option<Instant>,
}

/// Why nothing can be run for the moment.
type Trouble = ApiError;
/// A run that may have a task, of a schedule of a team in its environment.
type Candidate = (ScheduleId, TeamId, RunId);

impl Turn for Runner {
    /// Runs all schedules; returns when there is none.
    async fn serve(&mut self) {
        while let Err(error) = self.begin().await {
            tracing::warn!(%error, "schedules cannot be read; trying again");
            sleep(PAUSE).await;
        }
        let mut applied = self.state.auth.applied_changes();
        while !self.courses.is_empty() {
            let turn = match self.turn().await {
                Ok(turn) => turn,
                Err(error) => {
                    tracing::warn!(%error, "schedules do not get on; trying again");
                    Some(PAUSE)
                }
            };
            let Some(pause) = turn else { continue };
            tokio::select! {
                changed = applied.changed() => if changed.is_err() {
                    return;
                },
                () = sleep(pause) => {}
            }
        }
    }

    /// Leaves in order.
    async fn leave(mut self) {
        if let (Some(at), Some(_)) = (self.settled_at, self.unnoted) {
            self.note(at).await;
        }
    }
}

impl Runner {
    fn new(state: TasksApi) -> Self {
        Self {
            state,
            clock: Clock::default(),
            courses: HashMap::new(),
            queue: BTreeSet::new(),
            waits: HashMap::new(),
            settled_at: None,
            unnoted: None,
            looked: None,
        }
    }

    /// Takes over from whoever ran them before.
    async fn begin(&mut self) -> Result<(), Trouble> {
        let state = &self.state;
        // What was noted before the lease was ours.
        let end = state.log.bounds(Stream::Control).await?.last;
        state.settle(end).await?;
        let directory = state.auth.directory();
        let _ = directory.take_changed_schedules();
        let reached = directory.schedules_reached().unwrap_or(Timestamp(0));
        let known = directory.schedules();
        let all: Vec<_> = stream::iter(known)
            .map(async |known| -> Result<_, Trouble> {
                let Some(id) = known.current().map(|current| current.schedule.clone()) else {
                    return Ok(None);
                };
                // A gateway keeps the latest events, of which the versions before cannot be told.
                let schedule = if known.changed_after(reached) {
                    load(state, &id).await?
                } else {
                    (*known).clone()
                };
                Ok(Some((id, Course::begin(schedule, reached))))
            })
            .buffer_unordered(READS_AT_A_TIME)
            .try_collect()
            .await?;
        self.courses = all.into_iter().flatten().collect();
        let now = self.clock.now(&*self.state.log).await?;
        let ids: Vec<_> = self.courses.keys().cloned().collect();
        for id in ids {
            self.enqueue(&id, now);
        }
        Ok(())
    }

    /// Does what is due. Returns how long there is nothing to do, or `None` if there may be more.
    async fn turn(&mut self) -> Result<Option<Duration>, Trouble> {
        // Without a lease, this gateway may not know of a pause.
        self.state.fence.may_decide_soon().await?;
        self.take_in_changes().await?;
        let now = self.clock.now(&*self.state.log).await?;
        let due = self.queue.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<_> = due.take(TOGETHER).map(|(_, id)| id.clone()).collect();
        if !due.is_empty() {
            self.settle(&due, now).await?;
            return Ok(None);
        }
        self.settled_at = Some(now);
        if self.is_to_be_noted().await? {
            self.note(now).await;
        }
        let next = self.queue.first().map(|(at, _)| at.since(now));
        Ok(Some(next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)))
    }

    async fn take_in_changes(&mut self) -> Result<(), Trouble> {
        let state = self.state.clone();
        let changed = state.auth.directory().take_changed_schedules();
        if changed.is_empty() {
            return Ok(());
        }
        let state = &state;
        let read: Vec<_> = stream::iter(changed.clone())
            .map(async |id| match state.auth.directory().schedule(&id) {
                Some(_) => load(state, &id).await.map(|read| (id, Some(read))),
                None => Ok((id, None)),
            })
            .buffer_unordered(READS_AT_A_TIME)
            .try_collect()
            .await
            .inspect_err(|_: &Trouble| state.auth.directory().changed_again(changed))?;
        let now = self.clock.now(&*self.state.log).await?;
        for (id, read) in read {
            match read {
                Some(schedule) if schedule.current().is_some() => {
                    match self.courses.get_mut(&id) {
                        Some(course) => course.change(schedule),
                        None => {
                            // It is younger than the last note of what all have reached.
                            let course = Course::begin(schedule, Timestamp(0));
                            self.courses.insert(id.clone(), course);
                        }
                    }
                    self.enqueue(&id, now);
                }
                _ => self.forget(&id),
            }
        }
        Ok(())
    }

    /// Decides what is due of these schedules, and does it.
    async fn settle(&mut self, due: &[ScheduleId], now: Timestamp) -> Result<(), Trouble> {
        self.settled_at = None;
        let (mut may_be_made, mut live) = (Vec::new(), Vec::new());
        for id in due {
            let team = self.state.auth.directory().schedule(id).and_then(|known| {
                let current = known.current()?;
                Some(current.team.in_environment(current.environment))
            });
            if let (Some(team), Some(course)) = (team, self.courses.get(id)) {
                let runs = course.may_be_made(now).into_iter();
                may_be_made.extend(runs.map(|run| (id.clone(), team.clone(), run)));
                live.push(id.clone());
            } else {
                // It was deleted a moment ago.
                self.forget(id);
            }
        }
        let mut made = self.made(may_be_made).await?;
        let state = &self.state;
        let work = live.into_iter().filter_map(|id| {
            let course = self.courses.get(&id)?.clone();
            let made = made.remove(&id).unwrap_or_default();
            Some((id, course, made))
        });
        let work: Vec<_> = work.collect();
        let done: Vec<_> = stream::iter(work)
            .map(async |(id, mut course, made)| {
                let done = fire::settle(state, &mut course, &made, now).await;
                (id, course, done)
            })
            .buffer_unordered(AT_A_TIME)
            .collect()
            .await;
        for (id, course, done) in done {
            if done.has_fired {
                self.unnoted.get_or_insert_with(Instant::now);
            }
            self.courses.insert(id.clone(), course);
            if done.is_over {
                self.forget(&id);
                continue;
            }
            self.enqueue(&id, now);
            if !done.is_complete {
                let later = i64::try_from(PAUSE.as_millis()).unwrap_or(0);
                self.wait(&id, Some(Timestamp(now.0 + later)));
            }
        }
        Ok(())
    }

    /// Which of these runs have a task.
    async fn made(
        &self,
        runs: Vec<Candidate>,
    ) -> Result<HashMap<ScheduleId, BTreeSet<RunId>>, Trouble> {
        let chunks: Vec<Vec<_>> = runs.chunks(MAX_KEYS).map(<[_]>::to_vec).collect();
        let queries = &self.state.queries;
        let answers: Vec<_> = stream::iter(chunks)
            .map(async |chunk| {
                let keys = chunk.iter().map(|(_, team, run)| (team.clone(), run.key()));
                let query = AreKeysUsed {
                    keys: keys.collect(),
                };
                let answered = queries.ask(query, Position::default()).await;
                answered.map(|answered| (chunk, answered.value))
            })
            .buffer_unordered(QUESTIONS_AT_A_TIME)
            .try_collect()
            .await?;
        let mut made: HashMap<ScheduleId, BTreeSet<RunId>> = HashMap::new();
        for (chunk, used) in answers {
            for ((id, _, run), used) in chunk.into_iter().zip(used) {
                if used {
                    made.entry(id).or_default().insert(run);
                }
            }
        }
        Ok(made)
    }

    /// Puts a schedule where its next instant says.
    fn enqueue(&mut self, id: &ScheduleId, now: Timestamp) {
        let next = self.courses.get(id).and_then(|course| course.next(now));
        self.wait(id, next);
    }

    fn wait(&mut self, id: &ScheduleId, until: Option<Timestamp>) {
        if let Some(former) = self.waits.remove(id) {
            self.queue.remove(&(former, id.clone()));
        }
        if let Some(until) = until {
            self.waits.insert(id.clone(), until);
            self.queue.insert((until, id.clone()));
        }
    }

    fn forget(&mut self, id: &ScheduleId) {
        self.wait(id, None);
        self.courses.remove(id);
    }

    /// Whether it is time to note how far all schedules have come.
    async fn is_to_be_noted(&mut self) -> Result<bool, Trouble> {
        let Some(passed) = self.unnoted.map(|since| since.elapsed()) else {
            return Ok(false);
        };
        if passed >= NOTED_EVERY {
            return Ok(true);
        }
        let is_known = |at: Instant| at.elapsed() < LOOKED_EVERY;
        if passed < LOOKED_EVERY || self.looked.is_some_and(is_known) {
            return Ok(false);
        }
        let bounds = self.state.log.bounds(Stream::Tasks).await?;
        let oldest = self.state.log.read(Stream::Tasks, bounds.first).await?;
        let kept = oldest.map_or(Duration::ZERO, |oldest| bounds.now.since(oldest.time));
        self.looked = Some(Instant::now());
        Ok(passed >= kept / NOTED_IN_HISTORY)
    }

    /// Notes how far all schedules have come, so that whoever goes on need not look further back.
    async fn note(&mut self, now: Timestamp) {
        let reached = self.courses.values().map(|course| course.reached(now));
        let to = reached.min().unwrap_or(now).min(now);
        let event = ControlEvent::SchedulesReached(SchedulesReached {
            to,
            at: entropy::now(),
        });
        let by = Author::from(Actor::System("schedules".into()));
        match self.state.control.note(&event, &by).await {
            Ok(_) => self.unnoted = None,
            Err(error) => {
                tracing::warn!(%error, "how far schedules have come cannot be noted; trying again");
            }
        }
    }
}

/// A schedule with its versions, from the log.
async fn load(state: &TasksApi, id: &ScheduleId) -> Result<Schedule, Trouble> {
    let boundary = Boundary::Schedule(id.clone());
    let loaded = state.control.load::<Schedule>(&boundary).await;
    loaded
        .map(|loaded| loaded.state)
        .map_err(|error| ApiError::internal(&error))
}
