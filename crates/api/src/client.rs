//! A client of the API, for the command line.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use bygone_base::{Error, ErrorKind, Result, Rng, net::is_here};
use reqwest::{Certificate, Method, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::digest;

/// A request takes at most so long; a history is read from a store meanwhile.
const LIMIT: Duration = Duration::from_secs(300);
/// A longer answer is not read.
const LONGEST: usize = 64 << 20;

/// A server, and the key to ask it with.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    public: String,
    private: SecretString,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the server at `url`, with the key `PUBLIC:PRIVATE`; connects when first used.
    ///
    /// # Errors
    /// Usage: the URL, the key or the certificates are none, or secrets would cross a network in the clear.
    pub fn new(url: &str, key: &str, ca_file: Option<&Path>, rng: Arc<dyn Rng>) -> Result<Client> {
        let base = base(url)?;
        let (public, private) = key.trim().split_once(':').ok_or_else(|| {
            Error::usage("the API key is not PUBLIC:PRIVATE")
                .hint("both halves were shown when it was made")
        })?;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(LIMIT);
        if let Some(file) = ca_file {
            let pem = std::fs::read(file)
                .map_err(|e| Error::io(format!("read {}", file.display()), e))?;
            let trusted = Certificate::from_pem_bundle(&pem).map_err(|e| {
                Error::usage(format!("{} holds no certificate", file.display())).source(e)
            })?;
            builder = builder.tls_certs_only(trusted);
        }
        let http = builder
            .build()
            .map_err(|e| Error::usage("the connection to the server cannot be set up").source(e))?;
        let (public, private) = (public.to_owned(), private.to_owned().into());
        Ok(Client { http, base, public, private, rng })
    }

    /// What is at `path`, such as `/api/v2/projects`.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, None).await
    }

    /// Posts `body`.
    pub async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value> {
        self.send(Method::POST, path, body).await
    }

    /// Changes what is at `path`.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// Puts `body` at `path`.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// Deletes what is at `path`.
    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.send(Method::DELETE, path, None).await
    }

    /// Asks twice: the first answer is the challenge.
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = self.base.join(path).map_err(|e| Error::usage("no URL").source(e))?;
        let first = self.once(&method, &url, body, None).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return self.read(first).await;
        }
        let mut cnonce = [0; 16];
        self.rng.fill(&mut cnonce);
        let challenges: Vec<&str> = first
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|header| header.to_str().ok())
            .collect();
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let who = (self.public.as_str(), self.private.expose_secret());
        let cnonce = hex::encode(cnonce);
        let proof = digest::answer(&challenges, method.as_str(), &target, who, &cnonce);
        let Some(proof) = proof else { return self.read(first).await };
        let second = self.once(&method, &url, body, Some(proof)).await?;
        self.read(second).await
    }

    async fn once(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
        proof: Option<String>,
    ) -> Result<Response> {
        let mut request = self.http.request(method.clone(), url.clone());
        if let Some(proof) = proof {
            request = request.header(AUTHORIZATION, proof);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        request.send().await.map_err(|e| self.unreachable(e))
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let message = format!("{} cannot be reached: {cause}", self.base);
        Error::new(ErrorKind::Unavailable, message)
            .hint("is `bygone server` running there, and its certificate trusted (--ca-file)?")
    }

    async fn read(&self, mut answer: Response) -> Result<Value> {
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.unreachable(e))? {
            if body.len() + chunk.len() > LONGEST {
                return Err(Error::damaged(format!("the answer of {} is too long", self.base)));
            }
            body.extend_from_slice(&chunk);
        }
        let value = match &body[..] {
            [] => Ok(Value::Null),
            body => serde_json::from_slice(body),
        };
        if status.is_success() {
            return value
                .map_err(|e| Error::damaged(format!("{} answers no JSON", self.base)).source(e));
        }
        Err(refusal(status, &value.unwrap_or_default()))
    }
}

/// The server's URL. Without TLS it is on this host: requests and answers hold passwords of databases.
fn base(text: &str) -> Result<Url> {
    let none = || Error::usage("the server's URL is not one").hint("use https://HOST:PORT");
    let url = Url::parse(text).map_err(|_| none())?;
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here(host) => Ok(url),
        "http" => Err(Error::usage(format!("refusing to send to {host} without TLS"))
            .hint("use https://, and --ca-file where its certificate is its own")),
        _ => Err(none()),
    }
}

/// The error document as an error.
fn refusal(status: StatusCode, document: &Value) -> Error {
    let kind = match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => ErrorKind::Usage,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::CONFLICT => ErrorKind::Conflict,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    let detail = document["detail"].as_str().unwrap_or("the server refused, and does not say why");
    let error = Error::new(kind, detail);
    match document["hint"].as_str() {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_without_tls_to_this_host_only() {
        for good in [
            "https://backup.example:8780",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert!(base(good).is_ok(), "{good}");
        }
        let refused = base("http://backup.example:8780").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Usage);
        assert!(refused.to_string().contains("without TLS"), "{refused}");
        for bad in ["http://10.0.0.1", "ftp://localhost", "backup.example", ""] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }
}
