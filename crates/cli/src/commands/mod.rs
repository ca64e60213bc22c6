//! One file per command.

mod agent;
mod backup;
mod catalog;
mod export;
mod groom;
mod keep;
mod key;
pub mod remote;
mod report;
mod restore;
mod server;
mod snapshots;
mod source;
mod status;
mod up;
mod verify;

use std::process::ExitCode;

use bygone_base::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Cli, Command},
    output::Output,
};

/// Runs the command asked for.
pub async fn run(cli: Cli, output: &Output) -> Result<ExitCode> {
    match cli.command {
        Command::Up(args) => up::run(args, output).await,
        Command::Server(args) => server::run(args, output).await,
        Command::Job(args) => remote::job(*args, output).await,
        Command::Snapshot(args) => remote::snapshot(*args, output).await,
        Command::RestoreJob(args) => remote::restore(*args, output).await,
        Command::Alert(args) => remote::alert(*args, output).await,
        Command::User(args) => remote::user(*args, output).await,
        Command::Store(args) => remote::store(*args, output).await,
        Command::Catalog(args) => catalog::run(args, output).await,
        Command::Agent(args) => agent::run(args, output).await,
        Command::Backup(args) => backup::run(args, output).await,
        Command::Status(args) => status::run(args, output).await,
        Command::Snapshots(args) => snapshots::run(args, output).await,
        Command::Restore(args) => restore::run(*args, output).await,
        Command::Export(args) => export::run(args, output).await,
        Command::Verify(args) => verify::run(args, output).await,
        Command::Keep(args) => keep::run(args, output).await,
        Command::Groom(args) => groom::run(args, output).await,
        Command::Key(args) => key::run(args, output).await,
        // `main` gives these to the tools, unless flags of bygone itself stand before the name.
        Command::Mongodump(_) | Command::Mongorestore(_) | Command::Bsondump(_) => {
            Err(Error::usage("flags of bygone itself cannot stand before the name of a tool"))
        }
    }
}

/// Cancelled by Ctrl-C or SIGTERM; a second one ends the process at once.
pub fn on_signal(tasks: &mut tokio::task::JoinSet<()>) -> CancellationToken {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tasks.spawn(async move {
        signal().await;
        cancelled.cancel();
        signal().await;
        std::process::exit(130);
    });
    token
}

/// The failure of a cancelled command.
pub fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "stopped before the end")
        .hint("the next run goes on from what is stored")
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
