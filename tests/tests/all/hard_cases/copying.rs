//! Hard cases of a base copy: the source changes while it is copied.

use bson::{Bson, Document, doc};
use bygone_tests::Version;
use mongodb::Client;

use super::{numbered, run, update, while_it_copies};

const DB: &str = "copied";

fn name(n: i32) -> String {
    format!("c{n}")
}

async fn plain(client: &Client, n: i32) {
    numbered(client, DB, &name(n), 200).await;
}

async fn with_index(client: &Client, n: i32, index: Document) {
    plain(client, n).await;
    run(client, DB, doc! {"createIndexes": name(n), "indexes": [index]}).await;
}

/// Case 4.
async fn ids_come_again(client: &Client, n: i32) {
    let coll = client.database(DB).collection::<Document>(&name(n));
    coll.delete_many(doc! {"_id": {"$lt": 100}}).await.unwrap();
    let again = (0..100).map(|id| doc! {"_id": Bson::Double(id.into()), "again": true});
    coll.insert_many(again).await.unwrap();
    update(client, DB, &name(n), 5, doc! {"$set": {"and": "changed"}}).await;
}

/// Case 5.
async fn unique_values_move(client: &Client, n: i32) {
    let coll = name(n);
    for (id, u) in [(1, -1), (2, 1), (1, 2), (199, -199), (0, 199)] {
        update(client, DB, &coll, id, doc! {"$set": {"u": u}}).await;
    }
    let all = client.database(DB).collection::<Document>(&coll);
    all.delete_one(doc! {"_id": 50}).await.unwrap();
    all.insert_one(doc! {"_id": "another", "u": 50}).await.unwrap();
}

/// Cases 6 and 7.
async fn paths_are_blocked_later(client: &Client, n: i32) {
    let coll = name(n);
    for id in [0, 60, 120, 199] {
        update(client, DB, &coll, id, doc! {"$set": {"arr.0.x": -1, "deep.er": 1}}).await;
        update(client, DB, &coll, id, doc! {"$push": {"arr": {"$each": [1, 2, 3]}}}).await;
        update(client, DB, &coll, id, doc! {"$set": {"arr.0": null, "deep": 1}}).await;
        update(client, DB, &coll, id, doc! {"$set": {"arr": 5}, "$unset": {"deep": 1}}).await;
        update(client, DB, &coll, id, doc! {"$set": {"arr": [], "u": 1000 + id}}).await;
    }
    let all = client.database(DB).collection::<Document>(&coll);
    update(client, DB, &coll, 10, doc! {"$set": {"gone": "soon"}}).await;
    all.delete_one(doc! {"_id": 10}).await.unwrap();
}

/// Cases 8 and 12.
async fn things_are_dropped(client: &Client, n: i32) {
    match n % 3 {
        0 => drop(run(client, DB, doc! {"drop": name(n)}).await),
        1 => drop(run(client, DB, doc! {"dropIndexes": name(n), "index": "u_1"}).await),
        _ => {
            let all = client.database(DB).collection::<Document>(&name(n));
            all.delete_many(doc! {}).await.unwrap();
        }
    }
}

/// Case 13.
async fn dropped_and_made_again(client: &Client, n: i32) {
    for round in 0..2 {
        run(client, DB, doc! {"drop": name(n)}).await;
        let coll = client.database(DB).collection::<Document>(&name(n));
        let documents = (100..150).map(|id| doc! {"_id": id, "incarnation": round});
        coll.insert_many(documents).await.unwrap();
    }
}

/// Case 14.
async fn renamed(client: &Client, n: i32) {
    let rename = async |from: String, to: String, target: bool| {
        run(client, "admin", doc! {"renameCollection": from, "to": to, "dropTarget": target}).await;
    };
    let at = |n: i32| format!("{DB}.{}", name(n));
    match n % 4 {
        // Swapped with the one before it in the list, which a scan may have passed already.
        0 => {
            rename(at(n), format!("{DB}.between"), false).await;
            rename(at(n + 1), at(n), false).await;
            rename(format!("{DB}.between"), at(n + 1), false).await;
        }
        1 => rename(at(n), at(n + 1), true).await,
        2 => {
            rename(at(n), format!("{DB}.x{n}"), false).await;
            rename(format!("{DB}.x{n}"), format!("{DB}.a{n}"), false).await;
            plain(client, n).await;
        }
        _ => rename(at(n), format!("elsewhere.{}", name(n)), false).await,
    }
}

/// Case 15.
async fn indexes_change(client: &Client, n: i32) {
    let make = |key: &str, more: Document| {
        let mut index = doc! {"key": {key: 1}, "name": key};
        index.extend(more);
        doc! {"createIndexes": name(n), "indexes": [index]}
    };
    run(client, DB, make("s", doc! {"unique": true})).await;
    run(client, DB, make("arr", doc! {"sparse": true})).await;
    run(client, DB, doc! {"dropIndexes": name(n), "index": "u_1"}).await;
    let hide = doc! {"collMod": name(n), "index": {"name": "s", "hidden": true}};
    run(client, DB, hide).await;
    if n % 2 == 0 {
        run(client, DB, doc! {"dropIndexes": name(n), "index": "arr"}).await;
        run(client, DB, make("arr", doc! {"expireAfterSeconds": 1_000_000})).await;
    }
}

/// Case 16: the documents that are there do not pass.
async fn validators_come(client: &Client, n: i32) {
    let validator = doc! {"$jsonSchema": {"required": ["never"]}};
    run(client, DB, doc! {"collMod": name(n), "validator": validator}).await;
    let insert =
        doc! {"insert": name(n), "documents": [{"_id": "bad"}], "bypassDocumentValidation": true};
    run(client, DB, insert).await;
}

async fn capped(client: &Client, n: i32) {
    run(client, DB, doc! {"create": name(n), "capped": true, "size": 20_000, "max": 100}).await;
    plain(client, n).await;
}

/// Case 19.
async fn capped_is_overrun(client: &Client, n: i32) {
    let coll = client.database(DB).collection::<Document>(&name(n));
    let documents = (0..150).map(|id| doc! {"_id": -id, "pad": "q".repeat(id as usize * 7 % 300)});
    coll.insert_many(documents).await.unwrap();
}

/// Case 11: what has no documents is a collection all the same; and case 10: ids of every type.
async fn empty_and_mixed(client: &Client, n: i32) {
    let options = match n % 2 {
        0 => doc! {"create": name(n)},
        _ => doc! {"create": name(n), "collation": {"locale": "de", "strength": 2}},
    };
    run(client, DB, options).await;
    if n % 3 == 0 {
        return;
    }
    let coll = client.database(DB).collection::<bson::RawDocumentBuf>(&name(n));
    for id in bygone_document::corpus::ids() {
        // Equal ids stand in one group: the first one stays.
        let _ = coll.insert_one(bson::RawDocumentBuf::from_bytes(id).unwrap()).await;
    }
}

async fn little_is_added(client: &Client, n: i32) {
    let coll = client.database(DB).collection::<Document>(&name(n));
    coll.insert_one(doc! {"_id": "added", "n": n}).await.unwrap();
}

fn unique() -> Document {
    doc! {"key": {"u": 1}, "name": "u_1", "unique": true}
}

fn by_u() -> Document {
    doc! {"key": {"u": 1}, "name": "u_1"}
}

macro_rules! cases {
    ($($name:ident: $prepare:expr, $change:expr;)*) => {
        mod on_8_2 {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                while_it_copies(Version::V8_2, $prepare, $change).await;
            })*
        }
        mod on_4_4 {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                while_it_copies(Version::V4_4, $prepare, $change).await;
            })*
        }
    };
}

cases! {
    ids_come_again_while_it_copies: plain, ids_come_again;
    unique_values_move_while_it_copies: async |c: &Client, n| with_index(c, n, unique()).await, unique_values_move;
    paths_are_blocked_while_it_copies: plain, paths_are_blocked_later;
    things_are_dropped_while_it_copies: async |c: &Client, n| with_index(c, n, by_u()).await, things_are_dropped;
    a_collection_is_made_again_while_it_copies: plain, dropped_and_made_again;
    collections_are_renamed_while_it_copies: plain, renamed;
    indexes_change_while_it_copies: async |c: &Client, n| with_index(c, n, by_u()).await, indexes_change;
    validators_come_while_it_copies: plain, validators_come;
    capped_collections_are_overrun_while_it_copies: capped, capped_is_overrun;
    ids_of_every_type_and_empty_collections: empty_and_mixed, little_is_added;
}
