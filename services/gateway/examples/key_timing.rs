//! Whether the time that a refused key takes tells what is wrong with it: `cargo run --release -p waybill-gateway --example key_timing`.
//!
//! The method is dudect's (Reparaz, Balasch, Verbauwhede 2017): calls of two kinds in random order, the slowest ones cropped, Welch's t-test on the rest;
//! |t| under 4.5 means that so many samples show no difference. It runs in the process itself, without the network that an attacker would have to
//! see through, so that besides t the difference in nanoseconds counts: one below the noise of a local connection (microseconds) cannot be used,
//! the less as failures from one source are limited. It is a report and not a test, because a busy machine shows differences that are not there.
//!
//! Only the kinds above the line say something about what the server knows. Whether a key is well formed, anybody can see by himself.

#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use waybill_commands::Pepper;
use waybill_domain::access::key::{ApiKey, ENTROPY_BYTES};
use waybill_domain::access::plan::Catalogue;
use waybill_domain::event::{ControlEvent, KeyCreated, KeyRevoked, RevocationReason, TeamCreated};
use waybill_domain::id::{Environment, TeamId};
use waybill_domain::time::Timestamp;
use waybill_edge::auth::{Directory, Recognition};

/// Calls of each kind.
const SAMPLES: usize = 100_000;
/// Teams beside ours, with a key each: a look-up that finds something should not be told apart by an empty table.
const TEAMS: u8 = 200;
/// The part of the samples that is kept: what the scheduler interrupted is slower than any of ours.
const KEPT: f64 = 0.9;
/// Under this, dudect finds no leak.
const THRESHOLD: f64 = 4.5;
/// What keys are hashed under here.
const PEPPER: [u8; 32] = [7; 32];
/// The first kind that is not well formed.
const WELL_FORMED_ENDS: &str = "wrong checksum";
const NOW: Timestamp = Timestamp(1_000);

fn main() -> anyhow::Result<()> {
    let pepper = Pepper::new(1, PEPPER.to_vec())?;
    let brands = ["wb".to_owned()];
    let stage = Stage::new();
    let kinds = stage.kinds();
    let (base_name, base) = &kinds[0];
    println!("a refused key, {SAMPLES} calls of each kind, compared with: {base_name}\n");
    println!("| what is wrong | mean ns | difference ns | t | |");
    println!("|---|---|---|---|---|");
    for (name, text) in &kinds {
        if *name == WELL_FORMED_ENDS {
            println!("|---|---|---|---|---|");
        }
        let mut times = [Vec::with_capacity(SAMPLES), Vec::with_capacity(SAMPLES)];
        let mut coin = 0x9e37_79b9_7f4a_7c15_u64;
        while times[0].len().min(times[1].len()) < SAMPLES {
            coin ^= coin << 13;
            coin ^= coin >> 7;
            coin ^= coin << 17;
            let which = usize::from(coin & 1 == 1);
            let presented = [base, text][which];
            let start = Instant::now();
            let found = stage
                .directory
                .recognise(black_box(presented), &pepper, &brands, NOW);
            let took = start.elapsed();
            anyhow::ensure!(
                matches!(found, Recognition::Refused | Recognition::Ended(_)),
                "{name} is accepted"
            );
            times[which].push(took);
        }
        let [base, other] = times.map(|times| Sample::of(&times));
        let t = other.welch(&base);
        let verdict = if t.abs() < THRESHOLD {
            "no leak seen"
        } else {
            "differs"
        };
        let difference = other.mean - base.mean;
        println!(
            "| {name} | {:.1} | {difference:+.1} | {t:+.1} | {verdict} |",
            other.mean
        );
    }
    Ok(())
}

/// A directory with keys of many teams.
struct Stage {
    directory: Directory,
    active: ApiKey,
    revoked: ApiKey,
}

impl Stage {
    fn new() -> Self {
        let directory = Directory::new(Arc::clone(Catalogue::builtin()));
        let mut keys = (0..TEAMS).map(|n| add_team(&directory, n));
        let (_, active) = keys.next().expect("there are teams");
        let (team, revoked) = keys.next().expect("there are teams");
        for _ in keys {}
        directory.apply(&ControlEvent::KeyRevoked(KeyRevoked {
            key: revoked.id().clone(),
            team,
            reason: RevocationReason::Requested,
            at: Timestamp(3),
        }));
        Self {
            directory,
            active,
            revoked,
        }
    }

    /// The active key's public part with a secret of its own.
    fn wrong_secret(&self) -> String {
        let text = self.active.reveal();
        with_checksum(&format!("{}{}", &text[..text.len() - 38], "B".repeat(32)))
    }

    /// Refused keys of every kind; the first one is what the others are compared with.
    fn kinds(&self) -> Vec<(&'static str, String)> {
        let text = self.active.reveal();
        let unknown = |brand, seed| new_key(brand, seed).reveal().to_owned();
        vec![
            ("nobody's, well formed", unknown("wb", 250)),
            ("the same again (control)", unknown("wb", 250)),
            ("another one of nobody's", unknown("wb", 251)),
            ("somebody's id, wrong secret", self.wrong_secret()),
            ("revoked", self.revoked.reveal().to_owned()),
            (WELL_FORMED_ENDS, format!("{}0", &text[..text.len() - 1])),
            ("truncated", text[..text.len() - 10].to_owned()),
            ("another brand", unknown("sp", 252)),
            ("one letter", "x".to_owned()),
            ("4,000 letters", "x".repeat(4_000)),
        ]
    }
}

/// The text with its checksum: CRC-32 (IEEE) in six characters of base 62.
fn with_checksum(text: &str) -> String {
    let mut crc = !0_u32;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    let mut rest = u64::from(!crc);
    let mut sum = Vec::new();
    for _ in 0..6 {
        sum.push(
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[(rest % 62) as usize],
        );
        rest /= 62;
    }
    sum.reverse();
    format!("{text}{}", String::from_utf8_lossy(&sum))
}

fn new_key(brand: &str, seed: u8) -> ApiKey {
    let mut entropy = [0; ENTROPY_BYTES];
    for (at, byte) in (0_u8..).zip(entropy.iter_mut()) {
        *byte = seed.wrapping_mul(31).wrapping_add(at.wrapping_mul(7)) % 248;
    }
    ApiKey::generate(brand, Environment::Live, &entropy).expect("enough entropy")
}

fn add_team(directory: &Directory, n: u8) -> (TeamId, ApiKey) {
    let team = TeamId::new(Timestamp(1), u128::from(n));
    let key = new_key("wb", n);
    directory.apply(&ControlEvent::TeamCreated(TeamCreated {
        team: team.clone(),
        name: "t".into(),
        plan: "pro".into(),
        at: Timestamp(1),
    }));
    // As it is stored: what further members an event may have does not matter here.
    let created: KeyCreated = serde_json::from_value(json!({
        "key": key.id(),
        "team": team,
        "name": "k",
        "prefix": key.prefix(),
        "last4": key.last4(),
        "scopes": ["tasks:read"],
        "mac": key.mac(&PEPPER, &team).to_hex(),
        "pepper_version": 1,
        "at": 2,
    }))
    .expect("an event");
    directory.apply(&ControlEvent::KeyCreated(created));
    (team, key)
}

/// What is known of the times of one kind, in nanoseconds.
struct Sample {
    mean: f64,
    variance: f64,
    count: f64,
}

impl Sample {
    fn of(times: &[Duration]) -> Self {
        let mut nanos: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e9).collect();
        nanos.sort_by(f64::total_cmp);
        nanos.truncate((nanos.len() as f64 * KEPT) as usize);
        let count = nanos.len() as f64;
        let mean = nanos.iter().sum::<f64>() / count;
        let variance = nanos.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self {
            mean,
            variance,
            count,
        }
    }

    /// Welch's t between two samples of unequal variance.
    fn welch(&self, other: &Self) -> f64 {
        let spread = self.variance / self.count + other.variance / other.count;
        (self.mean - other.mean) / spread.sqrt().max(f64::EPSILON)
    }
}
