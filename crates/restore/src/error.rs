//! The driver's errors in our terms: what the caller does next.

use bygone_base::{Error, ErrorKind};
use mongodb::error::ErrorKind as Driver;

/// Codes after which the same command may succeed: elections, shutdowns,
/// networks, time-outs (the server's error_codes.yml).
pub(crate) const TRANSIENT: [i32; 19] = [
    6, 7, 24, 63, 64, 89, 91, 112, 133, 134, 189, 202, 262, 9001, 10058, 10107, 11600, 11602, 13435,
];

/// NotPrimaryOrSecondary, which a member answers while it recovers.
const RECOVERING: i32 = 13436;

pub(crate) fn is_transient(code: i32) -> bool {
    code == RECOVERING || TRANSIENT.contains(&code)
}

/// What to do when a login is refused.
const LOGIN: &str = "check the user, the password and the URI's authSource";

/// What kind of failure a server's code is.
fn kind_of(code: i32) -> ErrorKind {
    match code {
        code if is_transient(code) => ErrorKind::Unavailable,
        13 | 18 | 8000 => ErrorKind::Denied,
        26 => ErrorKind::NotFound,
        48 => ErrorKind::Conflict,
        14031 => ErrorKind::Full,
        2 | 9 | 14 | 67 | 72 | 115 | 161 | 197 | 40324 | 40415 => ErrorKind::Unsupported,
        _ => ErrorKind::Internal,
    }
}

/// A failure of the server with its code.
pub(crate) fn server(what: &str, code: i32, message: &str) -> Error {
    let failed = Error::new(kind_of(code), format!("{what}: {message} (code {code})"));
    if matches!(code, 18 | 8000) { failed.hint(LOGIN) } else { failed }
}

/// A failure of the driver, on `what`.
pub(crate) fn driver(what: &str, error: &mongodb::error::Error) -> Error {
    let kind = match error.kind.as_ref() {
        Driver::Command(command) => return server(what, command.code, &command.message),
        Driver::Authentication { .. } => ErrorKind::Denied,
        Driver::InvalidArgument { .. } | Driver::InvalidTlsConfig { .. } => ErrorKind::Usage,
        Driver::DnsResolve { .. }
        | Driver::Io(_)
        | Driver::ConnectionPoolCleared { .. }
        | Driver::ServerSelection { .. } => ErrorKind::Unavailable,
        Driver::IncompatibleServer { .. } | Driver::SessionsNotSupported => ErrorKind::Unsupported,
        _ => ErrorKind::Internal,
    };
    // The driver's texts may run over several lines; one is enough.
    let text = error.kind.to_string();
    let failed = Error::new(kind, format!("{what}: {}", text.lines().next().unwrap_or_default()));
    match kind {
        ErrorKind::Denied => failed.hint(LOGIN),
        _ => failed,
    }
}

/// The server's code, if the server answered.
pub(crate) fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        Driver::Command(command) => Some(command.code),
        _ => None,
    }
}
