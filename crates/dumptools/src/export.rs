//! `bygone export`: a moment of a store in the formats of mongodump.

use std::sync::Arc;

use bygone_base::{CollectionId, Error, ErrorKind, Result};
use bygone_restore::{
    Documents, NameRules, Namespace,
    model::{SourceCollection, SourceView},
    names::BUCKETS,
    raw::{self, Build, kind},
};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    TOOL_VERSION,
    archive::{Entry, Prelude},
    dump::{Selection, list},
    metadata::{Kind, Metadata},
    names::{self, Role},
    report::{Log, plural},
    sink::{Compression, Place, Sink},
};

/// What to export, and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which namespaces; no renames.
    pub rules: NameRules,
    /// Where to.
    pub place: Place,
    /// How files are compressed.
    pub compression: Compression,
    /// Collections at once.
    pub parallel: usize,
    /// Threads that compress.
    pub threads: usize,
}

/// One namespace of a moment.
#[derive(Debug, Clone)]
pub(crate) struct One {
    /// Of a time-series its own name.
    pub(crate) name: Namespace,
    pub(crate) metadata: Metadata,
    /// Where its documents are; views have none.
    pub(crate) data: Option<Stored>,
}

/// Where a collection's documents are in a store.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    id: CollectionId,
    /// Of a time-series the name of its buckets.
    name: Namespace,
    /// A capped collection keeps the order of its documents.
    capped: bool,
}

impl Stored {
    /// Gives all documents to `take`, some at a time, one behind the other in each slice.
    ///
    /// # Errors
    /// Reading failed, or `take` did.
    pub(crate) async fn read(
        &self,
        documents: &dyn Documents,
        mut take: impl AsyncFnMut(Bytes) -> Result<()>,
    ) -> Result<()> {
        let mut stream = match self.capped {
            true => documents.open_in_order(self.id).await?.stream,
            false => documents.open(self.id).await?,
        };
        while let Some(chunk) = stream.next().await? {
            take(chunk.documents).await?;
        }
        Ok(())
    }
}

/// Exports everything that a mongodump of the source at that moment would hold; gives documents and bytes.
///
/// # Errors
/// The store is damaged, or the place cannot be written.
pub async fn export(
    documents: Arc<dyn Documents>,
    options: &Options,
    log: &Log,
) -> Result<(u64, u64)> {
    let all = everything(&*documents, &options.rules)?;
    if all.is_empty() && options.rules.names_some() {
        return Err(Error::new(ErrorKind::NotFound, "no namespace of that moment matches").hint(
            "look at --ns-include and --ns-exclude: database.collection, * matches anything",
        ));
    }
    let sink = Sink::open(&options.place, options.compression, options.threads)?;
    let version = documents.contents().source.version;
    let version = format!("{}.{}.{}", version.major, version.minor, version.patch);
    if sink.is_archive() {
        sink.prelude(&prelude(&all, &version, options.parallel)?).await?;
    } else {
        for one in &all {
            let file = format!("{}.metadata.json", names::file_name(&one.name.coll));
            sink.file(Some(&one.name.db), &file, one.metadata.to_text()?.as_bytes())?;
        }
    }
    let mut total = (0, 0);
    // Of an archive the stock tool wants users and roles whole before anything else begins.
    let people = all.iter().take_while(|one| is_people(one)).count();
    let (people, others) = all.split_at(people);
    for part in [people, others] {
        let each = part.iter().map(|one| lane(&*documents, one, &sink, log));
        let mut lanes = stream::iter(each).buffer_unordered(options.parallel.max(1));
        while let Some((count, bytes)) = lanes.try_next().await? {
            total = (total.0 + count, total.1 + bytes);
        }
    }
    let text = format!("{{\"ServerVersion\":{version:?},\"ToolVersion\":{TOOL_VERSION:?}}}\n");
    sink.file(None, "prelude.json", text.as_bytes())?;
    sink.finish().await?;
    Ok(total)
}

fn prelude(all: &[One], version: &str, parallel: usize) -> Result<Prelude> {
    let entry = |one: &One| {
        Ok(Entry {
            db: one.name.db.clone(),
            collection: one.name.coll.clone(),
            metadata: one.metadata.to_text()?,
            kind: one.metadata.kind.name().to_owned(),
        })
    };
    Ok(Prelude {
        concurrent: i32::try_from(parallel).unwrap_or(i32::MAX),
        server: version.to_owned(),
        tool: TOOL_VERSION.to_owned(),
        entries: all.iter().map(entry).collect::<Result<_>>()?,
    })
}

/// Users and roles first, then collections, then views.
pub(crate) fn everything(documents: &dyn Documents, rules: &NameRules) -> Result<Vec<One>> {
    let contents = documents.contents();
    let mut all = Vec::new();
    for collection in &contents.collections {
        let plain = collection.name.without_buckets();
        let temporary = raw::is_true(collection.options.as_bytes(), "temp");
        let chosen = list::wanted(&plain.db, &plain.coll, &Selection::default(), false)
            && plain.db != "local"
            && !temporary
            && rules.covers(&plain);
        if chosen {
            all.push(of_collection(collection)?);
        }
    }
    for view in &contents.views {
        let series = raw::text(view.definition.as_bytes(), "viewOn")
            .is_some_and(|on| on.starts_with(BUCKETS));
        if !series && rules.covers(&view.name) && view.name.db != "local" {
            all.push(of_view(view)?);
        }
    }
    all.sort_by_key(|one| !is_people(one));
    Ok(all)
}

/// Users, roles or their version.
fn is_people(one: &One) -> bool {
    matches!(Role::of(&one.name.db, &one.name.coll), Role::People { .. })
}

fn of_view(view: &SourceView) -> Result<One> {
    Ok(One {
        name: view.name.clone(),
        metadata: Metadata {
            options: raw::without(view.definition.as_bytes(), &["_id"])?,
            name: view.name.coll.clone(),
            kind: Kind::View,
            ..Metadata::default()
        },
        data: None,
    })
}

fn of_collection(collection: &SourceCollection) -> Result<One> {
    let options = collection.options.as_bytes();
    let (name, capped) = (collection.name.clone(), collection.capped);
    let data = Some(Stored { id: collection.id, name, capped });
    let series = raw::get(options, "timeseries").and_then(|s| s.doc());
    let indexes = collection.indexes.iter().map(|i| i.as_bytes().to_vec());
    let plain = collection.name.without_buckets();
    let Some(series) = series.filter(|_| plain != collection.name) else {
        let metadata = Metadata {
            options: raw::without(options, &["uuid", "recordIdsReplicated"])?,
            indexes: indexes.collect(),
            uuid: Some(collection.id.0),
            odd_uuid: None,
            name: collection.name.coll.clone(),
            kind: Kind::Collection,
        };
        return Ok(One { name: collection.name.clone(), metadata, data });
    };
    let mut own = Build::new();
    for name in ["expireAfterSeconds", "timeseries", "collation"] {
        if let Some(field) = raw::get(options, name) {
            own = own.field(&field);
        }
    }
    let meta = raw::text(series, "metaField").unwrap_or_default();
    let indexes = indexes.map(|index| of_measurements(&index, meta));
    let metadata = Metadata {
        options: own.finish(),
        indexes: indexes.filter_map(Result::transpose).collect::<Result<_>>()?,
        // As servers list them.
        uuid: None,
        odd_uuid: None,
        name: plain.coll.clone(),
        kind: Kind::TimeSeries,
    };
    Ok(One { name: plain, metadata, data })
}

/// An index on buckets as the index on measurements that it stands for; `None` for what comes with the collection.
fn of_measurements(index: &[u8], meta: &str) -> Result<Option<Vec<u8>>> {
    if raw::is_true(index, "clustered") {
        return Ok(None);
    }
    if let Some(original) = raw::get(index, "originalSpec").and_then(|o| o.doc()) {
        return Ok(Some(original.to_vec()));
    }
    let key = raw::get(index, "key").and_then(|k| k.doc()).unwrap_or_default();
    let mut own = Build::new();
    let mut last = None;
    for field in raw::fields(key) {
        let field = field?;
        let name = String::from_utf8_lossy(field.name).into_owned();
        if let Some(below) =
            name.strip_prefix("meta").filter(|b| b.is_empty() || b.starts_with('.'))
        {
            own = own.element(field.kind, format!("{meta}{below}").as_bytes(), field.value);
            continue;
        }
        // An ascending index stands on the smallest and then the largest value, a descending one the other way.
        let (plain, one) =
            match (name.strip_prefix("control.min."), name.strip_prefix("control.max.")) {
                (Some(plain), _) => (plain, 1_i32),
                (_, Some(plain)) => (plain, -1),
                _ => return Ok(Some(index.to_vec())),
            };
        if last.as_deref() == Some(plain) {
            last = None;
            continue;
        }
        own = own.element(kind::INT32, plain.as_bytes(), &one.to_le_bytes());
        last = Some(plain.to_owned());
    }
    let mut out = Build::new();
    let key = own.finish();
    for field in raw::fields(index) {
        let field = field?;
        out = if field.name == b"key" { out.doc("key", &key) } else { out.field(&field) };
    }
    Ok(Some(out.finish()))
}

async fn lane(documents: &dyn Documents, one: &One, sink: &Sink, log: &Log) -> Result<(u64, u64)> {
    let Some(stored) = &one.data else {
        // Only archives say of a view that it has no documents.
        if sink.is_archive() {
            sink.lane(&one.name.db, &one.name.coll)?.finish().await?;
        }
        return Ok((0, 0));
    };
    let Namespace { db, coll } = &stored.name;
    log.always(format_args!("writing {db}.{coll} to {}", sink.shown(db, coll)));
    let mut lane = sink.lane(db, coll)?;
    stored
        .read(documents, async |bytes: Bytes| {
            let found: Vec<&[u8]> = raw::split(&bytes).collect::<Result<_>>()?;
            lane.push(found.into_iter()).await
        })
        .await?;
    let (count, bytes) = lane.finish().await?;
    log.always(format_args!("done writing {db}.{coll} ({})", plural(count, "document")));
    Ok((count, bytes))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn indexes_on_buckets_become_those_on_measurements() {
        let own = |key: bson::RawDocumentBuf| {
            let index = rawdoc! {"v": 2, "key": key, "name": "x"};
            let found = of_measurements(index.as_bytes(), "m").unwrap().unwrap();
            bson::Document::from_reader(&found[..]).unwrap().get_document("key").unwrap().clone()
        };
        let up = own(rawdoc! {"meta": 1, "control.min.t": 1, "control.max.t": 1});
        assert_eq!(up, bson::doc! {"m": 1, "t": 1});
        let down = own(rawdoc! {"meta.a": -1, "control.max.t": -1, "control.min.t": -1});
        assert_eq!(down, bson::doc! {"m.a": -1, "t": -1});
        let clustered = rawdoc! {"v": 2, "key": {"_id": 1}, "name": "x", "clustered": true};
        assert_eq!(of_measurements(clustered.as_bytes(), "m").unwrap(), None);
    }
}
