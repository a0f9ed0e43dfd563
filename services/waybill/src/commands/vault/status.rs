//! `waybill vault status`: which KEKs there are, where, and how many keys each has wrapped.

use std::collections::BTreeSet;
use std::io::Write;

use waybill_domain::time::Timestamp;
use waybill_log::jetstream::JetStreamLog;
use waybill_vault::{KekId, census};

use super::in_force::introduced;
use crate::config::Config;
use crate::rings;

/// A line a KEK, the newest first: `<id>  <in force|older|...>  <rings>  <keys>`.
pub(super) async fn show(
    out: &mut impl Write,
    config: &Config,
    log: &JetStreamLog,
) -> anyhow::Result<()> {
    let seal = rings::seal(&config.data)?.map(|ring| ring.current().keks());
    let open = rings::open(&config.data)?.map(|ring| ring.current().keks());
    let introduced = introduced(log).await?;
    let first = seal.as_ref().and_then(|keks| keks.first().copied());
    let now = introduced.map(|now| now.kek).or(first);
    let census = census(log).await?;
    for kek in all(seal.as_deref(), open.as_deref(), now, &census.by_kek) {
        let standing = match introduced {
            Some(introduced) if introduced.kek == kek => {
                format!("in force since {}", shown(introduced.at))
            }
            _ if now == Some(kek) => "in force, never rotated".to_owned(),
            _ => "not in force".to_owned(),
        };
        let of = |ring: &Option<Vec<KekId>>, name: &str| match ring {
            None => format!("no {name} ring here"),
            Some(keks) if keks.contains(&kek) => format!("in the {name} ring"),
            Some(_) => format!("NOT in the {name} ring"),
        };
        writeln!(
            out,
            "{kek}  {standing}  {}, {}  {} keys",
            of(&seal, "seal"),
            of(&open, "open"),
            census.under(kek)
        )?;
    }
    if census.malformed > 0 {
        writeln!(out, "{} stored keys are malformed", census.malformed)?;
    }
    if seal.is_none() && open.is_none() {
        writeln!(
            out,
            "there are no rings here; `waybill vault init` makes them"
        )?;
    }
    Ok(())
}

/// Those of the rings in their order, then what only the log or the stored keys know of.
fn all(
    seal: Option<&[KekId]>,
    open: Option<&[KekId]>,
    now: Option<KekId>,
    stored: &std::collections::BTreeMap<KekId, u64>,
) -> Vec<KekId> {
    let mut seen = BTreeSet::new();
    let rings = open.into_iter().chain(seal).flatten().copied();
    rings
        .chain(now)
        .chain(stored.keys().copied())
        .filter(|kek| seen.insert(*kek))
        .collect()
}

fn shown(at: Timestamp) -> String {
    at.to_rfc3339()
}
