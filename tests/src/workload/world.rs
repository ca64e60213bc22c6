//! The collections that a workload knows of.

use std::collections::BTreeMap;

use bson::{Document, doc};
use futures::TryStreamExt as _;
use mongodb::{Client, Database};

use super::Dice;
use crate::server::says;

/// What can be done with a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// Everything.
    Plain,
    /// No deletes and growing updates on old servers.
    Capped,
    /// By `_id`, without an index of it.
    Clustered,
    /// Measurements.
    Series,
    /// Nothing to write.
    View,
}

/// A collection and the `_id`s that it was given lately.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) db: String,
    pub(super) name: String,
    pub(super) nature: Nature,
    /// Raw `{_id: ..}` documents, a bounded number of them.
    pub(super) ids: Vec<Vec<u8>>,
}

impl Known {
    /// `database.collection`
    pub(super) fn namespace(&self) -> String {
        format!("{}.{}", self.db, self.name)
    }

    /// The database's handle.
    pub(super) fn database(&self, client: &Client) -> Database {
        client.database(&self.db)
    }
}

/// How many `_id`s are remembered for a collection.
const IDS: usize = 200;

/// All collections of one workload.
#[derive(Debug)]
pub(super) struct World {
    databases: Vec<String>,
    known: BTreeMap<String, Known>,
}

impl World {
    /// An empty world whose databases start with `prefix`.
    pub(super) fn new(prefix: &str) -> World {
        // Case, dashes and letters beyond ASCII: all of them end up in file and object names somewhere.
        let databases = vec![format!("{prefix}_a"), format!("{prefix}-B"), format!("{prefix}_ü")];
        World { databases, known: BTreeMap::new() }
    }

    pub(super) fn databases(&self) -> &[String] {
        &self.databases
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// One of the collections that `fits`.
    pub(super) fn pick(&self, dice: &Dice, fits: impl Fn(&Known) -> bool) -> Option<Known> {
        let fitting: Vec<&Known> = self.known.values().filter(|known| fits(known)).collect();
        (!fitting.is_empty()).then(|| (*dice.pick(&fitting)).clone())
    }

    /// A database to put something new into.
    pub(super) fn database(&self, dice: &Dice) -> String {
        dice.pick(&self.databases).clone()
    }

    pub(super) fn add(&mut self, db: &str, name: &str, nature: Nature) {
        let known = Known { db: db.to_owned(), name: name.to_owned(), nature, ids: Vec::new() };
        self.known.insert(known.namespace(), known);
    }

    pub(super) fn is_capped(&self, db: &str, name: &str) -> bool {
        let known = self.known.get(&format!("{db}.{name}"));
        known.is_some_and(|known| known.nature == Nature::Capped)
    }

    pub(super) fn remove(&mut self, known: &Known) {
        self.known.remove(&known.namespace());
    }

    pub(super) fn remove_database(&mut self, db: &str) {
        self.known.retain(|_, known| known.db != db);
    }

    /// `from` is called `db.name` now.
    pub(super) fn rename(&mut self, from: &Known, db: &str, name: &str) {
        if let Some(mut known) = self.known.remove(&from.namespace()) {
            known.db = db.to_owned();
            known.name = name.to_owned();
            self.known.insert(known.namespace(), known);
        }
    }

    pub(super) fn set_nature(&mut self, known: &Known, nature: Nature) {
        if let Some(known) = self.known.get_mut(&known.namespace()) {
            known.nature = nature;
        }
    }

    /// Remembers that `id`, a raw `{_id: ..}`, was written.
    pub(super) fn remember(&mut self, known: &Known, id: Vec<u8>, dice: &Dice) {
        if let Some(known) = self.known.get_mut(&known.namespace()) {
            if known.ids.len() < IDS {
                known.ids.push(id);
            } else {
                known.ids[dice.below(IDS)] = id;
            }
        }
    }

    /// Lists what really exists, after failures that left it open.
    pub(super) async fn refresh(&mut self, client: &Client) {
        for db in self.databases.clone() {
            let Ok(listed) =
                client.database(&db).run_cursor_command(doc! {"listCollections": 1}).await
            else {
                return;
            };
            let Ok(listed) = listed.try_collect::<Vec<Document>>().await else { return };
            self.remove_database(&db);
            for collection in listed {
                let name = collection.get_str("name").unwrap_or_default();
                if !name.starts_with("system.") && !name.starts_with("tmp") {
                    self.add(&db, name, nature(&collection));
                }
            }
        }
    }
}

/// The nature of a collection as `listCollections` shows it.
fn nature(listed: &Document) -> Nature {
    let none = Document::new();
    let options = listed.get_document("options").unwrap_or(&none);
    match listed.get_str("type") {
        Ok("view") => Nature::View,
        Ok("timeseries") => Nature::Series,
        _ if says(options, "capped") => Nature::Capped,
        _ if options.contains_key("clusteredIndex") => Nature::Clustered,
        _ => Nature::Plain,
    }
}
