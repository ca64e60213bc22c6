//! A server's whole state as what is restored, read straight from it: the
//! restore is tested without a backup in between.

use std::{collections::BTreeMap, sync::Arc};

use bson::{Document, RawDocumentBuf, doc};
use bygone_base::{CollectionId, SystemClock, Ts};
use bygone_restore::{
    Chunk, Contents, Documents, Namespace, PlanOptions, Progress, Restored, RunOptions, Target,
    memory::MemoryDocuments,
    model::{Source, SourceCollection, SourceView},
};
use bygone_tests::Version;
use mongodb::Client;

/// All documents of a command's cursor, as stored.
pub(super) async fn cursor(client: &Client, db: &str, command: Document) -> Vec<RawDocumentBuf> {
    let mut cursor = client.database(db).run_cursor_command(command).await.unwrap();
    let mut found = Vec::new();
    while cursor.advance().await.unwrap() {
        found.push(cursor.current().to_owned());
    }
    found
}

/// Reads everything that `client` holds, but what a server keeps for itself.
pub(super) async fn documents(client: &Client, version: Version) -> MemoryDocuments {
    let (mut collections, mut views, mut data) = (Vec::new(), Vec::new(), BTreeMap::new());
    let dbs = client.list_database_names().await.unwrap();
    for db in dbs.iter().filter(|db| !matches!(db.as_str(), "local" | "config")) {
        for entry in cursor(client, db, doc! {"listCollections": 1}).await {
            let name = entry.get_str("name").unwrap();
            if entry.get_str("type").unwrap() != "collection" || name == "system.keys" {
                continue;
            }
            if name == "system.views" {
                views.extend(cursor(client, db, doc! {"find": name}).await);
                continue;
            }
            let (collection, chunks) = collection(client, db, &entry).await;
            data.insert(collection.id, chunks);
            collections.push(collection);
        }
    }
    let views = views.into_iter().map(|definition| {
        let name: Namespace = definition.get_str("_id").unwrap().parse().unwrap();
        SourceView { name, definition }
    });
    let version = version.name().parse().unwrap();
    let contents = Contents {
        at: Ts::new(1, 1),
        source: Source { set: "source".to_owned(), version, fcv: version },
        views: views.collect(),
        collections,
        operations: 0,
    };
    MemoryDocuments::new(contents, data)
}

async fn collection(
    client: &Client,
    db: &str,
    entry: &RawDocumentBuf,
) -> (SourceCollection, Vec<Chunk>) {
    let name = entry.get_str("name").unwrap();
    let uuid = entry.get_document("info").unwrap().get_binary("uuid").unwrap();
    let options = entry.get_document("options").unwrap().to_owned();
    let clustered = options.get("clusteredIndex").is_ok_and(|c| c.is_some());
    let capped = options.get_bool("capped").unwrap_or(false) && !clustered;
    let find = match capped {
        true => doc! {"find": name, "hint": {"$natural": 1}},
        false => doc! {"find": name, "sort": {"_id": 1}, "allowDiskUse": true},
    };
    let found = cursor(client, db, find).await;
    let chunk = |part: &[RawDocumentBuf]| Chunk {
        documents: part.iter().flat_map(|d| d.as_bytes().to_vec()).collect::<Vec<_>>().into(),
        count: part.len() as u64,
    };
    let source = SourceCollection {
        id: CollectionId::from_slice(uuid.bytes).unwrap(),
        name: Namespace::new(db, name),
        options,
        indexes: cursor(client, db, doc! {"listIndexes": name}).await,
        capped,
        documents: found.len() as u64,
        bytes: found.iter().map(|d| d.as_bytes().len() as u64).sum(),
    };
    (source, found.chunks(7).map(chunk).collect())
}

/// Restores with a proof; the plan is the one that `options` give.
pub(super) async fn restore(
    documents: Arc<dyn Documents>,
    uri: &str,
    options: PlanOptions,
) -> bygone_base::Result<Restored> {
    let target = Target::connect(uri, Arc::new(SystemClock::new())).await?;
    let facts = target.facts().await?;
    let plan = bygone_restore::plan(documents.contents(), &facts, &options)?;
    let run = RunOptions { verify: options.verify, ..RunOptions::default() };
    let (progress, _watch) = tokio::sync::watch::channel(Progress::default());
    bygone_restore::run(documents, &target, &facts, plan, run, progress).await
}

/// What a proven restore asks for.
pub(super) fn proven() -> PlanOptions {
    PlanOptions { verify: true, ..PlanOptions::default() }
}
