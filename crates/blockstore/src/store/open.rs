//! Stores by URL.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use bygone_base::{Clock, Error, Result, SystemRng};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut, S3CopyIfNotExists},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
};
use url::Url;

use super::{FileStore, RemoteStore, RetryOptions, Retrying, Store};

const FORMS: &str = "use file:///folder, s3://bucket/prefix?endpoint=URL&region=R, \
    gs://bucket/prefix or az://container/prefix";
const AWS_HINT: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), \
    and allow the key to get, put, list and delete in the bucket";
const GCP_HINT: &str = "set GOOGLE_APPLICATION_CREDENTIALS to a service account's file, \
    and allow it to read and write the bucket";
const AZURE_HINT: &str = "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, \
    and allow the key to read and write the container";

/// The store at `url`, with retries; nothing is read or written yet.
/// Credentials come from the cloud's usual environment variables.
pub async fn open_store(url: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>> {
    open_store_with(url, clock, &[]).await
}

/// Like [`open_store`], with variables (`AWS_ACCESS_KEY_ID` ..) that count
/// before those of the environment.
pub async fn open_store_with(
    url: &str,
    clock: Arc<dyn Clock>,
    variables: &[(&str, &str)],
) -> Result<Arc<dyn Store>> {
    let store: Arc<dyn Store> = match place(url, variables)? {
        Place::Folder(path) => Arc::new(FileStore::new(path)),
        Place::Remote(remote) => Arc::new(remote),
    };
    Ok(retrying(store, clock))
}

/// Like [`open_store`], and creates the folder of a file store. Buckets are
/// never created.
pub async fn create_store(url: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>> {
    let store: Arc<dyn Store> = match place(url, &[])? {
        Place::Folder(path) => {
            let created = tokio::task::spawn_blocking(move || FileStore::create(path)).await;
            Arc::new(created.map_err(|e| Error::internal("a store task was cut off").source(e))??)
        }
        Place::Remote(remote) => Arc::new(remote),
    };
    Ok(retrying(store, clock))
}

fn retrying(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
    Arc::new(Retrying::new(store, clock, Arc::new(SystemRng), RetryOptions::default()))
}

enum Place {
    Folder(PathBuf),
    Remote(RemoteStore),
}

fn place(text: &str, variables: &[(&str, &str)]) -> Result<Place> {
    let url = Url::parse(text).map_err(|e| {
        Error::usage(format!("{} is not a store URL", redacted(text))).hint(FORMS).source(e)
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::usage("a store URL must not hold credentials").hint(AWS_HINT));
    }
    match url.scheme() {
        "file" => folder(&url).map(Place::Folder),
        "s3" => s3(&url, variables).map(Place::Remote),
        "gs" => gcs(&url, variables).map(Place::Remote),
        "az" => azure(&url, variables).map(Place::Remote),
        scheme => Err(Error::usage(format!("{scheme}:// is not a kind of store")).hint(FORMS)),
    }
}

/// What is before any `@`'s end and any query may hold a secret typed by mistake.
fn redacted(text: &str) -> String {
    let text = text.split('?').next().unwrap_or_default();
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("\"..@{rest}\""),
        None => format!("{text:?}"),
    }
}

fn folder(url: &Url) -> Result<PathBuf> {
    options(url, &[])?;
    url.to_file_path().map_err(|()| {
        Error::usage(format!("{url}: not a folder of this machine"))
            .hint("a file store is file:// and an absolute path: file:///backup")
    })
}

/// The URL's options; one that is not known is refused.
fn options(url: &Url, known: &[&str]) -> Result<HashMap<String, String>> {
    let mut options = HashMap::new();
    for (key, value) in url.query_pairs() {
        if !known.contains(&key.as_ref()) {
            return Err(Error::usage(format!("{key:?} is not an option of a store URL"))
                .hint(format!("known for {}://: {}", url.scheme(), known.join(", "))));
        }
        options.insert(key.into_owned(), value.into_owned());
    }
    Ok(options)
}

fn bucket(url: &Url) -> Result<(String, String)> {
    let bucket = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| Error::usage(format!("{}:// names no bucket", url.scheme())).hint(FORMS))?;
    Ok((bucket.to_owned(), url.path().trim_matches('/').to_owned()))
}

fn location(url: &Url, options: &HashMap<String, String>) -> String {
    let base = format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path());
    match options.get("endpoint") {
        Some(endpoint) => format!("{base} at {endpoint}"),
        None => base,
    }
}

fn no_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        retry_timeout: Duration::from_secs(30),
        backoff: BackoffConfig::default(),
    }
}

/// Time limits of whole calls are [`Retrying`]'s; these end what is silent.
fn client(allow_http: bool) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(allow_http)
        .with_connect_timeout(Duration::from_secs(10))
        .with_read_timeout(Duration::from_secs(60))
        .with_timeout_disabled()
}

fn remote(
    built: object_store::Result<impl ObjectStore>,
    prefix: &str,
    location: String,
    hint: &'static str,
) -> Result<RemoteStore> {
    let remote = built.map_err(|e| Error::usage(location.clone()).hint(hint).source(e))?;
    RemoteStore::new(Arc::new(remote), prefix, location, hint)
}

fn s3(url: &Url, variables: &[(&str, &str)]) -> Result<RemoteStore> {
    let options = options(url, &["endpoint", "region"])?;
    let (bucket, prefix) = bucket(url)?;
    let endpoint = options.get("endpoint");
    let allow_http = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = AmazonS3Builder::from_env();
    for (key, value) in variables {
        if let Ok(key) = key.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, *value);
        }
    }
    builder = builder
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(false)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
        .with_retry(no_retries())
        .with_client_options(client(allow_http));
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    if let Some(region) = options.get("region") {
        builder = builder.with_region(region);
    }
    remote(builder.build(), &prefix, location(url, &options), AWS_HINT)
}

fn gcs(url: &Url, variables: &[(&str, &str)]) -> Result<RemoteStore> {
    let options = options(url, &["endpoint"])?;
    let (bucket, prefix) = bucket(url)?;
    let endpoint = options.get("endpoint");
    let allow_http = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = GoogleCloudStorageBuilder::from_env();
    for (key, value) in variables {
        if let Ok(key) = key.to_ascii_lowercase().parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, *value);
        }
    }
    builder = builder
        .with_bucket_name(bucket)
        .with_retry(no_retries())
        .with_client_options(client(allow_http));
    if let Some(endpoint) = endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    remote(builder.build(), &prefix, location(url, &options), GCP_HINT)
}

fn azure(url: &Url, variables: &[(&str, &str)]) -> Result<RemoteStore> {
    let options = options(url, &["account", "endpoint"])?;
    let (container, prefix) = bucket(url)?;
    let endpoint = options.get("endpoint");
    let allow_http = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = MicrosoftAzureBuilder::from_env();
    for (key, value) in variables {
        if let Ok(key) = key.to_ascii_lowercase().parse::<AzureConfigKey>() {
            builder = builder.with_config(key, *value);
        }
    }
    builder = builder
        .with_container_name(container)
        .with_retry(no_retries())
        .with_client_options(client(allow_http));
    if let Some(account) = options.get("account") {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    remote(builder.build(), &prefix, location(url, &options), AZURE_HINT)
}

#[cfg(test)]
mod tests {
    use bygone_base::{ErrorKind, SystemClock};

    use super::*;

    async fn refusal(url: &str) -> Error {
        open_store(url, Arc::new(SystemClock::new())).await.expect_err(url)
    }

    #[tokio::test]
    async fn urls_that_are_none_are_refused_with_the_forms() {
        for url in ["backup", "/backup", "ftp://x/y", "s3://", "file://host/x", "file:///x?a=b"] {
            let error = refusal(url).await;
            assert!(error.hint_text().is_some(), "{url}: {error}");
        }
        assert_eq!(refusal("mongodb://h/db").await.kind(), ErrorKind::Usage);
    }

    #[tokio::test]
    async fn credentials_in_a_url_are_refused_and_not_shown() {
        let error = refusal("s3://key:hunter2@bucket/x").await;
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let error = refusal("s3//key:hunter2@bucket/x?secret=hunter2").await;
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_location_says_where_and_no_more() {
        let clock = Arc::new(SystemClock::new());
        let url = "s3://bucket/a/b?endpoint=http://127.0.0.1:1&region=eu";
        let store = open_store(url, clock).await.unwrap();
        assert_eq!(store.location(), "s3://bucket/a/b at http://127.0.0.1:1");
    }
}
