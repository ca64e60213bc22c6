//! Version 1.0, as a client of Ops Manager uses it.

use axum::http::Method;
use bygone_catalog::{
    Id,
    record::{Agent, Role},
};
use bygone_control::By;
use serde_json::{Value, json};

use crate::world::{Client, World};

const BASE: &str = "/api/public/v1.0";

struct Site {
    world: World,
    owner: Client,
    group: Id,
    cluster: String,
}

impl Site {
    async fn new() -> Site {
        let world = World::new().await;
        let owner = world.owner().await;
        let group = world.project("shop").await;
        let cluster = owner.job(&group, "orders").await;
        Site { world, owner, group, cluster }
    }

    fn group(&self, rest: &str) -> String {
        format!("{BASE}/groups/{}{rest}", self.group)
    }

    fn config(&self, rest: &str) -> String {
        self.group(&format!("/backupConfigs/{}{rest}", self.cluster))
    }

    fn cluster(&self, rest: &str) -> String {
        self.group(&format!("/clusters/{}{rest}", self.cluster))
    }

    async fn status(&self, wanted: &str) -> crate::world::Answer {
        self.owner.patch(&self.config(""), json!({ "statusName": wanted })).await
    }
}

#[tokio::test]
async fn the_root_leads_to_groups_clusters_and_hosts() {
    let site = Site::new().await;
    let root = site.owner.get(BASE).await.is(200);
    assert_eq!(root["throttling"], false);
    assert_eq!(root["links"][1]["href"], "http://backup.example:8443/api/public/v1.0/groups");
    let groups = site.owner.get(&format!("{BASE}/groups")).await.is(200);
    assert_eq!((&groups["totalCount"], &groups["results"][0]["name"]), (&json!(1), &json!("shop")));
    let by_name = site.owner.get(&format!("{BASE}/groups/byName/shop")).await.is(200);
    assert_eq!(by_name["id"], site.group.as_str());
    let cluster = site.owner.get(&site.cluster("")).await.is(200);
    assert_eq!(cluster["typeName"], "REPLICA_SET");
    assert_eq!(cluster["clusterName"], "orders");
    let hosts = site.owner.get(&site.group("/hosts")).await.is(200);
    assert_eq!(hosts["totalCount"], 2);
    assert_eq!(hosts["results"][0]["hostname"], "db1.example");
    let id = hosts["results"][1]["id"].as_str().unwrap();
    let host = site.owner.get(&site.group(&format!("/hosts/{id}"))).await.is(200);
    assert_eq!((&host["hostname"], &host["port"]), (&json!("db2.example"), &json!(27017)));
}

#[tokio::test]
async fn a_backup_is_started_stopped_restarted_and_terminated() {
    let site = Site::new().await;
    let status = async || site.owner.get(&site.config("")).await.is(200)["statusName"].clone();
    assert_eq!(status().await, "INACTIVE");
    site.status("STOPPED").await.fails(409, "CANNOT_STOP_BACKUP_INVALID_STATE");
    // As it is: a client that sends back what it read.
    site.status("INACTIVE").await.is(200);
    assert_eq!(site.status("STARTED").await.is(200)["statusName"], "PROVISIONING");
    assert_eq!(site.status("STARTED").await.is(200)["statusName"], "PROVISIONING");
    site.status("TERMINATING").await.fails(409, "CANNOT_TERMINATE_BACKUP_INVALID_STATE");
    site.status("INACTIVE").await.fails(409, "CANNOT_SET_BACKUP_STATUS");
    site.status("RUNNING").await.fails(400, "INVALID_ATTRIBUTE");
    assert_eq!(site.status("STOPPED").await.is(200)["statusName"], "STOPPED");
    assert_eq!(site.status("STARTED").await.is(200)["statusName"], "PROVISIONING");
    site.status("STOPPED").await.is(200);
    assert_eq!(site.status("TERMINATING").await.is(200)["statusName"], "TERMINATING");
    site.status("STARTED").await.fails(409, "CANNOT_START_BACKUP_INVALID_STATE");
    assert_eq!(status().await, "TERMINATING");
}

#[tokio::test]
async fn a_configuration_is_changed_and_can_be_sent_back() {
    let site = Site::new().await;
    let patch = async |body: Value| site.owner.patch(&site.config(""), body).await;
    let filtered = patch(json!({ "excludedNamespaces": ["tmp", "shop.carts"] })).await.is(200);
    assert_eq!(filtered["excludedNamespaces"], json!(["tmp", "shop.carts"]));
    // Whole databases are patterns elsewhere.
    let job = site.owner.get(&format!("/api/v2/projects/{}/jobs", site.group)).await.is(200);
    assert_eq!(job[0]["source"]["exclude"], json!(["tmp.*", "shop.carts"]));
    // Back as it was read, and nothing changes.
    assert_eq!(patch(filtered.clone()).await.is(200), filtered);
    site.status("STARTED").await.is(200);
    let wider = json!({ "excludedNamespaces": ["tmp"] });
    let refused = patch(wider.clone()).await;
    refused.fails(400, "INVALID_ATTRIBUTE");
    assert!(refused.json()["hint"].as_str().unwrap().contains("syncSource"));
    let mut agreed = wider;
    agreed["syncSource"] = json!("SECONDARY");
    assert_eq!(patch(agreed).await.is(200)["excludedNamespaces"], json!(["tmp"]));
    let member = patch(json!({ "preferredMember": "db2.example:27017" })).await.is(200);
    assert_eq!(member["preferredMember"], "db2.example:27017");
    let none = patch(json!({ "preferredMember": "" })).await.is(200);
    assert!(none.get("preferredMember").is_none());

    let store = json!({ "snapshotStoreType": "s3blockstore", "snapshotStoreId": "x" });
    patch(json!({ "snapshotStore": store })).await.fails(409, "CANNOT_CHANGE_SNAPSHOT_STORE");
    patch(json!({ "password": "x" })).await.fails(409, "CANNOT_SET_BACKUP_AUTH");
    let unknown = patch(json!({ "splitSyncs": true })).await;
    unknown.fails(400, "INVALID_ATTRIBUTE");
    assert!(unknown.text.contains("splitSyncs"));
    // The credentials of the source survived all that, and nobody was shown them.
    let job = site.world.control.job(&site.group, &site.cluster.parse().unwrap()).await.unwrap();
    let uri = site.world.control.source_as_given(&job.job).unwrap().uri;
    assert!(uri.contains("topsecret"));
    let shown = site.owner.get(&format!("/api/v2/projects/{}/jobs", site.group)).await;
    assert!(!shown.text.contains("topsecret") && shown.text.contains("db1.example"));
}

#[tokio::test]
async fn a_schedule_is_read_changed_and_sent_back() {
    let site = Site::new().await;
    let path = site.config("/snapshotSchedule");
    let read = site.owner.get(&path).await.is(200);
    assert_eq!(read["snapshotIntervalHours"], 6);
    assert_eq!(read["snapshotRetentionDays"], 2);
    assert_eq!(read["pointInTimeWindowHours"], 24);
    assert_eq!(read["referenceTimeZoneOffset"], "+0000");
    let change = json!({
        "snapshotIntervalHours": 24,
        "snapshotRetentionDays": 30,
        "referenceHourOfDay": 12,
        "referenceTimeZoneOffset": "-0500",
    });
    let changed = site.owner.patch(&path, change).await.is(200);
    assert_eq!(changed["referenceTimeZoneOffset"], "-0500");
    assert_eq!(site.owner.patch(&path, changed.clone()).await.is(200), changed);
    let bad = site.owner.patch(&path, json!({ "snapshotIntervalHours": 7 })).await;
    bad.fails(400, "INVALID_ATTRIBUTE");
    assert_eq!(bad.json()["parameters"], json!(["snapshotIntervalHours"]));
}

#[tokio::test]
async fn what_is_not_there_is_said_in_ops_managers_words() {
    let site = Site::new().await;
    let get = async |path: String| site.owner.get(&path).await;
    let none = "0".repeat(24);
    get(format!("{BASE}/groups/{none}")).await.fails(404, "GROUP_NOT_FOUND");
    get(format!("{BASE}/groups/nonsense/clusters")).await.fails(404, "GROUP_NOT_FOUND");
    get(site.group(&format!("/clusters/{none}"))).await.fails(404, "CLUSTER_NOT_FOUND");
    get(site.group("/clusters/x/snapshots")).await.fails(404, "CLUSTER_NOT_FOUND");
    get(site.cluster("/snapshots/x")).await.fails(404, "SNAPSHOT_NOT_FOUND");
    get(site.cluster("/snapshots/20261120T103000Z-1a2b3c4d"))
        .await
        .fails(404, "SNAPSHOT_NOT_FOUND");
    get(site.cluster(&format!("/restoreJobs/{none}"))).await.fails(404, "RESTORE_JOB_NOT_FOUND");
    get(site.cluster("/checkpoints/x")).await.fails(404, "CHECKPOINT_NOT_FOUND");
    get(site.group("/alerts/x")).await.fails(404, "ALERT_NOT_FOUND");
    for list in ["/snapshots", "/restoreJobs", "/checkpoints"] {
        assert_eq!(get(site.cluster(list)).await.is(200)["totalCount"], 0, "{list}");
    }
    let ranges = site.cluster("/restoreJobs/restorableTimeRanges");
    let ranges = site.owner.ask(Method::POST, &ranges, Value::Null).await;
    assert_eq!(ranges.is(200)["results"], json!([]));
    for list in
        ["snapshot/mongoConfigs", "oplog/mongoConfigs", "sync/mongoConfigs", "daemon/configs"]
    {
        let list = format!("{BASE}/admin/backup/{list}");
        assert_eq!(get(list.clone()).await.is(200)["totalCount"], 0, "{list}");
    }
}

#[tokio::test]
async fn a_restore_names_its_moment_and_its_target() {
    let site = Site::new().await;
    let post = async |body: Value| site.owner.post(&site.cluster("/restoreJobs"), body).await;
    let http = json!({ "methodName": "HTTP" });
    let id = "20261120T103000Z-1a2b3c4d";
    post(json!({ "snapshotId": id, "delivery": http })).await.fails(409, "MOMENT_NOT_COVERED");
    post(json!({ "delivery": http })).await.fails(400, "INVALID_ATTRIBUTE");
    let scp = json!({ "snapshotId": id, "delivery": { "methodName": "SCP" } });
    post(scp).await.fails(409, "UNSUPPORTED_DELIVERY_METHOD");
    let hidden = site.world.project("hidden").await;
    let there = site.owner.job(&hidden, "c").await;
    let into = |group: &Id, cluster: &str| {
        json!({ "snapshotId": id, "delivery": {
            "methodName": "AUTOMATED_RESTORE",
            "targetGroupId": group.as_str(),
            "targetClusterId": cluster,
        } })
    };
    let restorer = site.world.client(Role::ProjectRestore, Some(&site.group)).await;
    let path = site.cluster("/restoreJobs");
    restorer.post(&path, into(&hidden, &there)).await.fails(404, "GROUP_NOT_FOUND");
    restorer.post(&path, into(&site.group, &there)).await.fails(404, "CLUSTER_NOT_FOUND");
    let reach = restorer.post(&path, into(&site.group, &site.cluster)).await;
    reach.fails(409, "MOMENT_NOT_COVERED");
}

#[tokio::test]
async fn lists_have_pages_envelopes_and_can_be_pretty() {
    let site = Site::new().await;
    for n in 0..6 {
        site.owner.job(&site.group, &format!("c{n}")).await;
    }
    let list = async |query: &str| site.owner.get(&site.group(&format!("/clusters{query}"))).await;
    let names = |page: &Value| {
        let results = page["results"].as_array().unwrap().clone();
        results.iter().map(|c| c["clusterName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let rels = |page: &Value| {
        let links = page["links"].as_array().unwrap().clone();
        links.iter().map(|l| l["rel"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (first, second) =
        (list("?itemsPerPage=4").await.is(200), list("?itemsPerPage=4&pageNum=2").await.is(200));
    assert_eq!((names(&first).len(), names(&second).len()), (4, 3));
    assert_eq!(first["totalCount"], 7);
    assert_eq!(rels(&first), ["self", "next"]);
    assert_eq!(rels(&second), ["self", "previous"]);
    assert!(names(&first).iter().all(|name| !names(&second).contains(name)));
    assert_eq!(names(&list("?pageNum=99999999999").await.is(200)).len(), 0);
    for bad in ["?pageNum=0", "?itemsPerPage=0", "?itemsPerPage=501", "?pageNum=x"] {
        list(bad).await.fails(400, "INVALID_ATTRIBUTE");
    }
    let envelope = list("?envelope=true").await.is(200);
    assert_eq!((&envelope["status"], &envelope["totalCount"]), (&json!(200), &json!(7)));
    let one = site.owner.get(&format!("{}?envelope=true", site.cluster(""))).await.is(200);
    assert_eq!((&one["status"], &one["content"]["clusterName"]), (&json!(200), &json!("orders")));
    let missing = site.owner.get(&site.group("/clusters/x?envelope=true")).await.is(200);
    assert_eq!(missing["status"], 404);
    assert_eq!(missing["content"]["errorCode"], "CLUSTER_NOT_FOUND");
    assert!(list("?pretty=true").await.text.contains("\n  \""));
    assert!(!list("").await.text.contains('\n'));
}

#[tokio::test]
async fn events_have_pages_beyond_what_one_reading_gives() {
    let site = Site::new().await;
    for n in 0..1100 {
        site.world.clock.pass(1000);
        let message = format!("number {n}");
        let control = &site.world.control;
        control.event(&By::system(), Some(&site.group), None, "TEST", message).await.unwrap();
    }
    let page = async |n: u32| {
        let path = site.group(&format!("/events?itemsPerPage=500&pageNum={n}"));
        site.owner.get(&path).await.is(200)
    };
    let (first, third) = (page(1).await, page(3).await);
    assert_eq!(first["results"][0]["message"], "number 1099");
    assert_eq!(first["results"][499]["message"], "number 600");
    assert_eq!(third["results"][0]["message"], "number 99");
    assert_eq!(third["totalCount"], 1102);
    assert_eq!(third["results"].as_array().unwrap().len(), 102);
    let id = first["results"][3]["id"].as_str().unwrap();
    let one = site.owner.get(&site.group(&format!("/events/{id}"))).await.is(200);
    assert_eq!(one["message"], "number 1096");
}

#[tokio::test]
async fn agents_are_active_standing_by_or_gone() {
    let site = Site::new().await;
    let now = site.world.control.now();
    for (id, serves, left) in [("a", true, false), ("b", false, false), ("c", false, true)] {
        let agent = json!({
            "id": id,
            "project": site.group.as_str(),
            "host": format!("host-{id}"),
            "version": "0.1.0",
            "started": now,
            "last_conf": now,
            "serves": if serves { vec![site.cluster.clone()] } else { Vec::new() },
            "left": left,
            "problems": [],
        });
        let agent: Agent = serde_json::from_value(agent).unwrap();
        site.world.control.catalog().insert(&agent).await.unwrap();
    }
    let states = async || {
        let list = site.owner.get(&site.group("/agents/BACKUP")).await.is(200);
        let agents = list["results"].as_array().unwrap().clone();
        agents.iter().map(|a| a["stateName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["ACTIVE", "STANDBY", "NO_PROCESSES"]);
    site.world.clock.pass(301_000);
    assert_eq!(states().await, ["NO_PROCESSES"; 3]);
    let other = site.owner.get(&site.group("/agents/MONITORING")).await.is(200);
    assert_eq!(other["totalCount"], 0);
    let group = site.owner.get(&site.group("")).await.is(200);
    assert_eq!(group["activeAgentCount"], 2);
}

#[tokio::test]
async fn stores_are_added_changed_and_removed() {
    let site = Site::new().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("second store").display().to_string();
    let list = format!("{BASE}/admin/backup/snapshot/fileSystemConfigs");
    let new = json!({ "id": "second", "storePath": path, "labels": ["a"], "maxCapacityGB": 2 });
    let added = site.owner.post(&list, new.clone()).await.is(200);
    assert_eq!((&added["id"], &added["maxCapacityGB"]), (&json!("second"), &json!(2)));
    site.owner.post(&list, new).await.fails(409, "STORE_EXISTS");
    assert_eq!(site.owner.get(&list).await.is(200)["totalCount"], 2);
    let one = format!("{list}/second");
    let edit = json!({ "assignmentEnabled": false, "loadFactor": 3 });
    let edited = site.owner.ask(Method::PUT, &one, edit).await.is(200);
    assert_eq!((&edited["assignmentEnabled"], &edited["labels"]), (&json!(false), &json!(["a"])));
    // Back as it was read: it stays where it is.
    let again = site.owner.ask(Method::PUT, &one, edited.clone()).await.is(200);
    assert_eq!(again, edited);
    site.owner.delete(&one).await.is(200);
    site.owner.delete(&one).await.fails(404, "RESOURCE_NOT_FOUND");
    site.owner.delete(&format!("{list}/main")).await.fails(409, "STORE_IN_USE");

    let s3 = format!("{BASE}/admin/backup/snapshot/s3Configs");
    let keys = json!({ "id": "s", "s3BucketName": "b", "awsSecretKey": "topsecret" });
    let refused = site.owner.post(&s3, keys).await;
    refused.fails(409, "CANNOT_SET_S3_CREDENTIALS");
    assert!(!refused.text.contains("topsecret"));
    let bad = json!({ "id": "s", "s3BucketName": "b/../c" });
    site.owner.post(&s3, bad).await.fails(400, "INVALID_ATTRIBUTE");
    site.owner.post(&s3, json!({ "id": "s" })).await.fails(400, "INVALID_ATTRIBUTE");
}
