//! Streams are made, checked and changed from one place.

use waybill_log::jetstream::ProvisionError;
use waybill_log::{ConnectError, connect};
use waybill_testkit::{NatsOptions, NatsServer};

use crate::fixture::{EVENT, a_jetstream_log, append_one, config_at};

async fn differences(config: &waybill_log::NatsConfig) -> Vec<[String; 4]> {
    match connect(config).await.err() {
        Some(ConnectError::Streams(ProvisionError::Differs(differences))) => differences
            .into_iter()
            .map(|it| [it.stream, it.field, it.expected, it.found])
            .collect(),
        other => panic!("not a difference: {other:?}"),
    }
}

#[tokio::test]
async fn a_second_process_finds_what_the_first_made() {
    let (server, log) = a_jetstream_log().await;
    append_one(&log, EVENT, "a").await;
    let second = connect(&config_at(&server.url())).await.unwrap();
    assert_eq!(append_one(&second, EVENT, "b").await.0, 2);
}

#[tokio::test]
async fn another_count_of_partitions_is_an_error_that_says_so() {
    let (server, _log) = a_jetstream_log().await;
    let mut config = config_at(&server.url());
    config.streams.partitions = Some(32);
    config.streams.apply_changes = true;
    assert_eq!(
        differences(&config).await,
        [["TASKS", "metadata.waybill.partitions", "\"32\"", "\"4\""].map(str::to_owned)]
    );
    let error = connect(&config).await.err().expect("refused").to_string();
    let wanted =
        "nats.streams.partitions is 32, but TASKS was made with 4, which cannot be changed";
    assert!(error.contains(wanted), "{error}");
}

#[tokio::test]
async fn a_store_keeps_the_number_of_partitions_that_it_was_made_with() {
    let server = NatsServer::start().await.unwrap();
    let mut config = config_at(&server.url());
    config.streams.partitions = Some(16);
    let made = connect(&config).await.unwrap();
    assert_eq!(made.partitions().get(), 16);
    config.streams.partitions = None;
    let later = connect(&config).await.unwrap();
    assert_eq!(later.partitions().get(), 16);
    // A stream whose number nobody can read is not guessed at.
    let context = async_nats::jetstream::new(later.client());
    let stream = context.get_stream("TASKS").await.unwrap();
    let mut damaged = stream.cached_info().config.clone();
    let number = damaged
        .metadata
        .insert("waybill.partitions".into(), "x".into());
    assert_eq!(number.as_deref(), Some("16"));
    context.update_stream(damaged).await.unwrap();
    assert_eq!(
        differences(&config).await[0][1],
        "metadata.waybill.partitions"
    );
}

#[tokio::test]
async fn a_new_store_has_four_partitions() {
    let (server, log) = a_jetstream_log().await;
    assert_eq!(log.partitions().get(), 4);
    let mut config = config_at(&server.url());
    config.streams.partitions = Some(4);
    connect(&config).await.unwrap();
}

#[tokio::test]
async fn a_stream_changed_behind_our_back_is_an_error_that_says_what_differs() {
    let (server, log) = a_jetstream_log().await;
    let context = async_nats::jetstream::new(log.client());
    let stream = context.get_stream("TASKS").await.unwrap();
    let mut changed = stream.cached_info().config.clone();
    changed.allow_direct = false;
    changed.max_messages = 7;
    context.update_stream(changed).await.unwrap();
    let found = differences(&config_at(&server.url())).await;
    let wanted = [
        ["TASKS", "allow_direct", "true", "false"],
        ["TASKS", "max_msgs", "-1", "7"],
    ];
    assert_eq!(found, wanted.map(|row| row.map(str::to_owned)));
}

#[tokio::test]
async fn a_store_with_an_age_loses_it_at_the_start_and_nothing_else() {
    let (server, log) = a_jetstream_log().await;
    append_one(&log, EVENT, "kept").await;
    let context = async_nats::jetstream::new(log.client());
    let stream = context.get_stream("TASKS").await.unwrap();
    let mut former = stream.cached_info().config.clone();
    former.max_age = std::time::Duration::from_secs(30 * 86_400);
    context.update_stream(&former).await.unwrap();
    // No operator has to allow it: open tasks would go by it.
    let migrated = connect(&config_at(&server.url())).await.unwrap();
    let stream = context.get_stream("TASKS").await.unwrap();
    assert!(stream.cached_info().config.max_age.is_zero());
    assert_eq!(append_one(&migrated, EVENT, "new").await.0, 2);
}

#[tokio::test]
async fn bytes_change_when_the_configuration_asks_for_it() {
    let (server, log) = a_jetstream_log().await;
    append_one(&log, EVENT, "kept").await;
    let mut config = config_at(&server.url());
    config.streams.tasks_max_bytes = Some(1 << 30);
    let found: Vec<String> = differences(&config)
        .await
        .into_iter()
        .map(|[_, field, ..]| field)
        .collect();
    assert_eq!(found, ["max_bytes"]);
    config.streams.apply_changes = true;
    let changed = connect(&config).await.unwrap();
    assert_eq!(append_one(&changed, EVENT, "new").await.0, 2);
    config.streams.apply_changes = false;
    connect(&config).await.unwrap();
}

#[tokio::test]
async fn a_limit_that_nobody_configured_is_left_alone_and_only_ever_raised() {
    let (server, log) = a_jetstream_log().await;
    log.raise("CONTROL", 1 << 20).await.unwrap();
    log.raise("CONTROL", 1 << 10).await.unwrap();
    // As `waybill keys` does beside a `waybill up` that has given shares to the streams.
    let beside = connect(&config_at(&server.url())).await.unwrap();
    let sizes = beside.sizes().await.unwrap();
    let limit = |name| {
        let found = sizes.iter().find(|size| size.stream == name);
        found.map(|size| size.max_bytes)
    };
    assert_eq!(limit("CONTROL"), Some(Some(1 << 20)));
    assert_eq!(limit("TASKS"), Some(None));
    // But one that is configured is compared.
    let mut config = config_at(&server.url());
    config.streams.tasks_max_bytes = Some(1 << 30);
    assert_eq!(differences(&config).await[0][1], "max_bytes");
}

#[tokio::test]
async fn a_fence_of_an_earlier_build_refuses_when_full_from_now_on() {
    let (server, log) = a_jetstream_log().await;
    let context = async_nats::jetstream::new(log.client());
    let stream = context.get_stream("FENCE").await.unwrap();
    let mut earlier = stream.cached_info().config.clone();
    earlier.discard = async_nats::jetstream::stream::DiscardPolicy::Old;
    context.update_stream(earlier).await.unwrap();
    connect(&config_at(&server.url())).await.unwrap();
    let now = context.get_stream("FENCE").await.unwrap();
    let discard = now.cached_info().config.discard;
    assert_eq!(discard, async_nats::jetstream::stream::DiscardPolicy::New);
}

#[tokio::test]
async fn without_a_server_the_error_names_it_without_secrets() {
    let mut config = config_at("nats://wally:hunter2@127.0.0.1:1");
    config.connect_timeout_ms = 100;
    let error = connect(&config).await.err().unwrap().to_string();
    assert!(
        error.contains("127.0.0.1:1") && !error.contains("hunter2"),
        "{error}"
    );
}

#[tokio::test]
async fn a_deadline_that_outlives_the_duplicate_window_is_refused() {
    let mut config = config_at("nats://127.0.0.1:1");
    config.request_timeout_ms = 120_000;
    let error = connect(&config).await.err().unwrap().to_string();
    assert!(
        error.contains("between 100 and 60000, not 120000"),
        "{error}"
    );
}

#[tokio::test]
async fn credentials_open_the_door_and_wrong_ones_do_not() {
    let options = NatsOptions {
        extra: "authorization { user: wally, password: hunter2 }\n".to_owned(),
        ..NatsOptions::default()
    };
    let server = NatsServer::start_with(options).await.unwrap();
    let mut config = config_at(&server.url());
    config.connect_timeout_ms = 500;
    assert!(matches!(
        connect(&config).await,
        Err(ConnectError::Unreachable { .. })
    ));
    config.user = Some("wally".to_owned());
    config.password = Some("hunter2".to_owned().into());
    connect(&config).await.unwrap();
}

#[test]
fn the_shipped_server_configurations_are_valid() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("tls");
    let made = std::process::Command::new(root.join("ops/new-ca"))
        .arg(&tls)
        .arg("node")
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let fitted = |file: &str| {
        let text = std::fs::read_to_string(root.join("nats").join(file)).unwrap();
        let text = text.replace("/tls/", &format!("{}/", tls.display()));
        std::fs::write(folder.path().join(file), text).unwrap();
    };
    fitted("permissions.conf");
    fitted("accounts.conf");
    // As they are shipped, and with accounts in place of permissions.
    let includes = ["permissions.conf", "accounts.conf"];
    for (file, include) in ["single.conf", "cluster.conf"]
        .into_iter()
        .flat_map(|file| includes.map(|include| (file, include)))
    {
        fitted(file);
        let at = folder.path().join(file);
        let text = std::fs::read_to_string(&at).unwrap();
        let included = "include \"permissions.conf\"";
        assert!(text.contains(included), "{file}");
        let text = text.replace(included, &format!("include \"{include}\""));
        std::fs::write(&at, text).unwrap();
        let mut check = std::process::Command::new(waybill_testkit::nats::binary().unwrap());
        for user in ["ADMIN", "GATEWAY", "WORKER", "PROJECTOR", "SYSTEM", "ROUTE"] {
            check.env(format!("NATS_{user}_PASSWORD"), "hunter2");
        }
        let checked = check
            .env("NATS_NAME", "nats-1")
            .env("NATS_ROUTES", "[\"nats://route:hunter2@nats-2:6222\"]")
            .arg("-t")
            .arg("-c")
            .arg(folder.path().join(file))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{file}, {include}: {said}");
    }
}
