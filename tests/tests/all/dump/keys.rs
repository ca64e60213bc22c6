//! A client's certificate whose key has a password: by flag, by file, by URI, asked for, and wrong.

use std::fs;

use bson::{Bson, Document, doc};
use bygone_tests::{Options, ReplicaSet, Tls, Version, wait::PATIENCE};
use mongodb::Client;

use super::{Ended, Folder, Tools};

use crate::{
    bad_input::{says, told},
    spine::Backup,
};

on_both! {
    a_key_with_a_password
}

const PASSWORD: &str = "corr%ct h/rse";
/// The same in a URI.
const ESCAPED: &str = "corr%25ct%20h%2Frse";

/// A set that lets nobody in without a certificate, and a user that is one.
struct Guarded {
    set: ReplicaSet,
    client: Client,
    ca: String,
    locked: String,
}

impl Guarded {
    async fn new(version: Version) -> Guarded {
        let options = Options::new(version).auth().tls(Tls::ClientCertificate);
        let mechanisms = "SCRAM-SHA-1,SCRAM-SHA-256,MONGODB-X509";
        let options = options.parameter("authenticationMechanisms", mechanisms);
        let set = ReplicaSet::start(options).await;
        let client = set.client().await;
        let documents: Vec<Document> = (0..500).map(|n| doc! {"_id": n}).collect();
        client.database("shop").collection("a").insert_many(documents).await.unwrap();
        let pki = set.pki().unwrap();
        let _ = pki.client("carol");
        let roles = ["backup", "restore", "clusterMonitor", "readAnyDatabase"];
        let roles = roles.map(|role| doc! {"role": role, "db": "admin"}.into());
        let roles: Vec<Bson> = roles.into_iter().collect();
        let carol = doc! {"createUser": "CN=carol,OU=clients", "roles": roles};
        client.database("$external").run_command(carol).await.unwrap();
        let ca = pki.ca().display().to_string();
        let locked = pki.lock("carol", PASSWORD).display().to_string();
        Guarded { set, client, ca, locked }
    }

    /// With the key's file, and `more` options of a URI.
    fn uri(&self, more: &str) -> String {
        let (host, ca, locked) = (self.set.members[0].address(), &self.ca, &self.locked);
        let login = "authMechanism=MONGODB-X509&authSource=$external";
        format!(
            "mongodb://{host}/?tls=true&tlsCAFile={ca}&tlsCertificateKeyFile={locked}&{login}{more}"
        )
    }

    /// Runs a tool with the key by flags; `input` is what a person types.
    async fn tool(&self, name: &str, more: &[&str], input: &str) -> Ended {
        let host = self.set.members[0].address();
        let (ca, locked) = (&*self.ca, &*self.locked);
        let flags = ["--host", &host, "--ssl", "--sslCAFile", ca, "--sslPEMKeyFile", locked];
        let login = ["--authenticationMechanism", "MONGODB-X509"];
        let flags = flags.iter().chain(&login).chain(more);
        Tools::Ours.run(name, flags, input.as_bytes()).await
    }
}

async fn a_key_with_a_password(version: Version) {
    let guarded = Guarded::new(version).await;
    let folder = Folder::new();
    let config = folder.path("config");
    fs::write(&config, format!("sslPEMKeyPassword: \"{PASSWORD}\"\n")).unwrap();
    let out = folder.path("d");
    let ways = [
        (&["--sslPEMKeyPassword", PASSWORD][..], String::new()),
        (&["--config", &config], String::new()),
        (&[], format!("{PASSWORD}\n")),
    ];
    for (way, typed) in &ways {
        let dump = [way, &["-d", "shop", "-o", &out][..]].concat();
        let ended = guarded.tool("mongodump", &dump, typed).await.expect(0);
        let _ = ended.clone().saying("done dumping shop.a (500 documents)");
        let asked = ended.stderr.contains("Enter password for client certificate:");
        assert_eq!(asked, way.is_empty(), "{}", ended.stderr);
        let restore = [way, &["--drop", &out][..]].concat();
        let ended = guarded.tool("mongorestore", &restore, typed).await.expect(0);
        let _ = ended.saying("500 document(s) restored successfully");
    }
    let uri = guarded.uri(&format!("&tlsCertificateKeyFilePassword={ESCAPED}"));
    let _ = Tools::Ours.dump(&uri, &["-d", "shop", "-o", &out]).await.expect(0);
    // The stock tool takes what we take.
    let _ = Tools::Stock.dump(&uri, &["-d", "shop", "-o", &out]).await.expect(0);
    let ended = Tools::Ours.restore(&uri, &["--drop", &out]).await.expect(0);
    let _ = ended.saying("500 document(s) restored successfully");
    backed_up(&guarded, &uri).await;
}

/// The same URI as the source of a backup and the target of a restore, whose documents go over connections of our own.
async fn backed_up(guarded: &Guarded, uri: &str) {
    let backup = Backup::new();
    let uri = format!("{uri}&replicaSet=rs0");
    let _ = backup.backup(&uri).run().await.expect_code(0);
    guarded.client.database("shop").drop().await.unwrap();
    let restore = backup.restore(&uri, "latest").arg("--ns-include").arg("shop.*");
    let restore = restore.arg("--allow-source-as-target");
    let restore = restore.env("BYGONE_LOG", "bygone_restore=debug");
    let done = restore.run().await.expect_code(0);
    assert!(done.stderr.contains("a connection for inserts to"), "{}", done.stderr);
    assert!(!done.stderr.contains("through the driver"), "{}", done.stderr);
    let wrong = backup.backup(&uri.replace(ESCAPED, "wr0ng")).limit(PATIENCE).run().await;
    let line = told(&wrong, 1);
    says(&line, &[&guarded.locked, "the password of the key is wrong"]);
    let none = uri.replace(&format!("&tlsCertificateKeyFilePassword={ESCAPED}"), "");
    let line = told(&backup.backup(&none).limit(PATIENCE).run().await, 1);
    says(&line, &["the key wants a password", "tlsCertificateKeyFilePassword"]);
    assert!(!wrong.stderr.contains("wr0ng"), "{}", wrong.stderr);
}

/// No server is needed to see that a key cannot be opened.
#[tokio::test]
async fn a_key_that_cannot_be_opened_is_told() {
    let pki = bygone_tests::server::Pki::new();
    let locked = pki.lock("admin", PASSWORD).display().to_string();
    let flags = ["--host", "127.0.0.1:1", "--ssl", "--sslPEMKeyFile", &locked];
    for tool in ["mongodump", "mongorestore"] {
        let wrong = flags.iter().chain(&["--sslPEMKeyPassword", "wr0ng"]);
        let ended = Tools::Ours.run(tool, wrong, b"").await.expect(1);
        let ended = ended.saying("Failed: can't create session: certificate and key ");
        let ended = ended.saying("the password of the key is wrong");
        assert_eq!(ended.stderr.matches("Failed: ").count(), 1, "{}", ended.stderr);
        assert!(!ended.stderr.contains("wr0ng"), "{}", ended.stderr);
        let _ = Tools::Ours.run(tool, flags, b"\n").await.expect(1).saying("no password was given");
    }
    let uri = format!(
        "mongodb://h/?tls=true&tlsCertificateKeyFile={locked}&tlsCertificateKeyFilePassword=a"
    );
    let ended = Tools::Ours.dump(&uri, &["--sslPEMKeyPassword", "b"]).await.expect(1);
    let _ = ended.saying("different password of the client certificate");
    let folder = Folder::new();
    let old = folder.path("old.pem");
    let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    fs::write(&old, text).unwrap();
    let flags = ["--ssl", "--sslPEMKeyFile", &old, "--sslPEMKeyPassword", PASSWORD];
    let _ = Tools::Ours.run("mongodump", flags, b"").await.expect(1).saying("openssl pkcs8 -topk8");
}
