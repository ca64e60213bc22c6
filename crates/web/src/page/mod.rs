//! The pages. Each has its routes, reads what it shows from the control plane, and is drawn by pure functions.

use axum::Router;

use crate::site::Site;

mod alerts;
mod confirm;
pub(crate) mod download;
mod events;
mod job;
mod job_edit;
mod job_new;
mod keys;
mod login;
mod overview;
mod projects;
mod restore_new;
mod restores;
mod schedule;
mod settings;
mod snapshots;
mod stores;
mod users;

/// All of them.
pub(crate) fn routes() -> Router<Site> {
    [
        login::routes(),
        projects::routes(),
        overview::routes(),
        job::routes(),
        job_new::routes(),
        job_edit::routes(),
        schedule::routes(),
        confirm::routes(),
        download::routes(),
        snapshots::routes(),
        restore_new::routes(),
        restores::routes(),
        alerts::routes(),
        events::routes(),
        keys::routes(),
        users::routes(),
        stores::routes(),
        settings::routes(),
    ]
    .into_iter()
    .fold(Router::new(), Router::merge)
}
