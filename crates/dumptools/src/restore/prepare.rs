//! Making collections before the first document, so that what the server refuses shows before hours of loading. What is
//! there and is to be dropped stays until its own first document comes: a dump that is damaged costs no more than it must.

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

/// Looks at what is there, and makes what is not; views last, after what they read.
pub(super) async fn prepare(run: &Run<'_>, intents: &mut [Intent]) -> Result<()> {
    let existing = existing(run, intents).await?;
    for intent in intents.iter_mut() {
        let there = existing.get(&intent.to);
        let drops = run.options.drop && !intent.to.coll.starts_with("system.");
        intent.replaced = there.is_some() && drops;
        intent.existed = there.is_some() && !drops;
        preflight(run, intent, there.map(String::as_str))?;
    }
    for intent in intents.iter().filter(|intent| intent.existed) {
        let to = &intent.to;
        let other = intent.metadata.kind == Kind::View
            && existing.get(to).is_some_and(|kind| kind != "view");
        run.log.always(match other {
            true => format!(
                "leaving {to} as it is: the dump has a view of that name; --drop would replace it"
            ),
            false => format!("restoring to existing collection {to} without dropping"),
        });
    }
    for views in [false, true] {
        let new = |i: &&Intent| !i.existed && !i.replaced;
        let chosen = intents.iter().filter(|i| (i.metadata.kind == Kind::View) == views);
        let each = chosen.filter(new).map(|intent| make(run, intent));
        let made = stream::iter(each).buffer_unordered(run.options.parallel.max(1));
        made.try_collect::<Vec<()>>().await?;
    }
    Ok(())
}

/// Drops what is there, and makes it anew.
pub(super) async fn replace(run: &Run<'_>, intent: &Intent) -> Result<()> {
    let to = &intent.to;
    run.log.always(format_args!("dropping collection {to} before restoring"));
    let body = Build::new().str("drop", &to.coll).majority().finish();
    let command = Command { db: to.db.clone(), body };
    match run.target.run(&format!("error dropping collection {to}"), &command).await {
        Err(failed) if failed.kind() == ErrorKind::NotFound => {}
        dropped => drop(dropped?),
    }
    make(run, intent).await
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

/// What cannot be restored is told before anything is touched. `there`: what the server has under that name.
fn preflight(run: &Run<'_>, intent: &Intent, there: Option<&str>) -> Result<()> {
    let to = &intent.to;
    let kind = intent.metadata.kind;
    if intent.existed && kind == Kind::TimeSeries {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "restore error: timeseries collection `{to}` already exists on the destination. \
                 You must remove this collection from the destination or use --drop"
            ),
        ));
    }
    if intent.existed && kind != Kind::View && there == Some("view") {
        return Err(Error::new(ErrorKind::Conflict, format!("{to} is a view on the destination"))
            .hint("give --drop to replace it"));
    }
    if let Some(odd) = intent.metadata.odd_uuid.as_ref().filter(|_| run.options.preserve_uuid) {
        return Err(Error::damaged(format!("{odd:?} is not the UUID of {}", intent.source))
            .hint("without --preserveUUID it gets another one"));
    }
    if run.options.no_indexes || run.connection.version < ServerVersion::new(4, 9) {
        return Ok(());
    }
    match intent.metadata.indexes.iter().find(|index| indexes::is_haystack(index)) {
        None => Ok(()),
        Some(_) => Err(Error::unsupported(format!(
            "found a geoHaystack index: it is not supported by the destination; restore {to} with \
             --noIndexRestore, or remove the index from the source"
        ))),
    }
}

async fn make(run: &Run<'_>, intent: &Intent) -> Result<()> {
    let to = &intent.to;
    let what = format!("error creating collection {to}");
    for command in commands(run, intent)? {
        run.target.make(&what, &command).await?;
    }
    if intent.metadata.kind == Kind::TimeSeries && !run.options.no_indexes {
        for name in drop_made_indexes(&run.target, to).await? {
            run.log.always(format_args!("{to} keeps index {name}: it may not be dropped"));
        }
    }
    Ok(())
}

/// The collection in the terms of a restore from a store.
fn source(run: &Run<'_>, intent: &Intent) -> Result<SourceCollection> {
    let no_options = run.options.no_options;
    let keeps_version = run.options.keep_index_version || run.options.preserve_uuid;
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
    let indexes = intent.metadata.indexes.iter().map(|index| match keeps_version {
        true => raw(index),
        false => raw(&raw::without(index, &["v"])?),
    });
    Ok(SourceCollection {
        id: CollectionId(intent.metadata.uuid.unwrap_or_default()),
        name,
        options: if no_options { RawDocumentBuf::new() } else { raw(&options)? },
        indexes: indexes.collect::<Result<_>>()?,
        capped: raw::is_true(&options, "capped"),
        documents: 0,
        bytes: 0,
    })
}

/// What makes it, one after the other.
fn commands(run: &Run<'_>, intent: &Intent) -> Result<Vec<Command>> {
    let collection = source(run, intent)?;
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
    let mut first = Ok(());
    for (name, seconds) in catalogue.expiry() {
        let change = Build::new().str("collMod", &name.coll).field(&seconds);
        let shown = extjson::to_text(&change.clone().finish())?;
        let command = Command { db: name.db.clone(), body: change.majority().finish() };
        match run.target.run(&format!("set the expiry of {name}"), &command).await {
            Ok(_) => {}
            Err(denied) if denied.kind() == ErrorKind::Denied => run.log.always(format_args!(
                "{name}: its documents do not expire, for this user may not change collections; \
                 let one with the role dbAdmin run {shown} in {}",
                name.db
            )),
            Err(failed) => {
                keeps_all(run, name, &shown);
                first = first.and(Err(failed));
            }
        }
    }
    first
}

/// Tells what [`finish`] would have done, where a restore ends before.
pub(super) fn tell_expiry(run: &Run<'_>, catalogue: &Catalogue) -> Result<()> {
    for (name, seconds) in catalogue.expiry() {
        let change = Build::new().str("collMod", &name.coll).field(&seconds);
        keeps_all(run, name, &extjson::to_text(&change.finish())?);
    }
    Ok(())
}

fn keeps_all(run: &Run<'_>, name: &Namespace, command: &str) {
    run.log.always(format_args!(
        "{name}: what was restored of it does not expire, for the restore failed before that was set; \
         {command} in {} sets it",
        name.db
    ));
}
