//! The kinds of operations, how often each comes, and which servers know it.

use crate::Version;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident, $weight:literal, $since:ident;)*) => {
        /// A kind of operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Kind] = &[$(Kind::$name,)*];

            /// How often it comes, relative to the others.
            pub fn weight(self) -> u32 {
                match self { $(Kind::$name => $weight,)* }
            }

            /// The first version that tests use it on.
            pub fn since(self) -> Version {
                match self { $(Kind::$name => Version::$since,)* }
            }
        }
    };
}

kinds! {
    /// One document.
    InsertOne, 60, V4_4;
    /// Several documents at once, retryable.
    InsertMany, 50, V4_4;
    /// Several documents, unordered, some of them twice.
    InsertUnordered, 20, V4_4;
    /// Several documents as a plain command without a transaction number.
    InsertCommand, 20, V4_4;
    /// A document of several MB, rarely of just under 16 MB.
    InsertLarge, 2, V4_4;
    /// `updateOne` with operators.
    UpdateOne, 100, V4_4;
    /// `updateMany` with operators.
    UpdateMany, 30, V4_4;
    /// An aggregation pipeline as an update.
    UpdatePipeline, 30, V4_4;
    /// `replaceOne`.
    Replace, 40, V4_4;
    /// Upserts by operators, replacement and pipeline.
    Upsert, 30, V4_4;
    /// `findAndModify` of every form.
    FindAndModify, 30, V4_4;
    /// `deleteOne`.
    DeleteOne, 30, V4_4;
    /// `deleteMany`.
    DeleteMany, 10, V4_4;
    /// Several writes of different kinds in one call, over collections where the server can.
    BulkWrite, 20, V4_4;
    /// Values and ids whose numbers are equal but of another type.
    Renumber, 10, V4_4;
    /// Puts the top level in another order, or moves fields.
    MoveFields, 10, V4_4;
    /// `applyOps` as a user's command.
    ApplyOps, 4, V4_4;
    /// A note in the oplog.
    Note, 3, V4_4;
    /// A transaction over several collections.
    Transaction, 25, V4_4;
    /// A transaction that is aborted.
    AbortedTransaction, 5, V4_4;
    /// A transaction that creates a collection and an index.
    CreatingTransaction, 4, V4_4;
    /// A transaction of more than 16 MB.
    LargeTransaction, 1, V4_4;
    /// A prepared transaction with writes between prepare and commit.
    PreparedTransaction, 6, V4_4;
    /// `create` with options of every kind.
    Create, 20, V4_4;
    /// `create` of a view.
    CreateView, 6, V4_4;
    /// `collMod` of validators, capped sizes, pre-images, nothing at all.
    Modify, 12, V4_4;
    /// `collMod` of a view.
    ModifyView, 4, V4_4;
    /// `drop`.
    Drop, 6, V4_4;
    /// Dropped and created again at once.
    Recreate, 5, V4_4;
    /// `dropDatabase`.
    DropDatabase, 1, V4_4;
    /// `renameCollection` within a database.
    Rename, 8, V4_4;
    /// `renameCollection` onto an existing one.
    RenameOver, 5, V4_4;
    /// `renameCollection` across databases.
    RenameAcross, 4, V4_4;
    /// `$out`.
    Out, 6, V4_4;
    /// `$merge`.
    Merge, 6, V4_4;
    /// `convertToCapped`.
    ConvertToCapped, 3, V4_4;
    /// `cloneCollectionAsCapped`.
    CloneAsCapped, 2, V4_4;
    /// `emptycapped`, where the server has it.
    EmptyCapped, 2, V4_4;
    /// `createIndexes` of every kind.
    CreateIndexes, 25, V4_4;
    /// `dropIndexes` by name, pattern, list and `*`.
    DropIndexes, 10, V4_4;
    /// `collMod` of an index.
    ModifyIndex, 10, V4_4;
    /// Measurements into a time-series collection.
    Measure, 15, V5_0;
    /// Deletes and updates of measurements.
    ChangeMeasurements, 4, V7_0;
    /// Users and roles, created, changed and dropped.
    Account, 8, V4_4;
}

impl Kind {
    /// Whether it creates, changes, renames or drops collections, views or indexes.
    pub fn changes_catalogue(self) -> bool {
        use Kind as K;
        matches!(self, K::CreatingTransaction | K::CreateIndexes | K::DropIndexes | K::ModifyIndex)
            || (K::Create..=K::EmptyCapped).contains(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_get_no_time_series() {
        let known: Vec<&Kind> = Kind::ALL.iter().filter(|k| k.since() <= Version::V4_4).collect();
        assert!(known.len() > 40 && !known.contains(&&Kind::Measure));
    }
}
