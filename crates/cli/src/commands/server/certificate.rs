//! The server's certificate: given, or made at the first start.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use bygone_base::{Error, Result};
use bygone_ingest::http::TlsFiles;

use super::config::Tls;

/// The files to serve with, and the fingerprint of a certificate that was made here.
pub fn files(tls: &Tls, data: &Path, host: &str) -> Result<(TlsFiles, Option<String>)> {
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        return Ok((TlsFiles { certificate: certificate.clone(), key: key.clone() }, None));
    }
    let files = TlsFiles { certificate: data.join("server.pem"), key: data.join("server.key") };
    if !files.certificate.exists() {
        make(&files, host)?;
    }
    let fingerprint = fingerprint(&files.certificate)?;
    Ok((files, Some(fingerprint)))
}

/// Makes a certificate that this host signs itself.
fn make(files: &TlsFiles, host: &str) -> Result<()> {
    let names = vec![host.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|e| Error::internal("a certificate could not be made").source(e))?;
    // The key first: with the certificate there, both are.
    write(&files.key, &made.signing_key.serialize_pem(), 0o600)?;
    write(&files.certificate, &made.cert.pem(), 0o644)
}

fn write(file: &PathBuf, text: &str, mode: u32) -> Result<()> {
    let io = |e| Error::io(format!("write {}", file.display()), e);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut out = options.open(file).map_err(io)?;
    out.write_all(text.as_bytes()).map_err(io)?;
    out.sync_all().map_err(io)
}

/// SHA-256 of the certificate, as browsers show it.
fn fingerprint(file: &Path) -> Result<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let io = |e| Error::io(format!("read {}", file.display()), e);
    let text = fs::read_to_string(file).map_err(io)?;
    let body: String = text
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    let der = STANDARD
        .decode(body.trim())
        .map_err(|e| Error::damaged(format!("{} is no certificate", file.display())).source(e))?;
    let hash = digest(&SHA256, &der);
    let bytes: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    Ok(bytes.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let tls = Tls { certificate: None, key: None };
        let (first, print) = files(&tls, dir.path(), "backup").unwrap();
        let (_, again) = files(&tls, dir.path(), "backup").unwrap();
        assert_eq!(print, again);
        assert_eq!(print.unwrap().len(), 32 * 3 - 1);
        let mode = fs::metadata(&first.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let given = Tls { certificate: Some("a".into()), key: Some("b".into()) };
        assert_eq!(files(&given, dir.path(), "backup").unwrap().1, None);
    }
}
