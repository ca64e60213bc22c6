//! The check of a store: its share of the packs is read, and the jobs whose turn it is are verified. What is damaged is
//! told of the jobs that need it. Nobody is held up meanwhile.

use std::{collections::HashMap, time::Duration};

use bygone_base::{ErrorKind, PackId, Result, UnixMillis};
use bygone_blockstore::{Repository, audit::check_pack, names};
use bygone_catalog::{
    Id,
    record::{Integrity, Job, Store, StoreCheck, StoreReading, Upkeep},
};
use bygone_groom::{
    Report,
    verify::{Depth, Packs, Suspect},
};

use super::{
    KEPT, ended, held, new, newest, note, of_part,
    reading::{Pack, covered, mark, plan, turns},
    throttled,
};
use crate::Control;

/// How far it has come is written so often.
const SAVE: Duration = Duration::from_secs(30);

/// One that could not begin is tried again so soon.
const AGAIN_MS: i64 = 3_600_000;

/// Checks the stores that are due, each by itself.
pub(crate) async fn of_stores(control: &Control, jobs: &[Job]) -> Result<()> {
    let limits = control.settings().await?.upkeep;
    let stores: Vec<Store> = control.catalog().all(None).await?;
    let each = stores.iter().map(|store| {
        let here = jobs.iter().filter(|job| job.stores.snapshot == store.id && keeps(job));
        let here: Vec<&Job> = here.collect();
        let limits = &limits;
        async move {
            let at = control.attended.begin(format!("check of store {}", store.id));
            if at.is_none() {
                return;
            }
            if let Err(error) = of_store(control, &here, &store.id, limits).await {
                tracing::warn!(store = store.id, %error, "a check of a store was not noted");
            }
        }
    });
    futures::future::join_all(each).await;
    Ok(())
}

/// Whether there is something to check; also of a job that is stopped.
fn keeps(job: &Job) -> bool {
    job.set.is_some() && job.state.keeps_data()
}

/// Begins with the check that is due, or goes on with one that was cut off.
async fn of_store(control: &Control, jobs: &[&Job], store: &str, limits: &Upkeep) -> Result<()> {
    let now = control.now();
    // Those of the future are of a clock that was put back since.
    let known = control.store_checks(store).await?.into_iter();
    let last = known.into_iter().find(|c| c.finished.is_none() || c.started <= now);
    let every = i64::try_from(limits.check_every_secs).unwrap_or(i64::MAX / 1000) * 1000;
    // A store that could not be reached is not left alone for a day.
    let again = |last: &StoreCheck| match last.failure.is_some() && last.packs == 0 {
        true => every.min(AGAIN_MS),
        false => every,
    };
    let mut check = match last {
        Some(begun) if begun.finished.is_none() => begun,
        _ if jobs.is_empty() => return Ok(()),
        Some(last) if now.since(last.started) < again(&last) => return Ok(()),
        _ => {
            let check = StoreCheck {
                id: control.new_id(),
                store: store.to_owned(),
                started: now,
                finished: None,
                packs: 0,
                bytes: 0,
                total: 0,
                covered: 0,
                jobs: Vec::new(),
                damage: Vec::new(),
                concerned: Vec::new(),
                failure: None,
            };
            control.catalog().insert(&check).await?;
            check
        }
    };
    let mut work = Check { control, jobs, limits, reading: reading(control, store, now).await? };
    if let Err(error) = work.run(&mut check).await {
        check.failure = Some(error.to_string());
    }
    check.finished = Some(control.now());
    save(control, &check).await?;
    for old in control.store_checks(store).await?.iter().skip(KEPT) {
        control.catalog().delete::<StoreCheck>(old.id.as_str()).await?;
    }
    Ok(())
}

async fn save(control: &Control, check: &StoreCheck) -> Result<()> {
    let saved = control.catalog().change::<StoreCheck>(check.id.as_str(), |kept| {
        kept.clone_from(check);
        Ok(())
    });
    saved.await.map(|_| ())
}

/// How far the checks of a store have come.
async fn reading(control: &Control, store: &str, now: UnixMillis) -> Result<StoreReading> {
    if let Some(row) = control.catalog().find::<StoreReading>(store).await? {
        return Ok(row.value);
    }
    let begun = StoreReading { store: store.to_owned(), since: now, ..StoreReading::default() };
    control.catalog().insert(&begun).await?;
    Ok(begun)
}

/// A check under way.
struct Check<'a> {
    control: &'a Control,
    jobs: &'a [&'a Job],
    limits: &'a Upkeep,
    reading: StoreReading,
}

impl Check<'_> {
    async fn run(&mut self, check: &mut StoreCheck) -> Result<()> {
        let (control, limits) = (self.control, self.limits);
        let repo = control.throttled(&check.store, limits.check_mb_per_second).await?;
        let packs = listed(&repo).await?;
        check.total = packs.iter().map(|pack| pack.bytes).sum();
        let suspects = self.packs(check, &repo, &packs).await?;
        let now = control.now();
        check.covered = covered(packs.iter().copied(), &self.reading, limits, now);
        let sizes: HashMap<PackId, u64> = packs.iter().map(|pack| (pack.id, pack.bytes)).collect();
        let mut failed = Vec::new();
        for (job, depth) in self.whose_turn(!suspects.is_empty(), check.started).await? {
            let begun = new(control, job);
            let report = self.verify(job, depth, &suspects).await;
            match &report {
                Ok(report) => {
                    let lost = report.bad.iter().map(|(id, _)| (job.name.clone(), id.to_string()));
                    check.concerned.extend(lost);
                    check.jobs.extend((depth == Depth::Full).then(|| job.name.clone()));
                }
                Err(error) => failed.push(format!("job {}: {error}", job.name)),
            }
            let percent = |report: &Report| {
                let size = |id: &PackId| Some(Pack { id: *id, bytes: *sizes.get(id)? });
                covered(report.needed.iter().filter_map(size), &self.reading, limits, now)
            };
            note(control, ended(control, begun, report, percent)).await?;
            save(control, check).await?;
        }
        check.failure = (!failed.is_empty()).then(|| failed.join("; "));
        Ok(())
    }

    /// Reads what is damaged already, and then this check's share. Gives what is damaged.
    async fn packs(
        &mut self,
        check: &mut StoreCheck,
        repo: &Repository,
        packs: &[Pack],
    ) -> Result<Vec<Suspect>> {
        let mut suspects = Vec::new();
        let known = std::mem::take(&mut self.reading.suspects);
        for pack in packs.iter().filter(|pack| known.contains(&pack.id.to_string())) {
            self.read(check, repo, pack, &mut suspects).await?;
        }
        let mut saved = self.control.clock().monotonic();
        for pack in plan(packs, &self.reading, self.limits, check.started) {
            if !known.contains(&pack.id.to_string()) {
                self.read(check, repo, &pack, &mut suspects).await?;
            }
            let last = packs.last().is_some_and(|last| last.id == pack.id);
            mark(&mut self.reading, (!last).then_some(pack.id), check.started);
            let now = self.control.clock().monotonic();
            if now.saturating_sub(saved) >= SAVE {
                saved = now;
                self.save_reading(check).await?;
            }
        }
        self.save_reading(check).await?;
        Ok(suspects)
    }

    async fn read(
        &mut self,
        check: &mut StoreCheck,
        repo: &Repository,
        pack: &Pack,
        suspects: &mut Vec<Suspect>,
    ) -> Result<()> {
        let found = check_pack(repo, pack.id).await?;
        if !found.is_empty() && is_gone(repo, pack.id).await? {
            // A groom was there meanwhile. Who needs it still will miss it.
            return Ok(());
        }
        (check.packs, check.bytes) = (check.packs + 1, check.bytes + pack.bytes);
        for damage in found {
            suspects.push(Suspect { pack: pack.id, block: damage.block });
            let line = damage.to_string();
            if !check.damage.contains(&line) {
                check.damage.push(line);
            }
            let name = pack.id.to_string();
            if !self.reading.suspects.contains(&name) {
                self.reading.suspects.push(name);
            }
        }
        Ok(())
    }

    async fn save_reading(&self, check: &StoreCheck) -> Result<()> {
        let saved = self.control.catalog().change::<StoreReading>(&check.store, |kept| {
            kept.clone_from(&self.reading);
            Ok(())
        });
        saved.await?;
        save(self.control, check).await
    }

    /// Jobs that are verified now, and how: those whose turn it is; all, where something is damaged, to tell whose it is;
    /// and those of which that was told, until it is right again.
    async fn whose_turn(&self, damaged: bool, now: UnixMillis) -> Result<Vec<(&Job, Depth)>> {
        let (mut last, mut broken) = (Vec::new(), Vec::<&Id>::new());
        let whole = self.last_whole().await?;
        for job in self.jobs {
            let newest = newest(self.control, &job.id).await?;
            let ended = newest.as_ref().filter(|check| check.finished.is_some());
            let is_broken = |c: &&Integrity| c.failure.is_some() || !c.damage.is_empty();
            broken.extend(ended.filter(is_broken).map(|_| &job.id));
            last.push((whole.get(&job.name).copied().unwrap_or(job.created), *job));
        }
        let turn: Vec<&Id> = turns(last, self.limits, now).into_iter().map(|j| &j.id).collect();
        let depth = |job: &&Job| {
            let full = turn.contains(&&job.id) || broken.contains(&&job.id);
            (full || damaged).then_some(if full { Depth::Full } else { Depth::Quick })
        };
        Ok(self.jobs.iter().filter_map(|job| Some((*job, depth(job)?))).collect())
    }

    /// When everything of each job was last verified by a check of its store, as far as that is remembered.
    async fn last_whole(&self) -> Result<HashMap<String, UnixMillis>> {
        let checks = self.control.store_checks(&self.reading.store).await?;
        // Newest first: what is met later stays.
        let jobs = checks
            .into_iter()
            .rev()
            .flat_map(|check| check.jobs.into_iter().map(move |job| (job, check.started)));
        Ok(jobs.collect())
    }

    /// Verifies what a job stores while it goes on. Damage that may come of what expired meanwhile is looked at again while
    /// nothing does.
    async fn verify(&self, job: &Job, depth: Depth, suspects: &[Suspect]) -> Result<Report> {
        let parts = throttled(self.control, job, self.limits).await?;
        let packs = Packs::Read(suspects.to_vec());
        match of_part(self.control, &parts, depth, &packs).await {
            Ok(report) if report.is_clean() => Ok(report),
            Err(error) if error.kind().is_transient() => Err(error),
            _ => held(self.control, &parts, depth, &packs).await,
        }
    }
}

/// Packs of a store, in the order of their names.
async fn listed(repo: &Repository) -> Result<Vec<Pack>> {
    let objects = repo.store().list(names::PACKS, None).await?;
    let pack = |o: bygone_blockstore::ObjectStat| {
        Some(Pack { id: names::parse_pack(&o.name)?, bytes: o.size })
    };
    let mut packs: Vec<Pack> = objects.into_iter().filter_map(pack).collect();
    packs.sort_by_key(|pack| pack.id);
    Ok(packs)
}

async fn is_gone(repo: &Repository, pack: PackId) -> Result<bool> {
    match repo.store().stat(&names::pack(pack)).await {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
