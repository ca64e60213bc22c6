//! A source whose oplog rolled over while its job was stopped: the restart is a new initial sync, and that is told.

use bygone_catalog::record::{AlertKind, AlertStatus};
use bygone_control::{Action, By};
use bygone_tests::{Version, oracle};

use super::{Site, alerts::alert};
use crate::{
    bad_input::orders,
    rollback::roll_over::{forgetful, roll_over},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_continuity_is_a_resync_that_is_told() {
    let set = forgetful(Version::V8_2).await;
    let client = set.client().await;
    orders(&client, 0, 100).await;
    let (site, by) = (Site::new().await, By::system());
    let job = site.job("Shop", &set.uri()).await;
    site.control.act(&site.project, &job, Action::Start, &by).await.unwrap();
    let running = site.run();
    let first = site.until(&job, "the first snapshot", |v| v.status_name == "STARTED").await;
    site.control.act(&site.project, &job, Action::Stop, &by).await.unwrap();
    site.until(&job, "the job to stop", |v| v.live.is_none()).await;
    orders(&client, 1000, 100).await;
    roll_over(&client, oracle::now(&client).await).await;
    site.control.act(&site.project, &job, Action::Restart, &by).await.unwrap();
    // Short as it is, it is told, and over with the first snapshot of the new history.
    let closed = alert(&site, &job, AlertKind::ResyncRequired, AlertStatus::Closed).await;
    assert!(closed.message.contains("entries are lost"), "{}", closed.message);
    let view = site.until(&job, "the new snapshot", |v| v.newest > first.newest).await;
    assert_eq!(view.status_name, "STARTED");
    let timelines = site.store().join("jobs/Shop/rs0/timelines");
    assert_eq!(std::fs::read_dir(timelines).unwrap().count(), 2);
    let history = site.control.history(&site.project, &job).await.unwrap();
    assert_eq!(history.snapshots.len(), 2, "what was before stays");
    running.stop().await;
}
