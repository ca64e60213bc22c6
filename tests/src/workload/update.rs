//! Updates by operators, pipelines and replacement.

use bson::{Bson, Document, doc};

use super::{
    Dice, Kind, names,
    run::{Runner, raw},
    values::{self, Oddness},
};
use crate::Version;

impl Runner<'_> {
    pub(super) async fn update(&mut self, kind: Kind) {
        let Some(known) = self.writable() else { return };
        let mut filter = self.filter(&known);
        let change: Bson = match kind {
            Kind::Replace => self.replacement().into(),
            Kind::UpdatePipeline => pipeline(self.dice).into(),
            Kind::Upsert => {
                let id = values::id(self.dice, self.serial());
                self.remember(&known, &id);
                let id = Document::try_from(raw(values::Raw::new().put(b"_id", &id).bytes()));
                filter = doc! {"_id": {"$eq": id.expect("a tame _id").get("_id").cloned()}};
                match self.dice.below(3) {
                    0 => self.replacement().into(),
                    1 => pipeline(self.dice).into(),
                    _ => operators(self.dice).into(),
                }
            }
            _ => operators(self.dice).into(),
        };
        let collection = self.collection(&known);
        let upsert = kind == Kind::Upsert;
        match (kind, change) {
            (_, change) if needs_filters(&change) => {
                self.update_command(&known.db, &known.name, filter, change, upsert).await;
            }
            (_, Bson::Document(change)) if !change.keys().any(|k| k.starts_with('$')) => {
                let change = bson::RawDocumentBuf::try_from(&change).expect("a document");
                let done = collection.replace_one(filter, change).upsert(upsert).await;
                self.count(done);
            }
            (Kind::UpdateMany, Bson::Document(change)) => {
                let done = collection.update_many(filter, change).await;
                self.count(done);
            }
            (_, change) => {
                self.update_command(&known.db, &known.name, filter, change, upsert).await
            }
        }
    }

    /// An update as a plain command, which also takes pipelines and array filters.
    async fn update_command(
        &mut self,
        db: &str,
        name: &str,
        filter: Document,
        change: Bson,
        upsert: bool,
    ) {
        let filters = needs_filters(&change);
        let mut update = doc! {"q": filter, "u": change, "upsert": upsert};
        if filters {
            update.insert("arrayFilters", array_filters());
        }
        let command = doc! {
            "update": name,
            "updates": [update],
            "bypassDocumentValidation": self.dice.percent(50),
        };
        self.command(db, command).await;
    }

    /// Shifts fields to other places, and to names that only pipelines can write.
    pub(super) async fn move_fields(&mut self) {
        let Some(known) = self.writable() else { return };
        let filter = self.filter(&known);
        let stage = match self.dice.below(4) {
            0 => {
                doc! {"$replaceWith": {"$mergeObjects": [{"_id": "$_id", "d": "$d", "sub": "$sub"}, "$$ROOT"]}}
            }
            1 => doc! {"$project": {"d": 1, "n": 1, "sub": {"deep": 1, "n": 1}, "a": 1}},
            2 if self.version >= Version::V5_0 => {
                let name = *self.dice.pick(&["with.dot", "$price", "a.0", "0"]);
                doc! {"$replaceWith": {"$setField": {
                    "field": {"$literal": name}, "input": "$$ROOT", "value": self.dice.small(),
                }}}
            }
            _ => {
                doc! {"$replaceWith": {"$arrayToObject": {"$reverseArray": {"$objectToArray": "$$ROOT"}}}}
            }
        };
        self.update_command(&known.db, &known.name, filter, vec![stage].into(), false).await;
    }
}

/// Whether an update names elements by [`array_filters`].
pub(super) fn needs_filters(change: &Bson) -> bool {
    matches!(change, Bson::Document(change) if change.to_string().contains("$[big]"))
}

/// The filter of the elements called `big`.
pub(super) fn array_filters() -> Vec<Document> {
    vec![doc! {"big": {"$gt": 10}}]
}

/// An update document of one to three operators.
pub(super) fn operators(dice: &Dice) -> Document {
    let mut update = Document::new();
    for _ in 0..1 + dice.below(3) {
        let (operator, argument) = operator(dice);
        update.insert(operator, argument);
    }
    update
}

fn operator(dice: &Dice) -> (&'static str, Document) {
    let path = names::path(dice);
    let n = dice.small();
    match dice.below(20) {
        0..4 => ("$set", doc! {path: any(dice)}),
        4 => ("$set", doc! {path: any(dice), names::path(dice): any(dice), "new": {"x": [n]}}),
        5 => ("$unset", doc! {path: ""}),
        6 => ("$inc", doc! {"n": n}),
        7 => ("$inc", doc! {path: f64::from(n) / 4.0}),
        8 => ("$mul", doc! {"d": 1.5}),
        9 => ("$rename", doc! {path: names::path(dice)}),
        10 => ("$min", doc! {path: n}),
        11 => ("$max", doc! {path: any(dice)}),
        12 => ("$currentDate", doc! {"at": true, "stamp": {"$type": "timestamp"}}),
        13 => ("$setOnInsert", doc! {path: any(dice)}),
        14 => ("$bit", doc! {"n": {"xor": 5}}),
        _ => array_operator(dice, n),
    }
}

fn array_operator(dice: &Dice, n: i32) -> (&'static str, Document) {
    let each: Vec<Bson> = (0..1 + dice.below(4)).map(|_| Bson::from(dice.small())).collect();
    match dice.below(12) {
        0 => ("$push", doc! {"a": any(dice)}),
        1 => ("$push", doc! {"a": {"$each": each}}),
        2 => ("$push", doc! {"a": {"$each": each, "$position": dice.small() % 4}}),
        3 => ("$push", doc! {"a": {"$each": each, "$slice": -6, "$sort": 1}}),
        4 => ("$addToSet", doc! {"tags": {"$each": ["red", "green", dice.word(1)]}}),
        5 => ("$pop", doc! {"a": if dice.percent(50) { 1 } else { -1 }}),
        6 => ("$pull", doc! {"a": {"$gte": n}}),
        7 => ("$pullAll", doc! {"a": each}),
        8 => ("$set", doc! {"a.$[]": n}),
        9 => ("$inc", doc! {"a.$[big]": 1}),
        // Far beyond the end: the server fills up with nulls.
        10 => ("$set", doc! {format!("a.{}", 20 + dice.below(30)): n}),
        _ => ("$set", doc! {"a": []}),
    }
}

/// An aggregation pipeline as an update.
pub(super) fn pipeline(dice: &Dice) -> Vec<Document> {
    let n = dice.small();
    let stage = match dice.below(8) {
        0 => doc! {"$set": {"n": {"$add": [n, 1]}, "sub.deep": {"$literal": {"n": n}}}},
        1 => doc! {"$unset": ["extra", "sub.n"]},
        2 => doc! {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"merged": n}]}},
        3 => doc! {"$set": {"a": {"$slice": [{"$ifNull": ["$a", []]}, 2]}}},
        4 => {
            doc! {"$set": {"a": {"$concatArrays": [[n], {"$cond": [{"$isArray": "$a"}, "$a", []]}]}}}
        }
        5 => doc! {"$set": {"s": {"$concat": [{"$toString": "$_id"}, "-", dice.word(2)]}}},
        6 => doc! {"$project": {"s": 0, "sub.deep": 0}},
        _ => doc! {"$addFields": {"when": "$$NOW", "copy": "$sub"}},
    };
    vec![stage]
}

/// Any value that a driver would send.
fn any(dice: &Dice) -> Bson {
    let (kind, value) = values::value(dice, Oddness::Tame, 2);
    let document = raw(values::Raw::new().put(b"v", &(kind, value)).bytes());
    let document = Document::try_from(document).expect("a tame value");
    document.get("v").cloned().unwrap_or(Bson::Null)
}
