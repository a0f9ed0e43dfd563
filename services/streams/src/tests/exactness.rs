//! Invariant 8: a stream resumed from any id shows each later event exactly once, in order. Tried with every kind of bad luck:
//! a log whose reads fail and whose tail lags, retention, slow readers, gateways that go away, and all of them interleaved at random.

use std::future::Future;
use std::sync::Arc;

use proptest::prelude::*;
use waybill_domain::seq::StreamSeq;
use waybill_log::memory::MemoryLog;
use waybill_log::{Log, Stream};

use super::stage::{Flaky, Gateway, QUEUES, Reader, append, append_all, event, task, team};
use crate::filter::EventFilter;
use crate::subscription::Subscription;

#[derive(Debug, Clone)]
enum Step {
    Append {
        count: u8,
        team: u8,
        queue: u8,
        kind: u8,
    },
    Connect {
        client: u8,
        gateway: u8,
    },
    Read {
        client: u8,
        chunks: u8,
    },
    Disconnect {
        client: u8,
    },
    Retention {
        count: u8,
    },
    Restart {
        gateway: u8,
    },
    /// Lets the tails of the gateways run.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u8..60, 0_u8..2, 0_u8..3, 0_u8..3)
            .prop_map(|(count, team, queue, kind)| Step::Append { count, team, queue, kind }),
        4 => (0_u8..3, 0_u8..2).prop_map(|(client, gateway)| Step::Connect { client, gateway }),
        6 => (0_u8..3, 1_u8..4).prop_map(|(client, chunks)| Step::Read { client, chunks }),
        2 => (0_u8..3).prop_map(|client| Step::Disconnect { client }),
        1 => (1_u8..80).prop_map(|count| Step::Retention { count }),
        1 => (0_u8..2).prop_map(|gateway| Step::Restart { gateway }),
        3 => Just(Step::Settle),
    ]
}

struct Client {
    filter: EventFilter,
    start: u64,
    reader: Reader,
    subscription: Option<Subscription>,
}

fn filters() -> [EventFilter; 3] {
    let narrowed = |queues: &[&str], types: &[&str], statuses: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        EventFilter::team(team(0))
            .narrowed(&owned(queues), &owned(types), &owned(statuses))
            .expect("a filter")
    };
    [
        narrowed(&[], &[], &[]),
        narrowed(&["mail,reports"], &[], &["processing"]),
        narrowed(&["mail"], &["task.expired", "cancelled"], &[]),
    ]
}

async fn run(
    steps: Vec<Step>,
    starts: [u8; 3],
    every: u64,
    lags: bool,
    queue: usize,
    has_frames: bool,
) {
    let memory = MemoryLog::default();
    if has_frames {
        memory.core().switch_to_frames();
    }
    let log: Arc<dyn Log> = Arc::new(Flaky {
        log: memory.clone(),
        every,
        lags,
        reads: Arc::default(),
    });
    let mut gateways = [Gateway::start(&log, queue), Gateway::start(&log, queue)];
    let mut written: Vec<(u64, u8, u8, u8)> = Vec::new();
    let mut clients: Vec<Client> = filters()
        .into_iter()
        .zip(starts)
        .map(|(filter, start)| Client {
            filter,
            start: u64::from(start),
            reader: Reader {
                last_id: u64::from(start),
                ..Reader::default()
            },
            subscription: None,
        })
        .collect();
    let last = |memory: &MemoryLog| memory.core().bounds(Stream::Tasks).last.0;
    for step in steps {
        match step {
            Step::Append {
                count,
                team: t,
                queue,
                kind,
            } => {
                // With frames, all of them are one message, in which a client may stop reading.
                let events: Vec<_> = (0..count).map(|n| event(kind, task(n))).collect();
                let name = QUEUES[usize::from(queue)];
                for seq in append_all(&memory, &team(t), name, &events) {
                    written.push((seq.0, t, queue, kind));
                }
            }
            Step::Connect { client, gateway } => {
                let client = &mut clients[usize::from(client)];
                // A position that the log has not reached is refused before a subscription is made.
                if client.reader.last_id <= last(&memory) {
                    let after = StreamSeq(client.reader.last_id);
                    let gateway = &gateways[usize::from(gateway)];
                    client.subscription = Some(gateway.subscribe(&client.filter, after));
                }
            }
            Step::Read { client, chunks } => {
                let client = &mut clients[usize::from(client)];
                for _ in 0..chunks {
                    let Some(subscription) = &mut client.subscription else {
                        break;
                    };
                    match subscription.next().await {
                        Some(chunk) => client.reader.take(&chunk.frame()),
                        None => client.subscription = None,
                    }
                }
            }
            Step::Disconnect { client } => clients[usize::from(client)].subscription = None,
            Step::Retention { count } => {
                memory.core().drop_first(Stream::Tasks, usize::from(count));
            }
            Step::Restart { gateway } => {
                let gateway = &mut gateways[usize::from(gateway)];
                gateway.stopping.cancel();
                gateway.hub.stopped().await;
                *gateway = Gateway::start(&log, queue);
            }
            Step::Settle => {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    // One more event at least: that retention took some is seen by the next one that is left.
    for _ in last(&memory)..60.max(last(&memory) + 1) {
        let seq = append(&memory, &team(0), QUEUES[1], &event(2, task(0)));
        written.push((seq.0, 0, 1, 2));
    }
    let first = memory.core().bounds(Stream::Tasks).first.0;
    for (number, client) in clients.iter_mut().enumerate() {
        let mut rested = false;
        while !rested {
            let mut subscription = match client.subscription.take() {
                Some(subscription) => subscription,
                None => gateways[0].subscribe(&client.filter, StreamSeq(client.reader.last_id)),
            };
            rested = client.reader.read_to_rest(&mut subscription).await;
        }
        let reader = &client.reader;
        for &(_, available) in &reader.gaps {
            assert!(available <= first, "a gap is said only of what is gone");
        }
        let lost = |seq: u64| {
            reader
                .gaps
                .iter()
                .any(|&(after, first)| after < seq && seq < first)
        };
        let expected: Vec<u64> = written
            .iter()
            .filter(|&&(seq, team, queue, kind)| {
                let wanted = match number {
                    0 => true,
                    1 => queue > 0 && kind == 0,
                    _ => queue == 1 && kind > 0,
                };
                team == 0 && wanted && seq > client.start && !lost(seq)
            })
            .map(|&(seq, ..)| seq)
            .collect();
        assert_eq!(reader.seen, expected, "client {number}");
        assert_eq!(
            reader.last_id,
            last(&memory),
            "a resting reader stands at the end"
        );
    }
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_resumed_from_any_id_shows_each_later_event_exactly_once(
        steps in prop::collection::vec(step(), 1..40),
        starts in prop::array::uniform3(0_u8..60),
        every in prop_oneof![Just(0_u64), 4_u64..12],
        lags: bool,
        queue in 1_usize..24,
        has_frames: bool,
    ) {
        block_on(run(steps, starts, every, lags, queue, has_frames));
    }
}
