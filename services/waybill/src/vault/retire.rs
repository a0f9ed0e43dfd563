//! `waybill vault retire`: forgets a KEK that nothing needs any more. Whatever copies of keys it wrapped lie in backups opens nothing then.

use std::io::Write;
use std::time::Duration;

use anyhow::{bail, ensure};
use waybill_log::jetstream::JetStreamLog;
use waybill_vault::{KekId, census};
use waybill_worker::{Clock, SystemClock};

use super::in_force::introduced;
use super::rings::{Held, variables};
use crate::beside::eprint_line;

/// What a gateway began to seal before it knew of the successor is stored within this.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

pub(super) async fn retire(
    out: &mut impl Write,
    log: &JetStreamLog,
    mut held: Held,
    kek: KekId,
) -> anyhow::Result<()> {
    let (in_seal, in_open) = (
        held.seal.keks().contains(&kek),
        held.open.keks().contains(&kek),
    );
    ensure!(in_seal || in_open, "{kek} is in neither ring");
    let introduced = introduced(log).await?;
    let now = introduced.map_or(held.seal.keks()[0], |now| now.kek);
    ensure!(
        kek != now,
        "{kek} is in force; `waybill vault rotate` makes its successor"
    );
    if let Some(now) = introduced {
        let age = SystemClock.now().since(now.at);
        if let Some(left) = SETTLED_AFTER
            .checked_sub(age)
            .filter(|left| !left.is_zero())
        {
            bail!(
                "{} is in force for less than a minute, and something may still be sealed to {kek}; try again in {} s",
                now.kek,
                left.as_secs() + 1
            );
        }
    }
    let needed = census(log).await?.under(kek);
    ensure!(
        needed == 0,
        "{needed} keys need {kek}; `waybill vault rotate` wraps them anew"
    );
    // One that was retired in one ring, by a command that was killed, is retired in the other.
    let seal = match in_seal {
        true => held.seal.without_kek(kek)?,
        false => (*held.seal).clone(),
    };
    let open = match in_open {
        true => held.open.without_kek(kek)?,
        false => (*held.open).clone(),
    };
    if !held.are_files() {
        write!(out, "{}", *variables(&seal, &open))?;
        eprint_line("nothing needs it: set these for gateways, then for workers");
        return Ok(());
    }
    held.shrink(seal, open)?;
    writeln!(out, "{kek} retired")?;
    eprint_line(
        "destroy every copy of the rings that still has it: then backups of the keys it wrapped open nothing",
    );
    Ok(())
}
