//! Restores that are cancelled, wait, end with their job or their link; drills.

use std::time::Duration;

use bson::{Document, doc};
use bygone_base::{ErrorKind, UnixMillis};
use bygone_catalog::{
    Id,
    record::{AlertKind, AlertStatus, Form, JobState, Names, RestoreJob, RestoreStatus},
};
use bygone_control::{Action, By, JobEdit, NewDelivery, NewRestore};
use bygone_tests::{ReplicaSet, Version, proxy::Proxy, wait};

use super::{Site, alerts::alert};
use crate::bad_input::orders;

const LIMIT: Duration = Duration::from_secs(120);

fn into(uri: &str, drop: bool) -> NewRestore {
    NewRestore {
        when: "latest".into(),
        names: Names::default(),
        delivery: NewDelivery::Automated { to: uri.into(), drop, onto_source: false },
        verify: true,
    }
}

fn link(expires: Option<UnixMillis>) -> NewRestore {
    let delivery = NewDelivery::Http { form: Form::Archive, expires, max_downloads: None };
    NewRestore { delivery, verify: false, ..into("", false) }
}

/// A target that accepts connections and never answers.
async fn stalled(target: &ReplicaSet) -> (Proxy, String) {
    let proxy = Proxy::start(target.members[0].address()).await;
    proxy.stall();
    let uri = format!("mongodb://{}/?directConnection=true", proxy.address());
    (proxy, uri)
}

/// A site with a started job that has a snapshot, and its source.
async fn started(site: &Site, set: &ReplicaSet) -> Id {
    let job = site.job("Shop", &set.uri()).await;
    site.control.act(&site.project, &job, Action::Start, &By::system()).await.unwrap();
    job
}

/// Something of the target's own where the restore would put its documents.
async fn own(target: &ReplicaSet) {
    let orders = target.client().await.database("shop").collection::<Document>("orders");
    orders.insert_one(doc! {"_id": "own"}).await.unwrap();
}

async fn is_untouched(target: &ReplicaSet) {
    let orders = target.client().await.database("shop").collection::<Document>("orders");
    let found = orders.find_one(doc! {"_id": "own"}).await.unwrap();
    assert!(found.is_some(), "the target's own document is gone");
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 1);
}

async fn begun(site: &Site, id: &Id) {
    let look = async || {
        let restore = site.control.restore_job(&site.project, id).await.unwrap();
        restore.begun.map(|_| ())
    };
    wait::until("a restore to begin", LIMIT, look).await;
}

async fn ask(site: &Site, job: &Id, new: NewRestore) -> RestoreJob {
    site.control.restore(&site.project, job, new, &By::system()).await.unwrap().0
}

async fn cancel(site: &Site, restore: &RestoreJob) -> RestoreJob {
    site.control.cancel_restore(&site.project, &restore.id, &By::system()).await.unwrap()
}

/// Leases of readers in the store.
fn readers(site: &Site) -> usize {
    std::fs::read_dir(site.store().join("readers")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_is_not_done() {
    let version = Version::V8_2;
    let (set, target) = (ReplicaSet::single(version).await, ReplicaSet::single(version).await);
    orders(&set.client().await, 0, 100).await;
    let site = Site::new().await;
    let job = started(&site, &set).await;
    let running = site.run();
    site.until(&job, "the first snapshot", |v| v.status_name == "STARTED").await;
    own(&target).await;
    // Two restores stand still, a third waits for its turn.
    let (_proxy, still) = stalled(&target).await;
    let first = ask(&site, &job, into(&still, false)).await;
    let second = ask(&site, &job, into(&still, false)).await;
    begun(&site, &first.id).await;
    begun(&site, &second.id).await;
    let third = ask(&site, &job, into(&target.uri(), true)).await;
    // It waits, and holds its snapshot.
    wait::until("three readers", LIMIT, async || (readers(&site) == 3).then_some(())).await;
    let ended = cancel(&site, &third).await;
    assert_eq!(ended.status, RestoreStatus::Killed);
    let again = site.control.cancel_restore(&site.project, &third.id, &By::system()).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Conflict);
    for running in [&first, &second] {
        cancel(&site, running).await;
        assert_eq!(site.restored(&running.id).await.status, RestoreStatus::Killed);
    }
    wait::until("no reader", LIMIT, async || (readers(&site) == 0).then_some(())).await;
    links_end(&site, &job).await;
    // Its turn would have come before that of one that was asked for later.
    is_untouched(&target).await;
    let (_proxy, still) = stalled(&target).await;
    let later = ask(&site, &job, into(&still, false)).await;
    begun(&site, &later.id).await;
    // A job that is terminated ends its restores.
    let (control, by) = (&site.control, By::system());
    control.act(&site.project, &job, Action::Stop, &by).await.unwrap();
    control.act(&site.project, &job, Action::Terminate, &by).await.unwrap();
    assert_eq!(site.restored(&later.id).await.status, RestoreStatus::Killed);
    site.until(&job, "the job to be inactive", |v| v.job.state == JobState::Inactive).await;
    running.stop().await;
    is_untouched(&target).await;
}

/// A link that is taken back or whose time is over leads nowhere, and its file goes.
async fn links_end(site: &Site, job: &Id) {
    let (control, by) = (&site.control, By::system());
    let soon = UnixMillis(control.now().0 + 20_000);
    let (short, secret) = control.restore(&site.project, job, link(Some(soon)), &by).await.unwrap();
    let (long, key) = control.restore(&site.project, job, link(None), &by).await.unwrap();
    for restore in [&short, &long] {
        let done = site.restored(&restore.id).await;
        assert_eq!(done.status, RestoreStatus::Finished, "{}", done.message);
    }
    let file = control.download(&long.id, key.as_deref().unwrap()).await.unwrap().path;
    assert!(file.exists());
    cancel(site, &long).await;
    assert!(control.download(&long.id, key.as_deref().unwrap()).await.is_err());
    wait::until("the file to go", LIMIT, async || (!file.exists()).then_some(())).await;
    let folder = site.folder.path().join("downloads").join(short.id.as_str());
    let gone = async || (!folder.exists()).then_some(());
    wait::until("the file of a link that is over to go", LIMIT, gone).await;
    let over = control.download(&short.id, secret.as_deref().unwrap()).await.unwrap_err();
    assert_eq!(over.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_ended_as_it_was_asked_for() {
    let version = Version::V8_2;
    let (set, target) = (ReplicaSet::single(version).await, ReplicaSet::single(version).await);
    orders(&set.client().await, 0, 100).await;
    let site = Site::new().await;
    let job = started(&site, &set).await;
    let running = site.run();
    site.until(&job, "the first snapshot", |v| v.status_name == "STARTED").await;
    running.stop().await;
    let site = site.reopen();
    // What runs knows nothing of the job yet, and yet it is known.
    assert_eq!(site.view(&job).await.status_name, "STARTED");
    own(&target).await;
    let cancelled = ask(&site, &job, into(&target.uri(), true)).await;
    let orphan = ask(&site, &job, into(&target.uri(), true)).await;
    let catalog = site.control.catalog();
    let begun = |restore: &mut RestoreJob| {
        (restore.begun, restore.cancel) = (Some(restore.created), true);
        Ok(())
    };
    catalog.change(cancelled.id.as_str(), begun).await.unwrap();
    let nobody = site.control.new_id();
    let removed = |restore: &mut RestoreJob| {
        restore.job = nobody.clone();
        Ok(())
    };
    catalog.change(orphan.id.as_str(), removed).await.unwrap();
    let running = site.run();
    assert_eq!(site.restored(&cancelled.id).await.status, RestoreStatus::Killed);
    let orphan = site.restored(&orphan.id).await;
    assert_eq!(orphan.status, RestoreStatus::Broken);
    assert!(orphan.message.contains("job was removed"), "{}", orphan.message);
    is_untouched(&target).await;
    running.stop().await;
}

async fn drills(site: &Site) -> Vec<RestoreJob> {
    let mut all = site.control.restores(&site.project, None).await.unwrap();
    all.retain(|restore| restore.drill);
    all
}

async fn set_drill(site: &Site, job: &Id, uri: &str) {
    let drill = Some(Some((uri.to_owned(), 3600)));
    let edit = JobEdit { drill, ..JobEdit::default() };
    site.control.edit_job(&site.project, job, edit, &By::system()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn drills_prove_themselves_and_are_told_of_when_they_fail() {
    let version = Version::V8_2;
    let (set, scratch) = (ReplicaSet::single(version).await, ReplicaSet::single(version).await);
    orders(&set.client().await, 0, 100).await;
    let site = Site::new().await;
    let job = started(&site, &set).await;
    let running = site.run();
    site.until(&job, "the first snapshot", |v| v.status_name == "STARTED").await;
    own(&scratch).await;
    set_drill(&site, &job, &scratch.uri()).await;
    let ended = async |n: usize| {
        let look = async || {
            let all = drills(&site).await;
            let over = |drill: &&RestoreJob| drill.status != RestoreStatus::InProgress;
            (all.iter().filter(over).count() == n).then(|| all[0].clone())
        };
        wait::until("a drill to end", LIMIT, look).await
    };
    let proven = ended(1).await;
    assert_eq!(proven.status, RestoreStatus::Finished, "{}", proven.message);
    let proof = proven.proof.expect("a proof").to_string();
    assert!(proof.contains("shop"), "{proof}");
    let found = scratch.client().await.database("shop").collection::<Document>("orders");
    assert_eq!(found.count_documents(doc! {}).await.unwrap(), 100);
    // Its target is not there any more.
    set_drill(&site, &job, "mongodb://127.0.0.1:1/?directConnection=true").await;
    assert_eq!(ended(2).await.status, RestoreStatus::Broken);
    let failed = alert(&site, &job, AlertKind::VerificationFailed, AlertStatus::Open).await;
    assert!(failed.message.contains("restore drill failed"), "{}", failed.message);
    // It stands still. No second one is begun, and people are served all the same.
    let (proxy, still) = stalled(&scratch).await;
    set_drill(&site, &job, &still).await;
    let look = async || {
        let under_way = |drill: &RestoreJob| drill.begun.is_some() && drill.finished.is_none();
        drills(&site).await.iter().any(under_way).then_some(())
    };
    wait::until("a drill to begin", LIMIT, look).await;
    set_drill(&site, &job, &still).await;
    let target = ReplicaSet::single(version).await;
    let restore = ask(&site, &job, into(&target.uri(), false)).await;
    let done = site.restored(&restore.id).await;
    assert_eq!(done.status, RestoreStatus::Finished, "{}", done.message);
    let waiting = drills(&site).await.iter().filter(|d| d.finished.is_none()).count();
    assert!(waiting <= 1, "{waiting} drills at once");
    // It is well again.
    proxy.heal();
    set_drill(&site, &job, &scratch.uri()).await;
    alert(&site, &job, AlertKind::VerificationFailed, AlertStatus::Closed).await;
    running.stop().await;
}
