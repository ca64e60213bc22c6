//! `bygone agent`: captures what the server hands out.

use std::{process::ExitCode, sync::Arc};

use bygone_agent::{
    fleet::{Fleet, MongoSources},
    uplink::{HttpUplink, HttpUplinkOptions},
};
use bygone_base::{Error, Result, SystemRng};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{access, args::AgentArgs, output::Output};

/// Runs until Ctrl-C.
pub async fn run(args: AgentArgs, output: &Output) -> Result<ExitCode> {
    let key = match &args.key_file {
        Some(file) => access::first_line(file)?,
        None => std::env::var("BYGONE_AGENT_KEY").map_err(|_| {
            Error::usage("no agent key is given")
                .hint("make one on the server's page, and use --key-file FILE or BYGONE_AGENT_KEY")
        })?,
    };
    let mut options = HttpUplinkOptions::new(&args.server, key.into());
    options.ca_file.clone_from(&args.ca_file);
    let uplink = Arc::new(HttpUplink::new(&options)?);
    let clock = access::clock();
    let fleet = Fleet {
        conf: uplink.clone(),
        uplink,
        sources: Arc::new(MongoSources { clock: clock.clone() }),
        clock,
        rng: Arc::new(SystemRng),
        host: host(),
        own: bygone_agent::fleet::Own::default(),
    };
    let mut signals = JoinSet::new();
    let shutdown = super::on_signal(&mut signals);
    let server = &args.server;
    output.event(
        "agent",
        format!("serving {server}; Ctrl-C stops"),
        json!({"server": server.as_str()}),
    );
    fleet.run(&shutdown).await?;
    output.event("stopped", "stopped", json!({}));
    Ok(ExitCode::SUCCESS)
}

/// The name of this host, for people.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
