//! The server that is restored to: connecting, finding out what it is, and
//! commands that outlive elections and restarts.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bson::{Document, RawDocument, RawDocumentBuf, rawdoc};
use bygone_base::{Clock, CollectionId, Error, ErrorKind, Result, key};
use mongodb::{
    Client,
    options::{ClientOptions, Tls},
};

use crate::{
    batch::{Batch, Head},
    create::Command,
    error,
    facts::{Existing, Kind, Privilege, TargetFacts},
    lane::Lanes,
    names::Namespace,
    raw::{self, Build},
    version::ServerVersion,
};

/// How long a restore waits for a target that does not answer.
const PATIENCE: Duration = Duration::from_secs(300);
/// Characters of a refusal that are shown.
const LONGEST_REFUSAL: usize = 400;
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A server to restore to. Cheap to clone.
#[derive(Clone)]
pub struct Target {
    client: Client,
    lanes: Option<Arc<Lanes>>,
    clock: Arc<dyn Clock>,
    patience: Duration,
    own_timeout: bool,
    /// What commands wait for, where that is not the majority.
    concern: Option<Arc<[u8]>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client's own Debug shows credentials.
        f.debug_struct("Target").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// A reply, and how it was got.
#[derive(Debug)]
pub struct Reply {
    /// What the server answered.
    pub document: Document,
    /// An earlier attempt may have done its work.
    pub repeated: bool,
}

impl Target {
    /// Connects to `uri`, which may hold a password: it is never shown.
    pub async fn connect(uri: &str, clock: Arc<dyn Clock>) -> Result<Target> {
        let options = ClientOptions::parse(uri).await;
        let mut options = options.map_err(|e| error::driver("the target's URI", &e))?;
        if let Some(Tls::Enabled(tls)) = &mut options.tls {
            let file = tls.cert_key_file_path.as_deref();
            key::unlock(file, &mut tls.tls_certificate_key_file_password)?;
        }
        let client = Client::with_options(options.clone());
        let client = client.map_err(|e| error::driver("the target's URI", &e))?;
        Ok(Target::new(client, &options, clock))
    }

    /// A target behind a client that exists, which was made with `options`.
    pub fn new(client: Client, options: &ClientOptions, clock: Arc<dyn Clock>) -> Target {
        let lanes = Lanes::new(options).map(Arc::new);
        Target { client, lanes, clock, patience: PATIENCE, own_timeout: false, concern: None }
    }

    /// Whether somebody said how long to wait for other members (`wtimeout`): then what they do not have in time is a
    /// failure, and not a reason to ask again.
    #[must_use]
    pub fn own_timeout(mut self, own_timeout: bool) -> Target {
        self.own_timeout = own_timeout;
        self
    }

    /// What commands that make, change or drop something wait for: a write concern's document. They are waited for
    /// even where nobody waits for inserts.
    #[must_use]
    pub fn write_concern(mut self, concern: &[u8]) -> Target {
        let nobody = raw::get(concern, "w").and_then(|w| w.number()) == Some(0.0);
        let one = || Build::new().element(raw::kind::INT32, b"w", &1_i32.to_le_bytes()).finish();
        let majority = Build::new().str("w", "majority").finish();
        let concern = if nobody { one() } else { concern.to_vec() };
        self.concern = (concern != majority).then(|| concern.into());
        self
    }

    /// The body of a command, with the write concern that is wanted.
    fn body(&self, what: &str, command: &Command) -> Result<RawDocumentBuf> {
        let bytes = match &self.concern {
            Some(concern) if raw::get(&command.body, "writeConcern").is_some() => {
                let mut body = Build::new();
                for field in raw::fields(&command.body) {
                    let field = field?;
                    body = match field.name {
                        b"writeConcern" => body.doc("writeConcern", concern),
                        _ => body.field(&field),
                    };
                }
                body.finish()
            }
            _ => command.body.clone(),
        };
        RawDocumentBuf::from_bytes(bytes).map_err(|e| Error::internal(what).source(e))
    }

    /// How long to wait for a target that does not answer, for example while it restarts.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Target {
        self.patience = patience;
        self
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// One attempt.
    pub(crate) async fn once(
        &self,
        db: &str,
        body: RawDocumentBuf,
    ) -> mongodb::error::Result<Document> {
        self.client.database(db).run_raw_command(body).await
    }

    /// Runs a command, again and again while the target is not there.
    ///
    /// # Errors
    /// What the server refuses, with its code at the end of the message; Unavailable when patience ends.
    pub async fn run(&self, what: &str, command: &Command) -> Result<Reply> {
        let body = self.body(what, command)?;
        self.retry(what, &command.db, || Ok(body.clone())).await
    }

    /// As [`Target::run`] for a command that makes what is not there: when its reply was lost, it has made it.
    ///
    /// # Errors
    /// As [`Target::run`]; Conflict when somebody else has made it.
    pub async fn make(&self, what: &str, command: &Command) -> Result<()> {
        let body = self.body(what, command)?;
        let attempts = AtomicU32::new(0);
        let made = self.retry(what, &command.db, || {
            attempts.fetch_add(1, Ordering::Relaxed);
            Ok(body.clone())
        });
        match made.await {
            Err(failed) if failed.kind() == ErrorKind::Conflict && attempts.into_inner() > 1 => {
                Ok(())
            }
            made => made.map(|_| ()),
        }
    }

    /// As [`Target::run`], but a refusal that waiting does not help against is given as the server said it.
    ///
    /// # Errors
    /// Unavailable when patience ends.
    pub async fn answer(&self, what: &str, command: &Command) -> Result<Document> {
        let body = self.body(what, command)?;
        let mut tries = Tries::new(self);
        loop {
            let failed = match self.once(&command.db, body.clone()).await {
                Ok(reply) => match self.late(what, &reply) {
                    None => return unacknowledged(what, &reply).map_or(Ok(reply), Err),
                    Some(failed) => failed,
                },
                Err(failed) => match error::driver(what, &failed) {
                    lost if lost.kind().is_transient() => lost,
                    refused => {
                        let said = failed.server_response();
                        return said.and_then(|r| Document::try_from(r).ok()).ok_or(refused);
                    }
                },
            };
            tries.after(failed).await?;
        }
    }

    /// What an answer of [`Target::answer`] that is a refusal says; long texts of servers, which may hold whole
    /// documents, are cut.
    pub fn refusal(what: &str, reply: &Document) -> Error {
        let code = reply.get_i32("code").unwrap_or_default();
        let text = reply.get_str("errmsg").unwrap_or("no answer that says why");
        let text: String = match text.char_indices().nth(LONGEST_REFUSAL) {
            Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
            None => text.to_owned(),
        };
        error::server(what, code, &text)
    }

    /// As [`Target::run`] for a body that is built for each attempt.
    pub(crate) async fn retry(
        &self,
        what: &str,
        db: &str,
        body: impl Fn() -> Result<RawDocumentBuf>,
    ) -> Result<Reply> {
        let reply = self.patiently(what, db, body).await?;
        unacknowledged(what, &reply.document).map_or(Ok(reply), Err)
    }

    /// As [`Target::retry`]; a reply may say that other members do not have it, where asking again does not help.
    async fn patiently(
        &self,
        what: &str,
        db: &str,
        body: impl Fn() -> Result<RawDocumentBuf>,
    ) -> Result<Reply> {
        let mut tries = Tries::new(self);
        let mut repeated = false;
        loop {
            let failed = match self.once(db, body()?).await {
                Ok(document) => match self.late(what, &document) {
                    None => return Ok(Reply { document, repeated }),
                    Some(failed) => failed,
                },
                Err(failed) => error::driver(what, &failed),
            };
            tries.after(failed).await?;
            repeated = true;
        }
    }

    /// A write that happened but that other members do not have yet, where asking again may help.
    fn late(&self, what: &str, reply: &Document) -> Option<Error> {
        let own = self.own_timeout && write_concern_code(reply) == Some(error::TIMED_OUT);
        unacknowledged(what, reply).filter(|failed| failed.kind().is_transient() && !own)
    }

    /// Sends a batch, without its first `skip` documents. What other members do not have, where asking again does not
    /// help, is the reply's.
    pub(crate) async fn insert(
        &self,
        what: &str,
        db: &str,
        head: &Head,
        batch: &Batch,
        skip: usize,
    ) -> Result<Reply> {
        let mut repeated = false;
        if let Some(lanes) = &self.lanes {
            let sent = lanes.insert(self, what, &head.command(db), &batch.parts(skip)?).await;
            let judged = sent.map(|sent| {
                let document = sent?;
                self.late(what, &document).map_or(Ok(document), Err)
            });
            match judged {
                Some(Ok(document)) => return Ok(Reply { document, repeated }),
                Some(Err(failed)) if failed.kind().is_transient() => {
                    tracing::warn!("{failed}; trying again");
                    repeated = true;
                }
                Some(Err(failed)) => return Err(failed),
                None => {}
            }
        }
        let reply = self.patiently(what, db, || batch.body(head, skip)).await?;
        Ok(Reply { repeated: reply.repeated | repeated, ..reply })
    }

    /// Finds out what the target is and what it holds.
    pub async fn facts(&self) -> Result<TargetFacts> {
        // Nothing has begun: what does not answer now is more likely wrong than restarting.
        let found = self.clone().patience(Duration::ZERO).look().await;
        found.map_err(|failed| match failed.kind() {
            ErrorKind::Unavailable => failed
                .hint("does the target run, and does its URI name the hosts and the replica set?"),
            _ => denied_hint(failed, "restore"),
        })
    }

    async fn look(&self) -> Result<TargetFacts> {
        let hello = self.ask(rawdoc! {"hello": 1}, rawdoc! {"isMaster": 1}).await?;
        if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
            return Err(
                Error::unsupported("the target is a mongos").hint("give the URI of a replica set")
            );
        }
        let build = self.admin(rawdoc! {"buildInfo": 1}).await?;
        let version = build.get_str("version").unwrap_or_default().parse()?;
        let namespaces = self.namespaces().await?;
        let fcv = self.fcv().await?;
        let status = self.admin(rawdoc! {"connectionStatus": 1, "showPrivileges": true}).await?;
        let Authority { logged_in, held_roles, privileges } = authority(&status);
        Ok(TargetFacts {
            version,
            fcv,
            set: hello.get_str("setName").ok().map(str::to_owned),
            namespaces,
            logged_in,
            held_roles,
            privileges,
        })
    }

    pub(crate) async fn admin(&self, body: RawDocumentBuf) -> Result<Document> {
        let what =
            body.iter().next().and_then(|f| f.ok()).map(|(name, _)| name.as_str().to_owned());
        let what = format!("the target's {}", what.unwrap_or_default());
        Ok(self.retry(&what, "admin", || Ok(body.clone())).await?.document)
    }

    /// `new`, or what old servers have in its place.
    async fn ask(&self, new: RawDocumentBuf, old: RawDocumentBuf) -> Result<Document> {
        match self.once("admin", new.clone()).await {
            Err(failed) if error::code(&failed) == Some(59) => self.admin(old).await,
            _ => self.admin(new).await,
        }
    }

    async fn fcv(&self) -> Result<ServerVersion> {
        let reply =
            self.admin(rawdoc! {"getParameter": 1, "featureCompatibilityVersion": 1}).await?;
        let fcv = reply.get_document("featureCompatibilityVersion").cloned().unwrap_or_default();
        if fcv.contains_key("targetVersion") {
            return Err(Error::unsupported(
                "the target is between two feature compatibility versions",
            )
            .hint("let setFeatureCompatibilityVersion finish first"));
        }
        fcv.get_str("version").unwrap_or_default().parse()
    }

    async fn namespaces(&self) -> Result<BTreeMap<Namespace, Existing>> {
        let reply = self.admin(rawdoc! {"listDatabases": 1, "nameOnly": true}).await?;
        let names = reply.get_array("databases").cloned().unwrap_or_default();
        let mut found = BTreeMap::new();
        for entry in &names {
            let db = entry.as_document().and_then(|d| d.get_str("name").ok()).unwrap_or_default();
            if db == "local" {
                continue;
            }
            let listed = match self.list_collections(db).await {
                // Only a restore to config needs to know what is there.
                Err(denied) if denied.kind() == ErrorKind::Denied && db == "config" => continue,
                listed => listed?,
            };
            for entry in listed {
                if let Some((name, existing)) = existing(db, &entry) {
                    found.insert(name, existing);
                }
            }
        }
        Ok(found)
    }

    /// The entries of listCollections.
    pub(crate) async fn list_collections(&self, db: &str) -> Result<Vec<RawDocumentBuf>> {
        let what = format!("list the target's collections of {db}");
        self.cursor(&what, db, rawdoc! {"listCollections": 1}).await
    }

    /// All documents of a short cursor, read again from its start while the target is not there.
    ///
    /// # Errors
    /// As the server refuses it; Unavailable when patience ends.
    pub async fn cursor(
        &self,
        what: &str,
        db: &str,
        command: RawDocumentBuf,
    ) -> Result<Vec<RawDocumentBuf>> {
        let mut tries = Tries::new(self);
        loop {
            match self.documents(what, db, command.clone()).await {
                Err(failed) => tries.after(failed).await?,
                found => return found,
            }
        }
    }

    async fn documents(
        &self,
        what: &str,
        db: &str,
        command: RawDocumentBuf,
    ) -> Result<Vec<RawDocumentBuf>> {
        let failed = |e: mongodb::error::Error| error::driver(what, &e);
        let database = self.client.database(db);
        let mut cursor = database.run_raw_cursor_command(command).await.map_err(failed)?;
        let mut found = Vec::new();
        while cursor.advance().await.map_err(failed)? {
            found.push(cursor.current().to_owned());
        }
        Ok(found)
    }
}

/// How long something is tried again while the target is not there.
struct Tries<'t> {
    target: &'t Target,
    start: Duration,
    pause: Duration,
}

impl<'t> Tries<'t> {
    fn new(target: &'t Target) -> Tries<'t> {
        let (start, pause) = (target.clock.monotonic(), Duration::from_millis(20));
        Tries { target, start, pause }
    }

    /// Waits a little before the next try; what another try does not mend, and what comes too late, is given back.
    async fn after(&mut self, failed: Error) -> Result<()> {
        let waited = self.target.clock.monotonic().saturating_sub(self.start);
        if !failed.kind().is_transient() || waited > self.target.patience {
            return Err(failed);
        }
        tracing::warn!("{failed}; trying again");
        self.target.clock.sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// A write that happened but that other members do not have (yet).
pub(crate) fn unacknowledged(what: &str, reply: &Document) -> Option<Error> {
    let code = write_concern_code(reply)?;
    let failed = reply.get_document("writeConcernError").ok()?;
    Some(error::server(what, code, failed.get_str("errmsg").unwrap_or_default()))
}

fn write_concern_code(reply: &Document) -> Option<i32> {
    let failed = reply.get_document("writeConcernError").ok()?;
    Some(failed.get_i32("code").unwrap_or_default())
}

fn existing(db: &str, entry: &RawDocument) -> Option<(Namespace, Existing)> {
    let name = entry.get_str("name").ok()?;
    let kind = match entry.get_str("type").ok()? {
        "view" => Kind::View,
        "timeseries" => Kind::TimeSeries,
        _ => Kind::Collection,
    };
    let id = entry.get_document("info").ok().and_then(|info| {
        let uuid = info.get_binary("uuid").ok()?;
        CollectionId::from_slice(uuid.bytes)
    });
    Some((Namespace::new(db, name), Existing { kind, id }))
}

/// Who we are and what we may do.
#[derive(Debug, Default)]
struct Authority {
    logged_in: Vec<String>,
    held_roles: Vec<String>,
    privileges: Option<Vec<Privilege>>,
}

/// From a reply of connectionStatus.
fn authority(status: &Document) -> Authority {
    let Ok(info) = status.get_document("authInfo") else { return Authority::default() };
    let list = |name| info.get_array(name).map(Vec::as_slice).unwrap_or_default();
    let names = |name, field| {
        let text = |entry: &bson::Bson| {
            let entry = entry.as_document()?;
            Some(format!("{}.{}", entry.get_str("db").ok()?, entry.get_str(field).ok()?))
        };
        list(name).iter().filter_map(text).collect::<Vec<_>>()
    };
    let logged_in = names("authenticatedUsers", "user");
    let privileges = list("authenticatedUserPrivileges");
    let privileges = privileges.iter().filter_map(|p| privilege(p.as_document()?)).collect();
    Authority {
        held_roles: names("authenticatedUserRoles", "role"),
        // Nobody is logged in: either nobody is asked, or the first command is refused.
        privileges: (!logged_in.is_empty()).then_some(privileges),
        logged_in,
    }
}

fn privilege(entry: &Document) -> Option<Privilege> {
    let resource = entry.get_document("resource").ok()?;
    let actions = entry.get_array("actions").ok()?;
    Some(Privilege {
        db: resource.get_str("db").ok().map(str::to_owned),
        coll: resource.get_str("collection").unwrap_or_default().to_owned(),
        any: resource.get_bool("anyResource").unwrap_or(false),
        actions: actions.iter().filter_map(|a| a.as_str().map(str::to_owned)).collect(),
    })
}

/// Denied, with what to grant.
pub(crate) fn denied_hint(failed: Error, role: &str) -> Error {
    if failed.kind() != ErrorKind::Denied || failed.hint_text().is_some() {
        return failed;
    }
    failed.hint(format!("grant the target's user the role {role} on admin"))
}
