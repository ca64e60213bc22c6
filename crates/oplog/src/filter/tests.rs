use bygone_base::ErrorKind;

use super::*;

fn filter(mode: Mode, patterns: &[&str]) -> Filter {
    Filter::new(mode, patterns.iter().map(|p| (*p).to_owned()).collect()).unwrap()
}

#[test]
fn patterns_decide() {
    let deny = filter(Mode::Deny, &["a.*", "b.c"]);
    let allow = filter(Mode::Allow, &["a.*", "b.c"]);
    for (db, coll, named) in [
        ("a", "x", true),
        ("a", "x.y", true),
        ("b", "c", true),
        ("b", "d", false),
        ("ab", "x", false),
        ("b", "c.d", false),
    ] {
        assert_eq!(allow.covers(db, coll), named, "allow {db}.{coll}");
        assert_eq!(deny.covers(db, coll), !named, "deny {db}.{coll}");
        assert!(Filter::all().covers(db, coll));
    }
    assert!(filter(Mode::Allow, &["*"]).covers("any", "thing"));
}

#[test]
fn some_namespaces_are_not_for_patterns() {
    let allow = filter(Mode::Allow, &["a.b"]);
    let deny = filter(Mode::Deny, &["*"]);
    for f in [&allow, &deny, &Filter::all()] {
        for coll in ["system.users", "system.roles", "system.version"] {
            assert!(f.covers("admin", coll), "{coll}");
        }
        for (db, coll) in [
            ("local", "oplog.rs"),
            ("local", "mine"),
            ("admin", "system.keys"),
            ("a", "system.profile"),
            ("config", "transactions"),
            ("config", "system.sessions"),
            ("config", "system.indexBuilds"),
            ("config", "system.preimages"),
            ("config", "image_collection"),
            ("config", "cache.chunks.a.b"),
            ("config", "rangeDeletions"),
            ("config", "changelog"),
            ("config", "tenantMigrationDonors"),
        ] {
            assert!(!f.covers(db, coll), "{db}.{coll}");
            assert!(Filter::never(db, coll), "{db}.{coll}");
        }
    }
    assert!(Filter::all().covers("config", "settings"));
}

#[test]
fn buckets_go_with_their_collection() {
    assert!(filter(Mode::Allow, &["a.ts"]).covers("a", "system.buckets.ts"));
    assert!(!filter(Mode::Deny, &["a.ts"]).covers("a", "system.buckets.ts"));
    assert!(!filter(Mode::Allow, &["a.ts"]).covers("a", "system.buckets.other"));
}

#[test]
fn temporary_collections_go_with_their_database() {
    let allow = filter(Mode::Allow, &["a.b"]);
    let deny = filter(Mode::Deny, &["a.b", "c.*"]);
    for coll in [
        "tmp.agg_out.40530d9a",
        "tmpgSyhK.renameCollection",
        "tmpsqH2K.convertToCapped.c",
        "tmp.mr.x_1",
        "system.buckets.tmp.agg_out.4053",
    ] {
        assert!(allow.covers("a", coll) && deny.covers("a", coll), "{coll}");
        assert!(!allow.covers("x", coll) && !deny.covers("c", coll), "{coll}");
    }
    assert!(!allow.covers("a", "tmp"));
    assert!(!allow.covers("a", "tmp.mine"));
    assert!(!allow.covers("a", "temporary.agg_out.x"));
}

#[test]
fn bad_patterns_are_refused() {
    for bad in ["", "a", "a.", ".a", "a*.b", "a.b*", "*.b", "**"] {
        let error = Filter::new(Mode::Deny, vec![bad.into()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{bad}");
    }
    assert!(Filter::new(Mode::Allow, vec![]).is_err());
}

#[test]
fn filters_read_back() {
    for f in [Filter::all(), filter(Mode::Deny, &["a.*"]), filter(Mode::Allow, &["a.b", "*"])] {
        assert_eq!(Filter::from_bson(f.to_bson().as_bytes()).unwrap(), f);
    }
}
