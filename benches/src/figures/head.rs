//! From stored slices to runs, and from runs to folded leaves.

use std::fs;

use bson::doc;

use crate::{
    context::{Context, part, url},
    data::{DB, KINDS, ORDERS},
    measure::middle,
    report::Report,
};

/// How often every order is updated: what is dense enough to be folded.
const PASSES: u64 = 3;

/// One run of the part: how it went, as JSON.
async fn once(context: &Context) -> serde_json::Value {
    let (source, store) = (context.source(), context.path("store"));
    context.backup(source, &store).await;
    for pass in 0..PASSES {
        let set = doc! {"$inc": {"count": 1}, "$set": {"total": pass as f64 + 0.5}};
        let update = doc! {"q": {}, "u": set, "multi": true};
        let command = doc! {"update": ORDERS, "updates": [update]};
        source.client.database(DB).run_command(command).await.expect("update");
    }
    context.follow(source, &store).await;
    let mut command = part("part-head");
    command.arg(url(&store));
    let (cost, output) = context.run(command, None).await;
    fs::remove_dir_all(&store).expect("remove the store");
    let mut found: serde_json::Value = serde_json::from_str(output.trim()).expect("JSON");
    found["rss"] = cost.rss.into();
    found
}

/// Slices to runs, and a fold.
pub async fn head(context: &Context) -> Report {
    let mut found = Vec::new();
    for _ in 0..context.rounds.div_ceil(2) {
        found.push(once(context).await);
    }
    let of = |name: &str| middle(found.iter().map(|f| f[name].as_f64().unwrap_or(0.0)).collect());
    let docs = KINDS[0].docs as f64;
    let mut report = Report::default();
    let runs = of("spilled") / of("read_cpu");
    report.at_least(
        "head/runs",
        "from stored slice to run, per CPU second",
        500_000.0,
        runs,
        "ops",
    );
    let fold = of("ops") / of("fold_cpu");
    report.at_least("head/fold", "fold of dense updates, per CPU second", 400_000.0, fold, "ops");
    report.note(format!(
        "{} operations (diffs of two numbers, {:.1} per document of 970 bytes) in {:.2} s wall and {:.2} s CPU from slices to \
         runs ({} of them spilled), then folded in {:.2} s wall and {:.2} s CPU: {} leaves written, {} runs left. Peak \
         memory {:.0} MB.",
        of("ops"), of("ops") / docs, of("read"), of("read_cpu"), of("spilled"), of("fold"), of("fold_cpu"),
        of("folded"), of("runs_left"), of("rss")
    ));
    report
}
