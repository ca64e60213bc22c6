//! Inserts, replacements, deletes, bulk writes, `findAndModify`, `applyOps`.

use bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};

use super::{
    Kind,
    run::{Runner, raw},
    update,
    values::{self, Oddness},
    world::Known,
};
use crate::{Version, server};

impl Runner<'_> {
    pub(super) async fn insert(&mut self, kind: Kind) {
        let plain = matches!(kind, Kind::InsertOne | Kind::InsertMany);
        let known = if plain { self.insertable() } else { self.writable() };
        let Some(known) = known else { return };
        let collection = self.collection(&known);
        match kind {
            Kind::InsertOne => {
                let document = self.fresh(&known, Oddness::Tame);
                let done = collection.insert_one(document).await;
                self.count(done);
            }
            Kind::InsertMany => {
                let n = 2 + self.dice.below(if self.dice.once_in(10) { 600 } else { 20 });
                let documents: Vec<_> = (0..n).map(|_| self.fresh(&known, Oddness::Tame)).collect();
                let done = collection.insert_many(documents).await;
                self.count(done);
            }
            Kind::InsertUnordered => {
                let mut documents: Vec<_> =
                    (0..8).map(|_| self.fresh(&known, Oddness::Tame)).collect();
                documents.insert(3, documents[0].clone());
                documents.push(documents[5].clone());
                let done = collection.insert_many(documents).ordered(false).await;
                self.count(done.map(|_| ()).or_else(|error| match server::code(&error) {
                    // That is what it is for.
                    Some(11000) => Ok(()),
                    _ => Err(error),
                }));
            }
            Kind::InsertLarge => {
                const LARGEST: usize = 16 << 20;
                let size =
                    if self.dice.once_in(10) { LARGEST } else { (1 + self.dice.below(4)) << 20 };
                let documents = [self.large(&known, size)];
                self.insert_command(&known, &documents, true).await;
            }
            _ => {
                let n = 1 + self.dice.below(6);
                let oddness =
                    if self.version < Version::V5_0 { Oddness::Wild } else { Oddness::Odd };
                let documents: Vec<_> = (0..n).map(|_| self.fresh(&known, oddness)).collect();
                let ordered = self.dice.percent(50);
                self.insert_command(&known, &documents, ordered).await;
            }
        }
    }

    /// Inserts as a plain command, which carries any bytes and is not retryable.
    pub(super) async fn insert_command(
        &mut self,
        known: &Known,
        documents: &[RawDocumentBuf],
        ordered: bool,
    ) {
        let bypass = self.dice.percent(50);
        let mut list = RawArrayBuf::new();
        documents.iter().for_each(|document| list.push(document.clone()));
        let command = rawdoc! {
            "insert": known.name.as_str(),
            "documents": list,
            "ordered": ordered,
            "bypassDocumentValidation": bypass,
            // Beside a prepared transaction it may meet a document that is locked until the decision.
            "maxTimeMS": 5_000 * i64::from(self.version.slowness()),
        };
        self.raw_command(&known.db, command).await;
    }

    /// A document of exactly so many bytes.
    pub(super) fn large(&mut self, known: &Known, size: usize) -> RawDocumentBuf {
        let id = values::id(self.dice, self.serial());
        self.remember(known, &id);
        let head = || values::Raw::new().put(b"_id", &id).put(b"n", &values::int(1));
        let around = head().put(b"data", &values::binary(0, &[])).bytes().len();
        // Half of it does not compress.
        let mut data = self.dice.bytes((size - around) / 2);
        data.resize(size - around, b'-');
        raw(head().put(b"data", &values::binary(0, &data)).bytes())
    }

    pub(super) async fn delete(&mut self, kind: Kind) {
        let Some(known) = self.writable() else { return };
        let collection = self.collection(&known);
        let done = if kind == Kind::DeleteOne {
            let filter = self.filter(&known);
            collection.delete_one(filter).await
        } else {
            let from = self.dice.small();
            collection.delete_many(doc! {"n": {"$gte": from, "$lt": from + 6}}).await
        };
        self.count(done);
    }

    pub(super) async fn find_and_modify(&mut self) {
        let Some(known) = self.writable() else { return };
        let filter = self.filter(&known);
        let mut command =
            doc! {"findAndModify": &known.name, "query": filter, "fields": {"_id": 1}};
        match self.dice.below(6) {
            0 => drop(command.insert("remove", true)),
            1 => drop(command.insert("update", self.replacement())),
            2 => drop(command.insert("update", update::pipeline(self.dice))),
            _ => drop(command.insert("update", update::operators(self.dice))),
        }
        if command.get("update").is_some_and(update::needs_filters) {
            command.insert("arrayFilters", update::array_filters());
        }
        if !command.contains_key("remove") {
            command.insert("new", self.dice.percent(50));
            command.insert("upsert", self.dice.percent(30));
        }
        command.insert("bypassDocumentValidation", true);
        self.command(&known.db, command).await;
    }

    /// A whole new document without `_id`; sometimes with names that look like an update's.
    pub(super) fn replacement(&mut self) -> Document {
        let id = values::int(0);
        let bytes = values::document(self.dice, &id, Oddness::Tame);
        let mut document = Document::try_from(raw(bytes)).expect("a tame document");
        document.remove("_id");
        if self.dice.once_in(8) {
            document.insert("diff", doc! {"u": {"n": 1}});
            // 4.4 refuses the name, and 5.0.3 mistakes such a document for a diff and stops its secondaries.
            if self.version >= Version::V7_0 {
                document.insert("$v", 2);
            }
        }
        document
    }

    /// Inserts, updates and deletes in one go: over several collections where
    /// the server has `bulkWrite`, one after the other elsewhere.
    pub(super) async fn bulk_write(&mut self) {
        let (Some(one), Some(two)) = (self.writable(), self.writable()) else { return };
        if self.version < Version::V8_2 {
            let updates = vec![
                doc! {"q": self.filter(&one), "u": update::operators(self.dice), "multi": true},
                doc! {"q": self.filter(&one), "u": self.replacement(), "upsert": true},
            ];
            let deletes = vec![doc! {"q": self.filter(&two), "limit": 1}];
            let update = doc! {"update": &one.name, "updates": updates, "ordered": false};
            self.command(&one.db, update).await;
            self.command(&two.db, doc! {"delete": &two.name, "deletes": deletes}).await;
            return;
        }
        let document = Document::try_from(self.fresh(&two, Oddness::Tame)).expect("tame");
        let spaces = vec![doc! {"ns": one.namespace()}, doc! {"ns": two.namespace()}];
        let operations = vec![
            doc! {"insert": 1, "document": document},
            doc! {"update": 0, "filter": self.filter(&one), "updateMods": update::operators(self.dice), "multi": true},
            doc! {"update": 1, "filter": self.filter(&two), "updateMods": self.replacement(), "upsert": true},
            doc! {"delete": 0, "filter": self.filter(&one), "multi": false},
        ];
        // The two may be the same collection, which may be named only once.
        let spaces =
            if one.namespace() == two.namespace() { vec![spaces[0].clone()] } else { spaces };
        let command = doc! {"bulkWrite": 1, "ops": operations, "nsInfo": spaces, "ordered": false};
        self.admin(command).await;
    }

    /// Replaces a document by one whose `_id` is an equal number of another type.
    pub(super) async fn renumber(&mut self) {
        let Some(known) = self.writable() else { return };
        let n = self.dice.between(0, 300);
        let id = values::renumbered(self.dice, n);
        let document = values::document(self.dice, &id, Oddness::Tame);
        let document = Document::try_from(raw(document)).expect("a tame document");
        let other = Document::try_from(raw(values::Raw::new()
            .put(b"_id", &values::renumbered(self.dice, n))
            .bytes()));
        let change = doc! {"q": other.expect("a number"), "u": document, "upsert": true};
        let command =
            doc! {"update": &known.name, "updates": [change], "bypassDocumentValidation": true};
        self.command(&known.db, command).await;
        self.remember(&known, &id);
    }

    /// `applyOps` by a user. What it does to a collection that is gone is refused.
    pub(super) async fn apply_ops(&mut self) {
        let Some(known) = self.writable() else { return };
        let ns = known.namespace();
        let document = Document::try_from(self.fresh(&known, Oddness::Tame)).expect("tame");
        let id = document.get("_id").cloned().unwrap_or(Bson::Null);
        let modified = if self.version < Version::V5_0 {
            doc! {"$set": {"n": self.dice.small()}}
        } else {
            doc! {"$v": 2, "diff": {"u": {"n": self.dice.small()}, "i": {"applied": true}}}
        };
        let mut operations = vec![
            doc! {"op": "i", "ns": &ns, "o": document},
            doc! {"op": "u", "ns": &ns, "o2": {"_id": id.clone()}, "o": modified},
        ];
        if self.dice.percent(50) {
            operations.push(doc! {"op": "d", "ns": &ns, "o": {"_id": id}});
        }
        if self.dice.percent(30) {
            let note = doc! {"op": "n", "ns": "", "o": {"msg": "inside"}};
            operations.insert(0, note);
        }
        self.admin(doc! {"applyOps": operations}).await;
    }
}
