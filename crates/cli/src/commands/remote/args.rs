//! Arguments of the commands that ask a server.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use crate::units::duration;

/// Which server, as whom, and in which project.
#[derive(Debug, Args)]
pub struct RemoteArgs {
    /// The server: https://host:port, or http:// on the same host
    #[arg(long, env = "BYGONE_SERVER", value_name = "URL")]
    pub server: String,
    /// File with an API key, PUBLIC:PRIVATE (or BYGONE_API_KEY)
    #[arg(long, env = "BYGONE_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Trust these certificates (PEM) instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Project; needed only where there are several
    #[arg(long, env = "BYGONE_PROJECT", value_name = "NAME")]
    pub project: Option<String>,
}

#[derive(Debug, Args)]
pub struct JobArgs {
    #[command(flatten)]
    pub remote: RemoteArgs,
    #[command(subcommand)]
    pub command: JobCommand,
}

#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// The project's jobs: state, phase, lag, snapshots
    List,
    /// One job in full
    Show {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
    },
    /// Make a job, inactive until it is started
    Add {
        /// Name of the cluster
        #[arg(value_name = "CLUSTER")]
        cluster: String,
        /// File with the MongoDB URI of the replica set, password and all
        #[arg(long, value_name = "FILE")]
        source_file: PathBuf,
        /// Store of everything; chosen by the server where not given
        #[arg(long, value_name = "NAME")]
        snapshot_store: Option<String>,
        /// Store of the oplog, where it is another one
        #[arg(long, value_name = "NAME", requires = "snapshot_store")]
        oplog_store: Option<String>,
        /// Store of records of initial syncs, where it is another one
        #[arg(long, value_name = "NAME", requires = "snapshot_store")]
        sync_store: Option<String>,
    },
    /// Show when snapshots are taken and how long they are kept, or change it; existing ones keep their expiry
    Schedule {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
        #[command(flatten)]
        change: ScheduleChange,
    },
    /// Give the snapshots that are there the expiry that the schedule says; those kept for ever stay so
    ApplySchedule {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
        /// Only say which would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Give the job another URI of its source, or other namespaces
    Source {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
        #[command(flatten)]
        change: SourceChange,
    },
    /// Restore the newest snapshot regularly into a scratch server, whose data is dropped, and prove it
    Drill {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
        /// File with the MongoDB URI of the scratch server
        #[arg(long, value_name = "FILE", required_unless_present = "off")]
        to_file: Option<PathBuf>,
        /// From one to the next
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "7d")]
        every: Duration,
        /// No more drills
        #[arg(long, conflicts_with = "to_file")]
        off: bool,
    },
    /// Begin to back it up
    Start {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
    },
    /// Take nothing new; snapshots stay until they expire
    Stop {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
    },
    /// Go on: from the oplog where it still reaches back, else with a new initial sync
    Restart {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
    },
    /// Delete every snapshot of a stopped job
    Terminate {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
        /// Do not ask: the cluster's name once more
        #[arg(long, value_name = "CLUSTER")]
        confirm: Option<String>,
    },
    /// End a job that is being terminated where its store is gone: nothing more is deleted
    Abandon {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
        /// Do not ask: the cluster's name once more
        #[arg(long, value_name = "CLUSTER")]
        confirm: Option<String>,
    },
    /// Ask for a new initial sync
    Resync {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
    },
    /// Ask for a check of everything that a job stores
    Check {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
    },
    /// Forget an inactive job
    Remove {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
    },
}

/// What of a source changes; what is not given stays.
#[derive(Debug, Args)]
pub struct SourceChange {
    /// File with the MongoDB URI of the replica set, password and all
    #[arg(long, value_name = "FILE")]
    pub source_file: Option<PathBuf>,
    /// Only these namespaces: the full new list; '' for all
    #[arg(long, value_name = "PATTERN")]
    pub ns_include: Option<Vec<String>>,
    /// All but these namespaces: the full new list; '' for none
    #[arg(long, value_name = "PATTERN")]
    pub ns_exclude: Option<Vec<String>>,
    /// Agree to the new initial sync that covering more namespaces needs
    #[arg(long)]
    pub resync: bool,
}

/// What of a schedule changes; what is not given stays.
#[derive(Debug, Args)]
pub struct ScheduleChange {
    /// From one snapshot to the next
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub interval: Option<Duration>,
    /// Keep every snapshot so long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub keep: Option<Duration>,
    /// Keep the first of a day for so many days
    #[arg(long, value_name = "DAYS")]
    pub keep_daily: Option<u16>,
    /// Keep the first of a week for so many weeks
    #[arg(long, value_name = "WEEKS")]
    pub keep_weekly: Option<u16>,
    /// Keep the first of a month for so many months
    #[arg(long, value_name = "MONTHS")]
    pub keep_monthly: Option<u16>,
    /// Keep the first of a year for so many years
    #[arg(long, value_name = "YEARS")]
    pub keep_yearly: Option<u16>,
    /// Every second of this long can be restored
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub window: Option<Duration>,
    /// When the day begins
    #[arg(long, value_name = "HH:MM")]
    pub day_at: Option<String>,
    /// Time zone of that
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
}

#[derive(Debug, Args)]
pub struct RestoreJobArgs {
    #[command(flatten)]
    pub remote: RemoteArgs,
    #[command(subcommand)]
    pub command: RestoreJobCommand,
}

#[derive(Debug, Subcommand)]
pub enum RestoreJobCommand {
    /// The project's restores, newest first
    List {
        /// Only those of this cluster
        #[arg(value_name = "CLUSTER")]
        cluster: Option<String>,
    },
    /// One restore in full, with its proof
    Show {
        #[arg(value_name = "RESTORE")]
        restore: String,
    },
    /// Restore into a server, or into a file to be fetched by a link
    Start {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
        /// latest, a snapshot's id, SECS:INC or an instant
        #[arg(long, value_name = "WHEN", default_value = "latest")]
        at: String,
        /// File with the MongoDB URI of the target
        #[arg(long, value_name = "FILE", required_unless_present = "link")]
        to_file: Option<PathBuf>,
        /// A file by link instead: archive, tar, or the namespace of one collection
        #[arg(long, value_name = "FORM", conflicts_with = "to_file")]
        link: Option<String>,
        /// Existing collections of the target give way: this is asked about
        #[arg(long, requires = "to_file")]
        drop: bool,
        /// Do not ask: the cluster's name once more
        #[arg(long, value_name = "CLUSTER", requires = "drop")]
        confirm: Option<String>,
        /// Only say what would be done
        #[arg(long, requires = "to_file")]
        dry_run: bool,
        /// Only these namespaces
        #[arg(long, value_name = "PATTERN")]
        ns_include: Vec<String>,
        /// Not these namespaces
        #[arg(long, value_name = "PATTERN")]
        ns_exclude: Vec<String>,
    },
    /// End a restore that waits or is being done, or a link that is still good
    Cancel {
        #[arg(value_name = "RESTORE")]
        restore: String,
    },
}

#[derive(Debug, Args)]
pub struct AlertArgs {
    #[command(flatten)]
    pub remote: RemoteArgs,
    #[command(subcommand)]
    pub command: AlertCommand,
}

#[derive(Debug, Subcommand)]
pub enum AlertCommand {
    /// What is wrong in the project, and with the server for who may look everywhere
    List {
        /// Also what is right again
        #[arg(long)]
        all: bool,
    },
    /// Say that somebody knows: nobody is told again until then
    Ack {
        #[arg(value_name = "ALERT")]
        alert: String,
        /// For so long
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1d")]
        r#for: Duration,
        #[arg(long, value_name = "TEXT", default_value = "")]
        comment: String,
    },
}

#[derive(Debug, Args)]
pub struct SnapshotArgs {
    #[command(flatten)]
    pub remote: RemoteArgs,
    #[command(subcommand)]
    pub command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Snapshots of a job, and the moments that can be restored
    List {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
    },
    /// Take one now
    Take {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
    },
    /// Keep one longer or shorter than the schedule says
    Keep {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        /// Until this instant; without, for ever
        #[arg(long, value_name = "INSTANT")]
        until: Option<String>,
    },
    /// Delete one
    Delete {
        #[arg(value_name = "CLUSTER")]
        cluster: String,
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        /// Do not ask: the cluster's name once more
        #[arg(long, value_name = "CLUSTER")]
        confirm: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct UserArgs {
    #[command(flatten)]
    pub remote: RemoteArgs,
    #[command(subcommand)]
    pub command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Who can log in, and what they may do
    List,
    /// Make a user; prints the link by which the password is chosen
    Invite {
        #[arg(value_name = "NAME")]
        name: String,
        /// GLOBAL_OWNER, GLOBAL_BACKUP_ADMIN, or of the project: PROJECT_BACKUP_ADMIN, PROJECT_RESTORE, PROJECT_READ_ONLY
        #[arg(long, value_name = "ROLE", required = true)]
        role: Vec<String>,
    },
    /// Remove a user
    Remove {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// API keys
    Keys,
    /// Make an API key; prints both halves, once
    NewKey {
        #[arg(value_name = "DESCRIPTION")]
        description: String,
        /// As of `invite`
        #[arg(long, value_name = "ROLE", required = true)]
        role: Vec<String>,
    },
    /// Remove an API key
    RemoveKey {
        #[arg(value_name = "PUBLIC")]
        public: String,
    },
    /// Agent keys of the project
    AgentKeys,
    /// Remove an agent key: agents that use it are refused
    RemoveAgentKey {
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Make an agent key of the project; prints it, once
    NewAgentKey {
        #[arg(value_name = "DESCRIPTION")]
        description: String,
    },
}

#[derive(Debug, Args)]
pub struct StoreArgs {
    #[command(flatten)]
    pub remote: RemoteArgs,
    #[command(subcommand)]
    pub command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Stores, what they hold, and their last groom
    List,
    /// Register a store, and make its repository where there is none
    Add {
        #[arg(value_name = "NAME")]
        name: String,
        #[arg(value_name = "URL")]
        url: String,
        /// File on the server with the store's key
        #[arg(long, value_name = "FILE")]
        key_file: Option<String>,
    },
    /// Ask for a groom now, and show what the last ones did
    Groom {
        #[arg(value_name = "NAME")]
        name: String,
        /// Only find out what it would free
        #[arg(long)]
        dry_run: bool,
    },
    /// What the last grooms of a store did
    Grooms {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// What the last checks of a store read, and what they found
    Checks {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Show how checks and grooms of all stores go about it, or change it
    Upkeep(UpkeepChange),
    /// Forget a store that no job uses; what it holds stays
    Remove {
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// What of the upkeep changes; what is not given stays.
#[derive(Debug, Args)]
pub struct UpkeepChange {
    /// From one check of a store to the next
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub check_every: Option<Duration>,
    /// Everything stored is read within so long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub check_within: Option<Duration>,
    /// Megabytes that checks of a store read per second at most; 0: as fast as it goes
    #[arg(long, value_name = "MB")]
    pub check_rate: Option<u32>,
    /// Megabytes that grooms of a store read and write per second at most; 0: as fast as it goes
    #[arg(long, value_name = "MB")]
    pub groom_rate: Option<u32>,
}
