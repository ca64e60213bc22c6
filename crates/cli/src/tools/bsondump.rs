//! `bsondump`.

use std::path::PathBuf;

use bygone_base::{Error, Result};
use bygone_dumptools::{
    bsondump::{self, Form, Options},
    extjson::Style,
    report::Log,
};
use clap::Parser;

use super::{Arguments, MISUSED, Signal, Stop, common::Verbosity, config};

/// View and debug .bson files.
#[derive(Debug, Parser)]
#[command(name = "bsondump", disable_help_flag = true, disable_version_flag = true)]
#[command(override_usage = "bsondump <options> <file>", args_override_self = true)]
pub struct Args {
    #[command(flatten)]
    general: Verbosity,
    /// type of output: debug, json
    #[arg(
        long = "type",
        value_name = "type",
        default_value = "json",
        help_heading = "output options"
    )]
    form: String,
    /// validate BSON during processing
    #[arg(long, help_heading = "output options")]
    objcheck: bool,
    /// output JSON formatted to be human-readable
    #[arg(long, help_heading = "output options")]
    pretty: bool,
    /// path to BSON file to dump to JSON; default is stdin
    #[arg(long = "bsonFile", value_name = "FILE", help_heading = "output options")]
    bson_file: Option<PathBuf>,
    /// path to output file to dump BSON to; default is stdout
    #[arg(long = "outFile", value_name = "FILE", help_heading = "output options")]
    out_file: Option<PathBuf>,
    #[arg(value_name = "file", hide = true)]
    positional: Vec<PathBuf>,
}

impl Args {
    fn options(self) -> Result<Options> {
        if self.positional.len() > 1 {
            return Err(Error::usage(format!(
                "too many positional arguments: {:?}",
                self.positional
            )));
        }
        let positional = self.positional.into_iter().next();
        if positional.is_some() && self.bson_file.is_some() {
            return Err(Error::usage("cannot specify both a positional argument and --bsonFile"));
        }
        let form = match (self.form.as_str(), self.pretty) {
            ("json", false) => Form::Json(Style::Compact),
            ("json", true) => Form::Json(Style::Pretty),
            ("debug", _) => Form::Debug,
            (other, _) => {
                return Err(Error::usage(format!(
                    "unsupported output type '{other}'. Must be either 'debug' or 'json'"
                )));
            }
        };
        Ok(Options {
            form,
            objcheck: self.objcheck,
            input: self.bson_file.or(positional),
            output: self.out_file,
            threads: super::threads(),
        })
    }
}

impl Arguments for Args {
    fn verbosity(&self) -> &Verbosity {
        &self.general
    }

    async fn run(self, log: Log, signal: Signal) -> Result<(), Stop> {
        // Nothing in it is for this tool, but it has to be there.
        let config = config::read(self.general.config.as_deref());
        config.map_err(|e| Stop::Misused(e.within(MISUSED)))?;
        let options = self.options().map_err(Stop::Misused)?;
        Ok(signal.unless(bsondump::run(options, &log)).await.map(|_| ())?)
    }
}
