//! Commands of a team whose history holds records that a stranger had the server store there.

use std::sync::Arc;

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use waybill_commands::{Author, ControlWriter, Pepper};
use waybill_domain::access::scope::Scope;
use waybill_domain::actor::Actor;
use waybill_domain::event::{Boundary, ControlEvent, TeamDeleted};
use waybill_domain::time::Timestamp;
use waybill_domain::trust::{Signer, Speaker};
use waybill_log::jetstream::SignaturesConfig;
use waybill_log::subject::ControlSubject;
use waybill_log::{Log, NatsConfig, Stream, StreamSeq};
use waybill_testkit::NatsServer;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_stores_in_a_team_changes_nothing_and_stops_nobody() -> Result<()> {
    let nats = NatsServer::start().await?;
    let config = NatsConfig {
        signatures: SignaturesConfig {
            required_from: Some(1),
            signer: Some(Signer::new(Speaker::Control, &[1; 32])?),
            ..SignaturesConfig::default()
        },
        ..NatsConfig::at(nats.url())
    };
    let log = waybill_log::connect(&config).await?;
    let pepper = Arc::new(Pepper::new(1, vec![5; 32])?);
    let control = ControlWriter::new(Arc::new(log.clone()), pepper);
    let by = Author::from(Actor::System("test".into()));
    let team = control.create_team("ours", "pro", &by).await?;
    let key = control
        .create_key(&team, "first", &[Scope::TasksRead], &by)
        .await?;

    let deleted = ControlEvent::TeamDeleted(TeamDeleted {
        team: team.clone(),
        at: Timestamp(1),
    });
    let mut named = HeaderMap::new();
    named.insert("Wb-Event", deleted.name());
    named.insert("Wb-Actor", "operator:cli");
    let mut newer = HeaderMap::new();
    newer.insert("Wb-Event", "team.closed.v9");
    let subject = ControlSubject::of_team(&team, "team", team.as_str())?.to_string();
    let of_key = ControlSubject::of_team(&team, "key", key.created.key.as_str())?.to_string();
    let client = log.client();
    for (subject, headers) in [
        (&subject, named),
        (&subject, HeaderMap::new()),
        (&subject, newer.clone()),
        (&of_key, newer),
    ] {
        let payload = deleted.encode().into();
        client
            .request_with_headers(subject.clone(), headers, payload)
            .await?;
    }
    let filter = [Boundary::Team(team.clone()).filter()];
    let stored = log
        .range(
            Stream::Control,
            &filter,
            StreamSeq(1),
            StreamSeq(u64::MAX),
            100,
        )
        .await?;
    let void = stored.iter().filter(|record| record.void().is_some());
    assert_eq!(void.count(), 4, "all of them are there");

    let second = control
        .create_key(&team, "second", &[Scope::TasksRead], &by)
        .await?;
    let after = control.team(&team).await?;
    assert_eq!(after.keys.len(), 2);
    let last = stored.last().context("records")?;
    assert!(second.seq > last.seq, "their positions count");
    control.revoke_key(&team, &key.created.key, &by).await?;
    assert_eq!(control.find_key(&key.created.key).await?, team);
    Ok(())
}
