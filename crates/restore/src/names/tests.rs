use proptest::prelude::*;

use super::*;

fn ns(text: &str) -> Namespace {
    text.parse().unwrap()
}

fn renamed(from: &str, to: &str, name: &str) -> String {
    let rules = NameRules::new(&[], &[], &[(from, to)]).unwrap();
    rules.target(&ns(name)).unwrap().to_string()
}

#[test]
fn filters_match_the_whole_name() {
    for (include, exclude, name, covered) in [
        (vec![], vec![], "a.b", true),
        (vec!["a.*"], vec![], "a.b.c", true),
        (vec!["a.*"], vec![], "ab.c", false),
        (vec!["a.b"], vec![], "a.bc", false),
        (vec!["*"], vec![], "a.b", true),
        (vec!["*.b"], vec![], "a.x.b", true),
        (vec!["*"], vec!["*.tmp*"], "a.tmp1", false),
        (vec!["*"], vec!["*.tmp*"], "a.b", true),
        (vec![r"a.\*"], vec![], "a.*", true),
        (vec![r"a.\*"], vec![], "a.b", false),
        (vec![r"a.\\x"], vec![], r"a.\x", true),
        (vec!["a.b*c*d"], vec![], "a.bcd", true),
        (vec!["a.b*c*d"], vec![], "a.bdc", false),
        (vec!["a.*x*x"], vec![], "a.x", false),
        (vec!["a.new\nline"], vec![], "a.new\nline", true),
        (vec!["a.w"], vec![], "a.system.buckets.w", true),
        (vec!["*.system.buckets.*"], vec![], "a.system.buckets.w", false),
    ] {
        let rules = NameRules::new(&include, &exclude, &[]).unwrap();
        assert_eq!(rules.covers(&ns(name)), covered, "{include:?} {exclude:?} {name}");
    }
}

#[test]
fn renames_follow_the_stock_rules() {
    for (from, to, name, expected) in [
        ("a.*", "b.*", "a.x.y", "b.x.y"),
        ("a.*", "b.*", "c.x", "c.x"),
        ("*.*", "x.*_*", "a.b.c", "x.a_b.c"),
        ("data.$who$_$what$", "$who$.$what$", "data.ann_bills", "ann.bills"),
        ("data.$who$_$what$", "$what$.$who$", "data.a_b_c", "b_c.a"),
        ("data.$x$", "$x$.$x$", "data.k", "k.k"),
        ("$db$.a*", "$db$.b", "q.a*", "q.b"),
        ("a.w", "b.v", "a.system.buckets.w", "b.system.buckets.v"),
        (r"a.\*", "a.star", "a.*", "a.star"),
        ("a.b", "c.d", "a.b", "c.d"),
    ] {
        assert_eq!(renamed(from, to, name), expected, "{from} {to} {name}");
    }
}

#[test]
fn the_last_rename_wins_and_only_one_applies() {
    let rules =
        NameRules::new(&[], &[], &[("a.*", "b.*"), ("a.x", "c.x"), ("c.*", "d.*")]).unwrap();
    assert_eq!(rules.target(&ns("a.x")).unwrap(), ns("c.x"));
    assert_eq!(rules.target(&ns("a.y")).unwrap(), ns("b.y"));
}

#[test]
fn bad_patterns_are_refused() {
    for (from, to) in [
        ("a.*", "b.c"),
        ("a.$x", "b.$x$"),
        ("a.$x$", "b.$y$"),
        ("$x$.$x$", "b.$x$"),
        ("a.*", "b.$x$"),
        ("a.$x$", "b.$x"),
    ] {
        assert!(NameRules::new(&[], &[], &[(from, to)]).is_err(), "{from} {to}");
    }
    assert!(NameRules::new(&["a.$x$"], &[], &[]).is_err());
    let rules = NameRules::new(&[], &[], &[("a.*", "*")]).unwrap();
    assert!(rules.target(&ns("a.nodot")).is_err());
    let rules = NameRules::new(&[], &[], &[("a.*", "b.system.*")]).unwrap();
    assert!(rules.target(&ns("a.x")).is_err());
}

#[test]
fn two_sources_of_one_destination_conflict() {
    let (a, b, c) = (ns("a.x"), ns("b.x"), ns("c.x"));
    assert!(check_conflicts([(&a, &c), (&b, &b)]).is_ok());
    let error = check_conflicts([(&a, &c), (&b, &c)]).unwrap_err();
    assert!(error.message().contains("a.x and b.x would both become c.x"), "{error}");
}

#[test]
fn a_database_is_named_only_literally() {
    let rules = NameRules::new(&["config.*"], &[], &[]).unwrap();
    assert!(rules.names_database("config"));
    assert!(!NameRules::new(&["*"], &[], &[]).unwrap().names_database("config"));
}

/// Slow and obviously right: tries every length for each capture, shortest first.
fn model(literals: &[String], name: &str) -> Option<Vec<String>> {
    let (first, rest) = literals.split_first()?;
    let name = name.strip_prefix(first.as_str())?;
    if rest.is_empty() {
        return name.is_empty().then(Vec::new);
    }
    (0..=name.len()).filter(|at| name.is_char_boundary(*at)).find_map(|at| {
        let mut tail = model(rest, &name[at..])?;
        tail.insert(0, name[..at].to_owned());
        Some(tail)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn captures_equal_a_lazy_search(
        literals in prop::collection::vec("[ab.é]{0,3}", 1..5),
        name in "[ab.é]{0,12}",
    ) {
        let pattern = Pattern { literals: literals.clone() };
        let fast = pattern.captures(&name).map(|c| c.iter().map(|s| (*s).to_owned()).collect());
        prop_assert_eq!(fast, model(&literals, &name));
    }

    #[test]
    fn an_escaped_name_matches_itself_only(name in r"[a*\\.]{1,8}", other in r"[a*\\.]{1,8}") {
        let escaped = name.replace('\\', r"\\").replace('*', r"\*");
        let pattern = cut_at_stars(&escaped);
        prop_assert!(pattern.captures(&name).is_some());
        prop_assert_eq!(pattern.captures(&other).is_some(), other == name);
    }
}
