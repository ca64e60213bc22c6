//! `bygone job`, `snapshot`, `user` and `store` against a server, with an API key.

use std::fs;

use bygone_access::Access;
use bygone_catalog::record::{Grant, Role};
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

    /// Until the job's status is `wanted`.
    pub(super) async fn until(&self, wanted: &str) {
        let look = async || {
            let jobs = self.json("job list").await;
            (jobs[0]["status_name"] == wanted).then_some(())
        };
        wait::until(wanted, wait::PATIENCE * 2, look).await;
    }
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
    let mut server = Bygone::new(["server", "--config"]).arg(&config).start();
    server.line(wait::PATIENCE, |line| line.contains("bygone serves")).await;
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
    let _ = asked.command(&format!("snapshot delete Shop {first}")).run().await.expect_code(0);
    let line = told(&asked.command(&format!("snapshot delete Shop {last}")).run().await, 1);
    says(&line, &["newest snapshot is not deleted"]);
    people_and_stores(&asked).await;
    a_way_back_in(&site, &asked).await;
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
