//! Restore jobs: asked for, looked at, cancelled. Doing them is the supervisor's.

use std::sync::Arc;

use bygone_agent::SourceUri;
use bygone_base::{Error, ErrorKind, Result, UnixMillis, When};
use bygone_catalog::{
    Id, Page,
    record::{Delivery, Form, Job, Names, Progress, RestoreJob, RestoreStatus},
};
use bygone_head::{Choice, Scratch, View, ViewOptions, choose};
use bygone_restore::{Documents as _, NameRules, PlanOptions, Target, ViewDocuments, plan};
use bygone_snapshot::Parts;

use crate::{By, Control, views::RestorePlan};

/// A link lives this long unless said otherwise.
const LINK_HOURS: i64 = 1;
/// Bytes of a link's secret.
const SECRET: usize = 24;

/// Where a restore goes.
#[derive(Debug, Clone)]
pub enum NewDelivery {
    /// Into a running server.
    Automated {
        /// URI with its secrets.
        to: String,
        /// Whether existing collections give way.
        drop: bool,
        /// Whether the target may be the source.
        onto_source: bool,
    },
    /// By a link.
    Http {
        /// What is in it.
        form: Form,
        /// When it ends; in an hour where not given.
        expires: Option<UnixMillis>,
        /// How often it can be downloaded; `None`: without limit.
        max_downloads: Option<u32>,
    },
}

/// A restore to be done.
#[derive(Debug, Clone)]
pub struct NewRestore {
    /// WHEN, as on the command line.
    pub when: String,
    /// Namespaces.
    pub names: Names,
    /// Where to.
    pub delivery: NewDelivery,
    /// Whether the target's dbHash is compared.
    pub verify: bool,
}

/// How a view is read with this scratch folder.
pub(crate) fn reading(scratch: Option<&Scratch>) -> ViewOptions {
    ViewOptions { scratch: scratch.map(Scratch::url), ..ViewOptions::default() }
}

impl Control {
    /// What a restore into a server would do; reads both, changes nothing.
    ///
    /// # Errors
    /// `NotCovered`, naming the ranges; Usage: the target is not empty, too old ..
    pub async fn plan_restore(
        &self,
        project: &Id,
        job: &Id,
        new: &NewRestore,
    ) -> Result<RestorePlan> {
        let job: Job = self.within(project, job.as_str()).await?;
        let NewDelivery::Automated { to, drop, onto_source } = &new.delivery else {
            return Err(Error::usage("only a restore into a server has a plan to show"));
        };
        let options = PlanOptions {
            rules: rules(&new.names)?,
            drop: *drop,
            onto_source: *onto_source,
            verify: new.verify,
            ..PlanOptions::default()
        };
        let uri = SourceUri::parse(to)?;
        let parts = self.stored_parts(&job).await?;
        let target = Target::connect(uri.expose(), self.clock().clone()).await?;
        let facts = target.facts().await?;
        let when: When = new.when.parse()?;
        let Parts { snapshots, oplog } = &parts;
        let clock = self.clock().clone();
        let scratch = self.scratch()?;
        let view = View::open(snapshots, oplog, &when, reading(scratch.as_ref()), clock).await?;
        let documents = Arc::new(ViewDocuments::new(view)?);
        let plan = plan(documents.contents(), &facts, &options)?;
        Ok(RestorePlan { text: plan.to_string(), json: plan.to_json() })
    }

    /// Asks for a restore. Gives the job, and for a download the secret of its link, which is not shown again.
    ///
    /// # Errors
    /// `NotCovered`, naming the ranges; Usage: something of it is wrong.
    pub async fn restore(
        &self,
        project: &Id,
        job: &Id,
        new: NewRestore,
        by: &By,
    ) -> Result<(RestoreJob, Option<String>)> {
        let job: Job = self.within(project, job.as_str()).await?;
        let when: When = new.when.parse()?;
        rules(&new.names)?;
        let parts = self.stored_parts(&job).await?;
        let chosen = choose(&parts.snapshots, &parts.oplog, &when).await?;
        let id = self.new_id();
        let (delivery, secret) = self.delivery(&id, new.delivery)?;
        let restore = RestoreJob {
            delivery,
            verify: new.verify,
            ..self.new_restore(id, &job, &new.when, &chosen, new.names, by)
        };
        self.catalog().insert(&restore).await?;
        self.nudge();
        let message = format!("restore of {} as of {} asked for", job.cluster, restore.moment);
        self.event(by, Some(project), Some(&job), "RESTORE_REQUESTED_AUDIT", message).await?;
        Ok((restore, secret))
    }

    pub(crate) fn new_restore(
        &self,
        id: Id,
        job: &Job,
        when: &str,
        chosen: &Choice,
        names: Names,
        by: &By,
    ) -> RestoreJob {
        RestoreJob {
            id,
            project: job.project.clone(),
            job: job.id.clone(),
            by: by.actor.clone(),
            created: self.now(),
            when: when.to_owned(),
            moment: chosen.at.to_string(),
            snapshot: Some(chosen.manifest.id.to_string()),
            point_in_time: chosen.at != chosen.manifest.at.ts,
            names,
            delivery: Delivery::Http {
                form: Form::Archive,
                expires: self.now(),
                max_downloads: Some(0),
                downloads: 0,
                sent: 0,
                secret: String::new(),
                size: None,
            },
            verify: false,
            drill: false,
            status: RestoreStatus::InProgress,
            progress: Progress { phase: "waiting".to_owned(), ..Progress::default() },
            finished: None,
            message: String::new(),
            proof: None,
            hashes: Vec::new(),
            cancel: false,
            begun: None,
            made: Vec::new(),
        }
    }

    fn delivery(&self, id: &Id, new: NewDelivery) -> Result<(Delivery, Option<String>)> {
        match new {
            NewDelivery::Automated { to, drop, onto_source } => {
                let shown = SourceUri::parse(&to)?.to_string();
                let to = self.seal().seal(&to, &format!("restore/{id}"), &**self.rng())?;
                Ok((Delivery::Automated { to, shown, drop, onto_source }, None))
            }
            NewDelivery::Http { form, expires, max_downloads } => {
                if let Form::Collection { namespace } = &form {
                    let named = namespace.split_once('.');
                    if named.is_none_or(|(db, name)| db.is_empty() || name.is_empty()) {
                        return Err(Error::usage(format!(
                            "{namespace:?} is not DATABASE.COLLECTION"
                        )));
                    }
                }
                let expires = expires.unwrap_or(UnixMillis(self.now().0 + LINK_HOURS * 3_600_000));
                if expires <= self.now() {
                    return Err(Error::usage("the link would end in the past"));
                }
                if max_downloads == Some(0) {
                    return Err(Error::usage("a link must be good for one download at least"));
                }
                let mut bytes = [0; SECRET];
                self.rng().fill(&mut bytes);
                let secret = hex::encode(bytes);
                let hash = blake3::hash(secret.as_bytes()).to_hex().to_string();
                let delivery = Delivery::Http {
                    form,
                    expires,
                    max_downloads,
                    downloads: 0,
                    sent: 0,
                    secret: hash,
                    size: None,
                };
                Ok((delivery, Some(secret)))
            }
        }
    }

    /// The part of a job that has stored something.
    pub(crate) async fn stored_parts(&self, job: &Job) -> Result<Parts> {
        self.parts(job).await?.ok_or_else(|| {
            Error::new(ErrorKind::NotCovered, format!("nothing of {} is stored yet", job.cluster))
        })
    }

    /// Restore jobs of a project, or of one of its jobs; newest first.
    pub async fn restores(&self, project: &Id, job: Option<&Id>) -> Result<Vec<RestoreJob>> {
        let page = Page {
            scope: Some(project.as_str().to_owned()),
            newest_first: true,
            ..Page::default()
        };
        let mut all: Vec<RestoreJob> = self.catalog().page(&page).await?;
        all.retain(|restore| job.is_none_or(|job| restore.job == *job));
        Ok(all)
    }

    /// One restore job.
    ///
    /// # Errors
    /// `NotFound`, also where it is another project's.
    pub async fn restore_job(&self, project: &Id, id: &Id) -> Result<RestoreJob> {
        self.within(project, id.as_str()).await
    }

    /// Ends a restore that is waiting or being done, or a link that is still good.
    ///
    /// # Errors
    /// Conflict: it has ended.
    pub async fn cancel_restore(&self, project: &Id, id: &Id, by: &By) -> Result<RestoreJob> {
        self.restore_job(project, id).await?;
        let now = self.now();
        let changed = self.catalog().change::<RestoreJob>(id.as_str(), |restore| {
            let good = |until: UnixMillis| restore.status == RestoreStatus::Finished && until > now;
            match &mut restore.delivery {
                _ if restore.status == RestoreStatus::InProgress => end_early(restore, now),
                Delivery::Http { expires, .. } if good(*expires) => *expires = now,
                _ => return Err(Error::new(ErrorKind::Conflict, "the restore has ended")),
            }
            Ok(())
        });
        let changed = changed.await?;
        self.nudge();
        let message = format!("restore {id} cancelled");
        let job: Option<Job> = self.within(project, changed.job.as_str()).await.ok();
        self.event(by, Some(project), job.as_ref(), "RESTORE_CANCELLED_AUDIT", message).await?;
        Ok(changed)
    }

    /// Ends the restores of a job that is going; gives how many have not ended yet.
    pub(crate) async fn end_restores(&self, job: &Job) -> Result<usize> {
        let now = self.now();
        let mut left = 0;
        let all: Vec<RestoreJob> = self.catalog().all(Some(job.project.as_str())).await?;
        for restore in all {
            if restore.job != job.id || restore.status != RestoreStatus::InProgress {
                continue;
            }
            let ended = self.catalog().change::<RestoreJob>(restore.id.as_str(), |restore| {
                if restore.status == RestoreStatus::InProgress {
                    end_early(restore, now);
                }
                Ok(())
            });
            left += usize::from(ended.await?.status == RestoreStatus::InProgress);
        }
        self.nudge();
        Ok(left)
    }
}

/// One that was not begun with has ended; another is ended by who does it.
fn end_early(restore: &mut RestoreJob, now: UnixMillis) {
    restore.cancel = true;
    if restore.begun.is_none() {
        (restore.status, restore.finished) = (RestoreStatus::Killed, Some(now));
        restore.progress.phase = "cancelled".to_owned();
    }
}

/// The rules that lists of patterns make.
pub(crate) fn rules(names: &Names) -> Result<NameRules> {
    NameRules::new(&names.include, &names.exclude, &names.renames)
}
