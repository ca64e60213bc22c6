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

use crate::{By, Control, seen};

/// A job is another agent's when its own was not heard for so long.
const LEASE_MS: i64 = 30_000;
/// An agent that failed so often leaves the job to another one, ...
const FAILURES: u32 = 3;
/// ... and takes it no more for so long.
const GAVE_UP_MS: i64 = 10 * 60_000;
/// Agents not heard for so long are forgotten.
const FORGET_MS: i64 = 7 * 86_400_000;

impl Control {
    /// Agents of a project that were heard lately, or still serve.
    pub async fn agents(&self, project: &Id) -> Result<Vec<Agent>> {
        self.catalog().all(Some(project.as_str())).await
    }

    /// An agent tells how it fares and asks for its work.
    pub async fn conf(&self, project: &Id, call: &ConfCall) -> Result<Vec<Work>> {
        self.answer(project, call, false).await
    }

    /// As [`Control::conf`], for an agent of this process: it ends with it.
    pub(crate) async fn conf_here(&self, project: &Id, call: &ConfCall) -> Result<Vec<Work>> {
        self.answer(project, call, true).await
    }

    async fn answer(&self, project: &Id, call: &ConfCall, here: bool) -> Result<Vec<Work>> {
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
        let agents = self.agents(project).await?;
        let gave_up = gave_up(&agents, call, now);
        let mut work = Vec::new();
        let mut serves = Vec::new();
        if !call.leaving {
            let active = jobs.iter().filter(|job| job.state == JobState::Active);
            // How many an agent takes by itself, so that those alive have about equally many.
            let share = active.clone().count().div_ceil(others(&agents, call, now).count() + 1);
            let own: HashSet<&str> = call.found.iter().map(|found| found.job.as_str()).collect();
            let held = self.held(&call.agent, now).await?;
            for job in active {
                if gave_up.iter().any(|(left, _)| *left == job.id) {
                    self.leave(job, call, now).await?;
                    continue;
                }
                // What another one has left is taken beyond the share: else nobody might.
                let left = others(&agents, call, now).any(|agent| {
                    agent.gave_up.iter().any(|(id, until)| *id == job.id && *until > now)
                });
                let more = left || own.contains(job.id.as_str()) || serves.len() < share;
                let granted = held.contains(&lease_name(&job.id));
                if more && (granted || self.grant(job, call, now).await?) {
                    serves.push(job.id.clone());
                    work.push(self.work(job)?);
                }
            }
        }
        self.note_agent(project, call, Noted { serves, gave_up, here }, now).await?;
        Ok(work)
    }

    /// Leaves a job to another agent, which may reach what this one cannot.
    async fn leave(&self, job: &Job, call: &ConfCall, now: UnixMillis) -> Result<()> {
        let held = self.catalog().find::<Lease>(&lease_name(&job.id)).await?;
        let own = |lease: &Lease| lease.owner == call.agent && lease.until > now;
        match held.map(|row| row.value).filter(own) {
            Some(lease) => {
                tracing::info!(job = job.name, agent = call.agent, "is left to another agent");
                self.catalog().release(&lease, now).await
            }
            None => Ok(()),
        }
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
            // An agent may say so after the job was terminated.
            if job.state == JobState::Active {
                job.set.get_or_insert_with(|| part.as_str().to_owned());
            }
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
        noted: Noted,
        now: UnixMillis,
    ) -> Result<()> {
        let Noted { serves, gave_up, here } = noted;
        let known = self.catalog().find::<Agent>(&call.agent).await?;
        if known.as_ref().is_some_and(|row| row.value.project != *project) {
            return Err(Error::new(ErrorKind::Denied, "the agent belongs to another project"));
        }
        let before = known.as_ref().map(|row| row.value.serves.clone()).unwrap_or_default();
        for job in before.iter().filter(|job| !serves.contains(job)) {
            seen::no_longer_served(self, job, now).await?;
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
            here,
            gave_up,
        };
        if known.is_none() {
            self.catalog().insert(&agent).await?;
            let message = format!("agent {} of {} began", agent.id, agent.host);
            return self
                .event(&By::system(), Some(project), None, "BACKUP_AGENT_UP", message)
                .await;
        }
        let changed = self.catalog().change::<Agent>(&agent.id, |kept| {
            kept.clone_from(&agent);
            Ok(())
        });
        changed.await?;
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

/// What is noted of an agent beside what it says.
struct Noted {
    serves: Vec<Id>,
    gave_up: Vec<(Id, UnixMillis)>,
    here: bool,
}

/// The agents that are alive beside the one that calls.
fn others<'a>(
    agents: &'a [Agent],
    call: &'a ConfCall,
    now: UnixMillis,
) -> impl Iterator<Item = &'a Agent> {
    agents.iter().filter(move |agent| {
        agent.id != call.agent && !agent.left && now.since(agent.last_conf) < LEASE_MS
    })
}

/// The jobs that an agent leaves to others: those that it has failed at too often, or did a while ago, as long as there
/// is another one that has not failed at them either.
fn gave_up(agents: &[Agent], call: &ConfCall, now: UnixMillis) -> Vec<(Id, UnixMillis)> {
    let before = agents.iter().find(|agent| agent.id == call.agent);
    let mut left: Vec<(Id, UnixMillis)> =
        before.map(|agent| agent.gave_up.clone()).unwrap_or_default();
    left.retain(|(_, until)| *until > now);
    for found in call.found.iter().filter(|found| found.failures >= FAILURES) {
        let Ok(job) = found.job.parse::<Id>() else { continue };
        if left.iter().all(|(known, _)| *known != job) {
            left.push((job, UnixMillis(now.0 + GAVE_UP_MS)));
        }
    }
    let failed = |agent: &Agent, job: &Id| {
        agent.gave_up.iter().any(|(known, until)| known == job && *until > now)
    };
    left.retain(|(job, _)| others(agents, call, now).any(|other| !failed(other, job)));
    left
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
    use bygone_agent::fleet::Found;
    use bygone_base::SeededRng;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    #[tokio::test]
    async fn what_agents_of_this_process_held_is_free_when_it_starts_again() {
        use bygone_catalog::{Seal, Sqlite, record::JobStores};
        let catalog = Catalog::new(Arc::new(Sqlite::in_memory().unwrap()));
        let (clock, rng) = (Arc::new(bygone_base::SystemClock::new()), Arc::new(SeededRng::new(7)));
        let control = Control::new(catalog, Seal::new(&[3; 32]).unwrap(), clock, rng);
        let (by, dir) = (By::system(), tempfile::tempdir().unwrap());
        let url = format!("file://{}", dir.path().display());
        let new = crate::NewStore::new("main", url);
        // Always full.
        let none = crate::NewStore { max_bytes: Some(0), ..new.clone() };
        assert_eq!(control.add_store(none, &by).await.unwrap_err().kind(), ErrorKind::Usage);
        control.add_store(new, &by).await.unwrap();
        let project = control.create_project("shop", &by).await.unwrap().id;
        let job = crate::NewJob {
            cluster: "Shop".to_owned(),
            source: crate::NewSource {
                uri: "mongodb://127.0.0.1/?replicaSet=rs0".to_owned(),
                ..crate::NewSource::default()
            },
            stores: Some(JobStores {
                snapshot: "main".to_owned(),
                oplog: "main".to_owned(),
                sync: "main".to_owned(),
            }),
            ..crate::NewJob::default()
        };
        let job = control.create_job(&project, job, &by).await.unwrap();
        control.act(&project, &job.id, crate::Action::Start, &by).await.unwrap();
        let asks = |name: &str| ConfCall { agent: name.to_owned(), found: Vec::new(), ..call(0) };
        assert_eq!(control.conf_here(&project, &asks("old")).await.unwrap().len(), 1);
        assert!(control.conf(&project, &asks("other")).await.unwrap().is_empty());
        control.end_own_agents().await.unwrap();
        assert_eq!(control.conf(&project, &asks("other")).await.unwrap().len(), 1);
        // Those elsewhere go on.
        control.end_own_agents().await.unwrap();
        assert!(control.conf_here(&project, &asks("new")).await.unwrap().is_empty());
        // What an agent says of a job that is no longer active is not noted.
        control.act(&project, &job.id, crate::Action::Stop, &by).await.unwrap();
        let found = Found {
            job: job.id.to_string(),
            set: Some("rs0".to_owned()),
            ..call(0).found.remove(0)
        };
        let late = ConfCall { found: vec![found], ..asks("other") };
        assert!(control.conf(&project, &late).await.unwrap().is_empty());
        let kept = control.catalog().get::<Job>(job.id.as_str()).await.unwrap().value;
        assert_eq!(kept.set, None);
    }

    fn id(number: u64) -> Id {
        format!("{number:024x}").parse().unwrap()
    }

    fn agent(name: &str, gave_up: &[(Id, i64)]) -> Agent {
        Agent {
            id: name.to_owned(),
            project: id(9),
            host: "here".to_owned(),
            version: "1".to_owned(),
            started: NOW,
            last_conf: NOW,
            serves: Vec::new(),
            problems: Vec::new(),
            left: false,
            here: false,
            gave_up: gave_up
                .iter()
                .map(|(job, ms)| (job.clone(), UnixMillis(NOW.0 + ms)))
                .collect(),
        }
    }

    fn call(failures: u32) -> ConfCall {
        let found = Found { job: id(1).to_string(), set: None, problem: None, resync: 0, failures };
        ConfCall {
            agent: "a".to_owned(),
            host: "here".to_owned(),
            version: "1".to_owned(),
            found: vec![found],
            leaving: false,
        }
    }

    #[test]
    fn an_agent_that_fails_leaves_the_job_to_one_that_may_not() {
        let two = [agent("a", &[]), agent("b", &[])];
        assert_eq!(gave_up(&two, &call(2), NOW), []);
        let until = UnixMillis(NOW.0 + GAVE_UP_MS);
        assert_eq!(gave_up(&two, &call(3), NOW), [(id(1), until)]);
        // With nobody else it goes on trying.
        assert_eq!(gave_up(&two[..1], &call(3), NOW), []);
        let gone = Agent { left: true, ..agent("b", &[]) };
        assert_eq!(gave_up(&[agent("a", &[]), gone], &call(3), NOW), []);
        // The other one could not either, a moment ago; later it may be tried again.
        let both = [agent("a", &[]), agent("b", &[(id(1), 5)])];
        assert_eq!(gave_up(&both, &call(3), NOW), []);
        let later = UnixMillis(NOW.0 + 5);
        assert_eq!(gave_up(&both, &call(3), later).len(), 1);
        // What it left it does not take back at once.
        let before = [agent("a", &[(id(1), 5)]), agent("b", &[])];
        assert_eq!(gave_up(&before, &call(0), NOW), [(id(1), UnixMillis(NOW.0 + 5))]);
        assert_eq!(gave_up(&before, &call(0), later), []);
    }
}
