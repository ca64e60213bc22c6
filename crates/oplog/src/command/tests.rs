use bson::{RawDocumentBuf, rawdoc};
use bygone_base::{CollectionId, ErrorKind, Result};

use crate::{
    change::{Change, Ddl},
    entry::Entry,
    testing::{COLL, command, uuid},
};

fn ddl(o: RawDocumentBuf) -> Result<Option<Ddl>> {
    let bytes = command(1, o);
    let entry = Entry::parse(&bytes)?;
    Ok(Change::of(&entry)?.map(|change| match change {
        Change::Ddl(ddl) => *ddl,
        other => panic!("{other:?}"),
    }))
}

fn refused(o: RawDocumentBuf) -> String {
    let error = ddl(o).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    error.to_string()
}

fn created(o: RawDocumentBuf) -> (RawDocumentBuf, Option<RawDocumentBuf>) {
    match ddl(o).unwrap() {
        Some(Ddl::Create { coll: COLL, db, name, options, id_index }) => {
            assert_eq!((db.as_str(), name.as_str()), ("d", "c"));
            (options, id_index)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn create_keeps_its_options_in_order_and_verbatim() {
    let id = rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" };
    let o = rawdoc! { "create": "c", "capped": true, "size": 4096.0, "idIndex": id.clone(), "temp": true };
    assert_eq!(created(o), (rawdoc! { "capped": true, "size": 4096.0, "temp": true }, Some(id)));
}

#[test]
fn what_create_does_not_say_of_the_id_index_is_what_servers_list() {
    let v1 = rawdoc! { "v": 1, "key": { "_id": 1 }, "name": "_id_" };
    assert_eq!(created(rawdoc! { "create": "c" }).1, Some(v1));
    assert_eq!(created(rawdoc! { "create": "c", "clusteredIndex": true }).1, None);
    assert_eq!(created(rawdoc! { "create": "c", "autoIndexId": false }).1, None);
    let o = rawdoc! {
        "create": "c", "expireAfterSeconds": 60i64,
        "clusteredIndex": { "v": 2, "key": { "_id": 1 }, "name": "mine", "unique": true },
    };
    let listed = rawdoc! {
        "v": 2, "key": { "_id": 1 }, "name": "mine", "unique": true,
        "expireAfterSeconds": 60, "clustered": true,
    };
    assert_eq!(created(o).1, Some(listed));
}

#[test]
fn unknown_fields_are_refused_by_name() {
    for o in [
        rawdoc! { "create": "c", "odd": 1 },
        rawdoc! { "drop": "c", "odd": 1 },
        rawdoc! { "dropDatabase": 1, "odd": 1 },
        rawdoc! { "renameCollection": "d.c", "to": "d.e", "odd": 1 },
        rawdoc! { "collMod": "c", "odd": 1 },
        rawdoc! { "emptycapped": "c", "odd": 1 },
        rawdoc! { "commitIndexBuild": "c", "indexes": [], "odd": 1 },
        rawdoc! { "dropIndexes": "c", "index": "x", "odd": 1 },
    ] {
        let text = refused(o);
        assert!(text.contains("odd") && text.contains("0:1") && text.contains("d.$cmd"), "{text}");
    }
    refused(rawdoc! { "create": "v", "viewOn": "c" });
    refused(rawdoc! { "create": "system.resharding.00" });
    refused(rawdoc! { "dropIndexes": "c", "index": "*" });
    refused(rawdoc! { "dropIndexes": "c", "index": { "x": 1 } });
    refused(rawdoc! { "renameCollection": "d.c", "to": "d.e", "dropTarget": true });
    refused(rawdoc! { "createIndexes": "c", "v": 2 });
}

#[test]
fn internal_commands_are_ignored_or_refused_by_name() {
    for o in [
        rawdoc! { "startIndexBuild": "c", "indexBuildUUID": 1, "indexes": [] },
        rawdoc! { "abortIndexBuild": "c", "indexes": [], "cause": {} },
        rawdoc! { "dbCheck": "d.c" },
        rawdoc! { "dropIdent": "collection-1" },
        rawdoc! { "setMultikeyMetadata": "c" },
        rawdoc! { "importCollection": "c", "dryRun": true },
        rawdoc! { "create": "system.views" },
        rawdoc! { "collMod": "system.views" },
    ] {
        assert_eq!(ddl(o).unwrap(), None);
    }
    for name in [
        "modifyCollectionShardingIndexCatalog",
        "createDatabaseMetadata",
        "dropDatabaseMetadata",
        "upgradeDowngradeViewlessTimeseries",
        "truncateRange",
        "km",
        "anything",
    ] {
        let mut o = RawDocumentBuf::new();
        o.append(bson::raw::CString::try_from(name).unwrap(), "c");
        assert!(refused(o).contains(name));
    }
    let import = ddl(rawdoc! { "importCollection": "c" }).unwrap_err();
    assert_eq!(import.kind(), ErrorKind::ResyncRequired);
}

#[test]
fn renames_and_indexes() {
    let target = CollectionId([9; 16]);
    let o = rawdoc! { "renameCollection": "d.c", "to": "d.e.f", "stayTemp": true, "dropTarget": uuid(target) };
    let expected = Ddl::Rename {
        coll: COLL,
        from: ("d".into(), "c".into()),
        to: ("d".into(), "e.f".into()),
        drop_target: Some(target),
        stay_temp: true,
    };
    assert_eq!(ddl(o).unwrap(), Some(expected));
    let spec = rawdoc! { "v": 2, "key": { "x": 1 }, "name": "x_1", "unique": true };
    let built =
        |specs| Some(Ddl::IndexesBuilt { coll: COLL, db: "d".into(), name: "c".into(), specs });
    let o =
        rawdoc! { "createIndexes": "c", "v": 2, "key": { "x": 1 }, "name": "x_1", "unique": true };
    assert_eq!(ddl(o).unwrap(), built(vec![spec.clone()]));
    let o = rawdoc! { "commitIndexBuild": "c", "indexBuildUUID": 1, "indexes": [spec.clone(), spec.clone()] };
    assert_eq!(ddl(o).unwrap(), built(vec![spec.clone(), spec]));
    for name in ["dropIndexes", "dropIndex", "deleteIndexes", "deleteIndex"] {
        let mut o = RawDocumentBuf::new();
        o.append(bson::raw::CString::try_from(name).unwrap(), "c");
        o.append(bson::cstr!("index"), "x_1");
        let expected =
            Ddl::IndexDropped { coll: COLL, db: "d".into(), name: "c".into(), index: "x_1".into() };
        assert_eq!(ddl(o).unwrap(), Some(expected));
    }
    assert_eq!(
        ddl(rawdoc! { "drop": "system.views" }).unwrap(),
        Some(Ddl::ViewsDropped { db: "d".into() })
    );
}
