//! bygone's own API: what Ops Manager's has no words for. Times are RFC 3339 in UTC, moments of the cluster `SECS:INC`,
//! spans seconds, sizes bytes. Unknown fields and parameters are refused with their names.

mod agents;
mod alerts;
mod events;
mod grants;
mod grooms;
mod jobs;
mod keys;
mod moments;
mod projects;
mod restores;
mod schedule;
mod settings;
mod snapshots;
mod stores;
mod stream;
mod upkeep;
mod users;
mod view;

use serde::Serialize;

use crate::route::Route;
use crate::schema::JsonSchema;

/// It was done, and there is nothing to say.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Done {
    done: bool,
}

impl Done {
    fn yes() -> Done {
        Done { done: true }
    }
}

/// All its routes.
pub(crate) fn routes() -> Vec<Route> {
    let parts = [
        projects::routes(),
        jobs::routes(),
        snapshots::routes(),
        restores::routes(),
        stream::routes(),
        stores::routes(),
        grooms::routes(),
        users::routes(),
        keys::routes(),
        agents::routes(),
        settings::routes(),
        upkeep::routes(),
        events::routes(),
        alerts::routes(),
    ];
    parts.into_iter().flatten().collect()
}
