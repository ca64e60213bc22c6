//! Stores that cannot be used, or are not the ones that belong to the backup.

use std::{fs, path::Path};

use bygone_base::Ts;
use bygone_tests::{ReplicaSet, Version, disk::SmallDisk, oracle, wait::PATIENCE};
use serde_json::Value;

use super::{orders, says, told};
use crate::spine::{Backup, Restored, complete, interrupted, mark};

#[tokio::test]
async fn not_writable_can_still_be_read() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    orders(&client, 0, 100).await;
    let disk = SmallDisk::new(64);
    let backup = Backup::new().at(format!("file://{}", disk.path().display()));
    disk.read_only();
    let refused = disk.inside(backup.backup(&set.uri())).run().await;
    let line = told(&refused, 1);
    says(&line, &["cannot make a repository in file://", "Read-only file system", "permission"]);
    disk.writable();
    let _ = disk.inside(backup.backup(&set.uri())).run().await.expect_code(0);
    let expected = mark(&client, version).await;
    orders(&client, 100, 100).await;
    disk.read_only();
    for command in ["backup", "up"] {
        let command = backup.command(command).env("BYGONE_SOURCE", set.uri());
        let line = told(&disk.inside(command).run().await, 1);
        says(&line, &["write ", "Read-only file system", "permission"]);
    }
    let line = told(&disk.inside(backup.command("groom")).run().await, 1);
    says(&line, &["Read-only file system"]);
    // What only reads needs no more than to read.
    for command in ["status", "snapshots", "verify", "groom --dry-run"] {
        let _ = disk.inside(backup.command(command)).run().await.expect_code(0);
    }
    let target = ReplicaSet::single(version).await;
    let restore = backup.restore(&target.uri(), "latest").arg("--verify");
    let output = disk.inside(restore).run().await.expect_code(0);
    Restored { target, output }.equals((&client, version), &expected).await;
}

#[tokio::test]
async fn nothing_there_or_not_a_store() {
    let backup = Backup::new();
    for command in ["status", "snapshots", "verify", "groom"] {
        let line = told(&backup.command(command).run().await, 2);
        says(&line, &["does not exist", "mounted"]);
    }
    fs::create_dir(backup.store()).unwrap();
    for command in ["status", "snapshots", "verify", "groom"] {
        let line = told(&backup.command(command).run().await, 1);
        says(&line, &["there is no repository in file://", "a first backup makes one"]);
    }
    let line = told(&backup.restore("mongodb://127.0.0.1:1/", "latest").run().await, 1);
    says(&line, &["there is no repository in file://"]);
    // A file where a folder should be.
    let file = backup.path("file");
    fs::write(&file, b"x").unwrap();
    let wrong = Backup::new().at(format!("file://{}", file.display()));
    let line = told(&wrong.backup("mongodb://127.0.0.1:1/").run().await, 1);
    assert!(line.contains("127.0.0.1:1") || line.contains("/file"), "{line}");
}

/// The repository file as another bygone would have written it.
fn rewrite(store: &Path, change: impl Fn(&mut String)) {
    let path = store.join("bygone.repository");
    let line = fs::read_to_string(&path).unwrap();
    let start = line.find("\"check\":\"").unwrap() + 9;
    let mut text = format!("{}\"}}", &line[..start]);
    change(&mut text);
    let check = blake3::hash(text.as_bytes()).to_hex()[..32].to_owned();
    let end = text.find("\"check\":\"").unwrap() + 9;
    text.insert_str(end, &check);
    fs::write(&path, text + "\n").unwrap();
}

#[tokio::test]
async fn of_a_newer_format_damaged_or_another() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    orders(&client, 0, 20).await;
    let (backup, other) = (Backup::new(), Backup::new());
    for store in [&backup, &other] {
        let _ = store.backup(&set.uri()).run().await.expect_code(0);
    }
    let whole = fs::read(backup.store().join("bygone.repository")).unwrap();
    // The harness writes what bygone reads.
    rewrite(&backup.store(), |_| {});
    assert_eq!(fs::read(backup.store().join("bygone.repository")).unwrap(), whole);
    let all = async |words: &[&str], code| {
        let commands = ["status", "snapshots", "verify", "groom"].map(|c| backup.command(c));
        let source = [backup.backup(&set.uri()), backup.up(&set.uri())];
        let restore = [backup.restore(&set.uri(), "latest")];
        for command in commands.into_iter().chain(source).chain(restore) {
            says(&told(&command.run().await, code), words);
        }
    };
    rewrite(&backup.store(), |text| *text = text.replacen("\"format\":1", "\"format\":2", 1));
    all(&["bygone.repository", "format 2", "newer bygone"], 1).await;
    fs::write(backup.store().join("bygone.repository"), &whole[..whole.len() / 2]).unwrap();
    all(&["bygone.repository"], 1).await;
    fs::write(backup.store().join("bygone.repository"), &whole).unwrap();
    let _ = backup.verify().await;

    // The oplog of another store: nothing is begun anew in it, and nothing is read from it.
    let url = other.url();
    for command in [backup.backup(&set.uri()), backup.up(&set.uri())] {
        let line = told(&command.arg("--oplog-store").arg(&url).run().await, 2);
        says(&line, &[&url, "holds repository", "--oplog-store"]);
    }
    let restore = backup.restore(&set.uri(), "latest");
    let line = told(&restore.arg("--oplog-store").arg(&url).run().await, 2);
    says(&line, &[&url, "holds repository"]);
    let _ = other.verify().await;
}

#[tokio::test]
async fn with_a_wrong_key() {
    let set = ReplicaSet::single(Version::V8_2).await;
    orders(&set.client().await, 0, 20).await;
    let keys = Backup::new();
    let key = |name: &str| keys.path(name).display().to_string();
    for name in ["right", "wrong"] {
        let new = bygone_tests::process::Bygone::new(["key", "new", &key(name)]);
        let _ = new.run().await.expect_code(0);
    }
    fs::write(keys.path("phrase"), "correct horse battery staple\n").unwrap();
    fs::write(keys.path("nonsense"), "bygone-key-1:5\n").unwrap();
    let backup = Backup::new();
    let right = backup.backup(&set.uri()).arg("--key-file").arg(key("right"));
    let _ = right.run().await.expect_code(0);
    let tried = async |option: &str, name: &str, code| {
        let (mut last, uri) = (String::new(), set.uri());
        for command in ["verify", "backup", "up", "snapshots"] {
            let command = backup.command(command).env("BYGONE_SOURCE", &uri);
            last = told(&command.arg(option).arg(key(name)).run().await, code);
        }
        last
    };
    says(&tried("--key-file", "wrong", 1).await, &["wrong key", "made or last rotated with"]);
    says(&tried("--passphrase-file", "phrase", 1).await, &["wrong key", "locked with a key-file"]);
    says(&tried("--key-file", "missing", 1).await, &["missing"]);
    says(&tried("--key-file", "nonsense", 2).await, &["nonsense"]);
    let line = told(&backup.command("verify").run().await, 1);
    says(&line, &["is encrypted and needs its key", "--key-file"]);
    let _ = backup.command("verify").arg("--key-file").arg(key("right")).run().await.expect_code(0);
    let plain = Backup::new();
    let _ = plain.backup(&set.uri()).run().await.expect_code(0);
    let line = told(&plain.backup(&set.uri()).arg("--key-file").arg(key("right")).run().await, 2);
    says(&line, &["is not encrypted, but a key was given", "leave the key away"]);
}

/// How far a restore could go now.
async fn end(backup: &Backup) -> Ts {
    let status = backup.command("status").arg("--json").run().await.expect_code(0);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let (secs, inc) = status["end"].as_str().unwrap().split_once(':').unwrap();
    Ts::new(secs.parse().unwrap(), inc.parse().unwrap())
}

/// The later `up` takes over, the first one stops and says so; the chain goes on as one.
#[tokio::test]
async fn two_up_at_once() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    orders(&client, 0, 100).await;
    let backup = Backup::new();
    let mut first = backup.up(&set.uri()).start();
    complete(&mut first).await;
    let mut second = backup.up(&set.uri()).start();
    orders(&client, 100, 100).await;
    let fenced = first.wait(PATIENCE).await;
    let line = told(&fenced, 1);
    says(
        &line,
        &["another bygone backs up job default, replica set rs0", "this one stops", "--name"],
    );
    complete(&mut second).await;
    orders(&client, 200, 100).await;
    let at = oracle::now(&client).await;
    backup.wait_for(at).await;
    assert!(end(&backup).await >= at);
    interrupted(second).await;
    let expected = mark(&client, version).await;
    let third = backup.backup(&set.uri()).run().await.expect_code(0);
    assert!(!third.stderr.contains("resync"), "{}", third.stderr);
    let report = backup.verify().await;
    assert!(!report.stdout.contains("timeline"), "{}", report.stdout);
    backup.restored(version, "latest").await.equals((&client, version), &expected).await;
}
