//! Jobs: made, changed, started, stopped.

use std::collections::HashSet;

use bygone_agent::{SourceUri, Wanted};
use bygone_base::{Error, ErrorKind, JobName, Result, Ts};
use bygone_catalog::{
    Id,
    record::{Agent, Drill, Job, JobState, JobStores, Requests, ScheduleSpec, Seen, Source},
};
use bygone_oplog::filter::Filter;
use serde_json::{Value, json};

use crate::{
    By, Control, changes,
    control::line,
    health::{Known, standing},
    plan::{self, Action},
    views::JobView,
};

/// What to do where a change needs a new initial sync; clients know it by this and say how with them.
pub const AGREE_TO_RESYNC: &str = "agree to a resync (syncSource in the API)";

/// Between snapshots that people and programs ask for.
const SHORTEST_SECS: u64 = 60;
/// The kind of the event that a resync was asked for.
const RESYNC_KIND: &str = "RS_SYNC_REQUESTED_AUDIT";

/// Where a new job's data comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// Source. Other namespaces are a new initial sync (decision 0011); to cover more must be agreed to by `resync`.
    pub source: Option<NewSource>,
    /// Agree to a resync that the change needs; where it needs none, none is done.
    pub resync: bool,
    /// The member to read from, where an initial sync follows.
    pub sync_from: Option<String>,
    /// Another member to read from; `Some(None)`: any.
    pub member: Option<Option<String>>,
    /// Regular restores: target URI (with its secrets) and seconds between them; `Some(None)`: none.
    pub drill: Option<Option<(String, u64)>>,
}

impl Control {
    /// The jobs of a project, as they stand.
    pub async fn jobs(&self, project: &Id) -> Result<Vec<JobView>> {
        self.views(Some(project)).await
    }

    /// The jobs of all projects, as they stand.
    pub async fn all_jobs(&self) -> Result<Vec<JobView>> {
        self.views(None).await
    }

    async fn views(&self, project: Option<&Id>) -> Result<Vec<JobView>> {
        let scope = project.map(Id::as_str);
        let jobs: Vec<Job> = self.catalog().all(scope).await?;
        let agents: Vec<Agent> = self.catalog().all(scope).await?;
        let seen = self.seen(project).await?;
        let behind_secs = self.settings().await?.thresholds.oplog_behind_secs;
        let view = |job: Job| {
            let seen = seen.get(&job.id);
            self.view(job, &agents, seen, behind_secs)
        };
        Ok(jobs.into_iter().map(view).collect())
    }

    /// One job.
    ///
    /// # Errors
    /// `NotFound`, also where it is another project's.
    pub async fn job(&self, project: &Id, job: &Id) -> Result<JobView> {
        let job: Job = self.within(project, job.as_str()).await?;
        let seen = self.catalog().find::<Seen>(job.id.as_str()).await?.map(|row| row.value);
        let behind_secs = self.settings().await?.thresholds.oplog_behind_secs;
        Ok(self.view(job, &self.agents(project).await?, seen.as_ref(), behind_secs))
    }

    fn view(&self, job: Job, agents: &[Agent], seen: Option<&Seen>, behind_secs: u64) -> JobView {
        let agent = serving(agents, &job);
        let heard = agent.map(|agent| agent.last_conf);
        let told = agent.and_then(|agent| agent.problem(&job.id));
        let problem = told.map(|why| format!("the agent cannot serve it: {why}"));
        let problem = job.message.clone().or(problem);
        let mut live = self.running(&job.id).map(|running| running.live(self.now()));
        if let Some(live) = live.as_mut().and_then(|live| live.agent.as_mut()) {
            // Its own id is the first half of who it says it is.
            let own = |agent: &&Agent| live.holder.split('@').next() == Some(agent.id.as_str());
            live.host = agents
                .iter()
                .find(own)
                .map_or_else(|| live.holder.clone(), |agent| agent.host.clone());
        }
        // Who runs it knows only once the stores are read.
        let seen = seen.filter(|_| job.state == JobState::Active);
        let seen = seen.and_then(|seen| seen.snapshot).map(Ts);
        let newest = live.as_ref().and_then(|live| live.backup.snapshot_at).or(seen);
        let next_snapshot = live.as_ref().and_then(|live| live.backup.next_snapshot);
        let status_name = plan::status_name(job.state, newest.is_some());
        let known = Known { live: live.as_ref(), problem: problem.is_some(), heard, behind_secs };
        let standing = standing(&job, known, self.now());
        JobView { job, status_name, standing, problem, live, newest, next_snapshot }
    }

    /// Makes a job, inactive.
    ///
    /// # Errors
    /// Usage: something of it is wrong. Conflict: a name is taken.
    ///
    /// A name under which the stores hold something is taken too: that is another server's, or of a catalog that was
    /// lost, and would be continued, shown and at last deleted by this job.
    pub async fn create_job(&self, project: &Id, new: NewJob, by: &By) -> Result<Job> {
        self.make_job(project, new, false, by).await
    }

    /// Makes a job; with `adopts` it goes on with what is stored under its name.
    pub(crate) async fn make_job(
        &self,
        project: &Id,
        new: NewJob,
        adopts: bool,
        by: &By,
    ) -> Result<Job> {
        self.project(project).await?;
        let cluster = line(&new.cluster, "name of a cluster", 64)?;
        let given = new.name.map(|name| name.parse::<JobName>()).transpose()?;
        allowed(&new.schedule, None)?;
        let id = self.new_id();
        let stores = match new.stores {
            Some(stores) => self.check_stores(stores).await?,
            None => self.assign_stores().await?,
        };
        let mut job = Job {
            source: self.source(&id, new.source)?,
            id,
            project: project.clone(),
            name: given.map(|name| name.as_str().to_owned()).unwrap_or_default(),
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
        let stored = if adopts { HashSet::new() } else { self.stored_names(&job).await? };
        self.insert_job(&mut job, &stored).await?;
        // A store that is being removed looks for its jobs after it said so.
        if let Err(error) = self.check_stores(job.stores.clone()).await {
            self.remove_job(&job).await?;
            return Err(error);
        }
        let message = format!("backup job of {} made", job.cluster);
        self.event(by, Some(project), Some(&job), "BACKUP_CONFIG_CREATED", message).await?;
        Ok(job)
    }

    /// The names of jobs that the stores of this one hold something of.
    async fn stored_names(&self, job: &Job) -> Result<HashSet<String>> {
        let mut names = HashSet::new();
        for repository in self.stores_of(job).await?.distinct() {
            names.extend(repository.store().list_folders("jobs/").await?);
        }
        Ok(names)
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

    /// Whether a change to this source needs everything to be read again.
    #[must_use]
    pub fn needs_resync(&self, job: &Job, new: &NewSource) -> bool {
        job.state.keeps_data() && widens(filter(&job.source), (&new.include, &new.exclude))
    }

    /// Changes a job. What is as it was changes nothing, and is not told.
    ///
    /// # Errors
    /// Usage: something is wrong, or needs a resync that was not agreed to.
    pub async fn edit_job(&self, project: &Id, job: &Id, edit: JobEdit, by: &By) -> Result<Job> {
        let old: Job = self.within(project, job.as_str()).await?;
        if let Some(schedule) = &edit.schedule {
            allowed(schedule, Some(&old.schedule))?;
        }
        // One that cannot be opened, with the key lost, can be given anew.
        let given = self.source_as_given(&old).ok();
        let same_uri = |new: &NewSource| given.as_ref().is_some_and(|given| given.uri == new.uri);
        let other_uri = edit.source.as_ref().is_some_and(|new| !same_uri(new));
        let source = match edit.source {
            Some(new) if given.as_ref() != Some(&new) => Some(self.source(job, new)?),
            _ => None,
        };
        let drill = match &edit.drill {
            Some(Some((uri, every_secs))) => Some(Some(self.drill(job, uri, *every_secs)?)),
            Some(None) => Some(None),
            None => None,
        };
        let (mut before, mut syncs) = (old, false);
        let changed = self.catalog().change::<Job>(job.as_str(), |job| {
            before = job.clone();
            let refilters = source.as_ref().is_some_and(|new| filter(new) != filter(&job.source));
            syncs = source.as_ref().is_some_and(|new| {
                job.state.keeps_data() && widens(filter(&job.source), filter(new))
            });
            if syncs && !edit.resync {
                return Err(Error::usage("what was left out until now needs a new initial sync")
                    .hint(AGREE_TO_RESYNC));
            }
            if let Some(schedule) = &edit.schedule {
                job.announced = self.announce(job, schedule)?;
                job.schedule = schedule.clone();
            }
            if let Some(source) = &source {
                job.source = source.clone();
            }
            if let Some(member) = &edit.member {
                job.source.member.clone_from(member);
            } else if edit.sync_from.is_some() && (refilters || !job.state.keeps_data()) {
                job.source.member.clone_from(&edit.sync_from);
            }
            if let Some(drill) = &drill {
                job.drill.clone_from(drill);
            }
            job.requests.resync += u64::from(syncs);
            Ok(())
        });
        let changed = changed.await?;
        self.tell_edit(&before, &changed, other_uri, by).await?;
        if syncs {
            let message = "resync asked for, as more is covered than before";
            self.event(by, Some(project), Some(&changed), RESYNC_KIND, message).await?;
        }
        Ok(changed)
    }

    /// Says what an edit changed, if it changed anything.
    async fn tell_edit(&self, old: &Job, new: &Job, other_uri: bool, by: &By) -> Result<()> {
        let mut said = changes::between(&shown(old), &shown(new));
        // What differs may be the password alone, which is not shown.
        if other_uri && old.source.shown == new.source.shown {
            said.push("source.uri: other credentials".to_owned());
        }
        if said.is_empty() {
            return Ok(());
        }
        let kind = match () {
            () if old.schedule != new.schedule => "RS_SNAPSHOT_SCHEDULE_UPDATED_AUDIT",
            () if other_uri => "RS_CREDENTIAL_UPDATED_AUDIT",
            () if filter(&old.source) != filter(&new.source) => "RS_DENYLIST_UPDATED_AUDIT",
            () => "RS_BACKUP_CONFIG_UPDATED_AUDIT",
        };
        let message = changes::message(&format!("backup job of {} changed", new.cluster), &said);
        self.event(by, Some(&new.project), Some(new), kind, message).await
    }

    fn drill(&self, job: &Id, uri: &str, every_secs: u64) -> Result<Drill> {
        let shown = SourceUri::parse(uri)?.to_string();
        if every_secs < 60 {
            return Err(Error::usage("restore drills may be a minute apart or more"));
        }
        let to = self.seal().seal(uri, &format!("drill/{job}"), &**self.rng())?;
        Ok(Drill { to, shown, every_secs, last: None })
    }

    /// Starts, stops, restarts, terminates or abandons a job. The supervisor makes it so.
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
            if next == JobState::Inactive && before != next {
                plan::end(job, now);
            }
            Ok(())
        });
        let changed = changed.await?;
        if changed.state != before {
            if changed.state == JobState::Active {
                self.forget_seen(&changed, before).await?;
            }
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
        self.request(project, job, by, ask, RESYNC_KIND, "resync asked for").await
    }

    /// Asks for a snapshot now.
    ///
    /// # Errors
    /// Conflict: it is not active.
    pub async fn request_snapshot(&self, project: &Id, job: &Id, by: &By) -> Result<Job> {
        self.request_kept_snapshot(project, job, None, by).await
    }

    /// As [`Control::request_snapshot`]; it is kept for so many days, and as long as the schedule says where not given.
    pub async fn request_kept_snapshot(
        &self,
        project: &Id,
        job: &Id,
        days: Option<u32>,
        by: &By,
    ) -> Result<Job> {
        let ask = |job: &mut Job| {
            job.requests.snapshot += 1;
            job.requests.snapshot_days = job.requests.snapshot_days.max(days);
        };
        let what = match days {
            Some(days) => format!("snapshot asked for, to be kept for {days} days"),
            None => "snapshot asked for".to_owned(),
        };
        self.request(project, job, by, ask, "RS_SNAPSHOT_REQUESTED_AUDIT", &what).await
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
        self.remove_job(&record).await?;
        self.catalog().delete::<Seen>(job.as_str()).await?;
        let message = format!("backup job of {} removed", record.cluster);
        self.event(by, Some(project), Some(&record), "BACKUP_CONFIG_DELETED", message).await
    }
}

/// Whether a schedule will do. One that is finer than people may ask for stays, where it was given otherwise.
fn allowed(new: &ScheduleSpec, old: Option<&ScheduleSpec>) -> Result<()> {
    new.schedule()?;
    let same = old.is_some_and(|old| old.interval_secs == new.interval_secs);
    if new.interval_secs < SHORTEST_SECS && !same {
        return Err(Error::usage("snapshots are a minute apart or more"));
    }
    Ok(())
}

/// What of a job an event may show.
fn shown(job: &Job) -> Value {
    let Source { shown, include, exclude, member, member_tag, throttle, workers, .. } = &job.source;
    let drill = job
        .drill
        .as_ref()
        .map(|drill| json!({ "to": drill.shown, "every_secs": drill.every_secs }));
    json!({
        "schedule": serde_json::to_value(&job.schedule).unwrap_or_default(),
        "source": {
            "uri": shown,
            "include": include,
            "exclude": exclude,
            "member": member,
            "member_tag": member_tag,
            "throttle": throttle,
            "workers": workers,
        },
        "drill": drill,
    })
}

/// The patterns of what is included and of what is excluded; one of the two is empty.
type Patterns<'a> = (&'a [String], &'a [String]);

/// What is covered, as it was given.
fn filter(source: &Source) -> Patterns<'_> {
    (&source.include, &source.exclude)
}

/// The agent that serves a job: of those that say so the one that was heard last, as others may be long dead.
pub(crate) fn serving<'a>(agents: &'a [Agent], job: &Job) -> Option<&'a Agent> {
    let serving = agents.iter().filter(|agent| agent.serves.contains(&job.id));
    serving.max_by_key(|agent| agent.last_conf)
}

/// Whether `new` may cover what `old` left out. Careful: yes where it cannot be told.
fn widens(old: Patterns<'_>, new: Patterns<'_>) -> bool {
    match (old.0, new.0) {
        ([], []) => !old.1.iter().all(|pattern| new.1.contains(pattern)),
        ([], _) => !old.1.is_empty(),
        (_, []) => true,
        (before, after) => !after.iter().all(|pattern| before.contains(pattern)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_coverage_is_noticed() {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let widens = |old: [&[&str]; 2], new: [&[&str]; 2]| {
            let ([a, b], [c, d]) = (old.map(own), new.map(own));
            widens((&a, &b), (&c, &d))
        };
        let all: [&[&str]; 2] = [&[], &[]];
        assert!(!widens(all, all));
        assert!(!widens(all, [&[], &["a.*"]]));
        assert!(widens([&[], &["a.*"]], all));
        assert!(widens([&["a.*"], &[]], all));
        assert!(!widens(all, [&["a.*"], &[]]));
        assert!(widens([&["a.*"], &[]], [&["b.*"], &[]]));
    }
}
