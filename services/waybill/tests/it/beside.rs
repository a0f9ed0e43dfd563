//! Commands that work beside a running server, found by its data folder.

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::{Value, json};

use crate::installation::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_used_and_revoked_from_the_command_line() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let data = installation.data();
    let data = data.to_str().context("a path")?;
    let http = up.http(&key);
    let health = json!({"targetUrl": format!("{}/healthz", up.url), "method": "GET"});

    let made = installation
        .run(&[
            "keys",
            "create",
            "--name",
            "reader",
            "--scopes",
            "tasks:read",
            "--data",
            data,
        ])
        .await?
        .succeeded();
    // The key is alone on standard output, for scripts.
    let reader = made.stdout.trim();
    assert!(
        reader.starts_with("wb_live_") && !reader.contains(char::is_whitespace),
        "{reader}"
    );
    let id = made
        .stderr
        .split_whitespace()
        .find(|word| word.starts_with("key_"));
    let id = id.context("its id")?.to_owned();
    let reading = http.with_key(reader);
    reading.until("/v1/tasks", StatusCode::OK).await?;
    let refused = reading.post("/v1/tasks", &health).await?;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    assert!(refused.text().contains("tasks:write"), "{}", refused.text());

    let listed = installation
        .run(&["keys", "list", "--data", data])
        .await?
        .succeeded();
    assert!(
        listed.stdout.contains(&id) && listed.stdout.contains("reader"),
        "{}",
        listed.stdout
    );
    assert!(
        listed.stdout.contains("tasks:read"),
        "its scopes: {}",
        listed.stdout
    );
    assert!(!listed.stdout.contains(reader));

    // When the command has ended, every later request is refused.
    installation
        .run(&["keys", "revoke", &id, "--data", data])
        .await?
        .succeeded();
    let refused = reading.get("/v1/tasks").await?;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.json()["error"], "Invalid or revoked API key");

    let team = installation
        .run(&[
            "keys",
            "create-team",
            "--name",
            "Blue",
            "--plan",
            "pro",
            "--data",
            data,
        ])
        .await?
        .succeeded();
    let team = team.stdout.trim().to_owned();
    let blue = installation
        .run(&[
            "keys", "create", "--name", "all", "--team", &team, "--data", data,
        ])
        .await?
        .succeeded();
    let blue = http.with_key(blue.stdout.trim());
    blue.until("/v1/tasks", StatusCode::OK).await?;
    let theirs = http.create(&health).await?;
    let peek = blue.get(&format!("/v1/tasks/{theirs}")).await?;
    assert!(matches!(peek.status.as_u16(), 403 | 404), "{}", peek.text());

    for (arguments, words) in [
        (["keys", "revoke", "key_no"], ["key_no", "no key id"]),
        (["keys", "revoke", "key_zzzzzzzz"], ["key_zzzzzzzz", "no"]),
        (["replay", "--team", "green"], ["--team", "green"]),
    ] {
        let arguments = [&arguments[..], &["--data", data]].concat();
        installation.run(&arguments).await?.refused(&words);
    }
    let wrong = [
        "keys",
        "create",
        "--name",
        "x",
        "--scopes",
        "tasks:burn",
        "--data",
        data,
    ];
    installation
        .run(&wrong)
        .await?
        .refused(&["--scopes", "tasks:burn", "tasks:read"]);
    let wrong = [
        "keys",
        "create-team",
        "--name",
        "x",
        "--plan",
        "gold",
        "--data",
        data,
    ];
    installation
        .run(&wrong)
        .await?
        .refused(&["gold", "free", "pro"]);

    up.interrupt().await?.succeeded();
    let late = installation.run(&["keys", "list", "--data", data]).await?;
    late.refused(&["no `waybill up` runs on", data]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_commands_say_that_nothing_runs() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    let up = installation.up().await?;
    up.kill().await?;
    let data = installation.data();
    let ended = installation
        .run(&["keys", "list", "--data", data.to_str().context("a path")?])
        .await?;
    ended.refused(&["no `waybill up` runs on", "left of one that was killed"]);
    assert!(ended.took.as_secs() < 5, "{:?}", ended.took);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_team_are_replayed_from_the_log() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let health = json!({"targetUrl": format!("{}/healthz", up.url), "method": "GET"});
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(http.create(&health).await?);
    }
    for id in &ids {
        http.completed(id).await?;
    }
    let team = http.task(&ids[0]).await?["teamId"]
        .as_str()
        .context("a team")?
        .to_owned();
    let data = installation.data();
    let data = data.to_str().context("a path")?;

    let lines = |text: &str| -> Result<Vec<Value>> {
        text.lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    };
    let all = ["replay", "--team", &team, "--data", data];
    let all = lines(&installation.run(&all).await?.succeeded().stdout)?;
    let types: Vec<_> = all
        .iter()
        .map(|line| line["type"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(types[..2], ["team.created", "key.created"], "{types:?}");
    assert_eq!(types.len(), 2 + 3 * 3, "{types:?}");

    let only = [
        "replay",
        "--team",
        &team,
        "--type",
        "task.created",
        "--type",
        "task.succeeded",
        "--data",
        data,
    ];
    let only = lines(&installation.run(&only).await?.succeeded().stdout)?;
    assert_eq!(only.len(), 6);
    let seqs: Vec<_> = only
        .iter()
        .filter_map(|line| line["seq"].as_u64())
        .collect();
    assert!(seqs.len() == 6 && seqs.is_sorted(), "{seqs:?}");

    let wrong = [
        "replay",
        "--team",
        &team,
        "--type",
        "task.exploded",
        "--data",
        data,
    ];
    installation
        .run(&wrong)
        .await?
        .refused(&["--type", "task.exploded", "task.created"]);
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_quietly_when_nobody_reads_them() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let health = json!({"targetUrl": format!("{}/healthz", up.url), "method": "GET"});
    let id = http.create(&health).await?;
    let team = http.task(&id).await?["teamId"].clone();
    let team = team.as_str().context("a team")?;
    let now = "2099-01-01T00:00:00Z";
    for command in [
        "replay --team TEAM",
        "replay --team TEAM --at NOW",
        "teams list",
        "keys list",
        "log skipped",
        "signatures show",
        "vault status",
        "verify",
        "audit keys",
        "audit checkpoint",
        "audit verify",
        "audit verify --json",
        "doctor",
        "config",
        "backup unread.backup --no-verify",
    ] {
        let command = command.replace("TEAM", team).replace("NOW", now);
        let words: Vec<&str> = command.split(' ').collect();
        let ended = installation.run_unread(&words).await?;
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{command}: {ended:?}");
        let complains = told.lines().any(|line| line.starts_with("waybill: "));
        assert!(!complains, "{command}: {told}");
    }
    // What is shown this once must not be lost in silence.
    let lost = installation
        .run_unread(&["keys", "create", "--name", "unread"])
        .await?;
    assert_eq!(lost.status.code(), Some(1), "{lost:?}");
    let told = String::from_utf8_lossy(&lost.stderr);
    assert!(told.contains("nobody reads standard output"), "{told}");
    up.interrupt().await?.succeeded();
    Ok(())
}
