//! `bygone`: the command line. The only crate that reads arguments and environment and prints; it wires
//! the others together and holds no rule of its own.
//!
//! ```text
//! args (what can be asked) ─▶ commands/* (wire and run) ─▶ output (lines, JSON, progress, exit status)
//!                                  │
//!                       access (stores, secrets, URIs)
//! ```

#![allow(unreachable_pub, reason = "a binary has no callers outside")]

mod access;
mod args;
mod commands;
mod output;
mod tools;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads of a server that wait for disks or keep a processor busy. Hundreds of jobs on a slow disk would otherwise
/// start hundreds, which stay, each with memory of its own.
const SERVER_BLOCKING: usize = 48;

fn main() -> ExitCode {
    if let Some((tool, arguments)) = tools::asked_for() {
        return tools::main(tool, arguments);
    }
    let cli = args::Cli::parse();
    let output = output::Output::new(&cli);
    output.start_logging(cli.verbose);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, args::Command::Server(_)) {
        builder.max_blocking_threads(SERVER_BLOCKING);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return output.failed(&bygone_base::Error::io("start the runtime", error));
        }
    };
    let ended = runtime.block_on(commands::run(cli, &output));
    leave(runtime);
    match ended {
        Ok(code) => code,
        Err(error) => output.failed(&error),
    }
}

/// Ends the process's tasks with the process. Shutting the runtime down would cancel what the driver has left running
/// in the background, and a waiter of such a task panics (mongodb 3.9): a clean stop would end by SIGABRT. Whatever
/// must be done was waited for.
pub(crate) fn leave(runtime: tokio::runtime::Runtime) {
    std::mem::forget(runtime);
}
