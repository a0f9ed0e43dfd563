//! A team from its founding on.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use waybill_domain::access::role::Role;
use waybill_domain::access::team::MAX_TEAMS_OWNED;
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use super::people::{Person, delete, patch, put, stored, world_with};
use crate::world::SOON;

#[tokio::test(flavor = "multi_thread")]
async fn a_team_is_founded_shared_and_handed_on() -> Result<()> {
    let (world, mailbox) = world_with(|_| {}).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let bob = Person::signed_in(&world, "bob").await?;
    let founded = ann.http.post("/teams", &json!({"name": " Ours "})).await?;
    assert_eq!(founded.status, 201, "{}", founded.text());
    let team = founded.json()["team"].clone();
    assert_eq!(
        (
            &team["name"],
            &team["plan"],
            &team["role"],
            &team["members"]
        ),
        (&json!("Ours"), &json!("free"), &json!("owner"), &json!(1))
    );
    let path = format!("/teams/{}", team["id"].as_str().expect("an id"));

    let invitations = format!("{path}/invitations");
    let invitation = json!({"email": "Bob@Example.com", "role": "admin"});
    let sent = ann.http.post(&invitations, &invitation).await?;
    assert_eq!(sent.status, 201, "{}", sent.text());
    assert_eq!(sent.json()["invitation"]["email"], "bob@example.com");
    let token = mailbox.token("bob@example.com", 1).await?;
    let listed = ann.http.get(&invitations).await?;
    assert_eq!(listed.json()["invitations"][0]["status"], "open");
    let one = format!(
        "{invitations}/{}",
        sent.json()["invitation"]["id"].as_str().expect("id")
    );
    assert_eq!(ann.http.get(&one).await?.json(), sent.json());
    for answer in [&sent, &listed] {
        assert!(
            !answer.text().contains(&token[20..]),
            "a token is mailed only"
        );
    }
    assert_eq!(bob.http.get(&path).await?.status, 403, "not yet");
    let accepted = bob.accept(&token).await?;
    assert_eq!(accepted.status, 200, "{}", accepted.text());
    assert_eq!(accepted.json()["team"]["role"], "admin");
    assert_eq!(ann.http.get(&one).await?.status, 404, "it is used");

    let members = ann.http.get(&format!("{path}/members")).await?.json();
    let seen = |n: usize, field: &str| members["members"][n][field].clone();
    assert_eq!(seen(0, "email"), "ann@example.com");
    assert_eq!(
        (seen(1, "id"), seen(1, "name"), seen(1, "role")),
        (json!(bob.id.to_string()), json!("bob"), json!("admin"))
    );
    assert!(seen(1, "since").is_string());

    let renamed = patch(&bob.http, &path, &json!({"name": "Yours"})).await?;
    assert_eq!(
        renamed.json()["team"]["name"],
        "Yours",
        "{}",
        renamed.text()
    );
    let policy = put(
        &bob.http,
        &format!("{path}/leak-policy"),
        &json!({"leakPolicy": "warn"}),
    )
    .await?;
    assert_eq!(
        policy.json()["team"]["leakPolicy"],
        "warn",
        "{}",
        policy.text()
    );
    let wrong = put(
        &bob.http,
        &format!("{path}/leak-policy"),
        &json!({"leakPolicy": "sue"}),
    )
    .await?;
    assert_eq!(
        (wrong.status.as_u16(), &wrong.json()["field"]),
        (400, &json!("leakPolicy"))
    );

    let of_ann = format!("{path}/members/{}", ann.id);
    let of_bob = format!("{path}/members/{}", bob.id);
    let above = patch(&bob.http, &of_bob, &json!({"role": "owner"})).await?;
    assert_eq!(
        (above.status.as_u16(), above.code().as_str()),
        (403, "access_denied")
    );
    assert_eq!(
        delete(&bob.http, &of_ann).await?.status,
        403,
        "nor whoever is above"
    );
    for refused in [
        delete(&ann.http, &of_ann).await?,
        patch(&ann.http, &of_ann, &json!({"role": "viewer"})).await?,
    ] {
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (409, "last_owner")
        );
    }
    let made = patch(&ann.http, &of_bob, &json!({"role": "owner"})).await?;
    assert_eq!(made.json()["member"]["role"], "owner", "{}", made.text());
    assert_eq!(
        delete(&ann.http, &of_ann).await?.status,
        204,
        "everybody may leave"
    );
    assert_eq!(ann.http.get(&path).await?.status, 403);
    assert_eq!(ann.http.get("/teams").await?.json(), json!({"teams": []}));
    let gone = delete(&bob.http, &of_ann).await?;
    assert_eq!(
        (gone.status.as_u16(), gone.error().as_str()),
        (404, "Member not found")
    );
    let teams = bob.http.get("/teams").await?.json();
    assert_eq!(teams["teams"][0]["role"], "owner");
    let usage = bob.http.get(&format!("{path}/usage")).await?;
    assert_eq!(
        usage.json()["usage"]["live"]["tasks"]["total"],
        0,
        "{}",
        usage.text()
    );
    world.stop().await
}

/// API3: a body may hold what is meant for it, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_body_is_not_for_is_refused_by_name() -> Result<()> {
    let (world, _) = world_with(|config| config.plan_self_service = true).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let bob = Person::signed_in(&world, "bob").await?;
    let team = ann.team(&world, "Ours", "enterprise").await?;
    bob.joined(&world, &team, Role::Member).await?;
    let path = format!("/teams/{team}");
    let before = stored(&world).await?;
    let routes = [
        (Method::POST, "/teams".to_owned(), json!({"name": "x"})),
        (Method::PATCH, path.clone(), json!({"name": "x"})),
        (
            Method::PATCH,
            format!("{path}/members/{}", bob.id),
            json!({"role": "viewer"}),
        ),
        (
            Method::POST,
            format!("{path}/invitations"),
            json!({"email": "x@example.com", "role": "viewer"}),
        ),
        (Method::PUT, format!("{path}/plan"), json!({"plan": "pro"})),
        (
            Method::PUT,
            format!("{path}/leak-policy"),
            json!({"leakPolicy": "warn"}),
        ),
        (
            Method::POST,
            "/v1/invitations/accept".to_owned(),
            json!({"token": "x"}),
        ),
    ];
    for (method, path, body) in &routes {
        for alien in [
            "teamId",
            "id",
            "createdAt",
            "owner",
            "userId",
            "scopes",
            "__proto__",
        ] {
            let mut wrong = body.clone();
            wrong[alien] = json!("enterprise");
            let answer = ann
                .http
                .send(method.clone(), path, &[], wrong.to_string())
                .await?;
            let said = answer.json();
            assert_eq!(
                (answer.status.as_u16(), said["field"].as_str()),
                (400, Some(alien)),
                "{method} {path}: {said}"
            );
        }
        for field in body.as_object().expect("an object").keys() {
            for value in [Value::Null, json!(7), json!(["x"]), json!({"x": 1})] {
                let mut wrong = body.clone();
                wrong[field] = value;
                let answer = ann
                    .http
                    .send(method.clone(), path, &[], wrong.to_string())
                    .await?;
                assert_eq!(
                    (answer.status.as_u16(), answer.json()["field"].as_str()),
                    (400, Some(field.as_str())),
                    "{method} {path} {wrong}: {}",
                    answer.text()
                );
            }
        }
    }
    for (field, body) in [
        ("name", json!({"name": " "})),
        ("name", json!({"name": "x".repeat(101)})),
        ("name", json!({"name": "a\u{202e}b"})),
    ] {
        let answer = ann.http.post("/teams", &body).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["field"].as_str()),
            (400, Some(field))
        );
    }
    for body in [
        json!({"email": "nobody", "role": "viewer"}),
        json!({"email": "a@b.c\r\nBcc: x@y.z", "role": "viewer"}),
    ] {
        let answer = ann.http.post(&format!("{path}/invitations"), &body).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["field"].as_str()),
            (400, Some("email"))
        );
    }
    let role = json!({"email": "x@example.com", "role": "root"});
    let answer = ann.http.post(&format!("{path}/invitations"), &role).await?;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["field"].as_str()),
        (400, Some("role"))
    );
    assert_eq!(stored(&world).await?, before, "nothing was stored");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_owns_ten_teams_however_many_gateways_are_asked_at_once() -> Result<()> {
    let (world, _) = world_with(|_| {}).await?;
    let stop = CancellationToken::new();
    let others = [
        world.another("g2", &stop).await?,
        world.another("g3", &stop).await?,
    ];
    let ann = Person::signed_in(&world, "ann").await?;
    let gateways = [ann.http.clone(), ann.at(&others[0]), ann.at(&others[1])];
    let found = async |n: usize, http: &Http| {
        http.post("/teams", &json!({"name": format!("Team {n}")}))
            .await
    };
    let foundings = (0..MAX_TEAMS_OWNED + 5).map(|n| found(n, &gateways[n % 3]));
    let mut founded = 0;
    for answer in futures::future::join_all(foundings).await {
        let answer = answer?;
        match answer.status.as_u16() {
            201 => founded += 1,
            403 => assert_eq!(answer.code(), "team_limit_exceeded"),
            // Too many at once: a client tries again.
            503 => assert_eq!(answer.code(), "conflict", "{}", answer.text()),
            other => panic!("{other} {}", answer.text()),
        }
    }
    assert!(founded <= MAX_TEAMS_OWNED, "{founded}");
    for n in founded..MAX_TEAMS_OWNED {
        assert_eq!(found(n, &gateways[0]).await?.status, 201);
    }
    assert_eq!(found(99, &gateways[1]).await?.code(), "team_limit_exceeded");
    eventually(SOON, async || {
        let listed = ann.http.get("/teams").await;
        let count = listed.map(|listed| listed.json()["teams"].as_array().map(Vec::len));
        count.is_ok_and(|count| count == Some(MAX_TEAMS_OWNED))
    })
    .await?;
    stop.cancel();
    for gateway in others {
        gateway.wait().await?;
    }
    world.stop().await
}
