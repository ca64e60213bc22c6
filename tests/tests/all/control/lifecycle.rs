//! A job from its start to its end.

use bygone_base::{ErrorKind, UnixMillis};
use bygone_catalog::record::{Form, JobState, Names, RestoreStatus};
use bygone_control::{Action, By, KeepUntil, NewDelivery, NewRestore, views::JobView};
use bygone_tests::{ReplicaSet, Version, diff, state_at};

use super::Site;
use crate::{bad_input::orders, spine::mark};

fn into(uri: &str) -> NewRestore {
    NewRestore {
        when: "latest".into(),
        names: Names::default(),
        delivery: NewDelivery::Automated { to: uri.into(), drop: false, onto_source: false },
        verify: true,
    }
}

fn link(form: Form) -> NewRestore {
    NewRestore {
        delivery: NewDelivery::Http { form, expires: None, max_downloads: Some(1) },
        verify: false,
        ..into("")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_start_to_terminate() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    orders(&client, 0, 500).await;
    let site = Site::new().await;
    let by = By::system();
    let job = site.job("Orders", &set.uri()).await;
    let (control, project) = (site.control.clone(), site.project.clone());
    let running = site.run();
    // Nothing runs that nobody started.
    let asked = control.request_snapshot(&project, &job, &by).await.unwrap_err();
    assert_eq!(asked.kind(), ErrorKind::Conflict);
    assert_eq!(site.view(&job).await.status_name, "INACTIVE");
    control.act(&project, &job, Action::Start, &by).await.unwrap();
    let view = site.until(&job, "the first snapshot", |v| v.status_name == "STARTED").await;
    assert_eq!(view.job.set.as_deref(), Some("rs0"));
    let live = view.live.unwrap();
    assert_eq!((live.phase, live.percent), ("complete", 100));
    // More data, a snapshot on demand, and a restore of the newest moment.
    orders(&client, 1000, 300).await;
    let first = view.newest;
    control.request_snapshot(&project, &job, &by).await.unwrap();
    site.until(&job, "the snapshot asked for", |v| v.newest > first).await;
    let expected = mark(&client, version).await;
    let reached = expected.at.expect("a mark has a moment");
    site.until(&job, "the mark to be stored", |v| {
        v.live.as_ref().and_then(|l| l.agent.as_ref()).is_some_and(|a| a.stored >= reached)
    })
    .await;
    let target = ReplicaSet::single(version).await;
    let (restore, _) = control.restore(&project, &job, into(&target.uri()), &by).await.unwrap();
    let done = site.restored(&restore.id).await;
    assert_eq!(done.status, RestoreStatus::Finished, "{}", done.message);
    assert!(done.proof.is_some());
    let found = state_at(&target.client().await, version, None).await;
    assert_eq!(diff(&expected, &found), Vec::<String>::new());
    drop(target);
    downloads(&site, &job).await;
    snapshots_are_kept_and_deleted(&site, &job).await;
    running.stop().await;
    goes_on_after_a_restart(site, &job, &client).await;
}

async fn downloads(site: &Site, job: &bygone_catalog::Id) {
    let by = By::system();
    let (control, project) = (&site.control, &site.project);
    for form in [Form::Archive, Form::Tar, Form::Collection { namespace: "shop.orders".into() }] {
        let asked = control.restore(project, job, link(form.clone()), &by).await;
        let (restore, secret) = asked.unwrap();
        let secret = secret.unwrap();
        let done = site.restored(&restore.id).await;
        assert_eq!(done.status, RestoreStatus::Finished, "{form:?} {}", done.message);
        let wrong = control.download(&restore.id, "0").await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::NotFound);
        let file = control.download(&restore.id, &secret).await.unwrap();
        let bytes = std::fs::read(&file.path).unwrap();
        assert_eq!(bytes.len() as u64, file.size);
        assert_eq!(done.hashes[0].0, file.name);
        // One download was allowed.
        let mut transfer = control.transfer(&restore.id, file.size).await.unwrap();
        transfer.sent(file.size);
        transfer.end().await.unwrap();
        assert!(control.download(&restore.id, &secret).await.is_err());
    }
    let none = link(Form::Collection { namespace: "shop.nothing".into() });
    let (restore, _) = control.restore(project, job, none, &by).await.unwrap();
    let done = site.restored(&restore.id).await;
    assert_eq!(done.status, RestoreStatus::Broken);
    assert!(done.message.contains("no collection shop.nothing"), "{}", done.message);
}

async fn snapshots_are_kept_and_deleted(site: &Site, job: &bygone_catalog::Id) {
    let by = By::system();
    let (control, project) = (&site.control, &site.project);
    let history = control.history(project, job).await.unwrap();
    let [first, .., last] = &history.snapshots[..] else { panic!("{history:?}") };
    assert!(first.expires.is_some(), "the schedule gave no time: {first:?}");
    let kept = control.keep_snapshot(project, job, &first.id, KeepUntil::ForEver, &by).await;
    assert!(kept.unwrap().kept_for_ever);
    let past = KeepUntil::Moment(UnixMillis(1));
    assert!(control.keep_snapshot(project, job, &first.id, past, &by).await.is_err());
    let newest = control.delete_snapshot(project, job, &last.id, &by).await.unwrap_err();
    assert_eq!(newest.kind(), ErrorKind::Conflict);
    control.delete_snapshot(project, job, &first.id, &by).await.unwrap();
    let left = control.history(project, job).await.unwrap();
    assert_eq!(left.snapshots.len(), history.snapshots.len() - 1);
    // Another project sees nothing of all this.
    let other = control.create_project("other", &by).await.unwrap().id;
    for error in [
        control.job(&other, job).await.map(|_| ()).unwrap_err(),
        control.history(&other, job).await.map(|_| ()).unwrap_err(),
        control.act(&other, job, Action::Stop, &by).await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

async fn goes_on_after_a_restart(site: Site, job: &bygone_catalog::Id, client: &mongodb::Client) {
    let by = By::system();
    let site = site.reopen();
    let (control, project) = (site.control.clone(), site.project.clone());
    orders(client, 5000, 100).await;
    // Asked for while nobody serves it: done by who does so next, and only once.
    control.request_resync(&project, job, &by).await.unwrap();
    control.request_snapshot(&project, job, &by).await.unwrap();
    let running = site.run();
    site.until(job, "the resync to begin", |v| v.job.requests.resync_done == 1).await;
    let timelines = || {
        let folder = site.store().join("jobs/Orders/rs0/timelines");
        std::fs::read_dir(folder).unwrap().count()
    };
    site.until(job, "the snapshot asked for", |v| v.job.requests.snapshot_done == 2).await;
    let view = site
        .until(job, "the job to be synced again", |v| {
            v.status_name == "STARTED"
                && v.live.as_ref().is_some_and(|l| l.phase == "complete")
                && timelines() == 2
        })
        .await;
    let early = control.act(&project, job, Action::Terminate, &by).await.unwrap_err();
    assert_eq!(early.hint_text(), Some("stop it first"));
    control.act(&project, job, Action::Stop, &by).await.unwrap();
    site.until(job, "the job to stop", |v| v.live.is_none()).await;
    assert_eq!(site.view(job).await.status_name, "STOPPED");
    let before = control.history(&project, job).await.unwrap();
    orders(client, 6000, 100).await;
    control.act(&project, job, Action::Restart, &by).await.unwrap();
    let end = view.newest;
    site.until(job, "the job to follow again", |v| {
        v.live.as_ref().and_then(|l| l.agent.as_ref()).is_some_and(|a| Some(a.stored) > end)
    })
    .await;
    // It went on from the oplog: no further initial sync.
    assert_eq!(timelines(), 2);
    assert!(
        control.history(&project, job).await.unwrap().snapshots.len() >= before.snapshots.len()
    );
    control.act(&project, job, Action::Stop, &by).await.unwrap();
    control.act(&project, job, Action::Terminate, &by).await.unwrap();
    site.until(job, "the job to be inactive", |v| v.job.state == JobState::Inactive).await;
    let left = state_files(&site);
    assert!(left.is_empty(), "{left:?}");
    let events = control.events(Some(&project), None).await.unwrap();
    let states = events.iter().filter(|e| e.kind == "RS_STATE_CHANGED_AUDIT").count();
    assert_eq!(states, 6, "{events:#?}");
    running.stop().await;
    control.delete_job(&project, job, &by).await.unwrap();
}

/// A store whose disk is lost: nothing can be deleted there, and the job must not stand in the way for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_store_is_gone_can_be_abandoned() {
    let set = ReplicaSet::single(Version::V8_2).await;
    orders(&set.client().await, 0, 100).await;
    let (site, by) = (Site::new().await, By::system());
    let (control, project) = (&site.control, &site.project);
    let job = &site.job("Shop", &set.uri()).await;
    control.act(project, job, Action::Start, &by).await.unwrap();
    let running = site.run();
    site.until(job, "a snapshot", |v| v.status_name == "STARTED").await;
    control.act(project, job, Action::Stop, &by).await.unwrap();
    site.until(job, "the job to stop", |v| v.live.is_none()).await;
    std::fs::rename(site.store(), site.folder.path().join("lost")).unwrap();
    assert_eq!(
        control.act(project, job, Action::Abandon, &by).await.unwrap_err().kind(),
        ErrorKind::Conflict,
        "what may be there yet is to be deleted first"
    );
    control.act(project, job, Action::Terminate, &by).await.unwrap();
    let says_why = |v: &JobView| v.job.message.as_deref().is_some_and(|m| m.contains("store"));
    site.until(job, "the job to say why it cannot be ended", says_why).await;
    assert!(control.remove_store("main", &by).await.is_err(), "a job is in it");
    let job = control.act(project, job, Action::Abandon, &by).await.unwrap();
    assert_eq!((job.state, job.set, job.message), (JobState::Inactive, None, None));
    control.delete_job(project, &job.id, &by).await.unwrap();
    control.remove_store("main", &by).await.unwrap();
    running.stop().await;
    // What the disk held is there, should it come back.
    assert!(site.folder.path().join("lost/jobs/Shop/rs0/snapshots").is_dir());
}

/// Objects of jobs that are left in the store.
fn state_files(site: &Site) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![site.store().join("jobs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}
