//! Credentials: forged, damaged, contradicting, misplaced.

use anyhow::Result;
use http::Method;
use serde_json::json;
use waybill_testkit::http::{Answer, Http};

use super::wire;
use crate::world::{World, a_task};

/// Characters of a key's checksum.
const CHECKSUM_CHARS: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key's text with the checksum that belongs to it: CRC-32 (IEEE) in base 62. Made from the public format alone, as a forger would.
fn with_checksum(text: &str) -> String {
    let mut crc = !0_u32;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    let mut rest = !crc as usize;
    let mut sum = [b'0'; CHECKSUM_CHARS];
    for place in sum.iter_mut().rev() {
        *place = BASE62[rest % 62];
        rest /= 62;
    }
    format!("{text}{}", String::from_utf8_lossy(&sum))
}

/// A key without its checksum.
fn unsigned(key: &str) -> &str {
    &key[..key.len() - CHECKSUM_CHARS]
}

/// What a client can see of an answer, but for what names the single request and the state of its limits.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes())))
        .filter(|(name, _)| {
            !name.contains("ratelimit")
                && !["date", "x-request-id", "traceparent"].contains(&name.as_str())
        })
        .map(|(name, value)| (name, value.into_owned()))
        .collect();
    headers.sort();
    (answer.status.as_u16(), headers, answer.text())
}

/// A key of the team, made by the API.
async fn new_key(world: &World, name: &str) -> Result<(String, String)> {
    let keys = format!("/teams/{}/apikeys", world.team);
    let made = world.http.post(&keys, &json!({"name": name})).await?;
    let key = &made.json()["apiKey"];
    Ok((
        key["id"].as_str().expect("an id").to_owned(),
        key["key"].as_str().expect("the key").to_owned(),
    ))
}

// K2, K3, K4, K5.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_key_the_answer_is_the_same() -> Result<()> {
    let world = World::start().await?;
    let key = &world.key;
    assert_eq!(&with_checksum(unsigned(key)), key, "the format is as here");
    let (id, revoked) = new_key(&world, "gone").await?;
    let gone = world
        .http
        .post(&format!("/apikeys/{id}/revoke"), &json!({}))
        .await?;
    assert_eq!(gone.status, 200);
    let unknown = with_checksum(&format!("wb_live_{}", "A".repeat(40)));
    let same_id = with_checksum(&format!(
        "{}{}",
        &unsigned(key)[.."wb_live_".len() + 8],
        "B".repeat(32)
    ));
    let mut bad = vec![
        revoked,
        unknown,
        same_id,
        key.replace("_live_", "_test_"),
        with_checksum(&unsigned(key).replace("_live_", "_test_")),
        with_checksum(&unsigned(key).replacen("wb_", "sp_", 1)),
        with_checksum(&unsigned(key).replacen("wb_", "WB_", 1)),
        unsigned(key).to_owned(),
        format!("{key}0"),
        format!("{key}{key}"),
        key.to_lowercase(),
        key.replace('_', "-"),
        "wb_live_".to_owned(),
        "wb_live".to_owned(),
        "x".to_owned(),
        "0".repeat(4_000),
        // K10: escapes and look-alikes are not read as what they stand for.
        key.replacen("wb", "%77b", 1),
        key.replacen('w', "ｗ", 1),
        key.replacen('b', "ь", 1),
        format!("{key}\u{301}"),
    ];
    for at in [0, 3, 8, 20, key.len() - 1] {
        let mut changed = key.clone();
        let other = if &changed[at..=at] == "a" { "b" } else { "a" };
        changed.replace_range(at..=at, other);
        bad.push(changed);
    }
    let nobody = Http::at(world.gateway.addr());
    let mut first = None;
    for (number, bad) in bad.iter().enumerate() {
        for (header, value) in [
            ("authorization", format!("Bearer {bad}")),
            ("x-api-key", bad.clone()),
        ] {
            let answer = nobody
                .send(Method::GET, "/v1/tasks", &[(header, &value)], "")
                .await?;
            let seen = seen(&answer);
            assert_eq!(
                (seen.0, answer.error().as_str()),
                (401, "Invalid or revoked API key"),
                "{number} in {header}"
            );
            assert_eq!(
                &seen,
                first.get_or_insert_with(|| seen.clone()),
                "{number} in {header}"
            );
        }
    }
    let challenge = nobody
        .send(Method::GET, "/v1/tasks", &[("x-api-key", "x")], "")
        .await?;
    assert_eq!(
        challenge.header("www-authenticate"),
        Some("Bearer realm=\"api\", error=\"invalid_token\"")
    );
    world.stop().await
}

// K1, K9.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_anywhere_but_in_its_headers_is_no_key() -> Result<()> {
    let world = World::start().await?;
    let nobody = Http::at(world.gateway.addr());
    let key = &world.key;
    let without = nobody.get("/v1/tasks").await?;
    assert_eq!(
        without.header("www-authenticate"),
        Some("Bearer realm=\"api\"")
    );
    let cookie = format!("api_key={key}; authorization=Bearer%20{key}; session={key}");
    let mut body = a_task();
    for name in ["apiKey", "api_key", "key", "access_token"] {
        body[name] = json!(key);
    }
    let paths = [
        format!("/v1/tasks?api_key={key}"),
        format!("/v1/tasks?access_token={key}&key={key}&apiKey={key}"),
        format!("/v1/tasks?Authorization=Bearer%20{key}"),
        format!("/v1/tasks?x-api-key={key}"),
    ];
    for path in &paths {
        for method in [Method::GET, Method::POST] {
            let headers = [
                ("cookie", cookie.as_str()),
                ("proxy-authorization", &format!("Bearer {key}")),
                ("x-authorization", key),
                ("api-key", key),
            ];
            let answer = nobody
                .send(method.clone(), path, &headers, body.to_string())
                .await?;
            assert_eq!(
                (answer.status.as_u16(), answer.error()),
                (401, "API key required".into()),
                "{method} {}",
                path.split('=').next().unwrap_or_default()
            );
            assert!(!answer.text().contains(key.as_str()), "a key is not echoed");
        }
    }
    let none = world.http.get("/v1/tasks").await?;
    assert_eq!(none.json()["pagination"]["total"], 0, "nothing was made");
    world.stop().await
}

// K7, K8.
#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_are_refused_and_odd_spellings_open_nothing_more() -> Result<()> {
    let world = wire::world().await?;
    let key = &world.key;
    let (_, second) = new_key(&world, "second").await?;
    let status = async |headers: &str| -> Result<(Vec<u16>, String)> {
        let request =
            format!("GET /v1/tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n\r\n");
        let exchange = wire::send(&world, request).await?;
        Ok((exchange.statuses(), exchange.text().to_owned()))
    };
    for headers in [
        format!("Authorization: Bearer {key}\r\nX-API-Key: {second}"),
        format!("Authorization: Bearer {key}\r\nAuthorization: Bearer {second}"),
        format!("Authorization: Bearer {key}\r\nAuthorization: Bearer {key}"),
        format!("X-API-Key: {key}\r\nX-API-Key: {key}"),
        format!("X-API-Key: {key}\r\nX-Api-Key: {second}"),
    ] {
        let (statuses, text) = status(&headers).await?;
        assert_eq!(statuses, [400], "{headers}");
        assert!(text.contains("\"invalid_request\""), "{text}");
    }
    for headers in [
        format!("Authorization: Bearer {key}"),
        format!("authorization: bearer {key}"),
        format!("AUTHORIZATION: BEARER {key}"),
        format!("Authorization: Bearer {key}\r\nX-API-Key: {key}"),
        // Some clients always send a scheme of their own beside the key.
        format!("Authorization: Basic eDp5\r\nX-API-Key: {key}"),
    ] {
        assert_eq!(status(&headers).await?.0, [200], "{headers}");
    }
    for headers in [
        format!("Authorization: Bearer Bearer {key}"),
        format!("Authorization: Bearer{key}"),
        format!("Authorization: Bearer\t{key}"),
        format!("Authorization: Bearer {key} {key}"),
        format!("Authorization: Bearer {key},Bearer {key}"),
        format!("Authorization: Bearer \"{key}\""),
        format!("Authorization: {key}"),
        format!("Authorization: Token {key}"),
        format!("Authorization: Basic {key}"),
        format!("X-API-Key: Bearer {key}"),
        format!("X-API-Key: {key} {key}"),
        format!("X_API_Key: {key}"),
        "Authorization: Bearer null".to_owned(),
        "Authorization: Bearer undefined".to_owned(),
        "Authorization:".to_owned(),
        "X-API-Key:".to_owned(),
    ] {
        assert_eq!(status(&headers).await?.0, [401], "{headers}");
    }
    world.stop().await
}

// K10.
#[tokio::test(flavor = "multi_thread")]
async fn no_bytes_in_a_key_do_any_harm() -> Result<()> {
    let world = wire::world().await?;
    let request = |value: &[u8]| {
        let mut bytes =
            b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: ".to_vec();
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes
    };
    for (value, wanted) in [
        (vec![b'a'; 1 << 20], 431),
        (vec![b'a'; 60_000], 431),
        (b"wb_live_\0".to_vec(), 400),
        (b"wb_live_\x7f".to_vec(), 400),
        (b"wb_live_\r x".to_vec(), 400),
        (vec![0xff; 54], 401),
        (b"wb_live_\xc3\x28".to_vec(), 401),
        ("wb_live_\u{202e}".into(), 401),
        (vec![0x80; 8_000], 401),
        (b"_".repeat(1_000), 401),
        (b"wb_live_' OR '1'='1".to_vec(), 401),
        (b"${jndi:ldap://127.0.0.1/x}".to_vec(), 401),
        (b"../../../etc/passwd".to_vec(), 401),
    ] {
        let exchange = wire::send(&world, request(&value)).await?;
        let shown = String::from_utf8_lossy(&value[..value.len().min(40)]).into_owned();
        assert_eq!(exchange.statuses(), [wanted], "{shown}");
    }
    assert_eq!(world.http.get("/v1/tasks").await?.status, 200);
    world.stop().await
}
