//! Agents: who serves what, and the way in for their data.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use bygone_agent::fleet::{self, ConfCall, Hidden, Work};
use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use bygone_catalog::{
    Catalog, Id, Lease,
    record::{Agent, AgentKey, Job, JobState},
};
use bygone_ingest::http::{Caller, Gate};
use bygone_oplog::uplink::{PartKey, Uplink};

use crate::{By, Control};

/// A job is another agent's when its own was not heard for so long.
const LEASE_MS: i64 = 30_000;
/// Agents not heard for so long are forgotten.
const FORGET_MS: i64 = 7 * 86_400_000;

impl Control {
    /// Agents of a project that were heard lately, or still serve.
    pub async fn agents(&self, project: &Id) -> Result<Vec<Agent>> {
        self.catalog().all(Some(project.as_str())).await
    }

    /// An agent tells how it fares and asks for its work.
    pub async fn conf(&self, project: &Id, call: &ConfCall) -> Result<Vec<Work>> {
        let now = self.now();
        let mut jobs: Vec<Job> = self.catalog().all(Some(project.as_str())).await?;
        let mut changed = false;
        for found in &call.found {
            let job = jobs.iter().find(|job| job.id.as_str() == found.job);
            let Some(job) = job else { continue };
            if let Some(set) = &found.set
                && job.set.is_none()
            {
                self.name_set(job, set).await?;
                changed = true;
            }
            if found.resync > job.requests.resync_done {
                self.resync_begun(job, found.resync).await?;
                changed = true;
            }
        }
        if changed {
            jobs = self.catalog().all(Some(project.as_str())).await?;
        }
        let mut work = Vec::new();
        let mut serves = Vec::new();
        if !call.leaving {
            let active = jobs.iter().filter(|job| job.state == JobState::Active);
            let share = self.share(project, active.clone().count(), call, now).await?;
            let own: HashSet<&str> = call.found.iter().map(|found| found.job.as_str()).collect();
            let held = self.held(&call.agent, now).await?;
            for job in active {
                let more = own.contains(job.id.as_str()) || serves.len() < share;
                let granted = held.contains(&lease_name(&job.id));
                if more && (granted || self.grant(job, call, now).await?) {
                    serves.push(job.id.clone());
                    work.push(self.work(job)?);
                }
            }
        }
        self.note_agent(project, call, serves, now).await?;
        Ok(work)
    }

    /// How many jobs one agent takes by itself, so that those alive have about equally many.
    async fn share(
        &self,
        project: &Id,
        jobs: usize,
        call: &ConfCall,
        now: UnixMillis,
    ) -> Result<usize> {
        let agents = self.agents(project).await?;
        let alive = |agent: &&Agent| {
            agent.id != call.agent && !agent.left && now.since(agent.last_conf) < LEASE_MS
        };
        let others = agents.iter().filter(alive).count();
        Ok(jobs.div_ceil(others + 1))
    }

    async fn grant(&self, job: &Job, call: &ConfCall, now: UnixMillis) -> Result<bool> {
        let until = UnixMillis(now.0 + LEASE_MS);
        let lease = self.catalog().lease(&lease_name(&job.id), &call.agent, now, until).await?;
        Ok(lease.is_some())
    }

    /// The leases of an agent that last: seen at one look for all of its jobs.
    async fn held(&self, agent: &str, now: UnixMillis) -> Result<HashSet<String>> {
        let until = UnixMillis(now.0 + LEASE_MS);
        let all: Vec<Lease> = self.catalog().all(None).await?;
        let own = all.into_iter().filter(|held| held.owner == agent && held.lasts(now, until));
        Ok(own.map(|held| held.name).collect())
    }

    fn work(&self, job: &Job) -> Result<Work> {
        let job = job.clone();
        let uri = self.seal().open(&job.source.uri, &format!("job/{}", job.id))?;
        let reason = self.running(&job.id).and_then(|r| r.status.borrow().resync.clone());
        Ok(Work {
            job: job.id.to_string(),
            name: job.name,
            set: job.set,
            uri: Hidden(uri.to_string()),
            include: job.source.include,
            exclude: job.source.exclude,
            member: job.source.member,
            member_tag: job.source.member_tag,
            throttle: job.source.throttle,
            workers: job.source.workers,
            resync: job.requests.resync,
            resync_done: job.requests.resync_done,
            reason,
        })
    }

    /// The name of the set is what the part is called in the stores: it is learnt once.
    async fn name_set(&self, job: &Job, set: &str) -> Result<()> {
        let part: bygone_base::PartName = set.parse()?;
        let changed = self.catalog().change::<Job>(job.id.as_str(), |job| {
            job.set.get_or_insert_with(|| part.as_str().to_owned());
            Ok(())
        });
        changed.await?;
        Ok(())
    }

    /// An agent has begun with a new initial sync that was asked for: the next agent does not do it again.
    async fn resync_begun(&self, job: &Job, count: u64) -> Result<()> {
        let changed = self.catalog().change::<Job>(job.id.as_str(), |job| {
            let asked = job.requests.resync;
            job.requests.resync_done = job.requests.resync_done.max(count).min(asked);
            Ok(())
        });
        changed.await.map(|_| ())
    }

    async fn note_agent(
        &self,
        project: &Id,
        call: &ConfCall,
        serves: Vec<Id>,
        now: UnixMillis,
    ) -> Result<()> {
        let known = self.catalog().find::<Agent>(&call.agent).await?;
        if known.as_ref().is_some_and(|row| row.value.project != *project) {
            return Err(Error::new(ErrorKind::Denied, "the agent belongs to another project"));
        }
        let problems = call
            .found
            .iter()
            .filter_map(|found| Some((found.job.parse::<Id>().ok()?, found.problem.clone()?)));
        let agent = Agent {
            id: call.agent.clone(),
            project: project.clone(),
            host: call.host.clone(),
            version: call.version.clone(),
            started: known.as_ref().map_or(now, |row| row.value.started),
            last_conf: now,
            serves,
            problems: problems.collect(),
            left: call.leaving,
        };
        if known.is_none() {
            self.catalog().insert(&agent).await?;
            let message = format!("agent {} of {} began", agent.id, agent.host);
            return self
                .event(&By::system(), Some(project), None, "BACKUP_AGENT_UP", message)
                .await;
        }
        let noted = self.catalog().change::<Agent>(&agent.id, |kept| {
            kept.clone_from(&agent);
            Ok(())
        });
        noted.await?;
        if call.leaving {
            self.free_leases(&call.agent, now).await?;
            let message = format!("agent {} of {} stopped", agent.id, agent.host);
            return self
                .event(&By::system(), Some(project), None, "BACKUP_AGENT_LEFT", message)
                .await;
        }
        Ok(())
    }

    /// What a leaving agent served, others may take at once.
    async fn free_leases(&self, agent: &str, now: UnixMillis) -> Result<()> {
        let catalog: &Catalog = self.catalog();
        let held: Vec<Lease> = catalog.all(None).await?;
        for lease in held.iter().filter(|lease| lease.owner == agent) {
            catalog.release(lease, now).await?;
        }
        Ok(())
    }

    /// The agents whose ids begin so are no more: what they served, others may take at once.
    pub async fn agents_gone(&self, prefix: &str) -> Result<()> {
        for agent in self.catalog().all::<Agent>(None).await? {
            if agent.id.starts_with(prefix) && !agent.left {
                let leave = |agent: &mut Agent| {
                    agent.left = true;
                    Ok(())
                };
                self.catalog().change(&agent.id, leave).await?;
            }
        }
        self.end_leases(|lease| lease.owner.starts_with(prefix)).await
    }

    /// Forgets agents that are long gone.
    pub(crate) async fn forget_agents(&self) -> Result<()> {
        let now = self.now();
        for agent in self.catalog().all::<Agent>(None).await? {
            if now.since(agent.last_conf) > FORGET_MS {
                self.catalog().delete::<Agent>(&agent.id).await?;
            }
        }
        Ok(())
    }

    /// The project whose agents have this key.
    pub async fn agent_project(&self, key: &[u8]) -> Result<Option<Id>> {
        let hash = blake3::hash(key);
        let mut found = None;
        for known in self.catalog().all::<AgentKey>(None).await? {
            // The comparison of hashes does not stop early, and all are compared.
            if blake3::Hash::from_hex(&known.hash).is_ok_and(|known| known == hash) {
                found = Some(known.project);
            }
        }
        Ok(found)
    }
}

fn lease_name(job: &Id) -> String {
    format!("agent/{job}")
}

/// The agents' way in: by key, to the jobs of the key's project that run here.
#[derive(Debug)]
pub struct AgentGate {
    control: Arc<Control>,
}

impl AgentGate {
    /// In front of the jobs of a control plane.
    pub fn new(control: Arc<Control>) -> Arc<AgentGate> {
        Arc::new(AgentGate { control })
    }
}

#[async_trait]
impl Gate for AgentGate {
    async fn caller(&self, token: &[u8]) -> Result<Option<Caller>> {
        let project = self.control.agent_project(token).await?;
        Ok(project.map(|id| Caller { name: format!("agent of {id}"), scope: id.to_string() }))
    }

    async fn uplink(&self, caller: &Caller, key: &PartKey) -> Result<Arc<dyn Uplink>> {
        self.control.uplink(&caller.scope, key)
    }

    async fn conf(&self, caller: &Caller, call: &[u8]) -> Result<Vec<u8>> {
        let project: Id = caller.scope.parse()?;
        let call: ConfCall = fleet::decode(call)?;
        fleet::encode(&self.control.conf(&project, &call).await?)
    }
}

#[cfg(test)]
mod tests {
    use bygone_base::{SystemClock, SystemRng};
    use bygone_catalog::{Seal, Sqlite};

    use super::*;
    use crate::{Action, NewJob, NewSource, NewStore};

    fn call(agent: &str) -> ConfCall {
        ConfCall {
            agent: agent.to_owned(),
            host: "here".to_owned(),
            version: "1".to_owned(),
            found: Vec::new(),
            leaving: false,
        }
    }

    /// With two jobs that are to be served.
    async fn site(folder: &std::path::Path) -> (Control, Id) {
        let catalog = Catalog::new(Arc::new(Sqlite::in_memory().unwrap()));
        let seal = Seal::new(&[7; 32]).unwrap();
        let control =
            Control::new(catalog, seal, Arc::new(SystemClock::new()), Arc::new(SystemRng));
        let store = NewStore::new("main", format!("file://{}", folder.display()));
        control.add_store(store, &By::system()).await.unwrap();
        let project = control.create_project("shop", &By::system()).await.unwrap().id;
        for cluster in ["a", "b"] {
            let source = NewSource { uri: "mongodb://h:1/".to_owned(), ..NewSource::default() };
            let new = NewJob { cluster: cluster.to_owned(), source, ..NewJob::default() };
            let job = control.create_job(&project, new, &By::system()).await.unwrap();
            control.act(&project, &job.id, Action::Start, &By::system()).await.unwrap();
        }
        (control, project)
    }

    #[tokio::test]
    async fn what_agents_of_an_ended_process_served_is_free_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (control, project) = site(folder.path()).await;
        let served = async |agent: &str| control.conf(&project, &call(agent)).await.unwrap().len();
        assert_eq!(served("here-1").await, 2);
        assert_eq!(served("here-1").await, 2, "leases that last are still its own");
        assert_eq!(served("elsewhere").await, 0);
        // The next process: without a word the old agent would keep its jobs, and count as alive.
        control.agents_gone("here-").await.unwrap();
        assert_eq!(served("here-2").await, 1, "the other agent alive is left its share");
        assert_eq!(served("elsewhere").await, 1);
    }
}
