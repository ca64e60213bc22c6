//! The dashboard in a real browser: tests/browser drives Chromium over the real server and real replica sets.

use std::{fs, path::Path};

use bson::doc;
use bygone_tests::{ReplicaSet, Version, process::Bygone, wait::PATIENCE};
use tokio::process::Command;

/// Something to back up.
async fn fill(set: &ReplicaSet) {
    let orders = set.client().await.database("shop").collection("orders");
    let many = (0..5000).map(|id| doc! {"_id": id, "state": "paid", "sum": id * 7 % 1000});
    orders.insert_many(many).await.unwrap();
    orders
        .create_index(mongodb::IndexModel::builder().keys(doc! {"sum": 1}).build())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_from_the_first_link_to_terminate() {
    let (source, target) =
        tokio::join!(ReplicaSet::single(Version::V8_2), ReplicaSet::single(Version::V8_2));
    fill(&source).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let config = at("bygone.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\ndata = {:?}\nagent = true\n\n[[store]]\nid = \"main\"\nurl = \"file://{}\"\n",
        at("data"),
        at("store"),
    );
    fs::write(&config, text).unwrap();
    let mut server = Bygone::new(["server", "--config", &config]).start();
    let line = server.line(PATIENCE, |line| line.contains("/welcome/")).await;
    let welcome = line.split_whitespace().find(|word| word.contains("/welcome/")).unwrap();
    let (url, _) = welcome.split_once("/welcome/").unwrap();

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new("node")
        .args(["--test", "--test-reporter=spec"])
        .arg(root.join("browser/dashboard.test.mjs"))
        .env("BYGONE_URL", url)
        .env("BYGONE_WELCOME", welcome)
        .env("BYGONE_SOURCE", source.uri())
        .env("BYGONE_TARGET", target.uri())
        .env("BYGONE_SECOND", format!("file://{}", at("second")))
        .kill_on_drop(true)
        .output()
        .await
        .expect("run node: scripts/get-browser says what is missing");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\nthe server:\n{}", server.stderr());
    server.terminate();
    let _ = server.wait(PATIENCE).await.expect_code(0);
}
