//! Indexes: what is built, and as soon as a collection is complete. With an oplog to replay they wait for it, and
//! what it says of indexes changes what is built.

use bygone_base::{Error, Result};
use bygone_restore::{
    Namespace, ServerVersion,
    create::Command,
    raw::{self, Build, Field, kind},
};
use futures::{StreamExt as _, future::BoxFuture, stream};

use super::{Intent, Run, catalogue::Catalogue};

/// Index builds at once, where each has a command of its own: that is twice as fast as one after the other.
const BUILDS: usize = 2;

const SPHERE_VERSION: &str = "2dsphereIndexVersion";

/// What an index may say, for dumps of servers that let it say anything.
const OPTIONS: [&str; 27] = [
    SPHERE_VERSION,
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
    let catalogue = Catalogue::new(std::slice::from_ref(intent), true);
    build_all(run, &catalogue).await
}

async fn build(run: &Run<'_>, name: &Namespace, indexes: &[Vec<u8>], collated: bool) -> Result<()> {
    if run.options.no_indexes {
        return Ok(());
    }
    let (mut specs, mut keys) = (Vec::new(), Vec::new());
    for index in indexes {
        let Some(spec) = spec(run, index, collated)? else { continue };
        let shown = raw::text(index, "name").unwrap_or_default();
        if is_repeated(index, &spec, &mut keys) {
            run.log.always(format_args!(
                "index {shown} contains duplicate key with an existing index after conversion, skipping..."
            ));
            continue;
        }
        specs.push((shown, spec));
    }
    if specs.is_empty() {
        run.log.always(format_args!("no indexes to restore for collection {name}"));
        return Ok(());
    }
    run.log.always(format_args!("restoring indexes for collection {name} from metadata"));
    for (index, _) in &specs {
        run.log.always(format_args!("index: {index}"));
    }
    let together: Vec<&[u8]> = specs.iter().map(|(_, spec)| spec.as_slice()).collect();
    if together.len() > 1 && at_once(run, name, &together).await? {
        return Ok(());
    }
    let mut builds: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
    for (index, spec) in &specs {
        builds.push(Box::pin(one(run, name, index, spec)));
    }
    all(builds, BUILDS).await
}

/// All indexes of a collection, which is read once for them; whether they are built. Where one cannot be, a server builds
/// none of them.
async fn at_once(run: &Run<'_>, name: &Namespace, specs: &[&[u8]]) -> Result<bool> {
    let what = format!("{name}: error creating indexes for {name}: createIndex error");
    match run.target.run(&what, &command(run, name, specs)).await {
        Ok(_) => Ok(true),
        Err(gone) if gone.kind().is_transient() => {
            run.log.always(&gone);
            Err(gone)
        }
        Err(failed) => {
            run.log.info(format_args!("{failed}; building each index by itself"));
            Ok(false)
        }
    }
}

async fn one(run: &Run<'_>, name: &Namespace, index: &str, spec: &[u8]) -> Result<()> {
    let what = format!("{name}: error creating indexes for {name}: createIndex error: {index}");
    let built = run.target.run(&what, &command(run, name, &[spec])).await;
    // The restore goes on, and fails in the end with the first of them.
    built.map(|_| ()).inspect_err(|failed| run.log.always(failed))
}

fn command(run: &Run<'_>, name: &Namespace, specs: &[&[u8]]) -> Command {
    let mut body = Build::new().str("createIndexes", &name.coll).docs("indexes", specs);
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
            // It leaves out no document: with the flag it goes, as with the stock tool, else it stays as it was.
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
    if needs_sphere_version(index, key) {
        out = out.element(kind::INT32, SPHERE_VERSION.as_bytes(), &1_i32.to_le_bytes());
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
        _ if field.kind == kind::DECIMAL128 => is_zero(field.value),
        (Some(n), _) => n == 0.0,
        (None, Some(text)) => text.is_empty(),
        _ => true,
    }
}

/// Whether a Decimal128 is 0, whatever its sign and its exponent are: its coefficient is.
fn is_zero(decimal: &[u8]) -> bool {
    let bits = decimal.try_into().map(u128::from_le_bytes).unwrap_or_default();
    bits & ((1 << 113) - 1) == 0
}

/// Servers before 2.6 knew one version of such indexes, and did not say it. Others take what says nothing for their newest.
fn needs_sphere_version(index: &[u8], key: &[u8]) -> bool {
    let sphere = raw::fields(key).map_while(Result::ok).any(|f| f.text() == Some("2dsphere"));
    sphere && raw::get(index, SPHERE_VERSION).is_none()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn keys_of_old_servers_are_put_right() {
        let decimal = |text: &str| text.parse::<bson::Decimal128>().unwrap();
        let key = rawdoc! {
            "a": true, "b": 0, "c": "", "d": -1, "e": "text", "f": -0.5, "g": decimal("-1"), "h": decimal("-0E+5"),
        };
        let fixed = fixed_key(key.as_bytes(), true, false).unwrap();
        let want = rawdoc! {
            "a": 1, "b": 1, "c": 1, "d": -1, "e": "text", "f": -0.5, "g": decimal("-1"), "h": 1,
        };
        assert_eq!(fixed, want.into_bytes());
        let hashed = rawdoc! {"a.b": "hashed"};
        let want = rawdoc! {"a.b": 1};
        assert_eq!(fixed_key(hashed.as_bytes(), false, true).unwrap(), want.into_bytes());
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
