//! The server's certificate: given, or made at the first start.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use bygone_base::{Error, Result, UnixMillis};
use bygone_ingest::http::TlsFiles;

use super::config::Tls;

/// The files to serve with, and the fingerprint of a certificate that was made here.
pub fn files(
    tls: &Tls,
    data: &Path,
    names: Names<'_>,
    now: UnixMillis,
) -> Result<(TlsFiles, Option<String>)> {
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        return Ok((TlsFiles { certificate: certificate.clone(), key: key.clone() }, None));
    }
    let files = TlsFiles { certificate: data.join("server.pem"), key: data.join("server.key") };
    if !files.certificate.exists() {
        make(&files, names, now)?;
    }
    let fingerprint = fingerprint(&files.certificate)?;
    Ok((files, Some(fingerprint)))
}

/// By what a server is called.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The name of this host.
    pub host: &'a str,
    /// `ADDRESS:PORT` that it listens on.
    pub listen: &'a str,
}

impl Names<'_> {
    /// All that a certificate is to be good for.
    fn all(self) -> Vec<String> {
        let mut names = vec![self.host.to_owned()];
        let listen: Option<SocketAddr> = self.listen.parse().ok();
        names.extend(
            listen.map(|at| at.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()),
        );
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        names.dedup();
        names
    }
}

/// Makes a certificate that this host signs itself, good for ten years.
fn make(files: &TlsFiles, names: Names<'_>, now: UnixMillis) -> Result<()> {
    let failed = |e: rcgen::Error| Error::internal("a certificate could not be made").source(e);
    let mut wanted = rcgen::CertificateParams::new(names.all()).map_err(failed)?;
    wanted.distinguished_name = rcgen::DistinguishedName::new();
    wanted.distinguished_name.push(rcgen::DnType::CommonName, format!("bygone on {}", names.host));
    // A day earlier: clocks differ.
    let (year, month, day) = date(UnixMillis(now.0.saturating_sub(86_400_000)));
    wanted.not_before = rcgen::date_time_ymd(year, month, day);
    // A year later there may be no such day.
    wanted.not_after = rcgen::date_time_ymd(year + 10, month, day.min(28));
    let key = rcgen::KeyPair::generate().map_err(failed)?;
    let made = wanted.self_signed(&key).map_err(failed)?;
    // The key first: with the certificate there, both are.
    write(&files.key, &key.serialize_pem(), 0o600)?;
    write(&files.certificate, &made.pem(), 0o644)
}

/// Year, month and day, UTC.
fn date(at: UnixMillis) -> (i32, u8, u8) {
    let text = at.to_rfc3339_seconds();
    let mut parts = text.split(['-', 'T']);
    let mut next = || parts.next().and_then(|part| part.parse::<u16>().ok()).unwrap_or(1);
    let (year, month, day) = (next(), next(), next());
    (year.into(), u8::try_from(month).unwrap_or(1), u8::try_from(day).unwrap_or(1))
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
        let names = Names { host: "backup", listen: "192.0.2.7:8780" };
        assert_eq!(names.all(), ["backup", "192.0.2.7", "localhost", "127.0.0.1", "::1"]);
        assert_eq!(Names { listen: "0.0.0.0:1", ..names }.all().len(), 4);
        let now = UnixMillis(1_795_170_600_000);
        assert_eq!(date(now), (2026, 11, 20));
        let files = |tls: &Tls| files(tls, dir.path(), names, now);
        let (first, print) = files(&tls).unwrap();
        let (_, again) = files(&tls).unwrap();
        assert_eq!(print, again);
        assert_eq!(print.unwrap().len(), 32 * 3 - 1);
        let mode = fs::metadata(&first.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let given = Tls { certificate: Some("a".into()), key: Some("b".into()) };
        assert_eq!(files(&given).unwrap().1, None);
    }
}
