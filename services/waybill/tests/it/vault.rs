//! The keys of the vault from the command line: made, rotated while everything runs, and retired.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use waybill_domain::id::{TeamId, TokenId};
use waybill_domain::time::Timestamp;
use waybill_log::{JetStreamLog, KeyName, KeysOf, NatsConfig, StreamSeq, VaultKeys};
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::eventually;
use waybill_testkit::http::Http;
use waybill_vault::{
    Context as Place, KekId, OpenRing, Ring, SealRing, SecretBytes, Unwrapper, WrappedKey, seal,
};

use crate::apart;
use crate::installation::Installation;
use crate::process::{PATIENCE, Whom};

fn rings(data: &Path) -> Result<(SealRing, OpenRing)> {
    let read = |name| fs::read_to_string(data.join("secrets").join(name));
    let seal = SealRing::parse(&read("vault-seal")?)?;
    Ok((seal, OpenRing::parse(&read("vault-open")?)?))
}

fn assert_private(data: &Path) -> Result<()> {
    for name in ["vault-seal", "vault-open"] {
        let mode = fs::metadata(data.join("secrets").join(name))?.permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
    }
    Ok(())
}

/// The private nats-server of a running `waybill up`.
async fn log(data: &Path) -> Result<JetStreamLog> {
    let connection: Value = serde_json::from_slice(&fs::read(data.join("nats/connection.json"))?)?;
    let text = |field: &str| connection[field].as_str().map(ToOwned::to_owned);
    let config = NatsConfig {
        user: text("user"),
        password: text("password").map(Into::into),
        ..NatsConfig::at(text("url").context("a URL")?)
    };
    Ok(waybill_log::connect(&config).await?)
}

impl Installation {
    async fn vault(&mut self, arguments: &[&str]) -> Result<crate::process::Ended> {
        self.run(&[&["vault"], arguments].concat()).await
    }

    /// What `waybill vault status` says about a KEK.
    async fn status_of(&mut self, kek: KekId) -> Result<String> {
        let status = self.vault(&["status"]).await?.succeeded().stdout;
        let kek = kek.to_string();
        let line = status.lines().find(|line| line.starts_with(&kek));
        Ok(line.with_context(|| status.clone())?.to_owned())
    }
}

async fn keep(http: &Http, name: &str, value: &str) -> Result<String> {
    let body = json!({ "name": name, "value": value });
    let made = http.post("/v1/tokens", &body).await?;
    anyhow::ensure!(made.status == StatusCode::CREATED, "{}", made.text());
    Ok(made.json()["token"]["id"]
        .as_str()
        .context("an id")?
        .to_owned())
}

/// Sends the token by a task, and waits until its target has seen the value.
async fn arrives(http: &Http, sink: &Sink, token: &str, value: &str) -> Result<()> {
    let task = json!({ "targetUrl": sink.url("/use"), "headers": { "X-Credential": token } });
    let id = http.create(&task).await?;
    http.completed(&id).await?;
    let received = sink.received();
    let seen = received.iter().any(|got| {
        let header = got.headers.get("x-credential");
        header.is_some_and(|header| header.as_bytes() == value.as_bytes())
    });
    anyhow::ensure!(seen, "{value} never arrived");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rings_are_made_once_and_never_shown() -> Result<()> {
    let mut installation = Installation::new()?;
    let data = installation.data();
    let made = installation.vault(&["init"]).await?.succeeded();
    let (seal, open) = rings(&data)?;
    assert_eq!(seal.keks(), open.keks());
    assert_eq!(made.stdout.trim(), seal.keks()[0].to_string());
    assert_private(&data)?;
    let before = fs::read(data.join("secrets/vault-open"))?;
    let again = installation.vault(&["init"]).await?;
    again.refused(&["vault-seal is there already"]);
    assert_eq!(fs::read(data.join("secrets/vault-open"))?, before);

    let printed = installation.vault(&["init", "--print"]).await?.succeeded();
    let value = |line: usize, variable: &str| -> Result<String> {
        let line = printed.stdout.lines().nth(line).context("a line")?;
        let value = line.strip_prefix(variable).context("its variable")?;
        Ok(value.trim_matches(['=', '"']).to_owned())
    };
    let seal = SealRing::parse(&value(0, "WAYBILL_VAULT_SEAL")?)?;
    let open = OpenRing::parse(&value(1, "WAYBILL_VAULT_OPEN")?)?;
    assert_eq!(seal.keks(), open.keks());
    assert_eq!(fs::read(data.join("secrets/vault-open"))?, before);
    installation.set("WAYBILL_VAULT_SEAL", &value(0, "WAYBILL_VAULT_SEAL")?);
    fs::remove_dir_all(data.join("secrets"))?;
    let set = installation.vault(&["init"]).await?;
    set.refused(&["WAYBILL_VAULT_SEAL is set"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_makes_the_rings_and_one_without_its_open_ring_is_refused() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    installation.keep_secret("hunter2-in-the-vault");
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let data = installation.data();
    assert_private(&data)?;
    let kek = rings(&data)?.0.keks()[0];
    let http = up.http(&key);
    let token = keep(&http, "a", "hunter2-in-the-vault").await?;
    arrives(&http, &sink, &token, "hunter2-in-the-vault").await?;
    let status = installation.status_of(kek).await?;
    assert!(status.contains("in force, never rotated"), "{status}");
    assert!(status.ends_with(" 1 keys"), "{status}");
    for (arguments, words) in [
        (vec!["retire", "x"], vec!["16"]),
        (vec!["retire", "0000000000000000"], vec!["in neither ring"]),
        (
            vec!["retire", &*kek.to_string()],
            vec!["is in force", "rotate"],
        ),
    ] {
        installation.vault(&arguments).await?.refused(&words);
    }
    up.interrupt().await?.succeeded();

    let late = installation.vault(&["rotate"]).await?;
    late.refused(&["no `waybill up` runs on"]);
    let (open, aside) = (data.join("secrets/vault-open"), data.join("aside"));
    fs::rename(&open, &aside)?;
    let refused = installation.run(&["up", "--listen", "127.0.0.1:0"]).await?;
    refused.refused(&["vault-open is missing", "put it back"]);
    fs::rename(&aside, &open)?;
    let up = installation.up().await?;
    arrives(&up.http(&key), &sink, &token, "hunter2-in-the-vault").await?;
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_to_a_new_kek_while_the_system_runs() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let data = installation.data();
    let http = Arc::new(up.http(&key));
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let old = rings(&data)?.0.keks()[0];
    let first = keep(&http, "first", "the-first-value").await?;

    // Others make tokens all the while. A gateway may refuse for a moment, but what it took stays readable.
    let done = Arc::new(AtomicBool::new(false));
    let making = tokio::spawn({
        let (http, done) = (Arc::clone(&http), Arc::clone(&done));
        async move {
            let mut made = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let value = format!("value-{}", made.len());
                if let Ok(token) = keep(&http, "meanwhile", &value).await {
                    made.push((token, value));
                }
            }
            made
        }
    });
    let rotated = installation.vault(&["rotate"]).await?.succeeded();
    done.store(true, Ordering::Relaxed);
    let made = making.await?;
    let (seal, open) = rings(&data)?;
    let new = seal.keks()[0];
    assert_ne!(new, old);
    assert_eq!((seal.keks(), open.keks()), (vec![new, old], vec![new, old]));
    assert!(
        rotated.stdout.starts_with(&format!("{new} is in force: ")),
        "{rotated:?}"
    );
    let status = installation.status_of(new).await?;
    assert!(status.contains("in force since"), "{status}");
    let status = installation.status_of(old).await?;
    assert!(status.ends_with(" 0 keys"), "{status}");
    assert!(made.len() > 3, "only {} were made", made.len());
    arrives(&http, &sink, &first, "the-first-value").await?;
    for (token, value) in [&made[0], &made[made.len() / 2], &made[made.len() - 1]] {
        arrives(&http, &sink, token, value).await?;
    }
    // Not yet: what a gateway began to seal before is stored within a minute.
    let early = installation.vault(&["retire", &old.to_string()]).await?;
    early.refused(&["less than a minute", "try again in"]);
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_nobody_signed_stops_no_rotation_and_is_listed() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    let up = installation.up().await?;
    let data = installation.data();
    let old = rings(&data)?.0.keks()[0];
    let subject = format!("control._.kek.{old}");
    let log = log(&data).await?;
    // Before anything is said of a KEK, and once more behind what the first rotation says.
    for _ in 0..2 {
        let before = rings(&data)?.0.keks()[0];
        let client = log.client();
        client.request(subject.clone(), "forged".into()).await?;
        installation.vault(&["rotate"]).await?.succeeded();
        let now = rings(&data)?.0.keks()[0];
        assert_ne!(now, before);
        let status = installation.status_of(now).await?;
        assert!(status.contains("in force since"), "{status}");
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    let listed = loop {
        let listed = installation.run(&["log", "skipped"]).await?.succeeded();
        if listed.stdout.lines().count() == 2 {
            break listed.stdout;
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "{}", listed.stdout);
    };
    for line in listed.lines() {
        assert!(
            line.starts_with("CONTROL") && line.contains(&subject) && line.contains("void"),
            "{line}"
        );
    }
    let as_json = installation.run(&["log", "skipped", "--json"]).await?;
    for line in as_json.succeeded().stdout.lines() {
        let record: Value = serde_json::from_str(line)?;
        assert_eq!(record["subject"], json!(subject), "{record}");
        assert_eq!(record["reason"], json!("void"), "{record}");
    }
    up.interrupt().await?.succeeded();
    Ok(())
}

#[ignore = "it waits for a minute"]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_retired_kek_wrapped_opens_nowhere() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let data = installation.data();
    let http = up.http(&key);
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let token = keep(&http, "kept", "still-there").await?;
    let old = rings(&data)?.0.keks()[0];
    let backup = log(&data)
        .await?
        .list(&KeysOf::All, StreamSeq(0), 9)
        .await?;
    installation.vault(&["rotate"]).await?.succeeded();
    eventually(PATIENCE * 2, async || {
        let retired = installation.vault(&["retire", &old.to_string()]).await;
        retired.is_ok_and(|retired| retired.status.success())
    })
    .await?;
    let (seal, open) = rings(&data)?;
    assert_eq!((seal.keks().len(), open.keks().len()), (1, 1));
    let KeyName::Token {
        team,
        token: id,
        version,
    } = &backup[0].name
    else {
        anyhow::bail!("not a token's key");
    };
    let place = Place::token(team.as_str(), id.as_str(), *version);
    let wrapped = WrappedKey::parse(&backup[0].key.value)?;
    assert!(open.unwrap_key(&place, &wrapped).await.is_err());
    arrives(&http, &sink, &token, "still-there").await?;
    let kept = keep(&http, "another", "new-value").await?;
    arrives(&http, &sink, &kept, "new-value").await?;
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_killed_goes_on() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    let up = installation.up().await?;
    let data = installation.data();
    let log = log(&data).await?;
    let (seal_ring, open_ring) = rings(&data)?;
    let old = seal_ring.keks()[0];
    let count = 1_500;
    fill(&log, &seal_ring, count).await?;

    // Killed after the KEK is in both rings, and before it is in force.
    let prepared = installation.vault(&["rotate", "--prepare"]).await?;
    let new: KekId = prepared.succeeded().stdout.trim().parse()?;
    assert_eq!(rings(&data)?.0.keks(), [new, old]);
    let status = installation.status_of(new).await?;
    assert!(status.contains("not in force"), "{status}");
    // Killed even earlier, between the two rings.
    fs::write(data.join("secrets/vault-seal"), &*seal_ring.render())?;

    // Killed while keys are wrapped anew.
    let before = last(&log).await?;
    let rotating = installation.start(&["vault", "rotate"])?;
    eventually(PATIENCE, async || {
        last(&log).await.is_ok_and(|now| now > before + 20)
    })
    .await?;
    rotating.end(Signal::KILL, Whom::Process).await?;
    assert_eq!(rings(&data)?.0.keks(), [new, old], "no other one was made");
    let under = |status: String| -> Result<u64> {
        let words: Vec<&str> = status.split_whitespace().rev().take(2).collect();
        Ok(words[1].parse()?)
    };
    let left = under(installation.status_of(old).await?)?;
    assert!(left > 0, "it was killed in the middle");
    let need = installation.vault(&["retire", &old.to_string()]).await?;
    assert!(!need.status.success(), "{need:?}");

    let resumed = installation.vault(&["rotate"]).await?.succeeded();
    assert!(resumed.stderr.contains("was not complete"), "{resumed:?}");
    assert_eq!(rings(&data)?.1.keks(), [new, old], "no other one was made");
    assert_eq!(under(installation.status_of(old).await?)?, 0);
    assert_eq!(under(installation.status_of(new).await?)?, count);
    // Each one opens, and nothing of it lies there twice.
    let (mut after, mut seen) = (StreamSeq(0), 0);
    loop {
        let page = log.list(&KeysOf::All, after, 1000).await?;
        let Some(last) = page.last() else { break };
        after = last.key.seq;
        for listed in &page {
            let KeyName::Token {
                team,
                token,
                version,
            } = &listed.name
            else {
                anyhow::bail!("not a token's key");
            };
            let place = Place::token(team.as_str(), token.as_str(), *version);
            let wrapped = WrappedKey::parse(&listed.key.value)?;
            assert_eq!(wrapped.kek(), new);
            let ring = rings(&data)?.1;
            ring.unwrap_key(&place, &wrapped).await?;
            seen += 1;
        }
    }
    assert_eq!(seen, count);
    // One that was prepared and never used goes at once.
    let unused = installation.vault(&["rotate", "--prepare"]).await?;
    let unused = unused.succeeded().stdout.trim().to_owned();
    let retired = installation.vault(&["retire", &unused]).await?.succeeded();
    assert_eq!(retired.stdout.trim(), format!("{unused} retired"));
    assert_eq!(rings(&data)?.0.keks(), [new, old]);
    assert!(open_ring.keks().contains(&old));
    up.interrupt().await?.succeeded();
    Ok(())
}

/// Gateways and workers on machines of their own hold one ring each; whoever rotates holds both.
#[tokio::test(flavor = "multi_thread")]
async fn roles_apart_hold_one_ring_each() -> Result<()> {
    let nats = apart::nats().await?;
    let (mut installation, key) = apart::shared(&nats).await?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let folder = |name: &str| installation.path().join(name);
    let (of_gateway, of_worker, both) = (folder("g"), folder("w"), folder("both"));
    let admin = both.to_str().context("a path")?.to_owned();

    // Without rings everything else works.
    installation.set("WAYBILL__DATA", "projector");
    let projector = installation.start(&["projector"])?;
    let (gateway, http) = apart::gateway(&mut installation, "g", &key).await?;
    let body = json!({ "name": "early", "value": "too-early" });
    let refused = http.post("/v1/tokens", &body).await?;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.json()["error"], "Token vault is not configured");
    http.create(&json!({ "targetUrl": sink.url("/plain") }))
        .await?;
    gateway.end(Signal::TERM, Whom::Process).await?.succeeded();

    let made = ["vault", "init", "--data", &admin];
    installation.run(&made).await?.succeeded();
    let old = rings(&both)?.0.keks()[0];
    hand_over(&both, &of_worker, "vault-open")?;
    hand_over(&both, &of_gateway, "vault-seal")?;
    installation.set("WAYBILL__DATA", "w");
    let worker = installation.start(&["worker"])?;
    let (gateway, http) = apart::gateway(&mut installation, "g", &key).await?;
    let first = keep(&http, "first", "the-first-value").await?;
    arrives(&http, &sink, &first, "the-first-value").await?;

    let prepare = ["vault", "rotate", "--prepare", "--data", &admin];
    let prepared = installation.run(&prepare).await?.succeeded();
    let new: KekId = prepared.stdout.trim().parse()?;
    hand_over(&both, &of_worker, "vault-open")?;
    hand_over(&both, &of_gateway, "vault-seal")?;
    let rotate = ["vault", "rotate", "--data", &admin];
    let rotated = installation.run(&rotate).await?.succeeded();
    assert!(rotated.stdout.starts_with(&new.to_string()), "{rotated:?}");
    let status = ["vault", "status", "--data", &admin];
    let status = installation.run(&status).await?.succeeded().stdout;
    let lines: Vec<&str> = status.lines().collect();
    assert!(
        lines[0].starts_with(&format!("{new}  in force since")),
        "{status}"
    );
    assert!(lines[0].ends_with(" 1 keys"), "{status}");
    assert!(lines[1].starts_with(&old.to_string()), "{status}");
    assert!(lines[1].ends_with(" 0 keys"), "{status}");
    arrives(&http, &sink, &first, "the-first-value").await?;
    let second = keep(&http, "second", "the-second-value").await?;
    arrives(&http, &sink, &second, "the-second-value").await?;

    // Half of the rings is no place to rotate from.
    let half = of_gateway.to_str().context("a path")?.to_owned();
    let here = installation
        .run(&["vault", "rotate", "--data", &half])
        .await?;
    here.refused(&["vault-open", "needs both rings"]);
    for process in [gateway, worker, projector] {
        process.end(Signal::TERM, Whom::Process).await?.succeeded();
    }
    Ok(())
}

/// As an operator copies a file: whole, private, in one step.
fn hand_over(from: &Path, to: &Path, name: &str) -> Result<()> {
    let to = to.join("secrets");
    fs::create_dir_all(&to)?;
    let partial = to.join("partial");
    fs::copy(from.join("secrets").join(name), &partial)?;
    fs::rename(partial, to.join(name))?;
    Ok(())
}

/// Stores so many keys of tokens that nobody knows, younger than what is cleared away.
async fn fill(log: &JetStreamLog, ring: &SealRing, count: u64) -> Result<()> {
    let team = TeamId::new(Timestamp(1), 1);
    let value = SecretBytes::from("x".to_owned());
    let mut storing = tokio::task::JoinSet::new();
    for number in 0..count {
        let token = TokenId::new(Timestamp(1), number.into());
        let place = Place::token(team.as_str(), token.as_str(), 1);
        let (_, wrapped) = seal(ring, None, &place, &value).await?;
        let (log, version) = (log.clone(), 1);
        let name = KeyName::Token {
            team: team.clone(),
            token: token.clone(),
            version,
        };
        storing.spawn(async move {
            let wrapped = wrapped.to_bytes().to_vec().into();
            log.put(&name, wrapped, StreamSeq(0), None).await
        });
        if storing.len() >= 64
            && let Some(stored) = storing.join_next().await
        {
            stored??;
        }
    }
    while let Some(stored) = storing.join_next().await {
        stored??;
    }
    Ok(())
}

/// The last position in VKEYS.
async fn last(log: &JetStreamLog) -> Result<u64> {
    let client = log.client();
    let info = "$JS.API.STREAM.INFO.VKEYS";
    let answer = client.request(info, "".into()).await?;
    let info: Value = serde_json::from_slice(&answer.payload)?;
    info["state"]["last_seq"].as_u64().context("a position")
}
