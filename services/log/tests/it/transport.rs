//! Connections with TLS, both sides showing a certificate.

use std::path::Path;

use waybill_log::jetstream::TlsConfig;
use waybill_log::{ConnectError, connect};
use waybill_testkit::{NatsOptions, NatsServer};

use crate::fixture::{EVENT, append_one, config_at};

/// An authority, and a certificate of it for both server and client, as files.
fn write_certificates(folder: &Path) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(vec![]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    for (name, text) in [
        ("ca.pem", certificate.pem()),
        ("cert.pem", leaf.pem()),
        ("key.pem", key.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path());
    let file = |name: &str| folder.path().join(name);
    let extra = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
        file("cert.pem"),
        file("key.pem"),
        file("ca.pem")
    );
    let options = NatsOptions {
        extra,
        ..NatsOptions::default()
    };
    let server = NatsServer::start_with(options).await.unwrap();
    let mut config = config_at(&server.url());
    config.connect_timeout_ms = 500;
    config.tls = TlsConfig {
        required: true,
        ca_file: Some(file("ca.pem")),
        ..TlsConfig::default()
    };
    let without_certificate = connect(&config).await;
    assert!(matches!(
        without_certificate,
        Err(ConnectError::Unreachable { .. })
    ));
    config.connect_timeout_ms = 10_000;
    config.tls.cert_file = Some(file("cert.pem"));
    config.tls.key_file = Some(file("key.pem"));
    let log = connect(&config).await.unwrap();
    append_one(&log, EVENT, "secret").await;
    config.tls.ca_file = Some(file("nowhere.pem"));
    let error = connect(&config).await.err().unwrap().to_string();
    assert!(error.contains("nowhere.pem"), "{error}");
}
