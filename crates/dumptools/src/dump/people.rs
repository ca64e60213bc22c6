//! Users and roles of one database, kept beside its collections under names that no collection can have.

use bson::rawdoc;
use bygone_base::{Error, Result};

use super::Run;
use crate::{names::PEOPLE, report::plural};

/// One of the three collections of `admin`, for one database.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) db: String,
    /// Under which it is dumped.
    pub(super) name: String,
    collection: &'static str,
}

pub(super) fn sources(db: &str) -> Vec<Source> {
    let source = |collection| Source {
        db: db.to_owned(),
        name: format!("{PEOPLE}{collection}"),
        collection,
    };
    ["system.users", "system.roles", "system.version"].map(source).into()
}

/// Dumps one; gives how many documents.
pub(super) async fn dump(run: &Run<'_>, source: &Source) -> Result<u64> {
    let filter = match source.collection {
        "system.version" => rawdoc! {},
        _ => rawdoc! {"db": source.db.as_str()},
    };
    let command = rawdoc! {"find": source.collection, "filter": filter};
    let documents = run.connection.reader.documents("admin", command, "read users and roles").await;
    let documents = documents.map_err(Error::from)?;
    let mut lane = run.sink.lane(&source.db, &source.name)?;
    lane.push(documents.iter().map(Vec::as_slice)).await?;
    let (count, _) = lane.finish().await?;
    run.log.info(format_args!(
        "done dumping {}.{} ({})",
        source.db,
        source.name,
        plural(count, "document")
    ));
    Ok(count)
}
