//! A certificate authority for one test.

use std::{fs, path::PathBuf, sync::Arc};

use pkcs8::{PrivateKeyInfoRef, pkcs5::pbes2::Parameters};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

/// An authority with a server certificate for 127.0.0.1 and client
/// certificates on demand, as PEM files. Clones share the folder.
#[derive(Debug, Clone)]
pub struct Pki {
    folder: Arc<TempDir>,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

impl Pki {
    /// A new authority, with a server certificate and the client certificate `admin`.
    pub fn new() -> Pki {
        let folder = tempfile::Builder::new().prefix("bygone-pki-").tempdir().expect("folder");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "bygone test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("key");
        let ca = params.self_signed(&key).expect("authority");
        fs::write(folder.path().join("ca.pem"), ca.pem()).expect("write ca.pem");
        let pki = Pki { folder: Arc::new(folder), issuer: Arc::new(Issuer::new(params, key)) };
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = CertificateParams::new(names).expect("names");
        pki.issue("server", "server", server, ExtendedKeyUsagePurpose::ServerAuth);
        pki.client("admin");
        pki
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Certificate and key of the servers.
    pub fn server(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// Issues a client certificate with its key; the X.509 user's name is `CN=name,OU=clients`.
    pub fn client(&self, name: &str) -> PathBuf {
        let params = CertificateParams::default();
        self.issue(name, "clients", params, ExtendedKeyUsagePurpose::ClientAuth);
        self.folder.path().join(format!("{name}.pem"))
    }

    /// The client certificate `name` once more, with its key behind a password as `openssl pkcs8 -topk8` puts it there.
    pub fn lock(&self, name: &str, password: &str) -> PathBuf {
        let open = fs::read_to_string(self.folder.path().join(format!("{name}.pem")));
        let mut parts = pem::parse_many(open.expect("read a certificate")).expect("PEM");
        let key = parts.pop().expect("a key behind the certificate");
        let way = Parameters::generate_pbkdf2_sha256_aes256cbc(2048, &[7; 16], [9; 16]);
        let key = PrivateKeyInfoRef::try_from(key.contents()).expect("PKCS#8");
        let key = key.encrypt_with_params(way.expect("parameters"), password).expect("encrypt");
        parts.push(pem::Pem::new("ENCRYPTED PRIVATE KEY", key.as_bytes()));
        let path = self.folder.path().join(format!("{name}-locked.pem"));
        fs::write(&path, pem::encode_many(&parts)).expect("write a certificate");
        path
    }

    /// What a URI needs, with a leading `&`: the authority and the client certificate `admin`.
    pub(super) fn query(&self) -> String {
        let folder = self.folder.path().display();
        format!("&tls=true&tlsCAFile={folder}/ca.pem&tlsCertificateKeyFile={folder}/admin.pem")
    }

    fn issue(
        &self,
        name: &str,
        unit: &str,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        params.distinguished_name.push(DnType::CommonName, name);
        // Members are clients of each other.
        params.extended_key_usages = vec![usage, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        let pem = certificate.pem() + &key.serialize_pem();
        fs::write(self.folder.path().join(format!("{name}.pem")), pem)
            .expect("write a certificate");
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}
