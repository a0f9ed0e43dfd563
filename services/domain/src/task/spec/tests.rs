//! Validation of good and bad requests.

use super::*;
use crate::task::bounds::JitterRequest;
use crate::task::length::Length;
use crate::task::once::DebounceRequest;
use crate::task::ordering::OnFailure;
use crate::task::pauses::BackoffRequest;
use crate::task::request::{LimitRequest, RateRequest};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn limits() -> Limits {
    Limits {
        max_wait: Duration::from_secs(120),
        max_delay: Duration::from_secs(15 * 86_400),
    }
}

fn request() -> TaskRequest {
    TaskRequest {
        target_url: Some("https://example.com/hook?x=1".into()),
        ..TaskRequest::default()
    }
}

fn refused(change: impl FnOnce(&mut TaskRequest)) -> Invalid {
    let mut request = request();
    change(&mut request);
    TaskSpec::check(request, &limits(), NOW).expect_err("refused")
}

#[test]
fn defaults_are_the_contracts() {
    let spec = TaskSpec::check(request(), &limits(), NOW).expect("fine");
    assert_eq!(spec.method, Method::Post);
    assert_eq!((spec.timeout_ms, spec.max_wait_ms), (30_000, 30_000));
    assert_eq!(
        (spec.max_retries, spec.backoff, spec.priority.get()),
        (3, Backoff::Exponential, 5)
    );
    assert_eq!(spec.queue.as_str(), "default");
    assert_eq!(spec.url, "https://example.com/hook?x=1");
}

#[test]
fn a_schedule_also_says_how_many_retries_there_are() {
    let retries = |backoff: Option<BackoffRequest>, max_retries| {
        let mut request = request();
        (request.retry_backoff, request.max_retries) = (backoff, max_retries);
        let spec = TaskSpec::check(request, &limits(), NOW).expect("fine");
        (spec.max_retries, spec.retry_pauses.retries())
    };
    let word = |word: &str| Some(BackoffRequest::Word(word.into()));
    let list = Some(BackoffRequest::Pauses(vec![Length::Seconds(5.0); 2]));
    assert_eq!(retries(word("linear"), None), (3, 0));
    assert_eq!(retries(word("overnight"), None), (10, 10));
    assert_eq!(retries(word("overnight"), Some(4)), (4, 10));
    assert_eq!(retries(list.clone(), None), (2, 2));
    assert_eq!(retries(list, Some(9)), (9, 2));
}

#[test]
fn the_windows_of_an_exchange_fit_into_each_other() {
    let windows = |timeout, max_wait| {
        let mut request = request();
        (request.timeout_seconds, request.max_wait_seconds) = (timeout, max_wait);
        let spec = TaskSpec::check(request, &limits(), NOW);
        spec.map(|spec| (spec.timeout_ms, spec.max_wait_ms))
            .map_err(|invalid| invalid.field)
    };
    assert_eq!(windows(None, None), Ok((30_000, 30_000)));
    assert_eq!(
        windows(Some(100.0), None),
        Ok((100_000, 100_000)),
        "nothing is cut in silence"
    );
    assert_eq!(windows(Some(5.0), None), Ok((5_000, 30_000)));
    assert_eq!(windows(None, Some(10.0)), Ok((10_000, 10_000)));
    assert_eq!(windows(None, Some(100.0)), Ok((30_000, 100_000)));
    assert_eq!(windows(Some(20.0), Some(10.0)), Err("timeout"));
    assert_eq!(windows(Some(121.0), None), Err("timeout"), "over the plan");
    assert_eq!(
        windows(None, Some(121.0)),
        Err("maxWaitTime"),
        "over the plan"
    );
}

#[test]
fn what_bounds_a_whole_life_lies_behind_its_delay() {
    let refused_field = |change: &dyn Fn(&mut TaskRequest)| refused(change).field;
    let at = |seconds: u64| Some(NOW.plus(Duration::from_secs(seconds)).to_rfc3339());
    let text = |text: &str| Some(Length::Text(text.into()));
    assert_eq!(refused_field(&|r| r.deadline = at(0)), "deadline");
    assert_eq!(
        refused_field(&|r| (r.deadline, r.delay) = (at(60), text("1m"))),
        "deadline"
    );
    assert_eq!(
        refused_field(&|r| (r.expires_in, r.delay) = (text("1m"), text("1m"))),
        "expiresIn"
    );
    assert_eq!(
        refused_field(&|r| (r.delay_until, r.delay) = (at(60), text("1m"))),
        "delay"
    );
    let mut good = request();
    (good.deadline, good.delay, good.expires_in) = (at(61), text("1m"), text("2m"));
    let spec = TaskSpec::check(good, &limits(), NOW).expect("fine");
    assert_eq!(spec.not_before, Some(NOW.plus(Duration::from_secs(60))));
    assert_eq!(spec.expires_in_ms, Some(120_000));
}

#[test]
fn tags_and_metadata_are_bounded() {
    let tags = |tags: &[&str]| {
        let mut request = request();
        request.tags = Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
        TaskSpec::check(request, &limits(), NOW).map(|spec| spec.tags)
    };
    assert_eq!(tags(&["a", "b", "a"]), Ok(vec!["a".into(), "b".into()]));
    for wrong in [
        &["a"; 11][..],
        &[""],
        &["a,b"],
        &["a\nb"],
        &[&*"x".repeat(65)],
    ] {
        assert_eq!(tags(wrong).expect_err("refused").field, "tags");
    }
    let metadata = |entries: Vec<(String, String)>| {
        let mut request = request();
        request.metadata = Some(entries);
        TaskSpec::check(request, &limits(), NOW).map(|spec| spec.metadata.len())
    };
    assert_eq!(metadata(vec![("a".into(), "x".repeat(4_095))]), Ok(1));
    assert!(metadata(vec![("a".into(), "x".repeat(4_096))]).is_err());
    assert!(metadata(vec![(String::new(), "x".into())]).is_err());
}

#[test]
fn a_body_in_base64_is_checked() {
    let encoded = |body: &str, encoding: &str| {
        let mut request = request();
        (request.body, request.body_encoding) = (Some(body.into()), Some(encoding.into()));
        TaskSpec::check(request, &limits(), NOW)
            .map(|spec| spec.body_encoding)
            .map_err(|invalid| invalid.field)
    };
    assert_eq!(encoded("/wD+", "base64"), Ok(BodyEncoding::Base64));
    assert_eq!(encoded("/wD+", "text"), Ok(BodyEncoding::Text));
    assert_eq!(encoded("/w", "base64"), Err("body"));
    assert_eq!(encoded("not base64!", "base64"), Err("body"));
    assert_eq!(encoded("", "hex"), Err("bodyEncoding"));
}

#[test]
fn what_is_wrong_is_named_with_its_limit() {
    let message = |change: fn(&mut TaskRequest)| refused(change).message;
    assert_eq!(
        message(|r| r.target_url = Some(String::new())),
        "targetUrl is required"
    );
    assert_eq!(
        message(|r| (r.target_url, r.timeout_seconds) = (None, Some(5.0))),
        "targetUrl is required with timeout, which is about a call; a task without both is claimed by workers"
    );
    assert_eq!(
        message(|r| r.max_retries = Some(25)),
        "maxRetries must be between 0 and 10, not 25"
    );
    assert_eq!(
        message(|r| r.max_retries = Some(-1)),
        "maxRetries must be between 0 and 10, not -1"
    );
    assert_eq!(
        message(|r| r.priority = Some(11)),
        "priority must be between 1 and 10, not 11"
    );
    assert_eq!(
        message(|r| r.max_wait_seconds = Some(121.0)),
        "maxWaitTime must be more than 0 and at most 120 seconds, not 121"
    );
    assert_eq!(
        message(|r| r.timeout_seconds = Some(f64::NAN)),
        "timeout must be more than 0 and at most 120 seconds, not NaN"
    );
    assert_eq!(
        message(|r| r.method = Some("TRACE".into())),
        "method must be one of GET, POST, PUT, DELETE, PATCH, HEAD, not \"TRACE\""
    );
    assert_eq!(
        message(|r| r.retry_backoff = Some(BackoffRequest::Word("never".into()))),
        "retryBackoff must be exponential, linear, fixed, overnight or a list of pauses such as [\"10s\", \"5m\", \"2h\"], not \"never\""
    );
    assert_eq!(
        message(|r| r.delay_until = Some("2050-01-01T00:00:00Z".into())),
        "delayUntil must be at most 15 days ahead"
    );
    assert_eq!(
        refused(|r| r.delay_until = Some("tomorrow".into())).field,
        "delayUntil"
    );
    assert_eq!(refused(|r| r.queue = Some("a.b".into())).field, "queue");
    assert_eq!(
        refused(|r| r.retry_on = Some(vec!["2xx".into()])).field,
        "retryOn"
    );
    assert_eq!(
        refused(|r| r.on_complete_url = Some("ftp://x".into())).message,
        "onCompleteUrl must be http or https, not ftp"
    );
    assert_eq!(
        refused(|r| r.body = Some("x".repeat(MAX_BODY_BYTES + 1))).field,
        "body"
    );
}

#[test]
fn urls_that_cannot_be_called_are_refused() {
    for url in [
        "",
        "example.com",
        "/path",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://",
        "https://user:pw@example.com",
        "http://exa mple.com",
        "http://x:99999",
        "http://x:0",
        "javascript:alert(1)",
    ] {
        assert_eq!(
            refused(|r| r.target_url = Some(url.into())).field,
            "targetUrl",
            "{url}"
        );
    }
}

#[test]
fn headers_that_could_smuggle_are_refused() {
    for (name, value) in [
        ("X-A", "a\r\nHost: evil"),
        ("X-A", "a\u{0}"),
        ("X A", "a"),
        ("", "a"),
        ("X-A:", "a"),
        ("Host", "evil"),
        ("content-LENGTH", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Waybill-Attempt", "9"),
        ("X-AsyncQueue-Signature", "t=1"),
    ] {
        assert_eq!(
            refused(|r| r.headers = vec![(name.into(), value.into())]).field,
            "headers",
            "{name}: {value:?}"
        );
    }
    assert_eq!(
        refused(|r| r.headers = vec![("A".into(), "b".into()); 101]).field,
        "headers"
    );
}

const TOKEN: &str = "tok_01kc0q2v9x3d8e5h7j9m1n3p5r";

fn with_header(name: &str, value: &str) -> impl FnOnce(&mut TaskRequest) {
    let header = (name.to_owned(), value.to_owned());
    move |r| r.headers = vec![header]
}

#[test]
fn references_are_found_where_the_task_names_them() {
    let mut request = request();
    request.target_url = Some(format!("https://example.com/?k={{{{{TOKEN}}}}}"));
    request.headers = vec![("X-Key".into(), TOKEN.into())];
    request.body = Some(format!("[\"{{{{{TOKEN}}}}}\"]"));
    let count = |request: &TaskRequest| {
        let spec = TaskSpec::check(request.clone(), &limits(), NOW).expect("fine");
        spec.references().count()
    };
    assert_eq!(count(&request), 1);
    request.resolve = Some(vec!["query".into(), "body".into()]);
    assert_eq!(count(&request), 3);
    request.resolve = Some(vec!["path".into()]);
    let refused = TaskSpec::check(request, &limits(), NOW).expect_err("no such place");
    assert_eq!(refused.field, "resolve");
}

#[test]
fn a_malformed_reference_is_an_unknown_token() {
    assert_eq!(
        refused(with_header("Authorization", "tok_ABC")).message,
        "Header \"Authorization\" references unknown vault token \"tok_ABC\""
    );
    let refused = refused(|r| {
        r.resolve = Some(vec!["body".into()]);
        r.body = Some("{{tok_}}".into());
    });
    assert_eq!(
        (refused.field, refused.message.as_str()),
        ("body", "body references unknown vault token \"tok_\"")
    );
}

#[test]
fn credentials_of_the_vault_go_nowhere_in_the_clear() {
    let to = |url: &str, value: &str| {
        let mut request = request();
        with_header("X-Key", value)(&mut request);
        request.target_url = Some(url.into());
        TaskSpec::check(request, &limits(), NOW).map_err(|invalid| invalid.field)
    };
    assert_eq!(to("http://example.com/", TOKEN).err(), Some("targetUrl"));
    assert!(to("http://example.com/", "literal").is_ok());
    assert!(to("https://example.com/", TOKEN).is_ok());
    assert!(to("http://localhost:3000/", TOKEN).is_ok());
    assert!(to("http://127.0.0.1:3000/", TOKEN).is_ok());
}

#[test]
fn a_task_refers_to_so_many_tokens_at_most() {
    let tokens = |count: u32| {
        (0..count)
            .map(|n| format!("{{{{tok_01kc0q2v9x3d8e5h7j9m1n{n:04}}}}}"))
            .collect::<String>()
    };
    let check = |count| {
        let mut request = request();
        with_header("X-Key", &tokens(count))(&mut request);
        TaskSpec::check(request, &limits(), NOW)
    };
    assert!(check(20).is_ok());
    assert_eq!(
        check(21).expect_err("too many").message,
        "A task may reference at most 20 different vault tokens"
    );
}

#[test]
fn a_fingerprint_knows_no_credential_that_was_taken_out() {
    let taken = |value: &str| {
        let mut request = request();
        with_header("Authorization", value)(&mut request);
        let mut spec = TaskSpec::check(request, &limits(), NOW).expect("fine");
        let raw = spec.take_raw_credentials(&CredentialHeaders::default());
        let raw = raw.expect("one");
        let epoch = EpochId::new(NOW, 3);
        spec.set_sealed(&raw, "envelope".into(), epoch);
        assert_eq!(spec.headers[0].1, "Bearer ****");
        let created = spec.clone().accept(
            TaskId::new(NOW, 1, crate::partition::Partition::default()),
            TeamId::new(NOW, 2),
            None,
            NOW,
        );
        let sealed = created.sealed.expect("sealed");
        assert_eq!(
            (sealed.headers, sealed.envelope, sealed.epoch),
            (vec![0], "envelope".into(), Some(epoch))
        );
        spec.fingerprint()
    };
    assert_eq!(taken("Bearer one"), taken("Bearer two"));
}

#[test]
fn where_references_are_replaced_is_part_of_a_fingerprint_only_when_it_is_said() {
    let fingerprint = |resolve: Option<&str>| {
        let mut request = request();
        request.resolve = resolve.map(|place| vec![place.to_owned()]);
        let spec = TaskSpec::check(request, &limits(), NOW).expect("fine");
        spec.fingerprint()
    };
    assert_eq!(fingerprint(None), fingerprint(Some("headers")));
    assert_ne!(fingerprint(None), fingerprint(Some("body")));
    let with = |backoff: Option<BackoffRequest>| {
        let mut request = request();
        (request.retry_backoff, request.max_retries) = (backoff, Some(10));
        let spec = TaskSpec::check(request, &limits(), NOW).expect("fine");
        spec.fingerprint()
    };
    let overnight = BackoffRequest::Word("overnight".into());
    assert_ne!(with(None), with(Some(overnight)));
}

#[test]
fn a_delay_that_is_repeated_later_is_the_same_delay() {
    let fingerprint = |delay: Option<f64>, until: Option<&str>, now: Timestamp| {
        let mut request = request();
        request.delay = delay.map(Length::Seconds);
        request.delay_until = until.map(Into::into);
        let spec = TaskSpec::check(request, &limits(), now).expect("fine");
        spec.fingerprint()
    };
    let later = NOW.plus(Duration::from_secs(3));
    let first = fingerprint(Some(60.0), None, NOW);
    assert_eq!(first, fingerprint(Some(60.0), None, later));
    assert_ne!(first, fingerprint(Some(61.0), None, NOW));
    assert_ne!(first, fingerprint(None, None, NOW));
    let date = NOW.plus(Duration::from_secs(60)).to_string();
    assert_ne!(first, fingerprint(None, Some(&date), NOW));
    let dated = |now| fingerprint(None, Some(&date), now);
    assert_eq!(dated(NOW), dated(later));
}

#[test]
fn a_weight_belongs_to_a_fairness_key() {
    let with = |key: Option<&str>, weight| {
        let mut request = request();
        (request.fairness_key, request.fairness_weight) = (key.map(Into::into), weight);
        TaskSpec::check(request, &limits(), NOW)
    };
    let spec = with(Some("a"), Some(100)).expect("fine");
    assert_eq!(spec.fairness_weight, Some(100));
    assert_ne!(
        spec.fingerprint(),
        with(Some("a"), None).expect("fine").fingerprint()
    );
    for (key, weight, part) in [
        (Some("a"), 0, "between 1 and 100"),
        (Some("a"), 101, "between 1 and 100"),
        (None, 2, "needs a fairnessKey"),
    ] {
        let refused = with(key, Some(weight)).expect_err(part);
        assert_eq!(refused.field, "fairnessWeight");
        assert!(refused.message.contains(part), "{}", refused.message);
    }
}

#[test]
fn keys_are_checked_and_what_they_mean_together() {
    let with = |fairness: Option<&str>, ordering: Option<&str>, on_failure: Option<&str>| {
        let mut request = request();
        request.fairness_key = fairness.map(Into::into);
        request.ordering_key = ordering.map(Into::into);
        request.on_failure = on_failure.map(Into::into);
        TaskSpec::check(request, &limits(), NOW)
    };
    let longest = "ü".repeat(128);
    let spec = with(Some(&longest), Some(&longest), Some("cancelRest")).expect("fine");
    assert_eq!(spec.fairness_key.as_ref(), Some(&longest));
    let ordering = spec.ordering.expect("a key");
    assert_eq!(
        (ordering.key, ordering.on_failure),
        (longest.clone(), OnFailure::CancelRest)
    );
    let usual = with(None, Some("a"), None).expect("fine");
    assert_eq!(
        usual.ordering.map(|ordering| ordering.on_failure),
        Some(OnFailure::Skip)
    );
    let too_long = format!("{longest}x");
    for (fairness, ordering, on_failure, field, part) in [
        (Some(""), None, None, "fairnessKey", "1 to 128 characters"),
        (
            Some(&*too_long),
            None,
            None,
            "fairnessKey",
            "129 characters",
        ),
        (
            None,
            Some("a\nb"),
            None,
            "orderingKey",
            "control characters",
        ),
        (
            None,
            None,
            Some("skip"),
            "onFailure",
            "needs an orderingKey",
        ),
        (
            None,
            None,
            Some("block"),
            "onFailure",
            "needs an orderingKey",
        ),
        (
            None,
            Some("a"),
            Some("stop"),
            "onFailure",
            "\"cancelRest\" or \"block\", not \"stop\"",
        ),
    ] {
        let invalid = with(fairness, ordering, on_failure).expect_err(field);
        assert_eq!(invalid.field, field);
        assert!(invalid.message.contains(part), "{}", invalid.message);
    }
    let print = |ordering, on_failure| {
        let spec = with(None, ordering, on_failure).expect("fine");
        spec.fingerprint()
    };
    let skips = print(Some("a"), None);
    assert_ne!(skips, print(None, None));
    assert_ne!(skips, print(Some("b"), None));
    assert_ne!(skips, print(Some("a"), Some("cancelRest")));
    assert_eq!(skips, print(Some("a"), Some("skip")));
}

proptest! {
    #[test]
    fn no_request_makes_it_panic(url in ".{0,60}", number in any::<f64>(), whole in any::<i64>(), text in ".{0,30}") {
        let _ = TaskSpec::check(TaskRequest {
            target_url: Some(url), method: Some(text.clone()), headers: vec![(text.clone(), text.clone())],
            body: Some(text.clone()), body_encoding: Some("base64".into()), max_wait_seconds: Some(number), timeout_seconds: Some(number), delay_until: Some(text.clone()),
            delay: None, deadline: Some(text.clone()), expires_in: Some(Length::Seconds(number)), success: Some(text.clone()),
            tags: Some(vec![text.clone()]), metadata: Some(vec![(text.clone(), text.clone())]),
            max_retries: Some(whole), max_attempts: Some(whole), min_delay: Some(Length::Seconds(number)), max_delay: Some(Length::Text(text.clone())), jitter: Some(JitterRequest::Share(number)), max_age: Some(Length::Seconds(number)), retry_backoff: Some(BackoffRequest::Pauses(vec![Length::Seconds(number)])), retry_on: Some(vec![text.clone()]), priority: Some(whole),
            debounce: Some(DebounceRequest { key: Some(text.clone()), delay: Some(Length::Seconds(number)), max_delay: Some(Length::Seconds(number)), mode: Some(text.clone()) }),
            singleton: None, dedup: None, fairness_key: Some(text.clone()), ordering_key: Some(text.clone()), on_failure: Some(text.clone()),
            queue: Some(text.clone()), follow_redirects: None, on_complete_url: Some(text.clone()), resolve: Some(vec![text.clone()]), fairness_weight: Some(whole),
            limits: Some(vec![LimitRequest {
                key: Some(text.clone()),
                concurrency: Some(whole),
                rate: Some(RateRequest { limit: Some(whole), per: Some(Length::Seconds(number)), burst: Some(whole) }),
            }]),
            on_rate_limited: Some(text),
        }, &limits(), NOW);
    }

    #[test]
    fn requests_that_differ_have_other_fingerprints(a in "[a-z]{1,8}", b in "[a-z]{1,8}") {
        let with = |name: &str, body: &str| {
            let mut request = request();
            request.headers = vec![("x".into(), name.into())];
            request.body = Some(body.into());
            TaskSpec::check(request, &limits(), NOW).expect("fine").fingerprint()
        };
        prop_assert_eq!(with(&a, &b), with(&a, &b));
        if a != b {
            prop_assert_ne!(with(&a, &b), with(&b, &a));
        }
    }
}
