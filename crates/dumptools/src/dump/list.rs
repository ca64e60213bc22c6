//! Which collections are dumped, and what is known of them.

use std::collections::BTreeMap;

use bson::{RawDocument, doc, rawdoc};
use bygone_agent::source::{CollectionSize, Fault};
use bygone_base::{Error, Result};
use bygone_restore::{NameRules, Namespace, names::BUCKETS};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::Options;
use crate::{
    connect::Connection,
    metadata::{Kind, Metadata},
    names,
    report::Log,
};

/// What of `config` a dump of everything holds.
const CONFIG: [&str; 7] =
    ["chunks", "collections", "databases", "settings", "shards", "tags", "version"];

/// Which namespaces are wanted.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only this database.
    pub db: Option<String>,
    /// Only this collection of it.
    pub collection: Option<String>,
    /// Not these collections.
    pub exclude: Vec<String>,
    /// Not those whose name begins so.
    pub exclude_prefixes: Vec<String>,
    /// Only these namespaces; no renames.
    pub rules: Option<NameRules>,
}

impl Selection {
    /// Everything that dumps hold.
    pub fn all(&self) -> bool {
        self.db.is_none() && self.rules.is_none()
    }

    /// Everything that dumps hold of a database.
    pub(super) fn whole(&self, db: &str) -> bool {
        let some = self.collection.is_some()
            || self.rules.is_some()
            || !self.exclude.is_empty()
            || !self.exclude_prefixes.is_empty();
        !some && self.db.as_ref().is_none_or(|only| only == db)
    }

    /// Whether a dump holds this collection, a time-series by its own name.
    pub(super) fn holds(&self, db: &str, name: &str) -> bool {
        let here = db != "local" && self.db.as_ref().is_none_or(|only| only == db);
        here && wanted(db, name, self, self.db.is_some())
    }
}

/// A namespace to dump.
#[derive(Debug, Clone)]
pub struct Found {
    /// Database.
    pub db: String,
    /// Name: of a time-series its own, not that of its buckets.
    pub name: String,
    /// As what it is dumped.
    pub kind: Kind,
    /// What the server calls it: not the same where views are dumped as collections.
    pub listed_as: Kind,
    /// Options as listed: a document.
    pub options: Vec<u8>,
    /// UUID as listed.
    pub uuid: Option<[u8; 16]>,
    /// UUID of the collection that holds the documents; views have none.
    pub stored_in: Option<[u8; 16]>,
    /// About how many documents.
    pub documents: u64,
    /// About how many bytes they have.
    pub bytes: u64,
}

impl Found {
    /// The collection that holds the documents.
    pub(super) fn stored(&self) -> String {
        match self.kind {
            Kind::TimeSeries => format!("{BUCKETS}{}", self.name),
            _ => self.name.clone(),
        }
    }
}

/// Whether a dump holds this collection; its time-series' name for buckets was taken before.
pub(crate) fn wanted(db: &str, name: &str, selection: &Selection, listed_alone: bool) -> bool {
    let excluded = selection.exclude.iter().any(|e| e == name)
        || selection.exclude_prefixes.iter().any(|p| name.starts_with(p.as_str()));
    let ruled = selection.rules.as_ref();
    if excluded || ruled.is_some_and(|rules| !rules.covers(&Namespace::new(db, name))) {
        return false;
    }
    if let Some(only) = &selection.collection {
        return only == name;
    }
    match db {
        "config" if !listed_alone => CONFIG.contains(&name),
        "config" => !name.starts_with("system.") || name == "system.sessions",
        "admin" => name != "system.keys",
        _ if name.starts_with("system.") => name == "system.js",
        _ => !name.contains('$') || name == ".oplog.$main",
    }
}

/// Everything to dump.
pub(super) async fn list(
    connection: &Connection,
    options: &Options,
    log: &Log,
) -> Result<Vec<Found>> {
    let selection = &options.selection;
    let dbs = match &selection.db {
        Some(db) => vec![db.clone()],
        None => databases(connection).await?,
    };
    let mut found = Vec::new();
    for db in &dbs {
        let mut command = rawdoc! {"listCollections": 1, "cursor": {}};
        if let Some(name) = &selection.collection {
            let buckets = format!("{BUCKETS}{name}");
            let names = rawdoc! {"$in": [name.as_str(), buckets.as_str()]};
            command.append(bson::cstr!("filter"), rawdoc! {"name": names});
        }
        let what = "listCollections";
        let listed = connection.reader.documents(db, command, what).await.map_err(Error::from)?;
        found.extend(read_all(db, &listed, options)?);
    }
    if let (Some(db), Some(name), true) = (&selection.db, &selection.collection, found.is_empty()) {
        log.always(format_args!("namespace with DB {db} and collection {name} does not exist"));
    }
    let sizes = stream::iter(&found).map(|one| async move {
        match one.kind {
            Kind::View => Ok(CollectionSize::default()),
            _ => connection.reader.size(&one.db, &one.stored()).await.map_err(Error::from),
        }
    });
    let sizes: Vec<CollectionSize> = sizes.buffered(8).try_collect().await?;
    for (one, size) in found.iter_mut().zip(sizes) {
        (one.documents, one.bytes) = (size.docs, size.bytes);
    }
    Ok(found)
}

async fn databases(connection: &Connection) -> Result<Vec<String>> {
    let command = doc! {"listDatabases": 1, "nameOnly": true};
    let reply = connection.reader.command("admin", command, "listDatabases").await;
    let reply = reply.map_err(Error::from)?;
    let listed = reply.get_array("databases").map(Vec::as_slice).unwrap_or_default();
    let name = |entry: &bson::Bson| Some(entry.as_document()?.get_str("name").ok()?.to_owned());
    let mut names = Vec::new();
    for name in listed.iter().filter_map(name).filter(|name| name != "local") {
        if !names::is_database(&name) {
            return Err(Error::unsupported(format!("{name:?} cannot be the name of a database")));
        }
        names.push(name);
    }
    Ok(names)
}

/// What of a database's listing is dumped.
fn read_all(db: &str, listed: &[Vec<u8>], options: &Options) -> Result<Vec<Found>> {
    let uuids: BTreeMap<&str, [u8; 16]> =
        listed.iter().filter_map(|entry| uuid(RawDocument::from_bytes(entry).ok()?)).collect();
    let mut all = Vec::new();
    for entry in listed {
        let Some(mut found) = read(db, entry, options)? else { continue };
        if found.listed_as != Kind::View {
            found.stored_in = uuids.get(found.stored().as_str()).copied();
        }
        // What looks empty under the name of its buckets would be lost without a word.
        if found.kind == Kind::TimeSeries && found.stored_in.is_none() {
            return Err(Error::unsupported(format!(
                "{db}.{}: a time-series that does not keep its documents in {}",
                found.name,
                found.stored()
            ))
            .hint(
                "those of newer servers are not known here; leave it out with --excludeCollection",
            ));
        }
        all.push(found);
    }
    Ok(all)
}

fn uuid(entry: &RawDocument) -> Option<(&str, [u8; 16])> {
    let uuid = entry.get_document("info").ok()?.get_binary("uuid").ok()?;
    Some((entry.get_str("name").ok()?, uuid.bytes.try_into().ok()?))
}

fn read(db: &str, entry: &[u8], options: &Options) -> Result<Option<Found>> {
    let bad = |what: &str| Error::damaged(format!("listCollections of {db}: {what}"));
    let entry = RawDocument::from_bytes(entry).map_err(|e| bad(&e.to_string()))?;
    let name = entry.get_str("name").map_err(|_| bad("no name"))?;
    let kind = match entry.get_str("type").unwrap_or("collection") {
        "view" => Kind::View,
        "timeseries" => Kind::TimeSeries,
        _ => Kind::Collection,
    };
    if !wanted(db, name, &options.selection, options.selection.db.is_some()) {
        return Ok(None);
    }
    // As collections, only what views show is dumped, unless something is named.
    let as_collection = options.views_as_collections && kind == Kind::View;
    if options.views_as_collections && !as_collection && options.selection.collection.is_none() {
        return Ok(None);
    }
    let empty = rawdoc! {};
    let listed = entry.get_document("options").unwrap_or(&empty);
    Ok(Some(Found {
        db: db.to_owned(),
        name: name.to_owned(),
        kind: if as_collection { Kind::Collection } else { kind },
        listed_as: kind,
        options: if as_collection { empty.into_bytes() } else { own(listed)? },
        uuid: uuid(entry).map(|(_, uuid)| uuid),
        stored_in: None,
        documents: 0,
        bytes: 0,
    }))
}

/// Options without what a server adds for itself and refuses from others.
fn own(options: &RawDocument) -> Result<Vec<u8>> {
    bygone_restore::raw::without(options.as_bytes(), &["recordIdsReplicated"])
}

/// What stands in the metadata file; views have no indexes.
pub(super) async fn metadata(
    connection: &Connection,
    found: &Found,
    with_indexes: bool,
) -> Result<Metadata> {
    let mut metadata = Metadata {
        options: found.options.clone(),
        indexes: Vec::new(),
        uuid: found.uuid,
        odd_uuid: None,
        name: found.name.clone(),
        // Of a view dumped as a collection that of a view: without a definition it is restored as a collection.
        kind: found.listed_as,
    };
    if found.listed_as == Kind::View || !with_indexes {
        return Ok(metadata);
    }
    let command = rawdoc! {"listIndexes": found.name.as_str(), "cursor": {}};
    match connection.reader.documents(&found.db, command, "listIndexes").await {
        Ok(indexes) => metadata.indexes = indexes,
        // Dropped since it was listed.
        Err(failed) if failed.fault == Fault::Gone => {}
        Err(failed) => return Err(failed.into()),
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_series_without_buckets_is_refused() {
        let options = Options {
            selection: Selection::default(),
            query: None,
            place: crate::sink::Place::Documents,
            compression: crate::sink::Compression::None,
            oplog: false,
            users_and_roles: false,
            parallel: 1,
            divided: 1,
            threads: 1,
            views_as_collections: false,
        };
        let uuid = bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![7; 16] };
        let series = rawdoc! {"name": "x", "type": "timeseries", "options": {"timeseries": {}}};
        let buckets = rawdoc! {"name": "system.buckets.x", "info": {"uuid": uuid}};
        let both = [series.clone().into_bytes(), buckets.into_bytes()];
        let found = read_all("d", &both, &options).unwrap();
        assert_eq!((found.len(), found[0].stored_in), (1, Some([7; 16])));
        assert!(read_all("d", &[series.into_bytes()], &options).is_err());
    }

    #[test]
    fn servers_keep_some_collections_for_themselves() {
        let all = Selection::default();
        let yes = |db, name| wanted(db, name, &all, false);
        assert!(yes("a", "x") && yes("a", "system.js") && yes("admin", "system.users"));
        assert!(yes("config", "chunks") && !yes("config", "transactions"));
        assert!(!yes("a", "system.profile") && !yes("a", "a$b") && !yes("admin", "system.keys"));
        let some = Selection {
            exclude: vec!["x".to_owned()],
            exclude_prefixes: vec!["tmp".to_owned()],
            ..Selection::default()
        };
        assert!(!wanted("a", "x", &some, true) && !wanted("a", "tmp1", &some, true));
        assert!(wanted("a", "xy", &some, true));
    }
}
