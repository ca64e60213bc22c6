//! Compression on the network: where it is asked for, as the server counts it, and nowhere else.

use bson::{Document, doc};
use bygone_tests::{ReplicaSet, Version};
use mongodb::Client;

use super::{Folder, Tools};

use crate::spine::Backup;

on_both! {
    as_asked_for
}

const ALL: [&str; 3] = ["snappy", "zlib", "zstd"];
/// So many documents of a thousand bytes.
const DOCUMENTS: i32 = 2000;
const SIZE: i64 = 1000 * DOCUMENTS as i64;

/// Bytes that the server made smaller, and that it made of smaller ones, by each compressor.
async fn counted(client: &Client) -> [(i64, i64); 3] {
    let status = client.database("admin").run_command(doc! {"serverStatus": 1}).await.unwrap();
    let network = status.get_document("network").unwrap().get_document("compression").unwrap();
    ALL.map(|name| {
        let counted = |way: &str, side: &str| {
            network.get_document(name).unwrap().get_document(way).unwrap().get_i64(side).unwrap()
        };
        (counted("compressor", "bytesIn"), counted("decompressor", "bytesOut"))
    })
}

/// Since `before`, by each compressor.
async fn since(client: &Client, before: &[(i64, i64); 3]) -> [(i64, i64); 3] {
    let now = counted(client).await;
    std::array::from_fn(|n| (now[n].0 - before[n].0, now[n].1 - before[n].1))
}

/// Panics unless `wanted` compressed the data in one direction, and no other did anything.
fn only(wanted: Option<&str>, counted: [(i64, i64); 3], direction: fn((i64, i64)) -> i64) {
    for (name, counted) in ALL.iter().zip(counted) {
        if Some(*name) == wanted {
            assert!(direction(counted) > SIZE, "{name}: {counted:?}");
        } else {
            assert_eq!(counted, (0, 0), "{name} beside {wanted:?}");
        }
    }
}

async fn as_asked_for(version: Version) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    let documents: Vec<Document> =
        (0..DOCUMENTS).map(|n| doc! {"_id": n, "t": "x".repeat(1000)}).collect();
    client.database("one").collection("a").insert_many(documents).await.unwrap();
    let folder = Folder::new();
    let (uri, out) = (set.uri(), folder.path("d"));
    let separator = if uri.contains('?') { '&' } else { '?' };
    let with = |name: &str| format!("{uri}{separator}compressors={name}");
    for name in [None, Some("snappy"), Some("zlib"), Some("zstd")] {
        let flag = name.map(|name| ["--compressors", name]);
        let flag = flag.as_ref().map_or(&[][..], |flag| &flag[..]);
        let before = counted(&client).await;
        let dump = [flag, &["-d", "one", "-o", &out]].concat();
        let _ = Tools::Ours.dump(&uri, &dump).await.expect(0);
        only(name, since(&client, &before).await, |counted| counted.0);
        let before = counted(&client).await;
        let restore = [flag, &["--drop", &out]].concat();
        let ended = Tools::Ours.restore(&uri, &restore).await.expect(0);
        let _ = ended.saying("2000 document(s) restored successfully. 0 document(s) failed");
        only(name, since(&client, &before).await, |counted| counted.1);
    }
    // The first that both know, also of a URI; and `none` is none.
    let before = counted(&client).await;
    let _ = Tools::Ours.dump(&with("zlib,snappy"), &["-d", "one", "-o", &out]).await.expect(0);
    only(Some("zlib"), since(&client, &before).await, |counted| counted.0);
    let before = counted(&client).await;
    let none = ["--compressors", "none", "-d", "one", "-o", &out];
    let _ = Tools::Ours.dump(&uri, &none).await.expect(0);
    only(None, since(&client, &before).await, |counted| counted.0);
    // So does a backup.
    for name in [None, Some("zstd")] {
        let before = counted(&client).await;
        let source = name.map_or_else(|| uri.clone(), with);
        let _ = Backup::new().backup(&source).run().await.expect_code(0);
        only(name, since(&client, &before).await, |counted| counted.0);
    }
}

#[tokio::test]
async fn a_compressor_that_nobody_knows_is_refused() {
    let uri = "mongodb://127.0.0.1:1/";
    let ended = Tools::Ours.dump(uri, &["--compressors", "snappy,lzma"]).await.expect(1);
    let _ = ended.saying("--compressors lzma: this tool has snappy, zlib and zstd");
    let ended = Tools::Ours.dump(&format!("{uri}?compressors=lzma"), &[]).await.expect(1);
    let _ = ended.saying("error parsing uri: ");
}
