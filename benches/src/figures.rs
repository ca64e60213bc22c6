//! What is compared with what.

mod cost;
mod dump;
mod growth;
mod head;
mod jobs;
mod lag;
mod pitr;
mod snapshot;
mod sync;

use crate::{context::Context, report::Report};

/// Runs a bench by its name.
pub async fn run(name: &str, context: &Context) -> Report {
    match name {
        "sync" => sync::one_process(context).await,
        "network" => sync::network(context).await,
        "head" => head::head(context).await,
        "snapshot" => snapshot::snapshot(context).await,
        "growth" => growth::growth(context).await,
        "pitr" => pitr::pitr(context).await,
        "lag" => lag::lag(context).await,
        "dump" => dump::dumps(context).await,
        "restore-dump" => dump::restores(context).await,
        "bsondump" => dump::documents(context).await,
        "cost" => cost::cost(context).await,
        "jobs" => jobs::jobs(context).await,
        "jobs-soak" => jobs::soak(context).await,
        other => panic!("no bench {other:?}"),
    }
}

/// Value at `part` of a hundred.
fn percentile(sorted: &[f64], part: usize) -> f64 {
    let at = (sorted.len() * part / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::INFINITY)
}
