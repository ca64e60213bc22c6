//! Sources that cannot be backed up. (Standalone, mongos and the members of a cluster: `agent::refused`.)

use bson::Bson;
use bygone_tests::{
    Options, ReplicaSet, Tls, Version, process::Bygone, server::PASSWORD, wait::PATIENCE,
};

use super::{orders, says, told};
use crate::spine::Backup;

#[tokio::test]
async fn a_wrong_host_port_set_or_member() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let here = set.members[0].address();
    let backup = Backup::new();
    let failed = async |command: &str, uri: &str, code| {
        let command = backup.command(command).env("BYGONE_SOURCE", uri);
        let line = told(&command.limit(PATIENCE * 2).run().await, code);
        assert!(!line.contains("Topology"), "{line}");
        line
    };
    let line = failed("up", "mongodb://127.0.0.1:1/", 1).await;
    says(&line, &["cannot reach mongod at 127.0.0.1:1", "check host, port and TLS"]);
    let line = failed("backup", "mongodb://no-such-host.invalid:27017/", 1).await;
    says(&line, &["no-such-host.invalid:27017", "check host, port and TLS"]);
    let line = failed("backup", &format!("mongodb://{here}/?replicaSet=other"), 2).await;
    says(&line, &[&here, "belongs to the replica set rs0", "says other"]);
    let line = failed("up", "http://127.0.0.1/", 2).await;
    says(&line, &["the URI does not start with mongodb://", "for example"]);
    assert!(!backup.store().exists(), "a store was made for a source that cannot be read");
    let other = backup.backup(&set.uri()).arg("--member").arg("127.0.0.1:2");
    let line = told(&other.limit(PATIENCE * 2).run().await, 1);
    says(&line, &["no member can be read", &here, "rs.status()"]);
}

#[tokio::test]
async fn a_wrong_password_or_role() {
    let set = ReplicaSet::start(Options::new(Version::V8_2).auth()).await;
    orders(&set.client().await, 0, 10).await;
    set.create_user("reader", vec![Bson::String("readAnyDatabase".into())]).await;
    let backup = Backup::new();
    let run = async |command: Bygone| told(&command.limit(PATIENCE * 2).run().await, 1);
    let line = run(backup.backup(&set.uri_as("reader", "wr0ng"))).await;
    says(&line, &["refuses the user or password", &set.members[0].address()]);
    assert!(!line.contains("wr0ng"), "{line}");
    let line = run(backup.backup(&set.uri_as("reader", PASSWORD))).await;
    says(&line, &["user reader@admin may not", "grant the user the built-in role \"backup\""]);
    let nobody = set.uri_as("x", "y").replacen("x:y@", "", 1);
    let line = run(backup.backup(&nobody)).await;
    says(&line, &["wants a user", "name a user"]);
    let line = run(backup.up(&set.uri_as("reader", PASSWORD))).await;
    says(&line, &["user reader@admin may not"]);
}

#[tokio::test]
async fn tls_that_does_not_fit() {
    let set = ReplicaSet::start(Options::new(Version::V8_2).tls(Tls::Required)).await;
    let backup = Backup::new();
    let here = set.members[0].address();
    let failed = async |query: &str, code| {
        let uri = format!("mongodb://{here}/?replicaSet=rs0{query}");
        told(&backup.backup(&uri).limit(PATIENCE * 2).run().await, code)
    };
    let line = failed("", 1).await;
    says(&line, &[&here, "TLS"]);
    // The authority is not one that this machine trusts.
    let line = failed("&tls=true", 1).await;
    says(&line, &[&here, "TLS"]);
    let line = failed("&tls=true&tlsCAFile=/no/such/file.pem", 2).await;
    says(&line, &["/no/such/file.pem"]);
}

/// A password in a place where every user of the machine could read it, and text that is no URI, are
/// refused without being repeated.
#[tokio::test]
async fn secrets_in_the_arguments() {
    let backup = Backup::new();
    let secrets = [
        "mongodb://ann:s3cret@127.0.0.1:1/",
        "mongodb://ann:s3/cret@127.0.0.1:1/",
        "mongodb://ann:s3?cret@127.0.0.1:1/",
        "mongodb://ann@127.0.0.1:1/?tls=true&tlsCertificateKeyFilePassword=s3cret",
        "mongodb://127.0.0.1:1/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:s3cret",
        "mongodb://127.0.0.1:1/?proxyHost=x&proxyPassword=s3cret",
    ];
    for secret in secrets {
        for (command, option) in [("backup", "--source"), ("up", "--source"), ("restore", "--to")] {
            let refused = backup.command(command).arg(option).arg(secret).run().await;
            let line = told(&refused, 2);
            assert!(!refused.stderr.contains("cret") || line.contains("secret"), "{line}");
            assert!(!line.contains("s3"), "{line}");
            let joined = backup.command(command).arg(format!("{option}={secret}")).run().await;
            assert!(!told(&joined, 2).contains("s3"), "{}", joined.stderr);
        }
    }
}
