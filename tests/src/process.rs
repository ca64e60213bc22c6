//! The real `bygone` binary as a process.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

use crate::wait;

/// A command line of `bygone`, to be run or started.
#[derive(Debug, Clone)]
pub struct Bygone {
    by: Vec<OsString>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Vec<u8>,
    limit: Duration,
}

/// What a finished process left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Panics with what the process said unless its exit status is `code`.
    #[must_use]
    pub fn expect_code(self, code: i32) -> Output {
        let Output { code: actual, stdout, stderr } = &self;
        assert_eq!(*actual, Some(code), "stdout:\n{stdout}\nstderr:\n{stderr}");
        self
    }
}

impl Bygone {
    /// `bygone arguments..`
    pub fn new<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Bygone {
        let arguments = arguments.into_iter().map(|a| a.as_ref().to_owned()).collect();
        let limit = wait::PATIENCE * 5;
        Bygone { by: Vec::new(), arguments, environment: Vec::new(), input: Vec::new(), limit }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Bygone {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Bygone {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Bygone {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Started by another command, which must become it (`exec`).
    #[must_use]
    pub(crate) fn by(mut self, command: Vec<OsString>) -> Bygone {
        self.by = command;
        self
    }

    /// With something to read from its standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Bygone {
        self.input = bytes.into();
        self
    }

    /// With another bound than the usual five minutes for `run`.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Bygone {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    pub async fn run(self) -> Output {
        let limit = self.limit;
        self.start().wait(limit).await
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let mut words = self.by.iter().cloned().chain([binary().into_os_string()]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(&self.arguments).envs(self.environment).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start bygone");
        let stdout = Arc::new(Lines::default());
        let stderr = Arc::new(Lines::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(collect(child.stdout.take().expect("stdout"), Arc::clone(&stdout)));
        tasks.spawn(collect(child.stderr.take().expect("stderr"), Arc::clone(&stderr)));
        let mut stdin = child.stdin.take().expect("stdin");
        let input = self.input;
        tasks.spawn(async move {
            // It may end without reading all of it.
            let _ = stdin.write_all(&input).await;
        });
        Running { shown: format!("bygone {:?}", self.arguments), child, stdout, stderr, tasks }
    }
}

/// A running `bygone`; killed when dropped.
#[derive(Debug)]
pub struct Running {
    shown: String,
    child: Child,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Waits until standard output or standard error has a line that `wanted`
    /// accepts, and returns it. Panics when the process ends without it.
    pub async fn line(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let found = || self.stdout.find(&wanted).or_else(|| self.stderr.find(&wanted));
        let found =
            wait::within(limit, || async { found().map(Some).or(self.ended().then_some(None)) });
        match found.await.flatten() {
            Some(line) => line,
            None => {
                panic!("no such line from {}:\n{}\n{}", self.shown, self.stdout(), self.stderr())
            }
        }
    }

    /// Everything that it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Everything that it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it as a power cut would, and waits for its end.
    pub async fn kill(self) -> Output {
        self.signal(Signal::KILL);
        self.wait(wait::PATIENCE).await
    }

    /// Ctrl-C; `wait` afterwards.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// SIGTERM; `wait` afterwards.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Lets it hang.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends `freeze`.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for its end; panics with what it has said when it does not end within `limit`.
    pub async fn wait(mut self, limit: Duration) -> Output {
        let status = tokio::time::timeout(limit, self.child.wait()).await;
        let Ok(status) = status else {
            panic!("{} runs on after {limit:?}:\n{}\n{}", self.shown, self.stdout(), self.stderr());
        };
        // What it wrote is complete once its pipes are closed.
        while self.tasks.join_next().await.is_some() {}
        let code = status.expect("exit status").code();
        Output { code, stdout: self.stdout(), stderr: self.stderr() }
    }

    fn ended(&self) -> bool {
        self.stdout.closed() && self.stderr.closed()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself: then there is nothing to signal.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Lines that a process has written.
#[derive(Debug, Default)]
struct Lines {
    state: Mutex<(Vec<String>, bool)>,
}

impl Lines {
    fn find(&self, wanted: &impl Fn(&str) -> bool) -> Option<String> {
        let state = self.state.lock().expect("lines");
        state.0.iter().find(|line| wanted(line)).cloned()
    }

    fn text(&self) -> String {
        self.state.lock().expect("lines").0.join("\n")
    }

    fn closed(&self) -> bool {
        self.state.lock().expect("lines").1
    }
}

async fn collect(from: impl AsyncRead + Unpin, into: Arc<Lines>) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
        into.state.lock().expect("lines").0.push(text);
        line.clear();
    }
    into.state.lock().expect("lines").1 = true;
}

/// The path of the binary: `BYGONE_BIN` where it is set (the Makefile builds
/// it first), otherwise built now, so that no test runs an old one.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os("BYGONE_BIN").map_or_else(build, PathBuf::from)).clone()
}

fn build() -> PathBuf {
    let this = env::current_exe().expect("the test's own path");
    // target/PROFILE/deps/TEST
    let folder = this.ancestors().nth(2).expect("the folder of the profile").to_owned();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.args(["build", "--quiet", "--package=bygone", "--bin=bygone"]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("run cargo");
    assert!(status.success(), "the binary does not build");
    folder.join("bygone")
}
