//! Indexes of every kind: created on empty and full collections, changed, dropped.

use bson::{Bson, Document, doc};
use futures::TryStreamExt as _;

use super::{
    Dice,
    run::Runner,
    world::{Known, Nature},
};
use crate::{Version, server::says};

impl Runner<'_> {
    pub(super) async fn create_indexes(&mut self) {
        let capped = self.capped_keeps_step();
        let known = self.world.pick(self.dice, |known| match known.nature {
            Nature::View => false,
            // An index may refuse an insert.
            Nature::Capped => capped,
            _ => true,
        });
        let Some(known) = self.or_skip(known) else { return };
        let mut indexes = Vec::new();
        for _ in 0..1 + self.dice.below(2) {
            let mut index = match known.nature {
                Nature::Series => doc! {"key": {"meta.sensor": 1, "at": -1}},
                _ => key_and_options(self.dice, self.version),
            };
            // The name says what it is, so that the same index comes twice only by the same name.
            let mut name = index.to_string().replace(['"', ' '], "");
            name.truncate(100);
            index.insert("name", name);
            indexes.push(index);
        }
        // By default a build waits for every voting member, also for one that was killed.
        let quorum = *self.dice.pick(&["majority", "majority", "votingMembers"]);
        let quorum = if self.tolerant { "majority" } else { quorum };
        let command =
            doc! {"createIndexes": &known.name, "indexes": indexes, "commitQuorum": quorum};
        self.command(&known.db, command).await;
    }

    pub(super) async fn drop_indexes(&mut self) {
        let Some((known, indexes)) = self.indexed().await else { return };
        let name = |index: &Document| index.get_str("name").unwrap_or_default().to_owned();
        let index = self.dice.pick(&indexes).clone();
        let which: Bson = match self.dice.below(5) {
            0 => "*".into(),
            1 => index.get_document("key").cloned().unwrap_or_default().into(),
            2 => indexes
                .iter()
                .take(2)
                .map(|index| Bson::from(name(index)))
                .collect::<Vec<_>>()
                .into(),
            _ => name(&index).into(),
        };
        self.command(&known.db, doc! {"dropIndexes": &known.name, "index": which}).await;
    }

    pub(super) async fn modify_index(&mut self) {
        let Some((known, indexes)) = self.indexed().await else { return };
        let index = self.dice.pick(&indexes);
        let mut change = doc! {"name": index.get_str("name").unwrap_or_default()};
        let expires = index.contains_key("expireAfterSeconds");
        match self.dice.below(6) {
            0 if self.version.has_clustered() => drop(change.insert("prepareUnique", true)),
            1 if self.version.has_clustered() => drop(change.insert("unique", true)),
            _ if expires => {
                change.insert("expireAfterSeconds", 600_000_000 + i64::from(self.dice.small()));
            }
            _ => drop(change.insert("hidden", !says(index, "hidden"))),
        }
        self.command(&known.db, doc! {"collMod": &known.name, "index": change}).await;
    }

    /// A collection with indexes besides that of `_id`.
    async fn indexed(&mut self) -> Option<(Known, Vec<Document>)> {
        for _ in 0..16 {
            let known = self.world.pick(self.dice, |known| known.nature != Nature::View);
            let known = self.or_skip(known)?;
            let command = doc! {"listIndexes": &known.name};
            let listed = self.database(&known).run_cursor_command(command).await;
            let listed = match listed {
                Ok(cursor) => cursor.try_collect::<Vec<Document>>().await.unwrap_or_default(),
                Err(_) => Vec::new(),
            };
            let own = |index: &Document| {
                index.get_str("name").ok() != Some("_id_") && !index.contains_key("clustered")
            };
            let indexes: Vec<Document> = listed.into_iter().filter(own).collect();
            if !indexes.is_empty() {
                return Some((known, indexes));
            }
        }
        self.or_skip(None)
    }
}

/// An index of some kind, without a name.
fn key_and_options(dice: &Dice, version: Version) -> Document {
    let key = |key: Document| doc! {"key": key};
    let with = |key: Document, options: Document| {
        let mut index = doc! {"key": key};
        index.extend(options);
        index
    };
    match dice.below(26) {
        0 => key(doc! {"n": 1}),
        1 => key(doc! {"n": -1, "s": 1}),
        2 => key(doc! {"sub.deep.n": 1, "a": -1}),
        3 => key(doc! {"d": 1.5, "n": -2.25}),
        4 => key(doc! {"n": 7_i64, "at": -1}),
        5 => key(doc! {"_id": "hashed"}),
        6 => key(doc! {"s": "hashed", "n": 1}),
        7 => key(doc! {"$**": 1}),
        8 => key(doc! {"sub.$**": 1}),
        9 => with(doc! {"$**": 1}, doc! {"wildcardProjection": {"a": 0, "s": 0}}),
        10 if version >= Version::V7_0 => {
            with(doc! {"n": 1, "$**": -1}, doc! {"wildcardProjection": {"n": 0, "_id": 0}})
        }
        11 => with(
            doc! {"s": "text", "tags": "text"},
            doc! {"weights": {"s": 5, "tags": 2}, "default_language": "german", "language_override": "lang"},
        ),
        // 4.4 and 5.0 end by themselves when such an index meets text that is not UTF-8.
        12 if version >= Version::V7_0 => key(doc! {"n": 1, "$**": "text"}),
        13 => key(doc! {"place": "2dsphere", "n": 1}),
        14 => with(doc! {"flat": "2d"}, doc! {"bits": 20, "min": -500.0, "max": 500.5}),
        15 => with(doc! {"unique": 1}, doc! {"unique": true, "sparse": true}),
        16 => with(doc! {"s": 1, "n": 1, "at": 1}, doc! {"unique": true}),
        17 => with(doc! {"s": 1}, doc! {"collation": {"locale": "en", "strength": 1}}),
        18 => with(doc! {"s": 1, "d": 1}, doc! {"collation": {"locale": "simple"}}),
        19 => with(
            doc! {"n": 1, "d": 1},
            doc! {"partialFilterExpression": {"n": {"$gt": 5}, "s": {"$exists": true}}},
        ),
        20 => with(doc! {"tags": 1}, doc! {"partialFilterExpression": {}, "sparse": false}),
        21 | 22 => with(doc! {"at": 1}, doc! {"expireAfterSeconds": 500_000_000}),
        23 => with(doc! {"extra": 1}, doc! {"hidden": true}),
        24 => with(
            doc! {"m": 1},
            doc! {"storageEngine": {"wiredTiger": {"configString": ""}}, "background": true},
        ),
        _ => with(
            doc! {"x": 1},
            doc! {"unique": true, "partialFilterExpression": {"x": {"$type": "string"}}},
        ),
    }
}
