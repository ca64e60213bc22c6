//! Ops Manager's public API, version 1.0, for its backup resources: paths, names and values as its documentation has them.
//!
//! What has no meaning here is left out of answers, or says what is so anyhow; in requests it is accepted where it says
//! what is so anyhow, or may be echoed from an answer, and is refused with a code otherwise ([`body`]). What is accepted
//! and has no effect is named in docs/operating.md.

mod admin;
mod agents;
mod alert_configs;
mod alerts;
mod body;
mod clusters;
mod configs;
mod events;
mod groups;
mod keys;
mod links;
mod orgs;
mod placement;
mod ranges;
mod restores;
mod schedule;
mod snapshots;
mod uri;
mod words;

use crate::route::Route;

/// Where it lies.
pub(crate) const BASE: &str = "/api/public/v1.0";

/// The header by which clients tell which version of Ops Manager they talk to, and so which fields there are: those of 8.0.
pub(crate) const VERSION: (&str, &str) = (
    "x-mongodb-service-version",
    concat!("gitHash=bygone-", env!("CARGO_PKG_VERSION"), "; versionString=8.0.0"),
);

/// All its routes.
pub(crate) fn routes() -> Vec<Route> {
    let parts = [
        groups::routes(),
        orgs::routes(),
        clusters::routes(),
        configs::routes(),
        schedule::routes(),
        snapshots::routes(),
        ranges::routes(),
        restores::routes(),
        alerts::routes(),
        alert_configs::routes(),
        events::routes(),
        agents::routes(),
        admin::routes(),
        placement::routes(),
        keys::routes(),
    ];
    parts.into_iter().flatten().collect()
}
