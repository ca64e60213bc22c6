//! TLS as the driver makes it: the given authority only, a certificate of our own where one is given.

use std::{path::Path, sync::Arc};

use bygone_base::{Error, Result, key::LockedKey};
use mongodb::options::TlsOptions;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::lost;

/// How a connection is encrypted.
#[derive(Clone)]
pub(super) struct Encryption {
    connector: TlsConnector,
}

impl Encryption {
    /// `None` where there is no file of authorities, or nothing is to be checked: only the driver does that.
    pub(super) fn new(options: &TlsOptions) -> Option<Encryption> {
        if options.allow_invalid_certificates == Some(true) {
            return None;
        }
        let authorities = CertificateDer::pem_file_iter(options.ca_file_path.as_ref()?).ok()?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.flatten());
        // The provider is named: with two of them linked there is no default.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(roots);
        let config = match &options.cert_key_file_path {
            None => config.with_no_client_auth(),
            Some(path) => {
                let chain = CertificateDer::pem_file_iter(path).ok()?;
                let chain = chain.collect::<Result<Vec<_>, _>>().ok()?;
                let password = options.tls_certificate_key_file_password.as_deref();
                let key = private_key(path, password)?;
                config.with_client_auth_cert(chain, key).ok()?
            }
        };
        Some(Encryption { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Encrypts a connection to `host`.
    pub(super) async fn wrap(&self, host: &str, socket: TcpStream) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|e| Error::usage("a host without a name for TLS").source(e))?;
        self.connector.connect(name, socket).await.map_err(|e| lost("TLS").source(e))
    }
}

fn private_key(path: &Path, password: Option<&[u8]>) -> Option<PrivateKeyDer<'static>> {
    match password {
        None => PrivateKeyDer::from_pem_file(path).ok(),
        Some(password) => {
            let key = LockedKey::read(path).ok()??.open(password).ok()?;
            Some(PrivatePkcs8KeyDer::from(key).into())
        }
    }
}
