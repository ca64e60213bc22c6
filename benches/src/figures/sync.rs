//! The initial sync, from the source to a durable first snapshot, in one process and over the network.

use std::{fs, path::Path, process::Command};

use crate::{
    context::{Context, LIMIT, part, url},
    measure::{Cost, files, median},
    report::Report,
};

/// mongodump to a folder, zstd of what it wrote, both made durable.
pub async fn dump_and_compress(context: &Context) -> (Cost, u64) {
    let folder = context.path("dump");
    let (dump, _) = dump(context, &folder).await;
    let mut zstd = Command::new("zstd");
    zstd.args(["-T2", "-1", "--rm", "-q"]).args(bson_files(&folder));
    let (zstd, _) = context.run(zstd, None).await;
    let mut sync = Command::new("sync");
    sync.args(files(&folder).into_iter().map(|(path, _)| path));
    let (sync, _) = context.run(sync, None).await;
    let size = files(&folder).iter().map(|(_, size)| size).sum();
    fs::remove_dir_all(&folder).expect("remove the dump");
    (dump.then(zstd).then(sync), size)
}

/// mongodump to a folder.
pub async fn dump(context: &Context, folder: &Path) -> (Cost, String) {
    let source = context.source();
    let mut dump = context.tool("mongodump");
    dump.args(["--quiet", "--uri", &source.uri(), "--out"]).arg(folder);
    context.run(dump, Some(source.pid())).await
}

fn bson_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let all = files(folder).into_iter().map(|(path, _)| path);
    all.filter(|path| path.extension().is_some_and(|e| e == "bson")).collect()
}

/// `bygone backup` into a new store.
async fn ours(context: &Context) -> (Cost, u64) {
    let store = context.path("store");
    let (cost, _) = context.backup(context.source(), &store).await;
    let size = files(&store).iter().map(|(_, size)| size).sum();
    fs::remove_dir_all(&store).expect("remove the store");
    (cost, size)
}

/// Agent and server as two processes, talking HTTP/2.
async fn over_network(context: &Context) -> (Cost, Cost) {
    let (store, source) = (context.path("store"), context.source());
    let before = source.cpu();
    let mut command = part("part-ingest");
    command.arg(url(&store));
    let mut server = context.start(command);
    let line = server.line("listening", LIMIT).await;
    let address = line.trim_start_matches("listening ").to_owned();
    let mut command = part("part-agent");
    command.args([&source.uri(), &address]);
    let agent = context.start(command);
    let (_, (agent, _)) = tokio::join!(server.line("snapshot", LIMIT), agent.end());
    server.interrupt();
    let (server, _) = server.end().await;
    let cpu = source.cpu() - before;
    fs::remove_dir_all(&store).expect("remove the store");
    (agent, Cost { server: cpu, ..server })
}

/// In one process.
pub async fn one_process(context: &Context) -> Report {
    let (mut peers, mut own) = (Vec::new(), Vec::new());
    let mut sizes = (0, 0);
    for _ in 0..context.rounds {
        let (peer, size) = dump_and_compress(context).await;
        peers.push(peer);
        sizes.0 = size;
        let (cost, size) = ours(context).await;
        own.push(cost);
        sizes.1 = size;
    }
    let (peer, own) = (median(&peers), median(&own));
    let mut report = Report::default();
    let what = "initial sync in one process, wall / mongodump + zstd -T2 -1";
    report.at_most("sync/wall", what, 0.9, own.wall / peer.wall, "");
    report.at_most("sync/memory", "peak memory of it", 256.0, own.rss, "MB");
    report.costs(&[
        ("mongodump to a folder, zstd -T2 -1, fsync", peer),
        ("`bygone backup`, new store", own),
    ]);
    report.note(format!(
        "Stored: {} MB by zstd, {} MB by bygone.",
        sizes.0 / 1_000_000,
        sizes.1 / 1_000_000
    ));
    report
}

/// Over the network.
pub async fn network(context: &Context) -> Report {
    let (mut peers, mut agents, mut servers, mut both) = (vec![], vec![], vec![], vec![]);
    for _ in 0..context.rounds {
        peers.push(dump_and_compress(context).await.0);
        let (agent, server) = over_network(context).await;
        let sum = Cost { cpu: agent.cpu + server.cpu, rss: agent.rss + server.rss, ..server };
        both.push(sum);
        agents.push(agent);
        servers.push(server);
    }
    let (peer, own) = (median(&peers), median(&both));
    let mut report = Report::default();
    let what = "initial sync over HTTP/2, wall / mongodump + zstd -T2 -1";
    report.at_most("network/wall", what, 1.3, own.wall / peer.wall, "");
    report.costs(&[
        ("mongodump to a folder, zstd -T2 -1, fsync", peer),
        ("agent and server, two processes", own),
        ("of which the agent", median(&agents)),
        ("of which the server", median(&servers)),
    ]);
    report
}
