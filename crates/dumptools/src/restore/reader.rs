//! Reading a dump, on a thread of its own: files one after the other, an archive as its collections come, or a store.

use std::{collections::BTreeMap, sync::Arc};

use bygone_base::{Error, ErrorKind, Result};
use bygone_document::{MAX_DOCUMENT, split_stream, validate};
use bygone_restore::{Documents, names::BUCKETS};
use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use super::{Archive, Intent, Options, Place, Run, files, people};
use crate::{
    archive::Event,
    export::Stored,
    frames::{Frames, Piece},
    metadata::Kind,
    names::Role,
    progress::Bars,
    sink::Compression,
};

/// What the reader gives.
#[derive(Debug)]
pub(super) enum Item {
    Documents(usize, Piece),
    End(usize),
    /// A collection of `admin`.
    Person(String, Piece),
    Oplog(Piece),
}

pub(super) type Items = mpsc::Receiver<Result<Item>>;

/// Where documents come from.
pub(super) enum From {
    /// The intents' files, or standard input.
    Files,
    Archive(Box<Archive>),
    /// A store; with users and roles by the collection's name in `admin`.
    Moment(Arc<dyn Documents>, Vec<(String, Stored)>),
}

/// Begins to read.
pub(super) fn start(run: &Run<'_>, intents: &[Intent], from: From) -> (Items, JoinHandle<()>) {
    let (send, items) = mpsc::channel(2);
    let objcheck = run.options.objcheck;
    let bars = run.bars.clone();
    let reader = match from {
        From::Archive(archive) => {
            let names = Names::new(intents, run.options);
            spawn_blocking(move || {
                told(read_archive(*archive, &names, objcheck, &bars, &send), &send)
            })
        }
        From::Moment(moment, people) => {
            let intents = intents.to_vec();
            let runtime = tokio::runtime::Handle::current();
            // Merging blocks takes a thread of its own, as reading files does.
            spawn_blocking(move || {
                let read = runtime.block_on(read_moment(&*moment, &intents, &people, &send));
                told(read, &send);
            })
        }
        From::Files => {
            let intents = intents.to_vec();
            let compression = run.options.compression;
            let stdin = run.options.place == Place::Documents;
            spawn_blocking(move || {
                told(read_files(&intents, compression, stdin, objcheck, &bars, &send), &send);
            })
        }
    };
    (items, reader)
}

/// Waits for the reader. One that died has not read to the dump's end.
pub(super) async fn ended(reader: JoinHandle<()>) -> Result<()> {
    reader.await.map_err(|e| Error::internal("what reads the dump died").source(e))
}

async fn read_moment(
    moment: &dyn Documents,
    intents: &[Intent],
    people: &[(String, Stored)],
    send: &mpsc::Sender<Result<Item>>,
) -> Result<()> {
    let piece = |bytes: Bytes| Piece { documents: split_stream(&bytes).count() as u64, bytes };
    for (name, stored) in people {
        let take = async |bytes: Bytes| {
            let item = Item::Person(name.clone(), piece(bytes));
            send.send(Ok(item)).await.map_err(gone)
        };
        stored.read(moment, take).await?;
    }
    for (index, intent) in intents.iter().enumerate() {
        if let Some(stored) = &intent.stored {
            let take = async |bytes: Bytes| {
                send.send(Ok(Item::Documents(index, piece(bytes)))).await.map_err(gone)
            };
            stored.read(moment, take).await?;
        }
        send.send(Ok(Item::End(index))).await.map_err(gone)?;
    }
    Ok(())
}

fn told(read: Result<()>, send: &mpsc::Sender<Result<Item>>) {
    if let Err(failed) = read {
        // Nobody listens only when the restore has failed already.
        let _ = send.blocking_send(Err(failed));
    }
}

fn gone<T>(_: T) -> Error {
    Error::new(ErrorKind::Cancelled, "the restore was stopped")
}

fn check(piece: &Piece) -> Result<()> {
    for document in split_stream(&piece.bytes) {
        validate(document?.bytes())?;
    }
    Ok(())
}

fn read_files(
    intents: &[Intent],
    compression: Compression,
    stdin: bool,
    objcheck: bool,
    bars: &Bars,
    send: &mpsc::Sender<Result<Item>>,
) -> Result<()> {
    for (index, intent) in intents.iter().enumerate() {
        let shown = match &intent.data {
            Some(path) => path.display().to_string(),
            None => "stdin".to_owned(),
        };
        let input = match &intent.data {
            Some(path) => Some(files::watched(path, compression, bars, intent.to.to_string())?),
            None if stdin => Some(compression.reader(Box::new(std::io::stdin()))?),
            None => None,
        };
        let within = |e: Error| {
            e.within(format!("{}: error restoring from {shown}: reading bson input", intent.to))
        };
        if let Some(input) = input {
            for piece in Frames::new(input, MAX_DOCUMENT, true) {
                let piece = piece.map_err(within)?;
                if objcheck {
                    check(&piece).map_err(within)?;
                }
                send.blocking_send(Ok(Item::Documents(index, piece))).map_err(gone)?;
            }
        }
        send.blocking_send(Ok(Item::End(index))).map_err(gone)?;
    }
    Ok(())
}

/// Which namespaces of an archive are what.
struct Names {
    intents: BTreeMap<(String, String), usize>,
    options: Options,
}

impl Names {
    fn new(intents: &[Intent], options: &Options) -> Names {
        let mut names = BTreeMap::new();
        for (index, intent) in intents.iter().enumerate() {
            let (db, coll) = (intent.source.db.clone(), intent.source.coll.clone());
            if intent.metadata.kind == Kind::TimeSeries {
                names.insert((db.clone(), format!("{BUCKETS}{coll}")), index);
            }
            names.insert((db, coll), index);
        }
        Names { intents: names, options: options.clone() }
    }

    fn item(&self, db: String, collection: String, piece: Piece) -> Option<Item> {
        match Role::of(&db, &collection) {
            Role::Oplog => Some(Item::Oplog(piece)),
            Role::People { name, of_one } => {
                people::asked_for(&self.options, &name, of_one).then_some(Item::Person(name, piece))
            }
            // Buckets have a name of the system's.
            Role::Collection | Role::System => {
                self.intents.get(&(db, collection)).map(|index| Item::Documents(*index, piece))
            }
        }
    }
}

fn read_archive(
    archive: Archive,
    names: &Names,
    objcheck: bool,
    bars: &Bars,
    send: &mpsc::Sender<Result<Item>>,
) -> Result<()> {
    // How much a collection has an archive does not tell before its end.
    let mut open = BTreeMap::new();
    for event in archive {
        let item = match event? {
            Event::Documents { db, collection, piece } => {
                if objcheck {
                    check(&piece).map_err(|e| e.within(format!("{db}.{collection}")))?;
                }
                let name = format!("{db}.{collection}");
                let bar = open.entry(name).or_insert_with_key(|name| bars.begin(name.clone(), 0));
                bar.add(piece.bytes.len() as u64);
                names.item(db, collection, piece)
            }
            Event::End { db, collection } => {
                open.remove(&format!("{db}.{collection}"));
                names.intents.get(&(db, collection)).map(|index| Item::End(*index))
            }
        };
        if let Some(item) = item {
            send.blocking_send(Ok(item)).map_err(gone)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_dies_is_not_an_end() {
        for dies in [false, true] {
            let reader = spawn_blocking(move || assert!(!dies, "as a bug would"));
            assert_eq!(ended(reader).await.is_err(), dies);
        }
    }
}
