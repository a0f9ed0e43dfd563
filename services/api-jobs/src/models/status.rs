//! The words for how a job stands.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::task::JobStatus;

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is its word")]
pub enum JobsStatus {
    Pending,
    Scheduled,
    Processing,
    Completed,
    Failed,
    Deadletter,
    Cancelled,
}

impl From<JobStatus> for JobsStatus {
    fn from(status: JobStatus) -> Self {
        match status {
            JobStatus::Pending => Self::Pending,
            JobStatus::Scheduled => Self::Scheduled,
            JobStatus::Processing => Self::Processing,
            JobStatus::Completed => Self::Completed,
            JobStatus::Failed => Self::Failed,
            JobStatus::Deadletter => Self::Deadletter,
            JobStatus::Cancelled => Self::Cancelled,
        }
    }
}

/// Reads statuses separated by commas. The error is the first word that is no status.
pub fn parse_list(text: &str) -> Result<Vec<JobStatus>, &str> {
    let words = text.split(',').map(str::trim);
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| JobStatus::parse(word).ok_or(word))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_core() {
        for status in JobStatus::ALL {
            let written = serde_json::to_value(JobsStatus::from(*status)).expect("a word");
            assert_eq!(written, status.as_str());
        }
        let both = vec![JobStatus::Failed, JobStatus::Deadletter];
        assert_eq!(parse_list("failed, deadletter,"), Ok(both));
        assert_eq!(parse_list("failed,dead"), Err("dead"));
    }
}
