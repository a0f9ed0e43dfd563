//! Text that wants to be more than text: line breaks, terminal escapes, markup, writing direction, length.

use anyhow::{Context, Result};
use serde_json::Value;
use waybill_domain::event::{ControlEvent, TeamRenamed};

use super::entries;
use super::export::read;
use crate::owner::now;
use crate::world::{World, operator};

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_stays_inert_and_exports_stay_well_formed() -> Result<()> {
    let world = World::start().await?;
    let names = [
        "two\r\nlines\n\nid: 9\nevent: fake\ndata: {}\n\n".to_owned(),
        "\u{1b}[2J\u{1b}]0;owned\u{7}".to_owned(),
        "<script>alert(1)</script>".to_owned(),
        "gpj.\u{202e}exe\u{2066}\u{2028}".to_owned(),
        "=HYPERLINK(\"http://x\",\"y\")".to_owned(),
        format!("\u{fffd}{}", "a".repeat(100_000)),
    ];
    let mut events = world.http.events("/v1/activity/stream", None).await?;
    for name in &names {
        // No face lets such a name in; the log holds whatever a version let in.
        let renamed = ControlEvent::TeamRenamed(TeamRenamed {
            team: world.team.clone(),
            name: name.clone(),
            at: now(),
        });
        world.writer().note(&renamed, &operator()).await?;
        let event = events.next().await?.context("an event")?;
        assert_eq!(event.name, "team.renamed");
        assert_eq!(event.data["type"], "team.renamed");
        assert_eq!(event.data["target"]["name"], name.as_str());
    }
    let listed = entries(&world.http, "type=team.renamed").await?;
    let shown = |entry: &Value| entry["target"]["name"].as_str().map(str::to_owned);
    let shown: Vec<_> = listed.iter().filter_map(shown).collect();
    assert_eq!(shown, names, "exactly what was stored");
    let page = world.http.get("/v1/activity").await?;
    let kind = page.header("content-type").context("a type")?;
    assert!(kind.starts_with("application/json"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(!page.text().contains(['\u{1b}', '\n', '\r']));

    let table = world
        .http
        .get("/v1/activity/export?format=csv&type=team.renamed")
        .await?;
    assert_eq!(table.header("x-content-type-options"), Some("nosniff"));
    let lines = read(&table.text())?;
    assert_eq!(lines.len(), names.len() + 1);
    for cell in lines.iter().flatten() {
        let wild = |c: char| {
            c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!cell.contains(wild), "{cell:?}");
        assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell:?}");
    }
    world.stop().await
}
