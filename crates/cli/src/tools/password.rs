//! Asking for a password.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use bygone_base::{Error, Result};
use bygone_dumptools::report::Log;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Asks for the password of `what`; on a terminal nothing of it is shown.
pub fn ask(what: &str, log: &Log) -> Result<String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        log.always("reading password from standard input");
    }
    let _ = writeln!(std::io::stderr(), "Enter password for {what}:");
    let shown = tcgetattr(&stdin).ok().filter(|_| stdin.is_terminal());
    if let Some(shown) = &shown {
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &hidden);
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if let Some(shown) = &shown {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, shown);
    }
    read.map_err(|e| Error::io("error reading the password", e))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Error::usage("no password was given"));
    }
    Ok(password.to_owned())
}
