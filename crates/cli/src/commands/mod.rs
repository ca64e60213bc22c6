//! One file per command.

mod backup;
mod groom;
mod key;
mod restore;
mod snapshots;
mod source;
mod status;
mod up;
mod verify;

use std::process::ExitCode;

use bygone_base::Result;
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Cli, Command},
    output::Output,
};

/// Runs the command asked for.
pub async fn run(cli: Cli, output: &Output) -> Result<ExitCode> {
    match cli.command {
        Command::Up(args) => up::run(args, output).await,
        Command::Backup(args) => backup::run(args, output).await,
        Command::Status(args) => status::run(args, output).await,
        Command::Snapshots(args) => snapshots::run(args, output).await,
        Command::Restore(args) => restore::run(*args, output).await,
        Command::Verify(args) => verify::run(args, output).await,
        Command::Groom(args) => groom::run(args, output).await,
        Command::Key(args) => key::run(args, output).await,
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
