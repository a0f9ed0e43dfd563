//! The activity log proves itself over HTTP: checkpoints, proofs and exports, checked here by other means than they were made by.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use serde_json::value::RawValue;
use waybill_domain::access::scope::Scope;
use waybill_domain::audit::export::Line;
use waybill_domain::audit::tree::team_of;
use waybill_domain::audit::verify::{ExportCheck, Kind, Outcome};
use waybill_domain::audit::{NotaryKey, TrustedKeys};
use waybill_log::{Log, Record, Stream, StreamSeq};
use waybill_projector::{Notary, NotaryConfig, NotaryParts};
use waybill_testkit::http::Http;

use crate::world::{World, operator};

const DEPLOYMENT: &str = "test";

/// The key that signs here.
pub(crate) fn notary_key() -> NotaryKey {
    NotaryKey::new("waybill/test", &[7; 32]).expect("a key")
}

/// A world whose activity is signed.
async fn signed() -> Result<(World, Notary)> {
    let world = World::start().await?;
    let log = Arc::new(world.log.clone());
    let parts = NotaryParts {
        log: log.clone(),
        leases: log.clone(),
        checkpoints: log,
        nats: Some(world.log.client()),
    };
    let config = NotaryConfig::new(DEPLOYMENT, notary_key(), "test".into());
    Ok((world, Notary::start(config, parts)))
}

type Hash = [u8; 32];

fn sha256(parts: &[&[u8]]) -> Hash {
    let hash = digest(&SHA256, &parts.concat());
    hash.as_ref().try_into().expect("32 bytes")
}

fn parent(left: Hash, right: Hash) -> Hash {
    sha256(&[&[1], &left, &right])
}

/// The largest power of two below `size`.
fn left_size(size: u64) -> u64 {
    (0..)
        .map(|bit| 1 << bit)
        .take_while(|n| *n < size)
        .last()
        .expect("two leaves or more")
}

/// The root that a leaf and its path lead to: the recursion of RFC 6962, 2.1.1, from the root's side.
fn root_by_path(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if size == 1 {
        return path.is_empty().then_some(leaf);
    }
    let (last, rest) = path.split_last()?;
    let left = left_size(size);
    if index < left {
        Some(parent(root_by_path(leaf, index, left, rest)?, *last))
    } else {
        Some(parent(
            *last,
            root_by_path(leaf, index - left, size - left, rest)?,
        ))
    }
}

/// Old and new root that a consistency proof leads to: the recursion of RFC 6962, 2.1.2. `whole`: the old tree is all of this part.
fn roots_by_path(
    from: u64,
    to: u64,
    whole: bool,
    old: Hash,
    path: &[Hash],
) -> Option<(Hash, Hash)> {
    if from == to {
        return match (whole, path) {
            (true, []) => Some((old, old)),
            (false, [part]) => Some((*part, *part)),
            _ => None,
        };
    }
    let (last, rest) = path.split_last()?;
    let left = left_size(to);
    if from <= left {
        let (of_old, of_new) = roots_by_path(from, left, whole, old, rest)?;
        Some((of_old, parent(of_new, *last)))
    } else {
        let (of_old, of_new) = roots_by_path(from - left, to - left, false, old, rest)?;
        Some((parent(*last, of_old), parent(*last, of_new)))
    }
}

/// Size and root of a checkpoint, once its signature holds.
fn opened(note: &str, keys: &str) -> Result<(u64, Hash)> {
    let key = keys
        .split([' ', '\n'])
        .next()
        .and_then(|key| key.rsplit('+').next());
    let key = BASE64.decode(key.context("a key")?)?;
    let (text, signature) = note.split_once("\n\n").context("a note")?;
    let signature = signature
        .trim_end()
        .rsplit(' ')
        .next()
        .context("a signature")?;
    // The first byte of a key is its kind, the first four of a signature the id of the key.
    UnparsedPublicKey::new(&ED25519, &key[1..])
        .verify(
            format!("{text}\n").as_bytes(),
            &BASE64.decode(signature)?[4..],
        )
        .ok()
        .context("the signature does not hold")?;
    let mut lines = text.lines().skip(1);
    let size = lines.next().context("a size")?.parse()?;
    let root = BASE64.decode(lines.next().context("a root")?)?;
    Ok((size, root.try_into().ok().context("a hash")?))
}

fn hash(value: &Value) -> Result<Hash> {
    let bytes = hex::decode(value.as_str().context("a text")?)?;
    bytes.try_into().ok().context("a hash")
}

fn path(value: &Value) -> Result<Vec<Hash>> {
    value
        .as_array()
        .context("a list")?
        .iter()
        .map(hash)
        .collect()
}

/// A proof with its event as it was sent: the order of fields is part of a line.
#[derive(serde::Deserialize)]
struct WithEvent {
    event: Box<RawValue>,
}

async fn json(http: &Http, path: &str) -> Result<Value> {
    let answer = http.get(path).await?;
    ensure!(
        answer.status == 200,
        "{path}: {} {}",
        answer.status,
        answer.text()
    );
    Ok(answer.json())
}

async fn text(http: &Http, path: &str) -> Result<String> {
    let answer = http.get(path).await?;
    ensure!(
        answer.status == 200,
        "{path}: {} {}",
        answer.status,
        answer.text()
    );
    Ok(answer.text())
}

async fn keys(world: &World) -> Result<String> {
    text(
        &Http::at(world.gateway.addr()),
        "/.well-known/waybill-audit-keys",
    )
    .await
}

/// Makes so many events in the team.
async fn happen(world: &World, events: usize) -> Result<()> {
    for number in 0..events {
        let name = format!("key {number}");
        let scopes = [Scope::TasksRead];
        world
            .writer()
            .create_key(&world.team, &name, &scopes, &operator())
            .await?;
    }
    Ok(())
}

/// Sequence and team of each event there is.
async fn events(world: &World) -> Result<BTreeMap<u64, Option<String>>> {
    let last = world.log.bounds(Stream::Control).await?.last;
    let all = world
        .log
        .range(Stream::Control, &[], StreamSeq(1), last, usize::MAX)
        .await?;
    let team = |record: &Record| team_of(&record.stored()).map(|team| team.to_string());
    Ok(all
        .iter()
        .map(|record| (record.seq.0, team(record)))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_proven_to_whoever_has_the_public_key() -> Result<()> {
    let (world, notary) = signed().await?;
    let (_, stranger) = world.stranger().await?;
    happen(&world, 9).await?;
    let keys = keys(&world).await?;
    let mut proven = 0;
    for (seq, team) in events(&world).await? {
        let at = format!("/v1/activity/{seq}/proof");
        if team.as_deref() != Some(world.team.as_str()) {
            let answer = world.http.get(&at).await?;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (404, "not_found".into()),
                "{seq}"
            );
            continue;
        }
        let answer = stranger.get(&at).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (404, "not_found".into()),
            "{seq}"
        );

        let proof = json(&world.http, &at).await?;
        let (size, root) = opened(proof["checkpoint"].as_str().context("a note")?, &keys)?;
        let (leaf, mut path) = (hash(&proof["leaf"])?, path(&proof["path"])?);
        let index = proof["index"].as_u64().context("an index")?;
        assert_eq!((index, proof["seq"].as_u64()), (proven, Some(seq)));
        assert_eq!(proof["size"].as_u64(), Some(size));
        assert_eq!(hash(&proof["root"])?, root);
        assert_eq!(root_by_path(leaf, index, size, &path), Some(root), "{seq}");
        // What stands in it leads to the leaf.
        let raw: WithEvent = serde_json::from_str(&text(&world.http, &at).await?)?;
        let Ok(Line::Event { stored, withheld }) = Line::read(raw.event.get()) else {
            anyhow::bail!("no event: {}", raw.event);
        };
        let stream = proof["stream"].as_str().context("a stream")?.parse()?;
        let bytes = stored.leaf_bytes(stream, &withheld).context("a leaf")?;
        assert_eq!(sha256(&[&[0], &bytes]), leaf);
        // Altered, it proves nothing.
        for at in 0..path.len() {
            path[at][31] ^= 1;
            assert_ne!(root_by_path(leaf, index, size, &path), Some(root));
            path[at][31] ^= 1;
        }
        assert_ne!(
            root_by_path(leaf, (index + 1) % size, size, &path),
            Some(root)
        );
        assert_ne!(root_by_path(root, index, size, &path), Some(root));
        // The same event against a smaller checkpoint.
        let small = json(&world.http, &format!("{at}?size={}", index + 1)).await?;
        assert!(small["checkpoint"].is_null());
        assert_eq!(small["leaf"], proof["leaf"]);
        let answer = world.http.get(&format!("{at}?size={index}")).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (400, "invalid_field".into())
        );
        proven += 1;
    }
    assert!(proven > 9, "{proven}");
    for (at, status, code) in [
        ("/v1/activity/999999/proof", 404, "not_found"),
        ("/v1/activity/0/proof", 404, "not_found"),
        ("/v1/activity/first/proof", 400, "invalid_field"),
        ("/v1/activity/-1/proof", 400, "invalid_field"),
        ("/v1/activity/2/proof?size=x", 400, "invalid_field"),
        ("/v1/activity/2/proof?size=999999", 400, "invalid_field"),
        ("/v1/activity/2/proof?from=1", 400, "invalid_field"),
    ] {
        let answer = world.http.get(at).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (status, code.into()),
            "{at}: {}",
            answer.text()
        );
    }
    notary.shutdown().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_checkpoint_is_proven_to_be_a_beginning_of_the_newer() -> Result<()> {
    let (world, notary) = signed().await?;
    let keys = keys(&world).await?;
    let mut older = Vec::new();
    for _ in 0..5 {
        happen(&world, 2).await?;
        let note = text(&world.http, "/v1/activity/checkpoint").await?;
        older.push(opened(&note, &keys)?);
    }
    for (from, old) in &older {
        let proof = json(
            &world.http,
            &format!("/v1/activity/consistency?from={from}"),
        )
        .await?;
        let (to, new) = opened(proof["checkpoint"].as_str().context("a note")?, &keys)?;
        assert_eq!(
            (proof["from"].as_u64(), proof["to"].as_u64()),
            (Some(*from), Some(to))
        );
        assert_eq!(hash(&proof["fromRoot"])?, *old);
        let mut path = path(&proof["path"])?;
        assert_eq!(
            roots_by_path(*from, to, true, *old, &path),
            Some((*old, new))
        );
        if let Some(first) = path.first_mut() {
            first[0] ^= 1;
            assert_ne!(
                roots_by_path(*from, to, true, *old, &path),
                Some((*old, new))
            );
        }
        for (to, new) in older.iter().filter(|(to, _)| to >= from) {
            let at = format!("/v1/activity/consistency?from={from}&to={to}");
            let proof = json(&world.http, &at).await?;
            assert!(proof["checkpoint"].is_null());
            let path = self::path(&proof["path"])?;
            assert_eq!(
                roots_by_path(*from, *to, true, *old, &path),
                Some((*old, *new))
            );
        }
    }
    for (query, code) in [
        ("", "invalid_query"),
        ("?from=x", "invalid_field"),
        ("?from=3&to=2", "invalid_field"),
        ("?from=1&to=999999", "invalid_field"),
        ("?from=1&until=2", "invalid_field"),
    ] {
        let answer = world
            .http
            .get(&format!("/v1/activity/consistency{query}"))
            .await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (400, code.into()),
            "{query}: {}",
            answer.text()
        );
    }
    notary.shutdown().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_found_intact_and_a_changed_one_is_not() -> Result<()> {
    let (world, notary) = signed().await?;
    let older = text(&world.http, "/v1/activity/checkpoint").await?;
    let (other, stranger) = world.stranger().await?;
    happen(&world, 12).await?;
    let keys = TrustedKeys::parse(&keys(&world).await?)?;
    let answer = world.http.get("/v1/activity/export?format=jsonl").await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let export = answer.text();
    assert!(export.ends_with('\n'));
    let check = |export: &str| {
        let mut check = ExportCheck::new(&keys, Some(&older));
        export.lines().for_each(|line| check.line(line));
        check.finish()
    };
    let report = check(&export);
    assert_eq!(report.outcome, Outcome::Intact, "{:?}", report.findings);
    let mine = events(&world).await?;
    let mine = mine
        .values()
        .filter(|team| team.as_deref() == Some(world.team.as_str()));
    assert_eq!(report.events, mine.count() as u64);
    assert_eq!(report.covered, report.events);
    assert!(!export.contains(other.as_str()), "nothing of another team");
    let of_stranger = text(&stranger, "/v1/activity/export").await?;
    assert!(!of_stranger.contains(world.team.as_str()));

    let lines: Vec<&str> = export.lines().collect();
    let without_third = [&lines[..3], &lines[4..]].concat().join("\n");
    let report = check(&without_third);
    assert_eq!(report.outcome, Outcome::Tampered);
    assert!(
        report.findings.iter().any(|f| f.kind == Kind::Missing),
        "{:?}",
        report.findings
    );
    let renamed = export.replacen("key 3", "key 4", 1);
    assert_eq!(check(&renamed).outcome, Outcome::Tampered);
    let cut = lines[..lines.len() - 1].join("\n");
    assert_eq!(check(&cut).outcome, Outcome::Tampered);

    for query in ["?format=xml", "?form=jsonl"] {
        let answer = world
            .http
            .get(&format!("/v1/activity/export{query}"))
            .await?;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
    notary.shutdown().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_notary_it_is_said_so() -> Result<()> {
    let world = World::start().await?;
    for at in [
        "/v1/activity/checkpoint",
        "/v1/activity/export",
        "/v1/activity/1/proof",
        "/v1/activity/consistency?from=1",
    ] {
        let answer = world.http.get(at).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (503, "notary_unavailable".into()),
            "{at}"
        );
        assert!(answer.header("retry-after").is_some());
    }
    // What was signed before is proven without it.
    let proof = json(&world.http, "/v1/activity/consistency?from=1&to=1").await?;
    assert_eq!(proof["path"], serde_json::json!([]));
    world.stop().await
}
