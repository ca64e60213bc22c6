//! Stores and what they hold.

use std::path::PathBuf;

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::{Purpose, UsageSample};
use bygone_control::{NewStore, views::StoreView};
use serde::{Deserialize, Serialize};

use super::Done;
use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Param, Route, get, plain, with},
    schema::JsonSchema,
    time,
};

/// Samples of use at most, and where nothing is said.
const SAMPLES: (usize, usize) = (5000, 100);

/// What a store may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PurposeWord {
    Snapshot,
    Oplog,
    Sync,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StoreBody {
    id: String,
    url: String,
    purposes: Vec<PurposeWord>,
    encrypted: bool,
    assignment_enabled: bool,
    labels: Vec<String>,
    load_factor: u32,
    max_bytes: Option<u64>,
    created: String,
    usage: Option<UsageBody>,
    /// Jobs that use it.
    jobs: Vec<String>,
    /// When it was last groomed.
    groomed: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UsageBody {
    at: String,
    /// Of all objects.
    bytes: u64,
    /// Of them what something retained needs.
    living: u64,
    jobs: Vec<JobUsage>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobUsage {
    /// Name in the stores.
    job: String,
    /// Of its oplog and records.
    bytes: u64,
}

/// A store, as it is to be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewStoreBody {
    /// Its name; with PUT that of the path.
    id: Option<String>,
    /// Without secrets: file:///folder, s3://bucket/prefix?endpoint=URL&region=R, gs://, az://
    url: String,
    /// All where not given.
    #[serde(default = "all")]
    purposes: Vec<PurposeWord>,
    /// A file on the server that holds the key.
    key_file: Option<String>,
    /// Never shown again; with PUT: left out, it stays.
    passphrase: Option<String>,
    #[serde(default = "yes")]
    assignment_enabled: bool,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default = "one_share")]
    load_factor: u32,
    max_bytes: Option<u64>,
}

impl std::fmt::Debug for NewStoreBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewStoreBody {}", self.url)
    }
}

fn all() -> Vec<PurposeWord> {
    vec![PurposeWord::Snapshot, PurposeWord::Oplog, PurposeWord::Sync]
}

fn yes() -> bool {
    true
}

fn one_share() -> u32 {
    1
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Server(Right::Look);
    let change = Need::Server(Right::Stores);
    let one_path = "/api/v2/stores/{store}";
    let most =
        Param { name: "most", about: "At most so many, to 5000; else 100.", kind: "integer" };
    vec![
        get("/api/v2/stores", look, "The stores.", list),
        with(
            Method::POST,
            "/api/v2/stores",
            change,
            "Adds a store, and makes its repository where there is none.",
            create,
        )
        .says(201),
        get(one_path, look, "A store.", one),
        with(Method::PUT, one_path, change, "Changes a store.", replace),
        plain(
            Method::DELETE,
            one_path,
            change,
            "Forgets a store that no job uses. What it holds stays.",
            delete,
        ),
        get("/api/v2/stores/{store}/usage", look, "What it held, newest first.", usage).asks(most),
    ]
}

impl From<Purpose> for PurposeWord {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Snapshot => PurposeWord::Snapshot,
            Purpose::Oplog => PurposeWord::Oplog,
            Purpose::Sync => PurposeWord::Sync,
        }
    }
}

impl From<PurposeWord> for Purpose {
    fn from(word: PurposeWord) -> Self {
        match word {
            PurposeWord::Snapshot => Purpose::Snapshot,
            PurposeWord::Oplog => Purpose::Oplog,
            PurposeWord::Sync => Purpose::Sync,
        }
    }
}

impl From<UsageSample> for UsageBody {
    fn from(sample: UsageSample) -> Self {
        let UsageSample { at, bytes, living, jobs, .. } = sample;
        let jobs = jobs.into_iter().map(|(job, bytes)| JobUsage { job, bytes }).collect();
        UsageBody { at: time::text(at), bytes, living, jobs }
    }
}

impl From<StoreView> for StoreBody {
    fn from(view: StoreView) -> Self {
        let StoreView { store, usage, jobs, groomed } = view;
        StoreBody {
            encrypted: store.key_file.is_some() || store.passphrase.is_some(),
            id: store.id,
            url: store.url,
            purposes: store.purposes.into_iter().map(PurposeWord::from).collect(),
            assignment_enabled: store.assignment_enabled,
            labels: store.labels,
            load_factor: store.load_factor,
            max_bytes: store.max_bytes,
            created: time::text(store.created),
            usage: usage.map(UsageBody::from),
            jobs: jobs.into_iter().map(String::from).collect(),
            groomed: groomed.map(time::text),
        }
    }
}

async fn list(call: Call) -> Result<Vec<StoreBody>, Failure> {
    Ok(call.control.stores().await?.into_iter().map(StoreBody::from).collect())
}

async fn found(call: &Call, id: &str) -> Result<StoreBody, Failure> {
    let found = call.control.stores().await?.into_iter().find(|view| view.store.id == id);
    let missing = || Failure::not_found("STORE_NOT_FOUND", "store");
    Ok(found.ok_or_else(missing)?.into())
}

async fn one(call: Call) -> Result<StoreBody, Failure> {
    found(&call, call.text("store")).await
}

/// The name of a store that there is.
pub(super) async fn known(call: &Call) -> Result<String, Failure> {
    Ok(found(call, call.text("store")).await?.id)
}

fn meant(id: String, body: NewStoreBody) -> Result<NewStore, Failure> {
    Ok(NewStore {
        id,
        url: body.url,
        purposes: body.purposes.into_iter().map(Purpose::from).collect(),
        key_file: body.key_file.map(PathBuf::from),
        passphrase: body.passphrase,
        assignment_enabled: body.assignment_enabled,
        labels: body.labels,
        load_factor: body.load_factor,
        max_bytes: body.max_bytes,
    })
}

async fn create(call: Call, body: NewStoreBody) -> Result<StoreBody, Failure> {
    let id = body.id.clone().ok_or_else(|| Failure::invalid("id", "the store has no name"))?;
    let added = call.control.add_store(meant(id.clone(), body)?, &call.by()).await;
    added.map_err(|e| Failure::from(e).conflict_is("STORE_EXISTS"))?;
    found(&call, &id).await
}

async fn replace(call: Call, body: NewStoreBody) -> Result<StoreBody, Failure> {
    let id = call.text("store").to_owned();
    found(&call, &id).await?;
    if body.id.as_ref().is_some_and(|named| *named != id) {
        return Err(Failure::invalid("id", "a store keeps its name"));
    }
    call.control.edit_store(meant(id.clone(), body)?, &call.by()).await?;
    found(&call, &id).await
}

async fn delete(call: Call) -> Result<Done, Failure> {
    let id = call.text("store").to_owned();
    found(&call, &id).await?;
    let removed = call.control.remove_store(&id, &call.by()).await;
    removed.map_err(|e| Failure::from(e).conflict_is("STORE_IN_USE"))?;
    Ok(Done::yes())
}

async fn usage(call: Call) -> Result<Vec<UsageBody>, Failure> {
    let (limit, usual) = SAMPLES;
    let most = call.number("most")?.unwrap_or(usual).min(limit);
    let id = call.text("store");
    found(&call, id).await?;
    let samples = call.control.usage(id, u32::try_from(most).unwrap_or(u32::MAX)).await?;
    Ok(samples.into_iter().map(UsageBody::from).collect())
}
