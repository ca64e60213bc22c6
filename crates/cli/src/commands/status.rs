//! `bygone status`: how far a store reaches, or what a running `up` does.

use std::{process::ExitCode, sync::Arc, time::Duration};

use bygone_agent::uplink::{HttpUplinkOptions, server_status};
use bygone_base::{Clock, Error, ErrorKind, Result, When};
use bygone_head::{Overview, choose, describe, overview};
use bygone_snapshot::Parts;
use serde_json::json;

use crate::{access, args::StatusArgs, output::Output};

/// Where the token of agents, and of who asks them, stands.
pub const TOKEN: &str = "BYGONE_AGENT_TOKEN";

/// How often a waiting status looks again.
const POLL: Duration = Duration::from_millis(500);

/// Shows, and waits if asked to.
pub async fn run(args: StatusArgs, output: &Output) -> Result<ExitCode> {
    if let Some(server) = &args.server {
        return ask(server, &args, output).await;
    }
    let Some(url) = args.store.clone() else {
        return Err(Error::usage("no store is given").hint("use --store URL or BYGONE_STORE"));
    };
    let clock = access::clock();
    let wait_for: Option<When> = args.wait_for.as_deref().map(str::parse).transpose()?;
    if let Some(when) = &wait_for {
        wait(&args, &url, when, clock.clone()).await?;
    }
    let stores = access::open_at(&url, &args.access, clock.clone(), false).await?;
    for part in access::parts_of(&stores, args.job.job.as_deref()).await? {
        show(&part, clock.as_ref(), output).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Until the moment can be restored, or the time is over.
async fn wait(args: &StatusArgs, store: &str, when: &When, clock: Arc<dyn Clock>) -> Result<()> {
    let end = clock.monotonic() + args.timeout;
    // A wrong URL will not get better by waiting; a folder that is not there yet may.
    bygone_blockstore::open_store(store, clock.clone()).await?;
    // Opened once it is there: deriving a key from a passphrase is slow on purpose.
    let mut opened: Option<Parts> = None;
    loop {
        let looked = async {
            let part = match opened.take() {
                Some(part) => part,
                None => {
                    let stores = access::open_at(store, &args.access, clock.clone(), false).await?;
                    access::only_part(&stores, args.job.job.as_deref()).await?
                }
            };
            let part = opened.insert(part);
            choose(&part.snapshots, &part.oplog, when).await
        };
        match looked.await {
            Ok(_) => return Ok(()),
            Err(e) if clock.monotonic() >= end => return Err(e.within("waited in vain")),
            Err(e) => match e.kind() {
                ErrorKind::NotCovered
                | ErrorKind::NotFound
                | ErrorKind::Unavailable
                | ErrorKind::Usage => {
                    clock.sleep(POLL).await;
                }
                _ => return Err(e),
            },
        }
    }
}

async fn show(part: &Parts, clock: &dyn Clock, output: &Output) -> Result<()> {
    let Parts { snapshots: part, oplog } = part;
    let Overview { snapshots, timelines, ranges } = overview(part, oplog).await?;
    let damaged = snapshots.damaged.len();
    let manifests = snapshots.manifests;
    let ranges: Vec<_> = ranges.into_iter().flatten().collect();
    let end = ranges.iter().map(|r| r.to).max();
    let lag = end.map(|end| (clock.now().0 / 1000 - i64::from(end.secs())).max(0));
    let phase = match (manifests.last(), timelines.last()) {
        (Some(_), _) => "backed up",
        (None, Some(_)) => "initial sync",
        (None, None) => "not started",
    };
    let newest = manifests.last();
    let mut text = format!("job {}, replica set {}: {phase}", part.job(), part.part());
    if let (Some(end), Some(lag)) = (end, lag) {
        text += &format!("\nrestorable up to {} ({end}), {lag} s ago", end.to_rfc3339());
    }
    if let Some(m) = newest {
        text += &format!("\nnewest of {} snapshots: {}", manifests.len(), m.id);
    }
    if damaged > 0 {
        text += &format!("\n{damaged} snapshots cannot be read: see `bygone verify`");
    }
    if let Some(timeline) = timelines.last() {
        text += &format!(
            "\ntimeline {} since {}: {}",
            timeline.id.0, timeline.start.ts, timeline.reason
        );
    }
    for range in &ranges {
        text += &format!("\nrestorable: {}", describe(range));
    }
    let value = json!({
        "job": part.job().as_str(), "part": part.part().as_str(), "phase": phase,
        "end": end.map(|e| e.to_string()), "lag_secs": lag, "snapshots": manifests.len(),
        "damaged": damaged,
        "newest": newest.map(|m| m.id.as_str()),
        "timeline": timelines.last().map(|t| t.id.0),
        "ranges": ranges.iter().map(|r| json!({"from": r.from.to_string(), "to": r.to.to_string()})).collect::<Vec<_>>(),
    });
    output.result(text, &value);
    Ok(())
}

/// Asks a running `up`.
async fn ask(server: &str, args: &StatusArgs, output: &Output) -> Result<ExitCode> {
    if args.wait_for.is_some() {
        return Err(
            Error::usage("--wait-for looks at the store").hint("give --store, not --server")
        );
    }
    let token = std::env::var(TOKEN).unwrap_or_default();
    let mut options = HttpUplinkOptions::new(server, token.into());
    options.ca_file.clone_from(&args.ca_file);
    options.timeout = Duration::from_secs(30);
    let text = server_status(&options).await?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|e| Error::damaged(format!("{server} answers no JSON")).source(e))?;
    let jobs = value["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<String> = jobs.iter().map(|job| lines(job, "").join("\n")).collect();
    let text = if texts.is_empty() { "no job runs".to_owned() } else { texts.join("\n\n") };
    output.result(text, &value);
    Ok(ExitCode::SUCCESS)
}

/// `name: value` for everything in an object, also within objects.
fn lines(value: &serde_json::Value, within: &str) -> Vec<String> {
    let line = |(name, value): (&String, &serde_json::Value)| match value {
        serde_json::Value::Object(_) => lines(value, &format!("{within}{name} ")),
        serde_json::Value::String(text) => vec![format!("{within}{name}: {text}")],
        _ => vec![format!("{within}{name}: {value}")],
    };
    value.as_object().into_iter().flatten().flat_map(line).collect()
}
