//! Encrypted stores: nothing of the content shows, keys are rotated, and the old ones open no more.

use std::{fs, sync::Arc};

use bson::{Binary, Document, doc, spec::BinarySubtype};
use bygone_base::{BlockId, Rng as _, SystemRng};
use bygone_blockstore::{FileStore, Repository, Secret};
use bygone_tests::{ReplicaSet, Version, process::Bygone};

use super::everything;
use crate::{
    bad_input::{orders, says, told},
    damage::objects,
    spine::{Backup, complete, interrupted, mark},
};

/// A new key file beside the store.
pub async fn new_key(backup: &Backup, name: &str) -> String {
    let key = backup.path(name).display().to_string();
    let made = Bygone::new(["key", "new", &key]).run().await.expect_code(0);
    assert!(made.stdout.contains("keep a copy"), "{}", made.stdout);
    key
}

#[tokio::test]
async fn by_a_key_file() {
    let backup = Backup::new();
    let key = new_key(&backup, "key").await;
    everything(&backup.with("--key-file", key)).await;
}

#[tokio::test]
async fn by_a_passphrase() {
    let backup = Backup::new().env("BYGONE_PASSPHRASE", "correct horse battery staple");
    everything(&backup).await;
    let file = backup.path("phrase");
    fs::write(&file, "correct horse battery staple\n").unwrap();
    let file = file.display().to_string();
    let verify = Bygone::new(["verify", "--store", &backup.url(), "--passphrase-file", &file]);
    let _ = verify.run().await.expect_code(0);
    let wrong = Bygone::new(["verify", "--store", &backup.url()]);
    let line = told(&wrong.env("BYGONE_PASSPHRASE", "incorrect horse").run().await, 1);
    says(&line, &["wrong key"]);
    assert!(!line.contains("horse"), "{line}");
}

/// A rotation takes the old key's place: what was written before and after is read with the new one.
#[tokio::test]
async fn keys_are_rotated() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    orders(&client, 0, 200).await;
    let backup = Backup::new();
    let old = new_key(&backup, "old").await;
    let new = new_key(&backup, "new").await;
    let phrase = backup.path("phrase").display().to_string();
    fs::write(&phrase, "twelve angry horses\n").unwrap();
    let with = |command: Bygone, option: &str, key: &str| command.arg(option).arg(key);
    let _ = with(backup.backup(&set.uri()), "--key-file", &old).run().await.expect_code(0);
    let first = mark(&client, version).await;

    // The same key, while `up` runs; it goes on with the data key it knows, and a new start takes the new one.
    let mut up = with(backup.up(&set.uri()), "--key-file", &old).start();
    complete(&mut up).await;
    let rotate = |option: &str, key: &str| with(backup.command("key rotate"), option, key);
    let done = rotate("--key-file", &old).run().await.expect_code(0);
    assert!(done.stdout.contains("a new data key is in force"), "{}", done.stdout);
    orders(&client, 1000, 200).await;
    interrupted(up).await;
    let other = rotate("--key-file", &old).arg("--new-key-file").arg(&new);
    let _ = other.run().await.expect_code(0);
    let line = told(&with(backup.command("verify"), "--key-file", &old).run().await, 1);
    says(&line, &["wrong key"]);
    orders(&client, 2000, 200).await;
    let _ = with(backup.backup(&set.uri()), "--key-file", &new).run().await.expect_code(0);
    let words = rotate("--key-file", &new).arg("--new-passphrase-file").arg(&phrase);
    let _ = words.run().await.expect_code(0);
    let backup = backup.with("--passphrase-file", &phrase);
    let last = mark(&client, version).await;
    let _ = backup.backup(&set.uri()).run().await.expect_code(0);
    backup.verify().await;
    for state in [first, last] {
        let restored = backup.restored(version, state.at.unwrap()).await;
        restored.equals((&client, version), &state).await;
    }
    let keyrings = objects(&backup.store()).into_keys().filter(|name| name.starts_with("keys/"));
    assert_eq!(keyrings.count(), 4);
    let plain = Backup::new();
    let _ = plain.backup(&set.uri()).run().await.expect_code(0);
    let line = told(&with(plain.command("key rotate"), "--key-file", &old).run().await, 2);
    says(&line, &["not encrypted"]);
}

/// The same content in a plain store shows; under a key nothing of it does, and under two keys no two
/// objects or names are alike.
#[tokio::test]
async fn nothing_of_the_content_shows() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    // Bytes that no compression changes: so many that nothing around them makes it try.
    let mut bytes = vec![0; 20_000];
    SystemRng.fill(&mut bytes);
    let marker = bytes[10_000..10_048].to_vec();
    let bytes = Binary { subtype: BinarySubtype::Generic, bytes };
    let coll = client.database("shop").collection::<Document>("telltale");
    coll.insert_one(doc! {"_id": 1, "marker": bytes}).await.unwrap();
    let plain = Backup::new();
    let _ = plain.backup(&set.uri()).run().await.expect_code(0);
    let shows = |backup: &Backup, what: &[u8]| {
        let found = |path| {
            let bytes: Vec<u8> = fs::read(path).unwrap();
            bytes.windows(what.len()).any(|window| window == what)
        };
        objects(&backup.store()).into_values().any(found)
    };
    // Names are compressed away even there.
    assert!(shows(&plain, &marker), "the test would see nothing");
    let mut stores = Vec::new();
    for _ in 0..2 {
        let backup = Backup::new();
        let key = new_key(&backup, "key").await;
        let backup = backup.with("--key-file", key);
        let _ = backup.backup(&set.uri()).run().await.expect_code(0);
        assert!(!shows(&backup, &marker) && !shows(&backup, b"telltale"));
        stores.push(backup);
    }
    let [one, other] = [0, 1].map(|n| objects(&stores[n].store()));
    let pack = |name: &&String| name.starts_with("packs/");
    assert!(one.keys().any(|name| pack(&name)));
    assert!(!one.keys().filter(pack).any(|name| other.contains_key(name)), "equal names of packs");
    let read = |path| -> Vec<u8> { fs::read(path).unwrap() };
    let others: Vec<Vec<u8>> = other.values().map(read).collect();
    assert!(!one.values().map(read).any(|bytes| others.contains(&bytes)), "equal objects");
    // Names of blocks stand within packs and manifests, under the key. What names them by is its own too.
    let ids = [name_under(&stores[0]).await, name_under(&stores[1]).await];
    assert_ne!(ids[0], ids[1], "one name under two keys");
}

/// The name of one and the same content in a store.
async fn name_under(backup: &Backup) -> BlockId {
    let secret = Secret::from_key_file(&backup.path("key")).unwrap();
    let store = Arc::new(FileStore::new(backup.store()));
    let repository = Repository::open(store, Some(&secret), Arc::new(SystemRng)).await.unwrap();
    repository.block_id(b"the same content")
}
