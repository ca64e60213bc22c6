//! A script written for Ops Manager: its public API v1.0, by curl with HTTP digest, from the list of projects to the file
//! of a restore and the end of the job.

use std::path::Path;

use bygone_tests::{ReplicaSet, Version, wait};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    Site,
    commands::{Asked, served},
};
use crate::bad_input::orders;

struct Script {
    base: String,
    key: String,
}

impl Script {
    /// The answer's status and body.
    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--digest", "-u", &self.key, "-X", method]);
        curl.args(["-H", "Content-Type: application/json", "-w", "\n%{http_code}"]);
        if let Some(body) = body {
            curl.arg("-d").arg(body.to_string());
        }
        let done = curl.arg(format!("{}{path}", self.base)).output().await.unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{:?}", done.stderr));
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    async fn patch(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.call("PATCH", path, Some(&body)).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }
}

async fn said(program: &str, file: &Path) -> String {
    let mut command = Command::new(program);
    if program == "tar" {
        command.arg("-tzf");
    }
    let done = command.arg(file).output().await.unwrap();
    assert!(done.status.success(), "{program}: {:?}", done.stderr);
    String::from_utf8(done.stdout).unwrap()
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id: {value}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_ops_manager_works_here() {
    let set = ReplicaSet::single(Version::V8_2).await;
    orders(&set.client().await, 0, 500).await;
    let site = Site::new().await;
    let (server, asked) = served(&site, &set).await;
    let Asked { url, key } = &asked;
    let script = Script { base: format!("{url}/api/public/v1.0"), key: key.clone() };
    let wrong = Script { key: format!("{key}0"), base: script.base.clone() };
    assert_eq!(wrong.call("GET", "/groups", None).await.0, 401);
    let groups = script.get("/groups").await;
    let group = format!("/groups/{}", id(&groups["results"][0]));
    let clusters = script.get(&format!("{group}/clusters")).await;
    assert_eq!(clusters["results"][0]["replicaSetName"], "rs0", "{clusters}");
    let cluster = id(&clusters["results"][0]);
    let config = format!("{group}/backupConfigs/{cluster}");
    assert_eq!(script.get(&config).await["statusName"], "STARTED");
    let schedule = script.get(&format!("{config}/snapshotSchedule")).await;
    assert_eq!(schedule["snapshotIntervalHours"], 6, "{schedule}");
    let cluster = format!("{group}/clusters/{cluster}");
    let snapshots = script.get(&format!("{cluster}/snapshots")).await;
    assert_eq!(
        (&snapshots["totalCount"], &snapshots["results"][0]["complete"]),
        (&json!(1), &json!(true))
    );
    let snapshot = id(&snapshots["results"][0]);
    restored(&script, &site, &cluster, &snapshot).await;
    let one = format!("{cluster}/snapshots/{snapshot}");
    let mut whole = script.get(&one).await;
    whole["doNotDelete"] = json!(true);
    let kept = script.patch(&one, whole).await;
    assert_eq!(kept["doNotDelete"], true);
    assert_eq!(script.patch(&one, kept.clone()).await, kept);
    switched_by_the_operator(&script, &config).await;
    orders(&set.client().await, 1000, 100).await;
    taken(&script, &site, &cluster).await;
    let (status, refused) =
        script.call("PATCH", &config, Some(&json!({"statusName": "TERMINATING"}))).await;
    assert_eq!(status, 409, "{refused}");
    assert!(refused["errorCode"].is_string(), "{refused}");
    assert_eq!(
        script.patch(&config, json!({"statusName": "STOPPED"})).await["statusName"],
        "STOPPED"
    );
    script.patch(&config, json!({"statusName": "TERMINATING"})).await;
    asked.until("INACTIVE").await;
    server.interrupt();
    let _ = server.wait(wait::PATIENCE).await.expect_code(0);
}

/// MongoDB's Kubernetes operator names a sync source with every change: nothing is copied anew for that.
async fn switched_by_the_operator(script: &Script, config: &str) {
    let body = json!({
        "statusName": "STARTED",
        "storageEngineName": "WIRED_TIGER",
        "syncSource": "PRIMARY",
        "excludedNamespaces": [],
        "includedNamespaces": null,
        "encryptionEnabled": false,
        "provisioned": false,
    });
    assert_eq!(script.patch(config, body).await["statusName"], "STARTED");
    let group = config.split("/backupConfigs").next().unwrap();
    let synced = format!("{group}/events?eventType=RS_SYNC_REQUESTED_AUDIT");
    assert_eq!(script.get(&synced).await["totalCount"], 0);
}

/// A snapshot on demand is kept as long as was asked for.
async fn taken(script: &Script, site: &Site, cluster: &str) {
    let path = format!("{cluster}/snapshots/onDemandSnapshot?retentionDays=30");
    let (status, said) = script.call("POST", &path, None).await;
    assert_eq!(status, 200, "{said}");
    let job = cluster.rsplit('/').next().unwrap().parse().unwrap();
    wait::until("a snapshot that is kept for a month", wait::PATIENCE * 2, async || {
        let history = site.control.history(&site.project, &job).await.unwrap();
        let newest = history.snapshots.last()?;
        let kept = newest.expires?.since(newest.created) / 86_400_000;
        (history.snapshots.len() == 2 && (29..=30).contains(&kept)).then_some(())
    })
    .await;
}

/// A restore by link, followed as soon as it is there: what is fetched is what the hash says, once.
async fn restored(script: &Script, site: &Site, cluster: &str, snapshot: &str) {
    let wanted = json!({
        "snapshotId": snapshot,
        "delivery": {"methodName": "HTTP", "expirationHours": "1", "maxDownloads": "1"},
    });
    let jobs = format!("{cluster}/restoreJobs");
    let (status, made) = script.call("POST", &jobs, Some(&wanted)).await;
    assert_eq!(status, 200, "{made}");
    let job = format!("{jobs}/{}", id(&made["results"][0]));
    let link = made["results"][0]["delivery"]["url"].as_str().unwrap();
    let file = site.folder.path().join("fetched.tar.gz");
    let fetch = async || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-w", "%{http_code}", "-o"]).arg(&file).arg(link);
        String::from_utf8(curl.output().await.unwrap().stdout).unwrap()
    };
    assert_eq!(fetch().await, "200");
    let done = script.get(&job).await;
    assert_eq!(done["statusName"], "FINISHED", "{done}");
    let hash = said("sha1sum", &file).await;
    assert_eq!(hash.split(' ').next(), done["hashes"][0]["hash"].as_str(), "{done}");
    let names = said("tar", &file).await;
    assert!(names.contains("restoreInfo.txt") && names.contains("orders.bson"), "{names}");
    assert_ne!(fetch().await, "200", "one download was allowed");
    assert_eq!(done["delivery"]["statusName"], "MAX_DOWNLOADS_EXCEEDED", "{done}");
    assert!(done["delivery"].get("url").is_none(), "{done}");
}
