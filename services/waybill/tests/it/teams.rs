//! `waybill teams` beside a running server.

use anyhow::{Context, Result};

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
    assert_eq!(installation.run(&members).await?.succeeded().stdout, "");

    let unknown = [
        "teams", "plan", "--team", team, "--plan", "gold", "--data", data,
    ];
    installation
        .run(&unknown)
        .await?
        .refused(&["--plan", "gold", "enterprise, free, pro"]);
    up.interrupt().await?.succeeded();
    Ok(())
}
