//! What may not be called is not called: literals, names, names that change, and redirects.

use waybill_domain::egress::{Egress, OwnPorts};
use waybill_worker::callout::{CalloutConfig, Callouts, FailReason};

use super::{a_sink, a_sink_at, answered, callouts, failed, post, resolving_to, to_loopback, with};

fn resolving(egress: Egress, answers: &[&[&str]]) -> Callouts {
    with(CalloutConfig {
        egress,
        resolver: Some(resolving_to(answers)),
        // Every call resolves again.
        max_idle_per_host: 0,
        ..CalloutConfig::default()
    })
}

#[tokio::test]
async fn literals_are_refused_without_a_connection() {
    let sink = a_sink().await;
    let port = sink.addr.port();
    let strict = callouts(Egress::strict());
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "localhost",
    ] {
        let failure = failed(strict.call(post(&format!("http://{host}:{port}/"))).await);
        assert_eq!(failure.reason, FailReason::BlockedAddress, "{host}");
        assert!(!failure.message.contains("127"), "{}", failure.message);
    }
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn the_guard_off_those_literals_do_reach_the_target() {
    let sink = a_sink().await;
    let port = sink.addr.port();
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
        answered(
            to_loopback()
                .call(post(&format!("http://{host}:{port}/")))
                .await,
        );
    }
    assert_eq!(sink.count(), 4);
}

/// Whatever else on this machine tasks may call, Waybill's own ports are denied: services on them
/// trust the local machine.
#[tokio::test]
async fn our_own_ports_are_refused_under_every_name() {
    let sink = a_sink().await;
    let port = sink.addr.port();
    let egress = Egress::loopback()
        .and_allowing(["trusted.example"])
        .expect("a host")
        .and_own_ports(OwnPorts {
            api: None,
            inside: vec![port],
        });
    let calls = resolving(egress, &[&["127.0.0.1"]]);
    for host in ["127.0.0.1", "0x7f.1", "rebound.example", "trusted.example"] {
        let failure = failed(calls.call(post(&format!("http://{host}:{port}/"))).await);
        assert_eq!(failure.reason, FailReason::BlockedAddress, "{host}");
    }
    assert_eq!(sink.count(), 0);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused() {
    let sink = a_sink().await;
    let url = format!("http://target.example:{}/", sink.addr.port());
    for answers in [
        &["127.0.0.1"][..],
        &["::ffff:127.0.0.1"],
        &["8.8.8.8", "127.0.0.1"],
        &["8.8.8.8", "::1"],
        &["169.254.169.254"],
    ] {
        let failure = failed(
            resolving(Egress::strict(), &[answers])
                .call(post(&url))
                .await,
        );
        assert_eq!(failure.reason, FailReason::BlockedAddress, "{answers:?}");
    }
    assert_eq!(sink.connections(), 0);
    answered(
        resolving(Egress::loopback(), &[&["127.0.0.1"]])
            .call(post(&url))
            .await,
    );
}

#[tokio::test]
async fn a_trusted_name_may_lead_inside() {
    let sink = a_sink().await;
    let egress = Egress::allowing(["target.example"]).expect("valid");
    let callouts = resolving(egress, &[&["127.0.0.1"]]);
    let port = sink.addr.port();
    answered(
        callouts
            .call(post(&format!("http://target.example:{port}/")))
            .await,
    );
    let other = failed(
        callouts
            .call(post(&format!("http://other.example:{port}/")))
            .await,
    );
    assert_eq!(other.reason, FailReason::BlockedAddress);
}

#[tokio::test]
async fn a_name_that_changes_its_answer_is_judged_each_time() {
    let sink = a_sink_at("0.0.0.0:0").await;
    let egress = Egress::allowing(["127.0.0.1"]).expect("valid");
    let callouts = resolving(egress, &[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1"]]);
    let url = format!("http://target.example:{}/", sink.addr.port());
    answered(callouts.call(post(&url)).await);
    let failure = failed(callouts.call(post(&url)).await);
    assert_eq!(failure.reason, FailReason::BlockedAddress);
    answered(callouts.call(post(&url)).await);
    assert_eq!((sink.count(), sink.connections()), (2, 2));
}

#[tokio::test]
async fn a_name_without_addresses_fails_closed() {
    let url = "http://target.example/";
    for answers in [&[][..], &[&[][..]]] {
        let failure = failed(resolving(Egress::loopback(), answers).call(post(url)).await);
        assert_eq!(failure.reason, FailReason::Dns);
        assert_eq!(failure.message, "The target's name does not resolve");
    }
}

#[tokio::test]
async fn the_machines_own_resolver_knows_localhost_and_the_guard_refuses_it() {
    let sink = a_sink().await;
    let url = format!("http://localhost:{}/", sink.addr.port());
    answered(to_loopback().call(post(&url)).await);
    // Allowing a network other than loopback lets the name pass, but not its addresses.
    let elsewhere = callouts(Egress::allowing(["10.0.0.0/8"]).expect("valid"));
    let failure = failed(elsewhere.call(post(&url)).await);
    assert_eq!(failure.reason, FailReason::BlockedAddress);
    assert_eq!(sink.connections(), 1);
}

#[tokio::test]
async fn a_redirect_to_what_may_not_be_called_is_refused() {
    let sink = a_sink_at("0.0.0.0:0").await;
    let port = sink.addr.port();
    let callouts = callouts(Egress::allowing(["127.0.0.1"]).expect("valid"));
    for to in [
        format!("http://127.0.0.2:{port}/"),
        format!("http://localhost.:{port}/").replace("localhost.", "[::ffff:127.0.0.2]"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "http://user:pw@127.0.0.1/".to_owned(),
    ] {
        let mut request = post(&format!(
            "http://127.0.0.1:{port}/redirect?to={to}&status=307"
        ));
        request.follow_redirects = true;
        let failure = failed(callouts.call(request).await);
        let expected = if to.contains('@') {
            FailReason::InvalidRequest
        } else {
            FailReason::BlockedAddress
        };
        assert_eq!(failure.reason, expected, "{to}");
    }
    assert_eq!(sink.count(), 5);
}
