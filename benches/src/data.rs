//! The data that everything is measured on: 1.23 million documents of about 0.95 KB in three collections with
//! a secondary index each. Equal seeds give equal documents. Sizes follow what the peers were measured on.

use bson::{Binary, DateTime, RawDocumentBuf, doc, oid::ObjectId, rawdoc, spec::BinarySubtype};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::Client;

/// The database.
pub const DB: &str = "shop";
/// The collection that is updated.
pub const ORDERS: &str = "orders";
/// Documents of [`ORDERS`] at scale 1.
const ORDERS_DOCS: u64 = 400_000;
/// Documents per insert.
const BATCH: u64 = 1000;
/// The date of document 0, in milliseconds.
const EPOCH: i64 = 1_700_000_000_000;

/// A small fast generator (SplitMix64); the data need not be random beyond what compression sees.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Equal seeds give equal streams.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(n + 8);
        while out.len() < n {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(n);
        out
    }

    /// Words of six letters out of 4096, together `n` bytes.
    fn words(&mut self, n: usize) -> String {
        let mut text = String::with_capacity(n + 8);
        while text.len() < n {
            let mut word = Dice(self.below(4096));
            let letters = word.next().to_le_bytes();
            text.extend(letters[..6].iter().map(|b| char::from(b'a' + b % 26)));
            text.push(' ');
        }
        text.truncate(n);
        text
    }
}

/// One collection.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Documents at scale 1.
    pub docs: u64,
    text: usize,
    index: &'static str,
}

/// All collections: 388, 554 and 218 MB.
pub const KINDS: [Kind; 3] = [
    Kind { name: ORDERS, docs: ORDERS_DOCS, text: 640, index: "customer" },
    Kind { name: "events", docs: 600_000, text: 595, index: "state" },
    Kind { name: "users", docs: 230_000, text: 620, index: "total" },
];

/// `_id` of a document: ascending, as a driver makes them.
pub fn id(index: u64) -> ObjectId {
    let mut bytes = [0x5a; 12];
    bytes[..4].copy_from_slice(&(1_700_000_000 + (index / 1000) as u32).to_be_bytes());
    bytes[8..].copy_from_slice(&(index as u32).to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// One document of a collection.
pub fn document(kind: &Kind, index: u64) -> RawDocumentBuf {
    let mut dice = Dice::new(index.wrapping_mul(31).wrapping_add(kind.docs));
    let noise = Binary { subtype: BinarySubtype::Generic, bytes: dice.bytes(120) };
    let states = ["new", "paid", "packed", "sent", "returned"];
    rawdoc! {
        "_id": id(index), "customer": dice.below(50_000) as i64, "total": dice.below(1_000_000) as f64 / 100.0,
        "state": states[dice.below(5) as usize], "at": DateTime::from_millis(EPOCH + index as i64 * 977),
        "count": 0_i32, "text": dice.words(dice_len(kind, index)), "noise": noise,
    }
}

/// Lengths vary, so that documents are not all alike.
fn dice_len(kind: &Kind, index: u64) -> usize {
    kind.text + (index * 7919 % 97) as usize
}

/// Fills an empty set with `1 / divisor` of the data, then builds the indexes.
pub async fn load(client: &Client, divisor: u64) {
    for kind in &KINDS {
        let coll = client.database(DB).collection::<RawDocumentBuf>(kind.name);
        let docs = kind.docs / divisor;
        let batches = (0..docs).step_by(BATCH as usize).map(|from| from..(from + BATCH).min(docs));
        stream::iter(batches)
            .map(|batch| coll.insert_many(batch.map(|index| document(kind, index))).into_future())
            .buffer_unordered(2)
            .try_collect::<Vec<_>>()
            .await
            .expect("load");
        let index = doc! {"key": {kind.index: 1, "at": 1}, "name": kind.index};
        let command = doc! {"createIndexes": kind.name, "indexes": [index]};
        client.database(DB).run_command(command).await.expect("createIndexes");
    }
}

/// Updates `n` random documents of [`ORDERS`]: a number and a date each, in batches.
pub async fn update_random(client: &Client, of: u64, n: u64, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut left = n;
    while left > 0 {
        let some = left.min(BATCH);
        let updates: Vec<_> = (0..some).map(|_| update(&mut dice, of)).collect();
        let command = doc! {"update": ORDERS, "updates": updates, "ordered": false};
        client.database(DB).run_command(command).await.expect("update");
        left -= some;
    }
}

fn update(dice: &mut Dice, of: u64) -> bson::Document {
    let set = doc! {"total": dice.below(1_000_000) as f64 / 100.0, "at": DateTime::from_millis(EPOCH + dice.below(1 << 40) as i64)};
    doc! {"q": {"_id": id(dice.below(of))}, "u": {"$set": set}}
}

/// `n` operations: 80 % updates of random documents, 10 % inserts, 10 % deletes.
pub async fn mixed(client: &Client, n: u64) {
    let mut dice = Dice::new(77);
    let orders = KINDS[0];
    let coll = client.database(DB).collection::<RawDocumentBuf>(ORDERS);
    let mut next = orders.docs;
    for round in 0..n / BATCH {
        let tenth = BATCH / 10;
        update_random(client, orders.docs, BATCH - 2 * tenth, 1000 + round).await;
        coll.insert_many((next..next + tenth).map(|index| document(&orders, index)))
            .await
            .expect("insert");
        next += tenth;
        let deletes: Vec<_> = (0..tenth)
            .map(|i| doc! {"q": {"_id": id(orders.docs / 2 + round * tenth * 3 + i * 3 + dice.below(3))}, "limit": 1})
            .collect();
        let command = doc! {"delete": ORDERS, "deletes": deletes};
        client.database(DB).run_command(command).await.expect("delete");
    }
}
