//! A job as it is shown.

use bygone_catalog::record::{Drill, Job, JobState, JobStores, ScheduleSpec, Source};
use bygone_control::{
    plan,
    views::{AgentLive, JobView, Live},
};
use serde::{Deserialize, Serialize};

use super::moments::Moment;
use crate::schema::JsonSchema;
use crate::time;

/// A job: what it is meant to do, and what it does.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobBody {
    id: String,
    project: String,
    /// Name in the stores.
    name: String,
    cluster: String,
    /// Replica set, once an agent has seen it.
    set: Option<String>,
    state: StateWord,
    /// Ops Manager's word: INACTIVE, PROVISIONING, STARTED, STOPPED or TERMINATING.
    status_name: &'static str,
    /// How it fares: inactive, stopped, terminating, misconfigured, starting, initial sync, following, behind,
    /// agent silent or failing.
    standing: &'static str,
    /// Seconds by which what is stored is behind the source; its age while nobody reaches the source.
    lag_secs: Option<u64>,
    /// Since when it is in its state.
    since: String,
    created: String,
    source: SourceBody,
    stores: StoresBody,
    schedule: ScheduleSpec,
    drill: Option<DrillBody>,
    /// Why it cannot be served, by its agent or by this server.
    message: Option<String>,
    /// What may be asked of it now.
    actions: Vec<ActionWord>,
    /// What it does; null where it does not run here.
    live: Option<LiveBody>,
    /// The moment of the newest snapshot, where it runs here.
    newest: Option<Moment>,
    next_snapshot: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StateWord {
    Inactive,
    Active,
    Stopped,
    Terminating,
    Misconfigured,
}

/// What is asked of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActionWord {
    Start,
    Stop,
    Restart,
    Terminate,
    Abandon,
}

/// Where data comes from, without secrets.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SourceBody {
    uri: String,
    include: Vec<String>,
    exclude: Vec<String>,
    member: Option<String>,
    member_tag: Option<String>,
    /// Bytes per second of an initial sync.
    throttle: Option<u64>,
    workers: u32,
}

/// The stores of a job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoresBody {
    snapshot: String,
    oplog: String,
    sync: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DrillBody {
    /// The scratch server, without secrets.
    to: String,
    every_secs: u64,
    last: Option<String>,
}

/// What a running job does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct LiveBody {
    /// starting, transferring, building, applying oplogs, fetching missing documents, creating indexes, complete or stopped.
    phase: &'static str,
    /// 0 to 100 within an initial sync.
    percent: u8,
    agent: Option<AgentBody>,
    /// How far the head has read.
    position: Moment,
    /// Operations since the newest snapshot.
    pending_ops: u64,
    snapshot: Option<String>,
    message: String,
    /// What stopped it.
    failure: Option<String>,
    /// Why a new initial sync is needed.
    resync: Option<String>,
}

/// What an agent said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct AgentBody {
    holder: String,
    phase: String,
    member: String,
    message: String,
    collections_done: u64,
    collections_total: u64,
    documents: u64,
    bytes: u64,
    bytes_total: u64,
    /// The end of what is stored.
    stored: Moment,
    /// Seconds between that and the source.
    lag_secs: u64,
    heard: String,
}

impl From<JobState> for StateWord {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Inactive => StateWord::Inactive,
            JobState::Active => StateWord::Active,
            JobState::Stopped => StateWord::Stopped,
            JobState::Terminating => StateWord::Terminating,
            JobState::Misconfigured => StateWord::Misconfigured,
        }
    }
}

impl From<plan::Action> for ActionWord {
    fn from(action: plan::Action) -> Self {
        match action {
            plan::Action::Start => ActionWord::Start,
            plan::Action::Stop => ActionWord::Stop,
            plan::Action::Restart => ActionWord::Restart,
            plan::Action::Terminate => ActionWord::Terminate,
            plan::Action::Abandon => ActionWord::Abandon,
        }
    }
}

impl From<ActionWord> for plan::Action {
    fn from(word: ActionWord) -> Self {
        match word {
            ActionWord::Start => plan::Action::Start,
            ActionWord::Stop => plan::Action::Stop,
            ActionWord::Restart => plan::Action::Restart,
            ActionWord::Terminate => plan::Action::Terminate,
            ActionWord::Abandon => plan::Action::Abandon,
        }
    }
}

impl From<StoresBody> for JobStores {
    fn from(body: StoresBody) -> Self {
        let StoresBody { snapshot, oplog, sync } = body;
        JobStores { snapshot, oplog, sync }
    }
}

impl From<Source> for SourceBody {
    fn from(source: Source) -> Self {
        let Source { shown, include, exclude, member, member_tag, throttle, workers, .. } = source;
        SourceBody { uri: shown, include, exclude, member, member_tag, throttle, workers }
    }
}

impl From<Drill> for DrillBody {
    fn from(drill: Drill) -> Self {
        let Drill { shown, every_secs, last, .. } = drill;
        DrillBody { to: shown, every_secs, last: last.map(time::text) }
    }
}

impl From<AgentLive> for AgentBody {
    fn from(agent: AgentLive) -> Self {
        let AgentLive { holder, phase, member, message, documents, lag_secs, .. } = agent;
        AgentBody {
            holder,
            phase,
            member,
            message,
            collections_done: agent.collections.0,
            collections_total: agent.collections.1,
            documents,
            bytes: agent.bytes.0,
            bytes_total: agent.bytes.1,
            stored: agent.stored.into(),
            lag_secs,
            heard: time::text(agent.heard),
        }
    }
}

impl From<Live> for LiveBody {
    fn from(live: Live) -> Self {
        let Live { agent, backup, phase, percent, .. } = live;
        LiveBody {
            phase,
            percent,
            agent: agent.map(AgentBody::from),
            position: backup.position.ts.into(),
            pending_ops: backup.pending_ops,
            snapshot: backup.snapshot.map(|id| id.to_string()),
            message: backup.message,
            failure: backup.failure,
            resync: backup.resync,
        }
    }
}

impl From<JobView> for JobBody {
    fn from(view: JobView) -> Self {
        let JobView { job, status_name, standing, problem, live, newest, next_snapshot } = view;
        let Job { id, project, name, cluster, set, state, since, created, .. } = job;
        let JobStores { snapshot, oplog, sync } = job.stores;
        JobBody {
            id: id.into(),
            project: project.into(),
            name,
            cluster,
            set,
            state: state.into(),
            status_name,
            standing: standing.as_str(),
            lag_secs: live.as_ref().and_then(|live| live.lag_secs),
            since: time::text(since),
            created: time::text(created),
            source: job.source.into(),
            stores: StoresBody { snapshot, oplog, sync },
            schedule: job.schedule,
            drill: job.drill.map(DrillBody::from),
            message: problem,
            actions: plan::possible(state).into_iter().map(ActionWord::from).collect(),
            live: live.map(LiveBody::from),
            newest: newest.map(Moment::from),
            next_snapshot: next_snapshot.map(time::text),
        }
    }
}
