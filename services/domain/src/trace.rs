//! W3C Trace Context: links a call to the request that created its task
//! (<https://www.w3.org/TR/trace-context/>).

use sha2::{Digest, Sha256};

use crate::id::TaskId;

/// The span of an attempt, within the trace of the request that created the task, or else within a
/// trace of the task's own. Computed from the task and the attempt, so that repeating the call
/// yields the same span.
#[must_use]
pub fn child_of(traceparent: Option<&str>, task: TaskId, attempt: u32) -> String {
    let digest = Sha256::new()
        .chain_update(task.to_string())
        .chain_update(attempt.to_be_bytes())
        .finalize();
    let span = hex::encode(&digest[..8]);
    let (trace, flags) = match traceparent.map(|parent| parent.split('-').collect::<Vec<_>>()) {
        Some(parts) if parts.len() >= 4 && parts[1].len() == 32 && parts[3].len() == 2 => {
            (parts[1].to_owned(), parts[3].to_owned())
        }
        _ => (
            hex::encode(&Sha256::digest(task.to_string())[..16]),
            "00".to_owned(),
        ),
    };
    format!("00-{trace}-{span}-{flags}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Partition;
    use crate::time::Timestamp;

    #[test]
    fn a_call_belongs_to_the_trace_of_its_request() {
        let task = TaskId::new(Timestamp(1), 1, Partition::new(0).expect("a partition"));
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let child = child_of(Some(parent), task, 1);
        assert!(
            child.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
            "{child}"
        );
        assert!(
            child.ends_with("-01") && !child.contains("00f067aa0ba902b7"),
            "{child}"
        );
        assert_eq!(child, child_of(Some(parent), task, 1));
        assert_ne!(child, child_of(Some(parent), task, 2));
    }

    #[test]
    fn without_a_trace_all_attempts_of_a_task_share_one() {
        let task = TaskId::new(Timestamp(1), 1, Partition::new(0).expect("a partition"));
        assert_eq!(
            child_of(None, task, 1)[..36],
            child_of(Some("nonsense"), task, 2)[..36]
        );
    }
}
