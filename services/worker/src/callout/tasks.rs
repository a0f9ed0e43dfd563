//! Owns the background tasks of the HTTP client, one per connection.

use std::future::Future;
use std::sync::{Arc, Weak};

use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::task::JoinSet;

/// Aborts its tasks when dropped.
#[derive(Debug, Default)]
pub(super) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    pub(super) fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }
}

/// Spawns tasks for their owner. It is weak, because the tasks hold it themselves and would keep
/// each other alive.
#[derive(Debug, Clone)]
pub(super) struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let Some(tasks) = self.0.upgrade() else {
            return;
        };
        let mut tasks = tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}
