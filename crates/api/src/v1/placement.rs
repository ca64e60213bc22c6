//! Where backups go, as far as Ops Manager lets one choose and bygone does not: stores in MongoDB, daemons and their
//! folders, filters of a project. The lists are empty; to set something is refused, each with its code.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::Id;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    body::{Idle, Known, reads},
    snapshots::Nothing,
};
use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Route, get, plain, with},
    schema::JsonSchema,
    v1::BASE,
};

const MONGO: [(&str, &str); 3] = [
    (
        "/api/public/v1.0/admin/backup/snapshot/mongoConfigs",
        "/api/public/v1.0/admin/backup/snapshot/mongoConfigs/{id}",
    ),
    (
        "/api/public/v1.0/admin/backup/oplog/mongoConfigs",
        "/api/public/v1.0/admin/backup/oplog/mongoConfigs/{id}",
    ),
    (
        "/api/public/v1.0/admin/backup/sync/mongoConfigs",
        "/api/public/v1.0/admin/backup/sync/mongoConfigs/{id}",
    ),
];
const DAEMONS: &str = "/api/public/v1.0/admin/backup/daemon/configs";
/// A daemon is named by its host, and by its host and folder.
const DAEMON: [&str; 2] = [
    "/api/public/v1.0/admin/backup/daemon/configs/{host}",
    "/api/public/v1.0/admin/backup/daemon/configs/{host}/{head}",
];

/// How the backups of a project are placed: without filters.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupConfig {
    id: String,
    daemon_filter: Vec<Value>,
    label_filter: Vec<String>,
    oplog_store_filter: Vec<Value>,
    snapshot_store_filter: Vec<Value>,
    sync_store_filter: Vec<Value>,
    links: Vec<Link>,
}

/// Nothing that could be changed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupConfigPut {}

const NO_FILTERS: Idle = Idle {
    name: "labelFilter",
    good: &[""],
    code: "CANNOT_SET_BACKUP_PLACEMENT",
    why: "projects have no filters: a job names its stores when it is made, by /api/v2",
};

impl Known for GroupConfigPut {
    const ECHOED: &'static [&'static str] = &["id", "links"];
    const IDLE: &'static [Idle] = &[
        NO_FILTERS,
        Idle { name: "daemonFilter", ..NO_FILTERS },
        Idle { name: "oplogStoreFilter", ..NO_FILTERS },
        Idle { name: "snapshotStoreFilter", ..NO_FILTERS },
        Idle { name: "syncStoreFilter", ..NO_FILTERS },
        Idle {
            name: "kmipClientCertPath",
            good: &[""],
            code: "CANNOT_SET_KMIP",
            why: "stores are encrypted with a key file or a passphrase",
        },
        Idle {
            name: "kmipClientCertPassword",
            good: &[""],
            code: "CANNOT_SET_KMIP",
            why: "stores are encrypted with a key file or a passphrase",
        },
    ];
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Server(Right::Look);
    let change = Need::Server(Right::Stores);
    let none = "None: there are no such stores.";
    let refused = "Refused: there are no such stores.";
    let mut routes = Vec::new();
    for (list, one) in MONGO {
        routes.push(get(list, look, none, empty).paged());
        routes.push(get(one, look, none, missing));
        routes.push(with(Method::POST, list, change, refused, no_mongo));
        routes.push(with(Method::PUT, one, change, refused, no_mongo));
        routes.push(plain(Method::DELETE, one, change, none, missing));
    }
    let daemons = "None: whoever runs a job is its daemon, and needs no configuration.";
    routes.push(get(DAEMONS, look, daemons, empty).paged());
    for path in DAEMON {
        routes.push(get(path, look, daemons, missing));
        let refused = "Refused: daemons need no configuration.";
        routes.push(with(Method::PUT, path, change, refused, no_daemon));
    }
    let groups = "/api/public/v1.0/admin/backup/groups";
    let about = "How the backups of each project are placed.";
    routes.push(get(groups, look, about, group_configs).paged());
    let group = "/api/public/v1.0/admin/backup/groups/{groupId}";
    let (see, set) = (Need::Project(Right::Look), Need::Project(Right::Backup));
    routes.push(get(group, see, "How the backups of a project are placed.", group_config));
    let about = "Accepts that the backups of a project are placed without filters.";
    routes.push(reads(Method::PUT, group, set, about, put_group_config));
    routes
}

async fn empty(call: Call) -> Result<List<Nothing>, Failure> {
    call.list(Vec::new())
}

async fn missing(_: Call) -> Result<Nothing, Failure> {
    Err(Failure::not_found("RESOURCE_NOT_FOUND", "store or daemon"))
}

async fn no_mongo(_: Call, _: Value) -> Result<Nothing, Failure> {
    let why = "there are no stores in MongoDB: what is stored is in folders, S3, GCS or Azure";
    Err(Failure::conflict("MONGODB_STORES_NOT_SUPPORTED", why)
        .hint("use snapshot/fileSystemConfigs or snapshot/s3Configs"))
}

async fn no_daemon(_: Call, _: Value) -> Result<Nothing, Failure> {
    let why = "whoever runs a job is its daemon: there are no head directories to configure";
    Err(Failure::conflict("CANNOT_CONFIGURE_DAEMON", why))
}

fn config(call: &Call, project: &Id) -> GroupConfig {
    let id = project.to_string();
    let links = vec![call.link("self", &format!("{BASE}/admin/backup/groups/{id}"))];
    GroupConfig { id, links, ..GroupConfig::default() }
}

async fn group_configs(call: Call) -> Result<List<GroupConfig>, Failure> {
    let projects = call.control.projects().await?;
    call.list(projects.iter().map(|project| config(&call, &project.id)).collect())
}

async fn group_config(call: Call) -> Result<GroupConfig, Failure> {
    Ok(config(&call, call.project()?))
}

async fn put_group_config(call: Call, _: GroupConfigPut) -> Result<GroupConfig, Failure> {
    Ok(config(&call, call.project()?))
}
