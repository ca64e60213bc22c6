//! Options and index specifications, expected against found.
//!
//! The order of fields does not matter outside of keys, numbers are compared by value, and what
//! a server fills in by itself is not held against it.

use bson::RawDocumentBuf;
use bygone_base::Result;

use crate::{
    create::Create,
    indexes,
    plan::CollectionPlan,
    raw::{self, Field, kind},
};

/// Fields whose inner order means something: they are compared byte for byte. (Not that of a wildcard projection,
/// which 5.0 shuffles, another way in every process.)
const ORDERED: [&[u8]; 4] = [b"key", b"validator", b"pipeline", b"partialFilterExpression"];

/// What differs between a namespace as it should be and its entry in listCollections.
pub(crate) fn options(create: &Create, found: Option<&[u8]>) -> Vec<String> {
    let name = &create.name;
    let Some(entry) = found else { return missing(create) };
    let empty = raw::Build::new().finish();
    let options = raw::get(entry, "options").and_then(|f| f.doc()).unwrap_or(&empty);
    let series = raw::get(&create.expected, "timeseries").is_some();
    let mut differences = differing(&create.expected, options, Extra::Allowed)
        .into_iter()
        .map(|option| format!("{name}: option {option}"))
        .collect::<Vec<_>>();
    let known = |field: &Field<'_>| raw::get(&create.expected, &text(field.name)).is_some();
    let extra = fields(options).filter(|f| !known(f) && f.name != b"autoIndexId");
    if !series {
        differences.extend(extra.map(|f| format!("{name}: additional option {}", text(f.name))));
    }
    differences
}

fn missing(create: &Create) -> Vec<String> {
    // What the first insert makes is not there when there was nothing to insert.
    match create.command {
        Some(_) => vec![format!("{} is missing", create.name)],
        None => Vec::new(),
    }
}

/// What differs between the indexes that should be and those that are.
pub(crate) fn indexes(plan: &CollectionPlan, found: &[RawDocumentBuf]) -> Result<Vec<String>> {
    let name = &plan.create.name;
    let mut differences = Vec::new();
    let index_name =
        |index: &RawDocumentBuf| raw::text(index.as_bytes(), "name").unwrap_or_default().to_owned();
    for wanted in &plan.indexes {
        let Some(index) = found.iter().find(|i| index_name(i) == wanted.name) else {
            differences.push(format!("{name}: index {} is missing", wanted.name));
            continue;
        };
        let index = indexes::plain(index.as_bytes())?;
        let differ = differing(&wanted.expected, &index, Extra::Refused);
        let tell = |field: String| format!("{name}: {field} of index {}", wanted.name);
        differences.extend(differ.into_iter().filter(|f| f != "background").map(tell));
    }
    for index in found {
        let found_name = index_name(index);
        let own = found_name == "_id_" || raw::is_true(index.as_bytes(), "clustered");
        if !own && !plan.indexes.iter().any(|i| i.name == found_name) {
            differences.push(format!("{name}: additional index {found_name}"));
        }
    }
    Ok(differences)
}

/// Whether fields may be found that were not expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extra {
    Allowed,
    Refused,
}

/// Names of the fields that are not the same.
fn differing(expected: &[u8], found: &[u8], extra: Extra) -> Vec<String> {
    let lacks = |field: &Field<'_>| match raw::get(found, &text(field.name)) {
        Some(other) => !same(field, &other),
        None => true,
    };
    let mut names: Vec<_> = fields(expected).filter(lacks).map(|f| text(f.name)).collect();
    if extra == Extra::Refused {
        let new = fields(found).filter(|f| raw::get(expected, &text(f.name)).is_none());
        names.extend(new.map(|f| text(f.name)));
    }
    names
}

fn same(expected: &Field<'_>, found: &Field<'_>) -> bool {
    if expected.kind == found.kind && expected.value == found.value {
        return true;
    }
    if let (Some(a), Some(b)) = (expected.number(), found.number()) {
        // Servers before 8.2 round the size of a capped collection up to 256.
        let rounded = expected.name == b"size" && (a / 256.0).ceil() * 256.0 == b;
        return a == b || rounded || a.is_nan() && b.is_nan();
    }
    if expected.kind != kind::DOCUMENT || found.kind != kind::DOCUMENT {
        // `true` and 1 mean the same in old specifications.
        let flags = [kind::BOOL, kind::INT32, kind::INT64, kind::DOUBLE];
        let both = flags.contains(&expected.kind) && flags.contains(&found.kind);
        return both && expected.is_true() == found.is_true();
    }
    if ORDERED.contains(&expected.name) {
        return false;
    }
    match expected.name {
        // The version is the server's own.
        b"collation" => {
            let found = raw::without(found.value, &["version"]).unwrap_or_default();
            differing(expected.value, &found, Extra::Allowed).is_empty()
        }
        b"wildcardProjection" => differing(expected.value, found.value, Extra::Refused).is_empty(),
        _ => differing(expected.value, found.value, Extra::Allowed).is_empty(),
    }
}

fn fields(doc: &[u8]) -> impl Iterator<Item = Field<'_>> {
    raw::fields(doc).map_while(Result::ok)
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::names::Namespace;

    fn create(expected: RawDocumentBuf) -> Create {
        Create {
            name: Namespace::new("a", "b"),
            command: Some(crate::create::Command { db: "a".to_owned(), body: Vec::new() }),
            finish: None,
            convert: Vec::new(),
            left_out: Vec::new(),
            expected: expected.as_bytes().to_vec(),
        }
    }

    #[test]
    fn options_differ_by_value_and_by_presence() {
        let wanted = create(
            rawdoc! {"capped": true, "size": 1000, "collation": {"locale": "de", "strength": 2}},
        );
        let entry = |options: RawDocumentBuf| rawdoc! {"name": "b", "options": options};
        let good = entry(rawdoc! {"size": 1024_i64, "capped": true,
        "collation": {"strength": 2, "locale": "de", "version": "57.1"}});
        assert_eq!(options(&wanted, Some(good.as_bytes())), Vec::<String>::new());
        let bad = entry(rawdoc! {"size": 1000, "capped": true, "max": 3,
        "collation": {"locale": "de", "strength": 1}});
        assert_eq!(
            options(&wanted, Some(bad.as_bytes())),
            ["a.b: option collation", "a.b: additional option max"]
        );
        assert_eq!(options(&wanted, None), ["a.b is missing"]);
    }

    #[test]
    fn order_in_a_key_matters() {
        let field = |doc: &RawDocumentBuf| raw::get(doc.as_bytes(), "key").unwrap().value.to_vec();
        let (a, b) = (rawdoc! {"key": {"a": 1, "b": 1}}, rawdoc! {"key": {"b": 1, "a": 1}});
        assert_ne!(field(&a), field(&b));
        assert_eq!(differing(a.as_bytes(), b.as_bytes(), Extra::Refused), ["key"]);
    }

    #[test]
    fn a_wildcard_projection_has_no_order_but_must_be_whole() {
        let all = |projection: RawDocumentBuf| rawdoc! {"wildcardProjection": projection};
        let wanted = all(rawdoc! {"_id": false, "a": false, "version": false});
        let differ = |found: &RawDocumentBuf| {
            differing(wanted.as_bytes(), found.as_bytes(), Extra::Refused).len()
        };
        assert_eq!(differ(&all(rawdoc! {"version": false, "a": false, "_id": false})), 0);
        assert_eq!(differ(&all(rawdoc! {"version": false, "_id": false})), 1);
        assert_eq!(
            differ(&all(rawdoc! {"version": false, "a": false, "_id": false, "b": false})),
            1
        );
    }
}
