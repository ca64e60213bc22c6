//! One HTTP/2 call to the ingest service.

use std::{fmt, path::Path, time::Duration};

use bygone_base::{Error, ErrorKind, Result, net::is_here};
use bygone_oplog::uplink::wire;
use reqwest::{Certificate, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret as _, SecretString};

use super::HttpUplinkOptions;

const CONNECT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Largest answer: a session with the plan of a running sync.
const MAX_ANSWER: usize = 128 << 20;

/// A connection pool to one ingest service.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: SecretString,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(options: &HttpUplinkOptions) -> Result<Client> {
        let base = base(&options.url)?;
        let mut builder = reqwest::Client::builder()
            .http2_prior_knowledge()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(options.timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE)
            .http2_keep_alive_while_idle(true);
        if let Some(file) = &options.ca_file {
            builder = builder.tls_certs_only(certificates(file)?);
        }
        let http = builder
            .build()
            .map_err(|e| Error::usage("the connection to the server cannot be set up").source(e))?;
        Ok(Client { http, base, token: options.token.clone() })
    }

    /// Posts `body`; the answer's body, or the error that the server tells of.
    pub(super) async fn call(&self, name: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        let url = self
            .base
            .join(&format!("v1/{name}"))
            .map_err(|e| Error::internal(format!("the call {name} has no URL")).source(e))?;
        let mut token =
            header::HeaderValue::try_from(format!("Bearer {}", self.token.expose_secret().trim()))
                .map_err(|_| {
                    Error::usage("the agent's token has characters that cannot be sent")
                })?;
        token.set_sensitive(true);
        let answer = self
            .http
            .post(url)
            .header(header::AUTHORIZATION, token)
            .header(header::CONTENT_TYPE, "application/bson")
            .body(body)
            .send()
            .await
            .map_err(|e| self.unreachable(e))?;
        let status = answer.status();
        let body = self.read(answer).await?;
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    /// Gets a text.
    pub(super) async fn get(&self, name: &str) -> Result<String> {
        let url = self
            .base
            .join(name)
            .map_err(|e| Error::internal(format!("{name} has no URL")).source(e))?;
        let mut request = self.http.get(url);
        let token = self.token.expose_secret().trim();
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(|e| self.unreachable(e))?;
        let status = answer.status();
        let body = self.read(answer).await?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        String::from_utf8(body).map_err(|e| {
            Error::damaged(format!("the answer of {} is no text", self.base)).source(e)
        })
    }

    async fn read(&self, mut answer: Response) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.unreachable(e))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Error::damaged(format!("the answer of {} is too long", self.base)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        let what = if error.is_timeout() {
            "does not answer in time"
        } else if error.is_connect() {
            "cannot be reached"
        } else {
            "broke the connection"
        };
        // Its text would repeat the URL; the cause behind it says what happened.
        Error::new(ErrorKind::Unavailable, format!("the ingest server {} {what}", self.base))
            .source(error.without_url())
            .hint("check its URL, that it runs, and that its certificate is one that is trusted")
    }

    /// Our servers say what is wrong; something else in between may not.
    fn refused(&self, status: StatusCode, body: &[u8]) -> Error {
        if let Ok(error) = wire::decode_error(body) {
            return error;
        }
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
            StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::BAD_GATEWAY
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS => ErrorKind::Unavailable,
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            _ => ErrorKind::Internal,
        };
        // As the API says it.
        let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(detail) = said["detail"].as_str() {
            let error = Error::new(kind, format!("{} says: {detail}", self.base));
            return match said["hint"].as_str() {
                Some(hint) => error.hint(hint),
                None => error,
            };
        }
        Error::new(kind, format!("{} answered {status}", self.base))
            .hint("is this the address of a bygone server?")
    }
}

/// Checks the URL: TLS except on this host, no secrets in it.
fn base(text: &str) -> Result<Url> {
    let mut url: Url = text
        .parse()
        .map_err(|_| Error::usage("the server's URL is not one").hint("use https://HOST:PORT"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::usage("the server's URL must not hold a user or password")
            .hint("give the agent's token by file or environment"));
    }
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "https" => {}
        "http" if is_here(host) => {}
        "http" => {
            return Err(Error::usage(format!("refusing to send to {host} without TLS"))
                .hint("use https://"));
        }
        other => return Err(Error::usage(format!("{other}:// is not a server's URL"))),
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn certificates(file: &Path) -> Result<Vec<Certificate>> {
    let what = || format!("read CA file {}", file.display());
    let pem = std::fs::read(file).map_err(|e| Error::io(what(), e))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|e| Error::usage(what()).source(e))?;
    if found.is_empty() {
        return Err(Error::usage(format!("CA file {} holds no certificate", file.display())));
    }
    Ok(found)
}
