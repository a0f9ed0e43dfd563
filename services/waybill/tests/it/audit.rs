//! `waybill audit` and `waybill replay --at`, over a running server and over exports that somebody has changed.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::installation::{Installation, Up};
use crate::process::Ended;

/// A server with a few changes of access behind it, its key, and a folder for what is kept of it.
struct Audited {
    installation: Installation,
    _up: Up,
    kept: TempDir,
    export: String,
}

impl Audited {
    async fn new() -> Result<Self> {
        let (mut installation, key) = Installation::with_key()?;
        let up = installation.up().await?;
        let http = up.http(&key);
        let mut audited = Self {
            installation,
            _up: up,
            kept: tempfile::tempdir()?,
            export: String::new(),
        };
        for name in ["one", "two", "three", "four"] {
            audited
                .run(&["keys", "create", "--name", name])
                .await?
                .succeeded();
        }
        let checkpoint = audited.run(&["audit", "checkpoint"]).await?.succeeded();
        audited.keep("control", &checkpoint.stdout)?;
        let keys = audited.run(&["audit", "keys"]).await?.succeeded();
        audited.keep("keys", &keys.stdout)?;
        let exported = http.get("/v1/activity/export?format=jsonl").await?;
        assert_eq!(exported.status, 200, "{}", exported.text());
        let export = exported.text();
        audited.keep("export", &export)?;
        Ok(Self { export, ..audited })
    }

    /// Runs a command over this server's data.
    async fn run(&mut self, arguments: &[&str]) -> Result<Ended> {
        let data = self.installation.data();
        let mut all = arguments.to_vec();
        all.extend(["--data", data.to_str().context("a path")?]);
        self.installation.run(&all).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.kept.path().join(name)
    }

    fn keep(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.path(name), text)?)
    }

    /// Verifies a text as an export, with the kept keys and nothing else of this server.
    async fn verify(&mut self, export: &str, older: Option<&str>) -> Result<(i32, Value)> {
        self.keep("changed", export)?;
        let (export, keys) = (self.path("changed"), self.path("keys"));
        let mut arguments = vec![
            "audit".to_owned(),
            "verify".to_owned(),
            export.display().to_string(),
            "--keys".to_owned(),
            keys.display().to_string(),
            "--json".to_owned(),
        ];
        if let Some(name) = older {
            arguments.push("--checkpoint".to_owned());
            arguments.push(self.path(name).display().to_string());
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ended = self.installation.run(&arguments).await?;
        let code = ended.status.code().context("an exit code")?;
        let report = serde_json::from_str(&ended.stdout).context(ended.stderr)?;
        Ok((code, report))
    }
}

impl Audited {
    /// The names of the team's keys at a time.
    async fn key_names(&mut self, team: &str, at: &str) -> Result<Vec<String>> {
        let shown = self.run(&["replay", "--team", team, "--at", at]).await?;
        let shown = shown.succeeded().stdout;
        assert!(!shown.contains("mac"), "nothing made of secrets: {shown}");
        let state: Value = serde_json::from_str(&shown)?;
        let keys = state["keys"].as_array().context("keys")?;
        let name = |key: &Value| Some(key["name"].as_str()?.to_owned());
        Ok(keys.iter().filter_map(name).collect())
    }

    async fn digest(&mut self, team: &str, at: &str) -> Result<String> {
        let arguments = ["replay", "--team", team, "--at", at, "--digest"];
        Ok(self.run(&arguments).await?.succeeded().stdout)
    }
}

fn kinds(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().into_iter().flatten();
    findings.filter_map(|f| f["kind"].as_str()).collect()
}

fn is_event(line: &str) -> bool {
    line.starts_with("{\"seq\":")
}

/// The export with its events changed.
fn changed(export: &str, change: impl FnOnce(&mut Vec<String>)) -> String {
    let (mut events, mut rest) = (Vec::new(), Vec::new());
    let mut lines = export.lines();
    let header = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        if is_event(line) {
            events.push(line.to_owned());
        } else {
            rest.push(line.to_owned());
        }
    }
    change(&mut events);
    let lines: Vec<String> = [vec![header], events, rest].concat();
    lines.join("\n") + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_was_changed_says_how_and_where() -> Result<()> {
    let mut audited = Audited::new().await?;
    let export = audited.export.clone();
    let (code, report) = audited.verify(&export, None).await?;
    assert_eq!(code, 0, "{report}");
    let trusted = report["trusted"].as_str().context("a checkpoint to keep")?;
    audited.keep("older", trusted)?;
    assert_eq!(audited.verify(&export, Some("older")).await?.0, 0);

    let seqs: Vec<u64> = audited
        .export
        .lines()
        .filter(|line| is_event(line))
        .map(|line| {
            serde_json::from_str::<Value>(line)?["seq"]
                .as_u64()
                .context("seq")
        })
        .collect::<Result<_>>()?;
    assert!(seqs.len() >= 5, "{seqs:?}");
    let cases: [(&str, &str, Option<u64>, String); 5] = [
        (
            "edited",
            "altered",
            Some(seqs[2]),
            changed(&export, |events| {
                events[2] = events[2]
                    .replacen("two", "owt", 1)
                    .replacen("one", "eno", 1);
            }),
        ),
        (
            "removed",
            "missing",
            None,
            changed(&export, |events| {
                events.remove(2);
            }),
        ),
        (
            "swapped",
            "reordered",
            None,
            changed(&export, |events| events.swap(2, 3)),
        ),
        (
            "inserted",
            "inserted",
            None,
            changed(&export, |events| {
                let mut copy: Value = serde_json::from_str(&events[2]).unwrap_or_default();
                copy["time"] = "1".into();
                events.insert(3, events[1].clone());
            }),
        ),
        (
            "cut off",
            "truncated",
            None,
            changed(&export, |events| events.truncate(3)),
        ),
    ];
    for (what, kind, seq, export) in cases {
        let (code, report) = audited.verify(&export, None).await?;
        assert_eq!(code, 1, "{what}: {report}");
        assert!(kinds(&report).contains(&kind), "{what}: {report}");
        if let Some(seq) = seq {
            let found = report["findings"].as_array().into_iter().flatten();
            let at: Vec<_> = found.filter_map(|f| f["seq"].as_u64()).collect();
            assert!(at.contains(&seq), "{what} at {seq}: {report}");
        }
    }
    // Events and checkpoints cut off together: only what was kept elsewhere tells.
    let empty = changed(&export, Vec::clear);
    let header_only = empty.lines().next().unwrap_or_default().to_owned() + "\n";
    let (code, report) = audited.verify(&header_only, Some("older")).await?;
    assert_eq!(code, 1, "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_itself_is_verified_and_every_way_to_fail_has_its_code() -> Result<()> {
    let mut audited = Audited::new().await?;
    let newest = audited.path("newest").display().to_string();
    let control = audited.path("control").display().to_string();
    let verified = audited
        .run(&[
            "audit",
            "verify",
            "--checkpoint",
            &control,
            "--write-checkpoint",
            &newest,
        ])
        .await?
        .succeeded();
    assert!(verified.stdout.contains("intact"), "{}", verified.stdout);
    assert!(
        std::fs::read_to_string(&newest)?.contains("/control"),
        "kept for the next time"
    );

    let stranger = "waybill/default+8f0d3f5e+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    audited.keep("strangers", stranger)?;
    let strangers = audited.path("strangers").display().to_string();
    let untrusted = audited
        .run(&["audit", "verify", "--keys", &strangers])
        .await?;
    assert_eq!(untrusted.status.code(), Some(3), "{untrusted:?}");

    let wrong = audited
        .run(&["audit", "verify", "--no-such-option"])
        .await?;
    assert_eq!(wrong.status.code(), Some(4), "{wrong:?}");

    let missing = audited.path("no-such-file").display().to_string();
    let unread = audited.run(&["audit", "verify", &missing]).await?;
    assert_eq!(unread.status.code(), Some(2), "{unread:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn access_is_shown_as_it_was() -> Result<()> {
    let mut audited = Audited::new().await?;
    let exported: Vec<Value> = audited
        .export
        .lines()
        .filter(|line| is_event(line))
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let team = exported[0]["subject"].as_str().context("a subject")?;
    let team = team.split('.').nth(1).context("a team")?.to_owned();
    let third = exported[2]["seq"].as_u64().context("a sequence")?;
    let then = audited.key_names(&team, &third.to_string()).await?;
    let now = audited.key_names(&team, "2999-01-01T00:00:00Z").await?;
    assert!(
        then.contains(&"one".to_owned()) && !then.contains(&"two".to_owned()),
        "{then:?}"
    );
    assert!(now.contains(&"four".to_owned()), "{now:?}");

    let at = third.to_string();
    let digest = audited.digest(&team, &at).await?;
    assert_eq!(digest, audited.digest(&team, &at).await?);
    let later = (third + 1).to_string();
    assert_ne!(digest, audited.digest(&team, &later).await?);

    let before = audited
        .run(&["replay", "--team", &team, "--at", "2001-01-01T00:00:00Z"])
        .await?;
    before.refused(&["was not there yet"]);
    Ok(())
}
