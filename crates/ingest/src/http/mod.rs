//! The ingest as an HTTP/2 service for agents on other hosts.
//!
//! ```text
//! POST /v1/{open,begin-sync,plan-sync,sync-slice,end-sync,oplog-slice,fork,report}
//! POST /v1/conf: an agent asks for its work
//! Authorization: Bearer TOKEN
//! body and answer: bygone_oplog::uplink::wire; an error is its answer's body too
//! ```

mod doors;
mod gate;
mod line;
mod network;
mod routes;
mod server;
mod tls;
mod tokens;

pub use gate::{Caller, Fixed, Gate};
pub use line::Patience;
pub use network::Network;
pub use server::{ServeOptions, Server, TlsFiles};
pub use tokens::Tokens;

pub(crate) use routes::{Call, Request};
