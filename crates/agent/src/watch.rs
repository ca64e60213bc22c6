//! Looks after the member that is read, and keeps an idle set moving.

use std::{sync::Arc, time::Duration};

use bygone_base::{ErrorKind, Ts};
use bygone_oplog::uplink::SessionRef;
use tokio::sync::watch;

use crate::{
    env::Env,
    member::{newest_majority, unusable},
    source::{MemberInfo, MemberState},
    tail::Acked,
};

/// Looks at which a better member must have been there before it is taken.
const BETTER: u32 = 3;

/// Runs until the member should no longer be read; returns why.
pub(crate) async fn watch_member(
    env: Arc<Env>,
    session: SessionRef,
    host: String,
    acked: watch::Receiver<Acked>,
    syncing: bool,
) -> String {
    let mut idle = Idle::new(&env);
    let mut better = 0;
    loop {
        env.clock.sleep(env.options.watch_every.min(env.options.note_every)).await;
        idle.note(&env, &acked).await;
        // The cursor says it when nobody can be reached.
        if let Ok(members) = env.source.survey().await {
            env.progress.change(|p| p.newest = p.newest.max(newest_majority(&members)));
            if let Some(reason) = reason_to_leave(&env, &members, &host) {
                return format!("{host} {reason}");
            }
            better = if syncing || !better_there(&env, &members, &host) { 0 } else { better + 1 };
            if better >= BETTER {
                return format!("{host} is the primary and a secondary can be read");
            }
        }
        env.report(&session).await;
    }
}

fn reason_to_leave(env: &Env, members: &[MemberInfo], host: &str) -> Option<String> {
    let member = members.iter().find(|m| m.host == host)?;
    unusable(member, newest_majority(members), &env.options.member)
}

fn better_there(env: &Env, members: &[MemberInfo], host: &str) -> bool {
    let newest = newest_majority(members);
    let primary = |m: &&MemberInfo| m.host == host && m.state == MemberState::Primary;
    let good = |m: &MemberInfo| {
        m.state == MemberState::Secondary && unusable(m, newest, &env.options.member).is_none()
    };
    members.iter().any(|m| primary(&m)) && members.iter().any(good)
}

struct Idle {
    newest: Ts,
    since: Duration,
    permitted: bool,
}

impl Idle {
    fn new(env: &Env) -> Self {
        Idle { newest: Ts::MIN, since: env.clock.monotonic(), permitted: true }
    }

    /// Where notes are not permitted the server's own periodic no-op has to do. What the source has already written
    /// will be stored; only where it writes nothing is there something to do.
    async fn note(&mut self, env: &Env, acked: &watch::Receiver<Acked>) {
        let newest = env.progress.now().newest.max(acked.borrow().chain.ts);
        let now = env.clock.monotonic();
        if newest != self.newest {
            (self.newest, self.since) = (newest, now);
            return;
        }
        if !self.permitted || now.saturating_sub(self.since) < env.options.note_every {
            return;
        }
        self.since = now;
        if let Err(error) = env.source.note().await {
            self.permitted = error.kind() != ErrorKind::Denied;
            tracing::debug!(%error, "no-op not written");
        }
    }
}
