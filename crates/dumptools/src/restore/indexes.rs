//! Indexes: what is built, and as soon as a collection is complete. With an oplog to replay they wait for it, and
//! what it says of indexes changes what is built.

use std::collections::BTreeMap;

use bygone_base::{Error, Result};
use bygone_restore::{
    Namespace, ServerVersion,
    create::Command,
    raw::{self, Build, Field, kind},
};
use futures::{StreamExt as _, future::BoxFuture, stream};

use super::{Intent, Run};

/// Index builds at once: two commands are twice as fast as one after the other.
const BUILDS: usize = 2;

/// What an index may say, for dumps of servers that let it say anything.
const OPTIONS: [&str; 27] = [
    "2dsphereIndexVersion",
    "background",
    "bits",
    "bucketSize",
    "coarsestIndexedLevel",
    "collation",
    "default_language",
    "expireAfterSeconds",
    "finestIndexedLevel",
    "key",
    "language_override",
    "max",
    "min",
    "name",
    "ns",
    "partialFilterExpression",
    "sparse",
    "storageEngine",
    "textIndexVersion",
    "unique",
    "v",
    "weights",
    "wildcardProjection",
    "hidden",
    "clustered",
    "prepareUnique",
    "columnstoreProjection",
];

/// Whether an index is of a kind that went with server 5.0.
pub(super) fn is_haystack(index: &[u8]) -> bool {
    let key = raw::get(index, "key").and_then(|k| k.doc()).unwrap_or_default();
    raw::fields(key).map_while(Result::ok).any(|f| f.text() == Some("geoHaystack"))
}

/// Indexes to build, by collection.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) by_collection: BTreeMap<Namespace, Vec<Vec<u8>>>,
    /// Collections whose default collation is not simple.
    pub(super) collated: BTreeMap<Namespace, bool>,
}

impl Catalogue {
    /// What the dump has.
    pub(super) fn new(intents: &[Intent]) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for intent in intents {
            catalogue.by_collection.insert(intent.to.clone(), intent.metadata.indexes.clone());
            let collation = raw::get(&intent.metadata.options, "collation").and_then(|c| c.doc());
            let simple = collation.is_none_or(|c| raw::text(c, "locale") == Some("simple"));
            catalogue.collated.insert(intent.to.clone(), !simple);
        }
        catalogue
    }

    /// Adds or replaces an index.
    pub(super) fn add(&mut self, name: &Namespace, index: Vec<u8>) {
        let indexes = self.by_collection.entry(name.clone()).or_default();
        let new = raw::text(&index, "name").map(str::to_owned);
        indexes.retain(|old| raw::text(old, "name") != new.as_deref());
        indexes.push(index);
    }

    /// Removes an index by its name, or all but that of `_id` by `*`.
    pub(super) fn remove(&mut self, name: &Namespace, index: &str) {
        if let Some(indexes) = self.by_collection.get_mut(name) {
            indexes.retain(|old| {
                let old = raw::text(old, "name").unwrap_or_default();
                old == "_id_" || index != "*" && old != index
            });
        }
    }
}

/// Builds everything that waited.
pub(super) async fn build_all(run: &Run<'_>, catalogue: &Catalogue) -> Result<()> {
    let mut builds: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
    for (name, indexes) in &catalogue.by_collection {
        let collated = catalogue.collated.get(name).copied().unwrap_or_default();
        builds.push(Box::pin(build(run, name, indexes, collated)));
    }
    all(builds, run.options.parallel.max(1)).await
}

/// Waits for all of them, some at a time, whatever fails; gives the first failure. Where the server is gone nothing more is
/// tried.
async fn all(builds: Vec<BoxFuture<'_, Result<()>>>, limit: usize) -> Result<()> {
    let mut builds = stream::iter(builds).buffer_unordered(limit);
    let mut first = Ok(());
    while let Some(built) = builds.next().await {
        let gone = built.as_ref().is_err_and(|failed| failed.kind().is_transient());
        first = first.and(built);
        if gone {
            break;
        }
    }
    first
}

/// Builds the indexes of one collection.
pub(super) async fn of_intent(run: &Run<'_>, intent: &Intent) -> Result<()> {
    let catalogue = Catalogue::new(std::slice::from_ref(intent));
    build_all(run, &catalogue).await
}

async fn build(run: &Run<'_>, name: &Namespace, indexes: &[Vec<u8>], collated: bool) -> Result<()> {
    if run.options.no_indexes {
        return Ok(());
    }
    let (mut commands, mut keys) = (Vec::new(), Vec::new());
    for index in indexes {
        let Some(spec) = spec(run, index, collated)? else { continue };
        let shown = raw::text(index, "name").unwrap_or_default();
        if is_repeated(index, &spec, &mut keys) {
            run.log.always(format_args!(
                "index {shown} contains duplicate key with an existing index after conversion, skipping..."
            ));
            continue;
        }
        commands.push((shown, command(run, name, &spec)));
    }
    if commands.is_empty() {
        run.log.always(format_args!("no indexes to restore for collection {name}"));
        return Ok(());
    }
    run.log.always(format_args!("restoring indexes for collection {name} from metadata"));
    let mut builds: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
    for (index, command) in &commands {
        builds.push(Box::pin(one(run, name, index, command)));
    }
    all(builds, BUILDS).await
}

async fn one(run: &Run<'_>, name: &Namespace, index: &str, command: &Command) -> Result<()> {
    run.log.always(format_args!("index: {index}"));
    let what = format!("{name}: error creating indexes for {name}: createIndex error: {index}");
    let built = run.target.run(&what, command).await;
    // The restore goes on, and fails in the end with the first of them.
    built.map(|_| ()).inspect_err(|failed| run.log.always(failed))
}

fn command(run: &Run<'_>, name: &Namespace, spec: &[u8]) -> Command {
    let mut body = Build::new().str("createIndexes", &name.coll).docs("indexes", &[spec]);
    if run.connection.version >= ServerVersion::new(4, 2) {
        body = body.bool("ignoreUnknownIndexOptions", true);
    }
    Command { db: name.db.clone(), body: body.majority().finish() }
}

/// The specification to build; `None` for what comes with the collection.
fn spec(run: &Run<'_>, index: &[u8], collated: bool) -> Result<Option<Vec<u8>>> {
    let options = run.options;
    let key = raw::get(index, "key").and_then(|k| k.doc());
    let key = key.ok_or_else(|| Error::damaged("an index of the dump has no key"))?;
    if is_id(key) || raw::is_true(index, "clustered") {
        return Ok(None);
    }
    let mut out = Build::new();
    for field in raw::fields(index) {
        let field = field?;
        let name = String::from_utf8_lossy(field.name);
        if options.convert_legacy_indexes && !OPTIONS.contains(&&*name) {
            continue;
        }
        out = match field.name {
            b"ns" => out,
            b"v" if !options.keep_index_version => out,
            b"collation" => match field.doc() {
                Some(collation) => out.doc("collation", &raw::without(collation, &["version"])?),
                None => out,
            },
            // Tools before 100.14 wrote it for indexes without one, and no server takes it back.
            b"partialFilterExpression"
                if field.value == [5, 0, 0, 0, 0] && options.convert_legacy_indexes =>
            {
                out
            }
            b"key" => out.doc(
                "key",
                &fixed_key(key, options.convert_legacy_indexes, options.fix_dotted_hash)?,
            ),
            _ => out.field(&field),
        };
    }
    if collated && raw::get(index, "collation").is_none() {
        out = out.doc("collation", &Build::new().str("locale", "simple").finish());
    }
    Ok(Some(out.finish()))
}

/// Whether what is built of `index` has the key of one before, and one of the two was put right: the server would refuse
/// it. Beside `keys` stands whether they were.
fn is_repeated(index: &[u8], spec: &[u8], keys: &mut Vec<(Vec<u8>, bool)>) -> bool {
    let key = |index| raw::get(index, "key").and_then(|k| k.doc()).unwrap_or_default().to_vec();
    let (old, new) = (key(index), key(spec));
    let changed = old != new;
    let repeated = keys.iter().any(|(key, put_right)| *key == new && (changed || *put_right));
    keys.push((new, changed));
    repeated
}

fn is_id(key: &[u8]) -> bool {
    let mut fields = raw::fields(key).map_while(Result::ok);
    let first = fields.next();
    let plain = first.is_some_and(|f| f.name == b"_id" && f.number().is_some_and(|n| n == 1.0));
    plain && fields.next().is_none()
}

fn fixed_key(key: &[u8], convert: bool, dotted: bool) -> Result<Vec<u8>> {
    let one = 1_i32.to_le_bytes();
    let mut out = Build::new();
    for field in raw::fields(key) {
        let field = field?;
        let replace = convert && is_legacy(&field)
            || dotted && field.text() == Some("hashed") && field.name.contains(&b'.');
        out = match replace {
            true => out.element(kind::INT32, field.name, &one),
            false => out.field(&field),
        };
    }
    Ok(out.finish())
}

/// A direction that servers took for "ascending" once: neither a number but 0 nor the name of a kind.
fn is_legacy(field: &Field<'_>) -> bool {
    match (field.number(), field.text()) {
        (Some(n), _) => n == 0.0,
        (None, Some(text)) => text.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn keys_of_old_servers_are_put_right() {
        let key = rawdoc! {"a": true, "b": 0, "c": "", "d": -1, "e": "text", "f": -0.5};
        let fixed = fixed_key(key.as_bytes(), true, false).unwrap();
        let want = rawdoc! {"a": 1, "b": 1, "c": 1, "d": -1, "e": "text", "f": -0.5};
        assert_eq!(fixed, want.into_bytes());
        let hashed = rawdoc! {"a.b": "hashed"};
        let want = rawdoc! {"a.b": 1};
        assert_eq!(fixed_key(hashed.as_bytes(), false, true).unwrap(), want.into_bytes());
    }

    #[test]
    fn a_catalogue_follows_names() {
        let name = Namespace::new("a", "b");
        let mut catalogue = Catalogue::default();
        let index = |name: &str| rawdoc! {"key": {"a": 1}, "name": name}.into_bytes();
        for one in ["_id_", "x", "y", "x"] {
            catalogue.add(&name, index(one));
        }
        assert_eq!(catalogue.by_collection[&name].len(), 3);
        catalogue.remove(&name, "x");
        catalogue.remove(&name, "*");
        assert_eq!(catalogue.by_collection[&name], [index("_id_")]);
    }

    #[test]
    fn what_is_put_right_is_made_once() {
        let index = |key| Build::new().doc("key", key).finish();
        let (one, old) = (rawdoc! {"x": 1}, rawdoc! {"x": ""});
        let (one, old) = (index(one.as_bytes()), index(old.as_bytes()));
        let mut keys = Vec::new();
        assert!(!is_repeated(&one, &one, &mut keys));
        // The same key with another collation, say.
        assert!(!is_repeated(&one, &one, &mut keys));
        assert!(is_repeated(&old, &one, &mut keys));
        let mut keys = Vec::new();
        assert!(!is_repeated(&old, &one, &mut keys));
        assert!(is_repeated(&one, &one, &mut keys));
    }
}
