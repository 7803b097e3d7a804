//! STARTTLS with a certificate of our own making, by `rcgen` and `tokio-rustls`.

use std::error::Error;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Makes a key and a self-signed certificate for `domain`. They live as long as the process.
pub fn self_signed(domain: &str) -> Result<TlsAcceptor, Box<dyn Error + Send + Sync>> {
    let made = rcgen::generate_simple_self_signed([domain.to_owned()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
