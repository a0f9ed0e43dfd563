//! That a refused key costs what an accepted one costs, whatever is wrong with it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use waybill_domain::access::key::{ApiKey, ENTROPY_BYTES};
use waybill_domain::access::plan::Catalogue;
use waybill_domain::id::{Environment, TeamId};
use waybill_domain::time::Timestamp;
use waybill_edge::auth::{Directory, Recognition};

use crate::world::pepper;

/// Rounds; the quickest call of all counts, which nothing can make quicker than its work.
const ROUNDS: usize = 3_000;

// K6. That the times are equal, and not only that none is short, is measured by `examples/key_timing.rs`: here a busy machine would decide.
#[test]
fn no_key_is_refused_without_the_work_of_a_mac() {
    let directory = Directory::new(Arc::clone(Catalogue::builtin()));
    let pepper = pepper();
    let brands = ["wb".to_owned()];
    let team = TeamId::new(Timestamp(1), 1);
    let key = |brand| {
        ApiKey::generate(brand, Environment::Live, &[9; ENTROPY_BYTES]).expect("enough entropy")
    };
    let (ours, other) = (key("wb"), key("sp"));
    let text = ours.reveal();
    let kinds = [
        ("unknown", text.to_owned()),
        ("wrong checksum", format!("{}!", &text[..text.len() - 1])),
        ("truncated", text[..20].to_owned()),
        ("another brand", other.reveal().to_owned()),
        ("empty", String::new()),
        ("one letter", "x".to_owned()),
        ("no ASCII", "ключ".to_owned()),
    ];
    let mut mac = Duration::MAX;
    let mut refusals = kinds.each_ref().map(|_| Duration::MAX);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(black_box(&ours).mac(black_box(&[7; 32]), &team));
        mac = mac.min(start.elapsed());
        for ((name, presented), quickest) in kinds.iter().zip(&mut refusals) {
            let start = Instant::now();
            let found = directory.recognise(black_box(presented), &pepper, &brands, Timestamp(2));
            *quickest = (*quickest).min(start.elapsed());
            assert!(
                matches!(found, Recognition::Refused | Recognition::Ended(_)),
                "{name}"
            );
        }
    }
    for ((name, _), quickest) in kinds.iter().zip(refusals) {
        assert!(
            quickest >= mac.mul_f64(0.7),
            "{name}: refused in {quickest:?}, a MAC alone takes {mac:?}"
        );
    }
}
