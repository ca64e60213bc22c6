//! Hard cases of single entries: what a catalogue goes through while `up` follows.

use bson::{Document, doc};
use bygone_tests::Version;
use mongodb::Client;

use super::{indexes, numbered, run, while_it_follows};

const DB: &str = "followed";

async fn make_index(client: &Client, coll: &str, index: Document) {
    run(client, DB, doc! {"createIndexes": coll, "indexes": [index]}).await;
}

/// Case 39: built on documents, built on none, given up.
async fn index_builds(version: Version) {
    let prepare = async |client: &Client| {
        numbered(client, DB, "full", 500).await;
        run(client, DB, doc! {"create": "empty"}).await;
        numbered(client, DB, "twice", 100).await;
        super::update(client, DB, "twice", 5, doc! {"$set": {"u": 6}}).await;
    };
    let change = async |client: &Client| {
        for coll in ["full", "empty"] {
            let two = [
                doc! {"key": {"u": 1}, "name": "u", "unique": true},
                doc! {"key": {"arr.x": -1}, "name": "x"},
            ];
            let two: Vec<_> = two.into_iter().map(bson::Bson::Document).collect();
            run(client, DB, doc! {"createIndexes": coll, "indexes": two}).await;
        }
        // Violated by what is there: the build begins and is given up.
        let unique = doc! {"key": {"u": 1}, "name": "u", "unique": true};
        let refused = doc! {"createIndexes": "twice", "indexes": [unique]};
        let refused = client.database(DB).run_command(refused).await;
        assert_eq!(refused.as_ref().err().and_then(bygone_tests::server::code), Some(11000));
    };
    let after = while_it_follows(version, prepare, change).await;
    assert_eq!(indexes(&after, "followed.twice"), ["_id_"]);
    assert_eq!(indexes(&after, "followed.full"), ["_id_", "u", "x"]);
}

#[tokio::test]
async fn index_builds_are_finished_or_given_up_8_2() {
    index_builds(Version::V8_2).await;
}

#[tokio::test]
async fn index_builds_are_finished_or_given_up_4_4() {
    index_builds(Version::V4_4).await;
}

/// Case 40: by name, by pattern, all of them, where keys are equal and collations are not.
async fn dropped_indexes(version: Version) {
    let prepare = async |client: &Client| {
        for coll in ["name", "pattern", "all"] {
            numbered(client, DB, coll, 50).await;
            let german = doc! {"locale": "de", "strength": 1};
            make_index(client, coll, doc! {"key": {"s": 1}, "name": "plain"}).await;
            make_index(client, coll, doc! {"key": {"s": 1}, "name": "de", "collation": german})
                .await;
            make_index(client, coll, doc! {"key": {"u": 1, "s": -1}, "name": "both"}).await;
            let part = doc! {"u": {"$gt": 7}};
            make_index(
                client,
                coll,
                doc! {"key": {"u": 1}, "name": "p", "partialFilterExpression": part},
            )
            .await;
        }
    };
    let change = async |client: &Client| {
        run(client, DB, doc! {"dropIndexes": "name", "index": "plain"}).await;
        run(client, DB, doc! {"dropIndexes": "pattern", "index": {"u": 1, "s": -1}}).await;
        run(client, DB, doc! {"dropIndexes": "pattern", "index": ["de", "p"]}).await;
        run(client, DB, doc! {"dropIndexes": "all", "index": "*"}).await;
        make_index(client, "all", doc! {"key": {"s": 1}, "name": "de"}).await;
    };
    let after = while_it_follows(version, prepare, change).await;
    assert_eq!(indexes(&after, "followed.name"), ["_id_", "both", "de", "p"]);
    assert_eq!(indexes(&after, "followed.pattern"), ["_id_", "plain"]);
    assert_eq!(indexes(&after, "followed.all"), ["_id_", "de"]);
}

#[tokio::test]
async fn the_right_one_of_equal_indexes_is_dropped_8_2() {
    dropped_indexes(Version::V8_2).await;
}

#[tokio::test]
async fn the_right_one_of_equal_indexes_is_dropped_4_4() {
    dropped_indexes(Version::V4_4).await;
}

async fn before_coll_mod(client: &Client, version: Version) {
    numbered(client, DB, "c", 50).await;
    make_index(client, "c", doc! {"key": {"t": 1}, "name": "t", "expireAfterSeconds": 1_000_000})
        .await;
    make_index(client, "c", doc! {"key": {"u": 1}, "name": "u"}).await;
    make_index(client, "c", doc! {"key": {"s": 1}, "name": "s"}).await;
    numbered(client, DB, "images", 5).await;
    run(client, DB, doc! {"create": "v", "viewOn": "c", "pipeline": []}).await;
    if version >= Version::V5_0 {
        let series = doc! {"timeField": "t", "granularity": "seconds"};
        run(client, DB, doc! {"create": "series", "timeseries": series}).await;
    }
    if version.has_clustered() {
        run(client, DB, doc! {"create": "capped", "capped": true, "size": 40_960, "max": 20}).await;
        numbered(client, DB, "capped", 20).await;
    }
}

/// Case 41.
async fn coll_mod(client: &Client, version: Version) {
    let change = async |coll: &str, what: Document| {
        let mut command = doc! {"collMod": coll};
        command.extend(what);
        run(client, DB, command).await;
    };
    change("c", doc! {"index": {"name": "t", "expireAfterSeconds": 2_000_000}}).await;
    change("c", doc! {"index": {"keyPattern": {"u": 1}, "hidden": true}}).await;
    change("c", doc! {"index": {"name": "u", "hidden": false}}).await;
    change("c", doc! {"index": {"name": "s", "hidden": true}}).await;
    change("c", doc! {"validator": {"u": {"$exists": true}}, "validationLevel": "moderate"}).await;
    change("c", doc! {"validationAction": "warn"}).await;
    change("c", doc! {}).await;
    change("v", doc! {"viewOn": "c", "pipeline": [{"$match": {"u": {"$gt": 3}}}]}).await;
    if version <= Version::V5_0 {
        // 5.0 forgets the second one's.
        for coll in ["c", "images"] {
            change(coll, doc! {"recordPreImages": true}).await;
            super::update(client, DB, coll, 1, doc! {"$set": {"images": 1}}).await;
        }
        change("images", doc! {"validationAction": "warn"}).await;
    }
    if version >= Version::V5_0 {
        change("series", doc! {"timeseries": {"granularity": "minutes"}}).await;
        change("series", doc! {"expireAfterSeconds": 1_000_000_000_i64}).await;
    }
    if version.has_clustered() {
        change("c", doc! {"index": {"name": "u", "prepareUnique": true}}).await;
        change("c", doc! {"index": {"name": "u", "unique": true}}).await;
        change("c", doc! {"index": {"name": "s", "expireAfterSeconds": 3_000_000}}).await;
        change("c", doc! {"changeStreamPreAndPostImages": {"enabled": true}}).await;
        change("capped", doc! {"cappedSize": 8192, "cappedMax": 10}).await;
        let coll = client.database(DB).collection::<Document>("capped");
        coll.insert_one(doc! {"_id": "after"}).await.unwrap();
    }
}

async fn everything_coll_mod_changes(version: Version) {
    let prepare = async |client: &Client| before_coll_mod(client, version).await;
    let change = async |client: &Client| coll_mod(client, version).await;
    while_it_follows(version, prepare, change).await;
}

#[tokio::test]
async fn everything_that_coll_mod_changes_8_2() {
    everything_coll_mod_changes(Version::V8_2).await;
}

#[tokio::test]
async fn everything_that_coll_mod_changes_5_0() {
    everything_coll_mod_changes(Version::V5_0).await;
}

#[tokio::test]
async fn everything_that_coll_mod_changes_4_4() {
    everything_coll_mod_changes(Version::V4_4).await;
}

/// Case 42.
async fn renamed_converted_dropped(version: Version) {
    let prepare = async |client: &Client| {
        for coll in ["a", "b", "c", "d", "e"] {
            numbered(client, DB, coll, 60).await;
            numbered(client, "doomed", coll, 10).await;
        }
        run(client, DB, doc! {"create": "capped", "capped": true, "size": 100_000}).await;
        numbered(client, DB, "capped", 60).await;
    };
    let change = async |client: &Client| {
        let rename = async |from: &str, to: &str, drop: bool| {
            run(client, "admin", doc! {"renameCollection": from, "to": to, "dropTarget": drop})
                .await;
        };
        rename("followed.a", "followed.b", true).await;
        numbered(client, DB, "a", 5).await;
        rename("followed.b", "other.b", false).await;
        rename("followed.d", "other.b", true).await;
        run(client, DB, doc! {"convertToCapped": "c", "size": 8192}).await;
        numbered(client, DB, "after", 5).await;
        run(client, "doomed", doc! {"dropDatabase": 1}).await;
        numbered(client, "doomed", "a", 3).await;
        if version == Version::V4_4 {
            run(client, DB, doc! {"emptycapped": "capped"}).await;
            numbered(client, DB, "capped", 7).await;
        }
        let out = doc! {"aggregate": "e", "pipeline": [{"$match": {"u": {"$lt": 9}}}, {"$out": "a"}], "cursor": {}};
        run(client, DB, out).await;
        let merge = doc! {"aggregate": "e", "pipeline": [{"$merge": {"into": {"db": "other", "coll": "m"}}}], "cursor": {}};
        run(client, DB, merge).await;
    };
    let after = while_it_follows(version, prepare, change).await;
    assert_eq!(after.collections.keys().filter(|ns| ns.starts_with("doomed.")).count(), 1);
}

#[tokio::test]
async fn renames_conversions_and_dropped_databases_8_2() {
    renamed_converted_dropped(Version::V8_2).await;
}

#[tokio::test]
async fn renames_conversions_and_dropped_databases_4_4() {
    renamed_converted_dropped(Version::V4_4).await;
}

/// Case 47: an 8.2 server logs a collMod of every collection when it goes up.
async fn feature_version(version: Version, down: &str, up: &str) {
    let prepare = async |client: &Client| {
        numbered(client, DB, "c", 50).await;
        run(client, DB, doc! {"create": "capped", "capped": true, "size": 4096}).await;
    };
    let set = async |client: &Client, to: &str| {
        let mut command = doc! {"setFeatureCompatibilityVersion": to};
        if version >= Version::V7_0 {
            command.insert("confirm", true);
        }
        run(client, "admin", command).await;
    };
    let change = async |client: &Client| {
        set(client, down).await;
        super::update(client, DB, "c", 3, doc! {"$set": {"arr.0.x": 9, "new": 1}}).await;
        numbered(client, DB, "capped", 60).await;
        numbered(client, DB, "d", 20).await;
        set(client, up).await;
        super::update(client, DB, "c", 4, doc! {"$set": {"arr.0.x": 9, "new": 1}}).await;
        numbered(client, DB, "e", 20).await;
    };
    while_it_follows(version, prepare, change).await;
}

#[tokio::test]
async fn the_feature_version_goes_down_and_up_8_2() {
    feature_version(Version::V8_2, "8.0", "8.2").await;
}

#[tokio::test]
async fn the_feature_version_goes_down_and_up_5_0() {
    feature_version(Version::V5_0, "4.4", "5.0").await;
}

#[tokio::test]
async fn the_feature_version_goes_down_and_up_4_4() {
    feature_version(Version::V4_4, "4.2", "4.4").await;
}
