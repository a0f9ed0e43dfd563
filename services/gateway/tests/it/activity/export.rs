//! The table for spreadsheets.

use anyhow::{Context, Result};
use waybill_domain::access::scope::Scope;
use waybill_domain::id::Environment;

use super::{entries, key};
use crate::world::{World, a_task};

/// Reads RFC 4180, and nothing but that.
pub(super) fn read(text: &str) -> Result<Vec<Vec<String>>> {
    let (mut lines, mut line, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match (quoted, c) {
            (true, '"') if chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            (true, '"') => quoted = false,
            (true, c) => cell.push(c),
            (false, '"') if cell.is_empty() => quoted = true,
            (false, ',') => line.push(std::mem::take(&mut cell)),
            (false, '\r') => {
                anyhow::ensure!(chars.next() == Some('\n'), "a return without a line feed");
                line.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut line));
            }
            (false, c) => {
                anyhow::ensure!(!matches!(c, '"' | '\n'), "{c:?} in a bare cell");
                cell.push(c);
            }
        }
    }
    anyhow::ensure!(line.is_empty() && cell.is_empty() && !quoted, "cut off");
    Ok(lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_holds_every_entry_of_the_list() -> Result<()> {
    let world = World::start().await?;
    for _ in 0..105 {
        world.http.create(&a_task()).await?;
    }
    key(&world, "=2+5,\"x\"", &[Scope::TasksRead], Environment::Live).await?;
    let answer = world.http.get("/v1/activity/export?format=csv").await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let kind = answer.header("content-type").context("a type")?;
    assert!(kind.starts_with("text/csv"), "{kind}");
    let table = read(&answer.text())?;
    let (header, lines) = table.split_first().context("a header")?;
    assert!(lines.iter().all(|line| line.len() == header.len()));
    assert_eq!(lines.len(), 105 + 3);
    let column = |name: &str| header.iter().position(|n| n == name).context("a column");
    let (name, seq) = (column("targetName")?, column("seq")?);
    assert_eq!(lines[0][name], "'=2+5,\"x\"", "no formula");
    let listed = entries(&world.http, "limit=100").await?;
    for (line, entry) in lines.iter().zip(listed.iter().rev()) {
        assert_eq!(line[seq], entry["seq"].to_string());
        assert_eq!(line[0], entry["at"].as_str().unwrap_or_default());
    }
    let keys = world
        .http
        .get("/v1/activity/export?format=csv&type=key.")
        .await?;
    assert_eq!(read(&keys.text())?.len(), 3);
    let filtered = world
        .http
        .get("/v1/activity/export?format=jsonl&type=key.")
        .await?;
    assert_eq!(
        filtered.header("content-type"),
        Some("application/x-ndjson")
    );
    let lines: Vec<serde_json::Value> = filtered
        .text()
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let mut listed = entries(&world.http, "type=key.").await?;
    listed.sort_by_key(|entry| std::cmp::Reverse(entry["seq"].as_u64()));
    assert_eq!(
        lines, listed,
        "the entries of the list, without header and checkpoint"
    );
    for query in [
        "format=xml",
        "format=csv&type=a&type=b",
        "format=csv&limit=3",
    ] {
        let path = format!("/v1/activity/export?{query}");
        let refused = world.http.get(&path).await?;
        assert_eq!(refused.status, 400, "{query}");
    }
    world.stop().await
}
