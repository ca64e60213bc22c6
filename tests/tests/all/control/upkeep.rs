//! What the server does for stores by itself: expiry and checks, of jobs that share a store and of one that is stopped. A
//! store that hangs holds nothing up.

use std::{fs, path::PathBuf, time::Duration};

use bson::doc;
use bygone_base::UnixMillis;
use bygone_catalog::{
    Id,
    record::{AlertKind, Job, JobState, JobStores, Purpose, Store, StoreCheck},
};
use bygone_control::{Action, By, JobEdit, NewJob, NewSource, NewStore};
use bygone_tests::{ReplicaSet, Version, wait};
use rustix::fs::{FileType, Mode};

use super::{Site, alerts::largest};
use crate::bad_input::orders;

const LIMIT: Duration = Duration::from_secs(120);

/// A store whose first read never comes back, until this is dropped.
struct Hung(PathBuf);

impl Hung {
    async fn new(site: &Site) -> Hung {
        let folder = site.folder.path().join("hung");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("bygone.repository");
        rustix::fs::mknodat(rustix::fs::CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        let store = Store {
            id: "hung".into(),
            url: format!("file://{}", folder.display()),
            purposes: vec![Purpose::Snapshot, Purpose::Oplog, Purpose::Sync],
            key_file: None,
            passphrase: None,
            assignment_enabled: false,
            labels: Vec::new(),
            load_factor: 1,
            max_bytes: None,
            repository: None,
            leaving: false,
            created: UnixMillis(0),
        };
        site.control.catalog().insert(&store).await.unwrap();
        Hung(file)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // Opened for both, it waits for nobody, and whoever waits for a writer waits no more.
        let writer = fs::OpenOptions::new().read(true).write(true).open(&self.0);
        fs::remove_file(&self.0).unwrap();
        drop(writer);
    }
}

/// With its blocks in the one store, and everything else in the other.
async fn started(
    site: &Site,
    (cluster, include): (&str, &str),
    uri: &str,
    (blocks, rest): (&str, &str),
) -> Id {
    let source =
        NewSource { uri: uri.into(), include: vec![include.into()], ..NewSource::default() };
    let (snapshot, oplog, sync) = (blocks.into(), rest.into(), rest.into());
    let stores = JobStores { snapshot, oplog, sync };
    let new = NewJob { cluster: cluster.into(), source, ..NewJob::default() };
    let by = By::system();
    // A job is made only where its stores answer: this one's ceased to behind that.
    let job = site.control.create_job(&site.project, new, &by).await.unwrap().id;
    let moved = site.control.catalog().change::<Job>(job.as_str(), |job| {
        job.stores.clone_from(&stores);
        Ok(())
    });
    moved.await.unwrap();
    site.control.act(&site.project, &job, Action::Start, &by).await.unwrap();
    job
}

/// The next check of the store, as if the last one had been long ago; asking for another's check makes it soon.
async fn checked(site: &Site, other: &Id) -> StoreCheck {
    for old in site.control.store_checks("main").await.unwrap() {
        site.control.catalog().delete::<StoreCheck>(old.id.as_str()).await.unwrap();
    }
    site.control.request_check(&site.project, other, &By::system()).await.unwrap();
    let look = async || {
        let newest = site.control.store_checks("main").await.unwrap().into_iter().next();
        newest.filter(|check| check.finished.is_some())
    };
    wait::until("a check of the store", LIMIT, look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_and_checks_go_by_the_store_and_the_clock() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    orders(&client, 0, 3000).await;
    client.database("other").collection("c").insert_one(doc! {"_id": 1}).await.unwrap();
    let site = Site::new().await;
    let hung = Hung::new(&site).await;
    let settings = site.control.change_settings(|settings| {
        // Each check reads everything.
        (settings.upkeep.check_every_secs, settings.upkeep.check_within_secs) = (86_400, 86_400);
        Ok(())
    });
    settings.await.unwrap();
    let url = format!("file://{}", site.folder.path().join("logs").display());
    site.control.add_store(NewStore::new("logs", url), &By::system()).await.unwrap();
    let uri = set.uri();
    let stuck = started(&site, ("Stuck", "other.*"), &uri, ("hung", "hung")).await;
    let shop = started(&site, ("Shop", "shop.*"), &uri, ("main", "main")).await;
    let other = started(&site, ("Other", "other.*"), &uri, ("main", "logs")).await;
    let running = site.run();
    site.until(&stuck, "the job whose store hangs to be tried", |v| v.job.set.is_some()).await;
    site.until(&other, "the other job", |v| v.status_name == "STARTED").await;
    site.until(&shop, "the first snapshot", |v| v.status_name == "STARTED").await;
    a_schedule_changes(&site, &shop, &client).await;
    stopped_it_expires(&site, &shop).await;
    damage_is_told_of_whom_it_concerns(&site, &shop, &other).await;
    grooms_are_missed_only_where_there_are_any(&site).await;
    let by = By::system();
    site.control.act(&site.project, &shop, Action::Terminate, &by).await.unwrap();
    site.until(&shop, "the job to be inactive", |v| v.job.state == JobState::Inactive).await;
    let left = site.control.repository("main").await.unwrap();
    assert_eq!(left.store().list("jobs/Shop/", None).await.unwrap(), []);
    // All the while nobody could open that store; now it is no repository.
    assert!(site.view(&stuck).await.live.is_none());
    drop(hung);
    site.until(&stuck, "what is wrong with that store", |v| v.problem.is_some()).await;
    running.stop().await;
}

/// From four times a day to once a minute: the job runs on, and takes nothing before what was announced.
async fn a_schedule_changes(site: &Site, shop: &Id, client: &mongodb::Client) {
    let by = By::system();
    let view = site.until(shop, "the next one to be known", |v| v.next_snapshot.is_some()).await;
    let mut schedule = view.job.schedule.clone();
    (schedule.interval_secs, schedule.base_secs, schedule.window_secs) = (60, 1, 0);
    (schedule.weeks, schedule.months) = (0, 0);
    let edit = JobEdit { schedule: Some(schedule), ..JobEdit::default() };
    orders(client, 5000, 10).await;
    let said = site.control.edit_job(&site.project, shop, edit, &by).await.unwrap().announced;
    let said = said.unwrap().at;
    assert!(view.next_snapshot.is_some_and(|next| next < said));
    let then = site.until(shop, "what was announced", |v| v.next_snapshot == Some(said)).await;
    let seen = |v: &bygone_control::views::JobView| {
        v.live.as_ref().map(|l| (l.backup.taken, l.agent.as_ref().map(|a| a.holder.clone())))
    };
    assert_eq!(seen(&then), seen(&view), "nothing was taken, and nothing began anew");
    site.control.request_snapshot(&site.project, shop, &by).await.unwrap();
    site.until(shop, "one on demand", |v| v.newest > view.newest).await;
}

/// The first snapshot has a time of weeks; asked to, the server gives it that of the schedule as it is now.
async fn stopped_it_expires(site: &Site, shop: &Id) {
    let by = By::system();
    let (control, project) = (&site.control, &site.project);
    control.act(project, shop, Action::Stop, &by).await.unwrap();
    site.until(shop, "the job to stop", |v| v.live.is_none()).await;
    let history = control.history(project, shop).await.unwrap();
    let [first, .., last] = &history.snapshots[..] else { panic!("{history:?}") };
    let would = control.apply_schedule(project, shop, true, &by).await.unwrap();
    assert_eq!(would.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&first.id]);
    let still = control.history(project, shop).await.unwrap();
    assert_eq!(still.snapshots[0].expires, first.expires, "only asked");
    control.apply_schedule(project, shop, false, &by).await.unwrap();
    let look = async || {
        let left = control.history(project, shop).await.unwrap().snapshots;
        (left.len() == 1).then_some(left)
    };
    let left = wait::until("what had its time to go", LIMIT, look).await;
    assert_eq!(left[0].id, last.id, "the newest stays");
}

async fn damage_is_told_of_whom_it_concerns(site: &Site, shop: &Id, other: &Id) {
    let check = checked(site, other).await;
    assert_eq!((check.covered, check.failure.as_deref()), (100, None), "{check:?}");
    assert!(check.total > 0 && check.bytes == check.total && check.damage.is_empty(), "{check:?}");
    let mut jobs = check.jobs.clone();
    jobs.sort();
    assert_eq!(jobs, ["Other", "Shop"], "also that which is stopped");
    let found = async |job: &Id| {
        let check = site.control.newest_check(&site.project, job).await.unwrap().unwrap();
        (check.damage, check.failure)
    };
    // A byte of what only one of them needs flips, and flips back.
    let pack = largest(&site.store().join("packs"));
    let good = fs::read(&pack).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&pack, bad).unwrap();
    let check = checked(site, other).await;
    assert!(!check.damage.is_empty(), "{check:?}");
    assert!(!check.concerned.is_empty(), "{check:?}");
    assert!(check.concerned.iter().all(|(job, _)| job == "Shop"), "{check:?}");
    assert!(!found(shop).await.0.is_empty());
    assert_eq!(found(other).await, (Vec::new(), None));
    fs::write(&pack, good).unwrap();
    let check = checked(site, other).await;
    assert!(check.damage.is_empty() && check.concerned.is_empty(), "{check:?}");
    assert_eq!(found(shop).await, (Vec::new(), None));
}

/// A store of oplogs only is never groomed, and nobody waits for it; what it holds is known all the same.
async fn grooms_are_missed_only_where_there_are_any(site: &Site) {
    let settings = site.control.change_settings(|settings| {
        settings.thresholds.groom_overdue_secs = 0;
        Ok(())
    });
    settings.await.unwrap();
    let look = async || {
        let all = site.control.alerts(None).await.unwrap();
        let overdue = all.into_iter().filter(|a| a.kind == AlertKind::GroomOverdue);
        let targets: Vec<String> = overdue.map(|alert| alert.target).collect();
        targets.contains(&"main".to_owned()).then_some(targets)
    };
    let targets = wait::until("an overdue groom", LIMIT, look).await;
    assert!(!targets.contains(&"logs".to_owned()), "{targets:?}");
    let logs = site.control.usage("logs", 1).await.unwrap().pop().expect("a sample");
    assert!(logs.jobs.iter().any(|(job, _)| job == "Other"), "{logs:?}");
}
