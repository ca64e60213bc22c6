//! Which state follows from which.

use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use bygone_catalog::record::{Job, JobState};

/// What a person asks of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Back it up.
    Start,
    /// Take nothing new; keep what there is until it expires.
    Stop,
    /// Go on: from the oplog where it still reaches back, else with a new initial sync.
    Restart,
    /// Delete everything stored.
    Terminate,
    /// End it, and leave what is stored where it is: its store is gone, and nothing can be deleted there.
    Abandon,
}

impl Action {
    /// Each of them.
    pub const ALL: [Action; 5] =
        [Action::Start, Action::Stop, Action::Restart, Action::Terminate, Action::Abandon];

    /// The word on the button.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Start => "Start",
            Action::Stop => "Stop",
            Action::Restart => "Restart",
            Action::Terminate => "Terminate",
            Action::Abandon => "Abandon",
        }
    }
}

/// The state after an action.
///
/// Terminate needs the job to be stopped first, as it deletes what an active one still protects; to ask again for
/// what is so already changes nothing. To abandon needs it to be asked to terminate first: who can delete, deletes.
///
/// # Errors
/// Conflict: not from this state.
pub fn after(state: JobState, action: Action) -> Result<JobState> {
    use JobState::{Active, Inactive, Misconfigured, Stopped, Terminating};
    match (state, action) {
        (Inactive, Action::Start) | (Stopped, Action::Start | Action::Restart) => Ok(Active),
        (Active | Misconfigured, Action::Start | Action::Restart) => Ok(state),
        (Active | Misconfigured | Stopped, Action::Stop) => Ok(Stopped),
        (Stopped | Terminating, Action::Terminate) => Ok(Terminating),
        (Inactive, Action::Terminate) | (Terminating | Inactive, Action::Abandon) => Ok(Inactive),
        _ => Err(refused(state, action)),
    }
}

fn refused(state: JobState, action: Action) -> Error {
    let (state, hint) = match state {
        JobState::Inactive => ("inactive", "start it first"),
        JobState::Active | JobState::Misconfigured => ("active", "stop it first"),
        JobState::Stopped => ("stopped", "restart it"),
        JobState::Terminating => {
            ("being terminated", "wait until it is inactive, or abandon it where its store is gone")
        }
    };
    let message = format!("{} is not possible: the job is {state}", action.as_str());
    Error::new(ErrorKind::Conflict, message).hint(hint)
}

/// What may be asked of a job in this state.
pub fn possible(state: JobState) -> Vec<Action> {
    let changes = |action: &Action| after(state, *action).is_ok_and(|next| next != state);
    Action::ALL.into_iter().filter(changes).collect()
}

/// Makes a job inactive: nothing is left of it, or nothing that it knows of.
pub(crate) fn end(job: &mut Job, now: UnixMillis) {
    // What begins next is a new initial sync in any case.
    job.requests.resync_done = job.requests.resync;
    (job.state, job.since, job.set, job.message) = (JobState::Inactive, now, None, None);
    job.announced = None;
}

/// Ops Manager's word. An active job is being provisioned until it has a snapshot.
pub fn status_name(state: JobState, has_snapshot: bool) -> &'static str {
    match state {
        JobState::Inactive => "INACTIVE",
        JobState::Active if !has_snapshot => "PROVISIONING",
        JobState::Active | JobState::Misconfigured => "STARTED",
        JobState::Stopped => "STOPPED",
        JobState::Terminating => "TERMINATING",
    }
}

#[cfg(test)]
mod tests {
    use JobState::{Active, Inactive, Stopped, Terminating};

    use super::*;

    #[test]
    fn states_follow_each_other_as_documented() {
        let table = [
            (Inactive, Action::Start, Some(Active)),
            (Inactive, Action::Stop, None),
            (Inactive, Action::Restart, None),
            (Inactive, Action::Terminate, Some(Inactive)),
            (Active, Action::Start, Some(Active)),
            (Active, Action::Stop, Some(Stopped)),
            (Active, Action::Restart, Some(Active)),
            (Active, Action::Terminate, None),
            (Stopped, Action::Start, Some(Active)),
            (Stopped, Action::Stop, Some(Stopped)),
            (Stopped, Action::Restart, Some(Active)),
            (Stopped, Action::Terminate, Some(Terminating)),
            (Terminating, Action::Start, None),
            (Terminating, Action::Stop, None),
            (Terminating, Action::Restart, None),
            (Terminating, Action::Terminate, Some(Terminating)),
            (Terminating, Action::Abandon, Some(Inactive)),
            (Inactive, Action::Abandon, Some(Inactive)),
            (Active, Action::Abandon, None),
            (Stopped, Action::Abandon, None),
        ];
        for (state, action, next) in table {
            assert_eq!(after(state, action).ok(), next, "{state:?} {action:?}");
        }
        let refusal = after(Active, Action::Terminate).unwrap_err();
        assert_eq!(refusal.hint_text(), Some("stop it first"));
    }

    #[test]
    fn buttons_are_what_changes_something() {
        assert_eq!(possible(Inactive), [Action::Start]);
        assert_eq!(possible(Active), [Action::Stop]);
        assert_eq!(possible(Terminating), [Action::Abandon]);
        assert_eq!(possible(Stopped), [Action::Start, Action::Restart, Action::Terminate]);
    }
}
