//! Arguments of the commands that ask a server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
    /// Forget a store that no job uses; what it holds stays
    Remove {
        #[arg(value_name = "NAME")]
        name: String,
    },
}
