//! `mongodump`.

use std::path::PathBuf;

use bygone_base::{Error, Result};
use bygone_dumptools::{
    connect::{self, ConnectOptions},
    dump::{self, Options, Selection},
    extjson::{self, Strictness},
    report::Log,
    sink::{Compression, Place},
};
use bygone_restore::NameRules;
use clap::Parser;

use super::{
    Arguments, Signal, Stop,
    common::{self, ConnectArgs, NamespaceArgs, Verbosity, refuse},
};

/// Cursors in all, unless said otherwise: as the stock tool.
const CURSORS: usize = 4;

/// Export the content of a running server into .bson files.
///
/// Specify a database with -d and a collection with -c to only dump that database or collection.
///
/// Connection strings must begin with mongodb:// or mongodb+srv://.
#[derive(Debug, Parser)]
#[command(name = "mongodump", disable_help_flag = true, disable_version_flag = true)]
#[command(override_usage = "mongodump <options> <connection-string>", max_term_width = 100)]
#[command(args_override_self = true)]
pub struct Args {
    #[command(flatten)]
    general: Verbosity,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    only: OnlyArgs,
    #[command(flatten)]
    query: QueryArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[arg(value_name = "connection-string", hide = true)]
    positional: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "namespace options")]
struct OnlyArgs {
    /// dump only matching namespaces
    #[arg(long = "nsInclude", value_name = "namespace-pattern")]
    ns_include: Vec<String>,
    /// do not dump matching namespaces
    #[arg(long = "nsExclude", value_name = "namespace-pattern")]
    ns_exclude: Vec<String>,
}

impl OnlyArgs {
    fn is_empty(&self) -> bool {
        self.ns_include.is_empty() && self.ns_exclude.is_empty()
    }

    fn rules(&self) -> Result<Option<NameRules>> {
        match self.is_empty() {
            true => Ok(None),
            false => NameRules::new(&self.ns_include, &self.ns_exclude, &[]).map(Some),
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "query options")]
struct QueryArgs {
    /// query filter, as a v2 Extended JSON string, e.g., '{"x":{"$gt":1}}'
    #[arg(short = 'q', long, value_name = "json", allow_hyphen_values = true)]
    query: Option<String>,
    /// path to a file containing a query filter (v2 Extended JSON)
    #[arg(long = "queryFile", value_name = "FILE")]
    query_file: Option<PathBuf>,
    /// specify either a preference mode (e.g. 'nearest') or a preference json object
    #[arg(long = "readPreference", value_name = "string|json")]
    read_preference: Option<String>,
    /// force a table scan; what is done anyway
    #[arg(long = "forceTableScan")]
    force_table_scan: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "output options")]
struct OutputArgs {
    /// output directory, or '-' for stdout (default: 'dump')
    #[arg(short = 'o', long, value_name = "directory-path")]
    out: Option<String>,
    /// compress archive or collection output with Gzip
    #[arg(long)]
    gzip: bool,
    /// compress archive or collection output with Zstandard (not readable by the stock tools)
    #[arg(long, conflicts_with = "gzip")]
    zstd: bool,
    /// for taking a point-in-time snapshot on a replica set that is not part of a sharded cluster; with --db or
    /// --nsInclude, of what they name
    #[arg(long)]
    oplog: bool,
    /// dump as an archive to the specified path. If flag is specified without a value, archive is written to stdout
    #[arg(long, value_name = "file-path", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    archive: Option<String>,
    /// dump user and role definitions for the specified database
    #[arg(long = "dumpDbUsersAndRoles")]
    users_and_roles: bool,
    /// collection to exclude from the dump (may be specified multiple times)
    #[arg(long = "excludeCollection", value_name = "collection-name")]
    exclude: Vec<String>,
    /// exclude all collections from the dump that have the given prefix (may be specified multiple times)
    #[arg(long = "excludeCollectionsWithPrefix", value_name = "collection-prefix")]
    exclude_prefix: Vec<String>,
    /// number of cursors: of collections to dump in parallel, and of parts of a large one (1 keeps its order)
    /// [default: 4, and of parts of one as many as there are processors]
    #[arg(short = 'j', long = "numParallelCollections")]
    parallel: Option<i64>,
    /// dump views as normal collections with their produced data, omitting standard collections
    #[arg(long = "viewsAsCollections")]
    views_as_collections: bool,
    #[arg(long = "internalOnlySourceWritesDoneBarrier", hide = true)]
    barrier: Option<String>,
}

impl Args {
    /// Where to connect to. A database that the URI names goes into `db` unless that is given.
    fn connection(&self, db: &mut Option<String>) -> Result<ConnectOptions> {
        if !self.positional.iter().all(|text| common::is_uri(text)) {
            return Err(Error::usage(
                "error parsing positional arguments: provide only one MongoDB connection string. Connection strings must begin with mongodb:// or mongodb+srv:// schemes",
            ));
        }
        if self.positional.len() > 1 {
            return Err(Error::usage(
                "too many URIs found in positional arguments: only one URI can be set as a positional argument",
            ));
        }
        let positional = self.positional.first().cloned();
        let mut options = self.connect.options(&self.general, positional, db)?;
        options.read_preference = self.query.read_preference.clone();
        Ok(options)
    }

    /// What contradicts itself.
    fn check(&self, db: Option<&str>) -> Result<()> {
        let (output, query) = (&self.output, &self.query);
        let collection = self.namespace.collection.as_deref();
        let asked = query.query.is_some() || query.query_file.is_some();
        let excludes = !output.exclude.is_empty() || !output.exclude_prefix.is_empty();
        let to_stdout = output.out.as_deref() == Some("-");
        refuse(&[
            (to_stdout && collection.is_none(), "can only dump a single collection to stdout"),
            (
                db.is_none() && collection.is_some(),
                "cannot dump a collection without a specified database",
            ),
            (
                asked && collection.is_none(),
                "cannot dump using a query without a specified collection",
            ),
            (
                query.query.is_some() && query.query_file.is_some(),
                "either query or queryFile can be specified as a query option, not both",
            ),
            (
                asked && query.force_table_scan,
                "cannot use --forceTableScan when specifying --query",
            ),
            (
                output.users_and_roles && db.is_none(),
                "must specify a database when running with dumpDbUsersAndRoles",
            ),
            (
                output.users_and_roles && collection.is_some(),
                "cannot specify a collection when running with dumpDbUsersAndRoles",
            ),
            (
                collection.is_some() && !self.only.is_empty(),
                "--collection is not allowed with --nsInclude or --nsExclude",
            ),
            (
                !output.exclude.is_empty() && collection.is_some(),
                "--collection is not allowed when --excludeCollection is specified",
            ),
            (
                !output.exclude_prefix.is_empty() && collection.is_some(),
                "--collection is not allowed when --excludeCollectionsWithPrefix is specified",
            ),
            (
                excludes && db.is_none(),
                "--db is required when --excludeCollection or --excludeCollectionsWithPrefix is specified",
            ),
            (
                output.out.is_some() && output.archive.is_some(),
                "--out not allowed when --archive is specified",
            ),
            (
                to_stdout && (output.gzip || output.zstd),
                "compression can't be used when dumping a single collection to standard output",
            ),
            (output.parallel.is_some_and(|n| n <= 0), "numParallelCollections must be positive"),
            (
                collection.is_some_and(|c| c.starts_with("system.buckets.")),
                "cannot specify a system.buckets collection in --collection. Specifying the timeseries collection will dump the system.buckets collection",
            ),
            (
                output.barrier.is_some(),
                "--internalOnlySourceWritesDoneBarrier is not possible with this tool",
            ),
        ])
    }

    /// What an oplog cannot go with.
    fn check_oplog(&self) -> Result<()> {
        let (output, query) = (&self.output, &self.query);
        let asked = query.query.is_some() || query.query_file.is_some();
        let to_stdout = output.out.as_deref() == Some("-");
        refuse(&[
            (output.oplog && asked, "--oplog cannot be cut by a query"),
            (
                output.oplog && to_stdout,
                "--oplog mode needs a directory or an archive, not standard output",
            ),
            (
                output.oplog && output.users_and_roles,
                "--oplog mode does not follow users and roles of one database",
            ),
        ])
    }

    fn query(&self) -> Result<Option<Vec<u8>>> {
        let text = match (&self.query.query, &self.query.query_file) {
            (Some(text), _) => text.clone(),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map_err(|e| Error::io(format!("error reading queryFile {}", path.display()), e))?,
            (None, None) => return Ok(None),
        };
        let query = extjson::parse(&text, Strictness::Strict)
            .map_err(|e| e.within("error parsing query as Extended JSON"))?;
        Ok(Some(query))
    }

    fn place(&self) -> Place {
        match (self.output.archive.as_deref(), self.output.out.as_deref()) {
            (Some("-"), _) => Place::ArchiveOut,
            (Some(file), _) => Place::Archive(file.into()),
            (None, Some("-")) => Place::Documents,
            (None, out) => Place::Directory(out.unwrap_or("dump").into()),
        }
    }

    fn options(&self, db: Option<String>) -> Result<Options> {
        let output = &self.output;
        let cursors = output.parallel.and_then(|n| usize::try_from(n).ok());
        Ok(Options {
            selection: Selection {
                db,
                collection: self.namespace.collection.clone(),
                exclude: output.exclude.clone(),
                exclude_prefixes: output.exclude_prefix.clone(),
                rules: self.only.rules()?,
            },
            query: self.query()?,
            place: self.place(),
            compression: match (output.gzip, output.zstd) {
                (true, _) => Compression::Gzip,
                (_, true) => Compression::Zstd,
                _ => Compression::None,
            },
            oplog: output.oplog,
            users_and_roles: output.users_and_roles,
            parallel: cursors.unwrap_or(CURSORS),
            divided: cursors.unwrap_or_else(super::threads),
            threads: super::threads(),
            views_as_collections: output.views_as_collections,
        })
    }
}

impl Arguments for Args {
    fn verbosity(&self) -> &Verbosity {
        &self.general
    }

    async fn run(self, log: Log, signal: Signal) -> Result<(), Stop> {
        signal.unless(self.dump(&log)).await
    }
}

impl Args {
    async fn dump(&self, log: &Log) -> Result<(), Stop> {
        let mut db = self.namespace.db.clone();
        let mut connect = self.connection(&mut db).map_err(Stop::Misused)?;
        self.check(db.as_deref())?;
        self.check_oplog()?;
        self.connect.ask(&mut connect, log)?;
        let options = self.options(db)?;
        let connection = connect::connect(&connect, super::clock()).await;
        let connection = connection.map_err(Stop::of_connecting)?;
        dump::run(&connection, &options, log).await?;
        Ok(())
    }
}
