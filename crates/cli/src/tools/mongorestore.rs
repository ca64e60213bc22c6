//! `mongorestore`.

use std::{path::PathBuf, sync::Arc};

use bygone_base::{Error, Result};
use bygone_dumptools::{
    connect::{self, ConnectOptions, concern},
    report::Log,
    restore::{self, Count, Options, Place},
    sink::Compression,
};
use bygone_groom::lease;
use bygone_head::{View, ViewOptions};
use bygone_restore::{NameRules, ViewDocuments};
use clap::Parser;

use super::{
    Arguments, Signal, Stop,
    common::{self, ConnectArgs, NamespaceArgs, Verbosity, refuse},
};
use crate::{
    access,
    args::{AccessArgs, StoreArgs},
};

/// Restore backups generated with mongodump to a running server.
///
/// Specify a database with -d to restore a single database from the target directory,
/// or use -d and -c to restore a single collection from a single .bson file.
///
/// Connection strings must begin with mongodb:// or mongodb+srv://.
#[derive(Debug, Parser)]
#[command(name = "mongorestore", disable_help_flag = true, disable_version_flag = true)]
#[command(
    override_usage = "mongorestore <options> <connection-string> <directory or file to restore>"
)]
#[command(args_override_self = true, max_term_width = 100)]
pub struct Args {
    #[command(flatten)]
    general: Verbosity,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    restore: RestoreArgs,
    #[command(flatten)]
    moment: MomentArgs,
    #[arg(value_name = "directory or file", hide = true)]
    positional: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "namespace options")]
struct FilterArgs {
    /// DEPRECATED; collection to skip over during restore (may be specified multiple times)
    #[arg(long = "excludeCollection", value_name = "collection-name")]
    exclude_collection: Vec<String>,
    /// DEPRECATED; collections to skip over during restore that have the given prefix
    #[arg(long = "excludeCollectionsWithPrefix", value_name = "collection-prefix")]
    exclude_prefix: Vec<String>,
    /// exclude matching namespaces
    #[arg(long = "nsExclude", value_name = "namespace-pattern")]
    ns_exclude: Vec<String>,
    /// include matching namespaces
    #[arg(long = "nsInclude", value_name = "namespace-pattern")]
    ns_include: Vec<String>,
    /// rename matching namespaces, must have matching nsTo
    #[arg(long = "nsFrom", value_name = "namespace-pattern")]
    ns_from: Vec<String>,
    /// rename matched namespaces, must have matching nsFrom
    #[arg(long = "nsTo", value_name = "namespace-pattern")]
    ns_to: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "input options")]
struct InputArgs {
    /// validate all objects before inserting
    #[arg(long)]
    objcheck: bool,
    /// for recovering a point-in-time snapshot on a replica set that is not part of a sharded cluster
    #[arg(long = "oplogReplay")]
    oplog_replay: bool,
    /// only include oplog entries before the provided Timestamp
    #[arg(long = "oplogLimit", value_name = "seconds[:ordinal]")]
    oplog_limit: Option<String>,
    /// oplog file to use for replay of oplog
    #[arg(long = "oplogFile", value_name = "filename")]
    oplog_file: Option<PathBuf>,
    /// restore dump from the specified archive file. If flag is specified without a value, archive is read from stdin
    #[arg(long, value_name = "filename", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    archive: Option<String>,
    /// restore user and role definitions for the given database
    #[arg(long = "restoreDbUsersAndRoles")]
    users_and_roles: bool,
    /// input directory, use '-' for stdin
    #[arg(long, value_name = "directory-name")]
    dir: Option<String>,
    /// decompress gzipped input
    #[arg(long)]
    gzip: bool,
    /// decompress input that was made with --zstd
    #[arg(long, conflicts_with = "gzip")]
    zstd: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "restore options")]
struct RestoreArgs {
    /// drop each collection before import
    #[arg(long)]
    drop: bool,
    /// view summary without importing anything. recommended with verbosity
    #[arg(long = "dryRun")]
    dry_run: bool,
    /// write concern options e.g. --writeConcern majority, --writeConcern '{w: 3, wtimeout: 500, j: true}'
    #[arg(long = "writeConcern", value_name = "write-concern")]
    write_concern: Option<String>,
    /// don't restore indexes
    #[arg(long = "noIndexRestore")]
    no_indexes: bool,
    /// removes invalid index options and rewrites legacy option values (e.g. true becomes 1)
    #[arg(long = "convertLegacyIndexes")]
    convert_legacy: bool,
    /// don't restore collection options
    #[arg(long = "noOptionsRestore")]
    no_options: bool,
    /// don't update index version
    #[arg(long = "keepIndexVersion")]
    keep_version: bool,
    /// restore the documents in the order of the input; stop at the first error
    #[arg(long = "maintainInsertionOrder")]
    in_order: bool,
    /// number of collections to restore in parallel
    #[arg(short = 'j', long = "numParallelCollections", default_value_t = 4)]
    parallel: i64,
    /// number of insert operations to run concurrently per collection (2 in all, unless given)
    #[arg(long = "numInsertionWorkersPerCollection")]
    workers: Option<i64>,
    /// halt after encountering any error during insertion
    #[arg(long = "stopOnError")]
    stop_on_error: bool,
    /// exit with status 1 when any document could not be inserted
    #[arg(long)]
    strict: bool,
    /// bypass document validation
    #[arg(long = "bypassDocumentValidation")]
    bypass_validation: bool,
    /// preserve original collection UUIDs (off by default, requires drop)
    #[arg(long = "preserveUUID")]
    preserve_uuid: bool,
    /// create hashed indexes on dotted fields as single field ascending indexes
    #[arg(long = "fixDottedHashIndex")]
    fix_dotted_hash: bool,
    #[arg(long = "tempUsersColl", hide = true, default_value = "tempusers")]
    temp_users: String,
    #[arg(long = "tempRolesColl", hide = true, default_value = "temproles")]
    temp_roles: String,
    #[arg(long = "batchSize", hide = true, default_value_t = 1000)]
    batch: usize,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "store options")]
struct MomentArgs {
    /// restore a moment of this store instead of a dump
    #[arg(long, value_name = "URL", conflicts_with_all = ["archive", "dir", "oplog_replay"])]
    store: Option<String>,
    /// job name; needed only when the store holds several
    #[arg(long, value_name = "JOB", requires = "store")]
    job: Option<String>,
    /// the moment to restore, as `bygone restore` takes it
    #[arg(long, value_name = "WHEN", default_value = "latest", requires = "store")]
    at: String,
    #[command(flatten)]
    access: AccessArgs,
}

impl Args {
    /// The connection string and the directory or file among what stands without a flag.
    fn positional(&self) -> Result<(Option<String>, Option<String>)> {
        let (uris, others): (Vec<&String>, Vec<&String>) =
            self.positional.iter().partition(|text| common::is_uri(text));
        if uris.len() > 1 || others.len() > 1 {
            return Err(Error::usage(
                "too many positional arguments: at most one connection string and one directory or file",
            ));
        }
        Ok((uris.first().copied().cloned(), others.first().copied().cloned()))
    }

    fn check(&self, db: Option<&str>, target: Option<&str>) -> Result<()> {
        let (filter, input) = (&self.filter, &self.input);
        let collection = self.namespace.collection.as_deref();
        let selects =
            db.is_some() || !filter.ns_include.is_empty() || !filter.ns_exclude.is_empty();
        let renames = !filter.ns_from.is_empty();
        let from_stdin = input.dir.as_deref() == Some("-") || target == Some("-");
        refuse(&[
            (
                db.is_none() && collection.is_some(),
                "cannot restore a collection without a specified database",
            ),
            (
                filter.ns_from.len() != filter.ns_to.len(),
                "--nsFrom and --nsTo arguments must be specified an equal number of times",
            ),
            (
                input.oplog_limit.is_some() && !input.oplog_replay,
                "cannot use --oplogLimit without --oplogReplay enabled",
            ),
            (
                input.oplog_file.is_some() && !input.oplog_replay,
                "cannot use --oplogFile without --oplogReplay enabled",
            ),
            (
                input.oplog_file.is_some() && input.archive.is_some(),
                "cannot use --oplogFile with --archive specified",
            ),
            (
                input.oplog_replay && (selects || renames),
                "cannot use --oplogReplay with includes/excludes specified",
            ),
            (
                input.users_and_roles && db.is_none(),
                "cannot use --restoreDbUsersAndRoles without a specified database",
            ),
            (
                input.users_and_roles && db == Some("admin"),
                "cannot use --restoreDbUsersAndRoles with the admin database",
            ),
            (
                input.users_and_roles && collection.is_some(),
                "cannot use --restoreDbUsersAndRoles with a specified collection",
            ),
            (
                input.dir.is_some() && target.is_some(),
                "cannot use both --dir and a positional argument to specify the target directory",
            ),
            (
                input.archive.is_some() && (input.dir.is_some() || target.is_some()),
                "cannot restore from a directory and an archive",
            ),
            (
                from_stdin && collection.is_none(),
                "cannot restore from stdin without a specified collection",
            ),
        ])?;
        self.check_restore()
    }

    fn check_restore(&self) -> Result<()> {
        let (filter, restore) = (&self.filter, &self.restore);
        let collection = self.namespace.collection.is_some();
        let excludes = !filter.exclude_collection.is_empty() || !filter.exclude_prefix.is_empty();
        refuse(&[
            (
                restore.preserve_uuid && !restore.drop,
                "cannot specify --preserveUUID without --drop",
            ),
            (
                restore.workers.is_some_and(|w| w < 0),
                "cannot specify a negative number of insertion workers per collection",
            ),
            // The stock tool takes it, and inserts nothing.
            (
                restore.workers == Some(0),
                "--numInsertionWorkersPerCollection must be positive: with 0 nothing would be restored",
            ),
            (
                excludes && collection,
                "--collection is not allowed when --excludeCollection or --excludeCollectionsWithPrefix is specified",
            ),
        ])
    }

    fn place(&self, target: Option<&str>, db: Option<&str>) -> Place {
        if let Some(archive) = self.input.archive.as_deref() {
            return if archive == "-" { Place::ArchiveIn } else { Place::Archive(archive.into()) };
        }
        match self.input.dir.as_deref().or(target) {
            Some("-") => Place::Documents,
            Some(path) => Place::Path(path.into()),
            None => {
                let inside = db.map(|db| PathBuf::from("dump").join(db)).filter(|p| p.is_dir());
                Place::Path(inside.unwrap_or_else(|| "dump".into()))
            }
        }
    }

    /// Whether a directory or a file is named, which is all of a database that is named too.
    fn one_database(&self, target: Option<&str>) -> bool {
        let named = target.is_some() || self.input.dir.is_some();
        named && self.input.archive.is_none()
    }

    fn rules(&self, db: Option<&str>, target: Option<&str>) -> Result<NameRules> {
        let filter = &self.filter;
        let mut include = filter.ns_include.clone();
        if db.is_some() && self.one_database(target) {
            // A directory or a file goes to the database that is named, whatever its own name is.
            include.clear();
        } else if let Some(db) = db {
            let collection = self.namespace.collection.as_deref();
            include.push(format!(
                "{}.{}",
                literal(db),
                collection.map_or_else(|| "*".to_owned(), literal)
            ));
        }
        let mut exclude = filter.ns_exclude.clone();
        exclude.extend(filter.exclude_collection.iter().map(|c| format!("*.{}", literal(c))));
        exclude.extend(filter.exclude_prefix.iter().map(|c| format!("*.{}*", literal(c))));
        let renames: Vec<(String, String)> =
            filter.ns_from.iter().cloned().zip(filter.ns_to.iter().cloned()).collect();
        NameRules::new(&include, &exclude, &renames)
    }

    fn options(&self, db: Option<String>, target: Option<&str>) -> Result<Options> {
        let (input, restore) = (&self.input, &self.restore);
        let place = self.place(target, db.as_deref());
        let workers = restore.workers.and_then(|w| usize::try_from(w).ok());
        Ok(Options {
            rules: self.rules(db.as_deref(), target)?,
            compression: match (input.gzip, input.zstd) {
                (true, _) => Compression::Gzip,
                (_, true) => Compression::Zstd,
                _ => Compression::None,
            },
            db,
            collection: self.namespace.collection.clone(),
            drop: restore.drop,
            dry_run: restore.dry_run,
            no_indexes: restore.no_indexes,
            no_options: restore.no_options,
            keep_index_version: restore.keep_version,
            convert_legacy_indexes: restore.convert_legacy,
            fix_dotted_hash: restore.fix_dotted_hash,
            in_order: restore.in_order,
            stop_on_error: restore.stop_on_error || restore.in_order,
            bypass_validation: restore.bypass_validation,
            preserve_uuid: restore.preserve_uuid,
            objcheck: input.objcheck,
            write_concern: Vec::new(),
            // Measured: two connections beat one and four.
            inserts: workers.unwrap_or(2),
            // As with the stock tool, what is not positive is one at a time.
            parallel: usize::try_from(restore.parallel).unwrap_or(1).max(1),
            batch: restore.batch,
            oplog_replay: input.oplog_replay,
            oplog_limit: input.oplog_limit.as_deref().map(limit).transpose()?.flatten(),
            oplog_file: input.oplog_file.clone(),
            users_and_roles: input.users_and_roles,
            temp_users: restore.temp_users.clone(),
            temp_roles: restore.temp_roles.clone(),
            place,
        })
    }

    /// Where to connect to, what is restored, and what writes wait for where that is said.
    fn parse(&self, db: &mut Option<String>) -> Result<Parsed> {
        let (uri, target) = self.positional()?;
        let connect = self.connect.options(&self.general, uri, db)?;
        let concern = self.restore.write_concern.as_deref();
        let concern = concern.filter(|text| !text.trim().is_empty()).map(concern::parse);
        Ok(Parsed { connect, target, concern: concern.transpose()? })
    }

    async fn restore(&self, log: &Log, count: &mut Count) -> Result<(), Stop> {
        let mut db = self.namespace.db.clone();
        let Parsed { mut connect, target, concern } = self.parse(&mut db).map_err(Stop::Misused)?;
        self.check(db.as_deref(), target.as_deref())?;
        self.connect.ask(&mut connect, log)?;
        if db.is_some()
            && self.one_database(target.as_deref())
            && !self.filter.ns_include.is_empty()
        {
            log.always("--nsInclude does not choose from a directory or file that is restored with --db: all of it is");
        }
        let mut options = self.options(db, target.as_deref())?;
        let connection = connect::connect(&connect, super::clock()).await;
        let connection = connection.map_err(Stop::of_connecting)?;
        let of_uri = connection.options.write_concern.as_ref();
        options.write_concern = concern.unwrap_or_else(|| concern::of_uri(of_uri));
        let Some(store) = &self.moment.store else {
            return Ok(restore::run(&connection, &options, None, log, count).await?);
        };
        if target.is_some() {
            return Err(Error::usage("cannot restore from a directory and a store").into());
        }
        let (when, clock) = (self.moment.at.parse()?, super::clock());
        let store = StoreArgs { store: store.clone(), access: self.moment.access.clone() };
        let stores = access::open(&store, clock.clone(), false).await?;
        let part = access::only_part(&stores, self.moment.job.as_deref()).await?;
        let lease = lease::hold(&stores.blocks, clock.clone(), "a mongorestore").await?;
        let restored = async {
            let options_of_view = ViewOptions::default();
            let view =
                View::open(&part.snapshots, &part.oplog, &when, options_of_view, clock).await?;
            let moment = Arc::new(ViewDocuments::new(view)?);
            restore::run(&connection, &options, Some(moment), log, count).await
        };
        let restored = restored.await;
        if let Some(lease) = lease {
            lease.release().await;
        }
        Ok(restored?)
    }
}

/// What the command line says before it is asked whether that makes sense.
struct Parsed {
    connect: ConnectOptions,
    /// The directory or file.
    target: Option<String>,
    concern: Option<Vec<u8>>,
}

/// A name as a pattern that means only itself.
fn literal(name: &str) -> String {
    name.replace('\\', "\\\\").replace('*', "\\*")
}

/// `seconds` or `seconds:number`; nothing and 0 are no limit.
fn limit(text: &str) -> Result<Option<(u32, u32)>> {
    let bad =
        || Error::usage(format!("error parsing timestamp argument to --oplogLimit: {text:?}"));
    if text.is_empty() {
        return Ok(None);
    }
    let (seconds, number) = text.split_once(':').unwrap_or((text, "0"));
    let number = if number.is_empty() { "0" } else { number };
    let limit = (seconds.parse().map_err(|_| bad())?, number.parse().map_err(|_| bad())?);
    Ok(Some(limit).filter(|limit| *limit != (0, 0)))
}

impl Arguments for Args {
    fn verbosity(&self) -> &Verbosity {
        &self.general
    }

    async fn run(self, log: Log, signal: Signal) -> Result<(), Stop> {
        let mut count = Count::default();
        let ended = signal.unless(self.restore(&log, &mut count)).await;
        if let Err(Stop::Misused(_)) = &ended {
            return ended;
        }
        if let Err(Stop::Failed(error)) = &ended {
            super::tell(&log, error);
        }
        log.always(count);
        match ended {
            Ok(()) if !self.restore.strict || count.failed == 0 => Ok(()),
            _ => Err(Stop::Told),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_seconds_and_a_number() {
        assert_eq!(limit("5").unwrap(), Some((5, 0)));
        assert_eq!(limit("5:7").unwrap(), Some((5, 7)));
        assert_eq!(limit("5:").unwrap(), Some((5, 0)));
        assert_eq!((limit("0").unwrap(), limit("").unwrap()), (None, None));
        for bad in [":5", "x", "1:2:3", "-1", "4294967296", "5:-1"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
