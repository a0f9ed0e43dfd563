//! HTTPS: which certificates are trusted, and which HTTP version is used.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, Version};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use waybill_domain::egress::Egress;
use waybill_worker::callout::{CalloutConfig, Callouts, FailReason};

use super::raw::RawTarget;
use super::{answered, failed, post, resolving_to, with};

pub(super) const NAME: &str = "target.example";

pub(super) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A TLS server with that name and these protocols.
    pub(super) fn server(&self, name: &str, protocols: &[&[u8]], expired: bool) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        if expired {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .expect("a certificate and its key");
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        Arc::new(config).into()
    }

    pub(super) fn callouts(&self) -> Callouts {
        with(CalloutConfig {
            egress: Egress::loopback(),
            extra_ca_pem: self.pem.clone().into_bytes(),
            resolver: Some(resolving_to(&[&["127.0.0.1"]])),
            ..CalloutConfig::default()
        })
    }
}

/// Answers with the HTTP version of the request.
async fn https(acceptor: TlsAcceptor) -> RawTarget {
    RawTarget::start(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(tls) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                let version = format!("{:?}", request.version());
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(version))))
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(tls), service)
                .await;
        }
    })
    .await
}

pub(super) fn url(target: &RawTarget) -> String {
    format!("https://{NAME}:{}/", target.addr.port())
}

#[tokio::test]
async fn http2_is_spoken_where_the_target_can_and_one_connection_serves_many_calls() {
    let authority = Authority::new("authority");
    let target = https(authority.server(NAME, &[b"h2", b"http/1.1"], false)).await;
    let callouts = authority.callouts();
    answered(callouts.call(post(&url(&target))).await);
    let calls: Vec<_> = (0..50)
        .map(|_| callouts.call(post(&url(&target))))
        .collect();
    for outcome in futures::future::join_all(calls).await {
        let expected = format!("{:?}", Version::HTTP_2);
        assert_eq!(answered(outcome).body, expected);
    }
    assert_eq!(target.connections(), 1);
}

#[tokio::test]
async fn a_target_without_http2_is_spoken_to_in_http1() {
    let authority = Authority::new("authority");
    for protocols in [&[&b"http/1.1"[..]][..], &[]] {
        let target = https(authority.server(NAME, protocols, false)).await;
        let answer = answered(authority.callouts().call(post(&url(&target))).await);
        assert_eq!(answer.body, format!("{:?}", Version::HTTP_11));
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused_and_said_why() {
    let authority = Authority::new("authority");
    let stranger = Authority::new("stranger");
    let cases = [
        (
            stranger.server(NAME, &[b"h2"], false),
            "is not trusted: unknown issuer. The target must send its intermediate certificates too",
        ),
        (
            authority.server("other.example", &[b"h2"], false),
            "is for another name: it names other.example",
        ),
        (
            authority.server(NAME, &[b"h2"], true),
            "has expired on 2001-01-01T00:00:00.000Z: renew it",
        ),
    ];
    for (server, message) in cases {
        let target = https(server).await;
        let failure = failed(authority.callouts().call(post(&url(&target))).await);
        assert_eq!(failure.reason, FailReason::Tls);
        assert!(failure.message.contains(message), "{failure:?}");
    }
}

/// A certificate as made by `openssl req -x509`: marked as one of an authority, self-signed, with
/// the name of a server.
fn self_signed(name: &str) -> (String, TlsAcceptor) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    let chain = vec![certificate.der().clone()];
    let secret = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .expect("a certificate and its key");
    (certificate.pem(), Arc::new(config).into())
}

fn trusting(pem: &str) -> Callouts {
    with(CalloutConfig {
        egress: Egress::loopback(),
        extra_ca_pem: pem.as_bytes().to_vec(),
        resolver: Some(resolving_to(&[&["127.0.0.1"]])),
        ..CalloutConfig::default()
    })
}

#[tokio::test]
async fn the_targets_own_certificate_as_the_extra_authority_is_trusted_for_its_name() {
    let (pem, server) = self_signed(NAME);
    let target = https(server).await;
    answered(trusting(&pem).call(post(&url(&target))).await);

    let (other_pem, server) = self_signed("other.example");
    let target = https(server).await;
    let failure = failed(trusting(&other_pem).call(post(&url(&target))).await);
    assert!(failure.message.contains("for another name"), "{failure:?}");

    let (_, server) = self_signed(NAME);
    let target = https(server).await;
    let failure = failed(trusting(&pem).call(post(&url(&target))).await);
    assert_eq!(
        failure.reason,
        FailReason::Tls,
        "another key of the same name"
    );
    assert!(
        failure.message.contains("worker.extra_ca_file"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn an_alert_of_the_target_is_named() {
    let authority = Authority::new("authority");
    // The server supports none of the offered protocols.
    let target = https(authority.server(NAME, &[b"spdy/1"], false)).await;
    let failure = failed(authority.callouts().call(post(&url(&target))).await);
    assert!(
        failure.message.contains("the alert NoApplicationProtocol"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_target_of_an_old_version_is_told_so() {
    // The answer of a server that supports at most TLS 1.1: the fatal alert protocol_version (RFC
    // 5246, 7.2).
    const TOO_OLD: [u8; 7] = [21, 3, 1, 0, 2, 2, 70];
    let target = RawTarget::start(|mut stream, _| async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &TOO_OLD).await;
        // Held until the caller closes.
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
    })
    .await;
    let callouts = Authority::new("authority").callouts();
    let failure = failed(callouts.call(post(&url(&target))).await);
    assert_eq!(failure.reason, FailReason::Tls);
    assert_eq!(
        failure.message,
        "No TLS session with the target: it speaks neither TLS 1.2 nor TLS 1.3"
    );
}

#[tokio::test]
async fn a_target_that_speaks_no_tls_is_a_tls_failure() {
    let target = RawTarget::start(|mut stream, _| async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad\r\n\r\n").await;
        // Held until the caller closes.
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
    })
    .await;
    let failure = failed(
        Authority::new("authority")
            .callouts()
            .call(post(&url(&target)))
            .await,
    );
    assert_eq!(failure.reason, FailReason::Tls);
    assert_eq!(
        failure.message,
        "No TLS session with the target: what it sent is not TLS"
    );
}

#[test]
fn a_broken_authority_is_a_configuration_error() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let refused = Callouts::new(CalloutConfig {
        extra_ca_pem: broken.into(),
        ..CalloutConfig::default()
    });
    assert!(refused.is_err());
}
