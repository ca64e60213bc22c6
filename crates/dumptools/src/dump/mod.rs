//! `mongodump`: a server's collections into a directory or an archive.
//!
//! ```text
//! list ▸ metadata ▸ users, roles ▸ collections, several at once ▸ oplog ▸ prelude.json
//! ```

mod collection;
mod cursors;
pub(crate) mod list;
mod oplog;
mod part;
mod people;

use std::sync::Arc;

use bson::Timestamp;
use bygone_agent::source::{Lasting, Reader};
use bygone_base::{Error, Result};
use bygone_restore::ServerVersion;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::options::ReadConcernLevel;
use tokio::sync::Semaphore;

pub use list::{Found, Selection};

use crate::{
    TOOL_VERSION,
    archive::{Entry, Prelude},
    connect::Connection,
    metadata::Kind,
    names,
    progress::{Bars, Unit},
    report::Log,
    sink::{Compression, Place, Sink},
};

/// Since then servers say where a scan in natural order stands.
const RESUMES: ServerVersion = ServerVersion::new(4, 4);

/// What to dump, and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which collections.
    pub selection: Selection,
    /// A filter for the one collection: a document.
    pub query: Option<Vec<u8>>,
    /// Where to.
    pub place: Place,
    /// How files are compressed.
    pub compression: Compression,
    /// Also what changes meanwhile.
    pub oplog: bool,
    /// Also users and roles of the one database.
    pub users_and_roles: bool,
    /// Cursors at once: of collections, or several in a large one.
    pub parallel: usize,
    /// Cursors at once within one collection, at most.
    pub divided: usize,
    /// Threads that compress.
    pub threads: usize,
    /// Views as if they were collections.
    pub views_as_collections: bool,
}

/// What the parts of one dump share.
pub(crate) struct Run<'a> {
    connection: &'a Connection,
    /// Reads collections.
    reader: Reader,
    /// At this level of read concern, where it is not the server's own.
    level: Option<&'static str>,
    options: &'a Options,
    sink: Sink,
    log: &'a Log,
    bars: Bars,
}

/// Dumps; gives how many documents.
///
/// # Errors
/// Anything that could not be read or written whole.
pub async fn run(connection: &Connection, options: &Options, log: &Log) -> Result<u64> {
    check(connection, options)?;
    let level = level(connection)?;
    let connection = &connection.of_one_member();
    let reader = lasting(connection, log);
    // What is made or dropped while collections are listed must be in the oplog's part.
    let oplog = match options.oplog {
        true => {
            reader.remember().await.map_err(Error::from)?;
            Some(oplog::start(connection, level, log).await?)
        }
        false => None,
    };
    if options.oplog && options.selection.all() {
        oplog::refuse_resharding(connection).await?;
    }
    let found = list::list(connection, options, log).await?;
    if found.is_empty() && options.selection.collection.is_some() {
        return Ok(0);
    }
    let sink = Sink::open(&options.place, options.compression, options.threads)?;
    let bars = Bars::new(log.clone(), Unit::Documents);
    let run = Run { connection, reader, level, options, sink, log, bars };
    let done = tokio::select! {
        done = run.all(found, oplog) => done?,
        never = run.bars.show(&*connection.clock) => match never {},
    };
    run.sink.finish().await?;
    Ok(done)
}

/// Collections are read on where they were cut, but not through a router, whose cursors have several places.
fn lasting(connection: &Connection, log: &Log) -> Reader {
    let reader = connection.reader.clone();
    if connection.mongos || connection.version < RESUMES {
        return reader;
    }
    let Connection { direct, patience, .. } = *connection;
    let log = log.clone();
    let tell = Arc::new(move |line: &str| log.always(line));
    reader.lasting(Lasting { direct, patience, tell })
}

fn check(connection: &Connection, options: &Options) -> Result<()> {
    if options.oplog && connection.mongos {
        return Err(Error::usage("can't use --oplog option when dumping from a mongos"));
    }
    if options.oplog && connection.set.is_none() {
        return Err(Error::usage(
            "error getting oplog start: --oplog mode only supported on replica sets",
        ));
    }
    Ok(())
}

/// What the connection string says of reads, as far as a cursor of a dump can keep it.
fn level(connection: &Connection) -> Result<Option<&'static str>> {
    let Some(concern) = &connection.read_concern else { return Ok(None) };
    match &concern.level {
        ReadConcernLevel::Local => Ok(Some("local")),
        ReadConcernLevel::Available => Ok(Some("available")),
        ReadConcernLevel::Majority => Ok(Some("majority")),
        other => Err(Error::usage(format!("readConcernLevel {other:?} is not possible in a dump"))
            .hint("give local, available or majority, or leave it out")),
    }
}

impl Run<'_> {
    async fn all(&self, found: Vec<Found>, oplog: Option<Timestamp>) -> Result<u64> {
        let metadata = self.metadata(&found).await?;
        let people = self.people(&found);
        if self.sink.is_archive() {
            self.sink.prelude(&self.prelude(&found, &metadata, &people)).await?;
        } else {
            self.files(&found, &metadata)?;
        }
        let mut documents = 0;
        for person in &people {
            documents += people::dump(self, person).await?;
        }
        documents += self.collections(found.clone()).await?;
        if let Some(start) = oplog {
            oplog::finish(self, start, &found).await?;
        }
        if self.has_files(&metadata, &people) {
            let text = format!(
                "{{\"ServerVersion\":{:?},\"ToolVersion\":{TOOL_VERSION:?}}}\n",
                self.connection.version_text
            );
            self.sink.file(
                self.options.selection.db.as_deref(),
                "prelude.json",
                text.as_bytes(),
            )?;
        }
        Ok(documents)
    }

    fn has_files(&self, metadata: &[String], people: &[people::Source]) -> bool {
        !metadata.is_empty() || !people.is_empty() || self.options.selection.db.is_none()
    }

    /// The texts of the metadata. Indexes are asked for now; a collection that was dropped since has none.
    async fn metadata(&self, found: &[Found]) -> Result<Vec<String>> {
        let with_indexes = !self.options.views_as_collections;
        let each = found.iter().map(|one| async move {
            let metadata = list::metadata(self.connection, one, with_indexes).await?;
            metadata
                .to_text()
                .map_err(|e| e.within(format!("error dumping metadata of {}", one.db)))
        });
        stream::iter(each).buffered(4).try_collect().await
    }

    fn prelude(&self, found: &[Found], metadata: &[String], people: &[people::Source]) -> Prelude {
        let entries = found.iter().zip(metadata).map(|(one, metadata)| Entry {
            db: one.db.clone(),
            collection: one.name.clone(),
            metadata: metadata.clone(),
            kind: one.listed_as.name().to_owned(),
        });
        let special = |db: &str, collection: &str| Entry {
            db: db.to_owned(),
            collection: collection.to_owned(),
            ..Entry::default()
        };
        let mut entries: Vec<Entry> = entries.collect();
        entries.extend(people.iter().map(|p| special(&p.db, &p.name)));
        if self.options.oplog {
            entries.push(special("", "oplog"));
        }
        Prelude {
            concurrent: i32::try_from(self.options.parallel).unwrap_or(i32::MAX),
            server: self.connection.version_text.clone(),
            tool: TOOL_VERSION.to_owned(),
            entries,
        }
    }

    fn files(&self, found: &[Found], metadata: &[String]) -> Result<()> {
        for (one, metadata) in found.iter().zip(metadata) {
            let name = format!("{}.metadata.json", names::file_name(&one.name));
            self.sink.file(Some(&one.db), &name, metadata.as_bytes())?;
        }
        Ok(())
    }

    fn people(&self, found: &[Found]) -> Vec<people::Source> {
        if !self.options.users_and_roles {
            return Vec::new();
        }
        let db = self.options.selection.db.as_deref().unwrap_or_default();
        self.log.always(format_args!("dumping users and roles for {db}"));
        if found.iter().any(|one| one.order() < 3) {
            self.log.always("skipping users/roles dump, already dumped admin database");
            return Vec::new();
        }
        people::sources(db)
    }

    /// Views first, then the largest.
    async fn collections(&self, mut found: Vec<Found>) -> Result<u64> {
        let at_once = self.options.parallel.min(found.len());
        self.log.info(format_args!("dumping up to {at_once} collections in parallel"));
        found.sort_by_key(|one| (one.order(), std::cmp::Reverse(one.documents)));
        let first = found.iter().take_while(|one| one.order() < 3).count();
        let rest = found.split_off(first);
        let all = self.options.parallel.max(1);
        let permits = Semaphore::new(all);
        let dump = async |one: &Found, cursors: usize| {
            let permits = permits.acquire_many(u32::try_from(cursors).unwrap_or(1)).await;
            let permits = permits.map_err(|e| Error::internal("cursors of a dump").source(e))?;
            collection::dump(self, one, permits).await
        };
        let mut documents = 0;
        // Users, roles and their version come one after the other, before all.
        for one in &found {
            documents += dump(one, 1).await?;
        }
        let total = rest.iter().map(|one| one.bytes).sum();
        let each = rest.iter().map(|one| dump(one, cursors::count(self.options, one, total)));
        let mut lanes = stream::iter(each).buffer_unordered(all);
        while let Some(count) = lanes.try_next().await? {
            documents += count;
        }
        Ok(documents)
    }
}

impl Found {
    /// When it is dumped: what later restores need first comes first.
    fn order(&self) -> u8 {
        match (self.db.as_str(), self.name.as_str(), self.kind) {
            ("admin", "system.users", _) => 0,
            ("admin", "system.roles", _) => 1,
            ("admin", "system.version", _) => 2,
            (_, _, Kind::View) => 3,
            _ => 4,
        }
    }
}
