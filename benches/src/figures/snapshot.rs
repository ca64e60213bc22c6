//! The second backup, after one in a hundred documents of one collection was updated.

use std::{path::Path, process::Command};

use super::sync;
use crate::{
    context::Context,
    data::{KINDS, update_random},
    measure::{Cost, files, median, middle, new_bytes},
    report::Report,
};

/// A restic command on a repository.
fn restic(repository: &Path) -> Command {
    let mut command = Command::new("restic");
    command.env("RESTIC_PASSWORD", "bench").arg("--repo").arg(repository).arg("--quiet");
    command.arg("--no-cache");
    command
}

/// mongodump and restic of what it wrote; the cost and the bytes that are new.
async fn dump_and_restic(context: &Context, repository: &Path, folder: &Path) -> (Cost, u64) {
    let before = files(repository);
    let _ = std::fs::remove_dir_all(folder);
    let (dump, _) = sync::dump(context, folder).await;
    let mut command = restic(repository);
    command.arg("backup").arg(folder);
    let (stored, _) = context.run(command, None).await;
    (dump.then(stored), new_bytes(&before, &files(repository)))
}

/// `bygone backup` again; the cost and the bytes that are new.
pub async fn again(
    context: &Context,
    server: &crate::context::Server,
    store: &Path,
) -> (Cost, u64) {
    let before = files(store);
    let (cost, _) = context.backup(server, store).await;
    (cost, new_bytes(&before, &files(store)))
}

/// After 1 % random updates.
pub async fn snapshot(context: &Context) -> Report {
    let (repository, folder, store) =
        (context.path("restic"), context.path("dump"), context.path("store"));
    let source = context.source();
    let mut init = restic(&repository);
    init.arg("init");
    context.run(init, None).await;
    let first = dump_and_restic(context, &repository, &folder).await;
    let own_first = again(context, source, &store).await;
    let (mut peers, mut own, mut peer_bytes, mut own_bytes) = (vec![], vec![], vec![], vec![]);
    let docs = KINDS[0].docs;
    for round in 0..context.rounds {
        update_random(&source.client, docs, docs / 100, u64::from(round)).await;
        source.settle().await;
        let (cost, bytes) = dump_and_restic(context, &repository, &folder).await;
        peers.push(cost);
        peer_bytes.push(bytes as f64);
        let (cost, bytes) = again(context, source, &store).await;
        own.push(cost);
        own_bytes.push(bytes as f64);
    }
    let (peer, own) = (median(&peers), median(&own));
    let (peer_new, own_new) = (middle(peer_bytes), middle(own_bytes));
    let mut report = Report::default();
    let what = "second backup, 1 % updated: new bytes / mongodump + restic";
    report.at_most("snapshot/bytes", what, 0.02, own_new / peer_new, "");
    report.at_most(
        "snapshot/wall",
        "the same: wall / mongodump + restic",
        0.1,
        own.wall / peer.wall,
        "",
    );
    report.costs(&[
        ("mongodump, restic: second backup", peer),
        ("`bygone backup`: second backup", own),
        ("mongodump, restic: first backup", first.0),
        ("`bygone backup`: first backup", own_first.0),
    ]);
    report.note(format!(
        "New bytes: {:.1} MB by restic (first backup {:.0} MB), {:.3} MB by bygone (first backup {:.0} MB).",
        peer_new / 1e6, first.1 as f64 / 1e6, own_new / 1e6, own_first.1 as f64 / 1e6
    ));
    for path in [repository, folder, store] {
        std::fs::remove_dir_all(path).expect("remove");
    }
    report
}
