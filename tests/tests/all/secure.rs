//! A source and a target that want certificates, passwords and privileges; and secrets, which are
//! nowhere but where they must be.

use std::{fs, path::Path};

use bson::{Bson, doc};
use bygone_blockstore::{FileStore, ObjectKind, Repository, Store as _};
use bygone_tests::{
    Options, ReplicaSet, Tls, Version, oracle,
    process::{Bygone, Output},
    server::PASSWORD,
    wait::PATIENCE,
};

use crate::{
    bad_input::{orders, says, told},
    spine::{Backup, complete, interrupted},
};

/// One that no other text contains, with what a URI must escape.
const SECRET: &str = "qX7/vT2@kB9:zM4%wL6";

/// A set whose members want a certificate, and a login.
async fn guarded(version: Version) -> ReplicaSet {
    let mechanisms = "SCRAM-SHA-1,SCRAM-SHA-256,MONGODB-X509";
    let options = Options::new(version).auth().tls(Tls::ClientCertificate);
    ReplicaSet::start(options.parameter("authenticationMechanisms", mechanisms)).await
}

/// The URI of the set without a login, with a client's certificate.
fn uri(set: &ReplicaSet, login: &str, certificate: &Path, more: &str) -> String {
    let (host, ca) = (set.members[0].address(), set.pki().unwrap().ca());
    let (ca, certificate) = (ca.display(), certificate.display());
    format!(
        "mongodb://{login}{host}/?replicaSet=rs0&tls=true&tlsCAFile={ca}&tlsCertificateKeyFile={certificate}{more}"
    )
}

async fn create(set: &ReplicaSet, db: &str, command: bson::Document) {
    set.client().await.database(db).run_command(command).await.unwrap();
}

/// A user of `admin` that can log in by one mechanism only.
async fn saver(set: &ReplicaSet, name: &str, mechanism: &str) {
    let roles = ["backup", "clusterMonitor"];
    let command = doc! {"createUser": name, "pwd": SECRET, "roles": roles.as_slice(), "mechanisms": [mechanism]};
    create(set, "admin", command).await;
}

/// Every way to log in, with the least roles; the password from a file, a variable, a URI in a file.
async fn every_login(version: Version) {
    let set = guarded(version).await;
    orders(&set.client().await, 0, 100).await;
    saver(&set, "old", "SCRAM-SHA-1").await;
    saver(&set, "new", "SCRAM-SHA-256").await;
    let certificate = set.pki().unwrap().client("carol");
    let roles = [("backup", "admin"), ("clusterMonitor", "admin")];
    let roles: Vec<Bson> =
        roles.map(|(role, db)| doc! {"role": role, "db": db}.into()).into_iter().collect();
    create(&set, "$external", doc! {"createUser": "CN=carol,OU=clients", "roles": roles}).await;
    let backup = Backup::new();
    let password = backup.path("password");
    fs::write(&password, format!("{SECRET}\n")).unwrap();
    let password = password.display().to_string();
    let whole = backup.path("uri");
    let escaped = "qX7%2FvT2%40kB9%3AzM4%25wL6";
    fs::write(&whole, uri(&set, &format!("new:{escaped}@"), &certificate, "")).unwrap();
    let x509 = uri(&set, "", &certificate, "&authMechanism=MONGODB-X509&authSource=$external");
    let sha_1 = uri(&set, "old@", &certificate, "&authSource=admin");
    let sha_256 = uri(&set, "new@", &certificate, "&authMechanism=SCRAM-SHA-256");
    let command = || backup.command("backup");
    let ways: [(&str, Bygone); 4] = [
        ("SHA-1", command().arg("--source").arg(&sha_1).arg("--password-file").arg(&password)),
        ("SHA-256", command().arg("--source").arg(&sha_256).env("BYGONE_PASSWORD", SECRET)),
        ("a URI in a file", command().arg("--source-file").arg(&whole)),
        ("X.509", command().arg("--source").arg(&x509)),
    ];
    for (way, command) in ways {
        let done = command.run().await;
        assert_eq!(done.code, Some(0), "{way}: {}", done.stderr);
    }
    let line = told(&backup.backup(&uri(&set, "", &certificate, "")).run().await, 1);
    says(&line, &["wants a user"]);
    let listed = backup.command("snapshots").arg("--json").run().await.expect_code(0);
    assert_eq!(listed.stdout.matches("\"id\"").count(), 4, "{}", listed.stdout);

    // Without a certificate, and with one of another authority.
    let bare = format!("mongodb://{}/?replicaSet=rs0&tls=true", set.members[0].address());
    let bare = format!("{bare}&tlsCAFile={}", set.pki().unwrap().ca().display());
    let line = told(&backup.backup(&bare).limit(PATIENCE * 2).run().await, 1);
    says(&line, &[&set.members[0].address(), "TLS"]);
    let stranger = bygone_tests::server::Pki::new();
    let foreign = uri(&set, "", &stranger.client("carol"), "");
    let line = told(&backup.backup(&foreign).limit(PATIENCE * 2).run().await, 1);
    says(&line, &[&set.members[0].address(), "TLS"]);

    arrives_by_every_login(&backup, version, escaped).await;
}

/// The same on the way back, with connections of our own for the documents.
async fn arrives_by_every_login(backup: &Backup, version: Version, password: &str) {
    let roles = [("restore", "admin"), ("readAnyDatabase", "admin")];
    let roles: Vec<Bson> =
        roles.map(|(role, db)| doc! {"role": role, "db": db}.into()).into_iter().collect();
    let target = guarded(version).await;
    let rita = doc! {"createUser": "CN=rita,OU=clients", "roles": roles.clone()};
    create(&target, "$external", rita).await;
    for (name, mechanism) in [("old", "SCRAM-SHA-1"), ("new", "SCRAM-SHA-256")] {
        let roles = roles.clone();
        let user =
            doc! {"createUser": name, "pwd": SECRET, "roles": roles, "mechanisms": [mechanism]};
        create(&target, "admin", user).await;
    }
    let certificate = target.pki().unwrap().client("rita");
    for (login, more) in [
        (String::new(), "&authMechanism=MONGODB-X509&authSource=$external"),
        (format!("old:{password}@"), ""),
        (format!("new:{password}@"), ""),
    ] {
        let to = uri(&target, &login, &certificate, more);
        let restore = backup.command("restore").env("BYGONE_TO", to).arg("--verify").arg("--drop");
        let restore = restore.arg("--ns-include").arg("shop.*");
        let restore = restore.env("BYGONE_LOG", "bygone_restore=debug");
        let done = restore.run().await.expect_code(0);
        assert!(done.stdout.contains("PROVEN: "), "{}", done.stdout);
        assert!(done.stderr.contains("a connection for inserts to"), "{login}: {}", done.stderr);
        assert!(!done.stderr.contains("through the driver"), "{login}: {}", done.stderr);
        assert!(!done.stderr.contains(SECRET), "{}", done.stderr);
    }
}

#[tokio::test]
async fn every_login_over_tls_8_2() {
    every_login(Version::V8_2).await;
}

#[tokio::test]
async fn every_login_over_tls_4_4() {
    every_login(Version::V4_4).await;
}

/// The role `backup` is enough for `up` and `backup`; each role that lacks something is told what.
async fn missing_privileges_are_named(version: Version) {
    let set = ReplicaSet::start(Options::new(version).auth()).await;
    orders(&set.client().await, 0, 10).await;
    let find = |db: &str, coll: &str| -> Bson {
        doc! {"resource": {"db": db, "collection": coll}, "actions": ["find"]}.into()
    };
    let cluster =
        |action: &str| -> Bson { doc! {"resource": {"cluster": true}, "actions": [action]}.into() };
    let steps: [(Bson, &str); 6] = [
        (find("local", "oplog.rs"), "read the oplog"),
        (cluster("listDatabases"), "listDatabases"),
        (find("config", "transactions"), "config.transactions"),
        (cluster("serverStatus"), "serverStatus"),
        (find("admin", "system.users"), "admin.system.users"),
        (find("admin", "system.version"), "admin.system.version"),
    ];
    let backup = Backup::new();
    let uri = set.uri_as("part", PASSWORD);
    let mut privileges: Vec<Bson> = Vec::new();
    let role = doc! {"createRole": "part", "privileges": [], "roles": []};
    create(&set, "admin", role).await;
    set.create_user("part", vec!["part".into()]).await;
    for (privilege, what) in steps {
        let line = told(&backup.backup(&uri).run().await, 1);
        says(&line, &["user part@admin may not", what, "the built-in role \"backup\""]);
        privileges.push(privilege);
        let role = doc! {"updateRole": "part", "privileges": privileges.clone()};
        create(&set, "admin", role).await;
    }
    // It can follow now, but not read what it follows.
    let line = told(&backup.backup(&uri).run().await, 1);
    says(&line, &["not authorized", "grant the user the built-in role \"backup\""]);
    assert!(!line.contains("lsid"), "{line}");
    set.create_user("saver", vec!["backup".into()]).await;
    let saver = Backup::new();
    let mut up = saver.up(&set.uri_as("saver", PASSWORD)).start();
    complete(&mut up).await;
    let at = oracle::now(&set.client().await).await;
    saver.wait_for(at).await;
    interrupted(up).await;
    let _ = saver.verify().await;
}

#[tokio::test]
async fn missing_privileges_are_named_8_2() {
    missing_privileges_are_named(Version::V8_2).await;
}

#[tokio::test]
async fn missing_privileges_are_named_4_4() {
    missing_privileges_are_named(Version::V4_4).await;
}

/// All plain bytes of a store: as they lie there, and out of their envelopes.
async fn contents(folder: &Path) -> Vec<Vec<u8>> {
    let store = std::sync::Arc::new(FileStore::new(folder));
    let rng = std::sync::Arc::new(bygone_base::SystemRng);
    let repository = Repository::open(store.clone(), None, rng).await.unwrap();
    let kinds = [
        ObjectKind::Slice,
        ObjectKind::Manifest,
        ObjectKind::Sync,
        ObjectKind::Timeline,
        ObjectKind::Epoch,
        ObjectKind::Policy,
    ];
    let (mut found, mut opened) = (Vec::new(), 0);
    for object in store.list("", None).await.unwrap() {
        found.push(store.get(&object.name).await.unwrap().to_vec());
        for kind in kinds {
            if let Ok(plain) = repository.get_object(kind, &object.name).await {
                opened += 1;
                found.push(plain.to_vec());
            }
        }
    }
    assert!(opened > 5, "{opened} objects could be opened");
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The password of the source and of the target, in any form, in no output, no log, no argument and no
/// object of the store.
#[tokio::test]
async fn a_password_is_nowhere() {
    let set = ReplicaSet::start(Options::new(Version::V8_2).auth()).await;
    orders(&set.client().await, 0, 100).await;
    saver(&set, "ann", "SCRAM-SHA-256").await;
    let backup = Backup::new();
    let host = set.members[0].address();
    let source = format!("mongodb://ann@{host}/?replicaSet=rs0&authSource=admin");
    let secret = |command: Bygone| command.env("BYGONE_PASSWORD", SECRET).arg("-vv");
    let mut said: Vec<Output> = Vec::new();
    let mut arguments = Vec::new();
    for json in [false, true] {
        let command = secret(backup.up(&source)).env("BYGONE_LOG", "trace");
        let command = if json { command.arg("--json") } else { command };
        let mut up = command.start();
        let wanted = if json { "\"phase\":\"complete\"" } else { "backup: complete" };
        up.line(PATIENCE * 3, |line| line.contains(wanted)).await;
        arguments.push(fs::read(format!("/proc/{}/cmdline", up.pid().unwrap())).unwrap());
        let at = oracle::now(&set.client().await).await;
        backup.wait_for(at).await;
        up.interrupt();
        said.push(up.wait(PATIENCE).await.expect_code(0));
    }
    said.push(secret(backup.backup(&source)).arg("--json").run().await.expect_code(0));
    // Failures say much: a wrong user, a host that is not there, a URI that is none.
    for wrong in [
        source.replacen("ann@", "bob@", 1),
        source.replacen(&host, "127.0.0.1:1", 1),
        "mongodb://ann@a b/?x=y".to_owned(),
        format!("{source}&w=nonsense&authMechanism=NONE"),
    ] {
        for json in [false, true] {
            let command = secret(backup.backup(&wrong)).limit(PATIENCE * 2);
            let failed = if json { command.arg("--json") } else { command }.run().await;
            assert_ne!(failed.code, Some(0), "{wrong}");
            said.push(failed);
        }
    }
    let target = ReplicaSet::start(Options::new(Version::V8_2).auth()).await;
    let roles: [&str; 2] = ["restore", "readAnyDatabase"];
    let rita = doc! {"createUser": "rita", "pwd": SECRET, "roles": roles.as_slice()};
    create(&target, "admin", rita).await;
    let host = target.members[0].address();
    let to = format!("mongodb://rita@{host}/?replicaSet=rs0&authSource=admin");
    let restore = secret(backup.restore(&to, "latest")).env("BYGONE_LOG", "trace");
    said.push(restore.clone().arg("--dry-run").arg("--json").run().await.expect_code(0));
    said.push(restore.arg("--drop").arg("--verify").arg("--json").run().await.expect_code(0));
    said.push(backup.command("status").arg("--json").run().await.expect_code(0));
    said.push(backup.command("snapshots").arg("--json").run().await.expect_code(0));
    let logged: usize = said.iter().map(|output| output.stderr.matches(" INFO ").count()).sum();
    assert!(logged > 2, "{logged} lines of the log");

    let escaped = "qX7%2FvT2%40kB9%3AzM4%25wL6";
    // The middle alone would be a leak as well.
    for form in [SECRET, escaped, "kB9:zM4"] {
        for output in &said {
            assert!(!output.stdout.contains(form), "{}", output.stdout);
            let line = output.stderr.lines().find(|line| line.contains(form));
            assert_eq!(line, None);
        }
        assert!(!arguments.iter().any(|bytes| holds(bytes, form)));
        let kept = contents(&backup.store()).await;
        assert!(!kept.iter().any(|bytes| holds(bytes, form)), "in the store");
    }
}
