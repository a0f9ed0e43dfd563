//! Keys by which not every task runs.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::order::key;
use crate::task::once::{
    Debounce, DebounceMode, DebounceRequest, Dedup, DedupRequest, IfFailed, MAX_DEDUP_WINDOW,
    MAX_WINDOW, OnDuplicate, Once, Singleton, SingletonMode, SingletonRequest, USUAL_WINDOW,
};
use crate::task::request::{Invalid, TaskRequest, shortened};
use crate::time::Timestamp;

/// What the request says about other tasks with the same key. `deadline` and `expires_in` are those
/// of the request, checked.
pub(super) fn once(
    request: &mut TaskRequest,
    deadline: Option<Timestamp>,
    expires_in: Option<Duration>,
    now: Timestamp,
) -> Result<Option<Box<Once>>, Invalid> {
    let given = (
        request.debounce.take(),
        request.singleton.take(),
        request.dedup.take(),
    );
    let given = match given {
        (None, None, None) => return Ok(None),
        (None, Some(given), None) => return singleton(given, request).map(Some),
        (None, None, Some(given)) => return dedup(given, request).map(Some),
        (Some(given), None, None) => given,
        (first, second, _) => {
            let field = if second.is_some() && first.is_some() {
                "singleton"
            } else {
                "dedup"
            };
            return Err(Invalid::new(
                field,
                "debounce, singleton and dedup all say which of several tasks run; give one of them",
            ));
        }
    };
    let contradiction = |message: &str| Err(Invalid::new("debounce", message));
    if request.delay.is_some() || request.delay_until.is_some() {
        return contradiction(
            "debounce says when the task starts, as delay and delayUntil do; give one of them",
        );
    }
    if request.ordering_key.is_some() {
        return contradiction(
            "debounce leaves tasks out and orderingKey runs all of them in order; give one of them",
        );
    }
    let debounce = debounce(given)?;
    let delay = Duration::from_millis(debounce.delay_ms);
    if expires_in.is_some_and(|length| length <= delay) {
        return Err(Invalid::new(
            "expiresIn",
            format!(
                "expiresIn counts from the creation and must be longer than debounce.delay of {} s",
                delay.as_secs_f64()
            ),
        ));
    }
    let start = now.plus(delay);
    if let Some(deadline) = deadline.filter(|deadline| *deadline <= start) {
        return Err(Invalid::new(
            "deadline",
            format!(
                "deadline must be later than debounce.delay allows a start, {start}, not {deadline}"
            ),
        ));
    }
    Ok(Some(Box::new(Once::Debounce(debounce))))
}

fn singleton(given: SingletonRequest, request: &TaskRequest) -> Result<Box<Once>, Invalid> {
    const KEY: &str = "singleton.key";
    if request.ordering_key.is_some() {
        return Err(Invalid::new(
            "singleton",
            "singleton and orderingKey both let one task run at a time, in orders that differ; give one of them",
        ));
    }
    let key = key(KEY, given.key)?.ok_or_else(|| Invalid::new(KEY, "singleton.key is required"))?;
    let mode = match given.mode.as_deref() {
        None => SingletonMode::default(),
        Some(text) => SingletonMode::parse(text).ok_or_else(|| {
            Invalid::new(
                "singleton.mode",
                format!(
                    "singleton.mode must be \"skip\", \"queue\" or \"cancelRunning\", not {:?}",
                    shortened(text)
                ),
            )
        })?,
    };
    Ok(Box::new(Once::Singleton(Singleton { key, mode })))
}

fn dedup(given: DedupRequest, request: &TaskRequest) -> Result<Box<Once>, Invalid> {
    const KEY: &str = "dedup.key";
    const WINDOW: &str = "dedup.window";
    let content = given.content.unwrap_or(false);
    let key = match (key(KEY, given.key)?, content) {
        (Some(key), false) => key,
        (None, true) => contents(request),
        (Some(_), true) => {
            return Err(Invalid::new(
                "dedup.content",
                "dedup.content makes the key, so dedup.key says the same; give one of them",
            ));
        }
        (None, false) => {
            return Err(Invalid::new(
                KEY,
                "dedup.key is required, unless dedup.content is true",
            ));
        }
    };
    let window = given
        .window
        .ok_or_else(|| Invalid::new(WINDOW, "dedup.window is required"))?
        .read(WINDOW, MAX_DEDUP_WINDOW)?;
    let on_duplicate = match given.on_duplicate.as_deref() {
        None => OnDuplicate::default(),
        Some(text) => OnDuplicate::parse(text).ok_or_else(|| {
            Invalid::new(
                "dedup.onDuplicate",
                format!(
                    "dedup.onDuplicate must be \"existing\", \"replaceIfNotStarted\" or \"reject\", not {:?}",
                    shortened(text)
                ),
            )
        })?,
    };
    let if_failed = match given.if_failed.as_deref() {
        None => IfFailed::default(),
        Some(text) => IfFailed::parse(text).ok_or_else(|| {
            Invalid::new(
                "dedup.ifFailed",
                format!(
                    "dedup.ifFailed must be \"new\" or \"existing\", not {:?}",
                    shortened(text)
                ),
            )
        })?,
    };
    Ok(Box::new(Once::Dedup(Dedup {
        key,
        content,
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        on_duplicate,
        if_failed,
    })))
}

/// A key that tasks share which make the same call: SHA-256 of method, URL and body, in hex.
fn contents(request: &TaskRequest) -> String {
    let method = request.method.as_deref().unwrap_or("POST");
    let mut hash = Sha256::new();
    let parts = [
        Some(method),
        request.target_url.as_deref(),
        request.body_encoding.as_deref(),
        request.body.as_deref(),
    ];
    for part in parts {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        hash.update(length.to_be_bytes());
        hash.update(part.unwrap_or_default());
    }
    hex::encode(hash.finalize())
}

fn debounce(given: DebounceRequest) -> Result<Debounce, Invalid> {
    const KEY: &str = "debounce.key";
    const DELAY: &str = "debounce.delay";
    const MAX_DELAY: &str = "debounce.maxDelay";
    let key = key(KEY, given.key)?.ok_or_else(|| Invalid::new(KEY, "debounce.key is required"))?;
    let delay = given
        .delay
        .ok_or_else(|| Invalid::new(DELAY, "debounce.delay is required"))?
        .read(DELAY, MAX_WINDOW)?;
    let max_delay = match given.max_delay {
        Some(length) => length.read(MAX_DELAY, MAX_WINDOW)?,
        None => (delay * USUAL_WINDOW).min(MAX_WINDOW),
    };
    if max_delay < delay {
        return Err(Invalid::new(
            MAX_DELAY,
            format!(
                "debounce.maxDelay must be at least debounce.delay, {} s, not {} s",
                delay.as_secs_f64(),
                max_delay.as_secs_f64()
            ),
        ));
    }
    let mode = match given.mode.as_deref() {
        None => DebounceMode::default(),
        Some(text) => DebounceMode::parse(text).ok_or_else(|| {
            Invalid::new(
                "debounce.mode",
                format!(
                    "debounce.mode must be \"first\" or \"last\", not {:?}",
                    shortened(text)
                ),
            )
        })?,
    };
    let millis = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    Ok(Debounce {
        key,
        delay_ms: millis(delay),
        max_delay_ms: millis(max_delay),
        mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::request::Limits;
    use crate::task::spec::TaskSpec;
    use crate::task::{DebounceMode, Length};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn limits() -> Limits {
        Limits {
            max_wait: Duration::from_secs(120),
            max_delay: Duration::from_secs(15 * 86_400),
        }
    }

    fn request() -> TaskRequest {
        TaskRequest {
            target_url: Some("https://example.com/".into()),
            ..TaskRequest::default()
        }
    }

    #[test]
    fn a_debounce_is_checked_and_what_contradicts_it() {
        let debounce = || DebounceRequest {
            key: Some("a".into()),
            delay: Some(Length::Text("5s".into())),
            max_delay: None,
            mode: None,
        };
        let with = |given: DebounceRequest, change: &dyn Fn(&mut TaskRequest)| {
            let mut request = request();
            request.debounce = Some(given);
            change(&mut request);
            TaskSpec::check(request, &limits(), NOW)
        };
        let usual = with(debounce(), &|_| {}).expect("fine");
        let Some(Once::Debounce(read)) = usual.once.as_deref() else {
            panic!("a debounce");
        };
        assert_eq!((read.delay_ms, read.max_delay_ms), (5_000, 50_000));
        assert_eq!(read.mode, DebounceMode::Last);
        let long = DebounceRequest {
            delay: Some(Length::Text("6d".into())),
            mode: Some("first".into()),
            ..debounce()
        };
        let long = with(long, &|_| {}).expect("fine");
        let Some(Once::Debounce(read)) = long.once.as_deref() else {
            panic!("a debounce");
        };
        assert_eq!(read.max_delay_ms, 7 * 86_400_000, "never more than 7 days");
        let text = |text: &str| Some(Length::Text(text.into()));
        for (given, field, part) in [
            (
                DebounceRequest {
                    key: None,
                    ..debounce()
                },
                "debounce.key",
                "required",
            ),
            (
                DebounceRequest {
                    key: Some("x".repeat(129)),
                    ..debounce()
                },
                "debounce.key",
                "1 to 128 characters",
            ),
            (
                DebounceRequest {
                    delay: None,
                    ..debounce()
                },
                "debounce.delay",
                "required",
            ),
            (
                DebounceRequest {
                    delay: text("8d"),
                    ..debounce()
                },
                "debounce.delay",
                "at most 7 days",
            ),
            (
                DebounceRequest {
                    max_delay: text("4s"),
                    ..debounce()
                },
                "debounce.maxDelay",
                "at least debounce.delay, 5 s, not 4 s",
            ),
            (
                DebounceRequest {
                    max_delay: text("8d"),
                    ..debounce()
                },
                "debounce.maxDelay",
                "at most 7 days",
            ),
            (
                DebounceRequest {
                    mode: Some("all".into()),
                    ..debounce()
                },
                "debounce.mode",
                "\"first\" or \"last\", not \"all\"",
            ),
        ] {
            let invalid = with(given, &|_| {}).expect_err(field);
            assert_eq!(invalid.field, field);
            assert!(invalid.message.contains(part), "{}", invalid.message);
        }
        let refused = |field: &str, part: &str, change: &dyn Fn(&mut TaskRequest)| {
            let invalid = with(debounce(), change).expect_err(field);
            assert_eq!(invalid.field, field);
            assert!(invalid.message.contains(part), "{}", invalid.message);
        };
        refused("debounce", "give one of them", &|r| r.delay = text("1m"));
        refused("debounce", "give one of them", &|r| {
            r.delay_until = Some(NOW.plus(Duration::from_secs(60)).to_string());
        });
        refused("debounce", "orderingKey", &|r| {
            r.ordering_key = Some("a".into());
        });
        refused("expiresIn", "longer than debounce.delay of 5 s", &|r| {
            r.expires_in = text("5s");
        });
        refused("deadline", "later than debounce.delay allows", &|r| {
            r.deadline = Some(NOW.plus(Duration::from_secs(5)).to_string());
        });
        let print = |given| with(given, &|_| {}).expect("fine").fingerprint();
        let first = print(debounce());
        assert_eq!(first, print(debounce()));
        for other in [
            DebounceRequest {
                key: Some("b".into()),
                ..debounce()
            },
            DebounceRequest {
                delay: text("6s"),
                ..debounce()
            },
            DebounceRequest {
                max_delay: text("6s"),
                ..debounce()
            },
            DebounceRequest {
                mode: Some("first".into()),
                ..debounce()
            },
        ] {
            assert_ne!(first, print(other));
        }
        let without = TaskSpec::check(request(), &limits(), NOW).expect("fine");
        assert_ne!(first, without.fingerprint());
    }

    #[test]
    fn a_singleton_is_checked_and_what_contradicts_it() {
        let with = |key: Option<&str>, mode: Option<&str>, change: &dyn Fn(&mut TaskRequest)| {
            let mut request = request();
            request.singleton = Some(SingletonRequest {
                key: key.map(Into::into),
                mode: mode.map(Into::into),
            });
            change(&mut request);
            TaskSpec::check(request, &limits(), NOW)
        };
        let none = |_: &mut TaskRequest| {};
        let usual = with(Some("a"), None, &none).expect("fine");
        let usual = usual.once.as_deref().and_then(Once::singleton).cloned();
        assert_eq!(usual.map(|read| read.mode), Some(SingletonMode::Queue));
        let long = "x".repeat(129);
        let debounce = |request: &mut TaskRequest| {
            request.debounce = Some(DebounceRequest::default());
        };
        let ordering = |request: &mut TaskRequest| request.ordering_key = Some("a".into());
        type Change<'a> = &'a dyn Fn(&mut TaskRequest);
        type Case<'a> = (
            Option<&'a str>,
            Option<&'a str>,
            Change<'a>,
            &'a str,
            &'a str,
        );
        let cases: [Case<'_>; 5] = [
            (None, None, &none, "singleton.key", "required"),
            (Some(&long), None, &none, "singleton.key", "129 characters"),
            (
                Some("a"),
                Some("wait"),
                &none,
                "singleton.mode",
                "not \"wait\"",
            ),
            (Some("a"), None, &debounce, "singleton", "give one of them"),
            (Some("a"), None, &ordering, "singleton", "orderingKey"),
        ];
        for (key, mode, change, field, part) in cases {
            let invalid = with(key, mode, change).expect_err(field);
            assert_eq!(invalid.field, field);
            assert!(invalid.message.contains(part), "{}", invalid.message);
        }
        let print = |key, mode| {
            with(Some(key), Some(mode), &none)
                .expect("fine")
                .fingerprint()
        };
        assert_eq!(print("a", "queue"), print("a", "queue"));
        assert_ne!(print("a", "queue"), print("b", "queue"));
        assert_ne!(print("a", "queue"), print("a", "skip"));
    }

    #[test]
    fn a_dedup_is_checked_and_what_contradicts_it() {
        let dedup = || DedupRequest {
            key: Some("a".into()),
            window: Some(Length::Text("1h".into())),
            ..DedupRequest::default()
        };
        let with = |given: DedupRequest, change: &dyn Fn(&mut TaskRequest)| {
            let mut request = request();
            request.dedup = Some(given);
            change(&mut request);
            TaskSpec::check(request, &limits(), NOW)
        };
        let none = |_: &mut TaskRequest| {};
        let read = |given: DedupRequest, change: &dyn Fn(&mut TaskRequest)| {
            let spec = with(given, change).expect("fine");
            spec.once
                .as_deref()
                .and_then(Once::dedup)
                .cloned()
                .expect("a dedup")
        };
        let usual = read(dedup(), &none);
        assert_eq!(usual.window_ms, 3_600_000);
        assert_eq!(
            (usual.on_duplicate, usual.if_failed),
            (OnDuplicate::Existing, IfFailed::New)
        );
        let content = || DedupRequest {
            key: None,
            content: Some(true),
            ..dedup()
        };
        let body = |text: &'static str| move |r: &mut TaskRequest| r.body = Some(text.into());
        let first = read(content(), &body("1")).key;
        assert_eq!(first, read(content(), &body("1")).key);
        assert_ne!(first, read(content(), &body("2")).key);
        assert_ne!(first, read(content(), &none).key);
        let put = |r: &mut TaskRequest| {
            (r.body, r.method) = (Some("1".into()), Some("PUT".into()));
        };
        assert_ne!(first, read(content(), &put).key);
        let text = |text: &str| Some(text.to_owned());
        let singleton = |r: &mut TaskRequest| r.singleton = Some(SingletonRequest::default());
        let debounce = |r: &mut TaskRequest| r.debounce = Some(DebounceRequest::default());
        type Change<'a> = &'a dyn Fn(&mut TaskRequest);
        let cases: [(DedupRequest, Change<'_>, &str, &str); 9] = [
            (
                DedupRequest {
                    key: None,
                    ..dedup()
                },
                &none,
                "dedup.key",
                "required",
            ),
            (
                DedupRequest {
                    key: text(""),
                    ..dedup()
                },
                &none,
                "dedup.key",
                "1 to 128",
            ),
            (
                DedupRequest {
                    content: Some(true),
                    ..dedup()
                },
                &none,
                "dedup.content",
                "one of them",
            ),
            (
                DedupRequest {
                    window: None,
                    ..dedup()
                },
                &none,
                "dedup.window",
                "required",
            ),
            (
                DedupRequest {
                    window: Some(Length::Text("25h".into())),
                    ..dedup()
                },
                &none,
                "dedup.window",
                "at most 1 days",
            ),
            (
                DedupRequest {
                    on_duplicate: text("refuse"),
                    ..dedup()
                },
                &none,
                "dedup.onDuplicate",
                "not \"refuse\"",
            ),
            (
                DedupRequest {
                    if_failed: text("retry"),
                    ..dedup()
                },
                &none,
                "dedup.ifFailed",
                "not \"retry\"",
            ),
            (dedup(), &singleton, "dedup", "give one of them"),
            (dedup(), &debounce, "dedup", "give one of them"),
        ];
        for (given, change, field, part) in cases {
            let invalid = with(given, change).expect_err(field);
            assert_eq!(invalid.field, field);
            assert!(invalid.message.contains(part), "{}", invalid.message);
        }
        let print = |given| with(given, &none).expect("fine").fingerprint();
        assert_eq!(print(dedup()), print(dedup()));
        for other in [
            DedupRequest {
                key: text("b"),
                ..dedup()
            },
            DedupRequest {
                window: Some(Length::Text("2h".into())),
                ..dedup()
            },
            DedupRequest {
                on_duplicate: text("replaceIfNotStarted"),
                ..dedup()
            },
            DedupRequest {
                if_failed: text("existing"),
                ..dedup()
            },
        ] {
            assert_ne!(print(dedup()), print(other));
        }
    }
}
