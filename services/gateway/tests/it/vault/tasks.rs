//! Tasks that refer to the vault, and tasks that bring their own credentials.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use waybill_commands::KeyWish;
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::{Environment, EpochId};
use waybill_domain::time::Timestamp;
use waybill_domain::vault::RawHeaders;
use waybill_gateway::Gateway;
use waybill_log::memory::MemoryVaultKeys;
use waybill_log::{KeyName, KeysOf, Log, Stream, StreamSeq, VaultKeys};
use waybill_testkit::http::{Answer, Http};
use waybill_vault::{Context, EpochOpener, Unwrapper as _, WrappedKey};

use super::{TOKENS, VALUE, id, keep, revoke};
use crate::world::{RINGS, World, config, operator, parts};

const TASKS: &str = "/v1/tasks";
/// A credential that stands nowhere else.
pub(super) const RAW: &str = "Bearer raw-7e1d-secret-of-this-test";

pub(super) fn with_headers(headers: &Value) -> Value {
    json!({"targetUrl": "https://api.example.com/v1", "headers": headers})
}

pub(super) async fn create(http: &Http, task: &Value) -> Result<Answer> {
    http.post(TASKS, task).await
}

/// The same with an idempotency key.
async fn create_once(http: &Http, key: &str, task: &Value) -> Result<Answer> {
    let key = [("idempotency-key", key)];
    http.send(Method::POST, TASKS, &key, task.to_string()).await
}

async fn refused(http: &Http, task: &Value) -> Result<(u16, String, Value)> {
    let answer = create(http, task).await?;
    let field = answer.json()["field"].clone();
    Ok((answer.status.as_u16(), answer.error(), field))
}

/// Every task that was ever accepted, with the bytes that stand in the log.
pub(super) async fn stored(world: &World) -> Result<Vec<(TaskCreated, Vec<u8>)>> {
    let end = world.log.bounds(Stream::Tasks).await?.last;
    let records = world
        .log
        .range(
            Stream::Tasks,
            &["tasks.>".to_owned()],
            StreamSeq(1),
            end,
            1_000,
        )
        .await?;
    let created = records.into_iter().filter_map(|record| {
        match TaskEvent::decode(&record.event, &record.payload) {
            Ok(TaskEvent::Created(created)) => Some((*created, record.payload.to_vec())),
            _ => None,
        }
    });
    Ok(created.collect())
}

/// The epochs whose keys are there.
pub(super) async fn epochs(world: &World) -> Result<Vec<EpochId>> {
    let listed = world
        .log
        .list(&KeysOf::All, StreamSeq(0), 1_000)
        .await?
        .into_iter()
        .filter_map(|key| match key.name {
            KeyName::Epoch { epoch, .. } => Some(epoch),
            KeyName::Token { .. } | KeyName::Task { .. } => None,
        });
    Ok(listed.collect())
}

/// What a worker would send: the headers of the event, with what its envelope holds in the places of the masks.
pub(super) async fn unsealed(world: &World, task: &TaskCreated) -> Result<Vec<(String, String)>> {
    let sealed = task.sealed.as_ref().context("sealed headers")?;
    let epoch = sealed.epoch.context("an epoch")?;
    let name = KeyName::Epoch {
        partition: task.id.partition(),
        team: task.team.clone(),
        epoch,
    };
    let stored = world.log.get(&name).await?.context("a key of the epoch")?;
    let (team, id, epoch) = (
        task.team.to_string(),
        task.id.to_string(),
        epoch.to_string(),
    );
    let wrapped = WrappedKey::parse(&stored.value)?;
    let context = Context::epoch(&team, &epoch);
    let key = RINGS.1.unwrap_key(&context, &wrapped).await?;
    let opener = EpochOpener::new(&key);
    let opened = opener.open(&Context::task(&team, &id), &sealed.envelope)?;
    let raw = RawHeaders::decode(opened.expose())?;
    assert_eq!(raw.places(), sealed.headers);
    let headers = raw.restore(&task.headers)?.into_iter();
    Ok(headers
        .map(|(name, value, _)| (name.to_owned(), value.to_owned()))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_an_answer_is_asked_for_along_with_a_credential() -> Result<()> {
    let world = World::start().await?;
    let token = id(&keep(&world.http, "ours", VALUE).await?);
    for credential in [RAW.to_owned(), format!("Bearer {{{{{token}}}}}")] {
        for part in ["Range", "rAnGe", "If-Range"] {
            let task = with_headers(&json!({"Authorization": credential, part: "bytes=0-3"}));
            let (status, error, field) = refused(&world.http, &task).await?;
            assert_eq!((status, field), (400, json!("headers")), "{part}");
            let expected = format!(
                "headers: {part} cannot be sent along with a credential, which a target could echo in parts"
            );
            assert_eq!(error, expected);
        }
    }
    let plain = with_headers(&json!({"Range": "bytes=0-3", "X-Trace": "1"}));
    let made = create(&world.http, &plain).await?;
    assert_eq!(
        made.status,
        201,
        "without a credential it may: {}",
        made.error()
    );
    world.stop().await
}

// V4.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_there_for_the_task_is_unknown_whatever_it_is() -> Result<()> {
    let world = World::start().await?;
    let ours = id(&keep(&world.http, "ours", VALUE).await?);
    let revoked = id(&keep(&world.http, "revoked", VALUE).await?);
    assert_eq!(revoke(&world.http, &revoked).await?.status, 200);
    let (_, stranger) = world.stranger().await?;
    let foreign = id(&keep(&stranger, "foreign", VALUE).await?);
    let wish = KeyWish {
        environment: Environment::Test,
        ..KeyWish::new("k", Scope::ALL)
    };
    let (writer, by) = (world.writer(), operator());
    let made = writer.make_key(&world.team, wish, &by).await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    let test = world.http.with_key(made.key.reveal());
    let of_test = id(&keep(&test, "of the other world", VALUE).await?);

    for token in [
        "tok_01kc0q2v9x3d8e5h7j9m1n3p5r".to_owned(),
        revoked.to_string(),
        foreign.to_string(),
        of_test.to_string(),
        ours.to_string().to_uppercase().replace("TOK_", "tok_"),
        format!("{ours}0"),
        "tok_".to_owned(),
    ] {
        for value in [token.clone(), format!("Bearer {{{{{token}}}}}")] {
            let task = with_headers(&json!({"X-One": "1", "Authorization": value}));
            let error =
                format!("Header \"Authorization\" references unknown vault token \"{token}\"");
            assert_eq!(
                refused(&world.http, &task).await?,
                (400, error, json!("headers")),
                "{value}"
            );
        }
    }
    let long = with_headers(&json!({"A": format!("tok_{}", "0".repeat(9_000))}));
    let (status, error, _) = refused(&world.http, &long).await?;
    assert!(status == 400 && error.len() < 150, "{error}");
    // The query and the body are named as such.
    let unknown = "{{tok_01kc0q2v9x3d8e5h7j9m1n3p5r}}";
    let task =
        json!({"targetUrl": format!("https://x.example/?k={unknown}"), "resolve": ["query"]});
    let (status, error, field) = refused(&world.http, &task).await?;
    assert_eq!((status, field), (400, json!("targetUrl")));
    assert!(error.starts_with("The query of targetUrl references unknown"));
    let task = json!({"targetUrl": "https://x.example/", "body": unknown, "resolve": ["body"]});
    let (status, error, field) = refused(&world.http, &task).await?;
    assert_eq!((status, field), (400, json!("body")));
    assert!(error.starts_with("body references unknown vault token"));
    assert!(stored(&world).await?.is_empty());
    world.stop().await
}

// V5, V6.
#[tokio::test(flavor = "multi_thread")]
async fn references_stay_references_and_everything_else_stays_text() -> Result<()> {
    let world = World::start().await?;
    let one = id(&keep(&world.http, "one", VALUE).await?);
    let two = id(&keep(&world.http, "two", "sk-other").await?);
    let url = format!("https://api.example.com/{{{{{one}}}}}?k={{{{{two}}}}}");
    let task = json!({
        "targetUrl": url,
        "headers": {
            "Authorization": one,
            "X-Api-Key": format!("Token {{{{{two}}}}}"),
            "X-Plain": "plain",
            "X-Literal": format!("Bearer {one}"),
            "X-Space": format!(" {one}"),
            "X-Upper": one.to_string().to_uppercase(),
        },
        "body": format!("{one} {{{{tok_unknown}}}}"),
        "resolve": ["query"],
    });
    let made = create(&world.http, &task).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let path = format!("{TASKS}/{}", made.task()["id"].as_str().expect("an id"));
    let read = world.http.get(&path).await?;
    for shown in [made.task(), read.task()] {
        assert_eq!(shown["headers"], task["headers"]);
        assert_eq!(shown["body"], task["body"]);
        assert_eq!(shown["targetUrl"], task["targetUrl"]);
        assert_eq!(shown["resolve"], json!(["headers", "query"]));
    }
    let (created, bytes) = stored(&world).await?.remove(0);
    assert_eq!(created.sealed, None);
    assert_eq!(created.references().count(), 3);
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("sk-9f3c") && !text.contains("sk-other"));
    let plain = create(&world.http, &with_headers(&json!({}))).await?;
    assert_eq!(plain.task()["resolve"], Value::Null);
    world.stop().await
}

// V10, as far as it can be said before the call.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_to_its_hosts_only() -> Result<()> {
    let world = World::start().await?;
    let bound = json!({
        "name": "bound",
        "value": VALUE,
        "allowedHosts": ["api.example.com", "*.b.example"],
    });
    let bound = id(&world.http.post(TOKENS, &bound).await?.json()["token"]);
    let to = async |url: &str| {
        let task = json!({"targetUrl": url, "headers": {"X-Key": bound}});
        refused(&world.http, &task).await
    };
    for url in [
        "https://api.example.com/",
        "https://API.example.com.:8443/x",
        "https://a.b.example/",
        "https://deep.a.b.example/",
    ] {
        assert_eq!(to(url).await?.0, 201, "{url}");
    }
    for (url, host) in [
        ("https://example.com/", "example.com"),
        ("https://x.api.example.com/", "x.api.example.com"),
        (
            "https://api.example.com.evil.example/",
            "api.example.com.evil.example",
        ),
        ("https://b.example/", "b.example"),
        ("https://203.0.115.7/", "203.0.115.7"),
        ("https://evil.example/?api.example.com", "evil.example"),
        ("http://127.0.0.1:9/", "127.0.0.1"),
    ] {
        let error = format!(
            "Header \"X-Key\" references vault token \"{bound}\", which may only be sent to api.example.com, *.b.example, not to \"{host}\""
        );
        assert_eq!(to(url).await?, (400, error, json!("headers")), "{url}");
    }
    // Unencrypted it goes nowhere, and lines fit no header.
    let (status, error, field) = to("http://api.example.com/").await?;
    assert_eq!((status, field), (400, json!("targetUrl")));
    assert!(error.starts_with("targetUrl must be https"), "{error}");
    let lines = id(&keep(&world.http, "lines", "-----BEGIN-----\nabc").await?);
    let (status, error, _) = refused(&world.http, &with_headers(&json!({"A": lines}))).await?;
    assert_eq!(status, 400);
    assert!(
        error.contains("line breaks") && !error.contains("BEGIN"),
        "{error}"
    );
    let in_body = json!({
        "targetUrl": "https://api.example.com/",
        "body": format!("{{\"key\":\"{{{{{lines}}}}}\"}}"),
        "resolve": ["body"],
    });
    assert_eq!(create(&world.http, &in_body).await?.status, 201);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_a_task_brings_along_are_sealed_and_masked() -> Result<()> {
    let world = World::start().await?;
    let policy = TeamCommand::ChangeVaultPolicy {
        sealed_headers: Some(vec!["X-Own".into()]),
        require_allowed_hosts: None,
    };
    let (writer, by) = (world.writer(), operator());
    let after = writer.run_team(&world.team, policy, &by).await?;
    world.gateway.state().auth.wait_for(after.version).await?;

    let token = id(&keep(&world.http, "t", VALUE).await?);
    let given = json!({
        "Accept": "*/*",
        "authorization": RAW,
        "Cookie": "sid=raw-7e1d",
        "X-Api-Key": token,
        "x-own": "raw-7e1d",
    });
    let masked = json!({
        "Accept": "*/*",
        "authorization": "Bearer ****",
        "Cookie": "****",
        "X-Api-Key": token,
        "x-own": "****",
    });
    let made = create(&world.http, &with_headers(&given)).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let path = format!("{TASKS}/{}", made.task()["id"].as_str().expect("an id"));
    let read = world.http.get(&path).await?;
    let listed = world.http.get(TASKS).await?;
    for shown in [made.task(), read.task()] {
        assert_eq!(shown["headers"], masked);
    }
    for answer in [&made, &read, &listed] {
        let text = answer.text();
        assert!(
            !text.contains("raw-7e1d") && !text.contains("envelope"),
            "{text}"
        );
    }
    let (created, bytes) = stored(&world).await?.remove(0);
    assert!(!String::from_utf8_lossy(&bytes).contains("raw-7e1d"));
    let headers: Value = unsealed(&world, &created)
        .await?
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert_eq!(headers, given);
    let epoch = created.sealed.and_then(|sealed| sealed.epoch);
    assert_eq!(epochs(&world).await?, Vec::from_iter(epoch));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_known_by_its_masks_and_takes_no_other_key() -> Result<()> {
    let world = World::start().await?;
    let task = with_headers(&json!({"Authorization": RAW}));
    let first = create_once(&world.http, "once", &task).await?;
    assert_eq!(first.status, 201, "{}", first.text());
    // The client has a newer credential meanwhile: it is the same request.
    let renewed = with_headers(&json!({"Authorization": "Bearer another"}));
    for again in [&task, &renewed] {
        let replayed = create_once(&world.http, "once", again).await?;
        assert_eq!(replayed.status, 201, "{}", replayed.text());
        assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
        assert_eq!(replayed.task()["id"], first.task()["id"]);
    }
    let basic = with_headers(&json!({"Authorization": "Basic eA=="}));
    assert_eq!(create_once(&world.http, "once", &basic).await?.status, 422);
    assert_eq!(epochs(&world).await?.len(), 1);

    // At the same time, all seal and one is first.
    let racing = (0..8).map(|_| create_once(&world.http, "race", &task));
    let racing = try_join_all(racing).await?;
    let ids: BTreeSet<_> = racing
        .iter()
        .map(|answer| answer.task()["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(epochs(&world).await?.len(), 1);
    for (created, _) in stored(&world).await? {
        let headers = unsealed(&world, &created).await?;
        assert_eq!(headers[0].1, RAW);
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_task_of_a_batch_is_looked_at_and_sealed_by_itself() -> Result<()> {
    let world = World::start().await?;
    let token = id(&keep(&world.http, "t", VALUE).await?);
    let raw = |n: usize| with_headers(&json!({"Authorization": format!("Bearer raw-{n}")}));
    let mut tasks: Vec<Value> = (0..100).map(raw).collect();
    tasks.push(with_headers(&json!({"Authorization": token})));
    tasks.push(with_headers(
        &json!({"Authorization": "tok_01kc0q2v9x3d8e5h7j9m1n3p5r"}),
    ));
    let mut keyed = raw(100);
    keyed["idempotencyKey"] = json!("k");
    tasks.push(keyed);
    let batch = json!({"tasks": tasks});
    let answer = world.http.post("/v1/tasks/batch", &batch).await?;
    assert_eq!(answer.status, 207, "{}", answer.text());
    assert!(!answer.text().contains("raw-"));
    let results = answer.json()["results"].clone();
    let status = |at: usize| results[at]["status"].clone();
    assert_eq!(
        (status(0), status(100), status(102)),
        (json!(201), json!(201), json!(201))
    );
    assert_eq!(status(101), json!(400));
    let error = results[101]["error"].as_str().expect("an error");
    assert!(error.contains("unknown vault token"), "{error}");
    let stored = stored(&world).await?;
    assert_eq!((stored.len(), epochs(&world).await?.len()), (102, 101));
    // In the order of the request, each with its own.
    for (at, (created, _)) in stored.iter().take(100).enumerate() {
        assert_eq!(results[at]["task"]["id"], json!(created.id.to_string()));
        let headers = unsealed(&world, created).await?;
        assert_eq!(headers[0].1, format!("Bearer raw-{at}"));
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_the_log_refuses_leave_one_key_at_most() -> Result<()> {
    let world = World::start().await?;
    let js = async_nats::jetstream::new(world.log.client());
    let mut stream = js.get_stream("TASKS").await?;
    let mut limited = stream.info().await?.config.clone();
    limited.max_message_size = 1_000;
    js.update_stream(&limited).await?;
    let mut task = with_headers(&json!({"Authorization": RAW}));
    task["body"] = json!("x".repeat(2_000));
    let both = json!({"tasks": [task, task]});
    for answer in [
        create(&world.http, &task).await?,
        create_once(&world.http, "k", &task).await?,
        world.http.post("/v1/tasks/batch", &both).await?,
    ] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(!answer.text().contains("raw-7e1d"));
    }
    // Which a worker sweeps away when the epoch is over.
    assert_eq!(epochs(&world).await?.len(), 1);
    assert!(stored(&world).await?.is_empty());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_for_its_key_no_task_is_stored() -> Result<()> {
    let world = World::start().await?;
    let keys = MemoryVaultKeys::default();
    let stop = CancellationToken::new();
    let mut away = parts(&world.log, &world.folder, "away");
    away.vault_keys = Arc::new(keys.clone());
    let gateway = Gateway::start(config(), away, stop.clone()).await?;
    let http = Http::at(gateway.addr()).with_key(&world.key);
    http.until("/readyz", http::StatusCode::OK).await?;
    keys.set_away(true);
    let task = with_headers(&json!({"Authorization": RAW}));
    let plain = with_headers(&json!({"X-One": "1"}));
    for answer in [
        create(&http, &task).await?,
        create_once(&http, "k", &task).await?,
    ] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.code(), "vault_unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    // The others of a batch are made.
    let both = json!({"tasks": [task, plain]});
    let answer = http.post("/v1/tasks/batch", &both).await?;
    let results = answer.json()["results"].clone();
    assert_eq!(
        (&results[0]["status"], &results[1]["status"]),
        (&json!(503), &json!(201))
    );
    assert_eq!(stored(&world).await?.len(), 1);
    keys.set_away(false);
    assert!(keys.all().is_empty());
    // A key that may be stored is not relied on, and a batch waits for that once.
    keys.lose_answers(true);
    let many = json!({"tasks": vec![&task; 200]});
    let answer = http.post("/v1/tasks/batch", &many).await?;
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (503, "vault_unavailable".into())
    );
    assert!((1..=32).contains(&keys.all().len()), "{}", keys.all().len());
    keys.lose_answers(false);
    assert_eq!(stored(&world).await?.len(), 1);
    assert_eq!(create_once(&http, "k", &task).await?.status, 201);
    // A task may be open for years; its key is erased when it has ended, not before.
    keys.set_time(Timestamp(5 * 365 * 86_400_000));
    assert!(!keys.all().is_empty());
    stop.cancel();
    gateway.wait().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_vault_references_are_refused_and_headers_stay_as_they_are() -> Result<()> {
    let world = World::start().await?;
    let token = id(&keep(&world.http, "t", VALUE).await?);
    let stop = CancellationToken::new();
    let mut without = parts(&world.log, &world.folder, "without");
    without.sealer = None;
    let gateway = Gateway::start(config(), without, stop.clone()).await?;
    let http = Http::at(gateway.addr()).with_key(&world.key);
    http.until("/readyz", http::StatusCode::OK).await?;
    for task in [
        with_headers(&json!({"Authorization": token})),
        with_headers(&json!({"Authorization": "tok_malformed"})),
        with_headers(&json!({"Authorization": format!("Bearer {{{{{token}}}}}")})),
        json!({"targetUrl": "https://x.example/?{{tok_1}}", "resolve": ["query"]}),
        json!({"targetUrl": "https://x.example/", "body": "{{tok_1}}", "resolve": ["body"]}),
    ] {
        let answer = create(&http, &task).await?;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.error(), "Token vault is not configured");
    }
    let made = create(&http, &with_headers(&json!({"Authorization": RAW}))).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.task()["headers"]["Authorization"], json!(RAW));
    stop.cancel();
    gateway.wait().await?;
    world.stop().await
}
