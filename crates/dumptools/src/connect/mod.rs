//! Connecting as the stock tools do: by URI or by flags, directly to a single host unless a replica set is named.

mod agree;
pub mod concern;
mod login;
mod preference;
mod tls;
mod uri;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bson::doc;
use bygone_agent::source::Reader;
use bygone_base::{Clock, Error, ErrorKind, Result};
use bygone_restore::ServerVersion;
use mongodb::{
    Client,
    options::{
        ClientOptions, Compressor, ConnectionString, ReadConcern, SelectionCriteria, ServerAddress,
    },
};

pub use tls::is_key_locked;
pub use uri::Uri;

use agree::Hosts;

/// How long a server may be away in the middle of a dump, unless a server selection timeout is given: as in restores.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the connection flags say.
#[derive(Clone, Default)]
pub struct ConnectOptions {
    /// A connection string.
    pub uri: Option<Uri>,
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
    /// What the connection string says of documents that are read.
    pub read_concern: Option<ReadConcern>,
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
    /// The member that answered, by its name for itself.
    member: Option<String>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The driver's own Debug shows the password of the client's key.
        f.debug_struct("Connection").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl ConnectOptions {
    /// What can be said of them before anything is connected.
    ///
    /// # Errors
    /// Usage: flags and connection string contradict each other, or the string makes no sense.
    pub fn check(&self) -> Result<()> {
        Hosts::of_flags(self)?;
        let Some(uri) = &self.uri else { return Ok(()) };
        agree::agree(self, uri)?;
        ConnectionString::parse(uri.text()).map(|_| ()).map_err(|e| bad_uri(&e))
    }
}

impl Connection {
    /// The same, but everything is read from the member that answered: what several members say may be of several
    /// moments.
    #[must_use]
    pub fn of_one_member(&self) -> Connection {
        let mut same = self.clone();
        if let Some(member) = self.member.as_ref().filter(|_| !self.direct && !self.mongos) {
            same.reader = same.reader.only(member);
        }
        same
    }
}

/// Connects, and asks what the server is.
///
/// # Errors
/// Usage: flags and URI disagree or make no sense. Unavailable or Denied as the server is.
pub async fn connect(options: &ConnectOptions, clock: Arc<dyn Clock>) -> Result<Connection> {
    let (mut client_options, shown) = client_options(options).await?;
    // Cursors of dumps say it themselves; inherited ones surprise.
    let read_concern = client_options.read_concern.take();
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
    // Who was there once may be away for a while.
    reader = reader.patient(patience);
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
        member: hello.get_str("me").ok().map(str::to_owned),
        client,
        options: client_options,
        read_concern,
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

fn bad_uri(error: &mongodb::error::Error) -> Error {
    let text = error.kind.to_string();
    Error::usage(format!("error parsing uri: {}", text.lines().next().unwrap_or_default()))
}

async fn client_options(options: &ConnectOptions) -> Result<(ClientOptions, String)> {
    options.check()?;
    let flags = Hosts::of_flags(options)?;
    let mut client = match &options.uri {
        Some(uri) => {
            let mut uri = uri.clone();
            if let Some(port) = &options.port {
                uri.set_port(port);
            }
            let mut found = ClientOptions::parse(uri.question()).await.map_err(|e| bad_uri(&e))?;
            found.default_database = uri.database()?;
            found
        }
        None => {
            let hosts = flags.list.iter().map(ServerAddress::parse);
            let hosts = hosts.collect::<mongodb::error::Result<Vec<_>>>();
            ClientOptions::builder().hosts(hosts.map_err(|e| bad_uri(&e))?).build()
        }
    };
    if client.repl_set_name.is_none() {
        client.repl_set_name = flags.set;
    }
    let hosts: Vec<String> = client.hosts.iter().map(ToString::to_string).collect();
    let looked_up = uri::looked_up(client.credential.take().as_ref());
    client.credential = login::credential(options, options.uri.as_ref(), looked_up)?;
    tls::apply(options, &mut client)?;
    if let Some(names) = &options.compressors {
        client.compressors = compressors(names)?;
    }
    if let Some(text) = &options.read_preference {
        let preference = preference::read_preference(text)?;
        client.selection_criteria = Some(SelectionCriteria::ReadPreference(preference));
    }
    let alone = client.hosts.len() == 1 && client.repl_set_name.is_none();
    let srv = options.uri.as_ref().is_some_and(Uri::is_srv);
    if alone && !srv && client.load_balanced != Some(true) && client.direct_connection.is_none() {
        client.direct_connection = Some(true);
    }
    client.app_name.get_or_insert_with(|| "bygone".to_owned());
    if let Some(timeout) = options.selection_timeout {
        client.server_selection_timeout = Some(timeout);
    }
    client.max_pool_size.get_or_insert(64);
    Ok((client, hosts.join(",")))
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
}
