//! Server and agents as processes of their own, killed while data comes in.

use std::{fs, time::Duration};

use bygone_access::Access;
use bygone_base::{Clock as _, SystemClock, Ts};
use bygone_catalog::{
    Id, Lease,
    record::{Agent, Names, RestoreJob, RestoreStatus},
};
use bygone_control::{Action, By, JobEdit, NewDelivery, NewRestore};
use bygone_tests::{
    ReplicaSet, Version, diff,
    ports::Port,
    process::{Bygone, Running},
    state_at, wait,
};
use serde_json::Value;

use super::{Site, commands::served};
use crate::{
    bad_input::{orders, says, told},
    spine::mark,
};

/// Leases of agents and daemons end after 30 s, sessions too.
const TAKE_OVER: Duration = Duration::from_secs(150);

struct Processes {
    site: Site,
    port: Port,
}

impl Processes {
    async fn new() -> Processes {
        let site = Site::new().await;
        let by = By::system();
        let access = Access::new(site.control.clone());
        let (_, key) = access.create_agent_key(&site.project, "tests", &by).await.unwrap();
        let port = Port::reserve();
        let config = format!(
            "listen = \"{}\"\ndata = \"{}\"\n",
            port.address(),
            site.folder.path().display()
        );
        fs::write(site.folder.path().join("bygone.toml"), config).unwrap();
        fs::write(site.folder.path().join("agent.key"), &key).unwrap();
        Processes { site, port }
    }

    fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    async fn server(&self) -> Running {
        let config = self.site.folder.path().join("bygone.toml");
        let mut server = Bygone::new(["server", "--config"]).arg(config).start();
        server.line(wait::PATIENCE, |line| line.contains("bygone serves")).await;
        server
    }

    fn agent(&self) -> Running {
        let key = self.site.folder.path().join("agent.key");
        let agent = Bygone::new(["agent", "--server", &self.url(), "--key-file"]).arg(key);
        agent.start()
    }

    /// Until the server says that it has stored what the source had then.
    async fn stored(&self, at: Ts) {
        let look = async || {
            let asked = reqwest::get(format!("{}/metrics", self.url())).await.ok()?;
            let text = asked.text().await.ok()?;
            let name = "bygone_head_timestamp_seconds{";
            let line = text.lines().find(|line| line.starts_with(name))?;
            let secs: u32 = line.rsplit(' ').next()?.parse().ok()?;
            (secs > at.secs()).then_some(())
        };
        wait::until("the mark to be stored", TAKE_OVER, look).await;
    }

    async fn serving(&self) -> Vec<Agent> {
        let control = self.site.control();
        let heard = |agent: &Agent| control.now().since(agent.last_conf) < 25_000;
        let serves = |agent: &Agent| !agent.serves.is_empty() && !agent.left && heard(agent);
        let agents = control.agents(&self.site.project).await.unwrap();
        agents.into_iter().filter(serves).collect()
    }
}

/// A clean stop.
async fn interrupted(process: Running) {
    process.interrupt();
    let ended = process.wait(wait::PATIENCE).await.expect_code(0);
    assert!(ended.stderr.lines().any(|line| line.starts_with("stopped")), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_ones_are_replaced_and_nothing_is_lost() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    orders(&client, 0, 1000).await;
    let processes = Processes::new().await;
    let server = processes.server().await;
    let (first, second) = (processes.agent(), processes.agent());
    let control = processes.site.control();
    let job = processes.site.job("Shop", &set.uri()).await;
    control.act(&processes.site.project, &job, Action::Start, &By::system()).await.unwrap();
    let mark_one = mark(&client, version).await;
    processes.stored(mark_one.at.unwrap()).await;
    // One serves, the other stands by.
    let serving = processes.serving().await;
    assert_eq!(serving.len(), 1, "{serving:#?}");
    let active = serving[0].id.clone();
    // Kill -9 of the one: the other takes over. Which process it is, only the kill tells.
    first.kill().await;
    orders(&client, 2000, 500).await;
    let after = mark(&client, version).await;
    processes.stored(after.at.unwrap()).await;
    let third = processes.agent();
    second.kill().await;
    orders(&client, 3000, 500).await;
    let after = mark(&client, version).await;
    processes.stored(after.at.unwrap()).await;
    let now = processes.serving().await;
    assert!(now.iter().any(|agent| agent.id != active), "{now:#?}");
    // Kill -9 of the server: the agent waits, and goes on with the next one.
    server.kill().await;
    orders(&client, 4000, 500).await;
    let server = processes.server().await;
    let expected = mark(&client, version).await;
    processes.stored(expected.at.unwrap()).await;
    let url = processes.url();
    let status: Value = serde_json::from_str(
        &reqwest::get(format!("{url}/status")).await.unwrap().text().await.unwrap(),
    )
    .unwrap();
    assert_eq!(status["jobs"][0]["job"], "Shop", "{status}");
    // Clean stops: first the agent, then the server.
    interrupted(third).await;
    assert!(processes.serving().await.is_empty());
    interrupted(server).await;
    let target = ReplicaSet::single(version).await;
    let store = format!("file://{}", processes.site.store().display());
    let restore = Bygone::new(["restore", "--store", &store, "--to", &target.uri(), "--verify"]);
    let _ = restore.run().await.expect_code(0);
    let found = state_at(&target.client().await, version, None).await;
    assert_eq!(diff(&expected, &found), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_a_wrong_configuration_are_refused() {
    let processes = Processes::new().await;
    let server = processes.server().await;
    let wrong = Bygone::new(["agent", "--server", &processes.url()]);
    let wrong = wrong.env("BYGONE_AGENT_KEY", "0123456789abcdef0123456789abcdef");
    let line = told(&wrong.run().await, 1);
    says(&line, &["token is not known"]);
    assert!(!line.contains("0123456789abcdef"), "{line}");
    let line = told(&Bygone::new(["agent", "--server", &processes.url()]).run().await, 2);
    says(&line, &["no agent key", "--key-file"]);
    // A second server in the same folder, and one at the same address.
    let config = processes.site.folder.path().join("bygone.toml");
    let line = told(&Bygone::new(["server", "--config"]).arg(&config).run().await, 1);
    says(&line, &["another bygone runs on"]);
    let (other, address) = (processes.site.folder.path().join("other"), processes.port.address());
    let text = format!("listen = {address:?}\ndata = {other:?}\n");
    let second = processes.site.folder.path().join("second.toml");
    fs::write(&second, text).unwrap();
    let line = told(&Bygone::new(["server", "--config"]).arg(&second).run().await, 1);
    says(&line, &[&address]);
    interrupted(server).await;
    fs::write(&config, "data = \"/tmp/x\"\nlisten_on = \"x\"\n").unwrap();
    let line = told(&Bygone::new(["server", "--config"]).arg(&config).run().await, 2);
    says(&line, &["line 2", "listen_on"]);
    fs::write(&config, "data = \"/proc/x\"\n").unwrap();
    let line = told(&Bygone::new(["server", "--config"]).arg(&config).run().await, 1);
    says(&line, &["/proc/x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stopped_hands_its_jobs_over_at_once() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    orders(&client, 0, 100).await;
    let processes = Processes::new().await;
    let server = processes.server().await;
    let (first, second) = (processes.agent(), processes.agent());
    let control = processes.site.control();
    let job = processes.site.job("Shop", &set.uri()).await;
    control.act(&processes.site.project, &job, Action::Start, &By::system()).await.unwrap();
    processes.stored(mark(&client, version).await.at.unwrap()).await;
    let serving = processes.serving().await;
    let [active] = &serving[..] else { panic!("{serving:#?}") };
    // Which process it is only its end tells.
    first.terminate();
    let _ = first.wait(wait::PATIENCE).await.expect_code(0);
    if processes.serving().await.iter().any(|agent| agent.id == active.id) {
        let third = processes.agent();
        let alive = async || {
            let agents = control.agents(&processes.site.project).await.unwrap();
            (agents.iter().filter(|agent| !agent.left).count() == 2).then_some(())
        };
        wait::until("another agent", wait::PATIENCE, alive).await;
        second.terminate();
        let _ = second.wait(wait::PATIENCE).await.expect_code(0);
        is_handed_over(&processes, &job, &active.id).await;
        interrupted(third).await;
    } else {
        is_handed_over(&processes, &job, &active.id).await;
        interrupted(second).await;
    }
    interrupted(server).await;
}

/// The lease of who stopped is over, and another one has it.
async fn is_handed_over(processes: &Processes, job: &Id, before: &str) {
    let name = format!("agent/{job}");
    let control = processes.site.control();
    let lease = control.catalog().get::<Lease>(&name).await.unwrap().value;
    assert!(lease.owner != before || lease.until <= control.now(), "{lease:?}");
    let look = async || {
        let serving = processes.serving().await;
        serving.iter().any(|agent| agent.id != before).then_some(())
    };
    wait::until("another agent to serve", wait::PATIENCE, look).await;
}

/// Writes until it is dropped, some thousand documents a second.
fn load(client: &mongodb::Client) -> tokio::task::JoinSet<()> {
    let orders = client.database("load").collection::<bson::Document>("orders");
    let (mut writers, clock) = (tokio::task::JoinSet::new(), SystemClock::new());
    writers.spawn(async move {
        for round in 0_i64.. {
            let id = |n: i64| round * 200 + n;
            let some = (0..200).map(|n| bson::doc! {"_id": id(n), "pad": "y".repeat(40)});
            orders.insert_many(some).await.unwrap();
            clock.sleep(Duration::from_millis(100)).await;
        }
    });
    writers
}

async fn until_restore(
    site: &Site,
    what: &str,
    wanted: impl Fn(&RestoreJob) -> bool,
) -> RestoreJob {
    let look = async || {
        let all = site.control.restores(&site.project, None).await.unwrap();
        all.into_iter().find(|restore| wanted(restore))
    };
    wait::until(what, TAKE_OVER, look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_within_a_restore_a_drill_and_a_terminate_goes_on_with_them() {
    let version = Version::V8_2;
    let (set, target) = (ReplicaSet::single(version).await, ReplicaSet::single(version).await);
    let (client, there) = (set.client().await, target.client().await);
    for n in 0..30 {
        orders(&client, n * 1000, 1000).await;
    }
    let (site, by) = (Site::new().await, By::system());
    let (server, asked) = served(&site, &set).await;
    let (control, project) = (&site.control, &site.project);
    let job = control.jobs(project).await.unwrap()[0].job.id.clone();
    let writing = load(&client);
    // A restore without `drop`, beside what the target has of its own.
    there.database("mine").collection("kept").insert_one(bson::doc! {"_id": 1}).await.unwrap();
    let delivery = NewDelivery::Automated { to: target.uri(), drop: false, onto_source: false };
    let new = NewRestore { when: "latest".into(), names: Names::default(), delivery, verify: true };
    slow(&there, true).await;
    control.restore(project, &job, new, &by).await.unwrap();
    let half = async || {
        let loaded = there.database("shop").collection::<bson::Document>("orders");
        (loaded.estimated_document_count().await.unwrap() > 0).then_some(())
    };
    wait::until("the first documents", TAKE_OVER, half).await;
    let cut = until_restore(&site, "the restore", |r| r.begun.is_some()).await;
    assert_eq!(cut.status, RestoreStatus::InProgress, "too fast to be killed within");
    assert!(cut.made.contains(&"shop.orders".to_owned()), "{:?}", cut.made);
    server.kill().await;
    slow(&there, false).await;
    let server = asked.again(&site).await;
    let done = site.restored(&cut.id).await;
    assert_eq!(done.status, RestoreStatus::Finished, "{}", done.message);
    assert!(done.begun > cut.begun && done.proof.is_some());
    let kept = there.database("mine").collection::<bson::Document>("kept");
    assert_eq!(kept.count_documents(bson::doc! {}).await.unwrap(), 1);
    // A drill.
    let drill = Some(Some((target.uri(), 3600)));
    let edit = JobEdit { drill, ..JobEdit::default() };
    control.edit_job(project, &job, edit, &by).await.unwrap();
    until_restore(&site, "the drill to begin", |r| r.drill && r.begun.is_some()).await;
    server.kill().await;
    let server = asked.again(&site).await;
    let ended = |r: &RestoreJob| r.drill && r.status != RestoreStatus::InProgress;
    let drill = until_restore(&site, "the drill to end", ended).await;
    assert_eq!(drill.status, RestoreStatus::Finished, "{}", drill.message);
    drop(writing);
    // The end of the job.
    let _ = asked.command("job stop Shop").run().await.expect_code(0);
    let _ = asked.command("job terminate Shop --confirm Shop").run().await.expect_code(0);
    server.kill().await;
    let server = asked.again(&site).await;
    asked.until("INACTIVE").await;
    assert_eq!(control.jobs(project).await.unwrap()[0].job.set, None);
    let left = site.store().join("jobs/Shop");
    let empty = !left.exists() || files(&left) == 0;
    assert!(empty, "something of the job is left");
    server.interrupt();
    let _ = server.wait(wait::PATIENCE).await.expect_code(0);
}

/// Whether everything that a restore asks of a server takes seconds: then it can be met half-way.
async fn slow(target: &mongodb::Client, slow: bool) {
    let commands = ["insert", "createIndexes", "dbHash"].as_slice();
    let fail = bson::doc! {
        "configureFailPoint": "failCommand", "mode": if slow { "alwaysOn" } else { "off" },
        "data": {"failCommands": commands, "blockConnection": true, "blockTimeMS": 3000},
    };
    target.database("admin").run_command(fail).await.unwrap();
}

/// Files below a folder.
fn files(folder: &std::path::Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}
