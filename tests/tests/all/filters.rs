//! Backups of some namespaces only: what is covered arrives, whatever way it came into coverage, and
//! nothing else does.

use bson::{Document, doc};
use bygone_tests::{
    ClusterState, ReplicaSet, Version, diff, oracle,
    process::{Bygone, Output},
    state_at,
};
use mongodb::Client;

use crate::spine::{Backup, complete, interrupted, mark};

/// Collections of three databases with a few documents each.
async fn three(client: &Client) {
    for (db, names) in [("shop", ["orders", "secret"]), ("till", ["a", "b"]), ("other", ["x", "y"])]
    {
        for name in names {
            fill(client, db, name, 0).await;
        }
    }
}

async fn fill(client: &Client, db: &str, name: &str, from: i32) {
    let coll = client.database(db).collection::<Document>(name);
    coll.insert_many((from..from + 50).map(|id| doc! {"_id": id, "of": name})).await.unwrap();
}

async fn names(client: &Client, db: &str) -> Vec<String> {
    let mut names = client.database(db).list_collection_names().await.unwrap();
    names.retain(|name| !name.starts_with("system."));
    names.sort();
    names
}

/// With options that choose namespaces.
fn choosing(command: Bygone, options: &[(&str, &str)]) -> Bygone {
    options.iter().fold(command, |command, (option, pattern)| command.arg(option).arg(pattern))
}

/// Restores a moment: exactly what `covers` accepts of the source's state then must be there.
async fn holds(
    backup: &Backup,
    at: impl ToString,
    expected: &ClusterState,
    covers: fn(&str) -> bool,
) {
    let target = ReplicaSet::single(Version::V8_2).await;
    let done = backup.restore(&target.uri(), at).arg("--verify").run().await.expect_code(0);
    assert!(done.stdout.contains("PROVEN: "), "{}", done.stdout);
    let found = state_at(&target.client().await, Version::V8_2, None).await;
    let differences = diff(&expected.clone().only(covers), &found.only(|_| true));
    assert_eq!(differences, Vec::<String>::new());
}

#[tokio::test]
async fn a_deny_list() {
    let covers = |ns: &str| ns != "shop.secret" && !ns.starts_with("till.");
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    three(&client).await;
    let backup = Backup::new();
    let deny = [("--exclude", "shop.secret"), ("--exclude", "till.*")];
    let mut up = choosing(backup.up(&set.uri()), &deny).start();
    complete(&mut up).await;
    for (db, name) in [("shop", "orders"), ("shop", "secret"), ("till", "a"), ("late", "z")] {
        fill(&client, db, name, 1000).await;
    }
    let expected = mark(&client, Version::V8_2).await;
    backup.stops_whole(up, oracle::now(&client).await).await;
    holds(&backup, expected.at.unwrap(), &expected, covers).await;
}

/// Results of an aggregation and a collection of another database become covered by a rename of the
/// server's own temporary collection, which is captured with the database.
#[tokio::test]
async fn an_allow_list_and_what_is_written_through_temporary_collections() {
    let covers = |ns: &str| ns.starts_with("shop.");
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    three(&client).await;
    let backup = Backup::new();
    let allow = [("--include", "shop.*")];
    let mut up = choosing(backup.up(&set.uri()), &allow).start();
    complete(&mut up).await;
    fill(&client, "shop", "orders", 1000).await;
    fill(&client, "till", "a", 1000).await;
    let other = client.database("other");
    let out = doc! {"$out": {"db": "shop", "coll": "report"}};
    other.collection::<Document>("x").aggregate([doc! {"$match": {}}, out]).await.unwrap();
    let rename = doc! {"renameCollection": "other.y", "to": "shop.moved"};
    client.database("admin").run_command(rename).await.unwrap();
    let away = doc! {"renameCollection": "shop.secret", "to": "other.gone"};
    client.database("admin").run_command(away).await.unwrap();
    fill(&client, "shop", "report", 2000).await;
    fill(&client, "shop", "moved", 2000).await;
    assert_eq!(names(&client, "shop").await, ["moved", "orders", "report"]);
    let expected = mark(&client, Version::V8_2).await;
    backup.wait_for(oracle::now(&client).await).await;
    let ended = interrupted(up).await;
    assert!(!ended.stderr.contains("resync"), "{}", ended.stderr);
    backup.verify().await;
    holds(&backup, expected.at.unwrap(), &expected, covers).await;
}

/// A collection that was not covered is renamed into coverage: nothing of it is known, so everything is
/// copied anew, and that is said.
#[tokio::test]
async fn a_rename_into_coverage_is_scanned_anew() {
    let covers = |ns: &str| ns != "shop.secret";
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    three(&client).await;
    let backup = Backup::new();
    let deny = [("--exclude", "shop.secret")];
    let run = async || choosing(backup.backup(&set.uri()), &deny).run().await.expect_code(0);
    run().await;
    let first = mark(&client, Version::V8_2).await;
    let rename = doc! {"renameCollection": "shop.secret", "to": "shop.known"};
    client.database("admin").run_command(rename).await.unwrap();
    fill(&client, "shop", "known", 1000).await;
    fill(&client, "shop", "secret", 3000).await;
    let anew = run().await;
    assert!(anew.stderr.contains("shop.known"), "{}", anew.stderr);
    says_resync(&anew);
    let second = mark(&client, Version::V8_2).await;
    fill(&client, "shop", "known", 2000).await;
    let later = run().await;
    assert!(!later.stderr.contains("resync"), "{}", later.stderr);
    let third = mark(&client, Version::V8_2).await;
    backup.verify().await;
    for state in [&first, &second] {
        holds(&backup, state.at.unwrap(), state, covers).await;
    }
    holds(&backup, "latest", &third, covers).await;
}

fn says_resync(output: &Output) {
    let said = output.stderr.lines().any(|line| line.contains("backup requires a resync"));
    assert!(said, "{}", output.stderr);
}

/// Another list of namespaces is another backup: everything is copied anew, and moments of before stay.
#[tokio::test]
async fn widening_needs_a_resync() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    three(&client).await;
    let backup = Backup::new();
    let run = async |options: &[(&str, &str)]| {
        choosing(backup.backup(&set.uri()), options).run().await.expect_code(0)
    };
    let narrow = [("--include", "shop.*")];
    let wide = [("--include", "till.a"), ("--include", "shop.*")];
    run(&narrow).await;
    let first = mark(&client, Version::V8_2).await;
    fill(&client, "till", "a", 1000).await;
    let same = run(&narrow).await;
    assert!(!same.stderr.contains("resync"), "{}", same.stderr);
    let widened = run(&wide).await;
    says_resync(&widened);
    assert!(widened.stderr.contains("other namespaces are to be backed up"), "{}", widened.stderr);
    let second = mark(&client, Version::V8_2).await;
    // In another order it is the same list.
    fill(&client, "till", "b", 1000).await;
    fill(&client, "till", "a", 2000).await;
    let reversed = run(&[wide[1], wide[0]]).await;
    assert!(!reversed.stderr.contains("resync"), "{}", reversed.stderr);
    let third = mark(&client, Version::V8_2).await;
    backup.verify().await;
    holds(&backup, first.at.unwrap(), &first, |ns| ns.starts_with("shop.")).await;
    let covers = |ns: &str| ns.starts_with("shop.") || ns == "till.a";
    holds(&backup, second.at.unwrap(), &second, covers).await;
    holds(&backup, "latest", &third, covers).await;
}

#[tokio::test]
async fn patterns_that_mean_nothing() {
    let backup = Backup::new();
    for (option, pattern) in [
        ("--include", "shop"),
        ("--exclude", "*.orders"),
        ("--include", "shop.o*"),
        ("--exclude", ""),
    ] {
        let refused = choosing(backup.backup("mongodb://127.0.0.1:1/"), &[(option, pattern)]);
        let line = crate::bad_input::told(&refused.run().await, 2);
        crate::bad_input::says(&line, &["is not a namespace pattern", "use *, database.*"]);
    }
}
