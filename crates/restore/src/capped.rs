//! Loads a capped collection in the order in which its documents entered it:
//! one connection, ordered inserts, so that natural order on the target is the source's.
//!
//! It may hold more than its limits: after a collMod or an update that grew, until something is inserted. Then
//! the target's limits are widened while it is loaded.

use bygone_base::{Error, Result};
use bygone_tree::capped::Limits;

use crate::{
    batch::Cutter,
    create::Command,
    hash::StreamHash,
    insert::{self, Inserted, Into},
    load::{self, Loaded, Shared},
    names::Namespace,
    plan::CollectionPlan,
    raw::Build,
    version::ServerVersion,
};

/// `cappedMax` of a collection without one.
const NO_LIMIT: i64 = -1;
/// The BSON type of a 64-bit integer.
const INT64: u8 = 0x12;

/// Loads the collection.
pub(crate) async fn load(
    shared: &Shared,
    plan: &CollectionPlan,
    limits: Limits,
    into: &Into,
) -> Result<Loaded> {
    let mut ordered = shared.documents.open_in_order(plan.id).await?;
    let fits = limits.hold(ordered.documents, ordered.bytes);
    if !fits {
        resize(shared, plan, ordered.bytes, limits.max_docs.map(|_| NO_LIMIT)).await?;
    }
    let mut hash = shared.hash.then(|| StreamHash::new(plan.method));
    let mut loaded = Loaded::default();
    while let Some(chunk) = ordered.stream.next().await? {
        let mut cutter = Cutter::default();
        loaded.documents += chunk.count;
        loaded.bytes += chunk.documents.len() as u64;
        if let Some(hash) = &mut hash {
            hash.update(&chunk.documents);
        }
        let full = cutter.push(&chunk.documents)?;
        for batch in full.into_iter().chain(cutter.finish()) {
            insert::insert(&shared.target, into, &batch, &mut Inserted::default()).await?;
            load::inserted(shared, &batch);
        }
    }
    if !fits {
        let documents = limits.max_docs.map(|max| i64::try_from(max).unwrap_or(NO_LIMIT));
        resize(shared, plan, limits.max_bytes, documents).await?;
    }
    loaded.hash = hash.map(StreamHash::finish);
    Ok(loaded)
}

/// Sets other limits. It drops nothing by itself: that comes with the next insert.
async fn resize(
    shared: &Shared,
    plan: &CollectionPlan,
    bytes: u64,
    documents: Option<i64>,
) -> Result<()> {
    let Namespace { db, coll } = &plan.target;
    if shared.version < ServerVersion::new(6, 0) {
        return Err(Error::unsupported(format!(
            "{} held more than its capped size; servers before 6.0 cannot load that",
            plan.source
        ))
        .hint("restore to a newer server, or leave it out with --ns-exclude"));
    }
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).to_le_bytes();
    let mut body = Build::new().str("collMod", coll).element(INT64, b"cappedSize", &bytes);
    if let Some(documents) = documents {
        body = body.element(INT64, b"cappedMax", &documents.to_le_bytes());
    }
    let body = body.majority().finish();
    let what = format!("set the limits of {}", plan.target);
    shared.target.run(&what, &Command { db: db.clone(), body }).await?;
    Ok(())
}
