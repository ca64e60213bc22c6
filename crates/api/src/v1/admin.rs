//! Stores, in Ops Manager's kinds: S3 and file systems. Stores of other kinds are in `/api/v2` only.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::{Purpose, Store};
use bygone_control::{NewStore, views::StoreView};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    body::{Flag, Idle, Known, Num, reads},
    snapshots::Nothing,
};
use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Route, get, plain},
    schema::JsonSchema,
};

const GB: u64 = 1 << 30;

/// One of Ops Manager's lists of stores.
#[derive(Debug, Clone, Copy)]
struct Shelf {
    list: &'static str,
    one: &'static str,
    scheme: &'static str,
    purpose: Purpose,
}

const S3_SNAPSHOTS: Shelf = Shelf {
    list: "/api/public/v1.0/admin/backup/snapshot/s3Configs",
    one: "/api/public/v1.0/admin/backup/snapshot/s3Configs/{id}",
    scheme: "s3",
    purpose: Purpose::Snapshot,
};
const S3_OPLOG: Shelf = Shelf {
    list: "/api/public/v1.0/admin/backup/oplog/s3Configs",
    one: "/api/public/v1.0/admin/backup/oplog/s3Configs/{id}",
    scheme: "s3",
    purpose: Purpose::Oplog,
};
const FILES: Shelf = Shelf {
    list: "/api/public/v1.0/admin/backup/snapshot/fileSystemConfigs",
    one: "/api/public/v1.0/admin/backup/snapshot/fileSystemConfigs/{id}",
    scheme: "file",
    purpose: Purpose::Snapshot,
};
/// A store, of either kind.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoreConfig {
    id: String,
    assignment_enabled: bool,
    labels: Vec<String>,
    load_factor: u32,
    #[serde(rename = "maxCapacityGB", skip_serializing_if = "Option::is_none")]
    max_capacity_gb: Option<u64>,
    /// Bytes, as of the newest sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_size: Option<u64>,
    provisioned: bool,
    encrypted_credentials: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    s3_bucket_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s3_bucket_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s3_region_override: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_style_access_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store_path: Option<String>,
    /// GZIP: what is stored is compressed (by zstd).
    #[serde(skip_serializing_if = "Option::is_none")]
    wt_compression_setting: Option<&'static str>,
    links: Vec<Link>,
}

/// An S3 store. Its credentials come from the server's environment.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct S3Body {
    /// Its name; with PUT that of the path.
    id: Option<String>,
    assignment_enabled: Option<Flag>,
    labels: Option<Vec<String>>,
    load_factor: Option<Num<u32>>,
    #[serde(rename = "maxCapacityGB")]
    max_capacity_gb: Option<Num<u64>>,
    s3_bucket_name: Option<String>,
    /// https:// where it says nothing else.
    s3_bucket_endpoint: Option<String>,
    s3_region_override: Option<String>,
}

const NO_KEYS: Idle = Idle {
    name: "awsAccessKey",
    good: &[""],
    code: "CANNOT_SET_S3_CREDENTIALS",
    why: "credentials of S3 are not taken over the API: the server has them from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
};
const NO_METADATA: Idle = Idle {
    name: "uri",
    good: &[],
    code: "",
    why: "the bucket holds everything, and no database holds metadata",
};
const ACCESS: Idle = Idle {
    name: "s3AuthMethod",
    good: &["KEYS", "IAM_ROLE"],
    code: "UNSUPPORTED_S3_AUTH_METHOD",
    why: "it is KEYS or IAM_ROLE, whichever the server's environment has",
};

impl Known for S3Body {
    const ECHOED: &'static [&'static str] =
        &["usedSize", "provisioned", "encryptedCredentials", "links"];
    const IDLE: &'static [Idle] = &[
        NO_KEYS,
        Idle { name: "awsSecretKey", ..NO_KEYS },
        ACCESS,
        NO_METADATA,
        Idle { name: "ssl", ..NO_METADATA },
        Idle { name: "writeConcern", ..NO_METADATA },
        Idle {
            name: "acceptedTos",
            good: &["true"],
            code: "TOS_NOT_ACCEPTED",
            why: "Ops Manager wants its terms for S3 accepted; here there are none",
        },
        Idle {
            name: "pathStyleAccessEnabled",
            good: &[],
            code: "",
            why: "a bucket is named in the path, which every S3 understands",
        },
        Idle {
            name: "s3MaxConnections",
            good: &[],
            code: "",
            why: "as many connections are used as there is work for",
        },
        Idle {
            name: "disableProxyS3",
            good: &[],
            code: "",
            why: "a proxy is used where the server's environment names one",
        },
        Idle {
            name: "sseEnabled",
            good: &["false"],
            code: "CANNOT_SET_SSE",
            why: "a store encrypts with its own key, or the bucket by its own settings",
        },
        Idle {
            name: "customCertificates",
            good: &[""],
            code: "CANNOT_SET_S3_CERTIFICATES",
            why: "the certificates of the server's host are trusted",
        },
        Idle {
            name: "objectLockEnabled",
            good: &["false"],
            code: "CANNOT_SET_OBJECT_LOCK",
            why: "objects are not locked",
        },
    ];
}

/// A store in a folder.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct FileBody {
    /// Its name; with PUT that of the path.
    id: Option<String>,
    assignment_enabled: Option<Flag>,
    labels: Option<Vec<String>>,
    load_factor: Option<Num<u32>>,
    #[serde(rename = "maxCapacityGB")]
    max_capacity_gb: Option<Num<u64>>,
    /// An absolute path on the server.
    store_path: Option<String>,
}

const COMPRESSION: Idle = Idle {
    name: "wtCompressionSetting",
    good: &["NONE", "GZIP"],
    code: "UNSUPPORTED_COMPRESSION",
    why: "everything is stored compressed",
};

impl Known for FileBody {
    const ECHOED: &'static [&'static str] =
        &["usedSize", "provisioned", "encryptedCredentials", "links"];
    const IDLE: &'static [Idle] =
        &[COMPRESSION, Idle { name: "mmapv1CompressionSetting", ..COMPRESSION }];
}

/// What both kinds say.
struct Wanted {
    id: Option<String>,
    url: Option<String>,
    assignment_enabled: Option<bool>,
    labels: Option<Vec<String>>,
    load_factor: Option<u32>,
    max_gb: Option<u64>,
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Server(Right::Look);
    let change = Need::Server(Right::Stores);
    let mut routes = Vec::new();
    for shelf in [S3_SNAPSHOTS, S3_OPLOG, FILES] {
        routes.push(get(shelf.list, look, "Stores.", move |call| list(call, shelf)).paged());
        routes.push(get(shelf.one, look, "A store.", move |call| one(call, shelf)));
        let remove = "Forgets a store that no job uses. What it holds stays.";
        routes.push(plain(Method::DELETE, shelf.one, change, remove, move |call| {
            delete(call, shelf)
        }));
    }
    for shelf in [S3_SNAPSHOTS, S3_OPLOG] {
        let add = move |call, body| add_s3(call, body, shelf);
        routes.push(reads(Method::POST, shelf.list, change, "Adds a store.", add));
        let edit = move |call, body| edit_s3(call, body, shelf);
        routes.push(reads(Method::PUT, shelf.one, change, "Changes a store.", edit));
    }
    routes.push(reads(Method::POST, FILES.list, change, "Adds a store.", add_files));
    routes.push(reads(Method::PUT, FILES.one, change, "Changes a store.", edit_files));
    routes
}

fn missing() -> Failure {
    Failure::not_found("RESOURCE_NOT_FOUND", "store")
}

impl Shelf {
    fn holds(self, view: &StoreView) -> bool {
        let scheme = view.store.url.split_once(':').map(|(scheme, _)| scheme);
        scheme == Some(self.scheme) && view.store.purposes.contains(&self.purpose)
    }

    fn purposes(self) -> Vec<Purpose> {
        match self.purpose {
            // The records of initial syncs have no kind of their own among these.
            Purpose::Snapshot => vec![Purpose::Snapshot, Purpose::Sync],
            other => vec![other],
        }
    }
}

async fn on_shelf(call: &Call, shelf: Shelf) -> Result<Vec<StoreView>, Failure> {
    let mut stores = call.control.stores().await?;
    stores.retain(|view| shelf.holds(view));
    Ok(stores)
}

async fn list(call: Call, shelf: Shelf) -> Result<List<StoreConfig>, Failure> {
    let stores = on_shelf(&call, shelf).await?;
    call.list(stores.into_iter().map(|view| config(&call, shelf, view)).collect())
}

async fn found(call: &Call, shelf: Shelf, id: &str) -> Result<StoreView, Failure> {
    let stores = on_shelf(call, shelf).await?;
    stores.into_iter().find(|view| view.store.id == id).ok_or_else(missing)
}

async fn one(call: Call, shelf: Shelf) -> Result<StoreConfig, Failure> {
    let view = found(&call, shelf, call.text("id")).await?;
    Ok(config(&call, shelf, view))
}

async fn delete(call: Call, shelf: Shelf) -> Result<Nothing, Failure> {
    let view = found(&call, shelf, call.text("id")).await?;
    let removed = call.control.remove_store(&view.store.id, &call.by()).await;
    removed.map_err(|e| Failure::from(e).conflict_is("STORE_IN_USE"))?;
    Ok(Nothing {})
}

fn config(call: &Call, shelf: Shelf, view: StoreView) -> StoreConfig {
    let StoreView { store, usage, jobs, .. } = view;
    let url = Url::parse(&store.url).ok();
    let option = |name: &str| {
        let url = url.as_ref()?;
        url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let path = shelf.one.replace("{id}", &store.id);
    let common = StoreConfig {
        links: vec![call.link("self", &path)],
        assignment_enabled: store.assignment_enabled,
        load_factor: store.load_factor,
        max_capacity_gb: store.max_bytes.map(max_shown),
        used_size: usage.map(|usage| usage.bytes),
        provisioned: !jobs.is_empty(),
        labels: store.labels,
        id: store.id,
        ..StoreConfig::default()
    };
    if shelf.scheme == "file" {
        let path = url.as_ref().map(|url| url.path().to_owned());
        let wt_compression_setting = Some("GZIP");
        return StoreConfig { store_path: path, wt_compression_setting, ..common };
    }
    let endpoint = option("endpoint");
    StoreConfig {
        s3_bucket_name: url.as_ref().and_then(|url| url.host_str()).map(str::to_owned),
        path_style_access_enabled: Some(true),
        s3_bucket_endpoint: endpoint,
        s3_region_override: option("region"),
        ..common
    }
}

/// A limit as it is shown.
fn max_shown(bytes: u64) -> u64 {
    bytes.div_ceil(GB)
}

/// The limit that is asked for; what is sent back as it was shown, is as it was.
fn max_bytes(gb: Option<u64>, before: Option<u64>) -> Option<u64> {
    match gb {
        Some(gb) if before.map(max_shown) != Some(gb) => Some(gb.saturating_mul(GB)),
        _ => before,
    }
}

fn s3(body: S3Body) -> Result<Wanted, Failure> {
    let url = match &body.s3_bucket_name {
        None => None,
        Some(bucket) => {
            let bad = |_| Failure::invalid("s3BucketName", "it is not the name of a bucket");
            let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
            if bucket.is_empty() || !bucket.chars().all(plain) {
                return Err(Failure::invalid("s3BucketName", "it is not the name of a bucket"));
            }
            let mut url = Url::parse(&format!("s3://{bucket}")).map_err(bad)?;
            let endpoint = body.s3_bucket_endpoint.filter(|endpoint| !endpoint.is_empty());
            // Ops Manager takes a host alone, too.
            let endpoint = endpoint.map(|endpoint| match endpoint.contains("://") {
                true => endpoint,
                false => format!("https://{endpoint}"),
            });
            let options = [("endpoint", endpoint), ("region", body.s3_region_override)];
            for (name, value) in options {
                if let Some(value) = value.filter(|value| !value.is_empty()) {
                    url.query_pairs_mut().append_pair(name, &value);
                }
            }
            Some(url.to_string())
        }
    };
    Ok(Wanted {
        id: body.id,
        url,
        assignment_enabled: body.assignment_enabled.map(|Flag(enabled)| enabled),
        labels: body.labels,
        load_factor: body.load_factor.map(|Num(factor)| factor),
        max_gb: body.max_capacity_gb.map(|Num(gb)| gb),
    })
}

fn files(body: FileBody) -> Result<Wanted, Failure> {
    let url = match &body.store_path {
        None => None,
        Some(path) => Some(
            Url::from_file_path(path)
                .map_err(|()| Failure::invalid("storePath", "it is not an absolute path"))?
                .to_string(),
        ),
    };
    Ok(Wanted {
        id: body.id,
        url,
        assignment_enabled: body.assignment_enabled.map(|Flag(enabled)| enabled),
        labels: body.labels,
        load_factor: body.load_factor.map(|Num(factor)| factor),
        max_gb: body.max_capacity_gb.map(|Num(gb)| gb),
    })
}

async fn add_s3(call: Call, body: S3Body, shelf: Shelf) -> Result<StoreConfig, Failure> {
    add(&call, s3(body)?, shelf).await
}

async fn edit_s3(call: Call, mut body: S3Body, shelf: Shelf) -> Result<StoreConfig, Failure> {
    let shown = config(&call, shelf, found(&call, shelf, call.text("id")).await?);
    let was = S3Body {
        s3_bucket_name: shown.s3_bucket_name,
        s3_bucket_endpoint: shown.s3_bucket_endpoint,
        s3_region_override: shown.s3_region_override,
        ..S3Body::default()
    };
    if body.s3_bucket_name.is_some() {
        body.s3_bucket_endpoint = body.s3_bucket_endpoint.or(was.s3_bucket_endpoint.clone());
        body.s3_region_override = body.s3_region_override.or(was.s3_region_override.clone());
    }
    let was = s3(was)?.url;
    edit(&call, s3(body)?, was, shelf).await
}

async fn add_files(call: Call, body: FileBody) -> Result<StoreConfig, Failure> {
    add(&call, files(body)?, FILES).await
}

async fn edit_files(call: Call, body: FileBody) -> Result<StoreConfig, Failure> {
    let shown = config(&call, FILES, found(&call, FILES, call.text("id")).await?);
    let was = files(FileBody { store_path: shown.store_path, ..FileBody::default() })?.url;
    edit(&call, files(body)?, was, FILES).await
}

async fn add(call: &Call, wanted: Wanted, shelf: Shelf) -> Result<StoreConfig, Failure> {
    let need = |name: &'static str| move || Failure::invalid(name, format!("{name} is missing"));
    let place = if shelf.scheme == "file" { "storePath" } else { "s3BucketName" };
    let id = wanted.id.ok_or_else(need("id"))?;
    let new = NewStore {
        purposes: shelf.purposes(),
        assignment_enabled: wanted.assignment_enabled.unwrap_or(true),
        labels: wanted.labels.unwrap_or_default(),
        load_factor: wanted.load_factor.unwrap_or(1),
        max_bytes: max_bytes(wanted.max_gb, None),
        ..NewStore::new(id.clone(), wanted.url.ok_or_else(need(place))?)
    };
    let added = call.control.add_store(new, &call.by()).await;
    added.map_err(|e| Failure::from(e).conflict_is("STORE_EXISTS"))?;
    Ok(config(call, shelf, found(call, shelf, &id).await?))
}

/// Changes a store. Where the body names the place that was shown, `was`, the store stays where it is: its URL may say
/// more than that, such as a folder within the bucket.
async fn edit(
    call: &Call,
    wanted: Wanted,
    was: Option<String>,
    shelf: Shelf,
) -> Result<StoreConfig, Failure> {
    let old: Store = found(call, shelf, call.text("id")).await?.store;
    if wanted.id.as_ref().is_some_and(|id| *id != old.id) {
        return Err(Failure::invalid("id", "a store keeps its name"));
    }
    let id = old.id.clone();
    let new = NewStore {
        id: old.id,
        url: wanted.url.filter(|url| Some(url) != was.as_ref()).unwrap_or(old.url),
        purposes: old.purposes,
        key_file: old.key_file,
        passphrase: None,
        assignment_enabled: wanted.assignment_enabled.unwrap_or(old.assignment_enabled),
        labels: wanted.labels.unwrap_or(old.labels),
        load_factor: wanted.load_factor.unwrap_or(old.load_factor),
        max_bytes: max_bytes(wanted.max_gb, old.max_bytes),
    };
    call.control.edit_store(new, &call.by()).await?;
    Ok(config(call, shelf, found(call, shelf, &id).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_nobody_touched_stays_to_the_byte() {
        let odd = Some((5 << 30) + 7);
        assert_eq!(max_bytes(None, odd), odd);
        assert_eq!(max_bytes(odd.map(max_shown), odd), odd);
        assert_eq!(max_bytes(Some(7), odd), Some(7 << 30));
    }
}
