//! The consent page: where it leads, and who may answer it.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use http::Method;
use serde_json::json;
use url::Url;
use waybill_domain::access::role::Role;
use waybill_gateway::GatewayConfig;
use waybill_identity::PeopleConfig;
use waybill_mail::{Letter, Mailer, SendError};
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use super::stage::{
    REDIRECT, Stage, but, encoded, page_token, post, redemption, request, text, told, told_by_link,
};
use crate::teams::people::Person;
use crate::world::{SOON, World, config};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_names_what_is_asked_for_and_runs_nothing() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let page = stage.ask(&stage.owner, &request(&client)).await?;
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    for part in [
        "Dashboard &lt;b&gt;",
        "tasks:write",
        "Ours",
        "ann@example.com",
        REDIRECT,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("<b>") && !text.contains("<script"), "{text}");
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(
        policy.contains("form-action 'self' https://app.example.com;"),
        "{policy}"
    );
    assert!(
        !policy.contains("unsafe") && !policy.contains("script-src"),
        "{policy}"
    );
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn j5_a_browser_is_sent_nowhere_but_to_what_was_registered_to_the_letter() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let good = request(&client);
    for wrong in [
        "https://app.example.com/cb/",
        "https://app.example.com/cb/more",
        "https://app.example.com/CB",
        "https://APP.example.com/cb",
        "https://app.example.com:8443/cb",
        "https://app.example.com:443/cb",
        "https://app.example.com/cb?x=1",
        "https://app.example.com/cb#x",
        "https://app.example.com/c%62",
        "https://app.example.com/x/../cb",
        "https://app.example.com%2fcb",
        "https://app.example.com@evil.example/cb",
        "https://app.example.com.evil.example/cb",
        "//app.example.com/cb",
        "http://app.example.com/cb",
        "javascript:alert(1)",
        "",
    ] {
        // Also with something else wrong, which would otherwise be told by a redirect.
        for other in [("response_type", "code"), ("response_type", "token")] {
            let fields = but(&good, &[("redirect_uri", wrong), other]);
            for answer in [
                stage.ask(&stage.owner, &fields).await?,
                stage
                    .decide(&stage.owner, Some(stage.origin()), &fields)
                    .await?,
            ] {
                assert_eq!(answer.status, 400, "{wrong}");
                assert_eq!(answer.header("location"), None, "{wrong}");
                assert!(
                    answer
                        .header("content-type")
                        .is_some_and(|t| t.starts_with("text/html"))
                );
            }
        }
    }
    let mut twice = good.clone();
    twice.push(("redirect_uri", "https://evil.example/cb"));
    let mut two_clients = good.clone();
    two_clients.push(("client_id", "app_x"));
    let nobody = but(&good, &[("client_id", "app_00000000000000000000000000")]);
    for fields in [
        twice,
        two_clients,
        nobody,
        but(&good, &[("client_id", "x")]),
    ] {
        let answer = stage.ask(&stage.owner, &fields).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (400, None),
            "{fields:?}"
        );
    }
    let phone = stage.public_client().await?;
    for (uri, status) in [
        ("http://127.0.0.1:50123/cb", 200),
        ("com.example.app:/cb", 200),
        ("http://127.0.0.1:50123/other", 400),
        ("http://localhost:50123/cb", 400),
        ("http://10.0.0.1/cb", 400),
        ("com.example.app:/cb2", 400),
    ] {
        let fields = but(&request(&phone), &[("redirect_uri", uri)]);
        assert_eq!(
            stage.ask(&stage.owner, &fields).await?.status,
            status,
            "{uri}"
        );
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_is_wrong_is_shown_and_told_to_the_application_only_when_its_person_says_so()
-> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let good = request(&client);
    let long = "x".repeat(1025);
    for (others, error) in [
        (
            vec![("response_type", "token")],
            "unsupported_response_type",
        ),
        (vec![("response_type", "")], "invalid_request"),
        (vec![("response_mode", "fragment")], "invalid_request"),
        (vec![("code_challenge", "")], "invalid_request"),
        (vec![("code_challenge", "short")], "invalid_request"),
        (vec![("code_challenge_method", "plain")], "invalid_request"),
        (vec![("code_challenge_method", "")], "invalid_request"),
        (vec![("scope", "tasks:fly")], "invalid_scope"),
        (vec![("scope", "keys:read")], "invalid_scope"),
        (vec![("scope", "tasks:read  tasks:write")], "invalid_scope"),
        (vec![("request", "x")], "request_not_supported"),
        (
            vec![("request_uri", "https://evil.example/r")],
            "request_uri_not_supported",
        ),
    ] {
        let answer = stage.ask(&stage.owner, &but(&good, &others)).await?;
        assert_eq!(told_by_link(&answer, "error")?, error, "{others:?}");
        assert_eq!(told_by_link(&answer, "state")?, "st&te");
        assert_eq!(told_by_link(&answer, "iss")?, stage.origin());
    }
    let answer = stage
        .ask(&stage.owner, &but(&good, &[("state", &long)]))
        .await?;
    assert_eq!(
        (
            told_by_link(&answer, "error")?.as_str(),
            told_by_link(&answer, "state")?.as_str()
        ),
        ("invalid_request", "")
    );
    let mut twice = good.clone();
    twice.push(("scope", "tasks:read"));
    twice.push(("scope", "tasks:write"));
    assert_eq!(
        told_by_link(&stage.ask(&stage.owner, &twice).await?, "error")?,
        "invalid_request"
    );
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_made_by_this_person_on_this_page_or_not_at_all() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let other_client = stage.client().await?;
    let eve = Person::signed_in(&stage.world, "eve").await?;
    eve.joined(&stage.world, &stage.team, Role::Viewer).await?;
    let page = page_token(&stage.ask(&stage.owner, &request(&client)).await?)?;
    let eves = page_token(&stage.ask(&eve, &request(&client)).await?)?;
    let team = stage.team.to_string();
    let mut good = request(&client);
    good.extend([
        ("page", page.as_str()),
        ("team", &team),
        ("decision", "allow"),
    ]);
    // J11: from no page of ours.
    for origin in [
        None,
        Some("null"),
        Some("https://evil.example"),
        Some("https://app.example.com"),
    ] {
        let answer = stage.decide(&stage.owner, origin, &good).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (403, None),
            "{origin:?}"
        );
    }
    // From a page of ours, but not that one.
    for others in [
        [("page", "")],
        [("page", "1.00")],
        [("page", eves.as_str())],
        [("client_id", other_client.id.as_str())],
        [("scope", "tasks:read")],
        [("state", "another")],
        [("team", "team_00000000000000000000000000")],
    ] {
        let answer = stage
            .decide(&stage.owner, Some(stage.origin()), &but(&good, &others))
            .await?;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (403, None),
            "{others:?}"
        );
    }
    let answer = stage.decide(&eve, Some(stage.origin()), &good).await?;
    assert_eq!(answer.status, 403, "of another session");
    let answer = post(&stage.http, "/oauth/authorize", &good).await?;
    assert_eq!(answer.status, 403, "without a cookie or an origin");
    let answer = stage
        .decide(
            &stage.owner,
            Some(stage.origin()),
            &but(&good, &[("decision", "maybe")]),
        )
        .await?;
    assert_eq!(answer.status, 400);
    let denied = stage
        .decide(
            &stage.owner,
            Some(stage.origin()),
            &but(&good, &[("decision", "deny")]),
        )
        .await?;
    assert_eq!(
        (
            told(&denied, "error")?.as_str(),
            told(&denied, "code")?.as_str()
        ),
        ("access_denied", "")
    );
    let allowed = stage
        .decide(&stage.owner, Some(stage.origin()), &good)
        .await?;
    assert!(told(&allowed, "code")?.starts_with("wb_code_"));
    assert_eq!(told(&allowed, "state")?, "st&te");
    assert_eq!(
        told(&allowed, "iss")?,
        stage.origin(),
        "so that no other server's answer is taken for ours"
    );
    // Signed out, the page is worth nothing.
    stage.owner.http.post("/v1/auth/logout", &json!({})).await?;
    let answer = stage
        .decide(&stage.owner, Some(stage.origin()), &good)
        .await?;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (401, None)
    );
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_name_the_issuer_of_every_answer() -> Result<()> {
    let issuer = "https://api.example.com";
    let people = PeopleConfig {
        public_url: Some(Url::parse(issuer)?),
        ..PeopleConfig::default()
    };
    let world = World::start_with(GatewayConfig { people, ..config() }).await?;
    let http = Http::at(world.gateway.addr());
    let answer = http.get("/.well-known/oauth-authorization-server").await?;
    assert_eq!(answer.status, 200);
    let found = answer.json();
    assert_eq!(found["issuer"], issuer);
    assert_eq!(found["token_endpoint"], format!("{issuer}/oauth/token"));
    assert_eq!(found["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(found["response_types_supported"], json!(["code"]));
    assert_eq!(
        found["authorization_response_iss_parameter_supported"],
        true
    );
    let scopes = found["scopes_supported"].as_array().expect("scopes");
    assert!(scopes.contains(&json!("tasks:read")) && !scopes.contains(&json!("keys:write")));
    world.stop().await
}

/// Keeps letters.
#[derive(Clone, Default)]
struct Mailbox(Arc<Mutex<Vec<Letter>>>);

#[async_trait]
impl Mailer for Mailbox {
    async fn send(&self, letter: &Letter) -> Result<(), SendError> {
        self.0.lock().expect("no panic inside").push(letter.clone());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_signed_in_signs_in_on_the_way() -> Result<()> {
    const PASSWORD: &str = "correct horse battery";
    let mailbox = Mailbox::default();
    let people = PeopleConfig {
        mailer: Arc::new(mailbox.clone()),
        ..PeopleConfig::default()
    };
    let world = World::start_with(GatewayConfig { people, ..config() }).await?;
    let owner = Person::signed_in(&world, "ann").await?;
    let team = owner.team(&world, "Ours", "enterprise").await?;
    let stage = Stage {
        http: Http::at(world.gateway.addr()),
        world,
        owner,
        team,
    };
    let client = stage.client().await?;
    let bob = json!({"email": "bob@example.com"});
    stage.http.post("/v1/auth/signup", &bob).await?;
    eventually(SOON, async || {
        !mailbox.0.lock().expect("no panic").is_empty()
    })
    .await?;
    let letter = mailbox.0.lock().expect("no panic").remove(0);
    let token = letter
        .body
        .lines()
        .find_map(|line| line.strip_prefix("    wb_"));
    let confirm = json!({"token": format!("wb_{}", token.context("a token")?), "password": PASSWORD, "name": "Bob"});
    let confirmed = stage.http.post("/v1/auth/confirm", &confirm).await?;
    assert_eq!(confirmed.status, 201, "{}", confirmed.text());
    let bob = stage.http.with_key(
        confirmed.json()["accessToken"]
            .as_str()
            .context("a token")?,
    );
    bob.post("/teams", &json!({"name": "Bob's"})).await?;

    let good = request(&client);
    let page = stage
        .http
        .get(&format!("/oauth/authorize?{}", encoded(&good)))
        .await?;
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains("action=\"/oauth/sign-in\"") && !page.text().contains("name=\"page\"")
    );
    let sign_in = async |origin: Option<&str>, password: &str| {
        let mut fields = good.clone();
        fields.extend([("email", "bob@example.com"), ("password", password)]);
        let mut headers = vec![
            ("content-type", "application/x-www-form-urlencoded"),
            // Fixed beforehand by somebody else.
            ("cookie", "waybill-consent=planted"),
        ];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let sent = stage
            .http
            .send(Method::POST, "/oauth/sign-in", &headers, encoded(&fields));
        sent.await
    };
    for origin in [None, Some("https://evil.example")] {
        let answer = sign_in(origin, PASSWORD).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.header("set-cookie")),
            (403, None)
        );
    }
    let wrong = sign_in(Some(stage.origin()), "wrong password").await?;
    assert_eq!(
        (wrong.status.as_u16(), wrong.header("set-cookie")),
        (401, None)
    );
    assert!(
        wrong.text().contains("Wrong e-mail address or password"),
        "{}",
        wrong.text()
    );
    let done = sign_in(Some(stage.origin()), PASSWORD).await?;
    assert_eq!(done.status, 303, "{}", done.text());
    let location = done.header("location").context("somewhere")?.to_owned();
    assert!(location.starts_with("/oauth/authorize?"), "{location}");
    let cookie = done.header("set-cookie").context("a cookie")?.to_owned();
    assert!(
        cookie.ends_with("; Path=/oauth; Max-Age=600; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().context("a pair")?.to_owned();
    assert!(!pair.contains("planted"));

    let page = stage
        .http
        .send(Method::GET, &location, &[("cookie", &pair)], "")
        .await?;
    assert!(page.text().contains("bob@example.com"), "{}", page.text());
    let token = page_token(&page)?;
    let text_of = page.text();
    let (_, rest) = text_of.split_once("<option value=\"").context("a team")?;
    let team = rest.split('"').next().context("an id")?.to_owned();
    assert_ne!(team, stage.team.to_string(), "his own");
    let mut fields = good.clone();
    fields.extend([
        ("page", token.as_str()),
        ("team", &team),
        ("decision", "allow"),
    ]);
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("cookie", pair.as_str()),
        ("origin", stage.origin()),
    ];
    let answer = stage
        .http
        .send(Method::POST, "/oauth/authorize", &headers, encoded(&fields))
        .await?;
    let code = told(&answer, "code")?;
    let tokens = post(&stage.http, "/oauth/token", &redemption(&client, &code)).await?;
    assert_eq!(stage.opens(&text(&tokens, "access_token")?).await?, 200);
    stage.stop().await
}

/// Where the server has no public address, its name would come from whoever asks.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_public_address_there_is_no_oauth() -> Result<()> {
    let world = World::start_with(waybill_gateway::GatewayConfig {
        is_local: false,
        ..config()
    })
    .await?;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/oauth/authorize?client_id=x",
    ] {
        let answer = world.http.get(path).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (404, "oauth_not_configured"),
            "{path}"
        );
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let fields = "grant_type=client_credentials&client_id=x&client_secret=y&token=z";
    for path in [
        "/oauth/token",
        "/oauth/introspect",
        "/oauth/revoke",
        "/oauth/authorize",
        "/oauth/sign-in",
    ] {
        let answer = world.http.send(Method::POST, path, &form, fields).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (404, "oauth_not_configured"),
            "{path}: {}",
            answer.text()
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_is_not_what_a_client_calls_the_server() -> Result<()> {
    let stage = Stage::start().await?;
    let forged = [("host", "evil.example")];
    let path = "/.well-known/oauth-authorization-server";
    let answer = stage.http.send(Method::GET, path, &forged, "").await?;
    assert_eq!(answer.json()["issuer"], stage.origin());
    stage.stop().await
}
