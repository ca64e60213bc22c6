//! Connections of our own that carry nothing but bulk inserts.
//!
//! The driver takes a command as one document and copies it three times on its way to the socket; here documents go
//! from the buffers that they came in to the socket, as a section of an OP_MSG, without a copy (docs/decisions/0013).
//!
//! ```text
//! Target::insert ──▶ Lanes::insert ── an idle Lane, or a new one: connect ▸ TLS ▸ hello ▸ login
//!        │               └─ head + "documents" section ──▶ socket ──▶ reply
//!        └──▶ the driver: whatever a lane cannot do, and whatever went wrong on one
//! ```
//!
//! Invariants:
//! 1. The driver says where the primary is; a lane never looks for one, and is dropped at the first failure.
//! 2. A lane logs in and encrypts exactly as the driver is told to, or there is none.
//! 3. Nothing waits here for ever: where no reply comes, the driver is asked whether that server still is the primary, and
//!    whether it is at work on what was sent.

mod login;
mod message;
mod scram;
mod tls;

use std::{
    fmt,
    future::Future,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bson::{Document, rawdoc};
use bygone_base::{Error, ErrorKind, Result};
use mongodb::options::{ClientOptions, ServerAddress};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{error, target::Target};
use login::Login;
use message::Section;
use tls::Encryption;

/// How long opening a connection may take.
const OPEN: Duration = Duration::from_secs(10);
/// How long to wait for a reply before the driver is asked about the server.
const LOOK: Duration = Duration::from_secs(20);
/// After so many connections in a row that could not be opened no more are tried.
const FAILURES: u32 = 3;

/// A byte stream to a server.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// One connection, logged in.
struct Lane {
    socket: Box<dyn Socket>,
    place: Place,
    request: i32,
}

/// The far end of a connection.
#[derive(Clone)]
struct Place {
    address: (String, u16),
    /// What the server calls the connection; servers before 4.2 do not say it.
    number: Option<i32>,
}

/// The connections to one target.
pub(crate) struct Lanes {
    login: Option<Login>,
    encryption: Option<Encryption>,
    /// The server to talk to, where it is not for the driver to find it.
    direct: Option<(String, u16)>,
    /// The only server, where it is one: what a router or a single server does not say of itself.
    only: Option<(String, u16)>,
    idle: Mutex<Vec<Lane>>,
    failed: AtomicU32,
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The login holds a password.
        f.debug_struct("Lanes").field("direct", &self.direct).finish_non_exhaustive()
    }
}

impl Lanes {
    /// `None` where the options ask for something that only the driver can do.
    pub(crate) fn new(options: &ClientOptions) -> Option<Lanes> {
        if options.server_api.is_some() || options.load_balanced == Some(true) {
            return None;
        }
        // Compressing is the driver's; a copy more does not show beside it.
        if options.compressors.as_ref().is_some_and(|all| !all.is_empty()) {
            return None;
        }
        let login = match &options.credential {
            Some(credential) => Some(Login::new(credential)?),
            None => None,
        };
        let encryption = match &options.tls {
            Some(mongodb::options::Tls::Enabled(options)) => Some(Encryption::new(options)?),
            _ => None,
        };
        let only = match options.hosts.as_slice() {
            [host] => Some(tcp(host)?),
            _ => None,
        };
        let direct = if options.direct_connection == Some(true) { only.clone() } else { None };
        Some(Lanes {
            login,
            encryption,
            direct,
            only,
            idle: Mutex::new(Vec::new()),
            failed: AtomicU32::new(0),
        })
    }

    /// Sends an insert command whose documents are `documents`, one behind the other. `None`: there is no connection, and
    /// nothing was sent.
    ///
    /// # Errors
    /// What the server refuses; Unavailable when the connection was lost: all, some or none may be in.
    pub(crate) async fn insert(
        &self,
        target: &Target,
        what: &str,
        head: &[u8],
        documents: &[&[u8]],
    ) -> Option<Result<Document>> {
        let mut lane = self.take(target).await?;
        let place = lane.place.clone();
        let section = Section { name: "documents", parts: documents };
        let sent = self.watched(target, &place, lane.exchange(head, Some(section))).await;
        let reply = match sent {
            Ok(reply) => reply,
            Err(failed) => {
                // What ended this one has likely ended them all.
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return Some(Err(failed.within(what)));
            }
        };
        if let Some(refused) = refused(what, &reply) {
            return Some(Err(refused));
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
        Some(Ok(reply))
    }

    /// An idle connection, or a new one.
    async fn take(&self, target: &Target) -> Option<Lane> {
        if let Some(lane) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Some(lane);
        }
        if self.failed.load(Ordering::Relaxed) >= FAILURES {
            return None;
        }
        let opened = async {
            let address = self.address(target).await?;
            let open = self.open(address);
            tokio::select! {
                lane = open => lane,
                () = target.clock().sleep(OPEN) => Err(lost("no answer to a new connection")),
            }
        };
        match opened.await {
            Ok(lane) => {
                self.failed.store(0, Ordering::Relaxed);
                tracing::debug!(
                    "a connection for inserts to {}:{}",
                    lane.place.address.0,
                    lane.place.address.1
                );
                Some(lane)
            }
            Err(failed) => {
                tracing::debug!("inserts go through the driver: {failed}");
                self.failed.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    async fn open(&self, address: (String, u16)) -> Result<Lane> {
        let at = |e: std::io::Error| lost("connect").source(e);
        let socket = TcpStream::connect((address.0.as_str(), address.1)).await.map_err(at)?;
        socket.set_nodelay(true).map_err(at)?;
        let socket: Box<dyn Socket> = match &self.encryption {
            Some(encryption) => Box::new(encryption.wrap(&address.0, socket).await?),
            None => Box::new(socket),
        };
        let mut lane = Lane { socket, place: Place { address, number: None }, request: 0 };
        login::greet(&mut lane, self.login.as_ref()).await?;
        Ok(lane)
    }

    /// Where the driver sees the server that takes writes.
    async fn address(&self, target: &Target) -> Result<(String, u16)> {
        let hello = target.once("admin", rawdoc! {"isMaster": 1}).await;
        let hello = hello.map_err(|e| error::driver("find the primary", &e))?;
        if let Some(direct) = &self.direct {
            return Ok(direct.clone());
        }
        let named = hello.get_str("me").ok().and_then(|me| ServerAddress::parse(me).ok());
        let found = named.as_ref().and_then(tcp).or_else(|| self.only.clone());
        found.ok_or_else(|| Error::unsupported("several routers"))
    }

    /// Waits for `exchange` as long as the server is the one that takes writes, and is at work on it.
    async fn watched<T>(
        &self,
        target: &Target,
        place: &Place,
        exchange: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::pin!(exchange);
        let lost_by = async {
            let mut idle = 0;
            while idle < 2 {
                target.clock().sleep(LOOK).await;
                let there = self.address(target).await.is_ok_and(|now| now == place.address);
                if !there {
                    return "the server is not there any more";
                }
                // Once may be between the command and its reply; a reply does not take that long.
                idle = if is_idle(target, place.number).await { idle + 1 } else { 0 };
            }
            "neither the server nor the network has what was sent"
        };
        tokio::select! {
            done = &mut exchange => done,
            why = lost_by => Err(lost(why)),
        }
    }
}

/// Whether the server is known to do nothing for a connection.
async fn is_idle(target: &Target, number: Option<i32>) -> bool {
    let Some(number) = number else { return false };
    // One's own operations everybody may see.
    let ask = rawdoc! {
        "aggregate": 1, "cursor": {},
        "pipeline": [
            {"$currentOp": {"allUsers": false, "localOps": true}},
            {"$match": {"connectionId": number, "active": true}},
        ],
    };
    let reply = target.once("admin", ask).await.ok();
    let cursor = reply.as_ref().and_then(|reply| reply.get_document("cursor").ok());
    cursor.and_then(|c| c.get_array("firstBatch").ok()).is_some_and(Vec::is_empty)
}

fn tcp(address: &ServerAddress) -> Option<(String, u16)> {
    match address {
        ServerAddress::Tcp { host, port } => Some((host.clone(), port.unwrap_or(27017))),
        _ => None,
    }
}

fn lost(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("connection for inserts: {why}"))
}

/// A command that the server refuses as a whole.
fn refused(what: &str, reply: &Document) -> Option<Error> {
    let ok = reply.get("ok").and_then(|ok| match ok {
        bson::Bson::Double(n) => Some(*n),
        bson::Bson::Int32(n) => Some(f64::from(*n)),
        _ => None,
    });
    if ok == Some(1.0) {
        return None;
    }
    let code = reply.get_i32("code").unwrap_or_default();
    Some(error::server(what, code, reply.get_str("errmsg").unwrap_or("no reason is given")))
}
