//! The ingest as an HTTP/2 service for agents on other hosts.
//!
//! ```text
//! POST /v1/{open,begin-sync,plan-sync,sync-slice,end-sync,oplog-slice,fork,report}
//! Authorization: Bearer TOKEN
//! body and answer: bygone_oplog::uplink::wire; an error is its answer's body too
//! ```

mod routes;
mod server;
mod tls;
mod tokens;

pub use server::{ServeOptions, Server, Shown, TlsFiles};
pub use tokens::Tokens;

pub(crate) use routes::{Call, Request};
