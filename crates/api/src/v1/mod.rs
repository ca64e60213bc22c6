//! Ops Manager's public API, version 1.0, for its backup resources: paths, names and values as its documentation has them.
//!
//! What has no meaning here is left out of answers, and refused in requests with a code that says so; nothing is accepted
//! and then ignored but what a client may echo from an answer.

mod admin;
mod agents;
mod alerts;
mod clusters;
mod configs;
mod events;
mod groups;
mod links;
mod ranges;
mod restores;
mod schedule;
mod snapshots;

use crate::route::Route;

/// Where it lies.
pub(crate) const BASE: &str = "/api/public/v1.0";

/// All its routes.
pub(crate) fn routes() -> Vec<Route> {
    let parts = [
        groups::routes(),
        clusters::routes(),
        configs::routes(),
        schedule::routes(),
        snapshots::routes(),
        ranges::routes(),
        restores::routes(),
        alerts::routes(),
        events::routes(),
        agents::routes(),
        admin::routes(),
    ];
    parts.into_iter().flatten().collect()
}
