//! `waybill teams` beside a running server.

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::json;
use waybill_testkit::http::Http;
use waybill_testkit::smtp::SmtpServer;

use crate::installation::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn teams_are_listed_and_put_on_plans_from_the_command_line() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    let up = installation.up().await?;
    let data = installation.data();
    let data = data.to_str().context("a path")?;
    let made = installation
        .run(&["keys", "create-team", "--name", "Ours", "--data", data])
        .await?
        .succeeded();
    let team = made.stdout.trim();
    let listed = installation.run(&["teams", "list"]).await?.succeeded();
    let plan = "\"Ours\"  plan enterprise";
    assert!(listed.stdout.contains(plan), "without limits: {listed:?}");

    // How many connections fit is a gateway's business.
    installation.set("WAYBILL__GATEWAY__MAX_CONNECTIONS", "1000000");
    for command in [
        ["keys", "list", "--data", data],
        ["teams", "list", "--data", data],
    ] {
        let told = installation.run(&command).await?.succeeded();
        assert_eq!(told.stderr, "", "{command:?}");
    }

    let moved = [
        "teams", "plan", "--team", team, "--plan", "pro", "--data", data,
    ];
    let moved = installation.run(&moved).await?.succeeded();
    assert_eq!(moved.stdout.trim(), format!("{team} is on the plan pro"));
    let listed = installation.run(&["teams", "list", "--data", data]).await?;
    let listed = listed.succeeded().stdout;
    let line = listed.lines().find(|line| line.starts_with(team));
    let line = line.context("its line")?;
    assert!(line.contains("\"Ours\"  plan pro  members 0"), "{line}");
    assert_eq!(listed.lines().count(), 2, "the first team too: {listed}");
    let members = ["teams", "members", "--team", team, "--data", data];
    let nobody = installation.run(&members).await?.succeeded();
    assert_eq!(nobody.stdout, "", "a line is a member");
    assert!(
        nobody.stderr.contains(&format!("{team} has no members")),
        "{nobody:?}"
    );
    let absent = "team_01k9x2v7m3f8q4t6r1w5y0z2bc";
    let absent = ["teams", "members", "--team", absent, "--data", data];
    let absent = installation.run(&absent).await?;
    absent.refused(&["--team", "there is no team"]);

    let unknown = [
        "teams", "plan", "--team", team, "--plan", "gold", "--data", data,
    ];
    installation.run(&unknown).await?.refused(&[
        "--plan",
        "gold",
        "enterprise, free, pro, starter, team",
    ]);
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_owner_joins_by_what_the_command_line_prints() -> Result<()> {
    const ANN: &str = "ann@example.com";
    const PASSWORD: &str = "correct horse battery";
    let (mut installation, _) = Installation::with_key()?;
    installation.set("WAYBILL__MAIL__TRANSPORT", "off");
    let up = installation.up().await?;
    let data = installation.data();
    let data = data.to_str().context("a path")?;
    let made = installation
        .run(&["keys", "create-team", "--name", "Ours", "--data", data])
        .await?
        .succeeded();
    let team = made.stdout.trim();
    let invite = |role| {
        [
            "teams", "invite", "--team", team, "--email", ANN, "--role", role, "--data", data,
        ]
    };
    let wrong = installation.run(&invite("king")).await?;
    wrong.refused(&["--role", "owner", "king"]);

    let replaced = installation.run(&invite("viewer")).await?.succeeded();
    let replaced = token(&replaced.stdout, "_inv_").context("an invitation")?;
    let invited = installation.run(&invite("owner")).await?.succeeded().stdout;
    let confirmation = token(&invited, "_confirm_").context("a confirmation")?;
    let invitation = token(&invited, "_inv_").context("an invitation")?;

    let http = Http::new(&up.url, None);
    let account = json!({ "token": confirmation, "password": PASSWORD });
    let account = http.post("/v1/auth/confirm", &account).await?;
    assert_eq!(account.status, StatusCode::CREATED, "{}", account.text());
    let access = account.json()["accessToken"]
        .as_str()
        .context("an access token")?
        .to_owned();
    let ann = http.with_key(&access);
    let late = json!({ "token": replaced });
    let late = ann.post("/v1/invitations/accept", &late).await?;
    assert_eq!(late.status, StatusCode::NOT_FOUND, "it was replaced");
    let joined = json!({ "token": invitation });
    let joined = ann.post("/v1/invitations/accept", &joined).await?;
    assert_eq!(joined.status, StatusCode::OK, "{}", joined.text());

    let members = ["teams", "members", "--team", team, "--data", data];
    let members = installation.run(&members).await?.succeeded().stdout;
    assert!(
        members.contains("owner") && members.contains(ANN),
        "{members}"
    );
    // Whoever has an account is only invited, and a member is not asked to make one.
    let again = installation
        .run(&invite("member"))
        .await?
        .succeeded()
        .stdout;
    assert!(token(&again, "_inv_").is_some() && token(&again, "_confirm_").is_none());
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_goes_out_by_mail_and_its_reader_signs_up_where_nobody_else_may() -> Result<()>
{
    const BEN: &str = "ben@example.com";
    let mut post = SmtpServer::start(|_| "250 taken").await?;
    let (mut installation, _) = Installation::with_key()?;
    for (name, value) in [
        ("WAYBILL__MAIL__TRANSPORT", "smtp"),
        ("WAYBILL__MAIL__HOST", "127.0.0.1"),
        ("WAYBILL__MAIL__PORT", &post.port.to_string()),
        ("WAYBILL__MAIL__TLS", "none"),
        ("WAYBILL__MAIL__FROM", "Waybill <waybill@example.com>"),
        ("WAYBILL__AUTH__SIGNUP", "invited"),
    ] {
        installation.set(name, value);
    }
    let up = installation.up().await?;
    let http = Http::new(&up.url, None);
    let sign_up = async |email: &str| {
        let answer = http
            .post("/v1/auth/signup", &json!({ "email": email }))
            .await?;
        anyhow::ensure!(answer.status == StatusCode::ACCEPTED, answer.text());
        Ok(())
    };
    sign_up("stranger@example.com").await?;
    let invite = ["teams", "invite", "--email", BEN, "--role", "admin"];
    let told = installation.run(&invite).await?.succeeded().stdout;
    assert!(told.contains("went to ben@example.com"), "{told}");
    assert!(
        token(&told, "_inv_").is_none(),
        "only the mail has it: {told}"
    );
    let mail = post.next().await?;
    assert!(
        mail.commands.contains(&format!("RCPT TO:<{BEN}>")),
        "{mail:?}"
    );
    let invitation = token(&mail.unfolded(), "_inv_").context("an invitation")?;

    sign_up(BEN).await?;
    let mail = post.next().await?;
    // Not the stranger's, although they asked first.
    assert!(
        mail.commands.contains(&format!("RCPT TO:<{BEN}>")),
        "{mail:?}"
    );
    let confirmation = token(&mail.unfolded(), "_confirm_").context("a confirmation")?;
    let account = json!({ "token": confirmation, "password": "correct horse battery" });
    let account = http.post("/v1/auth/confirm", &account).await?;
    assert_eq!(
        account.status,
        StatusCode::CREATED,
        "{}: {mail:?}",
        account.text()
    );
    let access = account.json()["accessToken"].clone();
    let ben = http.with_key(access.as_str().context("an access token")?);
    let joined = json!({ "token": invitation });
    let joined = ben.post("/v1/invitations/accept", &joined).await?;
    assert_eq!(joined.status, StatusCode::OK, "{}", joined.text());

    // A mail server that does not take the letter: the command fails, and says what to do.
    let refusing = SmtpServer::start(|_| "550 no such user").await?;
    installation.set("WAYBILL__MAIL__PORT", &refusing.port.to_string());
    let eve = [
        "teams",
        "invite",
        "--email",
        "eve@example.com",
        "--role",
        "viewer",
    ];
    let failed = installation.run(&eve).await?;
    failed.refused(&[
        "the letter to eve@example.com was not sent",
        "550",
        "invite once more",
    ]);
    up.interrupt().await?.succeeded();
    Ok(())
}

/// The first word that is such a token.
fn token(text: &str, kind: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    words.find(|word| word.contains(kind)).map(str::to_owned)
}
