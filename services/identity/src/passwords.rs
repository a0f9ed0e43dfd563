//! Passwords: which ones are acceptable, and how they are hashed.
//!
//! argon2id with at least OWASP's parameters, as PHC strings. Hashes stand in an append-only log, so they are also keyed with a secret
//! that is not in it: a copy of the log alone gives nothing to guess against. Hashing costs tens of milliseconds and 19 MiB, so only
//! [`AT_ONCE`] run and a bounded number wait; beyond that the answer is [`Busy`], or log-ins would be an attack on the whole process.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{
    Algorithm, Argon2, KeyId, Params, ParamsBuilder, PasswordHasher, PasswordVerifier, Version,
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::session_secret::derive;
use waybill_commands::Pepper;
use waybill_commands::entropy;

mod common;

/// Shortest password (NIST SP 800-63B, ASVS 6.2.1), in bytes.
pub const LEAST_BYTES: usize = 8;
/// Longest password, in bytes. Longer ones are refused, never cut.
pub const MOST_BYTES: usize = 1024;
/// Hashes computed at a time: two cores' worth, 38 MiB at the floor.
pub const AT_ONCE: usize = 2;
/// Hashes that may wait for those: about 0.4 s at the floor.
pub const WAITING: usize = 32;
/// A hash read from the log may ask for no more than this, whoever wrote it.
const MOST_MEMORY_KIB: u32 = 1024 * 1024;
const MOST_PASSES: u32 = 64;
const SALT_BYTES: usize = 16;

/// What one hash costs. Never less than OWASP's argon2id minimum: 19,456 KiB, two passes, one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// A cost below the floor, or absurdly high.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "passwords cost at least 19456 KiB, 2 passes and 1 lane, and at most {MOST_MEMORY_KIB} KiB, {MOST_PASSES} passes and 16 lanes; \
     not {memory_kib} KiB, {passes} passes and {lanes} lanes"
)]
pub struct BadCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// The least that is accepted, and the default.
    pub const FLOOR: Self = Self {
        memory_kib: 19_456,
        passes: 2,
        lanes: 1,
    };

    /// A cost at or above the floor.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, BadCost> {
        let floor = Self::FLOOR;
        if (floor.memory_kib..=MOST_MEMORY_KIB).contains(&memory_kib)
            && (floor.passes..=MOST_PASSES).contains(&passes)
            && (floor.lanes..=16).contains(&lanes)
        {
            Ok(Self {
                memory_kib,
                passes,
                lanes,
            })
        } else {
            Err(BadCost {
                memory_kib,
                passes,
                lanes,
            })
        }
    }
}

/// Why a new password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    #[error("must have at least {LEAST_BYTES} bytes")]
    TooShort,
    #[error("must have at most {MOST_BYTES} bytes")]
    TooLong,
    /// Everybody's first guess.
    #[error("is one of the most common passwords; choose another")]
    Common,
    /// The person's own address.
    #[error("must not be your e-mail address")]
    Address,
}

/// A new password that passed the checks.
pub struct NewPassword(Zeroizing<String>);

impl NewPassword {
    /// Checks length and commonness; no rules of composition (NIST SP 800-63B, 3.1.1.2).
    pub fn parse(text: String, email: &str) -> Result<Self, PasswordRefused> {
        let text = Zeroizing::new(text);
        if text.len() < LEAST_BYTES {
            return Err(PasswordRefused::TooShort);
        }
        if text.len() > MOST_BYTES {
            return Err(PasswordRefused::TooLong);
        }
        if common::is_common(&text) {
            return Err(PasswordRefused::Common);
        }
        let local = email.split_once('@').map_or(email, |(local, _)| local);
        if text.eq_ignore_ascii_case(email) || text.eq_ignore_ascii_case(local) {
            return Err(PasswordRefused::Address);
        }
        Ok(Self(text))
    }
}

/// A password that somebody presents.
pub struct Candidate(Zeroizing<String>);

impl Candidate {
    /// Takes any text. One that could not be a password is as wrong as any other, and takes as long to check.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl std::fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewPassword(hidden)")
    }
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Candidate(hidden)")
    }
}

/// Too many hashes wait already, or they cannot be computed at all: 503, `Retry-After`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The queue is full.
    #[error("too many people are signing in; try again in a moment")]
    Busy,
    /// The stored hash cannot be checked: made under another pepper, or not a hash of ours.
    #[error("the stored password hash cannot be checked: {0}")]
    Unusable(String),
}

/// The result of checking a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Right,
    /// The password, but its hash costs less than one made today, or is keyed by an earlier pepper: replace it.
    RightButOutdated,
    /// Not the password, or there is no account.
    Wrong,
}

/// Hashes and checks passwords. Clones share one queue.
#[derive(Clone)]
pub struct Passwords(Arc<Inner>);

struct Inner {
    pepper: Arc<Pepper>,
    params: Params,
    places: Arc<Semaphore>,
    working: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords(hidden)")
    }
}

impl Passwords {
    /// Keys hashes with what it derives from the pepper, whose version is written into each.
    pub fn new(pepper: Arc<Pepper>, cost: Cost, tasks: TaskTracker) -> Result<Self, PasswordError> {
        let mut params = ParamsBuilder::new();
        params
            .m_cost(cost.memory_kib)
            .t_cost(cost.passes)
            .p_cost(cost.lanes)
            .keyid(key_id(pepper.version())?);
        Ok(Self(Arc::new(Inner {
            params: params.build().map_err(unusable)?,
            pepper,
            places: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
            working: Arc::new(Semaphore::new(AT_ONCE)),
            tasks,
        })))
    }

    /// The PHC string of a password, to be stored.
    pub async fn hash(&self, password: NewPassword) -> Result<String, PasswordError> {
        self.work(move |inner| inner.hash(&password.0)).await
    }

    /// The PHC string of a password that was just checked: for stored hashes whose cost is too low by now.
    pub async fn rehash(&self, password: Candidate) -> Result<String, PasswordError> {
        self.work(move |inner| inner.hash(&password.0)).await
    }

    /// Whether `stored` is the hash of that password. Without a hash, the check takes as long and fails.
    pub async fn check(
        &self,
        password: Candidate,
        stored: Option<String>,
    ) -> Result<(Verdict, Candidate), PasswordError> {
        self.work(move |inner| Ok((inner.check(&password.0, stored.as_deref())?, password)))
            .await
    }

    /// Takes a place in the queue, then one of the workers. Both are given back by the thread that hashes, not by the request: one
    /// that is given up while its hash is computed still counts.
    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Inner) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let inner = Arc::clone(&self.0);
        let place = Arc::clone(&inner.places)
            .try_acquire_owned()
            .map_err(|_| PasswordError::Busy)?;
        let worker = Arc::clone(&inner.working)
            .acquire_owned()
            .await
            .map_err(|_| PasswordError::Busy)?;
        let tasks = inner.tasks.clone();
        tasks
            .spawn_blocking(move || {
                let done = job(&inner);
                drop((worker, place));
                done
            })
            .await
            .map_err(|error| PasswordError::Unusable(error.to_string()))?
    }
}

impl Inner {
    /// The secret that hashes of that pepper are keyed with.
    fn secret(&self, version: u32) -> Option<Zeroizing<[u8; 32]>> {
        let pepper = self.pepper.of(version)?;
        Some(derive(pepper, "waybill password hashes v1", b""))
    }

    fn current_secret(&self) -> Result<Zeroizing<[u8; 32]>, PasswordError> {
        self.secret(self.pepper.version())
            .ok_or_else(|| unusable("there is no pepper"))
    }

    fn argon2<'a>(&self, secret: &'a [u8; 32]) -> Result<Argon2<'a>, PasswordError> {
        Argon2::new_with_secret(
            secret,
            Algorithm::Argon2id,
            Version::V0x13,
            self.params.clone(),
        )
        .map_err(unusable)
    }

    fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let salt = entropy::fresh::<SALT_BYTES>();
        self.argon2(&*self.current_secret()?)?
            .hash_password_with_salt(password.as_bytes(), &salt)
            .map(|hash| hash.to_string())
            .map_err(unusable)
    }

    fn check(&self, password: &str, stored: Option<&str>) -> Result<Verdict, PasswordError> {
        let Some(stored) = stored else {
            // Hashes all the same, so that the time does not tell whether there is an account.
            let mut discarded = [0; 32];
            self.argon2(&*self.current_secret()?)?
                .hash_password_into(password.as_bytes(), &[0; SALT_BYTES], &mut discarded)
                .map_err(unusable)?;
            std::hint::black_box(discarded);
            return Ok(Verdict::Wrong);
        };
        let hash = PasswordHash::new(stored).map_err(|_| unusable("it is no PHC string"))?;
        let params = Params::try_from(&hash).map_err(|_| unusable("its parameters are unknown"))?;
        let version = params.keyid().try_into().map(u32::from_be_bytes).ok();
        let secret = version
            .and_then(|version| self.secret(version))
            .ok_or_else(|| unusable("it was made under a pepper that is not known here"))?;
        if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > MOST_PASSES {
            return Err(unusable("it costs more than any of ours"));
        }
        if self
            .argon2(&secret)?
            .verify_password(password.as_bytes(), &hash)
            .is_err()
        {
            return Ok(Verdict::Wrong);
        }
        let ours = &self.params;
        let outdated = params.m_cost() < ours.m_cost()
            || params.t_cost() < ours.t_cost()
            || params.keyid() != ours.keyid();
        Ok(if outdated {
            Verdict::RightButOutdated
        } else {
            Verdict::Right
        })
    }
}

fn key_id(version: u32) -> Result<KeyId, PasswordError> {
    KeyId::new(&version.to_be_bytes()).map_err(unusable)
}

fn unusable(reason: impl std::fmt::Display) -> PasswordError {
    PasswordError::Unusable(reason.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    fn pepper(version: u32, byte: u8) -> Arc<Pepper> {
        Arc::new(Pepper::new(version, vec![byte; 32]).expect("long enough"))
    }

    fn passwords(pepper: &Arc<Pepper>, cost: Cost) -> Passwords {
        Passwords::new(Arc::clone(pepper), cost, TaskTracker::new())
            .expect("a cost that argon2 takes")
    }

    fn new(text: &str) -> NewPassword {
        NewPassword::parse(text.into(), "ann@example.com").expect("fit")
    }

    async fn verdict(of: &Passwords, text: &str, stored: &str) -> Result<Verdict, PasswordError> {
        let checked = of
            .check(Candidate::new(text.into()), Some(stored.into()))
            .await;
        checked.map(|(verdict, _)| verdict)
    }

    #[test]
    fn unfit_passwords_are_refused_with_the_reason() {
        let parse = |text: &str| NewPassword::parse(text.into(), "Longname@example.com").err();
        assert_eq!(parse("seven77"), Some(PasswordRefused::TooShort));
        assert_eq!(parse(&"ü".repeat(513)), Some(PasswordRefused::TooLong));
        assert_eq!(parse("Password123"), Some(PasswordRefused::Common));
        assert_eq!(
            parse("longname@EXAMPLE.com"),
            Some(PasswordRefused::Address)
        );
        assert_eq!(parse("longname"), Some(PasswordRefused::Address));
        assert_eq!(parse("ünïcödé 🔑"), None);
        assert_eq!(parse(&"xy".repeat(MOST_BYTES / 2)), None);
    }

    #[tokio::test]
    async fn only_the_very_password_is_right() -> anyhow::Result<()> {
        let passwords = passwords(&pepper(1, 7), Cost::FLOOR);
        let long = "l".repeat(MOST_BYTES - 1);
        let stored = passwords.hash(new(&format!("{long}a"))).await?;
        assert!(
            stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1,keyid="),
            "{stored}"
        );
        assert_eq!(
            verdict(&passwords, &format!("{long}a"), &stored).await?,
            Verdict::Right
        );
        // The last byte counts: nothing is cut off.
        assert_eq!(
            verdict(&passwords, &format!("{long}b"), &stored).await?,
            Verdict::Wrong
        );
        assert_ne!(
            stored,
            passwords.hash(new(&format!("{long}a"))).await?,
            "salted"
        );
        Ok(())
    }

    #[tokio::test]
    async fn a_hash_is_worthless_without_the_pepper() -> anyhow::Result<()> {
        let ours = passwords(&pepper(1, 7), Cost::FLOOR);
        let stored = ours.hash(new("correct horse battery")).await?;
        let thieves = passwords(&pepper(1, 8), Cost::FLOOR);
        assert_eq!(
            verdict(&thieves, "correct horse battery", &stored).await?,
            Verdict::Wrong
        );
        let later = passwords(&pepper(2, 7), Cost::FLOOR);
        let unknown = verdict(&later, "correct horse battery", &stored).await;
        assert!(
            matches!(unknown, Err(PasswordError::Unusable(_))),
            "{unknown:?}"
        );
        Ok(())
    }

    #[tokio::test]
    async fn a_cheap_hash_is_named_when_parameters_rise() -> anyhow::Result<()> {
        let pepper = pepper(1, 7);
        let before = passwords(&pepper, Cost::FLOOR);
        let stored = before.hash(new("correct horse battery")).await?;
        let dearer = passwords(&pepper, Cost::new(24_576, 2, 1)?);
        assert_eq!(
            verdict(&dearer, "correct horse battery", &stored).await?,
            Verdict::RightButOutdated
        );
        let again = dearer
            .rehash(Candidate::new("correct horse battery".into()))
            .await?;
        assert_eq!(
            verdict(&dearer, "correct horse battery", &again).await?,
            Verdict::Right
        );
        assert!(Cost::new(19_455, 2, 1).is_err() && Cost::new(19_456, 1, 1).is_err());
        Ok(())
    }

    #[tokio::test]
    async fn a_hash_of_an_earlier_pepper_is_checked_and_named() -> anyhow::Result<()> {
        let before = passwords(&pepper(1, 7), Cost::FLOOR);
        let stored = before.hash(new("correct horse battery")).await?;
        let both = Pepper::new(2, vec![8; 32])?.with_earlier(1, vec![7; 32])?;
        let after = passwords(&Arc::new(both), Cost::FLOOR);
        assert_eq!(
            verdict(&after, "correct horse battery", &stored).await?,
            Verdict::RightButOutdated
        );
        assert_eq!(verdict(&after, "wrong", &stored).await?, Verdict::Wrong);
        Ok(())
    }

    #[tokio::test]
    async fn a_hash_that_would_eat_the_machine_is_not_computed() {
        let passwords = passwords(&pepper(1, 7), Cost::FLOOR);
        let huge = "$argon2id$v=19$m=4000000000,t=2,p=1,keyid=AAAAAQ$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let refused = verdict(&passwords, "correct horse battery", huge).await;
        assert!(
            matches!(refused, Err(PasswordError::Unusable(_))),
            "{refused:?}"
        );
        assert!(verdict(&passwords, "x", "not a hash").await.is_err());
    }

    #[tokio::test]
    async fn nobodys_password_takes_as_long_as_a_wrong_one() -> anyhow::Result<()> {
        let passwords = passwords(&pepper(1, 7), Cost::FLOOR);
        let stored = passwords.hash(new("correct horse battery")).await?;
        // By the processor time of this thread, and the least of several: other programs do not count, and noise only ever adds.
        let mut least = [Duration::MAX; 2];
        for _ in 0..5 {
            for (least, stored) in least.iter_mut().zip([Some(stored.as_str()), None]) {
                let begun = processor_time()?;
                let verdict = passwords.0.check("wrong", stored)?;
                assert_eq!(verdict, Verdict::Wrong);
                *least = (processor_time()? - begun).min(*least);
            }
        }
        let ratio = least[0].as_secs_f64() / least[1].as_secs_f64();
        assert!((0.6..1.7).contains(&ratio), "known, unknown: {least:?}");
        Ok(())
    }

    /// What this thread has used.
    fn processor_time() -> anyhow::Result<Duration> {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        Ok(Duration::try_from(used)?)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn beyond_the_queue_it_says_busy_at_once() -> anyhow::Result<()> {
        let passwords = passwords(&pepper(1, 7), Cost::FLOOR);
        let attempts = (0..200).map(|_| passwords.check(Candidate::new("x".into()), None));
        let answers = futures::future::join_all(attempts).await;
        let busy = answers
            .iter()
            .filter(|a| matches!(a, Err(PasswordError::Busy)))
            .count();
        assert_eq!(busy, 200 - AT_ONCE - WAITING);
        passwords.check(Candidate::new("x".into()), None).await?;
        Ok(())
    }
}
