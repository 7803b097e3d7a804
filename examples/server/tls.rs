//! STARTTLS by `tokio-rustls`, with a certificate that is given, or one of our own making, by `rcgen`.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::options::Options;

type Error = Box<dyn std::error::Error + Send + Sync>;

pub fn acceptor(options: &Options) -> Result<TlsAcceptor, Error> {
    let (certificates, key) = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => read(certificate, key)?,
        _ => self_signed(options.domain.as_str(), options.tls_cert_out.as_deref())?,
    };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

type Certified = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read(certificate: &Path, key: &Path) -> Result<Certified, Error> {
    let certificates = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|e| at(certificate, e))?;
    if certificates.is_empty() {
        return Err(at(certificate, "no certificate"));
    }
    Ok((certificates, PrivateKeyDer::from_pem_file(key).map_err(|e| at(key, e))?))
}

/// Makes a key and a certificate for `domain`, which live as long as the process. Only the certificate is told.
fn self_signed(domain: &str, out: Option<&Path>) -> Result<Certified, Error> {
    let made = rcgen::generate_simple_self_signed([domain.to_owned()])?;
    if let Some(out) = out {
        std::fs::write(out, made.cert.pem()).map_err(|e| at(out, e))?;
    }
    Ok((vec![made.cert.der().clone()], PrivateKeyDer::try_from(made.signing_key.serialize_der())?))
}

fn at(file: &Path, error: impl std::fmt::Display) -> Error {
    format!("{}: {error}", file.display()).into()
}
