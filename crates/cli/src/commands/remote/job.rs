//! `bygone job`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use bygone_base::{Error, Result};
use bygone_control::AGREE_TO_RESYNC;
use serde_json::{Value, json};

use super::{
    Remote,
    args::{JobArgs, JobCommand, ScheduleChange, SourceChange},
    confirmed, list,
    table::table,
    text,
};
use crate::{access, output::Output};

/// Does what is asked.
pub async fn run(args: JobArgs, output: &Output) -> Result<ExitCode> {
    let remote = Remote::new(&args.remote)?;
    match args.command {
        JobCommand::List => {
            let jobs = list(remote.client.get(&format!("{}/jobs", remote.project().await?)).await?);
            output.result(shown(&jobs), &Value::Array(jobs));
        }
        JobCommand::Show { cluster } => {
            let (path, _) = remote.job(&cluster).await?;
            let job = remote.client.get(&path).await?;
            output.result(serde_json::to_string_pretty(&job).unwrap_or_default(), &job);
        }
        JobCommand::Add { cluster, source_file, snapshot_store, oplog_store, sync_store } => {
            let uri = access::first_line(&source_file)?;
            let stores = snapshot_store.map(|snapshot| {
                let oplog = oplog_store.unwrap_or_else(|| snapshot.clone());
                let sync = sync_store.unwrap_or_else(|| snapshot.clone());
                json!({"snapshot": snapshot, "oplog": oplog, "sync": sync})
            });
            let body = json!({"cluster": cluster, "source": {"uri": uri}, "stores": stores});
            let jobs = format!("{}/jobs", remote.project().await?);
            let job = remote.client.post(&jobs, Some(&body)).await?;
            let line = format!("job {cluster} made; `bygone job start {cluster}` starts it");
            output.result(line, &job);
        }
        JobCommand::Schedule { cluster, change } => {
            schedule(&remote, &cluster, change, output).await?;
        }
        JobCommand::ApplySchedule { cluster, dry_run } => {
            apply_schedule(&remote, &cluster, dry_run, output).await?;
        }
        JobCommand::Source { cluster, change } => {
            source(&remote, &cluster, change, output).await?;
        }
        JobCommand::Drill { cluster, to_file, every, off } => {
            drill(&remote, &cluster, to_file.filter(|_| !off), every, output).await?;
        }
        JobCommand::Start { cluster } => act(&remote, &cluster, "start", output).await?,
        JobCommand::Stop { cluster } => act(&remote, &cluster, "stop", output).await?,
        JobCommand::Restart { cluster } => act(&remote, &cluster, "restart", output).await?,
        JobCommand::Terminate { cluster, confirm } => {
            let does = format!("deletes every snapshot of {cluster}");
            confirmed(&cluster, confirm, &does, "deleted")?;
            act(&remote, &cluster, "terminate", output).await?;
        }
        JobCommand::Abandon { cluster, confirm } => {
            let does = format!("leaves what {cluster} still stores where it is, to nobody");
            confirmed(&cluster, confirm, &does, "abandoned")?;
            act(&remote, &cluster, "abandon", output).await?;
        }
        JobCommand::Resync { cluster } => {
            let (path, _) = remote.job(&cluster).await?;
            let answer = remote.client.post(&format!("{path}/resyncs"), None).await?;
            output.result(format!("a new initial sync of {cluster} is asked for"), &answer);
        }
        JobCommand::Check { cluster } => {
            let (path, _) = remote.job(&cluster).await?;
            let answer = remote.client.post(&format!("{path}/checks"), None).await?;
            output.result(format!("a check of {cluster} is asked for"), &answer);
        }
        JobCommand::Remove { cluster } => {
            let (path, _) = remote.job(&cluster).await?;
            let answer = remote.client.delete(&path).await?;
            output.result(format!("job {cluster} is forgotten"), &answer);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Changes what is given of a source.
async fn source(
    remote: &Remote,
    cluster: &str,
    change: SourceChange,
    output: &Output,
) -> Result<()> {
    let body = source_body(change)?;
    let (path, _) = remote.job(cluster).await?;
    let job = remote.client.patch(&path, &body).await.map_err(|error| {
        // The server says it to all its clients; here it has a name.
        match error.hint_text() == Some(AGREE_TO_RESYNC) {
            true => Error::new(error.kind(), error.message().to_owned()).hint("give --resync"),
            false => error,
        }
    })?;
    output.result(format!("the source of {cluster} was changed"), &job);
    Ok(())
}

fn source_body(change: SourceChange) -> Result<Value> {
    let SourceChange { source_file, ns_include, ns_exclude, resync } = change;
    let mut source = json!({});
    if let Some(file) = source_file {
        source["uri"] = json!(access::first_line(&file)?);
    }
    // An empty pattern stands for a list without any.
    let list = |patterns: Vec<String>| {
        let given: Vec<String> = patterns.into_iter().filter(|one| !one.is_empty()).collect();
        json!(given)
    };
    for (name, patterns) in [("include", ns_include), ("exclude", ns_exclude)] {
        if let Some(patterns) = patterns {
            source[name] = list(patterns);
        }
    }
    if source.as_object().is_some_and(serde_json::Map::is_empty) {
        return Err(Error::usage("nothing of the source is to be changed")
            .hint("give --source-file, --ns-include or --ns-exclude; `bygone job resync` asks for an initial sync"));
    }
    Ok(json!({"source": source, "resync": resync}))
}

/// Shows a job's schedule after what is given of it was changed.
async fn schedule(
    remote: &Remote,
    cluster: &str,
    change: ScheduleChange,
    output: &Output,
) -> Result<()> {
    let (path, job) = remote.job(cluster).await?;
    let mut wanted = job["schedule"].clone();
    let mut changed = false;
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            wanted[name] = value;
            changed = true;
        }
    };
    let secs = |time: Option<Duration>| time.map(|time| json!(time.as_secs()));
    set("interval_secs", secs(change.interval));
    set("base_secs", secs(change.keep));
    set("window_secs", secs(change.window));
    set("days", change.keep_daily.map(|n| json!(n)));
    set("weeks", change.keep_weekly.map(|n| json!(n)));
    set("months", change.keep_monthly.map(|n| json!(n)));
    set("years", change.keep_yearly.map(|n| json!(n)));
    set("zone", change.zone.map(|zone| json!(zone)));
    if let Some(text) = change.day_at {
        let wrong = || Error::usage(format!("{text:?} is not a time of the day such as 03:30"));
        let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<i8>().map_err(|_| wrong());
        set("hour", Some(json!(number(hour)?)));
        set("minute", Some(json!(number(minute)?)));
    }
    let job = match changed {
        true => remote.client.patch(&path, &json!({"schedule": wanted})).await?,
        false => job,
    };
    let schedule = &job["schedule"];
    output.result(serde_json::to_string_pretty(schedule).unwrap_or_default(), schedule);
    Ok(())
}

/// Applies the schedule's retention to the snapshots that are there.
async fn apply_schedule(
    remote: &Remote,
    cluster: &str,
    dry_run: bool,
    output: &Output,
) -> Result<()> {
    let (path, _) = remote.job(cluster).await?;
    let body = json!({"dry_run": dry_run});
    let changed = list(remote.client.post(&format!("{path}/schedule/apply"), Some(&body)).await?);
    let row = |one: &Value| vec![text(one, "id").to_owned(), text(one, "expires").to_owned()];
    let rows: Vec<_> = changed.iter().map(row).collect();
    let shown = match (rows.is_empty(), dry_run) {
        (true, _) => "every snapshot is kept as the schedule says already".to_owned(),
        (false, true) => table(&["snapshot", "would expire"], &rows),
        (false, false) => table(&["snapshot", "expires"], &rows),
    };
    output.result(shown, &Value::Array(changed));
    Ok(())
}

/// Sets drills up, or ends them where no target is given.
async fn drill(
    remote: &Remote,
    cluster: &str,
    to: Option<PathBuf>,
    every: Duration,
    output: &Output,
) -> Result<()> {
    let (path, _) = remote.job(cluster).await?;
    let (drill, line) = match to {
        Some(file) => {
            let drill = json!({"to": access::first_line(&file)?, "every_secs": every.as_secs()});
            (drill, format!("drills of {cluster} are set up; the first begins at once"))
        }
        None => (Value::Null, format!("{cluster} has no more drills")),
    };
    let job = remote.client.patch(&path, &json!({"drill": drill})).await?;
    output.result(line, &job);
    Ok(())
}

async fn act(remote: &Remote, cluster: &str, action: &str, output: &Output) -> Result<()> {
    let (path, _) = remote.job(cluster).await?;
    // The server asks for the name too; here it was confirmed by a person, or is not needed.
    let confirm = matches!(action, "terminate" | "abandon").then_some(cluster);
    let body = json!({"action": action, "confirm": confirm});
    let job = remote.client.post(&format!("{path}/actions"), Some(&body)).await?;
    output.result(format!("{cluster} is {}", text(&job, "state")), &job);
    Ok(())
}

fn shown(jobs: &[Value]) -> String {
    let row = |job: &Value| {
        let live = &job["live"];
        let lag = job["lag_secs"].as_u64();
        vec![
            text(job, "cluster").to_owned(),
            text(job, "set").to_owned(),
            text(job, "status_name").to_owned(),
            text(job, "standing").to_owned(),
            text(live, "phase").to_owned(),
            lag.map(|secs| format!("{secs} s")).unwrap_or_default(),
            text(&job["newest"], "time").to_owned(),
            text(job, "next_snapshot").to_owned(),
            text(job, "message").to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    let headings = [
        "cluster",
        "set",
        "status",
        "standing",
        "phase",
        "lag",
        "newest snapshot",
        "next",
        "message",
    ];
    table(&headings, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_a_source_are_given_whole_and_can_be_emptied() {
        let change = SourceChange {
            source_file: None,
            ns_include: Some(vec!["a.*".to_owned(), "b.c".to_owned()]),
            ns_exclude: Some(vec![String::new()]),
            resync: true,
        };
        let body = source_body(change).unwrap();
        let source = json!({"include": ["a.*", "b.c"], "exclude": []});
        assert_eq!(body, json!({"source": source, "resync": true}));
        let nothing =
            SourceChange { source_file: None, ns_include: None, ns_exclude: None, resync: true };
        assert!(source_body(nothing).is_err());
    }
}
