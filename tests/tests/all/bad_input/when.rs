//! Moments that cannot be restored: the line says what can.

use bygone_tests::{ReplicaSet, Version, oracle};

use super::{orders, says, told};
use crate::spine::Backup;

#[tokio::test]
async fn a_moment_outside_the_ranges_lists_them() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    orders(&client, 0, 50).await;
    let before = oracle::now(&client).await;
    let backup = Backup::new();
    let _ = backup.backup(&set.uri()).run().await.expect_code(0);
    let listed = backup.command("snapshots").arg("--json").run().await.expect_code(0);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let end = listed["ranges"][0]["to"].as_str().unwrap().to_owned();
    let from = listed["ranges"][0]["from"].as_str().unwrap().to_owned();
    assert!(before.to_string() <= from);

    let asked = async |at: &str, code| told(&backup.restore(&set.uri(), at).run().await, code);
    let later = format!("{}:1", before.secs() + 100_000);
    for outside in ["2001-01-01T00:00:00Z", "2100-01-01T00:00:00.5Z", "1000:1", &later] {
        let line = asked(outside, 1).await;
        says(&line, &["cannot be restored", &from, &end]);
    }
    let line = asked("20010101T000000Z-00000000", 1).await;
    says(&line, &["20010101T000000Z-00000000"]);
    for nonsense in ["yesterday", "12:", "2026-13-01T00:00:00Z", ""] {
        let line = asked(nonsense, 2).await;
        says(&line, &[nonsense, "latest"]);
    }
    let waited = backup.command("status").arg("--wait-for").arg(&later).arg("--timeout").arg("1s");
    let line = told(&waited.run().await, 1);
    says(&line, &["waited in vain", &end]);
}
