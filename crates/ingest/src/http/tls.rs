//! TLS for the ingest service: certificate chain and key from PEM files.

use std::{path::Path, sync::Arc};

use bygone_base::{Error, ErrorKind, Result};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// Reads the files and makes an acceptor that speaks HTTP/2, or HTTP/1.1 to who knows only that.
pub(super) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|e| unreadable("certificate", certificate).source(e))?;
    if chain.is_empty() {
        return Err(unreadable("certificate", certificate));
    }
    let key_der =
        PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable("private key", key).source(e))?;
    // The provider is named: with two of them linked there is no default.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal("TLS cannot be set up").source(e))?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|e| {
            Error::usage(format!(
                "certificate {} and key {} cannot be used together",
                certificate.display(),
                key.display()
            ))
            .source(e)
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn unreadable(what: &str, path: &Path) -> Error {
    let kind = if path.exists() { ErrorKind::Usage } else { ErrorKind::NotFound };
    Error::new(kind, format!("no {what} can be read from {}", path.display()))
        .hint("give a PEM file")
}
