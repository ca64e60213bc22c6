//! Real sets with somebody who writes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bson::{Document, doc};
use bygone_base::{Clock as _, SystemClock, Ts};
use bygone_tests::{ReplicaSet, Version, server::Options};
use mongodb::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::data::Dice;

/// Writes per second into each set, ...
pub(super) const RATE: u64 = 200;
/// ... in so many batches, half of each inserts and half updates.
const BATCHES: u64 = 5;
/// Documents are written over from there on: the data stays small.
const DOCS: u64 = 20_000;
const DB: &str = "busy";

/// One set.
#[derive(Debug)]
pub(super) struct Busy {
    pub(super) name: String,
    pub(super) set: ReplicaSet,
    client: Client,
    /// The last entry of each batch, and when its majority commit was known.
    written: Arc<Mutex<Vec<(Ts, Duration)>>>,
}

impl Busy {
    async fn start(number: usize) -> Busy {
        let name = format!("busy{number}");
        let mut options = Options::new(Version::V8_2).oplog_mb(128);
        (options.cache_gb, options.history) = (0.25, Duration::ZERO);
        options.name.clone_from(&name);
        let set = ReplicaSet::start(options).await;
        let client = set.client().await;
        Busy { name, set, client, written: Arc::default() }
    }

    /// Starts `n`, a few at once.
    pub(super) async fn start_all(n: usize) -> Vec<Busy> {
        use futures::StreamExt as _;
        let starting = futures::stream::iter(0..n).map(Busy::start).buffered(3);
        starting.collect().await
    }

    /// Writes until `stop`.
    pub(super) fn write(
        &self,
        clock: Arc<SystemClock>,
        stop: CancellationToken,
        tasks: &mut JoinSet<()>,
    ) {
        let (client, written) = (self.client.clone(), self.written.clone());
        tasks.spawn(async move {
            let mut dice = Dice::new(3);
            let mut next = 0;
            let every = Duration::from_secs(1) / BATCHES as u32;
            while !stop.is_cancelled() {
                let due = clock.monotonic() + every;
                let at = batch(&client, &mut dice, &mut next).await;
                written
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((at, clock.monotonic()));
                clock.sleep(due.saturating_sub(clock.monotonic())).await;
            }
        });
    }

    /// How many batches were written.
    pub(super) fn batches(&self) -> usize {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The newest entry that was written.
    pub(super) fn newest(&self) -> Ts {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.last().map_or(Ts::MIN, |(ts, _)| *ts)
    }

    /// When the first batch after `ts` was known to be committed.
    pub(super) fn written_after(&self, ts: Ts) -> Option<Duration> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let at = written.partition_point(|(entry, _)| *entry <= ts);
        written.get(at).map(|(_, when)| *when)
    }

    /// `dbHash` of what was written, here or elsewhere.
    pub(super) async fn hash(client: &Client) -> String {
        let reply = client.database(DB).run_command(doc! {"dbHash": 1}).await.expect("dbHash");
        reply.get_str("md5").expect("md5").to_owned()
    }

    /// `dbHash` of it here.
    pub(super) async fn own_hash(&self) -> String {
        Busy::hash(&self.client).await
    }
}

async fn batch(client: &Client, dice: &mut Dice, next: &mut u64) -> Ts {
    let half = RATE / BATCHES / 2;
    let set = |dice: &mut Dice| doc! {"$set": {"text": format!("{:0>120}", dice.next())}};
    let mut updates: Vec<Document> = Vec::new();
    for _ in 0..half {
        let id = (*next % DOCS) as i64;
        *next += 1;
        updates.push(doc! {"q": {"_id": id}, "u": set(dice), "upsert": true});
    }
    for _ in 0..half {
        let id = dice.below((*next).min(DOCS)) as i64;
        updates.push(doc! {"q": {"_id": id}, "u": {"$inc": {"n": 1}}});
    }
    let command = doc! {"update": "writes", "updates": updates, "writeConcern": {"w": "majority"}};
    let reply = client.database(DB).run_command(command).await.expect("update");
    let at = reply.get_timestamp("operationTime").expect("operationTime");
    Ts::new(at.time, at.increment)
}
