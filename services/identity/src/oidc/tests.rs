//! Log-ins at a real issuer on loopback, which signs what a test tells it to.

mod issuer;

use std::collections::HashMap;

use base64::Engine as _;
use http::StatusCode;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::*;
use issuer::{Key, TestIssuer, party};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const NOW_S: u64 = 1_800_000_000;
const SECRET: &str = "s3cret/+ of the client";

async fn ed25519_issuer() -> anyhow::Result<TestIssuer> {
    TestIssuer::start(Key::new("k1", Algorithm::EdDSA)).await
}

fn unacceptable(outcome: &Result<OutsideIdentity, OidcError>) -> bool {
    matches!(outcome, Err(OidcError::Unacceptable(_)))
}

#[tokio::test]
async fn somebody_logs_in_with_each_kind_of_signature() -> anyhow::Result<()> {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256] {
        let issuer = TestIssuer::start(Key::new("k1", algorithm)).await?;
        let identity = issuer.log_in(&issuer.party()).await?;
        let expected = OutsideIdentity {
            issuer: issuer.url.clone(),
            subject: "4711".into(),
            verified_email: Some("Ann@Example.com".into()),
            name: Some("Ann".into()),
        };
        assert_eq!(identity, expected);
    }
    Ok(())
}

#[tokio::test]
async fn the_request_carries_all_that_binds_the_answer() -> anyhow::Result<()> {
    let issuer = ed25519_issuer().await?;
    let party = issuer.party();
    let (one, two) = (
        party.start("test", NOW).await?,
        party.start("test", NOW).await?,
    );
    let asked: HashMap<_, _> = one.location.query_pairs().into_owned().collect();
    assert_eq!(asked["tenant"], "1");
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["scope"], "openid email");
    assert_eq!(
        asked["redirect_uri"],
        "https://waybill.example/api/v1/auth/oidc/test/callback"
    );
    assert_eq!(asked["code_challenge_method"], "S256");
    let other: HashMap<_, _> = two.location.query_pairs().into_owned().collect();
    for unique in ["state", "nonce", "code_challenge"] {
        assert_eq!(asked[unique].len(), 43);
        assert_ne!(asked[unique], other[unique], "{unique}");
        assert!(!one.cookie.contains(&asked[unique]));
    }
    let answer = issuer.consent(&one);
    party
        .finish("test", Some(&one.cookie), &answer, NOW)
        .await?;
    let (login, form) = issuer.script.lock().expect("whole").token_requests[0].clone();
    let encoded = base64::engine::general_purpose::STANDARD
        .encode("waybill+client:s3cret%2F%2B+of+the+client");
    assert_eq!(login, Some(format!("Basic {encoded}")));
    assert!(!form.contains_key("client_secret"));
    Ok(())
}

#[tokio::test]
async fn a_login_ends_only_in_the_browser_where_it_began() -> anyhow::Result<()> {
    let issuer = ed25519_issuer().await?;
    let party = issuer.party();
    let attackers = party.start("test", NOW).await?;
    let victims = party.start("test", NOW).await?;
    let code_of_attacker = issuer.consent(&attackers);
    let finish = async |cookie: Option<&str>, answer: &OidcReturn, now| {
        party.finish("test", cookie, answer, now).await
    };
    // Session fixation: the attacker's code in the victim's browser, which has no cookie, or one of its own log-in.
    for cookie in [
        None,
        Some(victims.cookie.as_str()),
        Some(""),
        Some("1.2.3"),
        Some("..."),
    ] {
        assert_eq!(
            finish(cookie, &code_of_attacker, NOW).await,
            Err(OidcError::NotBegunHere)
        );
    }
    let with_state = |state: Option<&str>| OidcReturn {
        state: state.map(Into::into),
        ..code_of_attacker.clone()
    };
    for state in [None, Some(""), Some("x")] {
        let outcome = finish(Some(&attackers.cookie), &with_state(state), NOW).await;
        assert_eq!(outcome, Err(OidcError::NotBegunHere));
    }
    // The victim's state with the attacker's code: PKCE and nonce are those of the victim's log-in, the code is not.
    let answer = with_state(issuer.consent(&victims).state.as_deref());
    assert!(unacceptable(
        &finish(Some(&victims.cookie), &answer, NOW).await
    ));
    // A cookie whose time was changed, and one that is too old.
    let begun = NOW.as_secs().to_string();
    let later = attackers
        .cookie
        .replacen(&begun, &(NOW.as_secs() + 60).to_string(), 1);
    assert_eq!(
        finish(Some(&later), &code_of_attacker, NOW).await,
        Err(OidcError::NotBegunHere)
    );
    let too_late = NOW.plus(ATTEMPT_LIFETIME + Duration::from_secs(1));
    assert_eq!(
        finish(Some(&attackers.cookie), &code_of_attacker, too_late).await,
        Err(OidcError::NotBegunHere)
    );
    assert_eq!(issuer.script.lock().expect("whole").token_requests.len(), 1);
    Ok(())
}

#[tokio::test]
async fn another_issuers_attempt_is_none_of_ours() -> anyhow::Result<()> {
    let issuer = ed25519_issuer().await?;
    let redirected = issuer.party().start("test", NOW).await?;
    let answer = issuer.consent(&redirected);
    let renamed = party(
        OidcConfig {
            name: "other".into(),
            ..issuer.config()
        },
        OidcTimes::default(),
    );
    let outcome = renamed
        .finish("other", Some(&redirected.cookie), &answer, NOW)
        .await;
    assert_eq!(outcome, Err(OidcError::NotBegunHere));
    let unknown = renamed.start("test", NOW).await;
    assert!(matches!(unknown, Err(OidcError::NoSuchIssuer)));
    Ok(())
}

#[tokio::test]
async fn a_code_is_good_once() -> anyhow::Result<()> {
    let issuer = ed25519_issuer().await?;
    let party = issuer.party();
    let redirected = party.start("test", NOW).await?;
    let answer = issuer.consent(&redirected);
    party
        .finish("test", Some(&redirected.cookie), &answer, NOW)
        .await?;
    assert!(unacceptable(
        &party
            .finish("test", Some(&redirected.cookie), &answer, NOW)
            .await
    ));
    Ok(())
}

#[tokio::test]
async fn id_tokens_that_are_not_right_are_refused() -> anyhow::Result<()> {
    let issuer = ed25519_issuer().await?;
    let party = issuer.party();
    type Case = (&'static str, fn(&mut Value));
    let wrong: [Case; 19] = [
        ("iss", |c| c["iss"] = json!("https://evil.example")),
        ("iss list", |c| c["iss"] = json!([c["iss"].clone()])),
        ("aud", |c| c["aud"] = json!("somebody else")),
        ("no aud", |c| c["aud"] = json!(null)),
        ("many aud, no azp", |c| {
            c["aud"] = json!(["waybill client", "somebody else"]);
        }),
        ("azp", |c| c["azp"] = json!("somebody else")),
        ("nonce", |c| c["nonce"] = json!("x")),
        ("no nonce", |c| c["nonce"] = json!(null)),
        ("expired", |c| c["exp"] = json!(NOW_S - 31)),
        ("exp string", |c| c["exp"] = json!("1800000300")),
        ("exp float", |c| c["exp"] = json!(1_800_000_300.5)),
        ("exp negative", |c| c["exp"] = json!(-1)),
        ("no exp", |c| c["exp"] = json!(null)),
        ("future", |c| c["iat"] = json!(NOW_S + 31)),
        ("no iat", |c| c["iat"] = json!(null)),
        ("nbf", |c| c["nbf"] = json!(NOW_S + 31)),
        ("nbf string", |c| c["nbf"] = json!("1")),
        ("no sub", |c| c["sub"] = json!("")),
        ("sub number", |c| c["sub"] = json!(4711)),
    ];
    for (what, change) in wrong {
        issuer.with(|script| script.claims = change);
        let outcome = issuer.log_in(&party).await;
        assert!(unacceptable(&outcome), "{what}: {outcome:?}");
    }
    issuer.with(|script| script.claims = |c| c["azp"] = json!("waybill client"));
    issuer.log_in(&party).await?;
    Ok(())
}

#[tokio::test]
async fn an_address_that_nobody_vouches_for_is_not_believed() -> anyhow::Result<()> {
    let issuer = ed25519_issuer().await?;
    let party = issuer.party();
    let unsure: [fn(&mut Value); 4] = [
        |c| c["email_verified"] = json!(false),
        |c| c["email_verified"] = json!("true"),
        |c| c["email_verified"] = json!(1),
        |c| c["email_verified"] = json!(null),
    ];
    for change in unsure {
        issuer.with(|script| script.claims = change);
        assert_eq!(issuer.log_in(&party).await?.verified_email, None);
    }
    Ok(())
}

#[tokio::test]
async fn a_signature_must_be_of_a_configured_kind_and_a_published_key() -> anyhow::Result<()> {
    let issuer = ed25519_issuer().await?;
    let only_rsa = OidcConfig {
        algorithms: vec![OidcAlgorithm::RS256],
        ..issuer.config()
    };
    assert!(unacceptable(
        &issuer.log_in(&party(only_rsa, OidcTimes::default())).await
    ));
    // A stranger's key under the name of a published one; a symmetric one; and none at all.
    issuer.with(|script| script.signs_with = Key::new("k1", Algorithm::EdDSA));
    assert!(unacceptable(&issuer.log_in(&issuer.party()).await));
    issuer.with(|script| {
        let signs = EncodingKey::from_secret(SECRET.as_bytes());
        script.signs_with = Key {
            kid: "k1",
            algorithm: Algorithm::HS256,
            signs,
        };
    });
    assert!(unacceptable(&issuer.log_in(&issuer.party()).await));
    Ok(())
}

#[tokio::test]
async fn new_keys_are_found_but_not_looked_for_at_every_request() -> anyhow::Result<()> {
    let issuer = ed25519_issuer().await?;
    let times = OidcTimes {
        least_pause: Duration::ZERO,
        ..OidcTimes::default()
    };
    let eager = party(issuer.config(), times);
    issuer.log_in(&eager).await?;
    let rotated = Key::new("k2", Algorithm::ES256);
    issuer.with(|script| {
        script.published.push(rotated.jwk());
        script.signs_with = rotated.clone();
    });
    issuer.log_in(&eager).await?;
    assert_eq!(issuer.script.lock().expect("whole").key_requests, 2);
    // Somebody who makes up names of keys does not make us ask again and again.
    let patient = issuer.party();
    issuer.log_in(&patient).await?;
    issuer.with(|script| script.signs_with = Key::new("k3", Algorithm::ES256));
    for _ in 0..5 {
        assert!(unacceptable(&issuer.log_in(&patient).await));
    }
    assert_eq!(issuer.script.lock().expect("whole").key_requests, 3);
    Ok(())
}

#[tokio::test]
async fn the_issuers_refusal_is_passed_on_and_nothing_with_it() -> anyhow::Result<()> {
    let issuer = ed25519_issuer().await?;
    let party = issuer.party();
    let redirected = party.start("test", NOW).await?;
    let answer = OidcReturn {
        code: None,
        error: Some("access_denied<script>".into()),
        ..issuer.consent(&redirected)
    };
    let outcome = party
        .finish("test", Some(&redirected.cookie), &answer, NOW)
        .await;
    assert_eq!(
        outcome,
        Err(OidcError::Declined("access_deniedscript".into()))
    );
    // An answer that says it is another issuer's (mix-up).
    let answer = OidcReturn {
        iss: Some("https://evil.example".into()),
        ..issuer.consent(&redirected)
    };
    assert!(unacceptable(
        &party
            .finish("test", Some(&redirected.cookie), &answer, NOW)
            .await
    ));
    let answer = OidcReturn {
        code: None,
        ..answer
    };
    assert!(unacceptable(
        &party
            .finish("test", Some(&redirected.cookie), &answer, NOW)
            .await
    ));
    Ok(())
}

#[tokio::test]
async fn metadata_that_leads_elsewhere_is_refused() -> anyhow::Result<()> {
    let wrong: [fn(&mut Value); 4] = [
        |m| m["issuer"] = json!("https://evil.example"),
        |m| m["token_endpoint"] = json!("http://evil.example/token"),
        |m| m["jwks_uri"] = json!("file:///etc/passwd"),
        |m| m["padding"] = json!("x".repeat(300_000)),
    ];
    for change in wrong {
        let issuer = ed25519_issuer().await?;
        issuer.with(|script| script.metadata = change);
        let outcome = issuer.party().start("test", NOW).await;
        assert!(matches!(outcome, Err(OidcError::Unacceptable(_))));
    }
    Ok(())
}

#[tokio::test]
async fn an_issuer_that_is_away_is_not_asked_at_every_request() -> anyhow::Result<()> {
    let issuer = ed25519_issuer().await?;
    let gone = OidcConfig {
        issuer: "http://127.0.0.1:1".into(),
        ..issuer.config()
    };
    let party = party(gone, OidcTimes::default());
    for _ in 0..2 {
        assert!(matches!(
            party.start("test", NOW).await,
            Err(OidcError::Unavailable(_))
        ));
    }
    issuer.with(|script| script.token_status = StatusCode::BAD_GATEWAY);
    let outcome = issuer.log_in(&issuer.party()).await;
    assert!(
        matches!(outcome, Err(OidcError::Unavailable(_))),
        "{outcome:?}"
    );
    Ok(())
}

#[test]
fn issuers_are_checked_when_they_are_configured() {
    let secret = SessionSecret::new(vec![5; 32]).expect("long enough");
    let public = Url::parse("https://waybill.example").expect("a URL");
    let fine = OidcConfig {
        name: "corp".into(),
        issuer: "https://id.example/realm".into(),
        client_id: "c".into(),
        client_secret: None,
        scopes: vec![],
        algorithms: vec![OidcAlgorithm::RS256],
    };
    let refused =
        |configs: Vec<OidcConfig>| Oidc::new(configs, OidcTimes::default(), &secret, &public).err();
    assert_eq!(refused(vec![fine.clone()]), None);
    assert!(matches!(
        refused(vec![fine.clone(), fine.clone()]),
        Some(OidcRefused::Twice(_))
    ));
    for issuer in [
        "http://id.example",
        "https://id.example?x",
        "https://u:p@id.example",
        "ftp://localhost",
        "id.example",
    ] {
        let config = OidcConfig {
            issuer: issuer.into(),
            ..fine.clone()
        };
        assert!(
            matches!(refused(vec![config]), Some(OidcRefused::Issuer(_))),
            "{issuer}"
        );
    }
    let named = OidcConfig {
        name: "../x".into(),
        ..fine.clone()
    };
    assert!(matches!(refused(vec![named]), Some(OidcRefused::Name(_))));
    assert_eq!(
        refused(vec![OidcConfig {
            algorithms: vec![],
            ..fine
        }]),
        Some(OidcRefused::Algorithms)
    );
}
