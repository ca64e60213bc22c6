//! What clients written for Ops Manager send, and what they expect: MongoDB's Kubernetes operator, mongocli and its Go
//! client, scripts.

use axum::http::{Method, header};
use bygone_api::digest::Credentials;
use bygone_catalog::{
    Id,
    record::{Alert, AlertKind, AlertStatus, Job, Role},
};
use bygone_control::By;
use serde_json::{Value, json};

use crate::world::{Answer, Client, World, request};

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

    /// What the operator sends with every change of the status.
    async fn operator(&self, status: &str) -> Answer {
        let body = json!({
            "clusterId": self.cluster,
            "encryptionEnabled": false,
            "excludedNamespaces": [],
            "includedNamespaces": null,
            "provisioned": false,
            "statusName": status,
            "storageEngineName": "WIRED_TIGER",
            "syncSource": "PRIMARY",
            "groupId": self.group.as_str(),
        });
        self.owner.patch(&self.config(""), body).await
    }

    async fn job(&self) -> Job {
        self.world.control.job(&self.group, &self.cluster.parse().unwrap()).await.unwrap().job
    }

    async fn patch(&self, body: Value) -> Answer {
        self.owner.patch(&self.config(""), body).await
    }

    /// The newest events: kind and message.
    async fn events(&self) -> Vec<(String, String)> {
        let events = self.world.control.events(None, None).await.unwrap();
        events.into_iter().map(|event| (event.kind, event.message)).collect()
    }
}

#[tokio::test]
async fn a_sync_source_agrees_to_a_sync_that_is_needed_and_asks_for_none() {
    let site = Site::new().await;
    let started = site.operator("STARTED").await.is(200);
    assert_eq!(
        (&started["statusName"], &started["authMechanismName"]),
        (&json!("PROVISIONING"), &json!("MONGODB_CR"))
    );
    assert_eq!(site.operator("STARTED").await.is(200)["statusName"], "PROVISIONING");
    site.operator("STOPPED").await.is(200);
    site.operator("STARTED").await.is(200);
    for word in ["primary", "Secondary", "db1.example", "db1.example:27017"] {
        site.patch(json!({ "syncSource": word })).await.is(200);
    }
    let job = site.job().await;
    assert_eq!((job.requests.resync, job.source.member), (0, None));
    for bad in ["db1.example:x", "a b", ":1"] {
        site.patch(json!({ "syncSource": bad })).await.fails(400, "INVALID_ATTRIBUTE");
    }
    // To cover less is nothing to agree to. To cover more is, and a host is what the sync reads from.
    let less = json!({ "excludedNamespaces": ["tmp"], "syncSource": "PRIMARY" });
    site.patch(less).await.is(200);
    assert_eq!(site.job().await.requests.resync, 0);
    let more = json!({ "excludedNamespaces": [] });
    site.patch(more.clone()).await.fails(400, "INVALID_ATTRIBUTE");
    // Also of a stopped one.
    site.patch(json!({ "statusName": "STOPPED" })).await.is(200);
    site.patch(more).await.fails(400, "INVALID_ATTRIBUTE");
    site.patch(json!({ "excludedNamespaces": [], "syncSource": "db2.example" })).await.is(200);
    let job = site.job().await;
    assert_eq!(job.requests.resync, 1);
    assert_eq!(job.source.member.as_deref(), Some("db2.example:27017"));
    assert!(site.events().await.iter().any(|(kind, _)| kind == "RS_SYNC_REQUESTED_AUDIT"));
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let site = Site::new().await;
    site.operator("STARTED").await.is(200);
    let before = site.job().await;
    let both = json!({ "excludedNamespaces": ["tmp"], "statusName": "TERMINATING" });
    site.patch(both).await.fails(409, "CANNOT_TERMINATE_BACKUP_INVALID_STATE");
    for (body, code) in [
        (json!({ "encryptionEnabled": true }), "CANNOT_SET_ENCRYPTION"),
        (json!({ "storageEngineName": "MEMORY_MAPPED" }), "UNSUPPORTED_STORAGE_ENGINE"),
        (json!({ "authMechanismName": "GSSAPI" }), "CANNOT_SET_BACKUP_AUTH"),
        (json!({ "username": "other" }), "CANNOT_SET_BACKUP_AUTH"),
        (json!({ "password": "x" }), "CANNOT_SET_BACKUP_AUTH"),
    ] {
        site.patch(body.clone()).await.fails(409, code);
    }
    assert_eq!(site.job().await, before);
    // What says what is so anyhow is no change.
    let same = json!({ "authMechanismName": "NONE", "username": "user", "password": "" });
    site.patch(same).await.is(200);
    let read = site.owner.get(&site.config("")).await.is(200);
    assert_eq!(site.patch(read.clone()).await.is(200), read);
    assert_eq!(site.job().await, before);
}

#[tokio::test]
async fn a_proof_counts_as_the_operator_does() {
    let site = Site::new().await;
    let path = format!("{BASE}/admin/backup/oplog/mongoConfigs/");
    let challenge = site.world.send(request(&Method::GET, &path, "")).await;
    let proof = site.owner.proof(&challenge, &Method::GET, &path);
    let mut said = Credentials::parse(&proof).unwrap();
    said.count = "1".to_owned();
    said.response = said.expected(&site.owner.private, "GET");
    let mut asked = request(&Method::GET, &path, "");
    asked.headers_mut().insert(header::AUTHORIZATION, said.to_header().parse().unwrap());
    let answer = site.world.send(asked).await;
    assert_eq!(answer.is(200)["totalCount"], 0);
    assert!(
        answer.headers["x-mongodb-service-version"].to_str().unwrap().contains("versionString=8.")
    );
}

#[tokio::test]
async fn a_wrong_proof_of_a_key_leaves_an_event() {
    let site = Site::new().await;
    let mut wrong = site.world.owner().await;
    wrong.private.push('x');
    let from = "10.0.0.1:5000".parse().unwrap();
    wrong.say(&Method::GET, BASE, "", Some(from)).await.fails(401, "USER_UNAUTHORIZED");
    // Of names that nobody has, anybody could make up as many as he likes.
    let mut nobody = site.world.owner().await;
    nobody.public = "zzzzzzzz".to_owned();
    nobody.say(&Method::GET, BASE, "", Some(from)).await.fails(401, "USER_UNAUTHORIZED");
    let events = site.world.control.events(None, None).await.unwrap();
    let failed = events.iter().filter(|event| event.kind == "API_KEY_PROOF_FAILED");
    let told: Vec<_> = failed.map(|event| (event.address.as_deref(), &event.message)).collect();
    let said = format!("a proof of API key {} was wrong", wrong.public);
    assert_eq!(told, [(Some("10.0.0.1"), &said)]);
}

#[tokio::test]
async fn numbers_may_be_text_in_a_restore() {
    let site = Site::new().await;
    let post = async |body: Value| site.owner.post(&site.cluster("/restoreJobs"), body).await;
    let http = json!({ "methodName": "HTTP", "expirationHours": "1", "maxDownloads": "1" });
    // All is understood; there is nothing to be restored.
    for body in [
        json!({ "pointInTimeUTCMillis": "1795170600987", "delivery": http }),
        json!({ "pointInTimeUTCMillis": 1.795_170_6e12, "delivery": http }),
        json!({ "oplogTs": "1795170600", "oplogInc": "1", "snapshotId": "", "delivery": http }),
        json!({ "oplogTs": 1_795_170_600, "oplogInc": 1, "checkPointId": null, "delivery": http }),
        json!({ "snapshotId": "20261120T103000Z-1a2b3c4d", "delivery": {
            "methodName": "AUTOMATED_RESTORE",
            "targetGroupId": site.group.as_str(),
            "targetClusterName": "orders",
        } }),
    ] {
        post(body.clone()).await.fails(409, "MOMENT_NOT_COVERED");
    }
    let named = json!({ "snapshotId": "20261120T103000Z-1a2b3c4d", "delivery": {
        "methodName": "AUTOMATED_RESTORE",
        "targetGroupId": site.group.as_str(),
        "targetClusterName": "nothing",
    } });
    post(named).await.fails(404, "CLUSTER_NOT_FOUND");
    let bad = json!({ "methodName": "HTTP", "expirationHours": "soon" });
    post(json!({ "oplogTs": "1", "oplogInc": "1", "delivery": bad }))
        .await
        .fails(400, "INVALID_ATTRIBUTE");
}

#[tokio::test]
async fn what_a_schedule_has_no_use_for_is_kept_and_shown() {
    let site = Site::new().await;
    let path = site.config("/snapshotSchedule");
    let read = site.owner.get(&path).await.is(200);
    assert_eq!(read["fullIncrementalDayOfWeek"], "SUNDAY");
    assert_eq!(read["clusterCheckpointIntervalMin"], 0);
    let words =
        json!({ "fullIncrementalDayOfWeek": "Monday", "clusterCheckpointIntervalMin": "15" });
    let set = site.owner.patch(&path, words).await.is(200);
    assert_eq!(set["fullIncrementalDayOfWeek"], "MONDAY");
    assert_eq!(set["clusterCheckpointIntervalMin"], 15);
    assert_eq!(site.owner.patch(&path, set.clone()).await.is(200), set);
    let none = json!({ "clusterCheckpointIntervalMin": 0 });
    assert_eq!(site.owner.patch(&path, none).await.is(200)["clusterCheckpointIntervalMin"], 0);
    for bad in [
        json!({ "fullIncrementalDayOfWeek": "DOOMSDAY" }),
        json!({ "clusterCheckpointIntervalMin": 7 }),
    ] {
        site.owner.patch(&path, bad).await.fails(400, "INVALID_ATTRIBUTE");
    }
    // Nothing of all that changed the schedule.
    let text = json!({ "snapshotIntervalHours": "12", "weeklySnapshotRetentionWeeks": "4" });
    assert_eq!(site.owner.patch(&path, text).await.is(200)["snapshotIntervalHours"], 12);
    let events = site.events().await;
    let told = events.iter().filter(|(kind, _)| kind == "RS_SNAPSHOT_SCHEDULE_UPDATED_AUDIT");
    let told: Vec<&String> = told.map(|(_, message)| message).collect();
    let said = "backup job of orders changed: schedule.interval_secs: 21600 → 43200; schedule.weeks: 2 → 4";
    assert_eq!(told, [said]);
}

#[tokio::test]
async fn projects_and_keys_are_made() {
    let site = Site::new().await;
    let (owner, base) = (&site.owner, format!("{BASE}/"));
    assert_eq!(owner.get(&base).await.is(200)["throttling"], false);
    for path in ["/api/private/unauth/version", "/unauth/version"] {
        let version = site.world.send(request(&Method::GET, path, "")).await;
        assert_eq!(version.status, 200, "{path}");
        assert!(version.headers.contains_key("x-mongodb-service-version"));
    }
    let orgs = owner.get(&format!("{BASE}/orgs?name=bygone")).await.is(200);
    let org = orgs["results"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(owner.get(&format!("{BASE}/orgs/{org}")).await.is(200)["name"], "bygone");
    owner.get(&format!("{BASE}/orgs/x")).await.fails(404, "ORG_NOT_FOUND");
    let new = json!({ "name": "second", "orgId": org, "tags": [] });
    let made = owner.post(&format!("{BASE}/groups"), new.clone()).await.is(201);
    owner.post(&format!("{BASE}/groups"), new).await.fails(409, "GROUP_ALREADY_EXISTS");
    let named = owner.get(&format!("{BASE}/orgs/{org}/groups?name=second")).await.is(200);
    assert_eq!((&named["totalCount"], &named["results"][0]["id"]), (&json!(1), &made["id"]));
    assert_eq!(
        owner.get(&format!("{BASE}/groups/byName/second")).await.is(200)["orgId"],
        json!(org)
    );
    let admin = site.world.client(Role::ProjectBackupAdmin, Some(&site.group)).await;
    admin
        .post(&format!("{BASE}/groups"), json!({ "name": "x" }))
        .await
        .fails(403, "USER_UNAUTHORIZED");

    let keys = site.group("/agentapikeys");
    admin.post(&keys, json!({ "desc": "host 1" })).await.fails(403, "USER_UNAUTHORIZED");
    // An agent is given passwords, with which all data can be read.
    let key = owner.post(&keys, json!({ "desc": "host 1" })).await.is(200);
    let secret = key["key"].as_str().unwrap();
    assert!(
        site.world.control.agent_project(secret.as_bytes()).await.unwrap()
            == Some(site.group.clone())
    );
    let listed = admin.get(&keys).await;
    assert_eq!((&listed.is(200)[0]["_id"], listed.text.contains(secret)), (&key["_id"], false));
    admin.delete(&format!("{keys}/{}", key["_id"].as_str().unwrap())).await.is(200);
    assert_eq!(admin.get(&keys).await.is(200), json!([]));

    let global = format!("{BASE}/admin/apiKeys");
    admin.get(&global).await.fails(403, "USER_UNAUTHORIZED");
    owner
        .post(&global, json!({ "desc": "x", "roles": ["GROUP_OWNER"] }))
        .await
        .fails(400, "INVALID_ROLE");
    let made = owner.post(&global, json!({ "desc": "x", "roles": ["GLOBAL_OWNER"] })).await.is(200);
    let one = format!("{global}/{}", made["id"].as_str().unwrap());
    assert!(
        made["privateKey"].is_string() && owner.get(&one).await.is(200).get("privateKey").is_none()
    );
    owner.delete(&one).await.is(200);
    owner.get(&one).await.fails(404, "API_KEY_NOT_FOUND");
    // That of a project is none of these.
    owner.delete(&format!("{global}/{}", admin.public)).await.fails(404, "API_KEY_NOT_FOUND");
}

#[tokio::test]
async fn lists_are_filtered_and_their_links_keep_the_filters() {
    let site = Site::new().await;
    let control = &site.world.control;
    for (kind, n) in [("ONE", 3), ("TWO", 2), ("THREE", 1)] {
        for _ in 0..n {
            site.world.clock.pass(1000);
            control.event(&By::system(), Some(&site.group), None, kind, "x").await.unwrap();
        }
    }
    let events =
        async |query: &str| site.owner.get(&site.group(&format!("/events?{query}"))).await.is(200);
    let two = events("eventType=ONE&eventType=THREE&itemsPerPage=3&pretty=true").await;
    assert_eq!((&two["totalCount"], two["results"].as_array().unwrap().len()), (&json!(4), 3));
    let next = two["links"][1]["href"].as_str().unwrap();
    let kept = ["pageNum=2", "itemsPerPage=3", "eventType=ONE&eventType=THREE", "pretty=true"];
    assert!(kept.iter().all(|part| next.contains(part)), "{next}");
    // The job was made at 10:30:00, the events came a second apart.
    let some = events("minDate=2026-11-20T10:30:03Z&maxDate=2026-11-20T10:30:04Z").await;
    let kinds: Vec<&Value> =
        some["results"].as_array().unwrap().iter().map(|e| &e["eventTypeName"]).collect();
    assert_eq!(kinds, ["TWO", "ONE"]);
    assert_eq!(events("minDate=2026-11-21").await["totalCount"], 0);
    assert_eq!(events("minDate=2026-11-20&pageNum=9").await["totalCount"], 8);
    site.owner.get(&site.group("/events?minDate=x")).await.fails(400, "INVALID_ATTRIBUTE");

    let hosts = async |of: &str| {
        site.owner.get(&site.group(&format!("/hosts?clusterId={of}"))).await.is(200)
    };
    assert_eq!(hosts(&site.cluster).await["totalCount"], 2);
    assert_eq!(hosts(&"0".repeat(24)).await["totalCount"], 0);
    let name = site.group("/hosts/byName/db2.example:27017");
    assert_eq!(site.owner.get(&name).await.is(200)["hostname"], "db2.example");
    let cluster = site.owner.get(&site.cluster("")).await.is(200);
    assert_eq!(cluster["replicaSetName"], "rs0");
    let all = site.owner.get(&format!("{BASE}/clusters")).await.is(200);
    assert_eq!(all["results"][0]["clusters"][0]["name"], "orders");
    assert_eq!(all["results"][0]["clusters"][0]["nodeCount"], 2);
    let tracking = site.owner.get(&site.group("/alerts?status=TRACKING")).await.is(200);
    assert_eq!(tracking["totalCount"], 0);
    let configs = site.owner.get(&site.group("/alertConfigs")).await.is(200);
    assert!(configs["results"].as_array().unwrap().len() >= 10);
    let id = configs["results"][0]["id"].as_str().unwrap();
    let one = site.owner.get(&site.group(&format!("/alertConfigs/{id}"))).await.is(200);
    assert_eq!(one, configs["results"][0]);
}

#[tokio::test]
async fn an_alert_of_a_store_is_acknowledged() {
    let site = Site::new().await;
    let control = &site.world.control;
    let now = control.now();
    let alert = Alert {
        id: control.new_id(),
        project: None,
        job: None,
        target: "main".to_owned(),
        kind: AlertKind::StoreNearlyFull,
        status: AlertStatus::Open,
        created: now,
        updated: now,
        resolved: None,
        notified: None,
        told: Vec::new(),
        acknowledged: None,
        message: "the store is nearly full".to_owned(),
    };
    control.catalog().insert(&alert).await.unwrap();
    let list = site.owner.get(&format!("{BASE}/globalAlerts")).await.is(200);
    let link = list["results"][0]["links"][0]["href"].as_str().unwrap();
    let path = link.strip_prefix("http://backup.example:8443").unwrap().to_owned();
    let mut read = site.owner.get(&path).await.is(200);
    assert_eq!(read["status"], "OPEN");
    // As mongocli does, and with the whole document.
    read["acknowledgedUntil"] = json!("2026-11-21T00:00:00Z");
    read["acknowledgementComment"] = json!("a disk is coming");
    let done = site.owner.patch(&path, read).await.is(200);
    assert_eq!(
        (&done["status"], &done["acknowledgementComment"]),
        (&json!("ACKNOWLEDGED"), &json!("a disk is coming"))
    );
    let own = format!("/api/v2/alerts/{}/acknowledgement", alert.id);
    let back = json!({ "until": "2020-01-01T00:00:00Z" });
    assert_eq!(site.owner.ask(Method::PUT, &own, back.clone()).await.is(200)["status"], "OPEN");
    let reader = site.world.client(Role::ProjectBackupAdmin, Some(&site.group)).await;
    reader.ask(Method::PUT, &own, back).await.fails(403, "USER_UNAUTHORIZED");
    reader.get(&path).await.fails(403, "USER_UNAUTHORIZED");
    let none = format!("{BASE}/globalAlerts/{}", "0".repeat(24));
    site.owner.get(&none).await.fails(404, "ALERT_NOT_FOUND");
}

#[tokio::test]
async fn a_snapshot_is_asked_for() {
    let site = Site::new().await;
    let path = site.cluster("/snapshots/onDemandSnapshot");
    let ask = async |query: &str| {
        site.owner.ask(Method::POST, &format!("{path}{query}"), Value::Null).await
    };
    ask("").await.fails(409, "CANNOT_TAKE_SNAPSHOT_INVALID_STATE");
    site.operator("STARTED").await.is(200);
    ask("").await.is(200);
    ask("?retentionDays=3").await.is(200);
    for bad in ["?retentionDays=0", "?retentionDays=x", "?retentionDays=99999"] {
        ask(bad).await.fails(400, "INVALID_ATTRIBUTE");
    }
    let asked = site.job().await.requests;
    assert_eq!((asked.snapshot, asked.snapshot_days), (2, Some(3)));
}

#[tokio::test]
async fn stores_take_what_the_operator_and_mongocli_send() {
    let site = Site::new().await;
    let (owner, admin) = (&site.owner, format!("{BASE}/admin/backup"));
    let dir = tempfile::tempdir().unwrap();
    let files = format!("{admin}/snapshot/fileSystemConfigs");
    let new = json!({
        "id": "second",
        "storePath": dir.path().join("s").display().to_string(),
        "assignmentEnabled": "true",
        "loadFactor": "2",
        "wtCompressionSetting": "NONE",
        "mmapv1CompressionSetting": "GZIP",
        "links": null,
    });
    let made = owner.post(&files, new).await.is(200);
    assert_eq!((&made["loadFactor"], &made["wtCompressionSetting"]), (&json!(2), &json!("GZIP")));
    let again = owner.ask(Method::PUT, &format!("{files}/second"), made.clone()).await.is(200);
    assert_eq!(again, made);

    let s3 = format!("{admin}/snapshot/s3Configs");
    let sent = |more: Value| {
        let mut body = json!({
            "id": "s", "s3BucketName": "b/../c", "s3BucketEndpoint": "s3.example",
            "awsAccessKey": "", "awsSecretKey": "", "s3AuthMethod": "IAM_ROLE",
            "uri": "mongodb://u:topsecret@h", "s3MaxConnections": 50, "ssl": false,
            "sseEnabled": false, "disableProxyS3": false, "acceptedTos": true, "labels": [],
            "encryptedCredentials": false, "pathStyleAccessEnabled": true, "writeConcern": "W2",
            "customCertificates": [], "assignmentEnabled": true, "loadFactor": 1,
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    // All of it is understood, but the name, which is none.
    owner.post(&s3, sent(json!({}))).await.fails(400, "INVALID_ATTRIBUTE");
    for (more, code) in [
        (json!({ "awsSecretKey": "topsecret" }), "CANNOT_SET_S3_CREDENTIALS"),
        (json!({ "sseEnabled": true }), "CANNOT_SET_SSE"),
        (json!({ "acceptedTos": false }), "TOS_NOT_ACCEPTED"),
        (json!({ "objectLockEnabled": true }), "CANNOT_SET_OBJECT_LOCK"),
        (
            json!({ "customCertificates": [{ "filename": "x", "certString": "y" }] }),
            "CANNOT_SET_S3_CERTIFICATES",
        ),
    ] {
        let refused = owner.post(&s3, sent(more)).await;
        refused.fails(409, code);
        assert!(!refused.text.contains("topsecret"));
    }
    for kind in ["snapshot", "oplog", "sync"] {
        let list = format!("{admin}/{kind}/mongoConfigs");
        let body = json!({ "id": "m", "uri": "mongodb://h", "ssl": false, "labels": null });
        owner.post(&list, body.clone()).await.fails(409, "MONGODB_STORES_NOT_SUPPORTED");
        owner
            .ask(Method::PUT, &format!("{list}/m"), body)
            .await
            .fails(409, "MONGODB_STORES_NOT_SUPPORTED");
    }
    let daemon = format!("{admin}/daemon/configs/here/%2Fhead%2F");
    owner.get(&daemon).await.fails(404, "RESOURCE_NOT_FOUND");
    let body = json!({ "machine": { "machine": "here", "headRootDirectory": "/head/" } });
    owner.ask(Method::PUT, &daemon, body).await.fails(409, "CANNOT_CONFIGURE_DAEMON");
    let group = format!("{admin}/groups/{}", site.group);
    let read = owner.get(&group).await.is(200);
    assert_eq!(read["labelFilter"], json!([]));
    let all = owner.get(&format!("{admin}/groups")).await.is(200);
    assert!(all["results"].as_array().unwrap().contains(&read), "{all}");
    assert_eq!(owner.ask(Method::PUT, &group, read.clone()).await.is(200), read);
    let labels = json!({ "id": site.group.as_str(), "labelFilter": ["fast"] });
    owner.ask(Method::PUT, &group, labels).await.fails(409, "CANNOT_SET_BACKUP_PLACEMENT");
}
