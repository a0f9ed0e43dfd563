//! `waybill schemas`: what is generated is in the tree, and what was once stored can still be read.

use std::fs;
use std::path::Path;

use anyhow::Result;
use tokio::process::Command;

use crate::installation::Installation;
use crate::process::Process;

fn in_the_tree(folder: &str) -> String {
    format!("{}/../../{folder}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schemas_in_the_tree_are_those_of_the_code() -> Result<()> {
    let mut installation = Installation::new()?;
    let (schemas, docs) = (in_the_tree("schemas"), in_the_tree("docs"));
    let check = ["schemas", "--check", "--dir", &schemas, "--docs", &docs];
    installation.run(&check).await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_can_no_longer_be_read_is_noticed() -> Result<()> {
    let mut installation = Installation::new()?;
    let mut copy = Command::new("cp");
    copy.args(["-r", &in_the_tree("schemas"), &in_the_tree("docs"), "."])
        .current_dir(installation.path());
    Process::spawn(copy)?.ended().await?.succeeded();
    let folder = installation.path().join("schemas");
    let check = ["schemas", "--check"];
    installation.run(&check).await?.succeeded();

    // What was written then means something else now, or nothing at all, or is missing; and a schema is not the code's.
    let expired = folder.join("golden/task.expired.v1.json");
    let other = fs::read_to_string(&expired)?.replacen("\"attempt\": 2", "\"attempt\": 3", 1);
    fs::write(&expired, other)?;
    fs::write(folder.join("golden/task.dead.v1.msgpack"), "no event")?;
    fs::remove_file(folder.join("golden/key.revoked.v1.msgpack"))?;
    append(&folder.join("events/task.created.v1.json"), " ")?;
    fs::write(folder.join("events/task.imagined.v1.json"), "{}")?;
    append(&installation.path().join("docs/configuration.md"), " ")?;
    installation.run(&check).await?.refused(&[
        "golden/task.expired.v1.msgpack (means something else now)",
        "golden/task.dead.v1.msgpack (",
        "golden/key.revoked.v1.msgpack (missing)",
        "events/task.created.v1.json",
        "events/task.imagined.v1.json (of no event)",
        "docs/configuration.md",
    ]);

    // Writing them anew mends what is generated, and touches nothing that was once stored.
    installation.run(&["schemas"]).await?.succeeded();
    assert_eq!(
        fs::read(folder.join("golden/task.dead.v1.msgpack"))?,
        b"no event"
    );
    Ok(())
}

fn append(file: &Path, text: &str) -> Result<()> {
    let content = fs::read_to_string(file)?;
    Ok(fs::write(file, content + text)?)
}
