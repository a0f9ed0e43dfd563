//! `waybill replay --at`: who could do what in a team at a time, rebuilt from the log by the same fold that gateways decide with.
//!
//! It reads and prints, and writes nothing. MACs of secrets are not shown.

use std::io::Write;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use waybill_domain::access::Aggregate;
use waybill_domain::access::team::{App, Invitation, Key, Member, Team, Token};
use waybill_domain::event::Boundary;
use waybill_domain::id::{InvitationId, TeamId, UserId};
use waybill_domain::time::Timestamp;
use waybill_log::{Closes, Log, MAX_BATCH, Stream, StreamSeq, control_event};

/// How far to read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// What was stored at that time or before.
    Time(Timestamp),
    /// Up to that sequence of CONTROL.
    Seq(StreamSeq),
}

impl Until {
    /// A time (ISO 8601) or a sequence.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let time = Timestamp::parse_iso8601(text).map(Self::Time);
        let seq = text.parse().ok().map(|seq| Self::Seq(StreamSeq(seq)));
        time.or(seq).with_context(|| {
            format!(
                "--at must be a time such as 2026-11-21T07:00:00Z or a sequence of CONTROL, not {text:?}"
            )
        })
    }
}

/// A team as of a position.
struct Past {
    team: Team,
    seq: StreamSeq,
    time: Timestamp,
}

/// Prints the team's state as JSON, or its digest: the same on every machine that reads the same log.
pub(crate) async fn show(
    out: &mut impl Write,
    log: &dyn Log,
    id: &TeamId,
    until: Until,
    digest: bool,
) -> anyhow::Result<()> {
    let past = read(log, id, until).await?;
    if past.team.info.is_none() {
        bail!("{id} was not there yet");
    }
    let state = state(&past);
    if digest {
        // Maps of JSON values are ordered by their names, and lists here by id.
        let digest = Sha256::digest(serde_json::to_vec(&state)?);
        writeln!(out, "{} {}", past.seq, hex::encode(digest))?;
    } else {
        serde_json::to_writer_pretty(&mut *out, &state).map_err(std::io::Error::from)?;
        writeln!(out)?;
    }
    Ok(())
}

async fn read(log: &dyn Log, id: &TeamId, until: Until) -> anyhow::Result<Past> {
    let filter = [Boundary::Team(id.clone()).filter()];
    let to = match until {
        Until::Seq(seq) => seq,
        Until::Time(_) => log.bounds(Stream::Control).await?.last,
    };
    let mut past = Past {
        team: Team::default(),
        seq: StreamSeq(0),
        time: match until {
            Until::Time(time) => time,
            Until::Seq(_) => Timestamp(0),
        },
    };
    let mut from = StreamSeq(1);
    loop {
        let page = log
            .range(Stream::Control, &filter, from, to, MAX_BATCH)
            .await?;
        for record in &page {
            match until {
                Until::Time(time) if record.time > time => return Ok(past),
                Until::Time(_) => {}
                Until::Seq(_) => past.time = record.time,
            }
            match control_event(record) {
                Ok(event) => past.team.evolve(&event),
                // The event may have taken rights away, so an answer without it would be wrong.
                Err(why) if Closes::of(record, &why).is_some() => {
                    return Err(why).with_context(|| format!("event {} of CONTROL", record.seq));
                }
                Err(_) => {}
            }
            past.seq = record.seq;
            from = record.seq.next();
        }
        if page.len() < MAX_BATCH {
            return Ok(past);
        }
    }
}

fn state(past: &Past) -> Value {
    let Past { team, seq, time } = past;
    let info = team.info.as_ref();
    json!({
        "asOf": { "time": time.to_rfc3339(), "seq": seq },
        "team": info.map(|info| info.id.to_string()),
        "name": info.map(|info| &info.name),
        "plan": info.map(|info| &info.plan),
        "leakedKeys": info.map(|info| info.leaked_keys.as_str()),
        "sealedHeaders": info.map(|info| &info.vault.sealed_headers),
        "requireAllowedHosts": info.map(|info| info.vault.require_allowed_hosts),
        "viewersSeePayloads": info.map(|info| info.viewers_see_payloads),
        "createdAt": info.map(|info| info.created_at.to_rfc3339()),
        "deletedAt": info.and_then(|info| info.deleted).map(Timestamp::to_rfc3339),
        "members": team.members.iter().map(member).collect::<Vec<_>>(),
        "invitations": team.invitations.iter().map(|open| invitation(open, *time)).collect::<Vec<_>>(),
        "keys": team.keys.values().map(|key| self::key(key, *time)).collect::<Vec<_>>(),
        "applications": team.apps.values().map(|app| application(app)).collect::<Vec<_>>(),
        "tokens": team.tokens.values().map(|token| self::token(token)).collect::<Vec<_>>(),
    })
}

fn member((user, member): (&UserId, &Member)) -> Value {
    json!({
        "user": user.to_string(),
        "role": member.role,
        "since": member.since.to_rfc3339(),
    })
}

fn invitation((id, open): (&InvitationId, &Invitation), now: Timestamp) -> Value {
    json!({
        "id": id.to_string(),
        "email": open.email,
        "role": open.role,
        "sentAt": open.sent_at.to_rfc3339(),
        "expiresAt": open.expires_at.to_rfc3339(),
        "isExpired": open.expires_at <= now,
    })
}

fn key(key: &Key, now: Timestamp) -> Value {
    let created = &key.created;
    json!({
        "id": created.key.to_string(),
        "name": created.name,
        "prefix": created.prefix,
        "last4": created.last4,
        "environment": key.environment(),
        "scopes": created.scopes,
        "status": key.status(now).as_str(),
        "createdAt": created.at.to_rfc3339(),
        "createdBy": created.created_by,
        "acceptedUntil": key.accepted_until().map(Timestamp::to_rfc3339),
        "revokedAt": key.revoked.map(|(at, _)| at.to_rfc3339()),
        "allowedSources": created.sources,
        "queues": created.queues,
        "rotatedFrom": created.rotated_from.as_ref().map(ToString::to_string),
    })
}

fn application(app: &App) -> Value {
    json!({
        "id": app.created.app.to_string(),
        "name": app.name,
        "redirectUris": app.redirect_uris,
        "scopes": app.scopes.iter().map(waybill_domain::access::scope::Scope::as_str).collect::<Vec<_>>(),
        "isConfidential": app.is_confidential(),
        "removedAt": app.removed.map(Timestamp::to_rfc3339),
    })
}

fn token(token: &Token) -> Value {
    json!({
        "id": token.id.to_string(),
        "name": token.name,
        "environment": token.environment,
        "version": token.version,
        "allowedHosts": token.allowed_hosts,
        "createdAt": token.created_at.to_rfc3339(),
        "createdBy": token.created_by,
        "rotatedAt": token.rotated_at.map(Timestamp::to_rfc3339),
        "expiresAt": token.expires_at.map(Timestamp::to_rfc3339),
        "revokedAt": token.revoked.map(|(at, _)| at.to_rfc3339()),
        "shreddedAt": token.shredded.map(Timestamp::to_rfc3339),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_or_a_sequence_will_do() {
        assert!(matches!(Until::parse("17"), Ok(Until::Seq(StreamSeq(17)))));
        let time = Until::parse("2026-11-21T07:00:00Z");
        assert!(matches!(time, Ok(Until::Time(_))));
        assert!(Until::parse("yesterday").is_err());
    }
}
