//! Certificate authorities that callouts trust: those of the system and of the configuration.
//!
//! A certificate that is in the configuration and that the target itself presents is trusted even
//! if it is marked as one of an authority: `openssl req -x509` makes such certificates, and curl
//! accepts them. Its name and validity period are checked as usual.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::CalloutConfigError;

/// TLS settings of all callouts. HTTP/2 is offered first; the target chooses.
pub(super) fn client_config(extra_ca_pem: &[u8]) -> Result<Arc<ClientConfig>, CalloutConfigError> {
    let mut roots = RootCertStore::empty();
    let mut given = Vec::new();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a certificate authority of the system cannot be parsed; targets that rely on it will be refused");
    }
    roots.add_parsable_certificates(native.certs);
    for certificate in CertificateDer::pem_slice_iter(extra_ca_pem) {
        let certificate = certificate.map_err(|e| CalloutConfigError::BadCa(e.to_string()))?;
        roots
            .add(certificate.clone())
            .map_err(|e| CalloutConfigError::BadCa(e.to_string()))?;
        given.push(certificate);
    }
    if roots.is_empty() {
        tracing::warn!("no certificate authority is trusted: every https target will be refused");
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(CalloutConfigError::Tls)?;
    let mut config = if given.is_empty() {
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| CalloutConfigError::BadCa(e.to_string()))?;
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { usual, given }))
            .with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The usual verification, and one more case: see the module.
#[derive(Debug)]
struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    /// The certificates in the configuration.
    given: Vec<CertificateDer<'static>>,
}

/// Whether the certificate is marked as one of an authority, and nothing else is wrong with it so
/// far: webpki checks the validity period before.
fn is_an_authority(error: &Error) -> bool {
    // webpki's own error is wrapped in a private type.
    matches!(error, Error::InvalidCertificate(CertificateError::Other(other))
        if format!("{other:?}").contains("CaUsedAsEndEntity"))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Err(error) if is_an_authority(&error) && self.given.contains(end_entity) => {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                verify_server_name(&certificate, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
