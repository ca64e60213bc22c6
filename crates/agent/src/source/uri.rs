//! The source's connection string: kept secret, shown without its password.

use std::fmt;

use bygone_base::{Error, Result};
use secrecy::{ExposeSecret, SecretString};

/// A MongoDB connection string. Printing it shows no password.
#[derive(Clone)]
pub struct SourceUri {
    text: SecretString,
}

impl SourceUri {
    /// From `mongodb://` or `mongodb+srv://` text.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if !text.starts_with("mongodb://") && !text.starts_with("mongodb+srv://") {
            return Err(Error::usage("the URI does not start with mongodb://")
                .hint("for example mongodb://user@host1:27017,host2:27017/?replicaSet=rs0"));
        }
        let parts = parts(text);
        if parts.hosts.is_empty() {
            return Err(Error::usage("the URI names no host"));
        }
        // A password with a bare '/' or '?' ends the hosts too early: a part of it would pass for a port.
        let path = parts.rest.split('?').next().unwrap_or_default();
        if path.contains('@') || !parts.hosts.split(',').all(is_host) {
            return Err(Error::usage("the URI has a host that is none")
                .hint("write / ? : @ % in a user's name or password as %2F %3F %3A %40 %25"));
        }
        Ok(SourceUri { text: SecretString::from(text.to_owned()) })
    }

    /// Whether the text itself holds a password.
    pub fn has_password(&self) -> bool {
        parts(self.text.expose_secret()).password.is_some()
    }

    /// Whether the text holds anything that must not be seen: a password, or an option that is one.
    pub fn has_secret(&self) -> bool {
        let rest = parts(self.text.expose_secret()).rest;
        let options = rest.split_once('?').map_or("", |(_, options)| options);
        let secret = |option: &str| {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let name = name.to_ascii_lowercase();
            name.ends_with("password")
                || (name == "authmechanismproperties" && value.contains("TOKEN"))
        };
        self.has_password() || options.split('&').any(secret)
    }

    /// The same with this password (not percent-encoded) for its user.
    pub fn with_password(&self, password: &SecretString) -> Result<Self> {
        let text = self.text.expose_secret();
        let parts = parts(text);
        let user = parts.user.ok_or_else(|| {
            Error::usage("a password is given but the URI names no user")
                .hint("write the user into the URI: mongodb://user@host:27017/")
        })?;
        let password = percent_encode(password.expose_secret());
        let text = format!("{}{user}:{password}@{}{}", parts.scheme, parts.hosts, parts.rest);
        Ok(SourceUri { text: SecretString::from(text) })
    }

    /// Hosts for people.
    pub fn hosts(&self) -> String {
        parts(self.text.expose_secret()).hosts.to_owned()
    }

    /// The whole text, for handing to a driver; never for printing.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

impl fmt::Display for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = parts(self.text.expose_secret());
        f.write_str(parts.scheme)?;
        if let Some(user) = parts.user {
            let hidden = if parts.password.is_some() { ":***" } else { "" };
            write!(f, "{user}{hidden}@")?;
        }
        // Options can hold secrets too (tlsCertificateKeyFilePassword, tokens).
        f.write_str(parts.hosts)
    }
}

impl fmt::Debug for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceUri({self})")
    }
}

/// A connection string taken apart, each part as it is written.
pub struct UriParts<'a> {
    /// `mongodb://` or `mongodb+srv://`; empty where there is none.
    pub scheme: &'a str,
    /// User.
    pub user: Option<&'a str>,
    /// Password; it may be empty.
    pub password: Option<&'a str>,
    /// Hosts, separated by commas.
    pub hosts: &'a str,
    /// Database and options, with the signs before them.
    pub rest: &'a str,
}

impl fmt::Debug for UriParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UriParts").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// Takes a connection string apart; nothing of it is checked.
pub fn parts(text: &str) -> UriParts<'_> {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, after) = text.split_at(start);
    // User and password may not hold an unescaped '/' or '@', options may.
    let end = after.find(['/', '?']).unwrap_or(after.len());
    // A socket path in the host list is percent-encoded, so '/' ends the list.
    let (authority, rest) = after.split_at(end);
    let (info, hosts) = match authority.rsplit_once('@') {
        Some((info, hosts)) => (Some(info), hosts),
        None => (None, authority),
    };
    let (user, password) = match info.map(|info| info.split_once(':').ok_or(info)) {
        Some(Ok((user, password))) => (Some(user), Some(password)),
        Some(Err(user)) => (Some(user), None),
        None => (None, None),
    };
    UriParts { scheme, user, password, hosts, rest }
}

/// `name`, `name:port`, `[address]:port` or an encoded path of a socket.
fn is_host(host: &str) -> bool {
    let port = match host.rsplit_once(']') {
        Some((_, after)) => after.strip_prefix(':').unwrap_or("1"),
        None => host.split_once(':').map_or("1", |(_, port)| port),
    };
    !host.is_empty() && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_printed() {
        let uri = SourceUri::parse(
            "mongodb://u:s3cret@a:1,b:2/?replicaSet=rs0&tlsCertificateKeyFilePassword=s3cret",
        )
        .unwrap();
        let shown = format!("{uri} {uri:?} {}", uri.hosts());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(uri.has_password());
        assert_eq!(uri.to_string(), "mongodb://u:***@a:1,b:2");
    }

    #[test]
    fn secrets_are_found_wherever_they_stand() {
        let secret = |text: &str| SourceUri::parse(text).unwrap().has_secret();
        assert!(secret("mongodb://u:p@a:1"));
        assert!(secret("mongodb://a/?tls=true&TLSCertificateKeyFilePassword=p"));
        assert!(secret("mongodb://a/?proxyPassword=p"));
        assert!(secret("mongodb://a/?authMechanismProperties=AWS_SESSION_TOKEN:p"));
        let open = "mongodb://u@a/?tlsCertificateKeyFile=/a@b.pem&authMechanismProperties=X:y";
        assert!(!secret(open));
    }

    #[test]
    fn passwords_that_break_a_uri_are_not_taken_for_hosts() {
        for bad in ["mongodb://u:s3/cret@h:1/", "mongodb://u:s3?cret@h:1", "mongodb://u:s3"] {
            let error = SourceUri::parse(bad).unwrap_err();
            assert!(!error.to_string().contains("s3"), "{error}");
            assert!(error.hint_text().is_some());
        }
        let good = "mongodb://[::1]:27017,[::1],a.b,c:1,%2Ftmp%2Fm.sock/db?x=y@z";
        assert!(SourceUri::parse(good).is_ok());
    }

    #[test]
    fn a_password_can_be_put_in() {
        let uri = SourceUri::parse("mongodb://u@a:1/db?x=y").unwrap();
        assert!(!uri.has_password());
        let full = uri.with_password(&SecretString::from("p@ss/w:rd".to_owned())).unwrap();
        assert_eq!(full.expose(), "mongodb://u:p%40ss%2Fw%3Ard@a:1/db?x=y");
        let nobody = SourceUri::parse("mongodb://a:1").unwrap();
        assert!(nobody.with_password(&SecretString::from("x".to_owned())).is_err());
    }

    #[test]
    fn other_text_is_refused_without_being_shown() {
        let error = SourceUri::parse("http://u:s3cret@a").unwrap_err();
        assert!(!error.to_string().contains("s3cret"));
        assert!(SourceUri::parse("mongodb://u:p@").is_err());
    }
}
