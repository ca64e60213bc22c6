//! Jobs: made, changed, started, stopped.

use bygone_agent::{SourceUri, Wanted};
use bygone_base::{Error, ErrorKind, JobName, Result};
use bygone_catalog::{
    Id,
    record::{Agent, Drill, Job, JobState, JobStores, Requests, ScheduleSpec, Source},
};
use bygone_oplog::filter::Filter;

use crate::{
    By, Control,
    control::line,
    plan::{self, Action},
    views::JobView,
};

/// Where a new job's data comes from.
#[derive(Debug, Clone, Default)]
pub struct NewSource {
    /// URI, with its secrets.
    pub uri: String,
    /// Only these namespaces.
    pub include: Vec<String>,
    /// All but these.
    pub exclude: Vec<String>,
    /// `host:port`.
    pub member: Option<String>,
    /// `NAME=VALUE`.
    pub member_tag: Option<String>,
    /// Bytes per second.
    pub throttle: Option<u64>,
    /// Ranges copied at once; 0 is the default.
    pub workers: u32,
}

/// A new job.
#[derive(Debug, Clone, Default)]
pub struct NewJob {
    /// The cluster's name; unique in the project.
    pub cluster: String,
    /// Source.
    pub source: NewSource,
    /// Stores by id; chosen where not given.
    pub stores: Option<JobStores>,
    /// Schedule and retention.
    pub schedule: ScheduleSpec,
    /// Name in the stores; from the cluster's name where not given.
    pub name: Option<String>,
}

/// What of a job changes; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct JobEdit {
    /// Schedule and retention. Existing snapshots keep what they were given.
    pub schedule: Option<ScheduleSpec>,
    /// Source. To cover more namespaces needs a resync, which must be asked for by `resync`.
    pub source: Option<NewSource>,
    /// Agree to a resync that the change needs.
    pub resync: bool,
    /// Another member to read from; `Some(None)`: any.
    pub member: Option<Option<String>>,
    /// Regular restores: target URI (with its secrets) and seconds between them; `Some(None)`: none.
    pub drill: Option<Option<(String, u64)>>,
}

impl Control {
    /// The jobs of a project, as they stand.
    pub async fn jobs(&self, project: &Id) -> Result<Vec<JobView>> {
        let jobs: Vec<Job> = self.catalog().all(Some(project.as_str())).await?;
        let agents = self.agents(project).await?;
        Ok(jobs.into_iter().map(|job| self.view(job, &agents)).collect())
    }

    /// One job.
    ///
    /// # Errors
    /// `NotFound`, also where it is another project's.
    pub async fn job(&self, project: &Id, job: &Id) -> Result<JobView> {
        let job = self.within(project, job.as_str()).await?;
        Ok(self.view(job, &self.agents(project).await?))
    }

    fn view(&self, job: Job, agents: &[Agent]) -> JobView {
        let found = agents.iter().filter(|agent| agent.serves.contains(&job.id));
        let problem = found.flat_map(|agent| &agent.problems).find(|(id, _)| *id == job.id);
        let problem = problem.map(|(_, why)| format!("the agent cannot serve it: {why}"));
        let problem = job.message.clone().or(problem);
        let live = self.running(&job.id).map(|running| running.live());
        let newest = live.as_ref().and_then(|live| live.backup.snapshot_at);
        let next_snapshot = live.as_ref().and_then(|live| live.backup.next_snapshot);
        let status_name = plan::status_name(job.state, newest.is_some());
        JobView { job, status_name, problem, live, newest, next_snapshot }
    }

    /// Makes a job, inactive.
    ///
    /// # Errors
    /// Usage: something of it is wrong. Conflict: a name is taken.
    pub async fn create_job(&self, project: &Id, new: NewJob, by: &By) -> Result<Job> {
        self.project(project).await?;
        let all: Vec<Job> = self.catalog().all(None).await?;
        let cluster = line(&new.cluster, "name of a cluster", 64)?;
        if all.iter().any(|job| job.project == *project && job.cluster == cluster) {
            let taken = format!("the project has a cluster {cluster:?} already");
            return Err(Error::new(ErrorKind::Conflict, taken));
        }
        let name = match &new.name {
            Some(name) => name.parse::<JobName>()?.as_str().to_owned(),
            None => free_name(&cluster, &all)?,
        };
        if all.iter().any(|job| job.name == name) {
            let taken = format!("there is a job {name:?} already");
            return Err(Error::new(ErrorKind::Conflict, taken));
        }
        new.schedule.schedule()?;
        let id = self.new_id();
        let stores = match new.stores {
            Some(stores) => self.check_stores(stores).await?,
            None => self.assign_stores().await?,
        };
        let job = Job {
            source: self.source(&id, new.source)?,
            id,
            project: project.clone(),
            name,
            cluster,
            set: None,
            state: JobState::Inactive,
            since: self.now(),
            created: self.now(),
            stores,
            schedule: new.schedule,
            keep: None,
            requests: Requests::default(),
            announced: None,
            drill: None,
            message: None,
        };
        self.catalog().insert(&job).await?;
        let message = format!("backup job of {} made", job.cluster);
        self.event(by, Some(project), Some(&job), "BACKUP_CONFIG_CREATED", message).await?;
        Ok(job)
    }

    pub(crate) fn source(&self, id: &Id, new: NewSource) -> Result<Source> {
        let uri = SourceUri::parse(&new.uri)?;
        Filter::of(&new.include, &new.exclude)?;
        new.member_tag.as_deref().map(Wanted::tag).transpose()?;
        Ok(Source {
            shown: uri.to_string(),
            uri: self.seal().seal(&new.uri, &format!("job/{id}"), &**self.rng())?,
            include: new.include,
            exclude: new.exclude,
            member: new.member,
            member_tag: new.member_tag,
            throttle: new.throttle,
            workers: if new.workers == 0 { 2 } else { new.workers.min(64) },
        })
    }

    /// Changes a job.
    ///
    /// # Errors
    /// Usage: something is wrong, or needs a resync that was not agreed to.
    pub async fn edit_job(&self, project: &Id, job: &Id, edit: JobEdit, by: &By) -> Result<Job> {
        let old: Job = self.within(project, job.as_str()).await?;
        if let Some(schedule) = &edit.schedule {
            schedule.schedule()?;
        }
        let source = edit.source.map(|new| self.source(job, new)).transpose()?;
        let widens = source.as_ref().is_some_and(|new| widens(&old.source, new));
        if widens && !edit.resync && old.state == JobState::Active {
            return Err(Error::usage("what was left out until now needs a new initial sync")
                .hint("agree to a resync (syncSource in the API)"));
        }
        let drill = match &edit.drill {
            Some(Some((uri, every_secs))) => Some(Some(self.drill(job, uri, *every_secs)?)),
            Some(None) => Some(None),
            None => None,
        };
        let changed = self.catalog().change::<Job>(job.as_str(), |job| {
            if let Some(schedule) = &edit.schedule {
                job.announced = self.announce(job, schedule)?;
                job.schedule = schedule.clone();
            }
            if let Some(source) = &source {
                job.source = source.clone();
            }
            if let Some(member) = &edit.member {
                job.source.member.clone_from(member);
            }
            if let Some(drill) = &drill {
                job.drill.clone_from(drill);
            }
            job.requests.resync += u64::from(edit.resync);
            Ok(())
        });
        let changed = changed.await?;
        let kind = match (&edit.schedule, &source) {
            (Some(_), _) => "RS_SNAPSHOT_SCHEDULE_UPDATED_AUDIT",
            (None, Some(_)) => "RS_CREDENTIAL_UPDATED_AUDIT",
            (None, None) => "RS_BACKUP_CONFIG_UPDATED_AUDIT",
        };
        let message = format!("backup job of {} changed", changed.cluster);
        self.event(by, Some(project), Some(&changed), kind, message).await?;
        Ok(changed)
    }

    fn drill(&self, job: &Id, uri: &str, every_secs: u64) -> Result<Drill> {
        let shown = SourceUri::parse(uri)?.to_string();
        if every_secs < 60 {
            return Err(Error::usage("restore drills may be a minute apart or more"));
        }
        let to = self.seal().seal(uri, &format!("drill/{job}"), &**self.rng())?;
        Ok(Drill { to, shown, every_secs, last: None })
    }

    /// Starts, stops, restarts or terminates a job. The supervisor makes it so.
    ///
    /// # Errors
    /// Conflict: not from its state.
    pub async fn act(&self, project: &Id, job: &Id, action: Action, by: &By) -> Result<Job> {
        self.within::<Job>(project, job.as_str()).await?;
        let now = self.now();
        let mut before = JobState::Inactive;
        let changed = self.catalog().change::<Job>(job.as_str(), |job| {
            before = job.state;
            let next = plan::after(job.state, action)?;
            if next != job.state {
                (job.state, job.since, job.message) = (next, now, None);
            }
            Ok(())
        });
        let changed = changed.await?;
        if changed.state != before {
            let message = format!("{} of {}", action.as_str(), changed.cluster);
            let kind = "RS_STATE_CHANGED_AUDIT";
            self.event(by, Some(project), Some(&changed), kind, message).await?;
        }
        Ok(changed)
    }

    /// Asks for a new initial sync of an active job.
    ///
    /// # Errors
    /// Conflict: it is not active.
    pub async fn request_resync(&self, project: &Id, job: &Id, by: &By) -> Result<Job> {
        let ask = |job: &mut Job| job.requests.resync += 1;
        self.request(project, job, by, ask, "RS_SYNC_REQUESTED_AUDIT", "resync asked for").await
    }

    /// Asks for a snapshot now.
    ///
    /// # Errors
    /// Conflict: it is not active.
    pub async fn request_snapshot(&self, project: &Id, job: &Id, by: &By) -> Result<Job> {
        let ask = |job: &mut Job| job.requests.snapshot += 1;
        self.request(project, job, by, ask, "RS_SNAPSHOT_REQUESTED_AUDIT", "snapshot asked for")
            .await
    }

    async fn request(
        &self,
        project: &Id,
        job: &Id,
        by: &By,
        ask: impl Fn(&mut Job),
        kind: &str,
        what: &str,
    ) -> Result<Job> {
        self.within::<Job>(project, job.as_str()).await?;
        let changed = self.catalog().change::<Job>(job.as_str(), |job| {
            if job.state != JobState::Active {
                return Err(
                    Error::new(ErrorKind::Conflict, "the job is not active").hint("start it first")
                );
            }
            ask(job);
            Ok(())
        });
        let changed = changed.await?;
        self.event(by, Some(project), Some(&changed), kind, what).await?;
        Ok(changed)
    }

    /// Forgets an inactive job.
    ///
    /// # Errors
    /// Conflict: it holds something yet.
    pub async fn delete_job(&self, project: &Id, job: &Id, by: &By) -> Result<()> {
        let record: Job = self.within(project, job.as_str()).await?;
        if record.state != JobState::Inactive {
            return Err(Error::new(ErrorKind::Conflict, "only an inactive job can be removed")
                .hint("stop and terminate it first"));
        }
        self.catalog().delete::<Job>(job.as_str()).await?;
        let message = format!("backup job of {} removed", record.cluster);
        self.event(by, Some(project), Some(&record), "BACKUP_CONFIG_DELETED", message).await
    }
}

/// Whether `new` may cover what `old` left out. Careful: yes where it cannot be told.
fn widens(old: &Source, new: &Source) -> bool {
    match (&old.include[..], &new.include[..]) {
        ([], []) => !old.exclude.iter().all(|pattern| new.exclude.contains(pattern)),
        ([], _) => !old.exclude.is_empty(),
        (_, []) => true,
        (before, after) => !after.iter().all(|pattern| before.contains(pattern)),
    }
}

/// A name for the stores that no other job has.
fn free_name(cluster: &str, jobs: &[Job]) -> Result<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let base: String = cluster.chars().map(plain).take(48).collect();
    let free = |name: &String| jobs.iter().all(|job| job.name != *name);
    let numbered = (2..10_000).map(|n| format!("{base}-{n}"));
    let name = std::iter::once(base.clone()).chain(numbered).find(free);
    name.ok_or_else(|| Error::usage(format!("no job name like {base:?} is free")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_coverage_is_noticed() {
        let source = |include: &[&str], exclude: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
            Source {
                uri: serde_json::from_str("\"\"").unwrap(),
                shown: String::new(),
                include: own(include),
                exclude: own(exclude),
                member: None,
                member_tag: None,
                throttle: None,
                workers: 2,
            }
        };
        let all = source(&[], &[]);
        assert!(!widens(&all, &all));
        assert!(!widens(&all, &source(&[], &["a.*"])));
        assert!(widens(&source(&[], &["a.*"]), &all));
        assert!(widens(&source(&["a.*"], &[]), &all));
        assert!(!widens(&all, &source(&["a.*"], &[])));
        assert!(widens(&source(&["a.*"], &[]), &source(&["b.*"], &[])));
    }

    #[test]
    fn names_in_stores_are_plain_and_free() {
        assert_eq!(free_name("Größe 1", &[]).unwrap(), "Gr--e-1");
    }
}
