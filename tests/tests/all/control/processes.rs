//! Server and agents as processes of their own, killed while data comes in.

use std::{fs, time::Duration};

use bygone_access::Access;
use bygone_base::Ts;
use bygone_catalog::record::Agent;
use bygone_control::{Action, By};
use bygone_tests::{
    ReplicaSet, Version, diff,
    ports::Port,
    process::{Bygone, Running},
    state_at, wait,
};
use serde_json::Value;

use super::Site;
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
