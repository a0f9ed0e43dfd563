//! The ways in which tokens are forged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;
use crate::SessionSecret;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const NOW_S: u64 = 1_800_000_000;

fn secret(byte: u8) -> SessionSecret {
    SessionSecret::new(vec![byte; 32]).expect("long enough")
}

fn policy() -> TokenPolicy {
    TokenPolicy {
        issuer: "https://waybill.example".into(),
        audience: "https://waybill.example".into(),
        lifetime: Duration::from_secs(600),
    }
}

fn tokens() -> AccessTokens {
    AccessTokens::new(TokenKeys::new(secret(3)), policy())
}

fn bearer() -> Bearer {
    Bearer {
        user: UserId::new(NOW, 1),
        session: SessionId::new(NOW, 2),
        generation: 7,
    }
}

/// The very key that signs now, in other hands.
fn seed(byte: u8) -> SigningKey {
    let epoch = (NOW_S / EPOCH.as_secs()).to_be_bytes();
    SigningKey::from_bytes(&secret(byte).derive("waybill access token key v1", &epoch))
}

fn kid(tokens: &AccessTokens) -> String {
    tokens.keys.signing(NOW).id.clone()
}

fn claims() -> Value {
    json!({
        "iss": "https://waybill.example",
        "aud": "https://waybill.example",
        "sub": UserId::new(NOW, 1),
        "sid": SessionId::new(NOW, 2),
        "gen": 7,
        "iat": NOW_S,
        "exp": NOW_S + 600,
        "jti": "a",
    })
}

fn signed(header: &Value, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let message = format!(
        "{}.{}",
        part(header.to_string().as_bytes()),
        part(claims.as_bytes())
    );
    let signature = part(&sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn by_us(header: &Value, claims: &str) -> String {
    signed(header, claims, |message| {
        seed(3).sign(message).to_bytes().to_vec()
    })
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid(&tokens())})
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

fn without(mut object: Value, field: &str) -> Value {
    object.as_object_mut().expect("an object").remove(field);
    object
}

#[test]
fn what_is_issued_is_accepted_until_it_expires() {
    let tokens = tokens();
    let token = tokens.issue(&bearer(), 9, NOW).expect("issued");
    let claims = tokens.verify(&token, NOW).expect("accepted");
    assert_eq!(
        (claims.sub, claims.sid, claims.generation),
        (bearer().user, bearer().session, 7)
    );
    assert_eq!(claims.exp - claims.iat, 600);
    let late = |seconds| NOW.plus(Duration::from_secs(seconds));
    assert!(tokens.verify(&token, late(629)).is_ok());
    assert_eq!(tokens.verify(&token, late(630)), Err(TokenRefused::Time));
    // Another process with the same secret takes it too; one with another does not.
    assert!(self::tokens().verify(&token, NOW).is_ok());
    let others = AccessTokens::new(TokenKeys::new(secret(4)), policy());
    assert_eq!(others.verify(&token, NOW), Err(TokenRefused::Key));
    let long = TokenPolicy {
        lifetime: Duration::from_secs(86_400),
        ..policy()
    };
    assert_eq!(
        AccessTokens::new(TokenKeys::new(secret(3)), long).lifetime(),
        MOST_LIFETIME
    );
}

#[test]
fn the_forger_in_these_tests_could_forge_if_the_checks_were_not_there() {
    assert!(
        tokens()
            .verify(&by_us(&header(), &claims().to_string()), NOW)
            .is_ok()
    );
}

#[test]
fn j1_no_header_chooses_how_a_token_is_verified() {
    let tokens = tokens();
    let refused = |token: &str| assert!(tokens.verify(token, NOW).is_err(), "{token}");
    let claims = claims().to_string();
    let public = seed(3).verifying_key().to_bytes();
    for alg in [
        "none", "None", "NONE", "", "HS256", "RS256", "ES256", "EdDSA2",
    ] {
        refused(&signed(&with(header(), "alg", json!(alg)), &claims, |_| {
            Vec::new()
        }));
    }
    let hmac = |message: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&public).expect("any length");
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    };
    refused(&signed(
        &with(header(), "alg", json!("HS256")),
        &claims,
        hmac,
    ));
    refused(&signed(&header(), &claims, hmac));
    // Somebody else's key, brought along in every way there is.
    let foreign = |message: &[u8]| seed(9).sign(message).to_bytes().to_vec();
    let x = URL_SAFE_NO_PAD.encode(seed(9).verifying_key().to_bytes());
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
    refused(&signed(&header(), &claims, foreign));
    refused(&signed(
        &with(header(), "jwk", jwk.clone()),
        &claims,
        foreign,
    ));
    refused(&signed(
        &with(header(), "jku", json!("http://127.0.0.1:1/keys")),
        &claims,
        foreign,
    ));
    refused(&signed(
        &with(header(), "x5u", json!("http://127.0.0.1:1/c")),
        &claims,
        foreign,
    ));
    for kid in [
        json!("../../dev/null"),
        json!("x"),
        json!(""),
        json!(null),
        json!(5),
        jwk,
    ] {
        refused(&by_us(&with(header(), "kid", kid), &claims));
    }
    refused(&by_us(&without(header(), "kid"), &claims));
    refused(&by_us(&with(header(), "crit", json!(["exp"])), &claims));
}

#[test]
fn j2_times_of_a_wrong_type_or_beyond_reason_are_refused() {
    let tokens = tokens();
    let refused = |claims: &str| {
        assert!(
            tokens.verify(&by_us(&header(), claims), NOW).is_err(),
            "{claims}"
        );
    };
    let later = NOW_S + 600;
    for field in ["exp", "iat", "nbf"] {
        for wrong in [
            "\"1800000600\"",
            "1800000600.0",
            "1800000600.5",
            "-1",
            "1e20",
            "true",
            "[1]",
            "{}",
        ] {
            let text = with(claims(), field, json!("HERE")).to_string();
            refused(&text.replace("\"HERE\"", wrong));
        }
    }
    for field in ["exp", "iat", "iss", "aud", "sub", "sid", "gen", "jti"] {
        refused(&without(claims(), field).to_string());
        refused(&with(claims(), field, Value::Null).to_string());
    }
    refused(&with(claims(), "exp", json!(NOW_S - 31)).to_string());
    refused(&with(claims(), "exp", json!(u64::MAX)).to_string());
    refused(&with(claims(), "exp", json!(NOW_S + 86_400)).to_string());
    refused(&with(claims(), "iat", json!(NOW_S + 31)).to_string());
    refused(&with(claims(), "iat", json!(later + 1)).to_string());
    refused(&with(claims(), "nbf", json!(NOW_S + 31)).to_string());
    refused(&claims().to_string().replacen('{', "{\"exp\":1,", 1));
}

#[test]
fn j3_tokens_for_somebody_else_or_something_else_are_refused() {
    let tokens = tokens();
    let refused = |header: &Value, claims: &Value| {
        let token = by_us(header, &claims.to_string());
        assert!(tokens.verify(&token, NOW).is_err(), "{header} {claims}");
    };
    for aud in [
        json!("https://other.example"),
        json!(""),
        json!([]),
        json!(["https://waybill.example"]),
        json!(1),
    ] {
        refused(&header(), &with(claims(), "aud", aud));
    }
    for iss in [
        json!("https://waybill.example/"),
        json!("https://evil.example"),
        json!(["https://waybill.example"]),
    ] {
        refused(&header(), &with(claims(), "iss", iss));
    }
    for sub in [json!("user_1"), json!("ann@example.com"), json!(7)] {
        refused(&header(), &with(claims(), "sub", sub));
    }
    // An id token is signed as well, but is no access token.
    for typ in [json!("JWT"), json!("id+jwt"), json!("AT+JWT"), json!(null)] {
        refused(&with(header(), "typ", typ), &claims());
    }
    refused(&without(header(), "typ"), &claims());
}

#[test]
fn what_is_no_token_is_refused() {
    let tokens = tokens();
    let token = tokens.issue(&bearer(), 9, NOW).expect("issued");
    for cut in 0..token.len() {
        assert!(tokens.verify(&token[..cut], NOW).is_err());
    }
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "é.é.é",
        &format!("{token}."),
        &format!("{token}="),
        &format!(" {token}"),
    ] {
        assert!(tokens.verify(text, NOW).is_err(), "{text}");
    }
    assert!(tokens.verify(&"a".repeat(MOST_BYTES + 1), NOW).is_err());
    // Every character counts.
    for place in 0..token.len() - 1 {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("ASCII");
        assert!(tokens.verify(&changed, NOW).is_err(), "{place}");
    }
}

#[test]
fn keys_rotate_with_overlap() {
    let tokens = tokens();
    let start = NOW_S / EPOCH.as_secs() * EPOCH.as_secs();
    let at = |seconds: u64| Timestamp(i64::try_from(seconds * 1000).expect("in range"));
    let last_second = at(start + EPOCH.as_secs() - 1);
    let next_epoch = at(start + EPOCH.as_secs());
    let token = tokens.issue(&bearer(), 9, last_second).expect("issued");
    assert!(tokens.verify(&token, next_epoch).is_ok());
    let (before, after) = (tokens.jwks(last_second).keys, tokens.jwks(next_epoch).keys);
    assert_eq!((before.len(), &before[1..]), (3, &after[..2]));
    assert_ne!(
        tokens.keys.signing(last_second).id,
        tokens.keys.signing(next_epoch).id
    );
    // A gateway whose clock is behind takes what one whose clock is ahead has issued.
    let ahead = tokens.issue(&bearer(), 9, next_epoch).expect("issued");
    assert!(tokens.verify(&ahead, last_second).is_ok());
    let published = serde_json::to_value(tokens.jwks(NOW)).expect("plain");
    assert_eq!(published["keys"][1]["kid"], json!(kid(&tokens)));
    assert_eq!(published["keys"][1]["crv"], "Ed25519");
    assert!(published["keys"][1].get("d").is_none());
}
