//! What people and scripts see: results on stdout, everything else on stderr.

use std::{fmt::Display, io::IsTerminal as _, process::ExitCode, time::Duration};

use bygone_base::{ByteSize, Error, ErrorKind};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::args::Cli;

/// Where and how to write.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    quiet: bool,
    terminal: bool,
}

impl Output {
    /// As the command line says.
    pub fn new(cli: &Cli) -> Self {
        Output { json: cli.json, quiet: cli.quiet, terminal: std::io::stderr().is_terminal() }
    }

    /// Sends log lines to stderr.
    pub fn start_logging(&self, verbose: u8) {
        let level = match verbose {
            0 => "off",
            1 => "bygone=info,bygone_agent=info,bygone_ingest=info,bygone_daemon=info,warn",
            _ => "debug",
        };
        let filter =
            EnvFilter::try_from_env("BYGONE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        tracing_subscriber::registry().with(filter).with(layer).init();
    }

    /// A result: `text` for people, `value` for machines.
    pub fn result(&self, text: impl Display, value: &Value) {
        if self.json {
            line(&mut std::io::stdout(), value);
        } else {
            let text = text.to_string();
            line(&mut std::io::stdout(), text.trim_end_matches('\n'));
        }
    }

    /// An event: one line on stderr, an object for machines.
    pub fn event(&self, name: &str, text: impl Display, value: Value) {
        if self.json {
            let mut object = json!({ "event": name });
            if let (Some(object), Value::Object(more)) = (object.as_object_mut(), value) {
                object.extend(more);
            }
            line(&mut std::io::stderr(), object);
        } else if !self.quiet {
            line(&mut std::io::stderr(), text);
        }
    }

    /// Says what failed and gives the exit status.
    pub fn failed(&self, error: &Error) -> ExitCode {
        if self.json {
            let value = json!({
                "error": error.to_string(), "kind": format!("{:?}", error.kind()),
                "hint": error.hint_text(),
            });
            line(&mut std::io::stderr(), value);
        } else {
            let hint = error.hint_text().map(|h| format!("; {h}")).unwrap_or_default();
            line(&mut std::io::stderr(), format!("bygone: {error}{hint}"));
        }
        match error.kind() {
            ErrorKind::Usage => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// A progress bar over bytes; invisible when stderr is no terminal.
    pub fn bar(&self) -> ProgressBar {
        let bar = ProgressBar::new(0);
        if !self.terminal || self.quiet || self.json {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = "{msg:30} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        bar
    }
}

/// A closed pipe is the reader's business, not an error.
fn line(to: &mut dyn std::io::Write, text: impl Display) {
    let _ = writeln!(to, "{text}").and_then(|()| to.flush());
}

/// `120.0 MiB/s`
pub fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", ByteSize(bytes_per_second as u64))
}
