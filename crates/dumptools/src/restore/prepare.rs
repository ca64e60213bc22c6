//! Making collections before the first document, so that what the server refuses shows before hours of loading.

use std::collections::{BTreeMap, BTreeSet};

use bson::{RawDocumentBuf, rawdoc};
use bygone_base::{CollectionId, Error, ErrorKind, Result};
use bygone_restore::{
    Namespace, ServerVersion,
    create::{self, Command},
    drop_made_indexes,
    model::{SourceCollection, SourceView},
    raw::{self, Build},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Intent, Run, catalogue::Catalogue, indexes};
use crate::{extjson, metadata::Kind};

/// What the server has of the databases that are restored to.
type Existing = BTreeMap<Namespace, String>;

/// Drops what is to be dropped and makes what is not there; views last, after what they read.
pub(super) async fn prepare(run: &Run<'_>, intents: &mut [Intent]) -> Result<()> {
    let existing = existing(run, intents).await?;
    for intent in intents.iter_mut() {
        intent.existed = existing.contains_key(&intent.to);
        preflight(run, intent)?;
    }
    for views in [false, true] {
        let chosen = intents.iter().filter(|i| (i.metadata.kind == Kind::View) == views);
        let each = chosen.map(|intent| make(run, intent, &existing));
        let made = stream::iter(each).buffer_unordered(run.options.parallel.max(1));
        made.try_collect::<Vec<()>>().await?;
    }
    for intent in intents.iter_mut() {
        intent.existed &= !run.options.drop;
    }
    Ok(())
}

async fn existing(run: &Run<'_>, intents: &[Intent]) -> Result<Existing> {
    let dbs: BTreeSet<&str> = intents.iter().map(|i| i.to.db.as_str()).collect();
    let mut found = Existing::new();
    for db in dbs {
        let what = format!("list collections of {db}");
        let command = rawdoc! {"listCollections": 1, "nameOnly": true, "cursor": {}};
        for entry in run.target.cursor(&what, db, command).await? {
            let name = raw::text(entry.as_bytes(), "name").unwrap_or_default();
            let kind = raw::text(entry.as_bytes(), "type").unwrap_or("collection");
            found.insert(Namespace::new(db, name), kind.to_owned());
        }
    }
    Ok(found)
}

/// What cannot be restored is told before anything is touched.
fn preflight(run: &Run<'_>, intent: &Intent) -> Result<()> {
    if intent.metadata.kind == Kind::TimeSeries && intent.existed && !run.options.drop {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "restore error: timeseries collection `{}` already exists on the destination. \
                 You must remove this collection from the destination or use --drop",
                intent.to
            ),
        ));
    }
    if run.options.no_indexes || run.connection.version < ServerVersion::new(4, 9) {
        return Ok(());
    }
    match intent.metadata.indexes.iter().find(|index| indexes::is_haystack(index)) {
        None => Ok(()),
        Some(_) => Err(Error::unsupported(format!(
            "found a geoHaystack index: it is not supported by the destination; restore {} with \
             --noIndexRestore, or remove the index from the source",
            intent.to
        ))),
    }
}

async fn make(run: &Run<'_>, intent: &Intent, existing: &Existing) -> Result<()> {
    let to = &intent.to;
    let system = to.coll.starts_with("system.");
    let mut there = intent.existed;
    if there && run.options.drop && !system {
        run.log.always(format_args!("dropping collection {to} before restoring"));
        let body = Build::new().str("drop", &to.coll).majority().finish();
        let command = Command { db: to.db.clone(), body };
        match run.target.run(&format!("error dropping collection {to}"), &command).await {
            Err(failed) if failed.kind() == ErrorKind::NotFound => {}
            dropped => drop(dropped?),
        }
        there = false;
    }
    if there {
        run.log.always(format_args!("restoring to existing collection {to} without dropping"));
        let same = existing
            .get(to)
            .is_some_and(|kind| (kind == "view") == (intent.metadata.kind == Kind::View));
        return if same {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Conflict, format!("{to} exists and is a view or is none"))
                .hint("give --drop to replace it"))
        };
    }
    // A dump that says nothing of a collection lets the first insert make it, as one without options does.
    if !intent.has_metadata && intent.metadata.kind == Kind::Collection {
        return Ok(());
    }
    let what = format!("error creating collection {to}");
    for command in commands(run, intent)? {
        run.target.run(&what, &command).await?;
    }
    if intent.metadata.kind == Kind::TimeSeries && !run.options.no_indexes {
        for name in drop_made_indexes(&run.target, to).await? {
            run.log.always(format_args!("{to} keeps index {name}: it may not be dropped"));
        }
    }
    Ok(())
}

/// The collection in the terms of a restore from a store.
fn source(intent: &Intent, no_options: bool) -> Result<SourceCollection> {
    let raw = |bytes: &Vec<u8>| {
        RawDocumentBuf::from_bytes(bytes.clone())
            .map_err(|e| Error::damaged(format!("metadata of {}", intent.source)).source(e))
    };
    let name = match intent.metadata.kind {
        Kind::TimeSeries => intent.source.buckets(),
        _ => intent.source.clone(),
    };
    // `create` is what very old servers put among the options.
    let options = raw::without(&intent.metadata.options, &["create"])?;
    Ok(SourceCollection {
        id: CollectionId(intent.metadata.uuid.unwrap_or_default()),
        name,
        options: if no_options { RawDocumentBuf::new() } else { raw(&options)? },
        indexes: intent.metadata.indexes.iter().map(raw).collect::<Result<_>>()?,
        capped: raw::is_true(&options, "capped"),
        documents: 0,
        bytes: 0,
    })
}

/// What makes it, one after the other.
fn commands(run: &Run<'_>, intent: &Intent) -> Result<Vec<Command>> {
    let collection = source(intent, run.options.no_options)?;
    if intent.metadata.kind == Kind::View {
        let view = SourceView { name: intent.source.clone(), definition: collection.options };
        let made = create::view(&view, &intent.to)?.and_then(|made| made.command);
        return Ok(made.into_iter().collect());
    }
    let stored = intent.stored();
    let made = create::collection(&collection, &stored, false, run.connection.version)?;
    for text in &made.left_out {
        run.log.always(text);
    }
    if run.options.preserve_uuid && intent.metadata.uuid.is_none() {
        run.log.always(format_args!(
            "--preserveUUID used but no UUID found in the metadata of {}, generating new UUID for {}",
            intent.source, intent.to
        ));
    }
    let create = match (made.command, intent.metadata.uuid) {
        (Some(command), Some(uuid)) if run.options.preserve_uuid => {
            Some(with_uuid(&command, &intent.to, uuid)?)
        }
        (command, _) => command,
    };
    Ok(create.into_iter().chain(made.convert).collect())
}

/// A create that says the UUID: only applyOps can.
fn with_uuid(create: &Command, to: &Namespace, uuid: [u8; 16]) -> Result<Command> {
    let body = raw::without(&create.body, &["writeConcern"])?;
    let mut value = 16_u32.to_le_bytes().to_vec();
    value.push(4);
    value.extend(uuid);
    let operation = Build::new()
        .str("op", "c")
        .str("ns", &format!("{}.$cmd", to.db))
        .element(0x05, b"ui", &value)
        .doc("o", &body)
        .finish();
    let body = Build::new().docs("applyOps", &[&operation]).finish();
    Ok(Command { db: "admin".to_owned(), body })
}

/// What lets documents expire is set when everything is in. A user that may write but not change collections gets a
/// collection that keeps all: nothing is lost, and what to do is told.
pub(super) async fn finish(run: &Run<'_>, catalogue: &Catalogue) -> Result<()> {
    for (name, seconds) in catalogue.expiry() {
        let change = Build::new().str("collMod", &name.coll).field(&seconds);
        let shown = extjson::to_text(&change.clone().finish())?;
        let command = Command { db: name.db.clone(), body: change.majority().finish() };
        match run.target.run(&format!("set the expiry of {name}"), &command).await {
            Err(denied) if denied.kind() == ErrorKind::Denied => run.log.always(format_args!(
                "{name}: its documents do not expire, for this user may not change collections; \
                 let one with the role dbAdmin run {shown} in {}",
                name.db
            )),
            done => done.map(|_| ())?,
        }
    }
    Ok(())
}
