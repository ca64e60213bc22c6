//! One error type for all crates that do I/O. The kind names what the *caller*
//! does next; the message says what failed and on what; the hint says what a
//! person can do about it.

use std::fmt;

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong (flag, URI, pattern, moment): ask differently.
    Usage,
    /// Try again later: network, election, time-out, throttling.
    Unavailable,
    /// Credentials or privileges are missing or wrong.
    Denied,
    /// The thing asked for does not exist.
    NotFound,
    /// Somebody else got there first: another writer, another epoch. Stop writing.
    Conflict,
    /// Bytes that were read are not what was written. Never continue over it.
    Damaged,
    /// No room left on disk or in the store.
    Full,
    /// Continuity with the source is lost; the backup requires a resync.
    ResyncRequired,
    /// The moment asked for is not covered by what is stored.
    NotCovered,
    /// Something that this version does not know or that is refused on purpose.
    Unsupported,
    /// Cancelled by the user.
    Cancelled,
    /// A bug or a broken invariant.
    Internal,
}

impl ErrorKind {
    /// Whether repeating the same call may succeed without a person's help.
    pub fn is_transient(self) -> bool {
        matches!(self, ErrorKind::Unavailable)
    }
}

/// The error of every fallible operation: `message` is one line, `hint` another.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error; `message` says what failed and on what, without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: None, source: None }
    }

    /// Adds what a person can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause, which is shown after the message.
    #[must_use]
    pub fn source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Puts `what` in front of the message: `what: message`.
    #[must_use]
    pub fn within(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message alone, without hint and cause.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The hint, if any.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// [`ErrorKind::Damaged`].
    pub fn damaged(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Damaged, message)
    }

    /// [`ErrorKind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Usage, message)
    }

    /// [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Unsupported, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Internal, message)
    }

    /// An operating-system error on `what`, with the kind that its code calls for.
    pub fn io(what: impl fmt::Display, error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::Full,
            Io::AlreadyExists => ErrorKind::Conflict,
            Io::TimedOut
            | Io::Interrupted
            | Io::ConnectionRefused
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::BrokenPipe
            | Io::NotConnected
            | Io::UnexpectedEof => ErrorKind::Unavailable,
            Io::InvalidInput | Io::InvalidFilename => ErrorKind::Usage,
            _ => ErrorKind::Internal,
        };
        Error::new(kind, what.to_string()).source(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause: Option<&(dyn std::error::Error + 'static)> =
            self.source.as_deref().map(|source| source as _);
        let mut last = String::new();
        while let Some(error) = cause {
            let text = error.to_string();
            // Libraries often repeat their cause in their own message.
            if !last.contains(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_full_and_shows_its_cause() {
        let error =
            Error::io("write /data/pack", std::io::Error::from(std::io::ErrorKind::StorageFull))
                .within("store");
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(error.to_string().starts_with("store: write /data/pack: "));
    }
}
