//! `bygone job`, `snapshot`, `user` and `store` against a server, with an API key.

use std::{fs, path::Path, sync::Arc};

use bygone_access::Access;
use bygone_catalog::{
    Catalog, Sqlite,
    record::{Alert, AlertKind, AlertStatus, Grant, Job, Role},
};
use bygone_control::By;
use bygone_tests::{
    ReplicaSet, Version,
    ports::Port,
    process::{Bygone, Running},
    wait,
};
use serde_json::Value;

use super::Site;
use crate::bad_input::{orders, says, told};

pub(super) struct Asked {
    pub(super) url: String,
    /// `PUBLIC:PRIVATE`
    pub(super) key: String,
}

impl Asked {
    pub(super) fn command(&self, words: &str) -> Bygone {
        let mut words = words.split(' ');
        let name = words.next().unwrap();
        Bygone::new([name, "--server", &self.url])
            .env("BYGONE_API_KEY", &self.key)
            .args(words.map(str::to_owned))
    }

    pub(super) async fn json(&self, words: &str) -> Value {
        let output = self.command(words).arg("--json").run().await.expect_code(0);
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", output.stdout))
    }

    /// The server once more, after its end.
    pub(super) async fn again(&self, site: &Site) -> Running {
        started(&site.folder.path().join("bygone.toml")).await
    }

    /// Until the job's status is `wanted`.
    pub(super) async fn until(&self, wanted: &str) {
        let look = async || {
            let jobs = self.json("job list").await;
            (jobs[0]["status_name"] == wanted).then_some(())
        };
        wait::until(wanted, wait::PATIENCE * 2, look).await;
    }
}

async fn started(config: &Path) -> Running {
    let mut server = Bygone::new(["server", "--config"]).arg(config).start();
    server.line(wait::PATIENCE, |line| line.contains("bygone serves")).await;
    server
}

/// A server process with an owner's key, and a job of the set that is started.
pub(super) async fn served(site: &Site, set: &ReplicaSet) -> (Running, Asked) {
    let (by, access) = (By::system(), Access::new(site.control.clone()));
    let owner = vec![Grant { role: Role::GlobalOwner, project: None }];
    let made = access.create_key("tests", owner, &by).await.unwrap();
    let port = Port::reserve();
    let folder = site.folder.path();
    let config = folder.join("bygone.toml");
    let text =
        format!("listen = \"{}\"\ndata = \"{}\"\nagent = true\n", port.address(), folder.display());
    fs::write(&config, text).unwrap();
    let server = started(&config).await;
    let url = format!("http://{}", port.address());
    let asked = Asked { key: format!("{}:{}", made.key.public, made.private), url };
    let source = folder.join("source");
    fs::write(&source, set.uri()).unwrap();
    let add = asked.command("job add Shop --source-file").arg(&source);
    let said = add.run().await.expect_code(0);
    assert!(said.stdout.contains("bygone job start Shop"), "{}", said.stdout);
    let _ = asked.command("job start Shop").run().await.expect_code(0);
    asked.until("STARTED").await;
    (server, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_job_on_the_command_line() {
    let set = ReplicaSet::single(Version::V8_2).await;
    orders(&set.client().await, 0, 100).await;
    let site = Site::new().await;
    let (server, asked) = served(&site, &set).await;
    let table = asked.command("job list").run().await.expect_code(0).stdout;
    assert!(
        table.contains("Shop") && table.contains("rs0") && table.contains("complete"),
        "{table}"
    );
    orders(&set.client().await, 1000, 100).await;
    let _ = asked.command("snapshot take Shop").run().await.expect_code(0);
    let history = wait::until("the second snapshot", wait::PATIENCE, async || {
        let history = asked.json("snapshot list Shop").await;
        (history["snapshots"].as_array()?.len() == 2).then_some(history)
    })
    .await;
    let first = history["snapshots"][0]["id"].as_str().unwrap();
    let last = history["snapshots"][1]["id"].as_str().unwrap();
    let _ = asked.command(&format!("snapshot keep Shop {first}")).run().await.expect_code(0);
    let listed = asked.command("snapshot list Shop").run().await.expect_code(0).stdout;
    assert!(listed.contains("for ever") && listed.contains("restorable: "), "{listed}");
    let delete =
        async |rest: &str| asked.command(&format!("snapshot delete Shop {rest}")).run().await;
    let line = told(&delete(first).await, 2);
    says(&line, &["nothing was deleted", "--confirm Shop"]);
    let _ = delete(&format!("{first} --confirm Shop")).await.expect_code(0);
    let line = told(&delete(&format!("{last} --confirm Shop")).await, 1);
    says(&line, &["newest snapshot is not deleted"]);
    people_and_stores(&asked).await;
    a_way_back_in(&site, &asked).await;
    changed(&asked, &site).await;
    asked_for(&asked, &site).await;
    let line = told(&asked.command("job terminate Shop --confirm Shop").run().await, 1);
    says(&line, &["stop it first"]);
    let _ = asked.command("job stop Shop").run().await.expect_code(0);
    let line = told(&asked.command("job terminate Shop").run().await, 2);
    says(&line, &["nothing was deleted", "--confirm Shop"]);
    let _ = asked.command("job terminate Shop --confirm Shop").run().await.expect_code(0);
    asked.until("INACTIVE").await;
    let _ = asked.command("job remove Shop").run().await.expect_code(0);
    server.interrupt();
    let _ = server.wait(wait::PATIENCE).await.expect_code(0);
}

/// Beside the running server.
async fn a_way_back_in(site: &Site, asked: &Asked) {
    let config = site.folder.path().join("bygone.toml");
    let command = || Bygone::new(["catalog", "owner-link", "--config"]).arg(&config);
    let said = command().run().await.expect_code(0).stdout;
    let link = said.split_whitespace().find(|word| word.contains("/welcome/")).unwrap();
    let secret = link.trim_end_matches(',').rsplit('/').next().unwrap();
    let access = Access::new(site.control.clone());
    let owner = access.accept(secret, "long enough, and new").await.unwrap();
    // He has a password, and gets a link for another one.
    let line = told(&command().args(["--user".to_owned(), "ann".to_owned()]).run().await, 1);
    says(&line, &["no Global Owner", &owner.name]);
    let json = command().arg("--json").run().await.expect_code(0).stdout;
    assert!(json.contains(&owner.name), "{json}");
    let audited = asked.command("user list").run().await.expect_code(0).stdout;
    assert!(audited.contains("GLOBAL_OWNER"), "{audited}");
    let events = site.control.events(None, None).await.unwrap();
    assert!(events.iter().filter(|event| event.kind == "USER_INVITED_AUDIT").count() >= 2);
    // An API key that is good for all projects, by the same commands.
    let made =
        asked.command("user new-key all --role GLOBAL_OWNER").run().await.expect_code(0).stdout;
    let public = made.trim().split(':').next().unwrap();
    let listed = asked.command("user keys").run().await.expect_code(0).stdout;
    assert!(
        listed.lines().any(|line| line.contains(public) && line.contains("GLOBAL_OWNER")),
        "{listed}"
    );
    let _ = asked.command(&format!("user remove-key {public}")).run().await.expect_code(0);
}

async fn people_and_stores(asked: &Asked) {
    let invited = asked.command("user invite Ann --role PROJECT_READ_ONLY").run().await;
    let link = invited.expect_code(0).stdout;
    assert!(link.contains("/welcome/"), "{link}");
    let users = asked.command("user list").run().await.expect_code(0).stdout;
    assert!(users.contains("ann") && users.contains("PROJECT_READ_ONLY"), "{users}");
    // A key that may only look: it sees the job, and may not stop it.
    let made = asked.command("user new-key looker --role PROJECT_READ_ONLY").run().await;
    let looker =
        Asked { url: asked.url.clone(), key: made.expect_code(0).stdout.trim().to_owned() };
    assert_eq!(looker.json("job list").await[0]["cluster"], "Shop");
    let refused = looker.command("job stop Shop").run().await;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let wrong = Asked { url: asked.url.clone(), key: format!("{}0", looker.key) };
    let refused = wrong.command("job list").run().await;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(!refused.stderr.contains(&looker.key), "{}", refused.stderr);
    let stores = asked.command("store list").run().await.expect_code(0).stdout;
    assert!(stores.contains("main") && stores.contains("file://"), "{stores}");
    let line = told(&asked.command("store remove main").run().await, 1);
    says(&line, &["jobs use the store main"]);
}

/// Schedule and source of the job, drills, a restore by link, alerts, agent keys.
async fn changed(asked: &Asked, site: &Site) {
    let schedule =
        asked.json("job schedule Shop --interval 12h --keep-daily 9 --day-at 03:30").await;
    assert_eq!((&schedule["interval_secs"], &schedule["days"]), (&43_200.into(), &9.into()));
    assert_eq!(asked.json("job schedule Shop").await, schedule);
    let source = site.folder.path().join("source");
    let change = asked.command("job source Shop --source-file").arg(&source);
    let _ = change.run().await.expect_code(0);
    let line = told(&asked.command("job source Shop --resync").run().await, 2);
    says(&line, &["nothing of the source", "--ns-include"]);
    let scratch = site.folder.path().join("scratch");
    fs::write(&scratch, "mongodb://127.0.0.1:1/?directConnection=true").unwrap();
    let drill = asked.command("job drill Shop --every 30d --to-file").arg(&scratch);
    let _ = drill.run().await.expect_code(0);
    assert_eq!(asked.json("job list").await[0]["drill"]["every_secs"], 30 * 86_400);
    let _ = asked.command("job drill Shop --off").run().await.expect_code(0);
    // A restore that drops is confirmed; what it would do is shown without that.
    let start = || asked.command("restore-job start Shop --drop --to-file").arg(&source);
    let line = told(&start().run().await, 2);
    says(&line, &["nothing was restored", "--confirm Shop"]);
    let line = told(&start().arg("--dry-run").run().await, 2);
    says(&line, &["source"]);
    let line = told(&asked.command("restore-job start Shop --link zip").run().await, 2);
    says(&line, &["zip", "archive, tar"]);
    let made = asked.json("restore-job start Shop --link shop.orders").await;
    let id = made["id"].as_str().unwrap().to_owned();
    let look = async || {
        let found = asked.json(&format!("restore-job show {id}")).await;
        (found["status"] == "finished").then_some(())
    };
    wait::until("the file", wait::PATIENCE * 2, look).await;
    let listed = asked.command("restore-job list Shop").run().await.expect_code(0).stdout;
    assert!(listed.contains(&id) && listed.contains("link: shop.orders"), "{listed}");
    let ended = asked.command(&format!("restore-job cancel {id}")).run().await.expect_code(0);
    assert!(ended.stdout.contains("good no more"), "{}", ended.stdout);
    let line = told(&asked.command(&format!("restore-job cancel {id}")).run().await, 1);
    says(&line, &["has ended"]);
    let of_server = server_alert(site).await;
    let alerts = asked.command("alert list --all").run().await.expect_code(0).stdout;
    assert!(alerts.contains("since") && alerts.contains(&of_server), "{alerts}");
    let line = told(&asked.command("alert ack 000000000000000000000000").run().await, 1);
    says(&line, &["alert"]);
    let _ = asked.command("user new-agent-key spare").run().await.expect_code(0);
    let keys = asked.json("user agent-keys").await;
    let spare = keys.as_array().unwrap().iter().find(|key| key["description"] == "spare");
    let remove = format!("user remove-agent-key {}", spare.unwrap()["id"].as_str().unwrap());
    let _ = asked.command(&remove).run().await.expect_code(0);
}

/// An alert that is of no project; the server may close it at any moment.
async fn server_alert(site: &Site) -> String {
    let now = site.control.now();
    let alert = Alert {
        id: site.control.new_id(),
        project: None,
        job: None,
        target: "main".to_owned(),
        kind: AlertKind::GroomOverdue,
        status: AlertStatus::Open,
        created: now,
        updated: now,
        resolved: None,
        notified: None,
        told: Vec::new(),
        acknowledged: None,
        message: "no groom for a week".to_owned(),
    };
    site.control.catalog().insert(&alert).await.unwrap();
    alert.id.to_string()
}

/// What a check of the store found, how checks and grooms go about it, and retention for what is there.
async fn upkeep(asked: &Asked) {
    let look = async || {
        let checks = asked.json("store checks main").await;
        checks.as_array()?.iter().find(|check| !check["finished"].is_null()).cloned()
    };
    let check = wait::until("a check of the store", wait::PATIENCE * 2, look).await;
    assert_eq!((&check["failure"], &check["damage"]), (&Value::Null, &Value::Array(vec![])));
    let shown = asked.command("store checks main").run().await.expect_code(0).stdout;
    assert!(shown.contains("nothing is damaged"), "{shown}");
    let before = asked.json("store upkeep").await;
    let after = asked.json("store upkeep --check-rate 20 --check-every 12h").await;
    assert_eq!(
        (&after["check_mb_per_second"], &after["check_every_secs"]),
        (&20.into(), &43_200.into())
    );
    assert_eq!(after["check_within_secs"], before["check_within_secs"]);
    assert_eq!(asked.json("store upkeep").await, after);
    let line = told(&asked.command("store upkeep --check-within 1h").run().await, 2);
    says(&line, &["check_within_secs"]);
    // The snapshots were taken under another schedule than the one that `changed` gave.
    let dry = asked.json("job apply-schedule Shop --dry-run").await;
    let ids: Vec<&Value> = dry.as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert!(!ids.is_empty(), "{dry}");
    let done = asked.json("job apply-schedule Shop").await;
    assert!(
        ids.iter().all(|id| done.as_array().unwrap().iter().any(|one| one["id"] == **id)),
        "{done}"
    );
    let again =
        asked.command("job apply-schedule Shop --dry-run").run().await.expect_code(0).stdout;
    assert!(again.contains("already"), "{again}");
}

/// Checks, grooms, stores, resyncs, and a copy of the catalog of a server that runs.
async fn asked_for(asked: &Asked, site: &Site) {
    let _ = asked.command("job check Shop").run().await.expect_code(0);
    let look = async || {
        let jobs = site.control.jobs(&site.project).await.unwrap();
        let check = site.control.newest_check(&site.project, &jobs[0].job.id).await.unwrap();
        check.filter(|check| check.finished.is_some())
    };
    let check = wait::until("the check", wait::PATIENCE * 2, look).await;
    assert!(check.damage.is_empty() && check.failure.is_none(), "{check:?}");
    let said = asked.command("store groom main --dry-run").run().await.expect_code(0).stdout;
    assert!(said.contains("bygone store grooms main"), "{said}");
    let look = async || {
        let runs = asked.json("store grooms main").await;
        let dry = runs.as_array()?.iter().find(|run| run["dry_run"] == true).cloned()?;
        (!dry["finished"].is_null()).then_some(dry)
    };
    let dry = wait::until("the dry run", wait::PATIENCE * 2, look).await;
    assert!(dry["failure"].is_null() && dry["done"]["packs"].as_u64() > Some(0), "{dry}");
    upkeep(asked).await;
    let second = site.folder.path().join("second");
    let add = asked.command("store add second").arg(format!("file://{}", second.display()));
    let _ = add.run().await.expect_code(0);
    assert!(second.join("bygone.repository").exists());
    let _ = asked.command("store remove second").run().await.expect_code(0);
    let _ = asked.command("job resync Shop").run().await.expect_code(0);
    let look = async || {
        let timelines = fs::read_dir(site.store().join("jobs/Shop/rs0/timelines")).unwrap().count();
        let history = asked.json("snapshot list Shop").await;
        (timelines == 2 && history["snapshots"].as_array()?.len() == 2).then_some(())
    };
    wait::until("the resync", wait::PATIENCE * 2, look).await;
    let (config, copy) =
        (site.folder.path().join("bygone.toml"), site.folder.path().join("copy.db"));
    let backup =
        |copy: &Path| Bygone::new(["catalog", "backup", "--config"]).arg(&config).arg(copy);
    let said = backup(&copy).run().await.expect_code(0).stdout;
    assert!(said.contains("catalog.key"), "{said}");
    let line = told(&backup(&copy).run().await, 2);
    says(&line, &["exists already"]);
    let copied = Catalog::new(Arc::new(Sqlite::open(&copy).unwrap()));
    assert_eq!(copied.all::<Job>(None).await.unwrap()[0].cluster, "Shop");
}
