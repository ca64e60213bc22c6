//! Ten times the data with the same changes.

use super::snapshot::again;
use crate::{
    context::{Context, Server},
    data::{KINDS, update_random},
    measure::{median, middle},
    report::Report,
};

/// Updates between two snapshots.
const UPDATES: u64 = 4000;

/// Snapshots of a tenth of the data and of all of it.
pub async fn growth(context: &Context) -> Report {
    let small = Server::loaded(10).await;
    let sides = [(&small, KINDS[0].docs / 10), (context.source(), KINDS[0].docs)];
    let stores = [context.path("store"), context.path("store")];
    for ((server, _), store) in sides.iter().zip(&stores) {
        again(context, server, store).await;
    }
    let mut costs = [Vec::new(), Vec::new()];
    let mut bytes = [Vec::new(), Vec::new()];
    for round in 0..context.rounds {
        for (side, (server, docs)) in sides.iter().enumerate() {
            // Different documents every time, on both sides the same number.
            update_random(&server.client, *docs, UPDATES, 500 + u64::from(round)).await;
            server.settle().await;
            let (cost, new) = again(context, server, &stores[side]).await;
            costs[side].push(cost);
            bytes[side].push(new as f64);
        }
    }
    let [small_cost, large_cost] = costs.map(|costs| median(&costs));
    let [small_new, large_new] = bytes.map(middle);
    let mut report = Report::default();
    let ratio = large_cost.wall / small_cost.wall;
    report.at_most(
        "growth/wall",
        "ten times the data, same changes: snapshot wall",
        1.2,
        ratio,
        "x",
    );
    report.at_most("growth/bytes", "the same: new bytes", 1.2, large_new / small_new, "x");
    report.costs(&[
        ("`bygone backup`, 0.12 GB", small_cost),
        ("`bygone backup`, 1.16 GB", large_cost),
    ]);
    report.note(format!(
        "{UPDATES} random updates each. New: {:.0} and {:.0} KB.",
        small_new / 1e3,
        large_new / 1e3
    ));
    stores.iter().for_each(|store| std::fs::remove_dir_all(store).expect("remove"));
    report
}
