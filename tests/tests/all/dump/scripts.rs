//! What command lines of scripts hold: connection strings for other drivers, variables with nothing in them, users of a
//! database. Each beside the stock mongodump on the same server.

use std::fs;

use bson::{Document, doc};
use bygone_tests::{
    Options, ReplicaSet, Version,
    server::{PASSWORD, USER},
};
use mongodb::Client;

use super::{Ended, Folder, Tools};

async fn fill(client: &Client, db: &str) {
    let documents: Vec<Document> =
        (0..20).map(|n| doc! {"_id": n, "r": format!("abc{n}")}).collect();
    client.database(db).collection("a").insert_many(documents).await.unwrap();
}

const ONE: [&str; 6] = ["-d", "one", "-c", "a", "--serverSelectionTimeout", "3"];

/// Both end so, with the same documents on standard output.
async fn alike(arguments: &[&str], code: i32) -> Ended {
    let run = async |tools: Tools| tools.run("mongodump", arguments, b"").await;
    let (ours, stock) = (run(Tools::Ours).await, run(Tools::Stock).await);
    let said = format!("{arguments:?}\n{}\n{}", ours.stderr, stock.stderr);
    assert_eq!((ours.code, stock.code), (Some(code), Some(code)), "{said}");
    assert!(ours.stdout == stock.stdout, "{said}");
    ours
}

#[tokio::test]
async fn connection_strings_for_other_drivers() {
    let set = ReplicaSet::single(Version::V8_2).await;
    fill(&set.client().await, "one").await;
    let address = set.members[0].address();
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    let unknown = ["foo=bar", "uuidRepresentation=standard", "slaveOk=true", "autoReconnect=true"];
    let more =
        ["useNewUrlParser=true", "keepAlive=true", "safe=true", "sslVerifyCertificate=true", "a="];
    for option in unknown.into_iter().chain(more) {
        let uri = format!("mongodb://{address}/?{option}");
        let ended = alike(&[&["--uri", &uri, "-o", "-"], &ONE[..]].concat(), 0).await;
        let name = option.split('=').next().unwrap().to_ascii_lowercase();
        let warning = format!("WARNING: ignoring unsupported URI parameter '{name}'");
        let _ = ended.saying(&warning);
    }
    for option in [
        "connect=direct",
        "socketTimeoutMS=5000",
        "maxPoolSize=0",
        "heartbeatFrequencyMS=1",
        "timeoutMS=20000",
        "tlsInsecure=true",
        "tlsAllowInvalidCertificates=true",
        "loadBalanced=false&&",
    ] {
        let uri = format!("mongodb://{address}/?{option}");
        alike(&[&["--uri", &uri, "-o", "-"], &ONE[..]].concat(), 0).await;
    }
    for uri in [format!("mongodb://:{port}/"), format!("mongodb://{address}")] {
        alike(&[&["--uri", &uri, "--port", &port, "-o", "-"], &ONE[..]].concat(), 0).await;
    }
    for option in ["localThresholdMS=abc", "ssl=nope", "foo"] {
        let uri = format!("mongodb://{address}/?{option}");
        let ended = alike(&[&["--uri", &uri, "-o", "-"], &ONE[..]].concat(), 1).await;
        let ended = ended.saying("error parsing command line options: error parsing uri: ");
        let _ = ended.saying("try 'mongodump --help' for more information");
    }
}

#[tokio::test]
async fn variables_with_nothing_in_them() {
    let set = ReplicaSet::single(Version::V8_2).await;
    fill(&set.client().await, "one").await;
    let (uri, folder) = (set.uri(), Folder::new());
    let to_stdout = [&["-o", "-"][..], &ONE].concat();
    for flag in [
        "-q",
        "--queryFile",
        "-u",
        "-p",
        "--authenticationMechanism",
        "--authenticationDatabase",
        "--readPreference",
        "--config",
        "--sslCAFile",
        "--sslPEMKeyFile",
        "--port",
        "--compressors",
    ] {
        alike(&[&["--uri", &uri, flag, ""], &to_stdout[..]].concat(), 0).await;
    }
    let address = set.members[0].address();
    alike(&[&["-h", &address, "--uri", "", ""], &to_stdout[..]].concat(), 0).await;
    alike(&[&["-h", &address, "--archive="], &to_stdout[..]].concat(), 0).await;
    alike(
        &[&["-h", &address, "--serverSelectionTimeout", "0"], &to_stdout[..4], &["-c", "a"]]
            .concat(),
        0,
    )
    .await;
    alike(
        &[&["-h", &address, "--trace", "--failpoints", "x", "-v=300"], &to_stdout[..]].concat(),
        0,
    )
    .await;
    alike(&[&["-h", &address, "-j", ""], &to_stdout[..]].concat(), 1).await;
    for tools in [Tools::Ours, Tools::Stock] {
        let mut command = tools.command("mongodump");
        command.args(["-h", &address, "-d", "", "-c", "", "-o", ""]);
        let folder = folder.path(&format!("{tools:?}"));
        fs::create_dir(&folder).unwrap();
        let ended = command.current_dir(&folder).output().await.unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert!(fs::exists(format!("{folder}/dump/one/a.bson")).unwrap(), "{tools:?}");
    }
    // A file that says what flags may repeat.
    let config = folder.path("config.yaml");
    fs::write(&config, format!("\u{feff}{{uri: \"{uri}\"}} # for both\n")).unwrap();
    alike(&[&["--config", &config], &to_stdout[..]].concat(), 0).await;
    let same = [&["--config", &config, "--uri", &uri], &to_stdout[..]].concat();
    let _ = Tools::Ours.run("mongodump", same, b"").await.expect(0);
}

#[tokio::test]
async fn users_are_looked_for_where_the_stock_tool_looks() {
    let set = ReplicaSet::start(Options::new(Version::V8_2).auth()).await;
    let client = set.client().await;
    fill(&client, "one").await;
    let db = client.database("one");
    let user = |name: &str, role: &str| doc! {"createUser": name, "pwd": PASSWORD, "roles": [role]};
    db.run_command(user("ro", "read")).await.unwrap();
    // Everything that is needed to read one collection, and nothing else.
    let privileges = vec![
        doc! {"resource": {"db": "one", "collection": "a"}, "actions": ["find", "listIndexes"]},
        doc! {"resource": {"db": "one", "collection": ""}, "actions": ["listCollections"]},
    ];
    let role = doc! {"createRole": "only", "privileges": privileges, "roles": []};
    db.run_command(role).await.unwrap();
    db.run_command(user("only", "only")).await.unwrap();
    let address = set.members[0].address();
    let plain = format!("mongodb://{address}/");
    let (named, with_user) = (format!("{plain}one"), format!("mongodb://ro:{PASSWORD}@{address}/"));
    let by_uri = format!("mongodb://{USER}:{PASSWORD}@{address}/?authSource=admin");
    let elsewhere = format!("{plain}?authSource=admin");
    let a = ["-c", "a", "-o", "-"];
    for way in [
        &["--uri", &plain, "-u", "ro", "-p", PASSWORD, "-d", "one"][..],
        &["--uri", &named, "-u", "ro", "-p", PASSWORD],
        &["--uri", &with_user, "-d", "one"],
        &["--uri", &by_uri, "-d", "one"],
        &["--uri", &elsewhere, "-u", USER, "-p", PASSWORD, "-d", "one"],
        &["-h", &address, "-u", "only", "-p", PASSWORD, "-d", "one"],
        &[
            "-h",
            &address,
            "-u",
            USER,
            "-p",
            PASSWORD,
            "-d",
            "one",
            "--authenticationDatabase",
            "admin",
        ],
    ] {
        let ended = alike(&[way, &a].concat(), 0).await;
        assert!(!ended.stdout.is_empty());
    }
    let admin = format!("mongodb://{USER}:{PASSWORD}@{address}/one");
    for way in [
        &["--uri", &admin][..],
        &["-h", &address, "-p", PASSWORD, "-d", "one"],
        &["-h", &address, "--authenticationDatabase", "admin", "-d", "one"],
        &["-h", &address, "--awsSessionToken", "x", "-d", "one"],
        &["--uri", &by_uri, "--authenticationDatabase", "one", "-d", "one"],
    ] {
        alike(&[way, &a].concat(), 1).await;
    }
    // An empty password is one to be asked for.
    let asked = format!("mongodb://{USER}:@{address}/?authSource=admin");
    let line = format!("{PASSWORD}\n");
    for tools in [Tools::Ours, Tools::Stock] {
        let way = [&["--uri", &asked, "-d", "one"], &a[..]].concat();
        let ended = tools.run("mongodump", way, line.as_bytes()).await.expect(0);
        let _ =
            ended.saying("reading password from standard input\nEnter password for mongo user:\n");
    }
    people(&address).await;
}

/// Users and roles of `admin` and of a database without collections.
async fn people(address: &str) {
    let root = ["-h", address, "-u", USER, "-p", PASSWORD, "--authenticationDatabase", "admin"];
    let folder = Folder::new();
    for db in ["admin", "none"] {
        let mut found = Vec::new();
        for tools in [Tools::Ours, Tools::Stock] {
            let out = folder.path(&format!("{db}{tools:?}"));
            let more = ["-d", db, "--dumpDbUsersAndRoles", "-o", &out];
            let ended = tools.run("mongodump", root.iter().chain(&more), b"").await.expect(0);
            let skipped = ended.stderr.contains("skipping users/roles dump, already dumped admin");
            assert_eq!(skipped, db == "admin", "{}", ended.stderr);
            let mut names = super::behaviour::walk(std::path::Path::new(&out));
            names.sort();
            found.push(names);
        }
        assert_eq!(found[0], found[1], "{db}");
        assert!(found[0].contains(&format!("{db}/prelude.json")), "{found:?}");
    }
}

/// Of the connection string, as the server saw it.
#[tokio::test]
async fn a_read_concern_is_kept() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    fill(&client, "one").await;
    let one = client.database("one");
    one.run_command(doc! {"profile": 2}).await.unwrap();
    let (uri, folder) = (set.uri(), Folder::new());
    let out = folder.path("d");
    for (more, level) in [(&["-c", "a", "-q", "{}"][..], "available"), (&["--oplog"], "majority")] {
        let uri = format!("{uri}&readConcernLevel={level}");
        let all = [&["-d", "one", "-o", &out], more].concat();
        let _ = Tools::Ours.dump(&uri, &all).await.expect(0).saying("(20 documents)");
        let read = doc! {"op": "query", "command.find": "a", "command.readConcern.level": level};
        let seen = one.collection::<Document>("system.profile").count_documents(read).await;
        assert_eq!(seen.unwrap(), 1, "{level}");
    }
    for level in ["linearizable", "snapshot", "foo"] {
        let uri = format!("{uri}&readConcernLevel={level}");
        let ended = Tools::Ours.dump(&uri, &["-d", "one", "-o", &out]).await.expect(1);
        let _ = ended.saying("is not possible in a dump");
    }
}
