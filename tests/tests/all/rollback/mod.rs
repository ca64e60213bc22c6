//! Sources whose history does not simply go on: writes that are rolled back, older data put back, an
//! oplog that has rolled over. Real servers, the real binary.

mod other_set;
mod put_back;
pub mod roll_over;
mod unreplicated;

use bson::{Document, doc};
use bygone_base::{OpTime, SystemClock, SystemRng, Ts};
use bygone_blockstore::{Repository, open_store};
use bygone_snapshot::{PartStore, oplog};
use mongodb::Client;
use std::sync::Arc;

use crate::spine::{Backup, kill::status};

/// Every entry in the stored slices, those of void timelines too.
async fn stored_entries(backup: &Backup) -> Vec<(OpTime, Vec<u8>)> {
    let clock = Arc::new(SystemClock::new());
    let url = format!("file://{}", backup.store().display());
    let store = open_store(&url, clock).await.unwrap();
    let repository = Repository::open(store, None, Arc::new(SystemRng)).await.unwrap();
    let part = PartStore::new(repository, "default".parse().unwrap(), "rs0".parse().unwrap());
    let mut entries = Vec::new();
    for timeline in part.timelines().await.unwrap() {
        for name in oplog::names(&part, timeline.id).await.unwrap() {
            let Some(slice) = oplog::read(&part, &name).await.unwrap() else { continue };
            let decoded = slice.decode().unwrap();
            entries.extend(decoded.entries().map(|(at, entry)| (at, entry.to_vec())));
        }
    }
    entries
}

/// Whether the bytes of an entry have this text in them.
fn tells_of(entry: &[u8], text: &str) -> bool {
    entry.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The number of the timeline that is being continued.
async fn timeline(backup: &Backup) -> i64 {
    status(backup).await.unwrap()["timeline"].as_i64().unwrap()
}

/// Moments and ids of the snapshots, ascending.
async fn snapshots(backup: &Backup) -> Vec<(Ts, String)> {
    let list = backup.command("snapshots").arg("--json").run().await.expect_code(0);
    let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    let snapshot = |s: &serde_json::Value| {
        let (secs, inc) = s["at"].as_str().unwrap().split_once(':').unwrap();
        let at = Ts::new(secs.parse().unwrap(), inc.parse().unwrap());
        (at, s["id"].as_str().unwrap().to_owned())
    };
    list["snapshots"].as_array().unwrap().iter().map(snapshot).collect()
}

/// Documents with the `_id`s of `ids` that say who wrote them.
async fn write(client: &Client, who: &str, ids: std::ops::Range<i32>) {
    let coll = client.database("told").collection::<Document>("by");
    for id in ids {
        let whole = doc! {"who": who, "pad": "x".repeat(200)};
        coll.replace_one(doc! {"_id": id}, whole).upsert(true).await.unwrap();
    }
}
