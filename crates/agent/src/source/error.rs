//! Faults of a source: the common error plus what a scan must tell apart.

use bygone_base::{Error, ErrorKind};
use mongodb::error::ErrorKind as Driver;

/// What a scan or tail does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The collection does not exist (NamespaceNotFound).
    Gone,
    /// The cursor's place in a capped collection was overrun (CappedPositionLost).
    PositionLost,
    /// The cursor is dead (killed, not found, renamed collection): open another.
    Cursor,
    /// The record of a resume token was deleted (KeyNotFound).
    TokenLost,
    /// Everything else: see the error's kind.
    Other,
}

/// An error of a source.
#[derive(Debug)]
pub struct SourceError {
    /// What a scan does about it.
    pub fault: Fault,
    /// The error for everybody else.
    pub error: Error,
}

/// Result with [`SourceError`].
pub type SourceResult<T> = std::result::Result<T, SourceError>;

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Error {
        error.error
    }
}

impl From<Error> for SourceError {
    fn from(error: Error) -> SourceError {
        SourceError { fault: Fault::Other, error }
    }
}

impl SourceError {
    /// A fault with its error.
    pub fn new(fault: Fault, kind: ErrorKind, message: impl Into<String>) -> Self {
        SourceError { fault, error: Error::new(kind, message) }
    }
}

/// Command errors (src/mongo/base/error_codes.yml) that pass by themselves:
/// elections, shutdowns, rollbacks, time-outs, network.
const TRANSIENT: [i32; 23] = [
    6, 7, 24, 43, 50, 63, 89, 91, 112, 133, 134, 189, 202, 237, 246, 262, 290, 9001, 10058, 10107,
    11600, 11602, 13435,
];

fn command_fault(code: i32) -> (Fault, ErrorKind) {
    match code {
        26 => (Fault::Gone, ErrorKind::NotFound),
        136 => (Fault::PositionLost, ErrorKind::Unavailable),
        211 => (Fault::TokenLost, ErrorKind::Unavailable),
        43 | 175 | 237 | 11601 => (Fault::Cursor, ErrorKind::Unavailable),
        13 | 18 | 8000 => (Fault::Other, ErrorKind::Denied),
        13436 => (Fault::Other, ErrorKind::Unavailable),
        code if TRANSIENT.contains(&code) => (Fault::Other, ErrorKind::Unavailable),
        _ => (Fault::Other, ErrorKind::Internal),
    }
}

/// Turns a driver error into one clear line about `what` on `host`.
/// What to do when the server refuses a command to the user.
pub(super) const GRANT: &str = "grant the user the built-in role \"backup\" on the admin database";

pub(crate) fn from_driver(what: &str, host: &str, error: &mongodb::error::Error) -> SourceError {
    let at = format!("{what} on {host}");
    match error.kind.as_ref() {
        Driver::Command(command) => {
            let (fault, kind) = command_fault(command.code);
            let name = &command.code_name;
            // What was to be executed follows, with sessions and signatures.
            let said = command.message.split(" to execute command").next().unwrap_or_default();
            let message = format!("{at}: {said} ({name}, code {})", command.code);
            let mut failed = SourceError::new(fault, kind, message);
            if kind == ErrorKind::Denied {
                failed.error = failed.error.hint(GRANT);
            }
            failed
        }
        Driver::Authentication { message, .. } => denied(host, message),
        Driver::ServerSelection { message, .. } => unreachable(host, message),
        Driver::InvalidArgument { message, .. } | Driver::DnsResolve { message, .. } => {
            SourceError::new(Fault::Other, ErrorKind::Usage, format!("{at}: {message}"))
        }
        Driver::InvalidTlsConfig { message, .. } => {
            let message = format!("TLS settings for {host}: {message}");
            SourceError::new(Fault::Other, ErrorKind::Usage, message)
        }
        Driver::Io(cause) => {
            SourceError::new(Fault::Other, ErrorKind::Unavailable, format!("{at}: {cause}"))
        }
        Driver::ConnectionPoolCleared { message, .. } => {
            SourceError::new(Fault::Other, ErrorKind::Unavailable, format!("{at}: {message}"))
        }
        Driver::IncompatibleServer { message, .. } => {
            SourceError::new(Fault::Other, ErrorKind::Unsupported, format!("{at}: {message}"))
        }
        other => {
            let network = error.contains_label("RetryableError")
                || error.contains_label("SystemOverloadedError");
            let kind = if network { ErrorKind::Unavailable } else { ErrorKind::Internal };
            SourceError::new(Fault::Other, kind, format!("{at}: {other}"))
        }
    }
}

fn denied(host: &str, message: &str) -> SourceError {
    let error = Error::new(
        ErrorKind::Denied,
        format!("{host} refuses the user or password: {}", message.trim_end_matches('.')),
    )
    .hint("check user, password, authSource and authMechanism of the source URI");
    SourceError { fault: Fault::Other, error }
}

/// The driver's message holds the whole topology; people need the cause.
fn unreachable(host: &str, message: &str) -> SourceError {
    let cause = message
        .split_once("Error: ")
        .map_or(message, |(_, rest)| rest)
        .trim_start_matches("Kind: ")
        .split(", labels")
        .next()
        .unwrap_or(message);
    let auth = cause.contains("SCRAM failure") || cause.contains("Authentication failed");
    if auth {
        return denied(host, cause);
    }
    let error =
        Error::new(ErrorKind::Unavailable, format!("cannot reach mongod at {host}: {cause}"))
            .hint("check host, port and TLS settings of the source URI, and that mongod runs");
    SourceError { fault: Fault::Other, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_cut_out_of_the_topology() {
        let message = "Server selection timeout: No available servers. Topology: { Type: Single, \
             Servers: [ { Address: 127.0.0.1:1, Type: Unknown, Error: Kind: I/O error: Connection \
             refused (os error 111), labels: {} }, ] }";
        let error = unreachable("127.0.0.1:1", message).error;
        let text =
            "cannot reach mongod at 127.0.0.1:1: I/O error: Connection refused (os error 111)";
        assert_eq!(error.message(), text);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn faults_of_a_scan_are_told_apart() {
        assert_eq!(command_fault(26).0, Fault::Gone);
        assert_eq!(command_fault(136).0, Fault::PositionLost);
        assert_eq!(command_fault(175), (Fault::Cursor, ErrorKind::Unavailable));
        assert_eq!(command_fault(13), (Fault::Other, ErrorKind::Denied));
        assert_eq!(command_fault(2).1, ErrorKind::Internal);
        assert_eq!(command_fault(91).1, ErrorKind::Unavailable);
    }
}
