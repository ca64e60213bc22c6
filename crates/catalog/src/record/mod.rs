//! The records. Times are milliseconds since 1970, spans are seconds, sizes are bytes.

mod agent;
mod alert;
mod event;
mod job;
mod name;
mod project;
mod report;
mod restore;
mod seen;
mod store;
mod upkeep;
mod user;

pub use agent::{Agent, AgentKey};
pub use alert::{Alert, AlertKind, AlertStatus, Settings, Smtp, Thresholds};
pub use event::{Actor, Event};
pub use job::{
    Announced, Drill, Job, JobState, JobStores, Keeping, Requests, ScheduleSpec, Source,
};
pub use name::Name;
pub use project::Project;
pub use report::{GroomDone, GroomRun, Integrity, StoreShares, UsageSample};
pub use restore::{Delivery, Form, Names, Progress, RestoreJob, RestoreStatus};
pub use seen::{Failing, Seen};
pub use store::{Purpose, Store};
pub use upkeep::{StoreCheck, StoreReading, Upkeep};
pub use user::{ApiKey, Grant, Role, Session, User};
