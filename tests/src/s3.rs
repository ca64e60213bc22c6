//! SeaweedFS: a real S3 server.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{ports::Port, version, wait};

/// The access key that the server takes.
pub const ACCESS_KEY: &str = "bygone-test";
/// Its secret.
pub const SECRET_KEY: &str = "not-a-secret";
/// A bucket that exists.
pub const BUCKET: &str = "backups";
/// The region that it pretends to be in.
pub const REGION: &str = "us-east-1";

/// A running S3 server with one bucket; stopped and removed when dropped.
#[derive(Debug)]
pub struct Weed {
    folder: TempDir,
    ports: Vec<Port>,
    child: Option<Child>,
}

/// S3, master, volume, filer, then the four ports that they talk to each other on.
const PORTS: [&str; 8] = [
    "-s3.port",
    "-master.port",
    "-volume.port",
    "-filer.port",
    "-s3.port.grpc",
    "-master.port.grpc",
    "-volume.port.grpc",
    "-filer.port.grpc",
];
const FILER: usize = 3;

impl Weed {
    /// Starts the server and creates [`BUCKET`].
    pub async fn start() -> Weed {
        let folder = tempfile::Builder::new().prefix("bygone-weed-").tempdir().expect("folder");
        let config = format!(
            r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{ACCESS_KEY}","secretKey":"{SECRET_KEY}"}}],
                "actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
        );
        fs::write(folder.path().join("s3.json"), config).expect("write s3.json");
        let ports = PORTS.iter().map(|_| Port::reserve()).collect();
        let mut weed = Weed { folder, ports, child: None };
        weed.restart().await;
        let filer = weed.ports[FILER].number();
        let made = wait::within(wait::PATIENCE, || make_folder(filer, BUCKET)).await;
        assert!(made.is_some(), "no bucket could be made: {}", weed.output());
        weed
    }

    /// Where S3 is spoken: `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// `127.0.0.1:PORT` of the S3 service.
    pub fn address(&self) -> String {
        self.ports[0].address()
    }

    /// A store URL; the keys belong into the environment ([`environment`]).
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}&region={REGION}", self.endpoint())
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it (again) on the same ports with the same data.
    pub async fn restart(&mut self) {
        self.kill();
        let output = File::create(self.folder.path().join("output")).expect("output file");
        let errors = output.try_clone().expect("output file");
        let data = self.folder.path().join("data");
        fs::create_dir_all(&data).expect("data folder");
        let ports =
            PORTS.iter().zip(&self.ports).map(|(name, port)| format!("{name}={}", port.number()));
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(version::program("weed", "s3"))
            .arg("server")
            .arg(format!("-dir={}", data.display()))
            .arg(format!("-s3.config={}", self.folder.path().join("s3.json").display()))
            .args([
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-s3",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ])
            .args(["-master.volumeSizeLimitMB=64", "-volume.max=100"])
            .args(ports)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("start weed");
        self.child = Some(child);
        let filer = self.ports[FILER].number();
        let ready = wait::within(wait::PATIENCE, || make_folder(filer, "ready")).await;
        let address = self.address();
        let s3 = wait::within(Duration::from_secs(30), || {
            let address = address.clone();
            async move { TcpStream::connect(address).await.ok() }
        })
        .await;
        assert!(ready.is_some() && s3.is_some(), "weed does not start: {}", self.output());
    }

    fn output(&self) -> String {
        let text = fs::read(self.folder.path().join("output")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The environment that clients of the server need.
pub fn environment() -> [(&'static str, &'static str); 3] {
    [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_ALLOW_HTTP", "true"),
    ]
}

/// Buckets are folders of the filer.
async fn make_folder(filer: u16, name: &str) -> Option<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, filer)).await.ok()?;
    let request = format!(
        "POST /buckets/{name}/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?;
    // 409: it is there, from before a restart.
    (status.starts_with('2') || status == "409").then_some(())
}
