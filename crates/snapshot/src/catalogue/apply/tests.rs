use bson::rawdoc;
use bygone_oplog::ddl::effects;

use super::*;

const A: CollectionId = CollectionId([1; 16]);
const B: CollectionId = CollectionId([2; 16]);

fn create(coll: CollectionId, name: &str) -> Ddl {
    Ddl::Create {
        coll,
        db: "d".into(),
        name: name.into(),
        options: rawdoc! {},
        id_index: Some(rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }),
    }
}

fn built(coll: CollectionId, name: &str, more: RawDocumentBuf) -> Ddl {
    let mut spec = rawdoc! { "v": 2, "key": { "x": 1 }, "name": name, "ns": "d.a" };
    for element in &more {
        let (name, value) = element.unwrap();
        spec.append(name, value);
    }
    Ddl::IndexesBuilt { coll, db: "d".into(), name: "a".into(), specs: vec![spec] }
}

fn coll_mod(coll: CollectionId, o: RawDocumentBuf) -> Ddl {
    let effects = effects(o.as_bytes()).unwrap();
    Ddl::CollMod { coll, db: "d".into(), name: "a".into(), o, o2: None, effects }
}

fn rename(coll: CollectionId, to: &str, drop_target: Option<CollectionId>) -> Ddl {
    let (from, to) = (("d".into(), "a".into()), ("d".into(), to.into()));
    Ddl::Rename { coll, from, to, drop_target, stay_temp: false }
}

fn view(name: &str, on: &str) -> Ddl {
    let doc = rawdoc! { "_id": format!("d.{name}"), "viewOn": on, "pipeline": [] };
    Ddl::ViewPut { db: "d".into(), doc }
}

fn apply(catalogue: &mut Catalogue, window: Window, ddl: &[Ddl]) -> Result<()> {
    for (n, ddl) in ddl.iter().enumerate() {
        catalogue.apply(Ts::new(100 + n as u32, 1), ddl, window)?;
    }
    Ok(())
}

fn after(ddl: &[Ddl]) -> Catalogue {
    let mut catalogue = Catalogue::default();
    apply(&mut catalogue, Window::Exact, ddl).unwrap();
    catalogue
}

fn index_names(catalogue: &Catalogue, coll: CollectionId) -> Vec<String> {
    let indexes = &catalogue.collections[&coll].indexes;
    indexes.iter().map(|i| index_name(i).unwrap().to_owned()).collect()
}

#[test]
fn create_build_modify_and_drop_of_an_index() {
    let catalogue = after(&[
        create(A, "a"),
        built(A, "x_1", rawdoc! { "sparse": true }),
        built(A, "y_1", rawdoc! {}),
        coll_mod(A, rawdoc! { "collMod": "a", "index": { "name": "x_1", "hidden": true } }),
        Ddl::IndexDropped { coll: A, db: "d".into(), name: "a".into(), index: "y_1".into() },
    ]);
    assert_eq!(index_names(&catalogue, A), ["_id_", "x_1"]);
    let x = &catalogue.collections[&A].indexes[1];
    assert_eq!(
        x,
        &rawdoc! { "v": 2, "key": { "x": 1 }, "name": "x_1", "sparse": true, "hidden": true }
    );
}

#[test]
fn a_new_collection_is_empty_just_before_its_create() {
    let catalogue = after(&[create(A, "a")]);
    let tree = &catalogue.collections[&A].tree;
    assert_eq!((tree.as_of, tree.root.is_none()), (Ts::new(100, 1).prev(), true));
}

#[test]
fn a_uuid_that_comes_again_after_its_drop_begins_anew() {
    let drop = Ddl::Drop { coll: A, db: "d".into(), name: "a".into() };
    let catalogue = after(&[create(A, "a"), built(A, "x_1", rawdoc! {}), drop, create(A, "b")]);
    assert_eq!(catalogue.collections[&A].tree.as_of, Ts::new(103, 1).prev());
    assert_eq!(index_names(&catalogue, A), ["_id_"]);
    assert!(catalogue.find("d", "a").is_none() && catalogue.find("d", "b").is_some());
}

#[test]
fn renames_take_the_target_away_and_end_being_temporary() {
    let mut start = after(&[create(A, "a"), create(B, "b")]);
    start.collections.get_mut(&A).unwrap().options = rawdoc! { "temp": true, "validator": {} };
    apply(&mut start, Window::Exact, &[rename(A, "b", Some(B))]).unwrap();
    assert_eq!(start.collections.len(), 1);
    let a = &start.collections[&A];
    assert_eq!((a.namespace(), &a.options), ("d.b".to_owned(), &rawdoc! { "validator": {} }));
}

#[test]
fn views_are_put_updated_deleted_and_dropped_together() {
    let update = Ddl::ViewUpdate {
        db: "d".into(),
        o: rawdoc! { "_id": "d.v", "viewOn": "b", "pipeline": [] },
        o2: rawdoc! { "_id": "d.v" },
    };
    let mut catalogue = after(&[view("v", "a"), view("w", "a"), update]);
    assert_eq!(catalogue.views["d.v"].doc.get_str("viewOn").unwrap(), "b");
    let delete = Ddl::ViewDelete { db: "d".into(), id: "d.w".into() };
    apply(&mut catalogue, Window::Exact, &[delete]).unwrap();
    assert_eq!(catalogue.views.keys().collect::<Vec<_>>(), ["d.v"]);
    let all = Ddl::ViewsDropped { db: "d".into() };
    apply(&mut catalogue, Window::Exact, &[all]).unwrap();
    assert!(catalogue.views.is_empty());
}

#[test]
fn a_dropped_database_takes_what_is_left_of_it() {
    let other = Ddl::Create {
        coll: B,
        db: "e".into(),
        name: "b".into(),
        options: rawdoc! {},
        id_index: None,
    };
    let catalogue =
        after(&[create(A, "a"), view("v", "a"), other, Ddl::DropDatabase { db: "d".into() }]);
    assert_eq!(catalogue.collections.keys().collect::<Vec<_>>(), [&B]);
    assert!(catalogue.views.is_empty());
}

#[test]
fn truncation_is_remembered_with_its_moment() {
    let catalogue = after(&[create(A, "a"), Ddl::Truncate { coll: A }]);
    assert_eq!(catalogue.collections[&A].truncated, Some(Ts::new(101, 1)));
}

#[test]
fn what_is_not_there_means_a_resync_after_the_window_and_nothing_within() {
    let drop = Ddl::Drop { coll: A, db: "d".into(), name: "a".into() };
    let all = [
        drop,
        rename(A, "b", None),
        coll_mod(A, rawdoc! { "collMod": "a", "validator": { "x": 1 } }),
        built(A, "x_1", rawdoc! {}),
        Ddl::Truncate { coll: A },
    ];
    for ddl in all {
        let mut catalogue = Catalogue::default();
        let exact = catalogue.apply(Ts::new(1, 1), &ddl, Window::Exact).unwrap_err();
        assert_eq!(exact.kind(), ErrorKind::ResyncRequired, "{ddl:?}");
        catalogue.apply(Ts::new(1, 1), &ddl, Window::Fuzzy).unwrap();
        assert_eq!(catalogue, Catalogue::default());
    }
}

/// The listing shows the end of the window; entries from its beginning are applied to it all the same.
#[test]
fn entries_of_the_window_over_a_newer_listing_give_the_listing() {
    let entries = [
        create(A, "a"),
        built(A, "old_1", rawdoc! {}),
        coll_mod(A, rawdoc! { "collMod": "a", "index": { "name": "old_1", "hidden": true } }),
        Ddl::IndexDropped { coll: A, db: "d".into(), name: "a".into(), index: "old_1".into() },
        built(A, "x_1", rawdoc! { "sparse": true }),
        rename(A, "z", None),
        view("v", "z"),
    ];
    let listing = after(&entries);
    for from in 0..entries.len() {
        // Whatever stands before `from` was before the window.
        let mut fuzzy = listing.clone();
        fuzzy.collections.get_mut(&A).unwrap().tree.cut = 7;
        apply(&mut fuzzy, Window::Fuzzy, &entries[from..]).unwrap();
        assert_eq!(fuzzy.collections[&A].tree.cut, 7, "the scanned tree stays");
        fuzzy.collections.get_mut(&A).unwrap().tree = listing.collections[&A].tree.clone();
        assert_eq!(fuzzy, listing, "from entry {from}");
    }
}

#[test]
fn a_modified_index_that_is_missing_is_damage_after_the_window() {
    let hide = coll_mod(A, rawdoc! { "collMod": "a", "index": { "name": "x_1", "hidden": true } });
    let mut catalogue = after(&[create(A, "a")]);
    assert!(catalogue.apply(Ts::new(900, 1), &hide, Window::Exact).is_err());
    catalogue.apply(Ts::new(900, 1), &hide, Window::Fuzzy).unwrap();
}

/// Seen on 5.0.3; 4.4 keeps it.
#[test]
fn a_coll_mod_of_5_0_forgets_pre_images() {
    let options = |fcv: &str, o: RawDocumentBuf| {
        let mut made = create(A, "a");
        let Ddl::Create { options, .. } = &mut made else { unreachable!("a create") };
        options.append(bson::cstr!("recordPreImages"), true);
        let changed = Ddl::FcvChanged { version: Some(fcv.to_owned()), target: None };
        let catalogue = after(&[changed, made, built(A, "x_1", rawdoc! {}), coll_mod(A, o)]);
        catalogue.collections[&A].options.clone()
    };
    let hide = rawdoc! { "collMod": "a", "index": { "name": "x_1", "hidden": true } };
    let still = rawdoc! { "recordPreImages": true };
    assert_eq!(options("5.0", hide.clone()), rawdoc! {});
    assert_eq!(options("4.4", hide), still);
    let named = rawdoc! { "collMod": "a", "recordPreImages": true };
    assert_eq!(options("5.0", named), still);
}
