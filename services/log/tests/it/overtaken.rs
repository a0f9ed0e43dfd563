//! A purge overtakes a tail with filters, for which the server skips what was purged like what does not match.

use waybill_log::jetstream::Reads;
use waybill_log::{ReadError, Stream, StreamSeq};

use crate::fixture::{
    EVENT, Full, SOON, a_log_read, a_memory_log, a_record, an_append, append_one, payloads,
    read_both_ways, read_until,
};

#[tokio::test]
async fn a_tail_with_filters_in_memory_says_so() {
    a_tail_with_filters_says_so(a_memory_log()).await;
}

read_both_ways!(a_tail_with_filters_on_a_server_says_so);

async fn a_tail_with_filters_on_a_server_says_so(reads: Reads) {
    let (_server, log) = a_log_read(reads).await;
    a_tail_with_filters_says_so(log).await;
}

async fn a_tail_with_filters_says_so(log: impl Full) {
    let first = append_one(&log, EVENT, "first").await;
    let filters = vec!["tasks.1.>".to_owned()];
    let mut tail = log.tail(Stream::Tasks, filters, first);
    assert_eq!(payloads(&read_until(tail.as_mut(), 1).await), ["first"]);
    // What it has read may go, and what it passes over is no gap.
    log.purge_tasks(first.next()).await.unwrap();
    append_one(&log, "tasks.2.t.q.started", "of another").await;
    append_one(&log, EVENT, "read").await;
    assert_eq!(payloads(&read_until(tail.as_mut(), 1).await), ["read"]);
    // More than is asked for at once, so that it cannot all be on its way to the reader.
    let many = vec![a_record(EVENT, "many"); 900];
    for is_followed in [true, false] {
        let mut last = StreamSeq(0);
        for _ in 0..6 {
            let appended = log.append(an_append(many.clone())).await.unwrap();
            last = appended.seqs[899];
        }
        // Whether or not anything comes after what is gone.
        let after = match is_followed {
            true => append_one(&log, EVENT, "last").await,
            false => last.next(),
        };
        log.purge_tasks(after).await.unwrap();
        let mut gaps = Vec::new();
        let mut has_come = !is_followed;
        while gaps.is_empty() || !has_come {
            let batch = tokio::time::timeout(SOON, tail.next_batch(100)).await;
            match batch.expect("the gap is told, and what is left comes") {
                Ok(records) => has_come |= records.iter().any(|record| record.seq == after),
                Err(ReadError::Gap {
                    from, first: to, ..
                }) => gaps.push((from, to)),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(
            matches!(gaps[..], [(from, to)] if from > first && to == after),
            "{gaps:?} after {first}, up to {after}"
        );
    }
}
