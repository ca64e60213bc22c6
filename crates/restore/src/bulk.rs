//! The bulk loader alone, for what is restored from elsewhere than a store: batches into one collection, each exactly
//! once whatever happens on the way.

use bygone_base::Result;

use crate::{
    batch::Head,
    insert::{self, Into, Refusals},
    names::Namespace,
    raw::{Build, kind},
    target::Target,
    version::ServerVersion,
};

pub use crate::{
    batch::{Batch, Cutter},
    insert::Inserted,
};

/// How documents go into a collection.
#[derive(Debug, Clone)]
pub struct BulkOptions {
    /// One after the other; nothing behind a document that is refused.
    pub ordered: bool,
    /// Do not ask the validator.
    pub bypass_validation: bool,
    /// A write concern's document.
    pub write_concern: Vec<u8>,
    /// What becomes of documents that the target refuses.
    pub refusals: Refusals,
    /// The collection may hold documents from before this restore.
    pub existed: bool,
}

/// One collection that documents go into.
#[derive(Debug)]
pub struct Bulk {
    target: Target,
    into: Into,
}

impl Bulk {
    /// Into `name` of a server of `version`: of a time-series the collection of its buckets.
    pub fn new(
        target: &Target,
        name: &Namespace,
        version: ServerVersion,
        options: &BulkOptions,
    ) -> Bulk {
        let keeps = version.keeps_zero_timestamps();
        let (ordered, bypass) = (options.ordered, options.bypass_validation);
        let head = |concern: &[u8]| Head::with(name, ordered, keeps, bypass, concern);
        let into = Into {
            shown: name.without_buckets(),
            head: head(&options.write_concern),
            waiting: head(&Build::new().element(kind::INT32, b"w", &1_i32.to_le_bytes()).finish()),
            name: name.clone(),
            ordered,
            fix_zero_timestamps: !keeps,
            refusals: options.refusals,
            existed: options.existed,
        };
        Bulk { target: target.clone(), into }
    }

    /// Inserts a batch; what went in and what did not is told in `inserted`, also before a failure.
    ///
    /// # Errors
    /// Whatever is not a refused document; a refused one with [`Refusals::Fail`].
    pub async fn insert(&self, batch: &Batch, inserted: &mut Inserted) -> Result<()> {
        insert::insert(&self.target, &self.into, batch, inserted).await
    }
}
