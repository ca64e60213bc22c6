//! The drop-in tools beside the stock ones: dump, restore, bsondump.

use std::{fs, path::Path, process::Command};

use crate::{
    context::{Context, Server, tool},
    measure::{Cost, files, median},
    report::Report,
};

/// One way to dump.
struct Way {
    name: &'static str,
    arguments: &'static [&'static str],
    /// The place is an archive.
    archive: bool,
}

const WAYS: [Way; 5] = [
    Way { name: "archive", arguments: &["-d", "shop", "-c", "orders"], archive: true },
    Way { name: "directory", arguments: &["-d", "shop", "-c", "orders"], archive: false },
    Way { name: "gzip-one", arguments: &["--gzip", "-d", "shop", "-c", "orders"], archive: false },
    Way { name: "gzip-all", arguments: &["--gzip"], archive: false },
    Way { name: "all", arguments: &[], archive: false },
];

fn dump(mut command: Command, uri: &str, way: &Way, place: &Path) -> Command {
    command.args(["--quiet", "--uri", uri]).args(way.arguments);
    command.arg(match way.archive {
        true => format!("--archive={}", place.display()),
        false => format!("--out={}", place.display()),
    });
    command
}

fn remove(path: &Path) -> u64 {
    let size = match path.is_dir() {
        true => files(path).into_iter().map(|(_, size)| size).sum(),
        false => fs::metadata(path).expect("what was written").len(),
    };
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.expect("remove what was written");
    size
}

/// Both tools in turn, by every way.
pub async fn dumps(context: &Context) -> Report {
    let source = context.source();
    let (uri, pid) = (source.uri(), Some(source.pid()));
    let mut report = Report::default();
    let mut rows: Vec<(String, Cost)> = Vec::new();
    for way in &WAYS {
        let (mut peers, mut own, mut sizes) = (Vec::new(), Vec::new(), (0, 0));
        for _ in 0..context.rounds {
            let place = context.path("dump");
            let stock = dump(context.tool("mongodump"), &uri, way, &place);
            peers.push(context.run(stock, pid).await.0);
            sizes.0 = remove(&place);
            own.push(context.run(dump(tool("mongodump"), &uri, way, &place), pid).await.0);
            sizes.1 = remove(&place);
        }
        let (peer, own) = (median(&peers), median(&own));
        let (wall, cpu) = match way.name {
            "archive" => (Some(0.45), Some(0.3)),
            "directory" => (Some(0.55), Some(0.35)),
            "gzip-one" => (Some(0.35), None),
            "gzip-all" => (Some(0.55), None),
            _ => (None, None),
        };
        let name = |field: &str| format!("dump/{}-{field}", way.name);
        if let Some(target) = wall {
            let what = format!("dump, {}: wall / mongodump", way.name);
            report.at_most(&name("wall"), &what, target, own.wall / peer.wall, "");
        }
        if let Some(target) = cpu {
            let what = format!("dump, {}: client CPU / mongodump", way.name);
            report.at_most(&name("cpu"), &what, target, own.cpu / peer.cpu, "");
        }
        let what = format!("dump, {}: memory / mongodump", way.name);
        report.at_most(&name("memory"), &what, 0.5, own.rss / peer.rss, "");
        if way.arguments.contains(&"--gzip") {
            let what = format!("dump, {}: size / mongodump", way.name);
            let ratio = sizes.1 as f64 / sizes.0.max(1) as f64;
            report.at_most(&name("size"), &what, 1.01, ratio, "");
        }
        rows.push((format!("mongodump, {}", way.name), peer));
        rows.push((format!("`bygone mongodump`, {}", way.name), own));
    }
    for pair in rows.chunks(2) {
        let pair: Vec<(&str, Cost)> = pair.iter().map(|(n, c)| (n.as_str(), *c)).collect();
        report.costs(&pair);
    }
    report
}

/// A dump of everything into an empty server, indexes included.
pub async fn restores(context: &Context) -> Report {
    let source = context.source();
    let place = context.path("dump");
    super::sync::dump(context, &place).await;
    source.settle().await;
    let hash = source.hash().await;
    let (mut peers, mut own) = (Vec::new(), Vec::new());
    for _ in 0..context.rounds {
        for stock in [true, false] {
            let target = Server::start().await;
            let mut restore =
                if stock { context.tool("mongorestore") } else { tool("mongorestore") };
            restore.args(["--quiet", "--uri", &target.uri(), "--dir"]).arg(&place);
            let cost = context.run(restore, Some(target.pid())).await.0;
            assert_eq!(target.hash().await, hash, "stock: {stock}");
            if stock { peers.push(cost) } else { own.push(cost) }
        }
    }
    remove(&place);
    let (peer, own) = (median(&peers), median(&own));
    let mut report = Report::default();
    let wall = "restore of a dump: wall / mongorestore";
    report.at_most("restore-dump/wall", wall, 0.7, own.wall / peer.wall, "");
    let cpu = "restore of a dump: client CPU / mongorestore";
    report.at_most("restore-dump/cpu", cpu, 0.15, own.cpu / peer.cpu, "");
    let memory = "restore of a dump: memory / mongorestore";
    report.at_most("restore-dump/memory", memory, 0.5, own.rss / peer.rss, "");
    report.costs(&[("mongorestore", peer), ("`bygone mongorestore`", own)]);
    report.note("The target's dbHash was that of the source after every restore.");
    report
}

/// One collection's file as text, to a file and to nowhere.
pub async fn documents(context: &Context) -> Report {
    let source = context.source();
    let place = context.path("dump");
    let all = dump(context.tool("mongodump"), &source.uri(), &WAYS[1], &place);
    context.run(all, Some(source.pid())).await;
    let file = place.join("shop/orders.bson");
    let out = context.path("text");
    let nowhere = Path::new("/dev/null");
    let mut report = Report::default();
    for (to, name, target) in [(&*out, "file", 10.0), (nowhere, "nowhere", 20.0)] {
        let (mut peers, mut own) = (Vec::new(), Vec::new());
        for _ in 0..context.rounds {
            for stock in [true, false] {
                let mut show = if stock { context.tool("bsondump") } else { tool("bsondump") };
                show.arg("--quiet").arg("--outFile").arg(to).arg(&file);
                let cost = context.run(show, None).await.0;
                if stock { peers.push(cost) } else { own.push(cost) }
            }
        }
        let (peer, own) = (median(&peers), median(&own));
        let what = format!("bsondump to {name}: times as fast as the stock one");
        report.at_least(&format!("bsondump/{name}"), &what, target, peer.wall / own.wall, "");
        let what = format!("bsondump to {name}: memory / the stock one");
        report.at_most(&format!("bsondump/{name}-memory"), &what, 0.5, own.rss / peer.rss, "");
        report.costs(&[("bsondump", peer), ("`bygone bsondump`", own)]);
    }
    fs::remove_file(&out).expect("remove the text");
    remove(&place);
    report
}
