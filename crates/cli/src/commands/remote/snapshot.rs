//! `bygone snapshot`.

use std::process::ExitCode;

use bygone_base::{ByteSize, Result};
use serde_json::{Value, json};

use super::{
    Remote,
    args::{SnapshotArgs, SnapshotCommand},
    table::table,
    text,
};
use crate::output::Output;

/// Does what is asked.
pub async fn run(args: SnapshotArgs, output: &Output) -> Result<ExitCode> {
    let remote = Remote::new(&args.remote)?;
    match args.command {
        SnapshotCommand::List { cluster } => {
            let (path, _) = remote.job(&cluster).await?;
            let history = remote.client.get(&format!("{path}/history")).await?;
            output.result(shown(&history), &history);
        }
        SnapshotCommand::Take { cluster } => {
            let (path, _) = remote.job(&cluster).await?;
            let answer = remote.client.post(&format!("{path}/snapshots"), None).await?;
            output.result(format!("a snapshot of {cluster} is asked for"), &answer);
        }
        SnapshotCommand::Keep { cluster, snapshot, until } => {
            let (path, _) = remote.job(&cluster).await?;
            let (body, line) = match until {
                Some(until) => {
                    let line = format!("snapshot {snapshot} is kept until {until}");
                    (json!({"expires": until}), line)
                }
                None => {
                    let line = format!("snapshot {snapshot} is kept for ever");
                    (json!({"keep_for_ever": true}), line)
                }
            };
            let path = format!("{path}/snapshots/{snapshot}");
            output.result(line, &remote.client.patch(&path, &body).await?);
        }
        SnapshotCommand::Delete { cluster, snapshot } => {
            let (path, _) = remote.job(&cluster).await?;
            let answer = remote.client.delete(&format!("{path}/snapshots/{snapshot}")).await?;
            output.result(format!("snapshot {snapshot} is deleted"), &answer);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(history: &Value) -> String {
    let bytes = |value: &Value| ByteSize(value.as_u64().unwrap_or_default()).to_string();
    let row = |snapshot: &Value| {
        let kept = match snapshot["kept_for_ever"].as_bool() {
            Some(true) => "for ever",
            _ => text(snapshot, "expires"),
        };
        vec![
            text(snapshot, "id").to_owned(),
            text(&snapshot["at"], "time").to_owned(),
            snapshot["documents"].to_string(),
            bytes(&snapshot["bytes"]),
            bytes(&snapshot["new_bytes"]),
            kept.to_owned(),
        ]
    };
    let snapshots = history["snapshots"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = snapshots.iter().map(row).collect();
    let headings = ["snapshot", "moment", "documents", "bytes", "new", "kept until"];
    let mut lines = vec![table(&headings, &rows)];
    for range in history["ranges"].as_array().into_iter().flatten() {
        let (from, to) = (&range["from"], &range["to"]);
        lines.push(format!(
            "restorable: {} to {} ({} to {})",
            text(from, "time"),
            text(to, "time"),
            text(from, "ts"),
            text(to, "ts")
        ));
    }
    lines.join("\n")
}
