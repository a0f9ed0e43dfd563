//! Jobs: what the jobs API calls tasks that workers pull, what it keeps of them beyond what all tasks
//! have, and its words for how they stand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::row::TaskRow;
use super::status::Status;
use crate::id::TaskId;
use crate::time::Timestamp;
use crate::words::words;

/// Tags up to this length, in bytes, are kept in read models, where lists find jobs by them.
const MAX_LISTED_TAGS: usize = 4_096;

/// What only jobs have. Encoded by position in rows: new fields come last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobTerms {
    /// How many seconds its worker should take at most. The lease enforces it, and nothing else.
    #[serde(default)]
    pub timeout_s: Option<u32>,
    /// An object or a list of the client's, as JSON.
    #[serde(default)]
    pub tags: Option<String>,
    /// The member `job_type` of the payload, if that is a text.
    #[serde(default)]
    pub job_type: Option<String>,
    /// The task that the job was at first, if it was retried after it had ended: each retry is a task
    /// of its own, and the job keeps its id.
    #[serde(default)]
    pub root: Option<TaskId>,
}

impl JobTerms {
    /// Estimated size in the log, in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        /// Bytes of names and numbers.
        const FIXED: usize = 128;
        let texts = [&self.tags, &self.job_type];
        FIXED + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }

    /// The part of it that read models store.
    #[must_use]
    pub fn listed(&self) -> Self {
        let mut listed = self.clone();
        listed.tags = listed.tags.filter(|tags| tags.len() <= MAX_LISTED_TAGS);
        listed
    }

    /// Whether a tag is a key of its tags, or an entry.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        let tags = self.tags.as_deref();
        let read = tags.and_then(|tags| serde_json::from_str::<serde_json::Value>(tags).ok());
        match read {
            Some(serde_json::Value::Object(tags)) => tags.contains_key(tag),
            Some(serde_json::Value::Array(tags)) => tags.iter().any(|entry| entry == tag),
            _ => false,
        }
    }
}

words! {
    /// The status of a job.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum JobStatus {
        /// It may be claimed, or pauses before its next attempt.
        Pending = "pending",
        /// Its client delayed it.
        Scheduled = "scheduled",
        /// A worker holds it.
        Processing = "processing",
        Completed = "completed",
        /// It was not done before its client lost interest.
        Failed = "failed",
        /// No attempt was left, or the last failure was final.
        Deadletter = "deadletter",
        Cancelled = "cancelled",
    }
}

impl JobStatus {
    /// Whether the job has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Scheduled | Self::Processing)
    }

    /// How a task stands as a job; `None` if it is no job: it is called, or was removed from the dead
    /// letters.
    #[must_use]
    pub fn of(row: &TaskRow, now: Timestamp) -> Option<Self> {
        Self::as_if(row, row.status_at(now))
    }

    /// The same by its stored status, in which a delay that has passed still counts.
    #[must_use]
    pub fn stored(row: &TaskRow) -> Option<Self> {
        Self::as_if(row, row.status)
    }

    fn as_if(row: &TaskRow, status: Status) -> Option<Self> {
        if !row.is_pulled() {
            return None;
        }
        Some(match status {
            Status::Pending => Self::Pending,
            Status::Delayed => Self::Scheduled,
            Status::Processing => Self::Processing,
            Status::Completed => Self::Completed,
            Status::Cancelled => Self::Cancelled,
            Status::Failed | Status::Timeout if row.is_dead() => {
                return row.is_dead_letter().then_some(Self::Deadletter);
            }
            Status::Failed | Status::Timeout => Self::Failed,
        })
    }

    /// The statuses of tasks that may stand for it.
    #[must_use]
    pub fn of_tasks(self) -> &'static [Status] {
        match self {
            Self::Pending => &[Status::Pending],
            Self::Scheduled => &[Status::Delayed],
            Self::Processing => &[Status::Processing],
            Self::Completed => &[Status::Completed],
            Self::Cancelled => &[Status::Cancelled],
            Self::Failed | Self::Deadletter => &[Status::Failed, Status::Timeout],
        }
    }
}

impl TaskRow {
    /// The task that this one was at first, as a job.
    #[must_use]
    pub fn job_root(&self) -> TaskId {
        let root = self.job.as_ref().and_then(|job| job.root);
        root.unwrap_or(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_keys_of_an_object_or_entries_of_a_list() {
        let with = |tags: &str| JobTerms {
            tags: Some(tags.to_owned()),
            ..JobTerms::default()
        };
        assert!(with(r#"{"a": 1, "b": null}"#).has_tag("b"));
        assert!(!with(r#"{"a": "b"}"#).has_tag("b"));
        assert!(with(r#"["a", 1, "b"]"#).has_tag("b"));
        assert!(!with(r#"["a", 1]"#).has_tag("1"));
        assert!(!JobTerms::default().has_tag(""));
    }

    #[test]
    fn long_tags_stay_in_the_log() {
        let long = JobTerms {
            tags: Some(format!("[{:?}]", "x".repeat(MAX_LISTED_TAGS))),
            job_type: Some("mail".to_owned()),
            ..JobTerms::default()
        };
        let listed = long.listed();
        assert_eq!((listed.tags, listed.job_type), (None, long.job_type));
    }

    #[test]
    fn statuses_are_read_as_they_are_written() {
        for status in JobStatus::ALL {
            assert_eq!(JobStatus::parse(status.as_str()), Some(*status));
        }
        assert_eq!(JobStatus::parse("delayed"), None);
    }
}
