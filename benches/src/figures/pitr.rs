//! A moment between snapshots, against a plain restore of the same state.

use crate::{
    context::{Context, Server, bygone},
    data::mixed,
    figures::sync,
    measure::median,
    report::Report,
};

/// Operations after the snapshot.
const OPERATIONS: u64 = 300_000;

/// Restores of the snapshot with 300,000 operations after it, and of a dump of the final state.
pub async fn pitr(context: &Context) -> Report {
    let (source, store, dump) = (context.source(), context.path("store"), context.path("dump"));
    context.backup(source, &store).await;
    mixed(&source.client, OPERATIONS).await;
    context.follow(source, &store).await;
    sync::dump(context, &dump).await;
    source.settle().await;
    let hash = source.hash().await;
    let (mut peers, mut own) = (Vec::new(), Vec::new());
    for _ in 0..context.rounds {
        let target = Server::start().await;
        let mut restore = context.tool("mongorestore");
        restore.args(["--quiet", "--uri", &target.uri(), "--dir"]).arg(&dump);
        peers.push(context.run(restore, Some(target.pid())).await.0);
        assert_eq!(target.hash().await, hash, "mongorestore");
        drop(target);
        let target = Server::start().await;
        let mut restore = bygone("restore", &store);
        restore.env("BYGONE_TO", target.uri());
        own.push(context.run(restore, Some(target.pid())).await.0);
        assert_eq!(target.hash().await, hash, "bygone restore");
    }
    let (peer, own) = (median(&peers), median(&own));
    let mut report = Report::default();
    let what = "restore of a snapshot + 300,000 operations: wall / mongorestore";
    report.at_most("pitr/wall", what, 0.9, own.wall / peer.wall, "");
    report.at_most("pitr/cpu", "the same: client CPU / mongorestore", 0.4, own.cpu / peer.cpu, "");
    report
        .costs(&[("mongorestore of the final state", peer), ("`bygone restore --at latest`", own)]);
    report.note("The target's dbHash was that of the source after every restore.");
    std::fs::remove_dir_all(store).expect("remove");
    std::fs::remove_dir_all(dump).expect("remove");
    report
}
