//! The keys of the vault: stored under what was expected, listed in pages, and gone once they are erased.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use waybill_domain::id::{Environment, TaskId, TeamId, TokenId};
use waybill_domain::partition::Partition;
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryVaultKeys;
use waybill_log::vault_keys::MAX_LISTED;
use waybill_log::{KeyName, KeyStoreError, KeysOf, StreamSeq, VaultKeys, connect};
use waybill_testkit::{NatsServer, Proxy, eventually};

use crate::fixture::{SOON, a_jetstream_log, config_at, over_both};

const NONE: StreamSeq = StreamSeq(0);

pub(crate) fn team(number: u128) -> TeamId {
    TeamId::new(Timestamp(1), number)
}

pub(crate) fn token(number: u128, version: u32) -> KeyName {
    KeyName::Token {
        team: team(1),
        token: TokenId::new(Timestamp(1), number),
        version,
    }
}

fn task(partition: u16, number: u128) -> KeyName {
    let partition = Partition::new(partition).unwrap();
    KeyName::Task {
        team: team(1),
        task: TaskId::new(Timestamp(1), number, partition),
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn value(keys: &dyn VaultKeys, name: &KeyName) -> Option<Bytes> {
    keys.get(name).await.unwrap().map(|stored| stored.value)
}

over_both!(
    MemoryVaultKeys;
    what_is_put_is_read_back,
    a_put_expects_what_was_there,
    the_same_value_put_again_is_found,
    what_is_too_long_is_refused,
    an_erased_key_is_gone_with_its_history,
    only_what_is_older_is_erased,
    each_list_has_its_own,
    a_list_goes_on_where_it_ended,
    puts_and_erasures_at_once_leave_one_order,
);

async fn what_is_put_is_read_back(keys: &dyn VaultKeys) {
    assert_eq!(keys.get(&token(1, 1)).await.unwrap(), None);
    let seq = keys
        .put(&token(1, 1), bytes("a"), NONE, None)
        .await
        .unwrap();
    let stored = keys.get(&token(1, 1)).await.unwrap().unwrap();
    assert_eq!((stored.seq, stored.value), (seq, bytes("a")));
    for other in [token(1, 2), token(1, 11), token(2, 1), task(1, 1)] {
        assert_eq!(keys.get(&other).await.unwrap(), None, "{other}");
    }
}

async fn a_put_expects_what_was_there(keys: &dyn VaultKeys) {
    let name = token(1, 1);
    let first = keys.put(&name, bytes("a"), NONE, None).await.unwrap();
    for expected in [NONE, first.next()] {
        let refused = keys.put(&name, bytes("b"), expected, None).await;
        assert_eq!(refused, Err(KeyStoreError::Conflict { expected }));
    }
    let second = keys.put(&name, bytes("b"), first, None).await.unwrap();
    assert!(second > first);
    let refused = keys.put(&name, bytes("c"), first, None).await;
    let conflict = KeyStoreError::Conflict { expected: first };
    assert_eq!(refused, Err(conflict));
    assert_eq!(value(keys, &name).await, Some(bytes("b")));
}

async fn the_same_value_put_again_is_found(keys: &dyn VaultKeys) {
    let name = token(1, 1);
    let first = keys.put(&name, bytes("a"), NONE, None).await.unwrap();
    assert_eq!(keys.put(&name, bytes("a"), NONE, None).await, Ok(first));
    let second = keys.put(&name, bytes("b"), first, None).await.unwrap();
    assert_eq!(keys.put(&name, bytes("b"), first, None).await, Ok(second));
    let stale = keys.put(&name, bytes("a"), NONE, None).await;
    assert_eq!(stale, Err(KeyStoreError::Conflict { expected: NONE }));
    assert_eq!(keys.erase(&name).await, Ok(2));
}

async fn what_is_too_long_is_refused(keys: &dyn VaultKeys) {
    let long = Bytes::from(vec![7; 513]);
    let refused = keys.put(&token(1, 1), long, NONE, None).await;
    assert!(
        matches!(refused, Err(KeyStoreError::Rejected { .. })),
        "{refused:?}"
    );
    let longest = Bytes::from(vec![7; 512]);
    keys.put(&token(1, 1), longest, NONE, None).await.unwrap();
}

async fn an_erased_key_is_gone_with_its_history(keys: &dyn VaultKeys) {
    let name = token(1, 1);
    let mut last = NONE;
    for version in ["a", "b", "c"] {
        last = keys.put(&name, bytes(version), last, None).await.unwrap();
    }
    keys.put(&token(1, 2), bytes("other"), NONE, None)
        .await
        .unwrap();
    assert_eq!(keys.erase(&name).await, Ok(3));
    assert_eq!(keys.erase(&name).await, Ok(0), "harmless to repeat");
    assert_eq!(value(keys, &name).await, None);
    assert_eq!(value(keys, &token(1, 2)).await, Some(bytes("other")));
    let refused = keys.put(&name, bytes("d"), last, None).await;
    assert_eq!(refused, Err(KeyStoreError::Conflict { expected: last }));
}

async fn only_what_is_older_is_erased(keys: &dyn VaultKeys) {
    let name = token(1, 1);
    let mut seqs = vec![NONE];
    for version in ["a", "b", "c"] {
        let last = seqs[seqs.len() - 1];
        seqs.push(keys.put(&name, bytes(version), last, None).await.unwrap());
    }
    assert_eq!(keys.erase_before(&name, NONE).await, Ok(0));
    assert_eq!(keys.erase_before(&name, seqs[1]).await, Ok(0));
    assert_eq!(keys.erase_before(&name, seqs[3]).await, Ok(2));
    assert_eq!(keys.erase_before(&name, seqs[3]).await, Ok(0));
    assert_eq!(value(keys, &name).await, Some(bytes("c")));
    let page = keys.list(&KeysOf::All, NONE, 10).await.unwrap();
    assert_eq!(page.len(), 1);
    keys.put(&name, bytes("d"), seqs[3], None).await.unwrap();
}

async fn each_list_has_its_own(keys: &dyn VaultKeys) {
    let of_test = KeyName::Token {
        team: team(1).in_environment(Environment::Test),
        token: TokenId::new(Timestamp(1), 1),
        version: 1,
    };
    let of_other = KeyName::Token {
        team: team(2),
        token: TokenId::new(Timestamp(1), 1),
        version: 1,
    };
    let names = [
        token(1, 1),
        token(1, 2),
        token(2, 1),
        task(3, 1),
        task(4, 1),
        of_test,
        of_other,
    ];
    for name in &names {
        keys.put(name, bytes("x"), NONE, None).await.unwrap();
    }
    let id = TokenId::new(Timestamp(1), 1);
    let partition = Partition::new(3).unwrap();
    for (of, wanted) in [
        (KeysOf::All, vec![0, 1, 2, 3, 4, 5, 6]),
        (KeysOf::Tokens, vec![0, 1, 2, 5, 6]),
        (KeysOf::Team(team(1)), vec![0, 1, 2, 3, 4]),
        (KeysOf::TokensOf(team(1)), vec![0, 1, 2]),
        (KeysOf::Token(team(1), id), vec![0, 1]),
        (KeysOf::Tasks(partition), vec![3]),
        (KeysOf::Team(team(9)), vec![]),
    ] {
        let found = keys.list(&of, NONE, 100).await.unwrap();
        let found: Vec<_> = found.iter().map(|listed| &listed.name).collect();
        let wanted: Vec<_> = wanted.iter().map(|&index: &usize| &names[index]).collect();
        assert_eq!(found, wanted, "{of:?}");
    }
}

async fn a_list_goes_on_where_it_ended(keys: &dyn VaultKeys) {
    let count = 25;
    for number in 1..=count {
        let name = token(number, 1);
        keys.put(&name, bytes("x"), NONE, None).await.unwrap();
    }
    let first = keys.get(&token(1, 1)).await.unwrap().unwrap().seq;
    keys.put(&token(1, 1), bytes("again"), first, None)
        .await
        .unwrap();
    let (mut after, mut found) = (NONE, Vec::new());
    loop {
        let page = keys.list(&KeysOf::Tokens, after, 10).await.unwrap();
        let is_last = page.len() < 10;
        if let Some(last) = page.last() {
            after = last.key.seq;
            // What is erased or put meanwhile moves nothing.
            keys.erase(&page[0].name).await.unwrap();
        }
        found.extend(page.into_iter().map(|listed| listed.name));
        if is_last {
            break;
        }
    }
    // Two messages of the first one: both were there when the list began, but the erasure took the second away.
    let wanted: Vec<_> = (1..=count).map(|number| token(number, 1)).collect();
    assert_eq!(found, wanted);
    assert!(keys.list(&KeysOf::All, NONE, 0).await.unwrap().is_empty());
    let all = keys.list(&KeysOf::All, NONE, usize::MAX).await.unwrap();
    assert_eq!(all.len(), 22);
}

async fn puts_and_erasures_at_once_leave_one_order(keys: &dyn VaultKeys) {
    let name = token(1, 1);
    for round in 0..5 {
        let puts = (0..6).map(|writer| {
            let value = Bytes::from(format!("{round}.{writer}"));
            keys.put(&name, value, NONE, None)
        });
        let stored = join_all(puts).await;
        let winners = stored.iter().filter(|put| put.is_ok()).count();
        assert_eq!(winners, 1, "{stored:?}");
        for put in stored {
            assert!(
                matches!(put, Ok(_) | Err(KeyStoreError::Conflict { .. })),
                "{put:?}"
            );
        }
        let last = keys.get(&name).await.unwrap().unwrap().seq;
        keys.put(&name, bytes("second"), last, None).await.unwrap();
        let erasures = join_all((0..4).map(|_| keys.erase(&name))).await;
        let erased: u64 = erasures.into_iter().map(|erased| erased.unwrap()).sum();
        assert_eq!(erased, 2, "each message is erased by one of them");
        assert_eq!(keys.get(&name).await.unwrap(), None);
    }
}

#[tokio::test]
async fn in_memory_a_key_runs_out_when_the_clock_says_so() {
    let keys = MemoryVaultKeys::default();
    let ttl = Some(Duration::from_millis(1_500));
    keys.put(&task(1, 1), bytes("x"), NONE, ttl).await.unwrap();
    keys.put(&task(1, 2), bytes("x"), NONE, None).await.unwrap();
    keys.set_time(Timestamp(1_999));
    assert_eq!(keys.all().len(), 2);
    keys.set_time(Timestamp(2_000));
    let left = keys.list(&KeysOf::All, NONE, 10).await.unwrap();
    assert_eq!(left[0].name, task(1, 2));
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn in_memory_keys_are_away_and_lose_answers_when_told_to() {
    let keys = MemoryVaultKeys::default();
    keys.set_away(true);
    let put = keys.put(&token(1, 1), bytes("x"), NONE, None).await;
    assert!(matches!(put, Err(KeyStoreError::Unavailable { .. })));
    assert!(keys.get(&token(1, 1)).await.is_err());
    keys.set_away(false);
    keys.lose_answers(true);
    let put = keys.put(&token(1, 1), bytes("x"), NONE, None).await;
    assert!(matches!(put, Err(KeyStoreError::Unknown { .. })));
    keys.lose_answers(false);
    let put = keys.put(&token(1, 1), bytes("x"), NONE, None).await;
    assert_eq!(put, Ok(StreamSeq(1)));
}

#[tokio::test]
async fn a_key_with_a_time_to_live_runs_out() {
    let (_server, log) = a_jetstream_log().await;
    let ttl = Some(Duration::from_millis(300));
    log.put(&task(1, 1), bytes("x"), NONE, ttl).await.unwrap();
    log.put(&task(1, 2), bytes("x"), NONE, None).await.unwrap();
    assert_eq!(log.list(&KeysOf::All, NONE, 9).await.unwrap().len(), 2);
    eventually(SOON, async || log.get(&task(1, 1)).await.unwrap().is_none())
        .await
        .unwrap();
    // It leaves nothing behind: no marker, and the name is free.
    assert_eq!(log.list(&KeysOf::All, NONE, 9).await.unwrap().len(), 1);
    assert_eq!(log.erase(&task(1, 1)).await, Ok(0));
    log.put(&task(1, 1), bytes("y"), NONE, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_answer_is_lost_is_stored_once_and_recognised() {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(format!("127.0.0.1:{}", server.port()))
        .await
        .unwrap();
    let log = connect(&config_at(&proxy.url())).await.unwrap();
    let witness = connect(&config_at(&server.url())).await.unwrap();
    let name = token(1, 1);
    let mut last = NONE;
    for text in ["first", "second"] {
        proxy.deafen();
        let interfere = async {
            eventually(SOON, async || {
                value(&witness, &name).await == Some(bytes(text))
            })
            .await
            .unwrap();
            proxy.cut();
            proxy.heal();
        };
        let (put, ()) = tokio::join!(log.put(&name, bytes(text), last, None), interfere);
        last = put.unwrap();
        let stored = witness.get(&name).await.unwrap().unwrap();
        assert_eq!((stored.seq, stored.value), (last, bytes(text)));
    }
    assert_eq!(witness.erase(&name).await, Ok(2), "stored once each");
}

#[tokio::test]
async fn keys_whose_server_is_gone_are_unavailable_and_nothing_is_sent_later() {
    let (mut server, log) = a_jetstream_log().await;
    log.put(&token(1, 1), bytes("x"), NONE, None).await.unwrap();
    server.kill9();
    let name = token(2, 1);
    eventually(SOON, async || !log.is_connected())
        .await
        .unwrap();
    let put = log.put(&name, bytes("x"), NONE, None).await;
    assert!(
        matches!(put, Err(KeyStoreError::Unavailable { .. })),
        "{put:?}"
    );
    let erased = log.erase(&token(1, 1)).await;
    assert!(
        matches!(erased, Err(KeyStoreError::Unavailable { .. })),
        "{erased:?}"
    );
    assert!(log.list(&KeysOf::All, NONE, 10).await.is_err());
    server.restart().await.unwrap();
    eventually(SOON, async || log.get(&name).await.is_ok())
        .await
        .unwrap();
    assert_eq!(log.get(&name).await.unwrap(), None);
    assert_eq!(log.erase(&token(1, 1)).await, Ok(1));
}

/// More than one page, more than one message of a name, and puts at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_keys_are_listed_in_pages() {
    let (_server, log) = a_jetstream_log().await;
    let log = Arc::new(log);
    let count = 2_500;
    let puts = (0..count).map(|number| {
        let log = Arc::clone(&log);
        async move {
            let name = token(number, 1);
            log.put(&name, bytes("x"), NONE, None).await.unwrap()
        }
    });
    join_all(puts).await;
    let (mut after, mut names) = (NONE, std::collections::HashSet::new());
    loop {
        let page = log.list(&KeysOf::All, after, MAX_LISTED).await.unwrap();
        let is_last = page.len() < MAX_LISTED;
        assert!(page.is_sorted_by_key(|listed| listed.key.seq));
        after = page.last().map_or(after, |listed| listed.key.seq);
        names.extend(page.into_iter().map(|listed| listed.name));
        if is_last {
            break;
        }
    }
    assert_eq!(names.len(), usize::try_from(count).unwrap());
}
