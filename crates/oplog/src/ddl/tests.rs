use bson::rawdoc;
use bygone_base::ErrorKind;

use super::*;

/// Options and indexes after a collMod.
fn after(
    options: RawDocumentBuf,
    indexes: &[RawDocumentBuf],
    o: RawDocumentBuf,
) -> Result<(RawDocumentBuf, Vec<RawDocumentBuf>)> {
    apply_coll_mod(&options, indexes, &effects(o.as_bytes())?)
}

fn options(options: RawDocumentBuf, o: RawDocumentBuf) -> RawDocumentBuf {
    after(options, &[], o).unwrap().0
}

#[test]
fn validation_writes_the_defaults_of_the_others_down() {
    let o = rawdoc! { "collMod": "c", "validator": { "a": 1 } };
    let full = rawdoc! { "validator": { "a": 1 }, "validationLevel": "strict", "validationAction": "error" };
    assert_eq!(options(rawdoc! {}, o), full);
    let o = rawdoc! { "collMod": "c", "validator": {} };
    assert_eq!(
        options(full, o),
        rawdoc! { "validationLevel": "strict", "validationAction": "error" }
    );
    let o = rawdoc! { "collMod": "c", "validationLevel": "off" };
    assert_eq!(
        options(rawdoc! {}, o),
        rawdoc! { "validationLevel": "off", "validationAction": "error" }
    );
    assert_eq!(
        options(rawdoc! { "validator": { "a": 1 } }, rawdoc! { "collMod": "c" }),
        rawdoc! { "validator": { "a": 1 } }
    );
}

#[test]
fn capped_limits() {
    let capped = || rawdoc! { "capped": true, "size": 4096, "max": 5 };
    let o = rawdoc! { "collMod": "c", "cappedSize": 8192i64, "cappedMax": 10i64 };
    assert_eq!(options(capped(), o), rawdoc! { "capped": true, "size": 8192, "max": 10 });
    let o = rawdoc! { "collMod": "c", "cappedMax": -3i64 };
    assert_eq!(options(capped(), o), rawdoc! { "capped": true, "size": 4096, "max": i32::MAX });
    let o = rawdoc! { "collMod": "c", "cappedSize": 1i64 << 40 };
    assert_eq!(options(capped(), o), rawdoc! { "capped": true, "size": 1i64 << 40, "max": 5 });
}

#[test]
fn pre_images_come_and_go() {
    let on = || rawdoc! { "changeStreamPreAndPostImages": { "enabled": true } };
    assert_eq!(
        options(
            rawdoc! {},
            rawdoc! { "collMod": "c", "changeStreamPreAndPostImages": { "enabled": true } }
        ),
        on()
    );
    assert_eq!(
        options(
            on(),
            rawdoc! { "collMod": "c", "changeStreamPreAndPostImages": { "enabled": false } }
        ),
        rawdoc! {}
    );
    assert_eq!(
        options(rawdoc! {}, rawdoc! { "collMod": "c", "recordPreImages": true }),
        rawdoc! { "recordPreImages": true }
    );
    assert_eq!(
        options(
            rawdoc! { "recordPreImages": true },
            rawdoc! { "collMod": "c", "recordPreImages": false }
        ),
        rawdoc! {}
    );
}

#[test]
fn buckets_of_time_series_take_their_span() {
    let seconds = rawdoc! { "timeseries": { "timeField": "t", "granularity": "seconds", "bucketMaxSpanSeconds": 3600 } };
    let o = rawdoc! { "collMod": "c", "timeseries": { "granularity": "hours" } };
    let hours = rawdoc! { "timeseries": { "timeField": "t", "granularity": "hours", "bucketMaxSpanSeconds": 2_592_000 } };
    assert_eq!(options(seconds, o), hours);
    let o = rawdoc! { "collMod": "c", "timeseries": { "bucketMaxSpanSeconds": 7_000_000, "bucketRoundingSeconds": 7_000_000 } };
    let custom = rawdoc! { "timeseries": { "timeField": "t", "bucketRoundingSeconds": 7_000_000, "bucketMaxSpanSeconds": 7_000_000 } };
    assert_eq!(options(hours, o), custom);
}

#[test]
fn a_clustered_collection_shows_its_expiry_twice() {
    let index =
        rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_", "unique": true, "clustered": true };
    let o = rawdoc! { "collMod": "c", "expireAfterSeconds": 60i64 };
    let (options, indexes) = after(rawdoc! { "clusteredIndex": {} }, &[index], o).unwrap();
    assert_eq!(options, rawdoc! { "clusteredIndex": {}, "expireAfterSeconds": 60i64 });
    assert_eq!(indexes[0].get_i32("expireAfterSeconds").unwrap(), 60);
    let o = rawdoc! { "collMod": "c", "expireAfterSeconds": "off" };
    let (options, indexes) = after(options, &indexes, o).unwrap();
    assert_eq!(options, rawdoc! { "clusteredIndex": {} });
    assert!(indexes[0].get("expireAfterSeconds").unwrap().is_none());
}

#[test]
fn indexes_are_found_by_name_or_pattern_and_changed_in_place() {
    let index = || {
        [
            rawdoc! { "v": 2, "key": { "x": 1 }, "name": "x_1", "expireAfterSeconds": 5, "sparse": true },
        ]
    };
    let change = |index: RawDocumentBuf, spec: &[RawDocumentBuf]| {
        after(rawdoc! {}, spec, rawdoc! { "collMod": "c", "index": index })
            .map(|(_, mut i)| i.remove(0))
    };
    let ttl =
        change(rawdoc! { "keyPattern": { "x": 1 }, "expireAfterSeconds": 9i64 }, &index()).unwrap();
    assert_eq!(
        ttl,
        rawdoc! { "v": 2, "key": { "x": 1 }, "name": "x_1", "expireAfterSeconds": 9, "sparse": true }
    );
    let hidden = change(rawdoc! { "name": "x_1", "hidden": true }, &index()).unwrap();
    assert!(hidden.get_bool("hidden").unwrap());
    let shown = change(rawdoc! { "name": "x_1", "hidden": false }, &[hidden]).unwrap();
    assert!(shown.get("hidden").unwrap().is_none());
    let prepared = change(rawdoc! { "name": "x_1", "prepareUnique": true }, &index()).unwrap();
    assert!(prepared.get_bool("prepareUnique").unwrap());
    let unique = change(rawdoc! { "name": "x_1", "unique": true }, &[prepared]).unwrap();
    assert!(unique.get_bool("unique").unwrap() && unique.get("prepareUnique").unwrap().is_none());
    let plain = change(rawdoc! { "name": "x_1", "forceNonUnique": true }, &[unique]).unwrap();
    assert!(plain.get("unique").unwrap().is_none());
    let missing = change(rawdoc! { "name": "y", "hidden": true }, &index()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Damaged);
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    for o in [
        rawdoc! { "collMod": "c", "odd": 1 },
        rawdoc! { "collMod": "c", "index": { "name": "x", "odd": 1 } },
        rawdoc! { "collMod": "c", "timeseries": { "odd": 1 } },
        rawdoc! { "collMod": "c", "changeStreamPreAndPostImages": { "enabled": true, "odd": 1 } },
    ] {
        let error = effects(o.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("odd"), "{error}");
    }
    for o in [
        rawdoc! { "collMod": "c", "recordIdsReplicated": true },
        rawdoc! { "collMod": "c", "timeseries": { "granularity": "years" } },
        rawdoc! { "collMod": "c", "index": { "hidden": true } },
        rawdoc! { "collMod": "c", "viewOn": "x" },
    ] {
        assert_eq!(effects(o.as_bytes()).unwrap_err().kind(), ErrorKind::Unsupported, "{o:?}");
    }
}

#[test]
fn the_options_before_are_told() {
    let o2 = rawdoc! { "collectionOptions_old": { "uuid": 1, "capped": true } };
    assert_eq!(options_before(&o2).unwrap(), Some(rawdoc! { "capped": true }));
    assert_eq!(options_before(&rawdoc! {}).unwrap(), None);
}
