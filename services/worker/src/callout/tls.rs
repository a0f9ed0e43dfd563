//! Whom a TLS session is trusted with: the system's certificate authorities, and those of the configuration.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::CalloutConfigError;

/// The session settings of all callouts. HTTP/2 is offered first; the target chooses.
pub(super) fn client_config(extra_ca_pem: &[u8]) -> Result<Arc<ClientConfig>, CalloutConfigError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a certificate authority of the system cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    for certificate in CertificateDer::pem_slice_iter(extra_ca_pem) {
        let certificate = certificate.map_err(|e| CalloutConfigError::BadCa(e.to_string()))?;
        roots
            .add(certificate)
            .map_err(|e| CalloutConfigError::BadCa(e.to_string()))?;
    }
    if roots.is_empty() {
        tracing::warn!("no certificate authority is trusted: every https target will be refused");
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(CalloutConfigError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
