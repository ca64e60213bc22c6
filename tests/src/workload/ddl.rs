//! Collections and views: created, changed, renamed, dropped.

use bson::{Document, doc};

use super::{
    Kind, names,
    run::Runner,
    world::{Known, Nature},
};
use crate::Version;

impl Runner<'_> {
    pub(super) async fn ddl(&mut self, kind: Kind) {
        match kind {
            Kind::Create => self.create().await,
            Kind::CreateView => self.create_view().await,
            Kind::Modify => self.modify().await,
            Kind::ModifyView => self.modify_view().await,
            Kind::Drop | Kind::Recreate => self.drop_collection(kind).await,
            Kind::DropDatabase => self.drop_database().await,
            Kind::Rename | Kind::RenameOver | Kind::RenameAcross => self.rename(kind).await,
            Kind::Out | Kind::Merge => self.out_or_merge(kind).await,
            Kind::ConvertToCapped | Kind::CloneAsCapped => self.make_capped(kind).await,
            Kind::EmptyCapped => self.empty_capped().await,
            other => panic!("{other:?} is no DDL"),
        }
    }

    async fn create(&mut self) {
        let db = self.world.database(self.dice);
        let name = names::collection(self.dice, self.serial());
        self.create_as(&db, &name).await;
    }

    async fn create_as(&mut self, db: &str, name: &str) {
        let mut command = doc! {"create": name};
        let nature = self.options(&mut command);
        if self.command(db, command).await.is_some() {
            self.world.add(db, name, nature);
        }
    }

    /// Adds options of one kind or another.
    fn options(&mut self, command: &mut Document) -> Nature {
        let dice = &*self.dice;
        match dice.below(15) {
            0..4 => {}
            4 => command.extend(doc! {
                "validator": {"n": {"$type": "number"}}, "validationLevel": "moderate", "validationAction": "warn",
            }),
            5 => command.extend(doc! {
                "validator": {"$jsonSchema": {"required": ["n"], "properties": {"n": {"bsonType": ["int", "double", "long"]}}}},
            }),
            6 => command.extend(doc! {"collation": {"locale": "en", "strength": 2}}),
            7 => command.extend(doc! {"collation": {"locale": "fr", "numericOrdering": true, "backwards": true}}),
            8 => command.extend(doc! {
                "storageEngine": {"wiredTiger": {"configString": "block_compressor=zstd"}},
                "indexOptionDefaults": {"storageEngine": {"wiredTiger": {"configString": "prefix_compression=false"}}},
            }),
            9 if self.version.has_clustered() => {
                command.insert("changeStreamPreAndPostImages", doc! {"enabled": true});
            }
            9 => drop(command.insert("recordPreImages", true)),
            10 | 11 => return self.capped(command),
            12 if self.version.has_clustered() => {
                command.insert("clusteredIndex", doc! {"key": {"_id": 1}, "unique": true, "name": "by id"});
                if dice.percent(30) {
                    command.insert("expireAfterSeconds", 400_000_000_i64);
                }
                return Nature::Clustered;
            }
            13 if self.version.has_time_series() => return self.series(command),
            14 if self.version.has_clustered() => drop(command.insert("encryptedFields", encrypted())),
            _ => {}
        }
        Nature::Plain
    }

    fn capped(&self, command: &mut Document) -> Nature {
        command.insert("capped", true);
        command.insert("size", *self.dice.pick(&[4096, 10_000, 100_001, 1_000_000]));
        if self.dice.percent(50) {
            command.insert("max", *self.dice.pick(&[1, 7, 50]));
        }
        Nature::Capped
    }

    fn series(&self, command: &mut Document) -> Nature {
        let mut series = doc! {"timeField": "at", "metaField": "meta"};
        match self.dice.below(4) {
            0 => drop(series.insert("granularity", "hours")),
            1 if self.version >= Version::V7_0 => {
                series.extend(doc! {"bucketMaxSpanSeconds": 900, "bucketRoundingSeconds": 900});
            }
            2 => drop(series.remove("metaField")),
            _ => {}
        }
        command.insert("timeseries", series);
        if self.dice.percent(40) {
            command.insert("expireAfterSeconds", 400_000_000_i64);
        }
        Nature::Series
    }

    async fn create_view(&mut self) {
        let on = self.world.pick(self.dice, |known| known.nature != Nature::Series);
        let Some(on) = self.or_skip(on) else { return };
        let name = format!("view of {}", self.dice.word(5));
        let pipeline = view_pipeline(self.dice.below(3));
        let mut command = doc! {"create": &name, "viewOn": &on.name, "pipeline": pipeline};
        if self.dice.percent(20) {
            command.insert("collation", doc! {"locale": "de", "caseLevel": true});
        }
        if self.command(&on.db, command).await.is_some() {
            self.world.add(&on.db, &name, Nature::View);
        }
    }

    async fn modify(&mut self) {
        let known = self.world.pick(self.dice, |known| known.nature != Nature::View);
        let Some(known) = self.or_skip(known) else { return };
        let mut command = doc! {"collMod": &known.name};
        match (self.dice.below(6), known.nature) {
            (_, Nature::Series) if self.dice.percent(50) => {
                command.insert("timeseries", doc! {"granularity": "hours"});
            }
            (_, Nature::Series) => {
                command.insert("expireAfterSeconds", 500_000_000 + i64::from(self.dice.small()));
            }
            (0..3, Nature::Capped) if self.version.has_clustered() => {
                command.insert("cappedSize", 20_000 + i64::from(self.dice.small()) * 100);
                command.insert("cappedMax", i64::from(10 + self.dice.small().abs()));
            }
            (0..3, Nature::Clustered) => drop(command.insert("expireAfterSeconds", "off")),
            (0, _) => command.extend(doc! {
                "validator": {"n": {"$gte": -100}}, "validationLevel": "strict", "validationAction": "warn",
            }),
            (1, _) => command.extend(doc! {"validator": {}, "validationLevel": "off"}),
            (2, _) if self.version.has_clustered() => {
                let enabled = self.dice.percent(50);
                command.insert("changeStreamPreAndPostImages", doc! {"enabled": enabled});
            }
            (2, _) => drop(command.insert("recordPreImages", self.dice.percent(50))),
            (3, _) => drop(command.insert("validationAction", "error")),
            _ => {}
        }
        self.command(&known.db, command).await;
    }

    async fn modify_view(&mut self) {
        let view = self.world.pick(self.dice, |known| known.nature == Nature::View);
        let Some(view) = self.or_skip(view) else { return };
        let on = self.world.pick(self.dice, |k| k.db == view.db && k.nature == Nature::Plain);
        let Some(on) = self.or_skip(on) else { return };
        let pipeline = view_pipeline(self.dice.below(3));
        let command = doc! {"collMod": &view.name, "viewOn": &on.name, "pipeline": pipeline};
        self.command(&view.db, command).await;
    }

    async fn drop_collection(&mut self, kind: Kind) {
        // The world must not run empty.
        let found = (self.world.len() > 4).then(|| self.world.pick(self.dice, |_| true));
        let Some(known) = self.or_skip(found.flatten()) else { return };
        if self.command(&known.db, doc! {"drop": &known.name}).await.is_none() {
            return;
        }
        self.world.remove(&known);
        if kind == Kind::Recreate {
            self.create_as(&known.db, &known.name).await;
        }
    }

    async fn drop_database(&mut self) {
        let found = (self.world.len() > 6).then(|| self.world.database(self.dice));
        let Some(db) = self.or_skip(found) else { return };
        if self.command(&db, doc! {"dropDatabase": 1}).await.is_some() {
            self.world.remove_database(&db);
        }
    }

    async fn rename(&mut self, kind: Kind) {
        let movable = |known: &Known| !matches!(known.nature, Nature::View | Nature::Series);
        let Some(from) = self.world.pick(self.dice, movable) else { return self.skip() };
        let (db, name) = match kind {
            Kind::Rename => (from.db.clone(), names::collection(self.dice, self.serial())),
            Kind::RenameOver => {
                let fits = |k: &Known| movable(k) && k.db == from.db && k.name != from.name;
                let Some(onto) = self.world.pick(self.dice, fits) else { return self.skip() };
                (onto.db, onto.name)
            }
            _ => {
                let db = self.world.database(self.dice);
                (db, names::collection(self.dice, self.serial()))
            }
        };
        let command = doc! {
            "renameCollection": from.namespace(),
            "to": format!("{db}.{name}"),
            "dropTarget": kind == Kind::RenameOver,
        };
        if self.admin(command).await.is_some() {
            self.world.rename(&from, &db, &name);
        }
    }

    async fn out_or_merge(&mut self, kind: Kind) {
        let from = self.world.pick(self.dice, |known| known.nature != Nature::Series);
        let Some(from) = self.or_skip(from) else { return };
        let new = self.dice.percent(50);
        let onto = self.world.pick(self.dice, |k| k.nature == Nature::Plain && !new);
        let (db, name) = match onto {
            Some(onto) => (onto.db, onto.name),
            None => (self.world.database(self.dice), names::collection(self.dice, self.serial())),
        };
        // A new name may be one that is there: then it is what it was.
        if self.world.is_capped(&db, &name) {
            return self.skip();
        }
        let into = doc! {"db": &db, "coll": &name};
        let last = match (kind, self.dice.below(3)) {
            (Kind::Out, _) => doc! {"$out": into},
            (_, 0) => doc! {"$merge": {"into": into, "whenMatched": "replace"}},
            (_, 1) => {
                doc! {"$merge": {"into": into, "whenMatched": [{"$set": {"merged": "$$new.n"}}]}}
            }
            _ => {
                doc! {"$merge": {"into": into, "whenMatched": "merge", "whenNotMatched": "insert"}}
            }
        };
        let pipeline = vec![doc! {"$match": {"n": {"$lt": 50}}}, doc! {"$limit": 40}, last];
        let command = doc! {"aggregate": &from.name, "pipeline": pipeline, "cursor": {}};
        if self.command(&from.db, command).await.is_some() {
            self.world.add(&db, &name, Nature::Plain);
        }
    }

    async fn make_capped(&mut self, kind: Kind) {
        let plain = self.world.pick(self.dice, |known| known.nature == Nature::Plain);
        let Some(known) = self.or_skip(plain) else { return };
        if kind == Kind::ConvertToCapped {
            let command = doc! {"convertToCapped": &known.name, "size": 50_000};
            if self.command(&known.db, command).await.is_some() {
                self.world.set_nature(&known, Nature::Capped);
            }
            return;
        }
        let name = format!("capped {}", self.dice.word(5));
        let command =
            doc! {"cloneCollectionAsCapped": &known.name, "toCollection": &name, "size": 30_000};
        if self.command(&known.db, command).await.is_some() {
            self.world.add(&known.db, &name, Nature::Capped);
        }
    }

    async fn empty_capped(&mut self) {
        let capped = self.world.pick(self.dice, |known| known.nature == Nature::Capped);
        let Some(known) = self.or_skip(capped) else { return };
        self.command(&known.db, doc! {"emptycapped": &known.name}).await;
    }

    fn skip(&mut self) {
        self.or_skip(None::<()>);
    }
}

fn view_pipeline(choice: usize) -> Vec<Document> {
    match choice {
        0 => Vec::new(),
        1 => vec![
            doc! {"$match": {"n": {"$gt": 1}, "s": {"$ne": null}}},
            doc! {"$project": {"s": 1, "n": 1}},
        ],
        _ => vec![
            doc! {"$lookup": {"from": "orders", "localField": "n", "foreignField": "n", "as": "o"}},
        ],
    }
}

/// Options of Queryable Encryption: the server keeps them; encrypting is the client's work.
fn encrypted() -> Document {
    let key = bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![7; 16] };
    let field = doc! {
        "keyId": key, "path": "secret", "bsonType": "string",
        "queries": [{"queryType": "equality", "contention": 8_i64}],
    };
    doc! {
        "escCollection": "enxcol_.encrypted.esc",
        "ecocCollection": "enxcol_.encrypted.ecoc",
        "fields": [field],
    }
}
