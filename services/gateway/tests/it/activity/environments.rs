//! What is tried in the test environment is not seen in the live one, and the other way round.

use anyhow::{Context, Result};
use serde_json::Value;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::Environment;
use waybill_testkit::http::Http;

use super::{entries, key, kinds};
use crate::world::{World, a_task};

async fn tasks(http: &Http) -> Result<Vec<String>> {
    let list = http.get("/v1/tasks?limit=100").await?;
    anyhow::ensure!(list.status == 200, "{}", list.text());
    let list = list.json();
    let tasks = list["tasks"].as_array().context("a list")?;
    let mut ids: Vec<String> = tasks
        .iter()
        .map(|task| task["id"].as_str().unwrap_or_default().to_owned())
        .collect();
    ids.sort();
    Ok(ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_sees_its_own_tasks_and_what_concerns_its_keys() -> Result<()> {
    let world = World::start().await?;
    let (_, live) = key(&world, "live", Scope::ALL, Environment::Live).await?;
    let (test_id, test) = key(&world, "test", Scope::ALL, Environment::Test).await?;
    let (mut of_live, mut of_test) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        of_live.push(live.create(&a_task()).await?);
        of_test.push(test.create(&a_task()).await?);
    }
    of_live.sort();
    of_test.sort();
    assert_eq!(tasks(&live).await?, of_live);
    assert_eq!(tasks(&test).await?, of_test);
    for (http, foreign) in [(&live, &of_test), (&test, &of_live)] {
        for task in foreign {
            let answer = http.get(&format!("/v1/tasks/{task}")).await?;
            assert!([403, 404].contains(&answer.status.as_u16()), "{task}");
            let about = entries(http, &format!("taskId={task}")).await?;
            assert_eq!(about, Vec::<Value>::new());
        }
    }
    let in_test = entries(&test, "limit=100").await?;
    let of_control: Vec<_> = in_test
        .iter()
        .filter(|entry| entry["stream"] == "control")
        .cloned()
        .collect();
    assert_eq!(kinds(&of_control), ["key.created"]);
    assert_eq!(of_control[0]["keyId"], test_id.as_str());
    assert_eq!(in_test.len(), 4);
    assert!(in_test.iter().all(|entry| entry["environment"] == "test"));
    let in_live = entries(&live, "limit=100&stream=control").await?;
    assert!(
        in_live
            .iter()
            .any(|entry| entry["keyId"] == test_id.as_str())
    );
    world.stop().await
}
