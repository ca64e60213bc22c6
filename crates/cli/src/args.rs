//! The command line. The doc comments are the help text.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::remote::args as remote;

/// Continuous backup and point-in-time restore for MongoDB.
#[derive(Debug, Parser)]
#[command(name = "bygone", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Write results and progress as JSON, one object per line
    #[arg(long, global = true)]
    pub json: bool,
    /// Log more: once for details, twice for everything
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Write only results and errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

const AFTER_HELP: &str = "\
WHEN is `latest` (default), a snapshot id, an instant such as 2026-11-20T10:30:00Z (everything whose
cluster time is before that second), or an oplog timestamp SECS:INC (everything up to and including it).

A store is file:///dir, s3://bucket/prefix?endpoint=URL&region=R, gs://bucket/prefix or az://container/prefix.

Passwords never go on the command line: put the URI in a file (--source-file, --to-file) or in
BYGONE_SOURCE / BYGONE_TO, or the password alone in --password-file or BYGONE_PASSWORD.

Exit status: 0 done, 1 failed, 2 the command itself is wrong.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Back up a replica set continuously: agent, ingest, head and snapshots in one process
    Up(UpArgs),
    /// Take one incremental backup, then exit (for cron)
    Backup(BackupArgs),
    /// Show what a store holds of a job and how far it reaches
    Status(StatusArgs),
    /// List snapshots and the moments that can be restored
    Snapshots(SnapshotsArgs),
    /// Keep one snapshot longer or shorter than the schedule says, or for ever
    Keep(SnapshotKeepArgs),
    /// Restore a moment into a replica set
    Restore(Box<RestoreArgs>),
    /// Write a moment as mongodump would have: for mongorestore, or to look into
    Export(ExportArgs),
    /// Read and check everything that the snapshots need
    Verify(VerifyArgs),
    /// Free what no snapshot and no point-in-time window needs
    Groom(GroomArgs),
    /// Run the backup server: ingest, daemon, API and dashboard; agents connect to it
    Server(ServerArgs),
    /// Run an agent on another host: it gets its work from the server
    Agent(AgentArgs),
    /// Jobs of a server: list, make, start, stop, restart, terminate, schedule
    Job(Box<remote::JobArgs>),
    /// Snapshots of a server's jobs: list, take, keep, delete
    Snapshot(Box<remote::SnapshotArgs>),
    /// Restores of a server's jobs: list, start, cancel
    RestoreJob(Box<remote::RestoreJobArgs>),
    /// Alerts of a server: list, acknowledge
    Alert(Box<remote::AlertArgs>),
    /// Users and keys of a server
    User(Box<remote::UserArgs>),
    /// Stores of a server
    Store(Box<remote::StoreArgs>),
    /// Copy the server's catalog, or make it anew from the stores
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Make and rotate encryption keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Dump a server; takes the flags of the stock mongodump, see `bygone mongodump --help`
    #[command(disable_help_flag = true)]
    Mongodump(ToolArgs),
    /// Restore a dump; takes the flags of the stock mongorestore, see `bygone mongorestore --help`
    #[command(disable_help_flag = true)]
    Mongorestore(ToolArgs),
    /// Show a dump's documents; takes the flags of the stock bsondump, see `bygone bsondump --help`
    #[command(disable_help_flag = true)]
    Bsondump(ToolArgs),
}

/// What follows the name of a tool, which reads it itself.
#[derive(Debug, Args)]
pub struct ToolArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub arguments: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Store URL
    #[arg(long, env = "BYGONE_STORE", value_name = "URL")]
    pub store: String,
    #[command(flatten)]
    pub access: AccessArgs,
}

/// What opens a store, and where the rest of it is.
#[derive(Debug, Clone, Args)]
pub struct AccessArgs {
    /// File with the key of an encrypted store (made by `bygone key new`)
    #[arg(long, env = "BYGONE_KEY_FILE", value_name = "FILE", conflicts_with = "passphrase_file")]
    pub key_file: Option<PathBuf>,
    /// File with the passphrase of an encrypted store (or BYGONE_PASSPHRASE)
    #[arg(long, env = "BYGONE_PASSPHRASE_FILE", value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Store of the oplog slices, where they are kept apart from the snapshots
    #[arg(long, env = "BYGONE_OPLOG_STORE", value_name = "URL")]
    pub oplog_store: Option<String>,
    /// Store of the records of initial syncs, where they are kept apart from the snapshots
    #[arg(long, env = "BYGONE_SYNC_STORE", value_name = "URL")]
    pub sync_store: Option<String>,
}

#[derive(Debug, Args)]
pub struct JobArgs {
    /// Job name; needed only when the store holds several
    #[arg(long, value_name = "JOB")]
    pub job: Option<String>,
}

#[derive(Debug, Args)]
pub struct SourceArgs {
    /// MongoDB URI of the replica set, without a password
    #[arg(long, env = "BYGONE_SOURCE", hide_env_values = true, value_name = "URI")]
    pub source: Option<String>,
    /// File with the MongoDB URI, password and all
    #[arg(long, value_name = "FILE", conflicts_with = "source")]
    pub source_file: Option<PathBuf>,
    /// File with the password alone
    #[arg(long, env = "BYGONE_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Read from this member (host:port) instead of choosing one
    #[arg(long, value_name = "HOST:PORT")]
    pub member: Option<String>,
    /// Read only from members with this tag
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "member")]
    pub member_tag: Option<String>,
    /// Back up only these namespaces: db.* or db.collection (repeatable)
    #[arg(long, value_name = "PATTERN", conflicts_with = "exclude")]
    pub include: Vec<String>,
    /// Back up everything but these namespaces (repeatable)
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Limit of the initial sync, in MB/s of documents
    #[arg(long, value_name = "MB/S", value_parser = crate::units::rate)]
    pub throttle: Option<f64>,
    /// Collections and _id ranges copied at once by an initial sync
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub workers: usize,
    /// Job name within the store
    #[arg(long, value_name = "JOB", default_value = "default")]
    pub name: String,
    /// Take the part over from an agent that is still alive
    #[arg(long)]
    pub take_over: bool,
}

#[derive(Debug, Args)]
pub struct KeepArgs {
    /// Keep the newest N snapshots
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Keep snapshots younger than this (such as 7d, 36h)
    #[arg(long, value_name = "DURATION", value_parser = crate::units::duration)]
    pub keep_within: Option<std::time::Duration>,
    /// Keep every snapshot this long, and those of the tiers below longer [default with one of them: 2d]
    #[arg(long, value_name = "DURATION", value_parser = crate::units::duration)]
    pub keep_every: Option<std::time::Duration>,
    /// Keep the first snapshot of a day N days
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<u16>,
    /// Keep the first snapshot of a week N weeks
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<u16>,
    /// Keep the first snapshot of a month N months
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<u16>,
    /// Keep the first snapshot of a year N years
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<u16>,
    /// Time of day at which a day begins, for snapshots and tiers
    #[arg(long, value_name = "HH:MM", default_value = "00:00")]
    pub day_at: String,
    /// Time zone of --day-at: a name such as Europe/Berlin, or an offset such as +0200
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub zone: String,
    /// Keep every second of this long restorable [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = crate::units::duration)]
    pub window: Option<std::time::Duration>,
    /// Delete unreferenced packs only when they have been so this long
    #[arg(long, value_name = "DURATION", value_parser = crate::units::duration, default_value = "24h", hide_short_help = true)]
    pub groom_delay: std::time::Duration,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub keep: KeepArgs,
    /// Time between snapshots, counted from --day-at
    #[arg(long, value_name = "DURATION", value_parser = crate::units::duration, default_value = "6h")]
    pub interval: std::time::Duration,
    /// Longest time before a change is stored
    #[arg(long, value_name = "DURATION", value_parser = crate::units::duration, default_value = "250ms", hide_short_help = true)]
    pub flush: std::time::Duration,
    /// Folder of users, keys, alerts and downloads of --listen; without it they end with the process
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Serve dashboard, API, metrics and health on this address (loopback, or with --tls-cert)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Certificate chain (PEM) for --listen
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "listen")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) for --listen
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// File with a token that shows all of --listen's metrics, as `Authorization: Bearer TOKEN`
    #[arg(long, value_name = "FILE", requires = "listen", hide_short_help = true)]
    pub metrics_token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Configuration file (docs/operating.md says what it may hold)
    #[arg(long, env = "BYGONE_CONFIG", value_name = "FILE", default_value = "bygone.toml")]
    pub config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Write a copy of the catalog, whole, while the server runs (copy catalog.key beside it too)
    Backup {
        #[command(flatten)]
        server: ServerArgs,
        /// File to create
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Make stopped jobs of everything that the configured stores hold and the catalog does not know
    Rebuild {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print a link by which a Global Owner who cannot log in chooses a new password, once; also while the server runs
    OwnerLink {
        #[command(flatten)]
        server: ServerArgs,
        /// Which one, where there are several
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The server: https://host:port, or http:// on the same host
    #[arg(long, env = "BYGONE_SERVER", value_name = "URL")]
    pub server: String,
    /// File with the agent key of a project (or BYGONE_AGENT_KEY)
    #[arg(long, env = "BYGONE_AGENT_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Trust these certificates (PEM) instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub keep: KeepArgs,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Ask a running `bygone up --listen` instead of the store
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Trust these certificates (PEM) of an https server
    #[arg(long, value_name = "FILE", requires = "server")]
    pub ca_file: Option<PathBuf>,
    /// Store URL
    #[arg(long, env = "BYGONE_STORE", value_name = "URL")]
    pub store: Option<String>,
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub job: JobArgs,
    /// Wait until this moment can be restored
    #[arg(long, value_name = "WHEN")]
    pub wait_for: Option<String>,
    /// Give up waiting after this long
    #[arg(long, value_name = "DURATION", value_parser = crate::units::duration, default_value = "1h")]
    pub timeout: std::time::Duration,
}

#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub job: JobArgs,
}

#[derive(Debug, Args)]
pub struct SnapshotKeepArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub job: JobArgs,
    /// Id of the snapshot, as `bygone snapshots` shows it
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    #[command(flatten)]
    pub until: KeepUntil,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct KeepUntil {
    /// Never delete it
    #[arg(long)]
    pub for_ever: bool,
    /// Delete it when it is this old (other rules may keep it longer)
    #[arg(long, value_name = "DURATION", value_parser = crate::units::duration)]
    pub age: Option<std::time::Duration>,
    /// Delete it after this moment (other rules may keep it longer)
    #[arg(long, value_name = "INSTANT")]
    pub until: Option<String>,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub job: JobArgs,
    /// MongoDB URI of the target, without a password
    #[arg(long, env = "BYGONE_TO", hide_env_values = true, value_name = "URI")]
    pub to: Option<String>,
    /// File with the MongoDB URI of the target, password and all
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    pub to_file: Option<PathBuf>,
    /// File with the password alone
    #[arg(long, env = "BYGONE_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The moment to restore
    #[arg(long, value_name = "WHEN", default_value = "latest")]
    pub at: String,
    /// Restore only these namespaces (repeatable; * matches anything)
    #[arg(long, value_name = "PATTERN")]
    pub ns_include: Vec<String>,
    /// Leave these namespaces out (repeatable)
    #[arg(long, value_name = "PATTERN")]
    pub ns_exclude: Vec<String>,
    /// Rename: pattern of the source name (repeatable, with --ns-to)
    #[arg(long, value_name = "PATTERN")]
    pub ns_from: Vec<String>,
    /// Rename: pattern of the target name (repeatable)
    #[arg(long, value_name = "PATTERN")]
    pub ns_to: Vec<String>,
    /// Drop collections of the target that are in the way
    #[arg(long)]
    pub drop: bool,
    /// Prove the result by the target's own dbHash and catalogue
    #[arg(long)]
    pub verify: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Restore even into the replica set that the backup was taken from
    #[arg(long)]
    pub allow_source_as_target: bool,
    /// Insert connections
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub connections: usize,
    /// Folder for scratch files
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub job: JobArgs,
    /// The moment to export
    #[arg(long, value_name = "WHEN", default_value = "latest")]
    pub at: String,
    /// Directory to write, as mongodump --out
    #[arg(long, short, value_name = "DIR", conflicts_with = "archive")]
    pub out: Option<PathBuf>,
    /// Archive to write, as mongodump --archive; `-` is standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub archive: Option<String>,
    /// Compress with gzip
    #[arg(long)]
    pub gzip: bool,
    /// Compress with Zstandard, which only `bygone mongorestore --zstd` reads
    #[arg(long, conflicts_with = "gzip")]
    pub zstd: bool,
    /// Export only these namespaces (repeatable; * matches anything)
    #[arg(long, value_name = "PATTERN")]
    pub ns_include: Vec<String>,
    /// Leave these namespaces out (repeatable)
    #[arg(long, value_name = "PATTERN")]
    pub ns_exclude: Vec<String>,
    /// Name every collection on the way
    #[arg(long)]
    pub list: bool,
    /// Folder for scratch files
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub job: JobArgs,
    /// Check structure, names and chains, but do not read every block
    #[arg(long)]
    pub quick: bool,
}

#[derive(Debug, Args)]
pub struct GroomArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Show what would be freed, and free nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Delete unreferenced packs only when they have been so this long
    #[arg(long, value_name = "DURATION", value_parser = crate::units::duration, default_value = "24h")]
    pub delay: std::time::Duration,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Write a new key file (keep a copy away from the store: without it nothing can be restored)
    New {
        /// File to create
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Put a new data key in force, wrapped by the same or another key file or passphrase
    Rotate {
        #[command(flatten)]
        store: StoreArgs,
        /// Wrap by this key file from now on
        #[arg(long, value_name = "FILE", conflicts_with = "new_passphrase_file")]
        new_key_file: Option<PathBuf>,
        /// Wrap by this passphrase from now on
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
}
