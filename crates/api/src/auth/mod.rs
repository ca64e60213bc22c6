//! Who asks: an API key by HTTP digest, or the dashboard's session.

pub mod digest;
mod nonces;

use std::{net::SocketAddr, sync::Arc};

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts, uri::Scheme};
use bygone_access::{Access, CSRF_HEADER, Principal, cookie_name};
use bygone_base::Error;
use bygone_control::{By, Control};

use self::{
    digest::{Algorithm, Credentials, challenge},
    nonces::Nonces,
};
use crate::failure::Failure;

/// Ops Manager's realm: some clients keep credentials by it.
const REALM: &str = "MMS Public API";

/// What somebody proved himself by.
#[derive(Clone)]
pub(crate) enum Proof {
    /// An API key; its public half.
    Key(String),
    /// A session's secret.
    Session(String),
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Proof::Key(_) => "Proof of a key",
            Proof::Session(_) => "Proof of a session",
        })
    }
}

impl Proof {
    /// Who it is by now, with the rights of now; `None`: key or session is gone.
    pub(crate) async fn again(&self, access: &Access) -> Result<Option<Principal>, Error> {
        match self {
            Proof::Key(public) => Ok(access.key(public, None).await?.map(|(who, _)| who)),
            Proof::Session(secret) => Ok(access.session(secret, None).await?.map(|(who, _)| who)),
        }
    }
}

/// Tells who asks.
#[derive(Debug)]
pub(crate) struct Auth {
    control: Arc<Control>,
    access: Arc<Access>,
    nonces: Nonces,
}

impl Auth {
    pub(crate) fn new(control: Arc<Control>, access: Arc<Access>) -> Auth {
        let nonces = Nonces::new(control.clock().clone(), control.rng().clone());
        Auth { control, access, nonces }
    }

    /// Who sent the request. The dashboard's session is good where `sessions` says so.
    pub(crate) async fn who(
        &self,
        parts: &Parts,
        sessions: bool,
    ) -> Result<(Principal, Proof), Failure> {
        let address = parts.extensions.get::<SocketAddr>().map(|at| at.ip().to_string());
        let address = address.as_deref();
        if let Some(header) = parts.headers.get(header::AUTHORIZATION) {
            return self.key(parts, header, address).await;
        }
        let tls = parts.extensions.get::<Scheme>() == Some(&Scheme::HTTPS);
        match cookie(&parts.headers, cookie_name(tls)) {
            Some(secret) if sessions => self.session(parts, secret, address).await,
            _ => Err(self.unknown("this needs an API key", false)),
        }
    }

    async fn key(
        &self,
        parts: &Parts,
        header: &HeaderValue,
        address: Option<&str>,
    ) -> Result<(Principal, Proof), Failure> {
        let said = header.to_str().ok().and_then(Credentials::parse);
        let Some(said) = said else {
            return Err(self.unknown("Authorization is not HTTP digest with qop=auth", false));
        };
        let Some(nonce) = self.nonces.read(&said.nonce) else {
            return Err(self.unknown("the nonce is stale", true));
        };
        let found = self.access.key(&said.username, address).await?;
        // A wrong name costs the same as a wrong proof.
        let private = found.as_ref().map_or("", |(_, private)| private.as_str());
        let proved = said.proves(private, parts.method.as_str());
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let meant = said.realm == REALM && said.uri == target;
        match found {
            Some((principal, _)) if proved && meant => {
                if self.nonces.take(nonce, said.used()) {
                    Ok((principal, Proof::Key(said.username)))
                } else {
                    Err(self.unknown("the nonce was used already", true))
                }
            }
            found => {
                // A key is not guessed: who has it is never kept out by those who have not.
                if self.access.attempts().failed(&said.username, address).is_err() {
                    return Err(Failure::rate_limited());
                }
                // Of a name that nobody has, anybody could fill the events with anything.
                if let Some(address) = address.filter(|_| found.is_some()) {
                    self.tell_failure(&said.username, address).await?;
                }
                Err(self.unknown("the API key is not known, or its proof is wrong", false))
            }
        }
    }

    /// Says that somebody failed to prove a key that there is; so often at most as an address may fail.
    async fn tell_failure(&self, public: &str, address: &str) -> Result<(), Failure> {
        let by = By { address: Some(address.to_owned()), ..By::system() };
        let message = format!("a proof of API key {public} was wrong");
        Ok(self.control.event(&by, None, None, "API_KEY_PROOF_FAILED", message).await?)
    }

    async fn session(
        &self,
        parts: &Parts,
        secret: &str,
        address: Option<&str>,
    ) -> Result<(Principal, Proof), Failure> {
        let Some((principal, session)) = self.access.session(secret, address).await? else {
            // No challenge: a browser would ask for a name and a password that nobody has.
            return Err(Failure::new(
                StatusCode::UNAUTHORIZED,
                "USER_UNAUTHORIZED",
                "the session has ended",
            ));
        };
        let reads = parts.method == Method::GET || parts.method == Method::HEAD;
        let token = parts.headers.get(CSRF_HEADER).map(HeaderValue::as_bytes);
        let same = |token: &[u8]| blake3::hash(token) == blake3::hash(session.csrf.as_bytes());
        if reads || token.is_some_and(same) {
            return Ok((principal, Proof::Session(secret.to_owned())));
        }
        let why = format!("changes by a session need its token in the header {CSRF_HEADER}");
        Err(Failure::new(StatusCode::FORBIDDEN, "CSRF_TOKEN_REQUIRED", why))
    }

    /// Nobody we know, with the challenges to answer.
    ///
    /// MD5 comes first: Ops Manager's clients look at the first challenge only and know nothing else. Who knows SHA-256
    /// chooses it (RFC 7616, section 3.7).
    fn unknown(&self, why: &str, stale: bool) -> Failure {
        let nonce = self.nonces.make();
        let mut failure = Failure::new(StatusCode::UNAUTHORIZED, "USER_UNAUTHORIZED", why);
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let challenge = challenge(algorithm, REALM, &nonce, stale);
            if let Ok(value) = HeaderValue::from_str(&challenge) {
                failure.headers.push((header::WWW_AUTHENTICATE, value));
            }
        }
        failure
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';')).map(str::trim);
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}
