//! The real source: a direct connection of its own to each member, so that it
//! is always known which member was read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bson::{Document, doc};
use bygone_base::{Clock, Error, ErrorKind, OpTime, Result, Ts, key};
use bygone_oplog::filter::Filter;
use futures::future::join_all;
use mongodb::{
    Client,
    options::{ClientOptions, SelectionCriteria, ServerAddress, ServerMonitoringMode, Tls},
};

use crate::gather::NOTE;

use super::{
    Batches, CollectionSize, Listing, Member, MemberInfo, MemberState, Scan, Server, Source,
    SourceResult, SourceUri, error::from_driver,
};

/// How long a member may take to be found and connected.
const CONNECT: Duration = Duration::from_secs(5);
/// The driver's own look at a member.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Connections that nobody needed for so long are closed.
const UNUSED: Duration = Duration::from_secs(60);
/// How long a small command may take.
const COMMAND: Duration = Duration::from_secs(60);

/// A replica set reached by URI.
pub struct MongoSource {
    uri: SourceUri,
    options: ClientOptions,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By address as we connect to it.
    clients: BTreeMap<String, Client>,
    /// The set's name of a member to the address where it answered: they
    /// differ behind address translation.
    routes: BTreeMap<String, String>,
    primary: Option<String>,
}

impl fmt::Debug for MongoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoSource").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl MongoSource {
    /// Reads the URI's options; connects to nothing yet (an SRV name is looked up).
    pub async fn new(uri: SourceUri, clock: Arc<dyn Clock>) -> Result<Self> {
        let hosts = uri.hosts();
        let mut options = ClientOptions::parse(uri.expose())
            .await
            .map_err(|e| from_driver("reading the source URI", &hosts, &e).error)?;
        if let Some(Tls::Enabled(tls)) = &mut options.tls {
            let file = tls.cert_key_file_path.as_deref();
            key::unlock(file, &mut tls.tls_certificate_key_file_password)?;
        }
        if options.load_balanced == Some(true) {
            return Err(Error::unsupported("a load balancer cannot be a source")
                .hint("name the members of the replica set"));
        }
        options.app_name = Some("bygone".into());
        options.server_selection_timeout = Some(CONNECT);
        options.connect_timeout = Some(CONNECT);
        options.max_pool_size = Some(64);
        // Members are looked at by the agent itself, which may have hundreds of them: by default the driver would
        // keep two more connections to each, and those that only an initial sync needed.
        options.server_monitoring_mode.get_or_insert(ServerMonitoringMode::Poll);
        options.heartbeat_freq.get_or_insert(HEARTBEAT);
        options.max_idle_time.get_or_insert(UNUSED);
        Ok(MongoSource { uri, options, clock, state: Mutex::new(State::default()) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of exactly this address.
    fn client(&self, address: &str) -> Result<Client> {
        if let Some(client) = self.state().clients.get(address) {
            return Ok(client.clone());
        }
        let mut options = self.options.clone();
        let parsed = ServerAddress::parse(address)
            .map_err(|e| Error::usage(format!("host {address:?}: {e}")))?;
        options.hosts = vec![parsed];
        options.repl_set_name = None;
        options.direct_connection = Some(true);
        let client = Client::with_options(options)
            .map_err(|e| from_driver("connecting", address, &e).error)?;
        self.state().clients.insert(address.to_owned(), client.clone());
        Ok(client)
    }

    fn member(&self, host: &str) -> Result<MongoMember> {
        let address = self.state().routes.get(host).cloned().unwrap_or_else(|| host.to_owned());
        let client = self.client(&address)?;
        let clock = Arc::clone(&self.clock);
        Ok(MongoMember { host: host.to_owned(), client, clock, select: None })
    }

    async fn hello(&self, address: &str) -> Result<MemberInfo> {
        let member = self.member(address)?;
        let info = member.describe().await?;
        let mut state = self.state();
        state.routes.insert(info.host.clone(), address.to_owned());
        if info.state == MemberState::Primary {
            state.primary = Some(info.host.clone());
        }
        Ok(info)
    }

    fn check_set(&self, info: &MemberInfo) -> Result<()> {
        let Some(wanted) = &self.options.repl_set_name else { return Ok(()) };
        match &info.set {
            Some(set) if set != wanted => Err(Error::usage(format!(
                "{} belongs to the replica set {set}, the source URI says {wanted}",
                info.host
            ))),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Source for MongoSource {
    fn location(&self) -> String {
        self.uri.to_string()
    }

    async fn survey(&self) -> Result<Vec<MemberInfo>> {
        let direct = self.options.direct_connection == Some(true);
        let mut asked = BTreeSet::new();
        let mut names = BTreeSet::new();
        let mut next: Vec<String> = self.options.hosts.iter().map(ToString::to_string).collect();
        let (mut found, mut failure) = (Vec::<MemberInfo>::new(), None::<Error>);
        while !next.is_empty() {
            asked.extend(next.iter().cloned());
            for answer in join_all(next.iter().map(|address| self.hello(address))).await {
                match answer {
                    Ok(info) => {
                        self.check_set(&info)?;
                        if names.insert(info.host.clone()) {
                            found.push(info);
                        }
                    }
                    Err(error) => failure = Some(worse(failure, error)),
                }
            }
            next = found.iter().flat_map(|info| info.hosts.iter().cloned()).collect();
            next.sort();
            next.dedup();
            next.retain(|host| !direct && !asked.contains(host) && !names.contains(host));
        }
        match failure {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    async fn connect(&self, host: &str) -> Result<Arc<dyn Member>> {
        Ok(Arc::new(self.member(host)?))
    }

    async fn note(&self) -> Result<()> {
        let known = self.state().primary.clone();
        let host = known.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "the replica set has no primary now")
        })?;
        let note = doc! { "appendOplogNote": 1, "data": { "msg": NOTE } };
        let written = self.member(&host)?.command("admin", note, "appendOplogNote").await;
        if written.is_err() {
            self.state().primary = None;
        }
        written.map(|_| ()).map_err(Error::from)
    }
}

/// Of two reasons why nobody answers, the one that a person can act on.
fn worse(known: Option<Error>, new: Error) -> Error {
    match known {
        Some(known) if known.kind() != ErrorKind::Unavailable => known,
        Some(known) if new.kind() == ErrorKind::Unavailable => known,
        _ => new,
    }
}

/// One member, over its own connections.
#[derive(Clone)]
pub(super) struct MongoMember {
    pub(super) host: String,
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    /// Which member of a set answers, where the client is of a set.
    pub(super) select: Option<SelectionCriteria>,
}

impl fmt::Debug for MongoMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MongoMember({})", self.host)
    }
}

impl MongoMember {
    /// Runs a command whose reply is small.
    pub(super) async fn command(
        &self,
        db: &str,
        command: Document,
        what: &str,
    ) -> SourceResult<Document> {
        let db = self.client.database(db);
        let mut run = db.run_command(command);
        if let Some(select) = self.select.clone() {
            run = run.selection_criteria(select);
        }
        tokio::select! {
            reply = run => {
                reply.map_err(|e| from_driver(what, &self.host, &e))
            }
            () = self.clock.sleep(COMMAND) => Err(self.too_slow(what, COMMAND)),
        }
    }

    pub(super) fn too_slow(&self, what: &str, limit: Duration) -> super::SourceError {
        let message = format!("{what} on {}: no answer for {} s", self.host, limit.as_secs());
        Error::new(ErrorKind::Unavailable, message).into()
    }
}

#[async_trait]
impl Member for MongoMember {
    fn host(&self) -> &str {
        &self.host
    }

    async fn describe(&self) -> Result<MemberInfo> {
        let hello = self.command("admin", doc! { "hello": 1 }, "hello").await?;
        Ok(MemberInfo::from_hello(&self.host, &hello))
    }

    async fn check(&self) -> Result<Server> {
        self.probe().await
    }

    async fn rbid(&self) -> Result<i64> {
        // replSetGetRBID is refused to the backup role, its number in serverStatus is not.
        let status = doc! {
            "serverStatus": 1, "repl": 1, "metrics": 0, "wiredTiger": 0, "locks": 0,
            "opcounters": 0, "network": 0, "tcmalloc": 0, "transactions": 0, "asserts": 0,
        };
        let reply = self.command("admin", status, "serverStatus").await?;
        let rbid = reply.get_document("repl").ok().and_then(|repl| repl.get("rbid"));
        match rbid {
            Some(bson::Bson::Int32(n)) => Ok(i64::from(*n)),
            Some(bson::Bson::Int64(n)) => Ok(*n),
            _ => Err(Error::unsupported(format!("{} tells no rollback id", self.host))),
        }
    }

    async fn reach(&self, ts: Ts) -> Result<()> {
        Ok(self.wait_for_majority(ts).await?)
    }

    async fn catalogue(&self, filter: &Filter) -> Result<Listing> {
        self.list(filter).await
    }

    async fn size(&self, db: &str, coll: &str) -> Result<CollectionSize> {
        self.coll_size(db, coll).await
    }

    async fn sample(
        &self,
        db: &str,
        coll: &str,
        size: CollectionSize,
        n: u32,
    ) -> Result<Vec<Vec<u8>>> {
        self.sample_ids(db, coll, size, n).await
    }

    async fn scan(&self, scan: &Scan) -> SourceResult<Box<dyn Batches>> {
        self.open_scan(scan).await
    }

    async fn tail(&self, from: Ts, pause: Duration) -> SourceResult<Box<dyn Batches>> {
        self.open_tail(from, pause).await
    }

    async fn oldest_transaction(&self) -> Result<Option<OpTime>> {
        self.find_oldest_transaction().await
    }

    async fn entry_before(&self, ts: Ts, inclusive: bool) -> Result<Option<OpTime>> {
        self.find_entry_before(ts, inclusive).await
    }

    async fn entry_at(&self, ts: Ts) -> Result<Option<OpTime>> {
        self.find_entry_at(ts).await
    }

    async fn oldest_entry(&self) -> Result<Option<OpTime>> {
        self.find_oldest_entry().await
    }
}
