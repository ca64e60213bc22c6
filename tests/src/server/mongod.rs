//! One mongod process.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bson::{Document, doc};
use mongodb::{Client, options::ClientOptions};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::OnceCell};

use super::{Auth, Options, Pki, Tls};
use crate::{Version, ports::Port, wait};

/// One member: its folder, its port, and its process while it runs.
#[derive(Debug)]
pub struct Mongod {
    version: Version,
    port: Port,
    folder: TempDir,
    arguments: Vec<String>,
    /// What it is started by, in front of everything.
    by: Vec<OsString>,
    child: Option<Child>,
    pki: Option<Pki>,
    /// Asks for its state, without logging in.
    probe: OnceCell<Client>,
}

impl Mongod {
    /// Prepares a member of a set; `start` starts it.
    pub(super) fn new(options: &Options, key: Option<&str>, pki: Option<&Pki>) -> Mongod {
        let folder = tempfile::Builder::new().prefix("bygone-mongod-").tempdir().expect("folder");
        let port = Port::reserve();
        fs::create_dir(folder.path().join("data")).expect("data folder");
        let (data, by) = options.disk.clone().unwrap_or((folder.path().join("data"), Vec::new()));
        let mut arguments = vec![
            format!("--port={}", port.number()),
            format!("--dbpath={}", data.display()),
            format!("--logpath={}", folder.path().join("log").display()),
            format!("--replSet={}", options.name),
            format!("--oplogSize={}", options.oplog_mb),
            format!("--wiredTigerCacheSizeGB={}", options.cache_gb),
            "--logappend".to_owned(),
            "--bind_ip=127.0.0.1".to_owned(),
            "--nounixsocket".to_owned(),
        ];
        arguments.extend(options.set_parameters().iter().map(|p| format!("--setParameter={p}")));
        if let Some(key) = key.filter(|_| options.auth == Auth::On) {
            let file = folder.path().join("key");
            write_secret(&file, key);
            arguments.push(format!("--keyFile={}", file.display()));
        }
        if let Some(pki) = pki.filter(|_| options.tls != Tls::Off) {
            arguments.push("--tlsMode=requireTLS".to_owned());
            arguments.push(format!("--tlsCertificateKeyFile={}", pki.server().display()));
            arguments.push(format!("--tlsCAFile={}", pki.ca().display()));
            if options.tls == Tls::Required {
                arguments.push("--tlsAllowConnectionsWithoutCertificates".to_owned());
            }
        }
        arguments.extend(options.arguments.iter().cloned());
        let pki = pki.cloned();
        let version = options.version;
        let probe = OnceCell::new();
        Mongod { version, port, folder, arguments, by, child: None, pki, probe }
    }

    /// Without the arguments that make it a member of a set.
    pub(super) fn alone(mut self) -> Mongod {
        let of_a_set = |argument: &String| {
            argument.starts_with("--replSet=") || argument.starts_with("--oplogSize=")
        };
        self.arguments.retain(|argument| !of_a_set(argument));
        self
    }

    /// Starts the process; it may not answer yet.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.address());
        let output = File::create(self.folder.path().join("output")).expect("output file");
        let errors = output.try_clone().expect("output file");
        // A killed test leaves no server behind: neither its destructors nor a signal to its process
        // group reach one whose shutdown hangs.
        let mut words = self.by.iter().cloned().chain([OsString::from("setpriv")]);
        let child = Command::new(words.next().expect("a program"))
            .args(words)
            .args(["--pdeathsig", "KILL"])
            .arg(self.version.program("mongod"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("start mongod");
        self.child = Some(child);
    }

    /// Waits until the server answers; panics with its log when it ends instead.
    pub async fn answers(&mut self) {
        let address = self.address();
        let limit = self.version.patience(wait::PATIENCE);
        for _ in 0..240 {
            // A short wait each time, so that a process that has ended is seen at once.
            let pause = self.version.patience(Duration::from_millis(500));
            let listening =
                wait::within(pause, || async { TcpStream::connect(&address).await.ok() }).await;
            if let Some(status) = self.exited() {
                panic!("mongod {address} ended with {status}:\n{}", self.log_tail());
            }
            if listening.is_some() {
                break;
            }
        }
        let answered = wait::within(limit, async || self.hello().await).await;
        assert!(answered.is_some(), "mongod {address} does not answer:\n{}", self.log_tail());
    }

    /// Its answer to `hello`, if it answers.
    pub async fn hello(&self) -> Option<Document> {
        let probe = self.probe.get_or_init(|| self.direct(None)).await;
        probe.database("admin").run_command(doc! {"hello": 1}).await.ok()
    }

    /// A client of this member alone; `login` is a user and a password of `admin`.
    pub async fn direct(&self, login: Option<(&str, &str)>) -> Client {
        let uri = self.uri(login);
        let mut options = ClientOptions::parse(&uri).await.expect("URI");
        options.server_selection_timeout = Some(self.version.patience(Duration::from_secs(10)));
        Client::with_options(options).expect("client")
    }

    /// Sends `command` to the database `admin` without logging in.
    pub async fn admin(&self, command: Document) -> mongodb::error::Result<Document> {
        self.direct(None).await.database("admin").run_command(command).await
    }

    /// The URI of this member alone.
    pub fn uri(&self, login: Option<(&str, &str)>) -> String {
        let login = login.map_or(String::new(), |(user, password)| format!("{user}:{password}@"));
        let tls = self.tls_query();
        format!("mongodb://{login}{}/?directConnection=true{tls}", self.address())
    }

    /// What a URI needs to reach this server when it uses TLS, with a leading `&`.
    pub(super) fn tls_query(&self) -> String {
        self.pki.as_ref().map_or(String::new(), Pki::query)
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A copy of its data, taken while it is stopped.
    pub fn copy_data(&self) -> TempDir {
        assert!(self.child.is_none(), "{} runs: its data cannot be copied", self.address());
        let copy = tempfile::Builder::new().prefix("bygone-data-").tempdir().expect("folder");
        copy_folder(&self.data(), copy.path());
        copy
    }

    /// Puts a copy of its data back in the place of what it has now.
    pub fn put_back(&self, copy: &TempDir) {
        assert!(self.child.is_none(), "{} runs: its data cannot be replaced", self.address());
        fs::remove_dir_all(self.data()).expect("remove the data");
        fs::create_dir(self.data()).expect("data folder");
        copy_folder(copy.path(), &self.data());
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.reap();
    }

    /// Stops it in good order.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        let limit = self.version.patience(wait::PATIENCE);
        let mut child = self.child.take();
        let ended = wait::within(limit, || {
            let ended = child.as_mut().is_none_or(|c| !matches!(c.try_wait(), Ok(None)));
            async move { ended.then_some(()) }
        });
        let ended = ended.await;
        self.child = child;
        if ended.is_none() {
            self.kill();
        }
        self.reap();
    }

    /// Lets it hang: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends `freeze`.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// The last lines of its log and output.
    pub fn log_tail(&self) -> String {
        let mut tail = String::new();
        for name in ["output", "log"] {
            let text = fs::read(self.folder.path().join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            // Frames of a stack say less than what came before them.
            let frame = |line: &&str| {
                !line.contains("rame: {frame}") && !line.contains("\"msg\":\"Frame\"")
            };
            let lines: Vec<&str> = text.lines().filter(frame).collect();
            for line in &lines[lines.len().saturating_sub(20)..] {
                tail.extend(line.chars().take(600));
                tail.push('\n');
            }
        }
        tail
    }

    fn exited(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself: then there is nothing to signal.
            let _ = kill_process(pid, signal);
        }
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

impl Drop for Mongod {
    fn drop(&mut self) {
        if let (true, Some(status)) = (std::thread::panicking(), self.exited()) {
            let tail = self.log_tail();
            eprintln!("mongod {} had ended with {status}:\n{tail}", self.address());
        }
        self.kill();
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("read a folder") {
        let entry = entry.expect("read a folder");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("read a folder").is_dir() {
            fs::create_dir(&target).expect("create a folder");
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copy a file");
        }
    }
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("write a secret");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("protect a secret");
}
