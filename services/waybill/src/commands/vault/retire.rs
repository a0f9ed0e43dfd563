//! `waybill vault retire`: forgets a KEK that nothing needs any more. Copies of keys that it wrapped, such as in backups, then open nothing.

use std::io::Write;
use std::time::Duration;

use anyhow::{bail, ensure};
use waybill_log::jetstream::JetStreamLog;
use waybill_vault::{KekId, census};
use waybill_worker::{Clock, SystemClock};

use super::in_force::{introduced, was_introduced};
use crate::rings::{Held, variables};
use crate::running_server::eprint_line;

/// Everything that a gateway began to seal before it knew of the successor is stored within this time.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// What decides whether a KEK may go.
struct Standing {
    in_force: KekId,
    /// How long it is in force; `None`: since the beginning.
    for_now: Option<Duration>,
    /// Whether the one to retire ever was in force.
    ever: bool,
    /// How many stored keys it has wrapped.
    needed: u64,
}

impl Standing {
    fn check(&self, kek: KekId) -> anyhow::Result<()> {
        let Self {
            in_force, needed, ..
        } = self;
        ensure!(
            kek != *in_force,
            "{kek} is in force; `waybill vault rotate` makes its successor"
        );
        let left = self
            .for_now
            .filter(|_| self.ever)
            .and_then(|age| SETTLED_AFTER.checked_sub(age))
            .filter(|left| !left.is_zero());
        if let Some(left) = left {
            bail!(
                "{in_force} is in force for less than a minute, and something may still be sealed to {kek}; try again in {} s",
                left.as_secs() + 1
            );
        }
        ensure!(
            *needed == 0,
            "{needed} keys need {kek}; `waybill vault rotate` wraps them anew"
        );
        Ok(())
    }
}

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
    let now = introduced(log).await?;
    let standing = Standing {
        in_force: now.map_or(held.seal.keks()[0], |now| now.kek),
        for_now: now.map(|now| SystemClock.now().since(now.at)),
        ever: was_introduced(log, kek).await?,
        needed: census(log).await?.under(kek),
    };
    standing.check(kek)?;
    // A killed command may have retired it in one ring only; this retires it in the other.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kek(byte: u8) -> KekId {
        KekId::from_bytes([byte; 8])
    }

    #[test]
    fn a_kek_goes_when_nothing_can_need_it_any_more() {
        let fine = || Standing {
            in_force: kek(2),
            for_now: Some(Duration::from_secs(60)),
            ever: true,
            needed: 0,
        };
        let young = Some(Duration::from_millis(59_001));
        let says = |standing: Standing, text: &str| {
            let refused = standing.check(kek(1)).expect_err("refused").to_string();
            assert!(refused.contains(text), "{refused}");
        };
        fine().check(kek(1)).expect("nothing speaks against it");
        says(
            Standing {
                in_force: kek(1),
                ..fine()
            },
            "is in force",
        );
        says(
            Standing {
                needed: 3,
                ..fine()
            },
            "3 keys need",
        );
        says(
            Standing {
                for_now: young,
                ..fine()
            },
            "try again in 1 s",
        );
        let never = Standing {
            for_now: young,
            ever: false,
            ..fine()
        };
        never.check(kek(1)).expect("nothing was ever sealed to it");
    }
}
