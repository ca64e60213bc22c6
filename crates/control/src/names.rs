//! Names of which there is one only. The catalog has no transaction over several records: a name is reserved by a record
//! of its own, which only one can insert, before the record that has it is written.

use std::collections::HashSet;

use bygone_base::{Error, ErrorKind, Result};
use bygone_catalog::{
    Id, Lease, Record,
    record::{Job, Name},
};

use crate::Control;

/// Who reserved a name and wrote no record within this time was cut off.
const CUT_OFF_MS: i64 = 60_000;

impl Control {
    /// Reserves a name for the record `holder` of type `T`; gives whether it was free.
    pub async fn reserve<T: Record>(&self, name: &str, holder: &Id) -> Result<bool> {
        let now = self.now();
        let wanted = Name { name: name.to_owned(), holder: holder.clone(), since: now };
        match self.catalog().insert(&wanted).await {
            Err(e) if e.kind() == ErrorKind::Conflict => {}
            inserted => return inserted.map(|()| true),
        }
        let Some(mut row) = self.catalog().find::<Name>(name).await? else { return Ok(false) };
        let young = now.since(row.value.since) < CUT_OFF_MS;
        if young || self.catalog().find::<T>(row.value.holder.as_str()).await?.is_some() {
            return Ok(false);
        }
        row.value = wanted;
        match self.catalog().update(&row).await {
            Err(e) if e.kind() == ErrorKind::Conflict => Ok(false),
            updated => updated.map(|()| true),
        }
    }

    /// Gives a name back that `holder` had.
    pub async fn give_back(&self, name: &str, holder: &Id) -> Result<()> {
        match self.catalog().find::<Name>(name).await? {
            Some(row) if row.value.holder == *holder => self.catalog().delete::<Name>(name).await,
            _ => Ok(()),
        }
    }

    /// Writes a new job, under a free name where it has none yet.
    ///
    /// # Errors
    /// Conflict: its name, or its cluster's, is taken; `stored`: names that stores hold something of.
    pub(crate) async fn insert_job(&self, job: &mut Job, stored: &HashSet<String>) -> Result<()> {
        // Those of older catalogs have reserved no names.
        let all: Vec<Job> = self.catalog().all(None).await?;
        let named = match self.name_cluster(job, &all).await {
            Ok(()) => self.name_job(job, &all, stored).await,
            Err(error) => Err(error),
        };
        let inserted = match named {
            Ok(()) => self.catalog().insert(job).await,
            Err(error) => Err(error),
        };
        if inserted.is_err() {
            self.give_names_back(job).await?;
        }
        inserted
    }

    async fn name_cluster(&self, job: &Job, all: &[Job]) -> Result<()> {
        let same = |other: &Job| other.project == job.project && other.cluster == job.cluster;
        let (_, name) = names_of(job);
        if all.iter().any(same) || !self.reserve::<Job>(&name, &job.id).await? {
            let taken = format!("the project has a cluster {:?} already", job.cluster);
            return Err(Error::new(ErrorKind::Conflict, taken));
        }
        Ok(())
    }

    async fn name_job(&self, job: &mut Job, all: &[Job], stored: &HashSet<String>) -> Result<()> {
        let given = (!job.name.is_empty()).then(|| job.name.clone());
        let wanted = given.clone().unwrap_or_else(|| job.cluster.clone());
        let names: Vec<String> = match given.clone() {
            Some(name) => vec![name],
            None => names_like(&job.cluster).collect(),
        };
        if given.is_some_and(|name| stored.contains(&name)) {
            let text = format!("the stores hold something of a job {wanted:?} already");
            return Err(Error::new(ErrorKind::Conflict, text).hint(
                "choose another name; `bygone catalog rebuild` makes jobs of what stores hold",
            ));
        }
        let free =
            |name: &String| all.iter().all(|job| job.name != *name) && !stored.contains(name);
        for name in names.into_iter().filter(free) {
            job.name = name;
            if self.reserve::<Job>(&names_of(job).0, &job.id).await? {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Conflict, format!("there is a job {wanted:?} already")))
    }

    /// Deletes a job and what is kept beside it.
    pub(crate) async fn remove_job(&self, job: &Job) -> Result<()> {
        self.catalog().delete::<Job>(job.id.as_str()).await?;
        for lease in [format!("agent/{}", job.id), format!("daemon/{}", job.id)] {
            self.catalog().delete::<Lease>(&lease).await?;
        }
        self.give_names_back(job).await
    }

    async fn give_names_back(&self, job: &Job) -> Result<()> {
        let (name, cluster) = names_of(job);
        self.give_back(&name, &job.id).await?;
        self.give_back(&cluster, &job.id).await
    }
}

fn names_of(job: &Job) -> (String, String) {
    (format!("job/{}", job.name), format!("cluster/{}/{}", job.project, job.cluster))
}

/// Names for the stores, from that of a cluster.
fn names_like(cluster: &str) -> impl Iterator<Item = String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let base: String = cluster.chars().map(plain).take(48).collect();
    let numbered = base.clone();
    std::iter::once(base).chain((2..1000).map(move |n| format!("{numbered}-{n}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bygone_base::{SystemClock, SystemRng, UnixMillis};
    use bygone_catalog::{Catalog, Seal, Sqlite};

    use super::*;
    use crate::{By, NewJob, NewSource, NewStore};

    fn control() -> Arc<Control> {
        let catalog = Catalog::new(Arc::new(Sqlite::in_memory().unwrap()));
        let seal = Seal::new(&[3; 32]).unwrap();
        let clock = Arc::new(SystemClock::new());
        Arc::new(Control::new(catalog, seal, clock, Arc::new(SystemRng)))
    }

    fn job(cluster: &str) -> NewJob {
        let uri = "mongodb://127.0.0.1/?replicaSet=rs0".to_owned();
        let source = NewSource { uri, ..NewSource::default() };
        NewJob { cluster: cluster.to_owned(), source, ..NewJob::default() }
    }

    #[test]
    fn names_in_stores_are_plain_and_numbered() {
        let names: Vec<String> = names_like("Größe 1").take(2).collect();
        assert_eq!(names, ["Gr--e-1", "Gr--e-1-2"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_those_who_ask_at_once_for_a_name_one_gets_it() {
        let (control, dir) = (control(), tempfile::tempdir().unwrap());
        let by = By::system();
        let url = format!("file://{}", dir.path().display());
        control.add_store(NewStore::new("main", url), &by).await.unwrap();
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let control = control.clone();
            asked.spawn(async move { control.create_project("shop", &By::system()).await });
        }
        let made: Vec<_> = asked.join_all().await.into_iter().flatten().collect();
        let [project] = &made[..] else { panic!("{made:?}") };
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let (control, project) = (control.clone(), project.id.clone());
            asked.spawn(
                async move { control.create_job(&project, job("Twin"), &By::system()).await },
            );
        }
        let made: Vec<_> = asked.join_all().await.into_iter().flatten().collect();
        assert_eq!(made.len(), 1, "{made:?}");
        // In other projects the same cluster has a name of its own in the stores.
        let other = control.create_project("other", &by).await.unwrap();
        let second = control.create_job(&other.id, job("Twin"), &by).await.unwrap();
        assert_eq!((made[0].name.as_str(), second.name.as_str()), ("Twin", "Twin-2"));
        // Once it is gone its names are free.
        control.delete_job(&project.id, &made[0].id, &by).await.unwrap();
        let again = control.create_job(&project.id, job("Twin"), &by).await.unwrap();
        assert_eq!(again.name, "Twin");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_store_holds_already_is_not_taken_over() {
        let (control, by) = (control(), By::system());
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}", dir.path().display());
        control.add_store(NewStore::new("main", url), &by).await.unwrap();
        let project = control.create_project("shop", &by).await.unwrap().id;
        let store = control.repository("main").await.unwrap();
        let left = bytes::Bytes::from_static(b"another server's");
        store.store().put_new("jobs/Shop/rs0/policy", left).await.unwrap();
        let named = NewJob { name: Some("Shop".to_owned()), ..job("Shop") };
        let error = control.create_job(&project, named.clone(), &by).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.message().contains("Shop"), "{error}");
        let beside = control.create_job(&project, job("Shop"), &by).await.unwrap();
        assert_eq!(beside.name, "Shop-2");
        // `up` goes on with what it stored before.
        let named = NewJob { cluster: "again".to_owned(), ..named };
        assert_eq!(control.make_job(&project, named, true, &by).await.unwrap().name, "Shop");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_name_whose_holder_was_cut_off_is_free_after_a_minute() {
        let control = control();
        let (one, two) = (control.new_id(), control.new_id());
        assert!(control.reserve::<Job>("job/a", &one).await.unwrap());
        assert!(!control.reserve::<Job>("job/a", &two).await.unwrap());
        let old = |name: &mut Name| {
            name.since = UnixMillis(control.clock().now().0 - CUT_OFF_MS);
            Ok(())
        };
        control.catalog().change::<Name>("job/a", old).await.unwrap();
        assert!(control.reserve::<Job>("job/a", &two).await.unwrap());
        control.give_back("job/a", &one).await.unwrap();
        assert!(!control.reserve::<Job>("job/a", &one).await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_goes_and_a_job_that_comes_do_not_both_succeed() {
        let (control, by) = (control(), By::system());
        let project = control.create_project("shop", &by).await.unwrap().id;
        for round in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let url = format!("file://{}", dir.path().display());
            control.add_store(NewStore::new("main", url), &by).await.unwrap();
            let name = format!("c{round}");
            let (made, removed) = tokio::join!(
                control.create_job(&project, job(&name), &by),
                control.remove_store("main", &by)
            );
            assert!(!(made.is_ok() && removed.is_ok()), "round {round}");
            if let Ok(job) = made {
                control.delete_job(&project, &job.id, &by).await.unwrap();
            }
            if removed.is_err() {
                control.remove_store("main", &by).await.unwrap();
            }
        }
    }
}
