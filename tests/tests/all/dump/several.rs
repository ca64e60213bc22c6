//! A large collection is read by several cursors: each document once, whatever happens meanwhile.

use std::collections::BTreeMap;

use bson::{Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use bygone_document::split_stream;
use bygone_tests::{ReplicaSet, Version, proxy::Proxy};
use mongodb::Client;

use super::{
    Folder, Tools,
    cut::{Waiting, cut},
};

const DOCUMENTS: i32 = 16_000;

/// Enough for three cursors. Some `_id`s are documents, some have a type of their own.
async fn large(client: &Client) {
    let coll = client.database("one").collection::<RawDocumentBuf>("a");
    for from in (0..DOCUMENTS).step_by(1000) {
        let documents = (from..from + 1000).map(|n| {
            let text = "x".repeat(13_000 + n as usize % 100);
            match n % 3 {
                0 => rawdoc! {"_id": n, "n": n, "t": text},
                1 => rawdoc! {"_id": {"y": n, "x": [n]}, "n": n, "t": text},
                _ => rawdoc! {"t": text, "n": n, "_id": format!("{n}")},
            }
        });
        coll.insert_many(documents).await.unwrap();
    }
}

/// A machine of a few processors takes one unasked.
const BY_FOUR: [&str; 8] = ["-d", "one", "-c", "a", "-o", "-", "-j", "4"];

/// How often each document is there.
fn counted(dump: &[u8]) -> BTreeMap<i32, u32> {
    let mut counts = BTreeMap::new();
    for doc in split_stream(dump) {
        let doc = RawDocument::from_bytes(doc.unwrap().bytes()).unwrap();
        *counts.entry(doc.get_i32("n").unwrap()).or_default() += 1;
    }
    counts
}

fn sorted(dump: &[u8]) -> Vec<&[u8]> {
    let mut docs: Vec<&[u8]> = split_stream(dump).map(|doc| doc.unwrap().bytes()).collect();
    docs.sort_unstable();
    docs
}

async fn each_document_once(version: Version) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    large(&client).await;
    let (uri, folder) = (set.uri(), Folder::new());
    let only = ["-d", "one", "-c", "a", "-o", "-"];
    let stock = Tools::Stock.dump(&uri, &only).await.expect(0).stdout;
    let several = Tools::Ours.dump(&uri, &[&only[..], &["-v", "-j", "4"]].concat()).await.expect(0);
    let several = several.saying("reading one.a with 3 cursors").stdout;
    assert!(sorted(&several) == sorted(&stock), "another collection");
    // With one cursor in the order of the collection.
    let one = Tools::Ours.dump(&uri, &[&only[..], &["-v", "-j", "1"]].concat()).await.expect(0);
    assert!(!one.stderr.contains("cursors") && one.stdout == stock);
    // The hash of an archive is over all of them as they stand there.
    let (archive, target) = (folder.path("archive"), ReplicaSet::single(version).await);
    let to = format!("--archive={archive}");
    let _ = Tools::Ours.dump(&uri, &["-d", "one", "-j", "4", "--gzip", &to]).await.expect(0);
    let _ = Tools::Stock.restore(&target.uri(), &["--gzip", &to]).await.expect(0);
    let hash = doc! {"dbHash": 1};
    let found = target.client().await.database("one").run_command(hash.clone()).await.unwrap();
    let want = client.database("one").run_command(hash).await.unwrap();
    assert_eq!(found.get_str("md5").unwrap(), want.get_str("md5").unwrap());
}

/// Most documents are deleted while the cursors stand still, also those at which cursors are to end.
async fn changes_meanwhile(version: Version) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    large(&client).await;
    let coll = client.database("one").collection::<Document>("a");
    let dump = Waiting::with(&set.uri(), &BY_FOUR).await;
    coll.delete_many(doc! {"n": {"$not": {"$mod": [5, 0]}}}).await.unwrap();
    coll.update_many(doc! {}, doc! {"$set": {"t": "short"}}).await.unwrap();
    let (found, code, said) = dump.rest().await;
    assert_eq!(code, Some(0), "{said}");
    let found = counted(&found);
    for n in 0..DOCUMENTS {
        let count = found.get(&n).copied().unwrap_or(0);
        assert!(count == 1 || (count == 0 && n % 5 != 0), "document {n}: {count} times");
    }
}

async fn cursors_that_are_cut(version: Version) {
    let set = ReplicaSet::single(version).await;
    large(&set.client().await).await;
    let want = Tools::Ours.dump(&set.uri(), &["-d", "one", "-c", "a", "-o", "-"]).await.expect(0);
    let proxy = Proxy::start(set.members[0].address()).await;
    let dump = Waiting::with(&format!("mongodb://{}/", proxy.address()), &BY_FOUR).await;
    cut(&proxy).await;
    proxy.heal();
    let (found, code, said) = dump.rest().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("with 3 cursors"), "{said}");
    assert!(sorted(&found) == sorted(&want.stdout), "{said}");
}

on_both!(each_document_once changes_meanwhile cursors_that_are_cut);
