//! STARTTLS, where it is required, and the certificate that clients are shown.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::client::{Client, HEADER};
use super::server::Server;
use super::server::options::Options;
use super::server::sasl::{MECHANISMS, Offered};
use super::{OPTIONS, Running, start};

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// What a client that takes any certificate believes, or one that knows this PEM.
fn trusting(pem: Option<&str>) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let Some(pem) = pem else {
        return config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth();
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")).expect("one that can be trusted");
    config.with_root_certificates(roots).with_no_client_auth()
}

/// A stream up to where TLS begins, and the connection with TLS on it.
async fn secured(server: &Running, config: ClientConfig) -> Result<Client, std::io::Error> {
    let mut client = Client::connect(server).await;
    client.send(HEADER).await;
    let features = client.upto("</stream:features>").await;
    assert!(features.contains("<required/>") && !features.contains("<mechanism"), "{features}");
    client.send(STARTTLS).await;
    client.upto("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
    let tcp = std::mem::replace(&mut client.io, Box::new(tokio::io::empty()));
    let name = ServerName::try_from("localhost").expect("a name");
    client.io = Box::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await?);
    Ok(client)
}

#[tokio::test]
async fn starttls_comes_first() {
    let server = start(&["--tls"]).await;
    let mut client = secured(&server, trusting(None)).await.expect("a handshake");
    client.send(HEADER).await;
    let features = client.upto("</stream:features>").await;
    assert!(features.contains("<mechanism>PLAIN</mechanism>") && !features.contains("<starttls"), "{features}");

    let mut hasty = Client::connect(&server).await;
    hasty.send(HEADER).await;
    hasty.upto("</stream:features>").await;
    hasty.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHIAeA==</auth>").await;
    assert!(hasty.rest().await.contains("<stream:error><policy-violation "));
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn option(name: &str, file: &std::path::Path) -> String {
    format!("--{name}={}", file.display())
}

/// That the client knows the certificate is enough, and nothing else is.
async fn shows(server: &Running, pem: &str) {
    let mut client = secured(server, trusting(Some(pem))).await.expect("the certificate that it knows");
    client.send(HEADER).await;
    client.upto("</stream:features>").await;
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate").cert.pem();
    let error = secured(server, trusting(Some(&other))).await.err().expect("a certificate that it does not know");
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn a_certificate_can_be_given() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (file("given.crt"), file("given.key"));
    std::fs::write(&certificate, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let server = start(&["--tls", &option("tls-cert", &certificate), &option("tls-key", &key)]).await;
    shows(&server, &made.cert.pem()).await;
}

#[tokio::test]
async fn a_certificate_that_is_made_is_written_where_clients_find_it() {
    let out = file("made.crt");
    let server = start(&["--tls", &option("tls-cert-out", &out)]).await;
    let pem = std::fs::read_to_string(&out).expect("a file");
    assert!(!pem.contains("PRIVATE"), "the key is not told");
    shows(&server, &pem).await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_an_error_at_the_start() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (nothing, empty, right) = (file("nothing.pem"), file("empty.pem"), file("right.pem"));
    std::fs::write(&empty, "").expect("a file");
    std::fs::write(&right, made.cert.pem() + &made.signing_key.serialize_pem()).expect("a file");
    for (certificate, key, said) in [
        (&nothing, &right, "nothing.pem"),
        (&right, &nothing, "nothing.pem"),
        (&empty, &right, "empty.pem"),
        (&right, &empty, "empty.pem"),
    ] {
        let given = ["--tls".to_owned(), option("tls-cert", certificate), option("tls-key", key)];
        let options = Options::parse_from(OPTIONS.map(str::to_owned).into_iter().chain(given));
        let error = Server::start(&options, None).await.err().expect("an error").to_string();
        assert!(error.contains(said), "{error}");
    }
    for incomplete in [&["--tls", "--tls-cert=a"][..], &["--tls", "--tls-key=a"], &["--tls-cert=a", "--tls-key=a"]] {
        assert!(Options::try_parse_from(OPTIONS.iter().chain(incomplete)).is_err(), "{incomplete:?}");
    }
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

/// Somebody may read along, unless both are on one machine.
#[test]
fn without_tls_a_password_is_not_asked_for_in_clear() {
    let all = Offered { mechanisms: MECHANISMS.map(str::to_owned).to_vec(), sasl2: true };
    let offered = |address: &str, is_tls| {
        let offered = all.on(address.parse().expect("an address"), is_tls);
        assert!(offered.mechanisms.iter().any(|mechanism| mechanism == "SCRAM-SHA-256"));
        (offered.mechanisms.iter().any(|mechanism| mechanism == "PLAIN"), offered.sasl2)
    };
    for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(offered(own, false), (true, true), "{own}");
    }
    for other in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
        assert_eq!(offered(other, false), (false, false), "{other}");
        assert_eq!(offered(other, true), (true, true), "{other}");
    }
}
