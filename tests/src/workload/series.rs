//! Measurements. 5.0.3 ends by itself when a field mixes null, scalars and
//! documents in one bucket, so the types of a field never change here.

use bson::{Bson, DateTime, Document, doc};

use super::{
    run::Runner,
    world::{Known, Nature},
};

impl Runner<'_> {
    pub(super) async fn measure(&mut self) {
        let Some(known) = self.series_collection() else { return };
        let base = 1_700_000_000_000 + self.dice.between(0, 50) * 3_600_000;
        let ordered = self.dice.percent(50);
        let measurements: Vec<Document> = (0..1 + self.dice.below(40))
            .map(|_| {
                let mut measurement = doc! {
                    "at": DateTime::from_millis(base + self.dice.between(0, 5_000_000)),
                    "meta": {"sensor": self.dice.between(0, 3), "room": "a"},
                    "value": f64::from(self.dice.small()) / 10.0,
                };
                if self.dice.percent(70) {
                    measurement.insert("count", self.dice.small());
                }
                if self.dice.percent(20) {
                    measurement.insert("text", self.dice.word(6));
                }
                measurement
            })
            .collect();
        let collection = self.database(&known).collection::<Document>(&known.name);
        let done = collection.insert_many(measurements).ordered(ordered).await;
        self.count(done);
    }

    pub(super) async fn change_measurements(&mut self) {
        let Some(known) = self.series_collection() else { return };
        let sensor = self.dice.between(0, 3);
        let command = match self.dice.below(3) {
            0 => {
                let filter = doc! {"meta.sensor": sensor};
                let update = doc! {"q": filter, "u": {"$set": {"meta.room": self.dice.word(3)}}, "multi": true};
                doc! {"update": &known.name, "updates": [update]}
            }
            1 => {
                let delete = doc! {"q": {"meta.sensor": sensor}, "limit": 0};
                doc! {"delete": &known.name, "deletes": [delete]}
            }
            _ => {
                let filter = doc! {"value": {"$gt": f64::from(self.dice.small()) / 10.0}};
                let delete = doc! {"q": filter, "limit": Bson::Int32(0)};
                doc! {"delete": &known.name, "deletes": [delete]}
            }
        };
        self.command(&known.db, command).await;
    }

    fn series_collection(&mut self) -> Option<Known> {
        let found = self.world.pick(self.dice, |known| known.nature == Nature::Series);
        self.or_skip(found)
    }
}
