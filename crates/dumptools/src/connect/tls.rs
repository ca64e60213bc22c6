//! Encryption as the flags ask for it.

use std::path::{Path, PathBuf};

use bygone_base::{
    Result,
    key::{self, LockedKey},
};
use mongodb::options::{ClientOptions, Tls, TlsOptions};

use super::{ConnectOptions, Uri};

/// Puts what the flags say into `client`.
pub(super) fn apply(options: &ConnectOptions, client: &mut ClientOptions) -> Result<()> {
    let wanted = options.tls || options.ca_file.is_some() || options.key_file.is_some();
    let mut tls = match client.tls.take() {
        Some(Tls::Enabled(tls)) => tls,
        other if !wanted => {
            client.tls = other;
            return Ok(());
        }
        _ => TlsOptions::default(),
    };
    if let Some(file) = &options.ca_file {
        tls.ca_file_path = Some(file.clone());
    }
    if let Some(file) = &options.key_file {
        tls.cert_key_file_path = Some(file.clone());
    }
    if let Some(password) = &options.key_password {
        tls.tls_certificate_key_file_password = Some(password.as_bytes().to_vec());
    }
    if options.insecure || options.uri.as_ref().is_some_and(Uri::insecure) {
        tls.allow_invalid_certificates = Some(true);
    }
    key::unlock(tls.cert_key_file_path.as_deref(), &mut tls.tls_certificate_key_file_password)
        .map_err(|e| e.within("can't create session"))?;
    client.tls = Some(Tls::Enabled(tls));
    Ok(())
}

/// Whether a password must be asked for before the client's certificate can be used.
///
/// # Errors
/// As [`LockedKey::read`].
pub fn is_key_locked(options: &ConnectOptions) -> Result<bool> {
    let in_uri = |name| options.uri.as_ref().and_then(|uri| uri.option(name));
    let file = options.key_file.clone();
    let file = file.or_else(|| in_uri("tlscertificatekeyfile").map(PathBuf::from));
    let given = options.key_password.is_some() || in_uri("tlscertificatekeyfilepassword").is_some();
    match file.as_deref().filter(|_| !given) {
        None => Ok(false),
        Some(file) => locked(file),
    }
}

fn locked(file: &Path) -> Result<bool> {
    LockedKey::read(file).map(|key| key.is_some()).map_err(|e| e.within("can't create session"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_without_need() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options =
            ConnectOptions { key_file: Some(file.path().to_owned()), ..ConnectOptions::default() };
        assert!(!is_key_locked(&options).unwrap());
        assert!(!is_key_locked(&ConnectOptions::default()).unwrap());
        let uri = Uri::parse("mongodb://a/?tlsCertificateKeyFile=/nowhere.pem").ok();
        assert!(is_key_locked(&ConnectOptions { uri, ..ConnectOptions::default() }).is_err());
    }
}
