//! The driver's errors in our terms: what the caller does next.

use bygone_base::{Error, ErrorKind};
use mongodb::error::ErrorKind as Driver;

/// Codes after which the same command may succeed: elections, shutdowns,
/// networks, time-outs (the server's error_codes.yml).
pub(crate) const TRANSIENT: [i32; 19] = [
    6, 7, 24, 63, 64, 89, 91, 112, 133, 134, 189, 202, 262, 9001, 10058, 10107, 11600, 11602, 13435,
];

/// Members did not have a write within the time that was set for it.
pub(crate) const TIMED_OUT: i32 = 64;

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
    // What was to be executed follows, with sessions and signatures.
    let message = message.split(" to execute command").next().unwrap_or(message);
    let failed = Error::new(kind_of(code), format!("{what}: {message} (code {code})"));
    if matches!(code, 18 | 8000) { failed.hint(LOGIN) } else { failed }
}

/// A failure of the driver, on `what`.
pub(crate) fn driver(what: &str, error: &mongodb::error::Error) -> Error {
    let kind = match error.kind.as_ref() {
        Driver::Command(command) => return server(what, command.code, &command.message),
        Driver::ServerSelection { message, .. } => return unreachable(what, message),
        Driver::Authentication { .. } => ErrorKind::Denied,
        Driver::InvalidArgument { .. } | Driver::InvalidTlsConfig { .. } => ErrorKind::Usage,
        Driver::DnsResolve { .. } | Driver::Io(_) | Driver::ConnectionPoolCleared { .. } => {
            ErrorKind::Unavailable
        }
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

/// The driver's message holds the whole topology; people need one server and its cause.
fn unreachable(what: &str, message: &str) -> Error {
    let between = |start: &str, end: &str| message.split_once(start)?.1.split(end).next();
    let cause = between("Error: ", ", labels").map(|cause| cause.trim_start_matches("Kind: "));
    let cause = cause.unwrap_or_else(|| message.split(" Topology").next().unwrap_or(message));
    if cause.contains("SCRAM failure") || cause.contains("Authentication failed") {
        return Error::new(ErrorKind::Denied, format!("{what}: {cause}")).hint(LOGIN);
    }
    let address = between("Address: ", ",").map_or(String::new(), |host| format!(" {host}"));
    Error::new(ErrorKind::Unavailable, format!("{what}: cannot reach{address}: {cause}"))
}

/// The server's code, if the server answered.
pub(crate) fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        Driver::Command(command) => Some(command.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_and_its_cause_are_enough() {
        let message = "Server selection timeout: No available servers. Topology: { Type: Unknown, \
             Servers: [ { Address: 127.0.0.1:1, Type: Unknown, Error: Kind: I/O error: Connection \
             refused (os error 111), labels: {\"RetryableError\"}, source: None } ] }";
        let error = unreachable("hello", message);
        let expected =
            "hello: cannot reach 127.0.0.1:1: I/O error: Connection refused (os error 111)";
        assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, expected));
        let bare = unreachable("hello", "no answer");
        assert_eq!(bare.message(), "hello: cannot reach: no answer");
    }

    #[test]
    fn what_was_to_be_executed_is_left_out() {
        let refused = "not authorized on admin to execute command { find: 1, lsid: { id: 5 } }";
        let error = server("the target's find", 13, refused);
        assert_eq!(error.message(), "the target's find: not authorized on admin (code 13)");
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
}
