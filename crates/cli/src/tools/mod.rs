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
use bygone_dumptools::report::{Level, Log, stamp};
use clap::{CommandFactory, FromArgMatches, error::ErrorKind as Clap};
use jiff::tz::TimeZone;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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
    /// Says what it did in log lines, also where `signal` ends it.
    fn run(self, log: Log, signal: Signal) -> impl Future<Output = Result<(), Stop>>;
}

/// Ends a tool in the middle when somebody sends a signal.
struct Signal {
    token: CancellationToken,
    log: Log,
}

impl Signal {
    /// Waits for `work`, or for the signal, which is told.
    async fn unless<T, E: From<Error>>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            ended = work => ended,
            () = self.token.cancelled() => {
                self.log.always("signal received; attempting to shut down");
                Err(Error::new(ErrorKind::Cancelled, "received a signal, stopped").into())
            }
        }
    }
}

/// Why a tool ends with status 1.
#[derive(Debug)]
enum Stop {
    /// Arguments that say nothing, as the stock tools find out before anything else; those that contradict each other
    /// they find out later.
    Misused(Error),
    Failed(Error),
    /// It was told already, or lines before have told it.
    Told,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

impl Stop {
    /// Of the connection's options: whether they are wrong in themselves.
    fn of_connecting(error: Error) -> Stop {
        let tried = ["can't create session", "error parsing --readPreference"];
        let tried = tried.iter().any(|start| error.message().starts_with(start));
        match error.kind() {
            ErrorKind::Usage if !tried => Stop::Misused(error),
            _ => Stop::Failed(error),
        }
    }
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
    let Some(level) = arguments.verbosity().level() else {
        let _ = writeln!(std::io::stderr(), "Invalid verbosity value given");
        // As the stock tools end then, and only then.
        return ExitCode::from(255);
    };
    let log = log(level);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return stopped(tool, &log, Error::io("start the runtime", error).into()),
    };
    let ended = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let token = crate::commands::on_signal(&mut tasks);
        arguments.run(log.clone(), Signal { token, log: log.clone() }).await
    });
    crate::leave(runtime);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stopped(tool, &log, stop),
    }
}

fn log(level: Option<Level>) -> Log {
    let (clock, zone) = (access::clock(), TimeZone::system());
    Log::new(level, move |line| {
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

/// What went wrong, as a line.
fn tell(log: &Log, error: &Error) {
    let hint = error.hint_text().map(|h| format!("; {h}")).unwrap_or_default();
    log.line(Level::Always, format_args!("Failed: {error}{hint}"));
}

/// How most lines about wrong arguments begin.
const MISUSED: &str = "error parsing command line options";

fn stopped(tool: Tool, log: &Log, stop: Stop) -> ExitCode {
    match (stop, tool) {
        (Stop::Misused(error), Tool::Bson) => return misused(tool, &error.to_string()),
        (Stop::Misused(error), _) => return misused(tool, &format!("{MISUSED}: {error}")),
        (Stop::Failed(error), Tool::Bson) => log.always(error),
        (Stop::Failed(error), _) => tell(log, &error),
        (Stop::Told, _) => {}
    }
    ExitCode::FAILURE
}

/// That the arguments say nothing, in the words that scripts know.
fn misused(tool: Tool, line: &str) -> ExitCode {
    let now = stamp(access::clock().now(), &TimeZone::system());
    let name = tool.name();
    let _ = writeln!(
        std::io::stderr(),
        "{now}\t{line}\n{now}\ttry '{name} --help' for more information"
    );
    ExitCode::FAILURE
}

/// What clap says, in the words that scripts know.
fn refused(tool: Tool, error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), Clap::DisplayHelp | Clap::DisplayVersion) {
        let _ = write!(std::io::stdout(), "{error}");
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    // What is wrong, up to an empty line; behind it stands how to ask for help.
    let said: Vec<&str> = text.lines().map(str::trim).take_while(|l| !l.is_empty()).collect();
    let line = said.join(" ").trim_start_matches("error: ").to_owned();
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
    misused(tool, &format!("{MISUSED}: {line}"))
}

/// Cores that this machine has for work beside the server's.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// A clock for the tools.
fn clock() -> Arc<dyn bygone_base::Clock> {
    access::clock()
}
