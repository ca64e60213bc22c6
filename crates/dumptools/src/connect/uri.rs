//! A connection string as the stock tools take it. What they pass over is passed over here too, what has another name
//! with the driver is translated, and who logs in is kept apart: flags and prompts have a word in that.

use std::fmt;

use bygone_agent::source::{UriParts, uri_parts};
use bygone_base::{Error, Result};
use mongodb::options::Credential;

/// Options that go to the driver as they are.
const KNOWN: [&str; 31] = [
    "appname",
    "compressors",
    "connecttimeoutms",
    "directconnection",
    "heartbeatfrequencyms",
    "journal",
    "loadbalanced",
    "localthresholdms",
    "maxconnecting",
    "maxidletimems",
    "maxpoolsize",
    "maxstalenessseconds",
    "minpoolsize",
    "readconcernlevel",
    "readpreference",
    "readpreferencetags",
    "replicaset",
    "retryreads",
    "retrywrites",
    "servermonitoringmode",
    "serverselectiontimeoutms",
    "srvmaxhosts",
    "srvservicename",
    "ssl",
    "tls",
    "tlscafile",
    "tlscertificatekeyfile",
    "tlscertificatekeyfilepassword",
    "w",
    "wtimeoutms",
    "zlibcompressionlevel",
];

/// Other names of options.
const RENAMED: [(&str, &str); 6] = [
    ("heartbeatintervalms", "heartbeatfrequencyms"),
    ("maxstaleness", "maxstalenessseconds"),
    ("sslcertificateauthorityfile", "tlscafile"),
    ("sslclientcertificatekeyfile", "tlscertificatekeyfile"),
    ("sslclientcertificatekeypassword", "tlscertificatekeyfilepassword"),
    ("wtimeout", "wtimeoutms"),
];

/// Options that the stock tools know and that change nothing here, or are read from [`Uri::option`].
const APART: [&str; 6] = [
    "authmechanism",
    "authmechanismproperties",
    "authsource",
    "sockettimeoutms",
    "timeoutms",
    "zstdcompressionlevel",
];

/// With TLS, certificates are not checked; without, they mean nothing.
const INSECURE: [&str; 3] = ["tlsinsecure", "sslinsecure", "tlsallowinvalidcertificates"];

/// Who logs in, and the database, in what the driver is asked to look up: only with a user does it keep what the name's
/// record says of the users' database, and only in the place of the string's own.
const NOBODY: &str = "bygone";
const NO_DATABASE: &str = "bygone-looks-it-up";

/// Less than this the driver refuses.
const HEARTBEAT: u64 = 500;

/// A connection string.
#[derive(Clone, Default)]
pub struct Uri {
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<String>,
    database: String,
    /// Names in lower case; values as they are written.
    options: Vec<(String, String)>,
    /// For the driver.
    kept: Vec<(String, String)>,
    ignored: Vec<String>,
    insecure: bool,
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uri").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

fn bad(what: impl fmt::Display) -> Error {
    Error::usage(format!("error parsing uri: {what}"))
}

impl Uri {
    /// Takes a text apart; hosts and values are the driver's to check.
    ///
    /// # Errors
    /// Usage: it is no connection string.
    pub fn parse(text: &str) -> Result<Uri> {
        let UriParts { scheme, user, password, hosts, rest } = uri_parts(text.trim());
        if !matches!(scheme, "mongodb://" | "mongodb+srv://") {
            return Err(bad("scheme must be \"mongodb\" or \"mongodb+srv\""));
        }
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let decoded = |text: &str| decoded(text).ok_or_else(|| bad("a malformed escape"));
        let mut uri = Uri {
            scheme: scheme.to_owned(),
            user: user.filter(|user| !user.is_empty()).map(decoded).transpose()?,
            password: password.filter(|p| !p.is_empty()).map(decoded).transpose()?,
            hosts: hosts.split(',').map(with_name).collect(),
            database: path.trim_start_matches('/').to_owned(),
            ..Uri::default()
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or_else(|| bad("invalid option"))?;
            uri.take(name, value)?;
        }
        Ok(uri)
    }

    fn take(&mut self, written: &str, value: &str) -> Result<()> {
        let lower = written.to_ascii_lowercase();
        let renamed = RENAMED.iter().find(|(old, _)| *old == lower);
        let name = renamed.map_or(lower.as_str(), |(_, new)| *new);
        let wrong = || bad(format!("invalid value for {written:?}: {value:?}"));
        let flag = || value.parse::<bool>().map_err(|_| wrong());
        match name {
            "connect" if value.eq_ignore_ascii_case("direct") => {
                self.keep("directconnection", "true");
            }
            "connect" if value.eq_ignore_ascii_case("automatic") => {}
            "connect" => return Err(wrong()),
            "maxpoolsize" if value == "0" => {}
            "heartbeatfrequencyms" => {
                let often = value.parse::<u64>().map_err(|_| wrong())?;
                self.keep(name, &often.max(HEARTBEAT).to_string());
            }
            "tlsdisableocspendpointcheck" | "ssldisableocspendpointcheck" => {
                flag()?;
                // Nothing is asked of such an endpoint here.
                self.keep("tls", "true");
            }
            name if INSECURE.contains(&name) => self.insecure |= flag()?,
            name if KNOWN.contains(&name) => self.keep(name, value),
            name if APART.contains(&name) => {}
            _ => self.ignored.push(lower.clone()),
        }
        self.options.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The last one counts, except of tags, which are a list.
    fn keep(&mut self, name: &str, value: &str) {
        if name != "readpreferencetags" {
            self.kept.retain(|(kept, _)| kept != name);
        }
        self.kept.push((name.to_owned(), value.to_owned()));
    }

    /// Options that nobody knows.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The database that it names.
    ///
    /// # Errors
    /// Usage: its name is malformed.
    pub fn database(&self) -> Result<Option<String>> {
        let name = decoded(&self.database).ok_or_else(|| bad("a malformed database name"))?;
        Ok(Some(name).filter(|name| !name.is_empty()))
    }

    /// The user.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password; an empty one is none.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// The value of an option, by its name in lower case.
    pub fn option(&self, name: &str) -> Option<String> {
        let (_, value) = self.options.iter().rev().find(|(given, _)| given == name)?;
        decoded(value)
    }

    /// Whether certificates are not to be checked.
    pub(super) fn insecure(&self) -> bool {
        self.insecure
    }

    /// Hosts as they are written, `localhost` where there is only a port.
    pub(super) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Hosts without a port get this one.
    pub(super) fn set_port(&mut self, port: &str) {
        for host in self.hosts.iter_mut().filter(|host| port_of(host).is_none()) {
            *host = format!("{host}:{port}");
        }
    }

    /// By a name that is looked up.
    pub(super) fn is_srv(&self) -> bool {
        self.scheme == "mongodb+srv://"
    }

    /// For the driver: without user and password.
    pub(super) fn text(&self) -> String {
        self.written("", &self.database)
    }

    /// The same, for a name that is looked up: so that [`looked_up`] finds what its record says of users.
    pub(super) fn question(&self) -> String {
        if !self.is_srv() {
            return self.text();
        }
        self.written(&format!("{NOBODY}@"), NO_DATABASE)
    }

    fn written(&self, user: &str, database: &str) -> String {
        let options: Vec<String> =
            self.kept.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (scheme, hosts) = (&self.scheme, self.hosts.join(","));
        let text = format!("{scheme}{user}{hosts}/{database}?{}", options.join("&"));
        text.trim_end_matches('?').to_owned()
    }
}

/// The database of users that a name's record tells, in what the driver made of a [`Uri::question`].
pub(super) fn looked_up(credential: Option<&Credential>) -> Option<String> {
    let source = credential?.source.clone()?;
    (source != NO_DATABASE).then_some(source)
}

/// `:27017` is that port of this machine.
pub(super) fn with_name(host: &str) -> String {
    if host.starts_with(':') { format!("localhost{host}") } else { host.to_owned() }
}

/// The port of a host as it is written.
pub(super) fn port_of(host: &str) -> Option<&str> {
    let (before, port) = host.rsplit_once(':')?;
    let address = before.contains(':') && !before.ends_with(']');
    (!address && port.bytes().all(|b| b.is_ascii_digit())).then_some(port)
}

/// A plus is a plus.
fn decoded(text: &str) -> Option<String> {
    crate::names::collection_name(&text.replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(uri: &str) -> String {
        Uri::parse(uri).unwrap().text()
    }

    #[test]
    fn a_database_and_options_are_found() {
        let found = |uri: &str| Uri::parse(uri).unwrap().database().unwrap();
        assert_eq!(found("mongodb://u:p@a:1,b/shop?x=y").as_deref(), Some("shop"));
        assert_eq!(found("mongodb://a"), None);
        assert_eq!(found("mongodb://a/?x=/y"), None);
        assert!(Uri::parse("http://a").is_err() && Uri::parse("mongodb://a/?x").is_err());
        let uri = Uri::parse("mongodb://a/x?tls=true&TLScertificateKeyFile=/a%20b+c.pem").unwrap();
        assert_eq!(uri.option("tlscertificatekeyfile").as_deref(), Some("/a b+c.pem"));
        assert_eq!(uri.option("tlscertificatekeyfilepassword"), None);
    }

    #[test]
    fn who_logs_in_is_kept_apart() {
        let uri = Uri::parse("mongodb://ro%40x:p%2Fq@a:1/app?authSource=b&authMechanism=PLAIN");
        let uri = uri.unwrap();
        assert_eq!((uri.user(), uri.password()), (Some("ro@x"), Some("p/q")));
        assert_eq!(uri.option("authsource").as_deref(), Some("b"));
        assert_eq!(uri.text(), "mongodb://a:1/app");
        let empty = Uri::parse("mongodb://me:@a").unwrap();
        assert_eq!((empty.user(), empty.password()), (Some("me"), None));
    }

    #[test]
    fn what_nobody_knows_is_passed_over() {
        let uri = "mongodb://a/?foo=bar&slaveOk=1&a=&w=2&autoReconnect=true&uuidRepresentation=x";
        let uri = Uri::parse(uri).unwrap();
        assert_eq!(uri.ignored(), ["foo", "slaveok", "a", "autoreconnect", "uuidrepresentation"]);
        assert_eq!(uri.text(), "mongodb://a/?w=2");
        // What the stock tools know and what is without effect here.
        let quiet = "mongodb://a/?timeoutMS=1&socketTimeoutMS=5&&maxPoolSize=0";
        assert_eq!(
            (text(quiet), Uri::parse(quiet).unwrap().ignored().len()),
            ("mongodb://a/".into(), 0)
        );
    }

    #[test]
    fn what_the_driver_calls_otherwise_is_translated() {
        assert_eq!(text("mongodb://a/?connect=direct"), "mongodb://a/?directconnection=true");
        assert_eq!(
            text("mongodb://a/?heartbeatFrequencyMS=1"),
            "mongodb://a/?heartbeatfrequencyms=500"
        );
        assert_eq!(text("mongodb://a?sslCertificateAuthorityFile=/c"), "mongodb://a/?tlscafile=/c");
        assert_eq!(text("mongodb://:31001/"), "mongodb://localhost:31001/");
        assert_eq!(text("mongodb+srv://a.b/x"), "mongodb+srv://a.b/x");
        let tags = "mongodb://a/?readPreference=nearest&readPreferenceTags=a:b&readPreferenceTags=";
        assert_eq!(text(tags).matches("tags").count(), 2);
        assert!(Uri::parse("mongodb://a/?connect=nope").is_err());
        assert!(Uri::parse("mongodb://a/?tlsInsecure=nope").is_err());
    }

    /// As the driver reads it: it puts what a record says in the place of the source, where the string says none.
    #[test]
    fn a_name_that_is_looked_up_may_tell_where_users_are() {
        let read = |uri: &str| {
            let question = Uri::parse(uri).unwrap().question();
            mongodb::options::ConnectionString::parse(question).unwrap()
        };
        let asked = read("mongodb+srv://u:p@a.b.c/shop?authSource=x&replicaSet=s");
        let mut credential = asked.credential.unwrap();
        assert_eq!((credential.username.as_deref(), &credential.source), (Some(NOBODY), &None));
        assert_eq!(asked.default_database.as_deref(), Some(NO_DATABASE));
        assert_eq!(asked.replica_set.as_deref(), Some("s"));
        // Where there is no record, the driver takes the database.
        credential.source = asked.default_database;
        assert_eq!(looked_up(Some(&credential)), None);
        credential.source = Some("admin".to_owned());
        assert_eq!(looked_up(Some(&credential)).as_deref(), Some("admin"));
        let plain = read("mongodb://u:p@a/shop");
        assert!(plain.credential.is_none() && plain.default_database.as_deref() == Some("shop"));
        assert_eq!(looked_up(None), None);
    }

    #[test]
    fn not_to_check_certificates_is_not_to_encrypt() {
        for option in INSECURE {
            let uri = Uri::parse(&format!("mongodb://a/?{option}=true")).unwrap();
            assert_eq!((uri.text().as_str(), uri.insecure()), ("mongodb://a/", true));
        }
    }

    #[test]
    fn ports_are_told_from_addresses() {
        assert_eq!(port_of("a:1"), Some("1"));
        assert_eq!(port_of("[::1]:5"), Some("5"));
        assert_eq!((port_of("[::1]"), port_of("::1"), port_of("a")), (None, None, None));
        let mut uri = Uri::parse("mongodb://a,b:2").unwrap();
        uri.set_port("5");
        assert_eq!(uri.hosts(), ["a:5", "b:2"]);
    }
}
