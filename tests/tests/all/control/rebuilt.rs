//! The catalog is lost: stores alone bring the jobs back.

use bygone_catalog::record::{JobState, Names, ScheduleSpec};
use bygone_control::{Action, By, JobEdit, NewDelivery, NewRestore, NewSource, NewStore};
use bygone_tests::{ReplicaSet, Version};

use super::Site;
use crate::bad_input::orders;

#[tokio::test(flavor = "multi_thread")]
async fn from_the_stores() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    orders(&client, 0, 200).await;
    let by = By::system();
    let lost = Site::new().await;
    let job = lost.job("Shop", &set.uri()).await;
    let schedule = ScheduleSpec { window_secs: 604_800, ..ScheduleSpec::default() };
    let edit = JobEdit { schedule: Some(schedule), ..JobEdit::default() };
    lost.control.edit_job(&lost.project, &job, edit, &by).await.unwrap();
    lost.control.act(&lost.project, &job, Action::Start, &by).await.unwrap();
    let running = lost.run();
    lost.until(&job, "the first snapshot", |v| v.status_name == "STARTED").await;
    let known = lost.control.history(&lost.project, &job).await.unwrap();
    running.stop().await;
    // A new catalog, which is told of the old store only.
    let site = Site::new().await;
    let old = NewStore::new("old", format!("file://{}", lost.store().display()));
    site.control.add_store(old, &by).await.unwrap();
    let rebuilt = site.control.rebuild(&site.project, &by).await.unwrap();
    assert_eq!(rebuilt.len(), 1, "{rebuilt:?}");
    assert_eq!((rebuilt[0].name.as_str(), rebuilt[0].set.as_str()), ("Shop", "rs0"));
    assert!(site.control.rebuild(&site.project, &by).await.unwrap().is_empty());
    let job = rebuilt[0].id.clone();
    let view = site.view(&job).await;
    assert_eq!((view.job.state, view.job.stores.snapshot.as_str()), (JobState::Stopped, "old"));
    assert_eq!(view.job.schedule.window_secs, 604_800, "as the store has it");
    let history = site.control.history(&site.project, &job).await.unwrap();
    assert_eq!(history, known);
    // It restores at once, ...
    let running = site.run();
    let target = ReplicaSet::single(version).await;
    let delivery = NewDelivery::Automated { to: target.uri(), drop: false, onto_source: false };
    let new = NewRestore { when: "latest".into(), names: Names::default(), delivery, verify: true };
    let (restore, _) = site.control.restore(&site.project, &job, new, &by).await.unwrap();
    let done = site.restored(&restore.id).await;
    assert!(done.proof.is_some(), "{}", done.message);
    // ... and goes on once its source is known.
    let source = NewSource { uri: set.uri(), ..NewSource::default() };
    let edit = JobEdit { source: Some(source), ..JobEdit::default() };
    site.control.edit_job(&site.project, &job, edit, &by).await.unwrap();
    site.control.act(&site.project, &job, Action::Restart, &by).await.unwrap();
    orders(&client, 1000, 100).await;
    let before = history.ranges.last().map(|range| range.to);
    site.until(&job, "the job to follow again", |v| {
        v.live.as_ref().and_then(|l| l.agent.as_ref()).is_some_and(|a| Some(a.stored) > before)
    })
    .await;
    running.stop().await;
}
