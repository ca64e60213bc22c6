//! `mongorestore`: a dump into a server.
//!
//! ```text
//! gather (directory, archive, one file) ▸ preflight ▸ make collections that are not there
//!    ▸ documents: one reader, several inserts at once; before them what is dropped, behind them each collection's indexes
//!    ▸ users, roles ▸ oplog ▸ indexes that waited for it
//! ```

mod catalogue;
mod data;
mod entry;
mod files;
mod gather;
mod ids;
mod indexes;
mod oplog;
mod people;
mod prepare;
mod reader;
mod replay;

use std::{fmt, io::Read, path::PathBuf, sync::Arc};

use bygone_base::{Error, Result};
use bygone_restore::{
    Documents, NameRules, Namespace, Refusals, ServerVersion, Target, bulk::BulkOptions, names, raw,
};

pub use gather::Intent;

use self::{catalogue::Catalogue, gather::Gathered};
use crate::{
    archive,
    connect::Connection,
    metadata::Kind,
    progress::{Bars, Unit},
    report::Log,
    sink::Compression,
};

/// Where the dump is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory of databases, or of one database's files, or one file.
    Path(PathBuf),
    /// An archive in a file.
    Archive(PathBuf),
    /// An archive on standard input.
    ArchiveIn,
    /// One collection's documents on standard input.
    Documents,
}

/// What to restore, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the dump is.
    pub place: Place,
    /// How it is compressed.
    pub compression: Compression,
    /// Only this database, or the database that one directory or file goes to.
    pub db: Option<String>,
    /// Only this collection, or the one that a file goes to.
    pub collection: Option<String>,
    /// Which namespaces, and under which names.
    pub rules: NameRules,
    /// Drop each collection before.
    pub drop: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// No indexes.
    pub no_indexes: bool,
    /// No options of collections.
    pub no_options: bool,
    /// Keep versions of indexes.
    pub keep_index_version: bool,
    /// Put right what old servers allowed in indexes.
    pub convert_legacy_indexes: bool,
    /// Hashed indexes on dotted fields become plain ones.
    pub fix_dotted_hash: bool,
    /// Documents in the dump's order.
    pub in_order: bool,
    /// Stop when a document is refused; `in_order` does not imply it.
    pub stop_on_error: bool,
    /// Do not ask validators.
    pub bypass_validation: bool,
    /// Collections keep their UUIDs.
    pub preserve_uuid: bool,
    /// Check documents before they are inserted.
    pub objcheck: bool,
    /// A write concern's document.
    pub write_concern: Vec<u8>,
    /// Insert commands at once.
    pub inserts: usize,
    /// Collections prepared at once.
    pub parallel: usize,
    /// Documents of one insert command at most.
    pub batch: usize,
    /// Replay the oplog.
    pub oplog_replay: bool,
    /// Up to this timestamp: seconds and number, exclusive.
    pub oplog_limit: Option<(u32, u32)>,
    /// The oplog's file, where it is not the dump's.
    pub oplog_file: Option<PathBuf>,
    /// Users and roles of the one database.
    pub users_and_roles: bool,
    /// Names of the collections that users and roles go through.
    pub temp_users: String,
    /// See `temp_users`.
    pub temp_roles: String,
}

/// How many documents went in, and how many were refused. Shown as a restore's last line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// In.
    pub restored: u64,
    /// Refused.
    pub failed: u64,
    /// Nobody waited for inserts: nothing is known of them.
    pub unacknowledged: bool,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unacknowledged {
            return f.write_str("done");
        }
        let (restored, failed) = (self.restored, self.failed);
        write!(
            f,
            "{restored} document(s) restored successfully. {failed} document(s) failed to restore."
        )
    }
}

/// What the parts of one restore share.
pub(crate) struct Run<'a> {
    connection: &'a Connection,
    target: Target,
    options: &'a Options,
    log: &'a Log,
    bars: Bars,
}

/// An archive that stands behind its prelude.
type Archive = archive::Reader<Box<dyn Read + Send>>;

/// Restores a dump, or a moment of a store in its place; what went in and what did not is counted in `count` as it happens, also before a failure.
///
/// # Errors
/// The dump is damaged, or the server refuses something that is not a document with a key that is taken or that its
/// validator does not like.
pub async fn run(
    connection: &Connection,
    options: &Options,
    moment: Option<Arc<dyn Documents>>,
    log: &Log,
    count: &mut Count,
) -> Result<()> {
    count.unacknowledged = number(options, "w") == Some(0.0);
    let mut found = gather::gather(options, moment.as_deref(), log)?;
    check_names(&found.intents)?;
    let dumped = found.server.as_deref();
    if let Some(text) = dumped.and_then(|dumped| other_version(dumped, connection.version)) {
        log.always(text);
    }
    if options.dry_run {
        log.always("dry run completed");
        return Ok(());
    }
    let clock = Arc::clone(&connection.clock);
    let target = Target::new(connection.client.clone(), &connection.options, clock)
        .patience(connection.patience)
        .own_timeout(number(options, "wtimeout").is_some_and(|wtimeout| wtimeout > 0.0))
        .write_concern(&options.write_concern);
    let bars = Bars::new(log.clone(), Unit::Bytes);
    let run = Run { connection, target, options, log, bars };
    run.check(&found)?;
    people::check(&run, &found, moment.as_deref()).await?;
    prepare::prepare(&run, &mut found.intents).await?;
    let mut catalogue = Catalogue::new(&found.intents, options.no_options);
    match fill(&run, &mut found, moment, &mut catalogue, count).await {
        // An index that cannot be built fails the restore when everything else is done.
        Ok(indexes) => prepare::finish(&run, &catalogue).await.and(indexes),
        Err(failed) => {
            prepare::tell_expiry(&run, &catalogue)?;
            Err(failed)
        }
    }
}

/// Documents, users, roles and what the oplog says; gives the first failure to build an index.
async fn fill(
    run: &Run<'_>,
    found: &mut Gathered,
    moment: Option<Arc<dyn Documents>>,
    catalogue: &mut Catalogue,
    count: &mut Count,
) -> Result<Result<()>> {
    let from = match (moment, found.archive.take()) {
        (Some(moment), _) => reader::From::Moment(moment, std::mem::take(&mut found.stored_people)),
        (None, Some(archive)) => reader::From::Archive(Box::new(archive)),
        (None, None) => reader::From::Files,
    };
    let mut beside = tokio::select! {
        loaded = data::load(run, &found.intents, from, count) => loaded?,
        never = run.bars.show(&*run.connection.clock) => match never {},
    };
    people::restore(run, found, &beside).await?;
    let mut indexes = std::mem::replace(&mut beside.indexes, Ok(()));
    if run.options.oplog_replay {
        oplog::replay(run, found, &mut beside, catalogue).await?;
        indexes = indexes.and(indexes::build_all(run, catalogue).await);
    }
    Ok(indexes)
}

/// What to say where the dump is of another series of servers than the target: what only one of them knows may be refused.
fn other_version(dumped: &str, target: ServerVersion) -> Option<String> {
    // Before 5.0 a series has two numbers.
    let series = |v: ServerVersion| (v.major, if v.major < 5 { v.minor } else { 0 });
    let of: ServerVersion = dumped.parse().ok()?;
    (series(of) != series(target)).then(|| {
        format!(
            "warning: the dump is of a server of version {dumped}, and the target is of version {target}: \
             some of it may be refused, or mean something else there"
        )
    })
}

/// A number of the write concern.
fn number(options: &Options, name: &str) -> Option<f64> {
    raw::get(&options.write_concern, name).and_then(|field| field.number())
}

fn check_names(intents: &[Intent]) -> Result<()> {
    let pairs: Vec<(Namespace, Namespace)> =
        intents.iter().map(|i| (i.source.clone(), i.to.clone())).collect();
    names::check_conflicts(pairs.iter().map(|(source, to)| (source, to)))
        .map_err(|e| e.within("cannot restore with conflicting namespace destinations"))
}

impl Run<'_> {
    fn check(&self, found: &gather::Gathered) -> Result<()> {
        let options = self.options;
        if options.oplog_replay && self.connection.mongos {
            return Err(Error::usage("cannot do oplog replay while connected to mongos"));
        }
        if options.oplog_replay && !found.has_oplog() {
            return Err(Error::usage(
                "no oplog file to replay; make sure you run mongodump with --oplog",
            ));
        }
        if options.users_and_roles && !found.has_people() {
            return Err(Error::usage(
                "Cannot restore users and roles for a database from a dump without them; \
                 run mongodump with --dumpDbUsersAndRoles",
            ));
        }
        if options.no_options
            && let Some(series) = found.intents.iter().find(|i| i.metadata.kind == Kind::TimeSeries)
        {
            return Err(Error::usage(format!(
                "cannot specify --noOptionsRestore when restoring timeseries collection {}",
                series.to
            )));
        }
        Ok(())
    }

    /// How documents go into a collection that was made for them.
    fn bulk(&self) -> BulkOptions {
        BulkOptions {
            ordered: self.options.in_order,
            bypass_validation: self.options.bypass_validation,
            write_concern: self.options.write_concern.clone(),
            refusals: match self.options.stop_on_error {
                true => Refusals::Stop,
                false => Refusals::Count,
            },
            existed: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_of_another_series_of_servers_is_told() {
        let told = |dumped: &str, target: (u32, u32)| {
            other_version(dumped, ServerVersion::new(target.0, target.1)).is_some()
        };
        assert!(told("4.2.3", (4, 4)) && told("4.4.10", (8, 2)) && told("8.2.0", (7, 0)));
        assert!(!told("8.0.4", (8, 2)) && !told("4.4.1", (4, 4)) && !told("5.0.3", (5, 3)));
        assert!(!told("", (8, 2)) && !told("unknown", (8, 2)));
    }
}
