//! URIs of MongoDB that name files: these are files of the hosts that connect, and so everybody's who may name one.

use bygone_base::{Error, ErrorKind, Result};
use bygone_catalog::record::Job;

use crate::{Access, Principal, Right};

/// Whether an option of the URI names a file: `tlsCAFile`, `tlsCertificateKeyFile`, `sslCRLFile` and their like.
///
/// Names are compared as the driver does it, and no place where an option may begin is left out.
pub(crate) fn names_file(uri: &str) -> bool {
    let uri = uri.to_lowercase();
    let mut options = uri.split(['?', '&', ';']);
    options.any(|option| {
        let name = option.split_once('=').map_or("", |(name, _)| name.trim());
        name.ends_with("file")
    })
}

impl Principal {
    /// Goes on if he may have the server connect by this URI. That which is there already (`before`) is not asked about.
    ///
    /// A file of the server may be another project's client certificate: only who looks after the server names one.
    ///
    /// # Errors
    /// Denied: it names a file.
    pub fn may_connect(&self, uri: &str, before: Option<&str>) -> Result<()> {
        if before == Some(uri) || !names_file(uri) || self.may(Right::Stores, None) {
            return Ok(());
        }
        let why = "the URI names a file of the server (tlsCAFile, tlsCertificateKeyFile or the like), and that needs the right Stores";
        Err(Error::new(ErrorKind::Denied, why)
            .hint("leave the file out, or let a Global Backup Admin give this URI"))
    }
}

impl Access {
    /// The URI of the server into which a job's drills restore, secrets and all; nothing where there are no drills, or the
    /// catalog's key does not open it.
    pub fn drill_target(&self, job: &Job) -> Option<String> {
        let drill = job.drill.as_ref()?;
        let opened = self.control.seal().open(&drill.to, &format!("drill/{}", job.id));
        Some(opened.ok()?.as_str().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use bygone_catalog::{
        Id,
        record::{Actor, Grant, Role},
    };

    use super::*;

    #[test]
    fn files_are_found_however_they_are_written() {
        for uri in [
            "mongodb://h/?tlsCAFile=/a",
            "mongodb://h/?tls=true&TLSCERTIFICATEKEYFILE=/a",
            "mongodb://h?ssl=true&sslClientCertificateKeyFile=/a",
            "mongodb://h/?sslPEMKeyFile=/a",
            "mongodb://h/db?x=y;tlsCRLFile=/a",
            // The driver makes a K of the Kelvin sign, too.
            "mongodb://h/?tlsCertificate\u{212a}eyFile=/a",
        ] {
            assert!(names_file(uri), "{uri}");
        }
        for uri in [
            "mongodb://tlscafile:tlscafile@h/?tls=true&appName=file",
            "mongodb://h/?tlsCertificateKeyFilePassword=x",
            "mongodb://h/file",
        ] {
            assert!(!names_file(uri), "{uri}");
        }
    }

    #[test]
    fn only_who_looks_after_the_server_names_its_files() {
        let project: Id = "a".repeat(24).parse().unwrap();
        let who = |role, project| Principal {
            actor: Actor::System,
            grants: vec![Grant { role, project }],
            address: None,
        };
        let ours = who(Role::ProjectBackupAdmin, Some(project));
        let uri = "mongodb://h/?tls=true&tlsCertificateKeyFile=/etc/other.pem";
        let refused = ours.may_connect(uri, Some("mongodb://h/")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied);
        assert!(refused.hint_text().is_some());
        assert!(ours.may_connect(uri, Some(uri)).is_ok());
        assert!(ours.may_connect("mongodb://h/?tls=true", None).is_ok());
        assert!(who(Role::GlobalBackupAdmin, None).may_connect(uri, None).is_ok());
    }
}
