//! Connecting as the stock tools do: by URI or by flags, directly to a single host unless a replica set is named.

pub mod concern;
mod tls;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bson::{Document, doc};
use bygone_agent::source::Reader;
use bygone_base::{Clock, Error, ErrorKind, Result};
use bygone_restore::ServerVersion;
use mongodb::{
    Client,
    options::{
        AuthMechanism, ClientOptions, Compressor, Credential, ReadConcern, ReadPreference,
        SelectionCriteria, ServerAddress, Tls,
    },
};

pub use tls::is_key_locked;

use crate::extjson::{self, Strictness};

/// How long a server may be away in the middle of a dump, unless a server selection timeout is given: as in restores.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the connection flags say.
#[derive(Clone, Default)]
pub struct ConnectOptions {
    /// A connection string.
    pub uri: Option<String>,
    /// `host`, `host:port` or `set/host1,host2`.
    pub host: Option<String>,
    /// Port for hosts without one.
    pub port: Option<String>,
    /// User.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Database that holds the user.
    pub auth_database: Option<String>,
    /// How to authenticate.
    pub mechanism: Option<String>,
    /// Session token of AWS.
    pub aws_session_token: Option<String>,
    /// Use TLS.
    pub tls: bool,
    /// Certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key of the client.
    pub key_file: Option<PathBuf>,
    /// Password of that key.
    pub key_password: Option<String>,
    /// Check no certificate.
    pub insecure: bool,
    /// Which member to read from: a mode, or a JSON document.
    pub read_preference: Option<String>,
    /// Database to work on: where the user is looked for, too.
    pub db: Option<String>,
    /// How long to wait for a server.
    pub selection_timeout: Option<Duration>,
    /// Compressors for the network, separated by commas.
    pub compressors: Option<String>,
}

impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectOptions").field("host", &self.host).finish_non_exhaustive()
    }
}

/// A server that answers.
#[derive(Clone)]
pub struct Connection {
    /// The driver's client.
    pub client: Client,
    /// What it was made with.
    pub options: ClientOptions,
    /// Reads it.
    pub reader: Reader,
    /// The server's name for people.
    pub shown: String,
    /// The reader knows one server only, whatever that calls itself.
    pub direct: bool,
    /// How long a server may be away in the middle of a dump.
    pub patience: Duration,
    /// Its version.
    pub version: ServerVersion,
    /// Its version as it says it.
    pub version_text: String,
    /// A router of a sharded cluster.
    pub mongos: bool,
    /// Name of its replica set.
    pub set: Option<String>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The driver's own Debug shows the password of the client's key.
        f.debug_struct("Connection").field("shown", &self.shown).finish_non_exhaustive()
    }
}

/// Connects, and asks what the server is.
///
/// # Errors
/// Usage: flags and URI disagree or make no sense. Unavailable or Denied as the server is.
pub async fn connect(options: &ConnectOptions, clock: Arc<dyn Clock>) -> Result<Connection> {
    let (client_options, shown) = client_options(options).await?;
    let select = client_options.selection_criteria.clone();
    let direct = client_options.direct_connection == Some(true);
    let patience = client_options.server_selection_timeout.unwrap_or(PATIENCE);
    let client = Client::with_options(client_options.clone()).map_err(|e| refused(&shown, &e))?;
    let mut reader = Reader::new(client.clone(), shown.clone(), Arc::clone(&clock));
    if let Some(select) = select {
        reader = reader.select(select);
    }
    let hello = reader.command("admin", doc! {"isMaster": 1}, "hello").await;
    let hello = hello.map_err(|e| cannot_connect(e.error))?;
    let build = reader.command("admin", doc! {"buildInfo": 1}, "buildInfo").await;
    let build = build.map_err(|e| cannot_connect(e.error))?;
    let version_text = build.get_str("version").unwrap_or_default().to_owned();
    Ok(Connection {
        direct,
        patience,
        version: version_text.parse()?,
        version_text,
        mongos: hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid"),
        set: hello.get_str("setName").ok().map(str::to_owned),
        client,
        options: client_options,
        reader,
        shown,
        clock,
    })
}

/// The reader's hints speak of the source of a backup.
fn cannot_connect(failed: Error) -> Error {
    let hint = match failed.kind() {
        ErrorKind::Unavailable => "check host, port and TLS settings, and that the server runs",
        ErrorKind::Denied => "check user, password and the databases and mechanism of the login",
        _ => return failed,
    };
    failed.within("can't create session").hint(hint)
}

fn refused(shown: &str, error: &mongodb::error::Error) -> Error {
    let text = error.kind.to_string();
    let line = text.lines().next().unwrap_or_default();
    Error::usage(format!("can't create session: connecting to {shown}: {line}"))
}

/// The database that a connection string names.
///
/// # Errors
/// Usage: it is no connection string.
pub fn database_of(uri: &str) -> Result<Option<String>> {
    let rest = uri.strip_prefix("mongodb://").or_else(|| uri.strip_prefix("mongodb+srv://"));
    let rest = rest.ok_or_else(|| {
        Error::usage("error parsing uri: scheme must be \"mongodb\" or \"mongodb+srv\"")
    })?;
    let rest = rest.split('?').next().unwrap_or_default();
    let path = rest.split_once('/').map(|(_, path)| path).unwrap_or_default();
    let name = crate::names::collection_name(&path.replace('+', "%2B"));
    Ok(name.filter(|name| !name.is_empty()))
}

async fn client_options(options: &ConnectOptions) -> Result<(ClientOptions, String)> {
    let uri = match &options.uri {
        Some(uri) => uri.clone(),
        None => uri_of_hosts(options)?,
    };
    let bad = |e: mongodb::error::Error| {
        let text = e.kind.to_string();
        Error::usage(format!("error parsing uri: {}", text.lines().next().unwrap_or_default()))
    };
    let mut client = ClientOptions::parse(&uri).await.map_err(bad)?;
    let hosts: Vec<String> = client.hosts.iter().map(ToString::to_string).collect();
    let shown = hosts.join(",");
    if options.uri.is_some() {
        agree(options, &client)?;
    }
    credential(options, &mut client)?;
    tls::apply(options, &mut client)?;
    if let Some(names) = &options.compressors {
        client.compressors = compressors(names)?;
    }
    if let Some(text) = &options.read_preference {
        let preference = read_preference(text)?;
        client.selection_criteria = Some(SelectionCriteria::ReadPreference(preference));
    }
    let alone = client.hosts.len() == 1 && client.repl_set_name.is_none();
    let srv = uri.starts_with("mongodb+srv://");
    if alone && !srv && client.load_balanced != Some(true) && client.direct_connection.is_none() {
        client.direct_connection = Some(true);
    }
    client.app_name.get_or_insert_with(|| "bygone".to_owned());
    if let Some(timeout) = options.selection_timeout {
        client.server_selection_timeout = Some(timeout);
    }
    client.max_pool_size.get_or_insert(64);
    // A cursor's read concern is its own business; inherited ones surprise.
    client.read_concern = client.read_concern.filter(|c| *c != ReadConcern::snapshot());
    Ok((client, shown))
}

fn uri_of_hosts(options: &ConnectOptions) -> Result<String> {
    let host = options.host.as_deref().unwrap_or_default();
    let (set, hosts) = match host.split_once('/') {
        Some((set, hosts)) if !set.is_empty() => (Some(set), hosts),
        Some((_, hosts)) => (None, hosts),
        None => (None, host),
    };
    let hosts = if hosts.is_empty() { "localhost" } else { hosts };
    let mut list = Vec::new();
    for host in hosts.split(',') {
        let has_port =
            host.rsplit_once(':').is_some_and(|(_, p)| p.bytes().all(|b| b.is_ascii_digit()))
                && !host.ends_with(']');
        list.push(match (&options.port, has_port) {
            (Some(port), false) => format!("{host}:{port}"),
            (Some(port), true) if !host.ends_with(&format!(":{port}")) => {
                return Err(Error::usage(format!(
                    "cannot specify different ports in --host {host} and --port {port}"
                )));
            }
            _ => host.to_owned(),
        });
    }
    let set = set.map(|set| format!("?replicaSet={set}")).unwrap_or_default();
    Ok(format!("mongodb://{}/{set}", list.join(",")))
}

/// Flags beside a URI may only repeat it.
fn agree(options: &ConnectOptions, client: &ClientOptions) -> Result<()> {
    let conflict = |what: &str| {
        Err(Error::usage(format!(
            "Invalid Options: Cannot specify different {what} in connection URI and command-line option"
        )))
    };
    if options.host.is_some() || options.port.is_some() {
        let flags = uri_of_hosts(options)?;
        let list = flags.trim_start_matches("mongodb://").split('/').next().unwrap_or_default();
        let same = list
            .split(',')
            .all(|host| ServerAddress::parse(host).is_ok_and(|host| client.hosts.contains(&host)));
        if !same {
            return conflict("hosts");
        }
    }
    let held = client.credential.as_ref();
    let differs = |flag: &Option<String>, uri: Option<&String>| {
        flag.as_ref().is_some_and(|flag| uri.is_some_and(|uri| uri != flag))
    };
    if differs(&options.username, held.and_then(|c| c.username.as_ref())) {
        return conflict("usernames");
    }
    if differs(&options.password, held.and_then(|c| c.password.as_ref())) {
        return conflict("passwords");
    }
    let key_password = match &client.tls {
        Some(Tls::Enabled(tls)) => tls.tls_certificate_key_file_password.as_deref(),
        _ => None,
    };
    let given = options.key_password.as_deref().map(str::as_bytes);
    if given.is_some() && key_password.is_some_and(|held| Some(held) != given) {
        return conflict("passwords of the client certificate");
    }
    if options.tls && matches!(client.tls, Some(Tls::Disabled)) {
        return conflict("SSL options");
    }
    Ok(())
}

fn credential(options: &ConnectOptions, client: &mut ClientOptions) -> Result<()> {
    let mut credential = client.credential.clone().unwrap_or_default();
    if let Some(user) = &options.username {
        credential.username = Some(user.clone());
    }
    if let Some(password) = &options.password {
        credential.password = Some(password.clone());
    }
    if let Some(mechanism) = &options.mechanism {
        credential.mechanism = Some(known_mechanism(mechanism)?);
    }
    if credential.username.is_none() && credential.mechanism.is_none() {
        return Ok(());
    }
    let outside =
        matches!(credential.mechanism, Some(AuthMechanism::MongoDbX509 | AuthMechanism::Plain));
    if let Some(source) = &options.auth_database {
        credential.source = Some(source.clone());
    } else if credential.source.is_none() && options.uri.is_none() && !outside {
        credential.source = options.db.clone();
    }
    if options.aws_session_token.is_some() {
        return Err(Error::unsupported("--awsSessionToken: IAM is not possible with this tool"));
    }
    client.credential = Some(fix_source(credential));
    Ok(())
}

fn fix_source(mut credential: Credential) -> Credential {
    if matches!(credential.mechanism, Some(AuthMechanism::MongoDbX509)) {
        credential.source = Some("$external".to_owned());
        credential.password = None;
    }
    credential
}

fn known_mechanism(name: &str) -> Result<AuthMechanism> {
    match name {
        "SCRAM-SHA-1" => Ok(AuthMechanism::ScramSha1),
        "SCRAM-SHA-256" => Ok(AuthMechanism::ScramSha256),
        "MONGODB-X509" => Ok(AuthMechanism::MongoDbX509),
        "PLAIN" => Ok(AuthMechanism::Plain),
        other => Err(Error::unsupported(format!(
            "--authenticationMechanism {other}: this tool has SCRAM-SHA-1, SCRAM-SHA-256, MONGODB-X509 and PLAIN"
        ))),
    }
}

/// Names separated by commas; `none` is one that changes nothing. The stock tools pass over names that nobody knows.
fn compressors(names: &str) -> Result<Option<Vec<Compressor>>> {
    let names = names.split(',').map(str::trim).filter(|name| !matches!(*name, "" | "none"));
    let known = |name: &str| {
        name.parse().map_err(|_| {
            Error::usage(format!("--compressors {name}: this tool has snappy, zlib and zstd"))
        })
    };
    let all: Vec<Compressor> = names.map(known).collect::<Result<_>>()?;
    Ok(Some(all).filter(|all| !all.is_empty()))
}

/// A mode, or `{mode, tagSets, maxStalenessSeconds}`.
fn read_preference(text: &str) -> Result<ReadPreference> {
    let bad = |what: &str| Error::usage(format!("error parsing --readPreference: {what}"));
    if !text.trim_start().starts_with('{') {
        return mode(text.trim(), Document::new())
            .ok_or_else(|| bad(&format!("unknown mode {text}")));
    }
    let bytes = extjson::parse(text, Strictness::Relaxed).map_err(|e| bad(e.message()))?;
    let given = Document::from_reader(&bytes[..]).map_err(|e| bad(&e.to_string()))?;
    let name = given.get_str("mode").map_err(|_| bad("mode is missing"))?;
    mode(name, given.clone()).ok_or_else(|| bad(&format!("unknown mode {name}")))
}

fn mode(name: &str, given: Document) -> Option<ReadPreference> {
    let mut options = mongodb::options::ReadPreferenceOptions::default();
    let tags = given.get_array("tagSets").or_else(|_| given.get_array("tags")).ok();
    options.tag_sets = tags.map(|sets| {
        let set = |set: &bson::Bson| {
            let tags = set.as_document()?.iter();
            Some(tags.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect())
        };
        sets.iter().filter_map(set).collect()
    });
    let staleness = given.get("maxStalenessSeconds").and_then(|s| match s {
        bson::Bson::Int32(n) => u64::try_from(*n).ok(),
        bson::Bson::Int64(n) => u64::try_from(*n).ok(),
        _ => None,
    });
    options.max_staleness = staleness.map(Duration::from_secs);
    let options = Some(options);
    match name.to_ascii_lowercase().as_str() {
        "primary" => Some(ReadPreference::Primary),
        "primarypreferred" => Some(ReadPreference::PrimaryPreferred { options }),
        "secondary" => Some(ReadPreference::Secondary { options }),
        "secondarypreferred" => Some(ReadPreference::SecondaryPreferred { options }),
        "nearest" => Some(ReadPreference::Nearest { options }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_compressors_are_taken() {
        let all = compressors("zstd, snappy,none").unwrap().unwrap();
        assert_eq!(all, [Compressor::Zstd { level: None }, Compressor::Snappy]);
        assert!(compressors("none").unwrap().is_none());
        let error = compressors("snappy,lzma").unwrap_err();
        assert!(error.message().contains("lzma"), "{error}");
    }

    #[test]
    fn hosts_become_a_uri() {
        let uri = |host: Option<&str>, port: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let (host, port) = (own(host), own(port));
            uri_of_hosts(&ConnectOptions { host, port, ..ConnectOptions::default() })
        };
        assert_eq!(uri(None, None).unwrap(), "mongodb://localhost/");
        assert_eq!(uri(Some("a"), Some("5")).unwrap(), "mongodb://a:5/");
        assert_eq!(uri(Some("s/a:1,b:2"), None).unwrap(), "mongodb://a:1,b:2/?replicaSet=s");
        assert!(uri(Some("a:1"), Some("2")).is_err());
    }

    #[test]
    fn a_uri_names_a_database() {
        let found = |uri: &str| database_of(uri).unwrap();
        assert_eq!(found("mongodb://u:p@a:1,b/shop?x=y").as_deref(), Some("shop"));
        assert_eq!(found("mongodb://a"), None);
        assert_eq!(found("mongodb://a/?x=/y"), None);
        assert!(database_of("http://a").is_err());
    }

    #[test]
    fn read_preferences_are_modes_or_documents() {
        assert!(matches!(read_preference("nearest"), Ok(ReadPreference::Nearest { .. })));
        let text = "{mode: 'secondary', tagSets: [{a: 'b'}], maxStalenessSeconds: 123}";
        let Ok(ReadPreference::Secondary { options: Some(options) }) = read_preference(text) else {
            panic!("not read");
        };
        assert_eq!(options.max_staleness, Some(Duration::from_secs(123)));
        assert_eq!(options.tag_sets.unwrap()[0]["a"], "b");
        assert!(read_preference("fast").is_err() && read_preference("{}").is_err());
    }
}
