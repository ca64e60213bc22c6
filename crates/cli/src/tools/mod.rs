//! `mongodump`, `mongorestore` and `bsondump`, as `bygone mongodump ..` or under those names (a link to this binary).
//! Arguments, log lines and exit statuses are the stock tools': 0 done, 1 anything else.

mod bsondump;
mod common;
mod config;
mod given;
mod mongodump;
mod mongorestore;
mod password;

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use bygone_base::{Error, ErrorKind};
use bygone_dumptools::report::{Log, stamp};
use clap::{CommandFactory, FromArgMatches, error::ErrorKind as Clap};
use jiff::tz::TimeZone;
use tokio::task::JoinSet;

use crate::access;

/// One of the tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `mongodump`
    Dump,
    /// `mongorestore`
    Restore,
    /// `bsondump`
    Bson,
}

impl Tool {
    fn named(name: &OsStr) -> Option<Tool> {
        match name.to_str()? {
            "mongodump" => Some(Tool::Dump),
            "mongorestore" => Some(Tool::Restore),
            "bsondump" => Some(Tool::Bson),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Tool::Dump => "mongodump",
            Tool::Restore => "mongorestore",
            Tool::Bson => "bsondump",
        }
    }
}

/// Which tool is asked for, and its arguments: by the name of the binary or by the first argument.
pub fn asked_for() -> Option<(Tool, Vec<OsString>)> {
    let mut arguments = std::env::args_os();
    let binary = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    if let Some(tool) = Path::new(&binary).file_stem().and_then(Tool::named) {
        return Some((tool, arguments));
    }
    let (first, rest) = arguments.split_first()?;
    Some((Tool::named(first)?, rest.to_vec()))
}

/// Runs a tool from its arguments to its exit status.
pub fn main(tool: Tool, arguments: Vec<OsString>) -> ExitCode {
    match tool {
        Tool::Dump => start::<mongodump::Args>(tool, arguments),
        Tool::Restore => start::<mongorestore::Args>(tool, arguments),
        Tool::Bson => start::<bsondump::Args>(tool, arguments),
    }
}

/// What the three have in common.
trait Arguments: CommandFactory + FromArgMatches {
    fn verbosity(&self) -> &common::Verbosity;
    /// Says what it did in log lines.
    fn run(self, log: Log) -> impl Future<Output = bygone_base::Result<()>>;
}

fn start<A: Arguments>(tool: Tool, arguments: Vec<OsString>) -> ExitCode {
    let command = A::command();
    let arguments = given::without_empty(&command, arguments);
    let arguments = std::iter::once(OsString::from(tool.name())).chain(arguments);
    let parsed = command.try_get_matches_from(arguments);
    let arguments = match parsed.and_then(|matches| A::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(error) => return refused(tool, &error),
    };
    if arguments.verbosity().version {
        // A closed pipe is the reader's business.
        let _ = std::io::stdout().write_all(version(tool).as_bytes());
        return ExitCode::SUCCESS;
    }
    let log = log(arguments.verbosity());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&log, &Error::io("start the runtime", error)),
    };
    let ended = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let stop = crate::commands::on_signal(&mut tasks);
        tokio::select! {
            ended = arguments.run(log.clone()) => ended,
            () = stop.cancelled() => {
                log.always("signal received; attempting to shut down");
                Err(Error::new(ErrorKind::Cancelled, "received a signal, stopped"))
            }
        }
    });
    crate::leave(runtime);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&log, &error),
    }
}

fn log(verbosity: &common::Verbosity) -> Log {
    let (clock, zone) = (access::clock(), TimeZone::system());
    Log::new(verbosity.level(), move |line| {
        let _ = writeln!(std::io::stderr(), "{}\t{line}", stamp(clock.now(), &zone));
    })
}

/// Lines that scripts look for; there is no Go in it.
fn version(tool: Tool) -> String {
    let (name, version) = (tool.name(), env!("CARGO_PKG_VERSION"));
    let os = std::env::consts::OS;
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "{name} version: bygone-{version}\ngit version: bygone-{version}\n   os: {os}\n   arch: {arch}\n   compiler: rustc\n"
    )
}

/// What a command line that makes no sense is told with.
const MISUSED: &str = "error parsing command line options";

/// The error of a command line that makes no sense.
fn misused(error: Error) -> Error {
    error.within(MISUSED)
}

/// What went wrong, as a line.
fn tell(log: &Log, error: &Error) {
    let tool = asked_for().map_or(Tool::Dump, |(tool, _)| tool);
    let hint = error.hint_text().map(|h| format!("; {h}")).unwrap_or_default();
    let text = format!("{error}{hint}");
    let usage = text.strip_prefix(MISUSED).map(|rest| rest.trim_start_matches(": "));
    match (tool, usage) {
        (Tool::Bson, Some(usage)) => log.always(usage),
        (Tool::Bson, None) | (_, Some(_)) => log.always(&text),
        (_, None) => log.always(format_args!("Failed: {text}")),
    }
    if usage.is_some() {
        log.always(format_args!("try '{} --help' for more information", tool.name()));
    }
}

/// A failure that was told already, or that lines before have told.
fn told() -> Error {
    Error::new(ErrorKind::Internal, "")
}

fn failed(log: &Log, error: &Error) -> ExitCode {
    if !error.message().is_empty() {
        tell(log, error);
    }
    ExitCode::FAILURE
}

/// What clap says, in the words that scripts know.
fn refused(tool: Tool, error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), Clap::DisplayHelp | Clap::DisplayVersion) {
        let _ = write!(std::io::stdout(), "{error}");
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let unknown = error.get(clap::error::ContextKind::InvalidArg).map(ToString::to_string);
    let line = match (error.kind(), unknown) {
        (Clap::UnknownArgument, Some(flag)) if flag.starts_with('-') => {
            format!("unknown option {:?}", flag.trim_start_matches('-'))
        }
        (Clap::InvalidValue, Some(flag)) if line.contains("is required") => {
            format!("expected argument for flag `{}'", flag.split(' ').next().unwrap_or(&flag))
        }
        _ => line,
    };
    let now = stamp(access::clock().now(), &TimeZone::system());
    let name = tool.name();
    let _ = writeln!(
        std::io::stderr(),
        "{now}\terror parsing command line options: {line}\n{now}\ttry '{name} --help' for more information"
    );
    ExitCode::FAILURE
}

/// Cores that this machine has for work beside the server's.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// A clock for the tools.
fn clock() -> Arc<dyn bygone_base::Clock> {
    access::clock()
}
