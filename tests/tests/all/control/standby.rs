//! Several agents of a project, one of which cannot do what it is given.

use std::sync::Arc;

use async_trait::async_trait;
use bygone_agent::{
    Source,
    fleet::{MongoSources, Sources},
};
use bygone_base::{Error, ErrorKind, Result, SystemClock};
use bygone_control::{Action, By, Supervisor};
use bygone_tests::{ReplicaSet, Version};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Site;
use crate::bad_input::orders;

/// An agent in a network without a way to the source.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Sources for Nowhere {
    async fn open(&self, _: &str) -> Result<Arc<dyn Source>> {
        Err(Error::new(ErrorKind::Unavailable, "no route to the source"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_reach_the_source_leaves_it_to_one_that_can() {
    let set = ReplicaSet::single(Version::V8_2).await;
    orders(&set.client().await, 0, 100).await;
    let (site, clock) = (Site::new().await, Arc::new(SystemClock::new()));
    let job = site.job("Shop", &set.uri()).await;
    site.control.act(&site.project, &job, Action::Start, &By::system()).await.unwrap();
    let stop = CancellationToken::new();
    let (supervisor, token) = (Supervisor::new(site.control.clone()), stop.clone());
    let runtime = tokio::runtime::Handle::current();
    let supervising = tokio::task::spawn_blocking(move || runtime.block_on(supervisor.run(&token)));
    let mut fleets = JoinSet::new();
    let mut start = |sources: Arc<dyn Sources>| {
        let (fleet, token) = (site.fleet(sources, clock.clone()), stop.clone());
        fleets.spawn(async move { fleet.run(&token).await });
    };
    start(Arc::new(Nowhere));
    let view = site.until(&job, "its problem", |v| v.problem.is_some()).await;
    assert!(view.problem.is_some_and(|problem| problem.contains("no route")));
    start(Arc::new(MongoSources { clock: clock.clone() }));
    site.until(&job, "the first snapshot", |v| v.status_name == "STARTED").await;
    stop.cancel();
    while let Some(ended) = fleets.join_next().await {
        ended.unwrap().unwrap();
    }
    supervising.await.unwrap();
}
