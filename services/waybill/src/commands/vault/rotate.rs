//! `waybill vault rotate`: a new KEK for everything, while the system runs.
//!
//! After an interruption it goes on when it is called again: a KEK that is in a ring but not in force is put in force instead of another being
//! made, and keys that were not wrapped anew yet are.

use std::io::Write;

use anyhow::{bail, ensure};
use waybill_log::jetstream::JetStreamLog;
use waybill_vault::{KekId, KekSecret, Rewrapped, Rotation, rewrap_all};

use super::in_force::{Introduced, introduce, introduced};
use crate::rings::{Held, variables};
use crate::running_server::{eprint_line, settled};

/// Keys between two lines about progress.
const PROGRESS: u64 = 10_000;

pub(super) async fn rotate(
    out: &mut impl Write,
    log: &JetStreamLog,
    mut held: Held,
    prepare: bool,
) -> anyhow::Result<()> {
    let mut now = in_force(log, &held).await?;
    let waiting = waiting(&held, now.kek)?;
    if waiting.is_none() && !prepare {
        let done = rewrap(log, &held, now.kek).await?;
        if done.rewrapped + done.finished > 0 {
            eprint_line("an earlier rotation was not complete; run this again for a new KEK");
            return report(out, now.kek, &done);
        }
    }
    let kek = match waiting {
        Some(kek) => {
            mend(&mut held)?;
            kek
        }
        None if held.are_files() => add(&mut held)?,
        None if prepare => return print_next(out, &held),
        None => bail!(
            "the rings of the vault are in variables: `waybill vault rotate --prepare` prints them with a new KEK. Set them for workers, then for gateways, and run this again"
        ),
    };
    if prepare {
        writeln!(out, "{kek}")?;
        eprint_line(
            "it is in both rings and not in force: bring them to workers, then to gateways, and run `waybill vault rotate`",
        );
        return Ok(());
    }
    held.read_by_all().await?;
    let seq = introduce(log, kek, Some(now)).await?;
    now = Introduced { kek, seq, ..now };
    settled(log, now.seq).await?;
    let done = rewrap(log, &held, kek).await?;
    report(out, kek, &done)
}

/// The KEK in force. If the log names none, the first of the ring is put in force there: another one that is put before it must not be by that alone.
async fn in_force(log: &JetStreamLog, held: &Held) -> anyhow::Result<Introduced> {
    if let Some(now) = introduced(log).await? {
        return Ok(now);
    }
    let first = held.seal.keks()[0];
    let seq = introduce(log, first, None).await?;
    settled(log, seq).await?;
    match introduced(log).await? {
        Some(now) => Ok(now),
        None => bail!("the log does not say what it was just told"),
    }
}

/// The KEK that stands in a ring before the one in force, and so waits to be put in force.
fn waiting(held: &Held, now: KekId) -> anyhow::Result<Option<KekId>> {
    // The open ring is written first, so it has the newest KEK.
    let keks = held.open.keks();
    ensure!(
        keks.contains(&now) && held.seal.keks().contains(&now),
        "the KEK in force, {now}, is not in both rings that are here: are they those of this deployment?"
    );
    Ok(keks.first().copied().filter(|first| *first != now))
}

/// Brings the seal ring up to the open one, if a rotation was killed between the two.
fn mend(held: &mut Held) -> anyhow::Result<()> {
    if held.seal.keks().first() == held.open.keks().first() {
        return Ok(());
    }
    ensure!(
        held.are_files(),
        "the first KEKs of the two rings differ; set both as they were printed together"
    );
    let open = (*held.open).clone();
    held.grow(held.seal.with_keks_of(&open), open)
}

fn add(held: &mut Held) -> anyhow::Result<KekId> {
    let kek = KekSecret::generate()?;
    let id = kek.id();
    let open = held.open.with_kek(kek)?;
    held.grow(held.seal.with_keks_of(&open), open)?;
    Ok(id)
}

fn print_next(out: &mut impl Write, held: &Held) -> anyhow::Result<()> {
    let open = held.open.with_kek(KekSecret::generate()?)?;
    let seal = held.seal.with_keks_of(&open);
    write!(out, "{}", *variables(&seal, &open))?;
    eprint_line("set these for workers, then for gateways, and run `waybill vault rotate`");
    Ok(())
}

async fn rewrap(log: &JetStreamLog, held: &Held, to: KekId) -> anyhow::Result<Rewrapped> {
    let rotation = Rotation {
        keys: log,
        unwrapper: &*held.open,
        wrapper: &*held.seal,
        to,
        task_ttl: None,
    };
    let mut told = 0;
    let mut progress = |done: &Rewrapped| {
        if done.rewrapped >= told + PROGRESS {
            told = done.rewrapped;
            eprint_line(&format!("{told} keys are wrapped anew"));
        }
    };
    Ok(rewrap_all(&rotation, &mut progress).await?)
}

fn report(out: &mut impl Write, kek: KekId, done: &Rewrapped) -> anyhow::Result<()> {
    writeln!(
        out,
        "{kek} is in force: {} keys wrapped anew, {} in all",
        done.rewrapped, done.already
    )?;
    for refused in &done.refusals {
        eprint_line(&format!("left as it is: {}: {}", refused.name, refused.why));
    }
    ensure!(
        done.refused == 0,
        "{} keys cannot be opened with the rings that are here, and stay as they are",
        done.refused
    );
    Ok(())
}
