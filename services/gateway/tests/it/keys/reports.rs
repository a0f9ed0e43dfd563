//! Reports of keys that were found in the open.

use anyhow::{Context, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use waybill_domain::access::role::Role;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::event::LeakPolicy;
use waybill_edge::auth::reporters::KeyReporters;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_testkit::http::{Answer, Http};

use super::{listed, make, stored};
use crate::teams::people::{Person, world_with};
use crate::world::{World, operator};

const PATH: &str = "/v1/key-reports";
/// The DER form of a P-256 public key, before its point.
const P256: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

/// Somebody who scans.
struct Scanner(EcdsaKeyPair);

impl Scanner {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key"))
    }

    fn pem(&self) -> String {
        let mut der = hex::decode(P256).expect("hex");
        der.extend_from_slice(self.0.public_key().as_ref());
        let text = STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    fn sign(&self, body: &str) -> String {
        let signature = self.0.sign(&SystemRandom::new(), body.as_bytes());
        STANDARD.encode(signature.expect("signed").as_ref())
    }

    async fn report(&self, http: &Http, body: &str) -> Result<Answer> {
        send(http, "k1", &self.sign(body), body).await
    }
}

async fn send(http: &Http, identifier: &str, signature: &str, body: &str) -> Result<Answer> {
    let headers = [
        ("github-public-key-identifier", identifier),
        ("github-public-key-signature", signature),
    ];
    http.send(Method::POST, PATH, &headers, body.to_owned())
        .await
}

fn found(tokens: &[&str]) -> String {
    let entry = |token: &&str| {
        json!({
            "token": token, "type": "waybill_api_key", "source": "commit",
            "url": "https://example.com/repository/commit/1",
        })
    };
    json!(tokens.iter().map(entry).collect::<Vec<_>>()).to_string()
}

fn labels(answer: &Answer) -> Vec<String> {
    let verdicts = answer.json().as_array().cloned().unwrap_or_default();
    let label = |verdict: &Value| verdict["label"].as_str().unwrap_or_default().to_owned();
    verdicts.iter().map(label).collect()
}

async fn events_since(world: &World, from: StreamSeq) -> Result<Vec<String>> {
    let to = StreamSeq(u64::MAX);
    let records = world
        .log
        .range(Stream::Control, &[], from.next(), to, 1_000)
        .await?;
    let keys = records.into_iter().map(|record| record.event.clone());
    Ok(keys.filter(|name| name.starts_with("key.")).collect())
}

// K28.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_report_ends_keys_everywhere_and_tells_their_people() -> Result<()> {
    let scanner = Scanner::new();
    let reporters = KeyReporters::default().trusting("k1", "scanner", &scanner.pem())?;
    let (world, mailbox) = world_with(|config| config.key_reporters = reporters).await?;
    let stop = CancellationToken::new();
    let second = world.another("g2", &stop).await?;
    let owner = Person::signed_in(&world, "owner").await?;
    let team = owner.team(&world, "Ours", "pro").await?;
    let admin = Person::signed_in(&world, "admin").await?;
    admin.joined(&world, &team, Role::Admin).await?;
    let viewer = Person::signed_in(&world, "viewer").await?;
    viewer.joined(&world, &team, Role::Viewer).await?;
    let leaked = make(&owner.http, &team, &json!({"name": "leaked"})).await?;
    let safe = make(&owner.http, &team, &json!({"name": "safe"})).await?;
    let nobody = Http::at(world.gateway.addr());
    let before = stored(&world).await?;

    let unknown = leaked.secret().replace("wb_live_", "wb_test_");
    let body = found(&[
        leaked.secret(),
        "wb_live_nonsense",
        "",
        &unknown,
        leaked.secret(),
    ]);
    let answer = scanner.report(&nobody, &body).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        labels(&answer),
        [
            "true_positive",
            "false_positive",
            "false_positive",
            "false_positive",
            "true_positive"
        ]
    );
    let verdict = &answer.json()[0];
    let hash = STANDARD.encode(Sha256::digest(leaked.secret()));
    assert_eq!(
        (&verdict["token_hash"], &verdict["token_type"]),
        (&json!(hash), &json!("waybill_api_key"))
    );
    assert!(
        !answer.text().contains(leaked.secret()),
        "the token is not echoed"
    );
    for gateway in [&world.gateway, &second] {
        let http = Http::at(gateway.addr());
        assert_eq!(
            http.with_key(leaked.secret()).get("/v1/key").await?.status,
            401
        );
        assert_eq!(
            http.with_key(safe.secret()).get("/v1/key").await?.status,
            200
        );
    }
    assert_eq!(
        events_since(&world, before).await?,
        ["key.reported.v1", "key.revoked.v1"]
    );
    for (person, letters) in [(&owner, 1), (&admin, 1), (&viewer, 0)] {
        mailbox.leaks(&person.email, letters).await?;
    }
    let after = stored(&world).await?;
    let again = scanner.report(&nobody, &body).await?;
    assert_eq!(
        (again.status.as_u16(), labels(&again)),
        (200, labels(&answer))
    );
    assert_eq!(stored(&world).await?, after, "a replay changes nothing");
    mailbox.leaks(&owner.email, 1).await?;
    stop.cancel();
    second.wait().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_that_wants_to_be_warned_keeps_its_key() -> Result<()> {
    let scanner = Scanner::new();
    let reporters = KeyReporters::default().trusting("k1", "scanner", &scanner.pem())?;
    let (world, mailbox) = world_with(|config| config.key_reporters = reporters).await?;
    let owner = Person::signed_in(&world, "owner").await?;
    let team = owner.team(&world, "Ours", "pro").await?;
    let choose = |leaked_keys| TeamCommand::ChangeLeakPolicy { leaked_keys };
    let writer = world.writer();
    writer
        .run_team(&team, choose(LeakPolicy::Warn), &operator())
        .await?;
    let key = make(&owner.http, &team, &json!({"name": "k"})).await?;
    let nobody = Http::at(world.gateway.addr());
    let before = stored(&world).await?;
    for _ in 0..3 {
        let answer = scanner.report(&nobody, &found(&[key.secret()])).await?;
        assert_eq!(labels(&answer), ["true_positive"], "{}", answer.text());
    }
    assert_eq!(events_since(&world, before).await?, ["key.reported.v1"]);
    assert_eq!(key.http.get("/v1/key").await?.status, 200);
    mailbox.leaks(&owner.email, 1).await?;
    writer
        .run_team(&team, choose(LeakPolicy::Revoke), &operator())
        .await?;
    scanner.report(&nobody, &found(&[key.secret()])).await?;
    assert_eq!(key.http.get("/v1/key").await?.status, 401);
    let shown = listed(&owner.http, &team, key.id()).await?;
    assert_eq!(shown["status"], "revoked");
    mailbox.leaks(&owner.email, 2).await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_trusted_signed_changes_nothing() -> Result<()> {
    let (scanner, stranger) = (Scanner::new(), Scanner::new());
    let reporters = KeyReporters::default().trusting("k1", "scanner", &scanner.pem())?;
    let (world, _) = world_with(|config| config.key_reporters = reporters).await?;
    let key = make(&world.http, &world.team, &json!({"name": "k"})).await?;
    let nobody = Http::at(world.gateway.addr());
    let before = stored(&world).await?;
    let body = found(&[key.secret()]);
    let good = scanner.sign(&body);
    for (identifier, signature, sent) in [
        ("k1", stranger.sign(&body), body.clone()),
        ("retired", good.clone(), body.clone()),
        ("", good.clone(), body.clone()),
        ("k1", String::new(), body.clone()),
        ("k1", "AAAA".into(), body.clone()),
        ("k1", good.clone(), format!("{body} ")),
        ("k1", good.clone(), "[]".into()),
    ] {
        let refused = send(&nobody, identifier, &signature, &sent).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (401, "bad_signature"),
            "{identifier} {signature}"
        );
    }
    let bare = nobody.send(Method::POST, PATH, &[], body).await?;
    assert_eq!(bare.status, 401);
    for (body, code) in [
        ("{}".to_owned(), "invalid_body"),
        ("[{\"token\": 7}]".to_owned(), "invalid_body"),
        ("[".to_owned(), "invalid_body"),
        (found(&vec!["x"; 10_001]), "too_many_entries"),
    ] {
        let refused = scanner.report(&nobody, &body).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (400, code),
            "{}",
            refused.text()
        );
    }
    let large = format!("[{}]", " ".repeat(9 * 1_048_576));
    assert_eq!(scanner.report(&nobody, &large).await?.status, 413);
    assert_eq!(stored(&world).await?, before);
    assert_eq!(key.http.get("/v1/key").await?.status, 200);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_finds_are_one_report_and_nobody_reports_unasked() -> Result<()> {
    let scanner = Scanner::new();
    let reporters = KeyReporters::default().trusting("k1", "scanner", &scanner.pem())?;
    let (world, _) = world_with(|config| config.key_reporters = reporters).await?;
    let key = make(&world.http, &world.team, &json!({"name": "k"})).await?;
    let mut tokens = vec!["wb_live_00000000000000000000000000000000000000000000000"; 9_999];
    tokens.push(key.secret());
    let nobody = Http::at(world.gateway.addr());
    let answer = scanner.report(&nobody, &found(&tokens)).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let labels = labels(&answer);
    assert_eq!(labels.len(), 10_000);
    assert_eq!(labels.last().context("a label")?, "true_positive");
    assert_eq!(key.http.get("/v1/key").await?.status, 401);
    world.stop().await?;

    let closed = World::start().await?;
    let nobody = Http::at(closed.gateway.addr());
    let refused = scanner.report(&nobody, "[]").await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (404, "key_reports_not_configured")
    );
    closed.stop().await
}
