//! How long snapshots are kept: by tiers, and by what an operator says of one.

use bygone_tests::{
    ReplicaSet, Version,
    wait::{self, PATIENCE},
};
use serde_json::Value;

use crate::{
    bad_input::{orders, says, told},
    spine::{Backup, complete, interrupted},
};

async fn snapshots(backup: &Backup) -> Vec<Value> {
    let list = backup.command("snapshots").arg("--json").run().await.expect_code(0);
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    list["snapshots"].as_array().unwrap().clone()
}

fn id(snapshot: &Value) -> String {
    snapshot["id"].as_str().unwrap().to_owned()
}

/// Snapshots every two seconds are kept for six; the first of the day for two days, and one for ever.
#[tokio::test]
async fn tiers_and_what_an_operator_says() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    orders(&client, 0, 200).await;
    let backup = Backup::new();
    let up = backup.up(&set.uri()).arg("--keep-every").arg("6s").arg("--keep-daily").arg("2");
    let mut up = up.arg("--window").arg("0s").start();
    complete(&mut up).await;
    let rounds = std::sync::atomic::AtomicI32::new(0);
    // A snapshot is due only where something happened.
    let taken = async |more: usize| {
        let before: Vec<String> = snapshots(&backup).await.iter().map(id).collect();
        let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
        wait::until("snapshots", PATIENCE * 2, async || {
            let round = rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            orders(&client, 1000 + round * 10, 5).await;
            let now = snapshots(&backup).await;
            let mut seen = seen.lock().unwrap();
            seen.extend(now.iter().map(id).filter(|id| !before.contains(id)));
            (seen.len() >= more).then_some(())
        })
        .await;
    };
    taken(2).await;
    let early = snapshots(&backup).await;
    let (first, second) = (id(&early[0]), id(&early[1]));
    let keep = async |words: &[&str]| {
        let command = words.iter().fold(backup.command("keep"), |c, word| c.arg(word));
        command.run().await
    };
    let said = keep(&[&second, "--for-ever"]).await.expect_code(0);
    assert!(said.stdout.contains("kept for ever"), "{}", said.stdout);
    taken(6).await;
    let shown = backup.command("snapshots").run().await.expect_code(0);
    interrupted(up).await;
    let late = snapshots(&backup).await;
    let ids: Vec<String> = late.iter().map(id).collect();
    assert!(ids.contains(&first), "the first of the day: {}", shown.stdout);
    assert!(ids.contains(&second), "kept for ever: {}", shown.stdout);
    assert!(!ids.contains(&id(&early[early.len() - 1])) || early.len() == 2, "{}", shown.stdout);
    assert!((2..8).contains(&ids.len()), "those of six seconds have gone: {}", shown.stdout);
    assert_eq!(late[1]["kept_for_ever"], true);
    assert!(late[0]["kept_until"].is_string());
    let told_of =
        |line: &str| shown.stdout.lines().any(|l| l.contains(&second) && l.contains(line));
    assert!(told_of("kept for ever"), "{}", shown.stdout);
    backup.verify().await;

    // Let go again, it goes with the next snapshot; a backup without tiers leaves the others alone.
    let _ = keep(&[&second, "--until", "2020-01-01T00:00:00Z"]).await.expect_code(0);
    orders(&client, 900_000, 5).await;
    let one_more = backup.backup(&set.uri()).arg("--keep-last").arg("1").arg("--window").arg("0s");
    let _ = one_more.run().await.expect_code(0);
    let ids: Vec<String> = snapshots(&backup).await.iter().map(id).collect();
    assert!(ids.contains(&first) && !ids.contains(&second), "{ids:?}");
    let line = told(&keep(&[&second, "--for-ever"]).await, 2);
    says(&line, &["there is no snapshot", &second]);
    let line = told(&keep(&[&first, "--until", "latest"]).await, 2);
    says(&line, &["--until needs an instant"]);
    let bad =
        backup.backup(&set.uri()).arg("--keep-daily").arg("3").arg("--zone").arg("Mars/Olympus");
    says(&told(&bad.run().await, 2), &["Mars/Olympus", "not a time zone"]);
}
