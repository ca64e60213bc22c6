//! Commands that make collections, views and indexes on the target.

use bygone_base::{ErrorKind, Result};
use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture};

use crate::{
    create::{Command, Create},
    indexes::IndexPlan,
    names::Namespace,
    plan::CollectionPlan,
    progress::Meter,
    raw::{self, Build},
    target::{Target, denied_hint},
};

/// Index builds at once: two commands were twice as fast as one after the other.
const BUILDS: usize = 2;

/// Drops a namespace; gone already is fine.
pub(crate) async fn drop(target: &Target, name: &Namespace) -> Result<()> {
    let body = Build::new().str("drop", &name.coll).majority().finish();
    let dropped = target.run(&format!("drop {name}"), &Command { db: name.db.clone(), body }).await;
    match dropped {
        Err(failed) if failed.kind() == ErrorKind::NotFound => Ok(()),
        Err(failed) => Err(denied_hint(failed, "restore")),
        Ok(_) => Ok(()),
    }
}

/// Creates a collection or a view that is not there.
pub(crate) async fn create(target: &Target, create: &Create) -> Result<()> {
    let Some(command) = &create.command else { return Ok(()) };
    let what = format!("create {}", create.name);
    match target.make(&what, command).await {
        Err(failed) if failed.kind() == ErrorKind::Conflict => {
            Err(failed.hint("somebody else made it meanwhile; repeat with --drop"))
        }
        Err(failed) => Err(denied_hint(failed, "restore")),
        Ok(()) => {
            let what = format!("make {} capped", create.name);
            for convert in &create.convert {
                target.run(&what, convert).await.map_err(|e| denied_hint(e, "restore"))?;
            }
            Ok(())
        }
    }
}

/// Builds the indexes of a collection: those by which documents expire, or the
/// others. Gives warnings.
pub(crate) async fn indexes(
    target: &Target,
    plan: &CollectionPlan,
    expiring: bool,
    meter: &Meter,
) -> Result<Vec<String>> {
    let mut builds: Vec<BoxFuture<'_, Result<Option<String>>>> = Vec::new();
    for index in plan.indexes.iter().filter(|index| index.expires == expiring) {
        builds.push(Box::pin(counted(target, &plan.target, index, meter)));
    }
    let built = futures::stream::iter(builds).buffer_unordered(BUILDS);
    let warnings: Vec<_> = built.try_collect().await?;
    Ok(warnings.into_iter().flatten().collect())
}

async fn counted(
    target: &Target,
    coll: &Namespace,
    index: &IndexPlan,
    meter: &Meter,
) -> Result<Option<String>> {
    let warning = build(target, coll, index).await?;
    meter.change(|p| p.indexes += 1);
    Ok(warning)
}

async fn build(target: &Target, coll: &Namespace, index: &IndexPlan) -> Result<Option<String>> {
    let what = format!("build index {} of {coll}", index.name);
    let command = index.command(coll);
    match target.run(&what, &command).await {
        Ok(_) => Ok(None),
        // Very old servers stored any option; newer ones refuse what they do not know.
        Err(failed) if failed.message().ends_with("(code 197)") => {
            let mut body = Build::new();
            for field in raw::fields(&command.body) {
                body = body.field(&field?);
            }
            let body = body.bool("ignoreUnknownIndexOptions", true).finish();
            target.run(&what, &Command { db: command.db, body }).await?;
            Ok(Some(format!("{failed}; built without the options that are not known")))
        }
        Err(failed) => Err(denied_hint(failed, "restore")),
    }
}

/// Drops the indexes that a server makes by itself with a time-series: the source may have changed or dropped
/// them since, and those that it has are built with the others. `coll` is new, and is the time-series or its
/// buckets. Gives the names of those that the user may not drop.
pub async fn drop_made_indexes(target: &Target, coll: &Namespace) -> Result<Vec<String>> {
    let body = Build::new().str("listIndexes", &coll.coll).command()?;
    let there = match target.cursor(&format!("list indexes of {coll}"), &coll.db, body).await {
        // Without the right to look nothing is dropped.
        Err(failed) if failed.kind() == ErrorKind::Denied => return Ok(Vec::new()),
        there => there?,
    };
    let mut left = Vec::new();
    for index in &there {
        let name = raw::text(index.as_bytes(), "name").unwrap_or_default();
        if raw::is_true(index.as_bytes(), "clustered") || name == "_id_" {
            continue;
        }
        let body = Build::new().str("dropIndexes", &coll.coll).str("index", name).majority();
        let command = Command { db: coll.db.clone(), body: body.finish() };
        match target.run(&format!("drop index {name} of {coll}"), &command).await {
            Err(failed) if failed.kind() == ErrorKind::Denied => left.push(name.to_owned()),
            done => done.map(|_| ())?,
        }
    }
    Ok(left)
}
