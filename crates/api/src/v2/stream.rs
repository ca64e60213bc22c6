//! Progress, told while it happens: server-sent events (WHATWG HTML, section 9.2).

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bygone_access::{Access, Right};
use bygone_base::Result;
use bygone_catalog::{Id, record::RestoreStatus};
use bygone_control::Control;
use futures::{future::BoxFuture, stream};

use super::{restores::RestoreBody, view::JobBody};
use crate::{
    auth::Proof,
    call::Call,
    failure::Failure,
    route::{Need, Route, events},
};

/// It is looked this often.
const EVERY: Duration = Duration::from_secs(1);
/// Something is said at least every so many looks, so that nobody in between hangs up.
const QUIET: u32 = 15;
/// A stream ends after so many looks: whoever comes back (browsers do by themselves) is a new request to all in between.
const LOOKS: u32 = 600;

/// What is to be told: the JSON, and whether it is the last.
type Look = Arc<dyn Fn() -> BoxFuture<'static, Result<(String, bool)>> + Send + Sync>;

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    vec![
        events(
            "/api/v2/projects/{project}/jobs/{job}/stream",
            look,
            "A job as it stands, as events named status, whenever it changes. Ends after ten minutes; come back then.",
            job,
        ),
        events(
            "/api/v2/projects/{project}/restores/{restore}/stream",
            look,
            "A restore as it stands, as events named status, whenever it changes, until it has ended.",
            restore,
        ),
    ]
}

async fn job(call: Call) -> Result<Body, Failure> {
    let job = call.job("job").await?.job;
    let listener = Listener::new(&call, &job.project);
    let control = call.control.clone();
    let look: Look = Arc::new(move || {
        let (control, project, id) = (control.clone(), job.project.clone(), job.id.clone());
        Box::pin(async move {
            let view = control.job(&project, &id).await?;
            Ok((json(&JobBody::from(view))?, false))
        })
    });
    Ok(told(call.control, listener, look))
}

async fn restore(call: Call) -> Result<Body, Failure> {
    let restore = super::restores::found(&call).await?;
    let listener = Listener::new(&call, &restore.project);
    let control = call.control.clone();
    let look: Look = Arc::new(move || {
        let (control, project, id) = (control.clone(), restore.project.clone(), restore.id.clone());
        Box::pin(async move { seen(&control, &project, &id).await })
    });
    Ok(told(call.control, listener, look))
}

async fn seen(control: &Control, project: &Id, id: &Id) -> Result<(String, bool)> {
    let restore = control.restore_job(project, id).await?;
    let ended = restore.status != RestoreStatus::InProgress;
    Ok((json(&RestoreBody::from(restore))?, ended))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| bygone_base::Error::internal("an event could not be written").source(e))
}

/// Who listens.
struct Listener {
    access: Arc<Access>,
    proof: Proof,
    project: Id,
}

impl Listener {
    fn new(call: &Call, project: &Id) -> Listener {
        let (access, proof) = (call.access.clone(), call.proof.clone());
        Listener { access, proof, project: project.clone() }
    }

    /// Whether he may still look, by the rights of now.
    async fn may_look(&self) -> bool {
        let who = self.proof.again(&self.access).await;
        who.is_ok_and(|who| who.is_some_and(|who| who.may(Right::Look, Some(&self.project))))
    }
}

/// Where a stream stands.
struct Telling {
    control: Arc<Control>,
    listener: Listener,
    look: Look,
    /// What was said last.
    last: String,
    looks: u32,
    quiet: u32,
    ended: bool,
}

/// Looks every second and tells what is new. It is polled by the connection: when that goes, this does.
fn told(control: Arc<Control>, listener: Listener, look: Look) -> Body {
    let last = String::new();
    let telling = Telling { control, listener, look, last, looks: 0, quiet: 0, ended: false };
    Body::from_stream(stream::unfold(telling, next))
}

async fn next(mut telling: Telling) -> Option<(Result<String, std::convert::Infallible>, Telling)> {
    while !telling.ended && telling.looks < LOOKS {
        if telling.looks > 0 {
            telling.control.clock().sleep(EVERY).await;
        }
        telling.looks += 1;
        // What is taken away is gone at once, also for who listens already.
        if !telling.listener.may_look().await {
            return None;
        }
        // It is gone, or cannot be read: whoever listens asks again and is told why.
        let Ok((text, ended)) = (telling.look)().await else { return None };
        telling.ended = ended;
        telling.quiet += 1;
        if text != telling.last {
            let event = format!("event: status\ndata: {text}\n\n");
            (telling.last, telling.quiet) = (text, 0);
            return Some((Ok(event), telling));
        }
        if telling.quiet >= QUIET {
            telling.quiet = 0;
            return Some((Ok(": still here\n\n".to_owned()), telling));
        }
    }
    None
}
