//! Command lines that contradict themselves end with status 1 before anything is touched, with either tools.

use super::Tools;

/// Both refuse, ours with this text.
async fn refused(tool: &str, arguments: &[&str], text: &str) {
    let ours = Tools::Ours.run(tool, arguments, b"").await.expect(1).saying(text);
    assert!(ours.stdout.is_empty());
    // Some it notices only when it is connected, which it should not wait for.
    let soon = arguments.iter().chain(["--serverSelectionTimeout=1"].iter());
    let _ = Tools::Stock.run(tool, soon, b"").await.expect(1);
}

#[tokio::test]
async fn mongodump_refuses_contradictions() {
    let cases: [(&[&str], &str); 24] = [
        (&["-c", "x"], "cannot dump a collection without a specified database"),
        (&["-d", "x", "-q", "{}"], "cannot dump using a query without a specified collection"),
        (&["-d", "x", "-c", "y", "-q", "{}", "--queryFile", "z"], "either query or queryFile"),
        (&["-d", "x", "-c", "y", "-q", "{}", "--forceTableScan"], "forceTableScan"),
        (&["--dumpDbUsersAndRoles"], "must specify a database"),
        (&["--dumpDbUsersAndRoles", "-d", "x", "-c", "y"], "cannot specify a collection"),
        (&["--oplog", "-d", "x", "-c", "y", "-q", "{}"], "--oplog cannot be cut by a query"),
        (&["--oplog", "-d", "x", "-c", "y", "-o", "-"], "not standard output"),
        (&["--oplog", "-d", "x", "--dumpDbUsersAndRoles"], "users and roles of one database"),
        (&["-d", "x", "-c", "y", "--nsInclude", "z.*"], "--collection is not allowed"),
        (&["-d", "x", "-c", "y", "--excludeCollection", "z"], "--collection is not allowed"),
        (&["--excludeCollection", "z"], "--db is required"),
        (&["--excludeCollectionsWithPrefix", "z"], "--db is required"),
        (&["--out", "x", "--archive=y"], "--out not allowed when --archive"),
        (&["-d", "x", "-c", "y", "-o", "-", "--gzip"], "compression can't be used"),
        (&["-o", "-"], "can only dump a single collection to stdout"),
        (&["-j", "0"], "numParallelCollections must be positive"),
        (&["--nonsense"], "unknown option \"nonsense\""),
        (&["-d", "x", "-c", "system.buckets.y"], "system.buckets"),
        (&["x"], "try 'mongodump --help' for more information"),
        (
            &["--config", "/nowhere"],
            "error parsing command line options: error opening file with --config",
        ),
        (&["-d"], "expected argument for flag `"),
        (&["--readPreference", "{mode: 'primary', tagSets: [{a: 'b'}]}"], "with mode primary"),
        (&["--readPreference", "{mode: 'nearest', tagSets: {a: 'b'}}"], "must be an array"),
    ];
    for (arguments, text) in cases {
        refused("mongodump", arguments, text).await;
    }
}

#[tokio::test]
async fn mongorestore_refuses_contradictions() {
    let cases: [(&[&str], &str); 13] = [
        (&["-c", "x"], "cannot restore a collection without a specified database"),
        (&["--nsFrom", "a.*"], "equal number of times"),
        (&["--oplogLimit", "5"], "cannot use --oplogLimit without --oplogReplay"),
        (&["--oplogFile", "x"], "cannot use --oplogFile without --oplogReplay"),
        (&["--oplogReplay", "-d", "x"], "cannot use --oplogReplay with includes/excludes"),
        (&["--restoreDbUsersAndRoles"], "without a specified database"),
        (&["--restoreDbUsersAndRoles", "-d", "admin"], "with the admin database"),
        (&["--dir", "x", "y"], "both --dir and a positional argument"),
        (&["--dir=-"], "cannot restore from stdin without a specified collection"),
        (&["--preserveUUID"], "cannot specify --preserveUUID without --drop"),
        (&["--noobjcheck"], "unknown option"),
        (&["--writeConcern", "{w"], "error parsing write concern"),
        (&["--numInsertionWorkersPerCollection=-1"], "negative number of insertion workers"),
    ];
    for (arguments, text) in cases {
        refused("mongorestore", arguments, text).await;
    }
    // With the stock tool it restores nothing and ends well.
    let none = ["--numInsertionWorkersPerCollection=0"];
    let _ = Tools::Ours.run("mongorestore", none, b"").await.expect(1).saying("must be positive");
}

/// What says nothing in itself is told before anything is counted; what contradicts itself ends as a restore does.
#[tokio::test]
async fn usage_is_told_as_scripts_know_it() {
    let usage = "error parsing command line options: ";
    let counted = "0 document(s) restored successfully.";
    let cases: [(&str, &[&str], bool); 8] = [
        ("mongorestore", &["--writeConcern", "{w: -1}"], true),
        ("mongorestore", &["--uri", "mongodb://a", "--host", "b"], true),
        ("mongorestore", &["--uri", "http://a"], true),
        ("mongorestore", &["one", "two", "three"], true),
        ("mongodump", &["--uri", "mongodb://a/x", "-d", "y"], true),
        ("mongodump", &["x"], true),
        ("mongorestore", &["--oplogLimit", "5"], false),
        ("mongodump", &["-c", "x"], false),
    ];
    for (tool, arguments, misused) in cases {
        for tools in [Tools::Ours, Tools::Stock] {
            let soon = arguments.iter().chain(["--serverSelectionTimeout=1"].iter());
            let ended = tools.run(tool, soon, b"").await.expect(1);
            assert_eq!(ended.stderr.contains(usage), misused, "{tools:?} {}", ended.stderr);
            assert_eq!(
                ended.stderr.contains("--help' for more"),
                misused,
                "{tools:?} {arguments:?}"
            );
            // The stock tool connects before it looks for contradictions, and without a server does not count.
            let counts = !misused && tool == "mongorestore" && tools == Tools::Ours;
            assert_eq!(ended.stderr.contains(counted), counts, "{tools:?} {}", ended.stderr);
        }
    }
    let lone = Tools::Ours.run("mongorestore", ["--at", "latest"], b"").await.expect(1);
    let _ = lone.saying("required arguments were not provided: --store");
    for tools in [Tools::Ours, Tools::Stock] {
        let _ = tools.run("mongodump", ["--verbose=x"], b"").await.expect(255).saying("verbosity");
    }
    let away = ["--port", "1", "--serverSelectionTimeout=1", "."];
    let away = Tools::Ours.run("mongorestore", away, b"").await.expect(1).saying("Failed: ");
    assert!(!away.stderr.contains("source"), "{}", away.stderr);
}

#[tokio::test]
async fn connection_strings_and_flags_must_agree() {
    let cases: [(&[&str], &str); 6] = [
        (&["--uri", "mongodb://a", "mongodb://b"], "in a positional argument and --uri"),
        (&["--uri", "mongodb://a/x", "-d", "y"], "different database"),
        (&["--uri", "mongodb://a", "--host", "b"], "different host in"),
        (
            &[
                "--uri",
                "mongodb://a/?authMechanism=PLAIN",
                "--authenticationMechanism",
                "SCRAM-SHA-1",
            ],
            "different authMechanism",
        ),
        (&["--uri", "mongodb://a/?replicaSet=x", "--host", "y/a"], "different replica set name"),
        (&["--uri", "http://a"], "error parsing uri"),
    ];
    for (arguments, text) in cases {
        refused("mongodump", arguments, text).await;
        refused("mongorestore", arguments, text).await;
    }
}

#[tokio::test]
async fn help_and_version_end_well() {
    for tool in ["mongodump", "mongorestore", "bsondump"] {
        let help = Tools::Ours.run(tool, ["--help"], b"").await.expect(0);
        let help = String::from_utf8(help.stdout).unwrap();
        let stock = Tools::Stock.run(tool, ["--help"], b"").await.expect(0);
        let stock = String::from_utf8(stock.stdout).unwrap();
        // Every flag that the stock tool shows is there, under a heading of the same name.
        for line in stock.lines() {
            let flag = line.split_whitespace().find(|word| word.starts_with("--"));
            if let Some(flag) = flag {
                // It breaks long names at the end of its columns.
                let name = flag.split('=').next().unwrap_or(flag).trim_end_matches([',', '-']);
                assert!(help.contains(name), "{tool} {name}");
            } else if line.ends_with(" options:") {
                assert!(help.contains(line), "{tool}: {line}");
            }
        }
        let version = Tools::Ours.run(tool, ["--version"], b"").await.expect(0);
        assert!(String::from_utf8(version.stdout).unwrap().starts_with(&format!("{tool} version")));
    }
}
