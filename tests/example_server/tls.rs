//! STARTTLS, where it is required.

use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::client::{Client, HEADER};
use super::start;

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

#[tokio::test]
async fn starttls_comes_first() {
    let server = start(&["--tls"]).await;
    let mut client = Client::connect(&server).await;
    client.send(HEADER).await;
    let features = client.upto("</stream:features>").await;
    assert!(features.contains("<required/>") && !features.contains("<mechanism"), "{features}");
    client.send(STARTTLS).await;
    client.upto("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;

    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth();
    let tcp = std::mem::replace(&mut client.io, Box::new(tokio::io::empty()));
    let name = ServerName::try_from("localhost").expect("a name");
    client.io = Box::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a handshake"));
    client.send(HEADER).await;
    let features = client.upto("</stream:features>").await;
    assert!(features.contains("<mechanism>PLAIN</mechanism>") && !features.contains("<starttls"), "{features}");

    let mut hasty = Client::connect(&server).await;
    hasty.send(HEADER).await;
    hasty.upto("</stream:features>").await;
    hasty.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHIAeA==</auth>").await;
    assert!(hasty.rest().await.contains("<stream:error><policy-violation "));
}

/// The certificate is of the server's own making; who it names is not what is tested.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
