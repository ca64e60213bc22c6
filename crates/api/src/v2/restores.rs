//! Restores: planned, asked for, followed, cancelled.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::{
    Id,
    record::{Delivery, Form, Names, RestoreJob, RestoreStatus},
};
use bygone_control::{NewDelivery, NewRestore};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Param, Route, get, plain, with},
    schema::JsonSchema,
    time,
};

/// A restore to be done.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRestoreBody {
    /// latest, a snapshot's id, SECS:INC (inclusive) or an RFC 3339 instant (exclusive).
    when: String,
    #[serde(default)]
    names: NamesBody,
    delivery: NewDeliveryBody,
    /// Whether the target's dbHash is compared.
    #[serde(default = "yes")]
    verify: bool,
}

fn yes() -> bool {
    true
}

/// Which namespaces, and what they become: mongorestore's patterns.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NamesBody {
    /// Only these, where not empty.
    include: Vec<String>,
    /// Not these.
    exclude: Vec<String>,
    renames: Vec<RenameBody>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenameBody {
    from: String,
    to: String,
}

/// Where to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "method")]
pub(crate) enum NewDeliveryBody {
    /// Into a running server.
    Automated {
        /// URI with its secrets, which are never shown again.
        to: String,
        /// Whether existing collections give way.
        #[serde(default)]
        drop: bool,
        /// Whether the target may be the source.
        #[serde(default)]
        onto_source: bool,
    },
    /// By a link.
    Http {
        form: FormBody,
        /// RFC 3339; in an hour where not given.
        expires: Option<String>,
        /// Null: without limit.
        max_downloads: Option<u32>,
    },
}

impl std::fmt::Debug for NewDeliveryBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewDeliveryBody")
    }
}

/// What a download holds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub(crate) enum FormBody {
    /// mongodump's archive, gzip.
    Archive {},
    /// A tar of mongodump's directory with restoreInfo.txt, gzip.
    Tar {},
    /// The documents of one collection, BSON.
    Collection { namespace: String },
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PlanBody {
    /// For people.
    text: String,
    /// As `bygone restore --dry-run --json` has it.
    plan: Value,
}

/// A restore, from its request to its end.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct RestoreBody {
    id: String,
    project: String,
    job: String,
    created: String,
    /// As asked for.
    when: String,
    /// The moment itself, SECS:INC, inclusive.
    moment: String,
    snapshot: Option<String>,
    point_in_time: bool,
    delivery: DeliveryBody,
    verify: bool,
    drill: bool,
    status: RestoreWord,
    progress: ProgressBody,
    finished: Option<String>,
    /// What went wrong, or what was done.
    message: String,
    /// As `bygone restore --json` has it.
    proof: Option<Value>,
    hashes: Vec<HashBody>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RestoreWord {
    InProgress,
    Finished,
    Broken,
    Killed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "method")]
pub(crate) enum DeliveryBody {
    Automated {
        /// Without secrets.
        to: String,
        drop: bool,
        onto_source: bool,
    },
    Http {
        /// archive, tar, or the collection's namespace.
        form: String,
        expires: String,
        max_downloads: Option<u32>,
        downloads: u32,
        size: Option<u64>,
        /// The link; shown once, in the answer to the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct ProgressBody {
    phase: String,
    documents: u64,
    bytes: u64,
    bytes_total: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct HashBody {
    file: String,
    sha1: String,
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    let restore = Need::Project(Right::Restore);
    let job = Param { name: "job", about: "Only those of this job.", kind: "string" };
    vec![
        with(
            Method::POST,
            "/api/v2/projects/{project}/jobs/{job}/restore-plans",
            restore,
            "What a restore into a server would do; reads both, changes nothing.",
            plan,
        ),
        with(
            Method::POST,
            "/api/v2/projects/{project}/jobs/{job}/restores",
            restore,
            "Restores.",
            create,
        )
        .says(201),
        get("/api/v2/projects/{project}/restores", look, "Restores, newest first.", list).asks(job),
        get("/api/v2/projects/{project}/restores/{restore}", look, "A restore.", one),
        plain(
            Method::POST,
            "/api/v2/projects/{project}/restores/{restore}/cancellation",
            restore,
            "Ends a restore, or a link that is still good.",
            cancel,
        ),
    ]
}

impl From<NamesBody> for Names {
    fn from(body: NamesBody) -> Self {
        let NamesBody { include, exclude, renames } = body;
        let renames = renames.into_iter().map(|RenameBody { from, to }| (from, to)).collect();
        Names { include, exclude, renames }
    }
}

fn meant(call: &Call, body: NewRestoreBody) -> Result<NewRestore, Failure> {
    let delivery = match body.delivery {
        NewDeliveryBody::Automated { to, drop, onto_source } => {
            call.may_connect(&to, None)?;
            NewDelivery::Automated { to, drop, onto_source }
        }
        NewDeliveryBody::Http { form, expires, max_downloads } => NewDelivery::Http {
            form: match form {
                FormBody::Archive {} => Form::Archive,
                FormBody::Tar {} => Form::Tar,
                FormBody::Collection { namespace } => Form::Collection { namespace },
            },
            expires: expires.map(|text| time::read(&text, "expires")).transpose()?,
            max_downloads,
        },
    };
    Ok(NewRestore { when: body.when, names: body.names.into(), delivery, verify: body.verify })
}

async fn plan(call: Call, body: NewRestoreBody) -> Result<PlanBody, Failure> {
    let job = call.job("job").await?.job;
    let new = meant(&call, body)?;
    let plan = call.control.plan_restore(&job.project, &job.id, &new).await?;
    Ok(PlanBody { text: plan.text, plan: plan.json })
}

async fn create(call: Call, body: NewRestoreBody) -> Result<RestoreBody, Failure> {
    let job = call.job("job").await?.job;
    let new = meant(&call, body)?;
    let (restore, secret) = call.control.restore(&job.project, &job.id, new, &call.by()).await?;
    let link = secret.map(|secret| {
        format!("{}{}", call.origin, bygone_control::download_path(&restore.id, &secret))
    });
    let mut body = RestoreBody::from(restore);
    if let DeliveryBody::Http { url, .. } = &mut body.delivery {
        *url = link;
    }
    Ok(body)
}

async fn list(call: Call) -> Result<Vec<RestoreBody>, Failure> {
    let job = call.id_asked("job")?;
    let restores = call.control.restores(call.project()?, job.as_ref()).await?;
    Ok(restores.into_iter().map(RestoreBody::from).collect())
}

/// The restore that the path names.
pub(super) async fn found(call: &Call) -> Result<RestoreJob, Failure> {
    let missing = || Failure::not_found("RESTORE_JOB_NOT_FOUND", "restore job");
    let id: Id = call.text("restore").parse().map_err(|_| missing())?;
    let found = call.control.restore_job(call.project()?, &id).await;
    found.map_err(|e| Failure::from(e).missing_is("RESTORE_JOB_NOT_FOUND"))
}

async fn one(call: Call) -> Result<RestoreBody, Failure> {
    Ok(found(&call).await?.into())
}

async fn cancel(call: Call) -> Result<RestoreBody, Failure> {
    let restore = found(&call).await?;
    let cancelled = call.control.cancel_restore(&restore.project, &restore.id, &call.by()).await;
    Ok(cancelled.map_err(|e| Failure::from(e).conflict_is("RESTORE_ENDED"))?.into())
}

impl From<Delivery> for DeliveryBody {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Automated { shown, drop, onto_source, .. } => {
                DeliveryBody::Automated { to: shown, drop, onto_source }
            }
            Delivery::Http { form, expires, max_downloads, downloads, size, .. } => {
                DeliveryBody::Http {
                    form: match form {
                        Form::Archive => "archive".to_owned(),
                        Form::Tar => "tar".to_owned(),
                        Form::Collection { namespace } => namespace,
                    },
                    expires: time::text(expires),
                    max_downloads,
                    downloads,
                    size,
                    url: None,
                }
            }
        }
    }
}

impl From<RestoreJob> for RestoreBody {
    fn from(restore: RestoreJob) -> Self {
        let hash = |(file, sha1)| HashBody { file, sha1 };
        RestoreBody {
            id: restore.id.into(),
            project: restore.project.into(),
            job: restore.job.into(),
            created: time::text(restore.created),
            when: restore.when,
            moment: restore.moment,
            snapshot: restore.snapshot,
            point_in_time: restore.point_in_time,
            delivery: restore.delivery.into(),
            verify: restore.verify,
            drill: restore.drill,
            status: match restore.status {
                RestoreStatus::InProgress => RestoreWord::InProgress,
                RestoreStatus::Finished => RestoreWord::Finished,
                RestoreStatus::Broken => RestoreWord::Broken,
                RestoreStatus::Killed => RestoreWord::Killed,
            },
            progress: ProgressBody {
                phase: restore.progress.phase,
                documents: restore.progress.documents,
                bytes: restore.progress.bytes,
                bytes_total: restore.progress.bytes_total,
            },
            finished: restore.finished.map(time::text),
            message: restore.message,
            proof: restore.proof,
            hashes: restore.hashes.into_iter().map(hash).collect(),
        }
    }
}
