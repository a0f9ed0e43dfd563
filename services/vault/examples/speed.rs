//! Measures how many records one thread seals, opens and rewraps per second: `cargo run --release
//! -p waybill-vault --no-default-features --example speed`.
//!
//! It ends by itself after a few seconds. Values have the size of a bearer token, and once the
//! largest allowed size.

#![expect(clippy::print_stdout, reason = "a measurement prints its result")]

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use waybill_vault::{
    Context, MAX_PLAINTEXT_BYTES, SecretBytes, Unwrapper, fresh_rings, open, rewrap, seal,
};

/// Duration of each measurement.
const FOR: Duration = Duration::from_millis(500);
/// Calls before the measurement starts.
const WARM_UP: u32 = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (sealing, opening) = fresh_rings()?;
    let context = Context::token("team_1_test", "tok_0123456789abcdefghjkmnpqrs", 1);
    for size in [64, 4096, MAX_PLAINTEXT_BYTES] {
        let value = SecretBytes::new(vec![b'x'; size]);
        let (envelope, wrapped) = at_once(seal(&sealing, None, &context, &value))?;
        let key = at_once(opening.unwrap_key(&context, &wrapped))?;
        println!("value of {size} bytes");
        measure("seal", || {
            at_once(seal(&sealing, None, &context, &value)).is_ok()
        });
        measure("open", || {
            at_once(open(&opening, &context, &envelope, &wrapped)).is_ok()
        });
        measure("open, data key cached", || {
            key.open(&context, &envelope).is_ok()
        });
        measure("rewrap", || {
            at_once(rewrap(&opening, &sealing, None, &context, &wrapped)).is_ok()
        });
    }
    Ok(())
}

fn measure(what: &str, call: impl Fn() -> bool) {
    for _ in 0..WARM_UP {
        assert!(call(), "{what} failed");
    }
    let (start, mut calls) = (Instant::now(), 0_u32);
    while start.elapsed() < FOR {
        // The clock is read once every ten calls, since reading it costs as much as opening a short
        // value.
        for _ in 0..10 {
            assert!(black_box(call()), "{what} failed");
        }
        calls += 10;
    }
    let each = start.elapsed() / calls;
    let rate = 1.0 / each.as_secs_f64();
    println!("  {what:<22} {rate:>10.0} /s  {each:>10.2?} each");
}

/// Rings never wait, so their futures are ready at the first poll.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = std::task::Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
