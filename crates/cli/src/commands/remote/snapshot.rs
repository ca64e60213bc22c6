//! `bygone snapshot`.

use std::process::ExitCode;

use bygone_base::{ByteSize, Result};
use serde_json::{Value, json};

use super::{
    Remote,
    args::{SnapshotArgs, SnapshotCommand},
    confirmed,
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
        SnapshotCommand::Delete { cluster, snapshot, confirm } => {
            let does = format!("deletes the snapshot {snapshot} of {cluster}");
            confirmed(&cluster, confirm, &does, "deleted")?;
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
    for damaged in history["damaged"].as_array().into_iter().flatten() {
        lines.push(format!("{:26} DAMAGED {}", text(damaged, "id"), text(damaged, "why")));
    }
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
    for gap in history["gaps"].as_array().into_iter().flatten() {
        let (after, before) = (&gap["after"], &gap["before"]);
        lines.push(format!(
            "not restorable: between {} and {} ({} and {})",
            text(after, "time"),
            text(before, "time"),
            text(after, "ts"),
            text(before, "ts")
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_snapshots_and_gaps_are_shown() {
        let moment = |secs: u32| json!({"time": format!("at {secs}"), "ts": format!("{secs}:1")});
        let history = json!({
            "snapshots": [],
            "damaged": [{"id": "20261120T103000Z-1a2b3c4d", "why": "its hash is another"}],
            "ranges": [{"from": moment(1), "to": moment(5)}, {"from": moment(9), "to": moment(12)}],
            "gaps": [{"after": moment(5), "before": moment(9)}],
        });
        let text = shown(&history);
        assert!(text.contains("1a2b3c4d  DAMAGED its hash is another"), "{text}");
        assert!(text.contains("not restorable: between at 5 and at 9 (5:1 and 9:1)"), "{text}");
    }
}
