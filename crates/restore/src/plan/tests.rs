use bson::{RawDocumentBuf, rawdoc};
use bygone_base::ErrorKind;

use super::*;
use crate::{
    facts::{Existing, Privilege},
    model::{Source, SourceView},
};

const V8: ServerVersion = ServerVersion::new(8, 2);

fn ns(name: &str) -> Namespace {
    name.parse().unwrap()
}

fn coll(name: &str, bytes: u64, options: RawDocumentBuf) -> SourceCollection {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..8]);
    SourceCollection {
        id: CollectionId(id),
        name: ns(name),
        capped: raw::is_true(options.as_bytes(), "capped"),
        options,
        indexes: vec![rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_"}],
        documents: bytes / 10,
        bytes,
    }
}

fn view(name: &str, on: &str) -> SourceView {
    SourceView { name: ns(name), definition: rawdoc! {"_id": name, "viewOn": on, "pipeline": []} }
}

fn contents(collections: Vec<SourceCollection>, views: Vec<SourceView>) -> Contents {
    Contents {
        at: Ts::new(7, 1),
        source: Source { set: "rs".to_owned(), version: V8, fcv: V8 },
        collections,
        views,
        operations: 5,
    }
}

fn facts(fcv: ServerVersion, there: &[(&str, Kind)]) -> TargetFacts {
    let existing = |(name, kind): &(&str, Kind)| (ns(name), Existing { kind: *kind, id: None });
    TargetFacts {
        version: fcv,
        fcv,
        set: Some("other".to_owned()),
        namespaces: there.iter().map(existing).collect(),
        logged_in: Vec::new(),
        held_roles: Vec::new(),
        privileges: None,
    }
}

fn names(plan: &RestorePlan) -> Vec<String> {
    plan.collections.iter().map(|c| c.create.name.to_string()).collect()
}

#[test]
fn the_largest_comes_first_and_bookkeeping_stays_behind() {
    let all = contents(
        vec![
            coll("a.small", 10, rawdoc! {}),
            coll("a.large", 1000, rawdoc! {}),
            coll("a.system.js", 5, rawdoc! {}),
            coll("a.system.profile", 5, rawdoc! {}),
            coll("a.system.views", 5, rawdoc! {}),
            coll("a.tmp1", 5, rawdoc! {"temp": true}),
            coll("admin.system.users", 5, rawdoc! {}),
            coll("admin.system.roles", 5, rawdoc! {}),
            coll("admin.system.version", 5, rawdoc! {}),
            coll("admin.mine", 4, rawdoc! {}),
            coll("config.transactions", 5, rawdoc! {}),
            coll("local.x", 5, rawdoc! {}),
        ],
        vec![],
    );
    let made = plan(&all, &facts(V8, &[]), &PlanOptions::default()).unwrap();
    assert_eq!(names(&made), ["a.large", "a.small", "a.system.js", "admin.mine"]);
    assert!(made.users.is_some() && made.roles.is_some());
    assert_eq!(made.skipped.len(), 6);
    assert_eq!(made.documents(), 101);
    let text = made.to_string();
    assert!(text.contains("load a.large: about 100 documents, 1000 B, 0 indexes"), "{text}");
    assert!(text.contains("skip local.x: belongs to one server"), "{text}");
    assert!(text.ends_with("5 oplog operations to merge"), "{text}");
}

#[test]
fn selection_and_renames_reach_time_series_and_views() {
    let series = rawdoc! {"timeseries": {"timeField": "t"}, "clusteredIndex": true};
    let all = contents(
        vec![
            coll("a.system.buckets.w", 10, series),
            coll("a.x", 5, rawdoc! {}),
            coll("b.x", 5, rawdoc! {}),
        ],
        vec![view("a.w", "system.buckets.w"), view("a.v", "x")],
    );
    let rules = NameRules::new(&["a.*"], &[], &[("a.*", "c.n_*")]).unwrap();
    let options = PlanOptions { rules, ..PlanOptions::default() };
    let made = plan(&all, &facts(V8, &[]), &options).unwrap();
    assert_eq!(names(&made), ["c.n_w", "c.n_x"]);
    assert_eq!(made.collections[0].target, ns("c.system.buckets.n_w"));
    assert_eq!(made.views.len(), 1);
    assert_eq!(made.views[0].name, ns("c.n_v"));
    assert_eq!(made.warnings, ["view c.n_v reads c.x, which is not restored"]);
}

#[test]
fn views_come_after_what_they_read() {
    let all = contents(
        vec![coll("a.x", 5, rawdoc! {})],
        vec![view("a.a", "b"), view("a.b", "c"), view("a.c", "x"), view("a.d", "b")],
    );
    let made = plan(&all, &facts(V8, &[]), &PlanOptions::default()).unwrap();
    let order: Vec<_> = made.views.iter().map(|v| v.name.coll.as_str()).collect();
    assert_eq!(order, ["c", "b", "a", "d"]);
}

#[test]
fn destinations_that_meet_are_refused() {
    let all = contents(
        vec![coll("a.x", 5, rawdoc! {}), coll("b.x", 5, rawdoc! {})],
        vec![view("c.x", "y")],
    );
    let rules = NameRules::new(&[], &[], &[("b.*", "c.*")]).unwrap();
    let options = PlanOptions { rules, ..PlanOptions::default() };
    let error = plan(&all, &facts(V8, &[]), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("c.x"), "{error}");
}

#[test]
fn what_is_in_the_way_is_refused_or_dropped_views_first() {
    let series = rawdoc! {"timeseries": {"timeField": "t"}};
    let all = contents(
        vec![
            coll("a.x", 5, rawdoc! {}),
            coll("a.system.buckets.w", 5, series),
            coll("a.y", 5, rawdoc! {}),
        ],
        vec![view("a.w", "system.buckets.w"), view("a.z", "x")],
    );
    let there = [
        ("a.x", Kind::Collection),
        ("a.w", Kind::TimeSeries),
        ("a.system.buckets.w", Kind::Collection),
        ("a.z", Kind::View),
        ("a.other", Kind::Collection),
    ];
    let error = plan(&all, &facts(V8, &there), &PlanOptions::default()).unwrap_err();
    assert_eq!(error.message(), "the target already has a.w, a.x, a.z");
    let options = PlanOptions { drop: true, ..PlanOptions::default() };
    let made = plan(&all, &facts(V8, &there), &options).unwrap();
    assert_eq!(made.drops, [ns("a.z"), ns("a.w"), ns("a.x")]);
    // What an earlier try of the same restore made gives way; anything else does not.
    let own = made.made();
    assert_eq!(
        own.iter().map(Namespace::to_string).collect::<Vec<_>>(),
        ["a.w", "a.x", "a.y", "a.z"]
    );
    let again = PlanOptions { own, ..PlanOptions::default() };
    assert_eq!(plan(&all, &facts(V8, &there), &again).unwrap().drops, made.drops);
    let again = PlanOptions { own: [ns("a.w"), ns("a.z")].into(), ..again };
    let error = plan(&all, &facts(V8, &there), &again).unwrap_err();
    assert_eq!(error.message(), "the target already has a.x");
    // Buckets without their time-series are made as they are.
    let alone = Contents { views: vec![], ..all };
    let made = plan(&alone, &facts(V8, &there), &options).unwrap();
    assert_eq!(made.drops, [ns("a.w"), ns("a.system.buckets.w"), ns("a.x")]);
    assert!(made.collections.iter().any(|c| c.create.name == ns("a.system.buckets.w")));
}

#[test]
fn the_source_is_refused_as_target() {
    let all = contents(vec![coll("a.x", 5, rawdoc! {})], vec![]);
    let mut target = facts(V8, &[]);
    let same = Existing { kind: Kind::Collection, id: Some(all.collections[0].id) };
    target.namespaces.insert(ns("b.renamed"), same);
    let error = plan(&all, &target, &PlanOptions::default()).unwrap_err();
    assert!(error.message().contains("the target is the source"), "{error}");
    let options = PlanOptions { onto_source: true, ..PlanOptions::default() };
    assert!(plan(&all, &target, &options).is_ok());
}

#[test]
fn an_older_target_is_refused_naming_the_first_feature() {
    for (options, since) in [
        (
            rawdoc! {"clusteredIndex": {"key": {"_id": 1}}},
            "a clustered collection, which needs MongoDB 5.3",
        ),
        (rawdoc! {"changeStreamPreAndPostImages": {"enabled": true}}, "pre- and post-images"),
        (rawdoc! {"encryptedFields": {}}, "encrypted fields"),
    ] {
        let all = contents(vec![coll("a.x", 5, options)], vec![]);
        let error =
            plan(&all, &facts(ServerVersion::new(5, 0), &[]), &PlanOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains(since), "{error}");
    }
    let series = rawdoc! {"timeseries": {"timeField": "t"}, "clusteredIndex": true};
    let all = contents(vec![coll("a.system.buckets.w", 5, series)], vec![]);
    let old = |v| plan(&all, &facts(v, &[]), &PlanOptions::default()).unwrap_err().to_string();
    assert!(old(ServerVersion::new(4, 4)).contains("needs MongoDB 5.0; the target is 4.4"));
    assert!(old(ServerVersion::new(5, 0)).contains("buckets of MongoDB 8.2"));
}

#[test]
fn methods_follow_what_servers_hash() {
    let all = contents(
        vec![
            coll("a.cap", 3, rawdoc! {"capped": true, "size": 4096, "max": 7}),
            coll("a.col", 2, rawdoc! {"collation": {"locale": "de"}}),
            coll("a.x", 1, rawdoc! {"collation": {"locale": "simple"}}),
        ],
        vec![],
    );
    let methods = |version| {
        let made = plan(&all, &facts(version, &[]), &PlanOptions::default()).unwrap();
        made.collections.iter().map(|c| c.method).collect::<Vec<_>>()
    };
    assert_eq!(methods(V8), [Method::DbHashNatural, Method::ReadAny, Method::DbHash]);
    assert_eq!(
        methods(ServerVersion::new(5, 0)),
        [Method::ReadNatural, Method::ReadAny, Method::DbHash]
    );
    let made = plan(&all, &facts(V8, &[]), &PlanOptions::default()).unwrap();
    assert_eq!(made.collections[0].capped, Some(Limits { max_bytes: 4096, max_docs: Some(7) }));
}

#[test]
fn a_missing_privilege_is_named() {
    let all = contents(vec![coll("a.x", 5, rawdoc! {})], vec![]);
    let mut target = facts(V8, &[]);
    let grant = |actions: &[&str]| Privilege {
        db: Some(String::new()),
        coll: String::new(),
        any: false,
        actions: actions.iter().map(|a| (*a).to_owned()).collect(),
    };
    let writes =
        ["createCollection", "createIndex", "insert", "bypassDocumentValidation", "collMod"];
    target.privileges = Some(vec![grant(&writes[1..])]);
    let error = plan(&all, &target, &PlanOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.message(), "the target's user lacks the privilege createCollection on a.x");
    target.privileges = Some(vec![grant(&writes)]);
    assert!(plan(&all, &target, &PlanOptions::default()).is_ok());
    let options = PlanOptions { verify: true, ..PlanOptions::default() };
    let error = plan(&all, &target, &options).unwrap_err();
    assert!(error.hint_text().is_some_and(|h| h.contains("readAnyDatabase")), "{error}");
}
