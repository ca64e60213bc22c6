//! How a collection or view of the source is made on the target.
//!
//! Options go over as they are, except what a server refuses or fills in by itself:
//!
//! | option | what becomes of it |
//! |---|---|
//! | `uuid`, `temp`, `flags`, `autoIndexId`, `recordIdsReplicated` | left out: the server's own |
//! | `collation.version` | left out: servers refuse any but their own |
//! | `expireAfterSeconds` | set by collMod when all is proven: nothing expires on the way |
//! | `recordPreImages` | left out from 6.0 on, where it does not exist any more |
//! | bucket collections | made through `timeseries` options under the time-series' name |
//! | bucket collections without their time-series | made as they are, by their own name |

use bygone_base::Result;

use crate::{
    model::{SourceCollection, SourceView},
    names::{BUCKETS, Namespace},
    raw::{self, Build, Field},
    version::ServerVersion,
};

/// A command to run in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The database.
    pub db: String,
    /// The command's document.
    pub body: Vec<u8>,
}

/// How a namespace comes to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// The name under which it appears: the time-series' name for buckets.
    pub name: Namespace,
    /// What makes it; `None` where the first insert does.
    pub command: Option<Command>,
    /// What makes it capped right after that, where `create` may not.
    pub convert: Vec<Command>,
    /// What completes it when everything else is done: its expiry.
    pub finish: Option<Command>,
    /// Options that the target cannot have.
    pub left_out: Vec<String>,
    /// The options that listCollections should show in the end.
    pub expected: Vec<u8>,
}

/// What never goes over: the server decides.
const OWN: [&str; 6] =
    ["uuid", "temp", "flags", "autoIndexId", "recordIdsReplicated", "expireAfterSeconds"];
/// What a time-series takes from its bucket collection's options.
const TIME_SERIES: [&str; 4] = ["timeseries", "collation", "storageEngine", "indexOptionDefaults"];

/// A collation without the version of the library that made it.
pub(crate) fn collation(value: &[u8]) -> Result<Vec<u8>> {
    raw::without(value, &["version"])
}

/// The default collation of a collection, if it has one that is not simple.
pub(crate) fn default_collation(options: &[u8]) -> Option<&[u8]> {
    raw::get(options, "collation")?.doc().filter(|c| raw::text(c, "locale") != Some("simple"))
}

/// How to make `collection` as `target` on a server of `version`. `alone`: these are buckets whose
/// time-series does not exist. A server leaves such when it makes the buckets and then refuses the
/// time-series' view, whose collation a view of that name must share (8.2: code 167).
pub fn collection(
    source: &SourceCollection,
    target: &Namespace,
    alone: bool,
    version: ServerVersion,
) -> Result<Create> {
    let name = if alone { target.clone() } else { target.without_buckets() };
    let series = name != *target;
    let options = source.options.as_bytes();
    let mut body = Build::new().str("create", &name.coll);
    let mut expected = Build::new();
    let mut left_out = Vec::new();
    let converted = is_converted(options);
    for field in raw::fields(options) {
        let field = field?;
        let text = String::from_utf8_lossy(field.name);
        // No collMod reaches buckets alone, so they get their expiry at once.
        let wanted = match (series, alone) {
            (true, _) => TIME_SERIES.contains(&&*text),
            (false, true) => !OWN.contains(&&*text) || text == "expireAfterSeconds",
            (false, false) => !OWN.contains(&&*text),
        };
        if !wanted || text == "idIndex" {
            continue;
        }
        if text == "recordPreImages" && version >= ServerVersion::new(6, 0) {
            left_out.push(format!("{name}: option recordPreImages does not exist on {version}"));
            continue;
        }
        let value = if text == "collation" { collation(field.value)? } else { field.value.into() };
        if !converted || !matches!(&*text, "capped" | "size" | "max") {
            body = body.element(field.kind, field.name, &value);
        }
        expected = expected.element(field.kind, field.name, &value);
    }
    body = id_index(body, source)?;
    let expiry = raw::get(options, "expireAfterSeconds").filter(|_| !alone);
    if let Some(expiry) = &expiry {
        expected = expected.field(expiry);
    }
    let plain_system_js = name.coll == "system.js";
    Ok(Create {
        command: (!plain_system_js)
            .then(|| Command { db: name.db.clone(), body: body.majority().finish() }),
        convert: if converted { convert(options, &name) } else { Vec::new() },
        finish: expiry.map(|field| expire(&name, &field)),
        left_out,
        expected: expected.finish(),
        name,
    })
}

/// A clustered collection that was made capped: `create` refuses to make one, convertToCapped does not (8.2).
/// Its natural order is that of `_id`, as of every clustered one.
pub(crate) fn is_converted(options: &[u8]) -> bool {
    raw::is_true(options, "capped") && raw::get(options, "clusteredIndex").is_some()
}

/// A collMod can have given it a number of documents since, which neither `create` nor convertToCapped takes.
fn convert(options: &[u8], name: &Namespace) -> Vec<Command> {
    let command = |body: Build| Command { db: name.db.clone(), body: body.majority().finish() };
    let size = raw::get(options, "size")
        .map(|size| command(Build::new().str("convertToCapped", &name.coll).field(&size)));
    let max = raw::get(options, "max").map(|max| {
        let body = Build::new().str("collMod", &name.coll);
        command(body.element(max.kind, b"cappedMax", max.value))
    });
    size.into_iter().chain(max).collect()
}

/// An `_id` index of an old version is asked for; the usual one comes by itself.
fn id_index(body: Build, source: &SourceCollection) -> Result<Build> {
    let own = source.indexes.iter().find(|i| raw::text(i.as_bytes(), "name") == Some("_id_"));
    let old = own.and_then(|i| raw::get(i.as_bytes(), "v")).and_then(|v| v.number());
    match (own, old) {
        (Some(index), Some(v)) if v < 2.0 => {
            Ok(body.doc("idIndex", &raw::without(index.as_bytes(), &["ns"])?))
        }
        _ => Ok(body),
    }
}

fn expire(name: &Namespace, seconds: &Field<'_>) -> Command {
    let body = Build::new().str("collMod", &name.coll).field(seconds).majority().finish();
    Command { db: name.db.clone(), body }
}

/// How to make a view; `None` for a time-series' view, which comes with its buckets.
pub fn view(source: &SourceView, target: &Namespace) -> Result<Option<Create>> {
    let definition = source.definition.as_bytes();
    if raw::text(definition, "viewOn").is_some_and(|on| on.starts_with(BUCKETS)) {
        return Ok(None);
    }
    let mut body = Build::new().str("create", &target.coll);
    let mut expected = Build::new();
    for field in raw::fields(definition) {
        let field = field?;
        let value = match field.name {
            b"collation" => collation(field.value)?,
            b"viewOn" | b"pipeline" => field.value.to_owned(),
            _ => continue,
        };
        body = body.element(field.kind, field.name, &value);
        expected = expected.element(field.kind, field.name, &value);
    }
    Ok(Some(Create {
        name: target.clone(),
        command: Some(Command { db: target.db.clone(), body: body.majority().finish() }),
        finish: None,
        convert: Vec::new(),
        left_out: Vec::new(),
        expected: expected.finish(),
    }))
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc, rawdoc};

    use super::*;

    fn source(coll: &str, options: RawDocumentBuf) -> SourceCollection {
        SourceCollection {
            id: Default::default(),
            name: Namespace::new("a", coll),
            options,
            indexes: vec![rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_"}],
            capped: false,
            documents: 0,
            bytes: 0,
        }
    }

    fn made(
        coll: &str,
        options: RawDocumentBuf,
        version: ServerVersion,
    ) -> (bson::Document, Create) {
        let target = Namespace::new("b", coll);
        let create = collection(&source(coll, options), &target, false, version).unwrap();
        let body = create.command.clone().unwrap().body;
        (bson::Document::from_reader(&body[..]).unwrap(), create)
    }

    const V8: ServerVersion = ServerVersion::new(8, 2);

    #[test]
    fn options_go_over_and_the_servers_own_do_not() {
        let (body, create) = made(
            "x",
            rawdoc! {"uuid": 1, "capped": true, "size": 4096.0, "temp": false, "flags": 3,
            "collation": {"locale": "de", "version": "57.1"}, "validator": {"a": {"$gt": 1}}},
            V8,
        );
        assert_eq!(
            body,
            doc! {"create": "x", "capped": true, "size": 4096.0, "collation": {"locale": "de"},
            "validator": {"a": {"$gt": 1}}, "writeConcern": {"w": "majority"}}
        );
        assert_eq!(create.finish, None);
    }

    #[test]
    fn expiry_is_set_last() {
        let (body, create) = made("x", rawdoc! {"expireAfterSeconds": 5_i64}, V8);
        assert!(!body.contains_key("expireAfterSeconds"));
        let finish = create.finish.unwrap();
        assert_eq!(raw::text(&finish.body, "collMod"), Some("x"));
        assert_eq!(raw::get(&finish.body, "expireAfterSeconds").unwrap().number(), Some(5.0));
    }

    #[test]
    fn buckets_are_made_through_their_time_series() {
        let (body, create) = made(
            "system.buckets.w",
            rawdoc! {"validator": {"x": 1}, "clusteredIndex": true, "expireAfterSeconds": 9_i64,
            "timeseries": {"timeField": "t", "bucketMaxSpanSeconds": 3600}},
            V8,
        );
        assert_eq!(
            body,
            doc! {"create": "w", "timeseries": {"timeField": "t", "bucketMaxSpanSeconds": 3600},
            "writeConcern": {"w": "majority"}}
        );
        assert_eq!(create.name, Namespace::new("b", "w"));
        assert_eq!(raw::text(&create.finish.unwrap().body, "collMod"), Some("w"));
    }

    #[test]
    fn buckets_alone_are_made_as_they_are() {
        let options = rawdoc! {"clusteredIndex": true, "expireAfterSeconds": 5_i64,
        "timeseries": {"timeField": "t"}};
        let target = Namespace::new("b", "system.buckets.w");
        let buckets = source("system.buckets.w", options.clone());
        let create = collection(&buckets, &target, true, V8).unwrap();
        assert_eq!((create.name, create.expected), (target, options.as_bytes().to_vec()));
        assert_eq!(create.finish, None);
        let body = create.command.unwrap().body;
        assert_eq!(raw::text(&body, "create"), Some("system.buckets.w"));
        assert!(raw::is_true(&body, "clusteredIndex"));
    }

    #[test]
    fn an_option_that_is_gone_is_reported() {
        let (body, create) = made("x", rawdoc! {"recordPreImages": true}, V8);
        assert_eq!(body.len(), 2);
        assert_eq!(create.left_out.len(), 1);
        let (body, _) = made("x", rawdoc! {"recordPreImages": true}, ServerVersion::new(5, 0));
        assert!(body.contains_key("recordPreImages"));
    }

    #[test]
    fn an_old_id_index_is_asked_for() {
        let mut old = source("x", rawdoc! {});
        old.indexes = vec![rawdoc! {"v": 1, "key": {"_id": 1}, "name": "_id_", "ns": "a.x"}];
        let create = collection(&old, &Namespace::new("a", "x"), false, V8).unwrap();
        let body = create.command.unwrap().body;
        let index = raw::get(&body, "idIndex").unwrap().doc().unwrap();
        assert_eq!(index, rawdoc! {"v": 1, "key": {"_id": 1}, "name": "_id_"}.as_bytes());
    }

    #[test]
    fn views_lose_their_id_and_the_version_of_their_collation() {
        let view_of = |on: &str| SourceView {
            name: Namespace::new("a", "v"),
            definition: rawdoc! {"_id": "a.v", "viewOn": on, "pipeline": [{"$match": {}}],
            "collation": {"locale": "de", "version": "57.1"}},
        };
        let create = view(&view_of("x"), &Namespace::new("b", "w")).unwrap().unwrap();
        let body = create.command.unwrap().body;
        assert_eq!(
            bson::Document::from_reader(&body[..]).unwrap(),
            doc! {"create": "w", "viewOn": "x", "pipeline": [{"$match": {}}],
            "collation": {"locale": "de"}, "writeConcern": {"w": "majority"}}
        );
        assert!(view(&view_of("system.buckets.x"), &Namespace::new("b", "w")).unwrap().is_none());
    }
}
