//! `bygone store`.

use std::process::ExitCode;

use bygone_base::{ByteSize, Result};
use serde_json::{Value, json};

use super::{
    Remote,
    args::{StoreArgs, StoreCommand, UpkeepChange},
    list,
    table::table,
    text,
};
use crate::output::Output;

/// Does what is asked.
pub async fn run(args: StoreArgs, output: &Output) -> Result<ExitCode> {
    let remote = Remote::new(&args.remote)?;
    let client = &remote.client;
    match args.command {
        StoreCommand::List => {
            let stores = list(client.get("/api/v2/stores").await?);
            let rows: Vec<_> = stores.iter().map(row).collect();
            let headings = ["store", "url", "bytes", "living", "jobs", "groomed"];
            output.result(table(&headings, &rows), &Value::Array(stores));
        }
        StoreCommand::Add { name, url, key_file } => {
            let body = json!({"id": name, "url": url, "key_file": key_file});
            let store = client.post("/api/v2/stores", Some(&body)).await?;
            output.result(format!("store {name} is registered"), &store);
        }
        StoreCommand::Groom { name, dry_run } => {
            let body = json!({"dry_run": dry_run});
            let run = client.post(&format!("/api/v2/stores/{name}/grooms"), Some(&body)).await?;
            let see =
                format!("a groom of {name} is asked for; `bygone store grooms {name}` shows it");
            output.result(see, &run);
        }
        StoreCommand::Grooms { name } => {
            let runs = list(client.get(&format!("/api/v2/stores/{name}/grooms")).await?);
            let rows: Vec<_> = runs.iter().map(groom).collect();
            let headings =
                ["begun", "kind", "packs", "bytes", "living", "freed", "waits", "result"];
            output.result(table(&headings, &rows), &Value::Array(runs));
        }
        StoreCommand::Checks { name } => {
            let checks = list(client.get(&format!("/api/v2/stores/{name}/checks")).await?);
            let rows: Vec<_> = checks.iter().map(check).collect();
            let headings = ["begun", "read", "of", "in time", "jobs", "result"];
            output.result(table(&headings, &rows), &Value::Array(checks));
        }
        StoreCommand::Upkeep(change) => upkeep(&remote, change, output).await?,
        StoreCommand::Remove { name } => {
            let answer = client.delete(&format!("/api/v2/stores/{name}")).await?;
            output.result(format!("store {name} is forgotten; what it holds stays"), &answer);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the upkeep after what is given of it was changed.
async fn upkeep(remote: &Remote, change: UpkeepChange, output: &Output) -> Result<()> {
    let mut upkeep = remote.client.get("/api/v2/upkeep").await?;
    let given = [
        ("check_every_secs", change.check_every.map(|time| time.as_secs())),
        ("check_within_secs", change.check_within.map(|time| time.as_secs())),
        ("check_mb_per_second", change.check_rate.map(u64::from)),
        ("groom_mb_per_second", change.groom_rate.map(u64::from)),
    ];
    if given.iter().any(|(_, value)| value.is_some()) {
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            upkeep[name] = json!(value);
        }
        upkeep = remote.client.put("/api/v2/upkeep", &upkeep).await?;
    }
    output.result(serde_json::to_string_pretty(&upkeep).unwrap_or_default(), &upkeep);
    Ok(())
}

fn check(check: &Value) -> Vec<String> {
    let bytes =
        |name: &str| check[name].as_u64().map(|n| ByteSize(n).to_string()).unwrap_or_default();
    let each = |name: &str| check[name].as_array().into_iter().flatten();
    let texts = |name: &str| each(name).filter_map(Value::as_str).map(str::to_owned);
    let lost = each("concerned")
        .map(|one| format!("{} of {} cannot be restored", text(one, "snapshot"), text(one, "job")));
    let failure = Some(text(check, "failure").to_owned()).filter(|text| !text.is_empty());
    let found: Vec<_> = failure.into_iter().chain(texts("damage")).chain(lost).collect();
    let result = match (found.is_empty(), check["finished"].is_null()) {
        (true, true) => "going on".to_owned(),
        (true, false) => "nothing is damaged".to_owned(),
        (false, _) => found.join("; "),
    };
    vec![
        text(check, "started").to_owned(),
        bytes("bytes"),
        bytes("total"),
        check["covered_percent"].as_u64().map(|n| format!("{n} %")).unwrap_or_default(),
        texts("jobs").collect::<Vec<_>>().join(", "),
        result,
    ]
}

fn row(store: &Value) -> Vec<String> {
    let usage = &store["usage"];
    let bytes = |name: &str| {
        usage[name].as_u64().map(|bytes| ByteSize(bytes).to_string()).unwrap_or_default()
    };
    vec![
        text(store, "id").to_owned(),
        text(store, "url").to_owned(),
        bytes("bytes"),
        bytes("living"),
        store["jobs"].as_array().map_or(0, Vec::len).to_string(),
        text(store, "groomed").to_owned(),
    ]
}

fn groom(run: &Value) -> Vec<String> {
    let done = &run["done"];
    let bytes =
        |name: &str| done[name].as_u64().map(|n| ByteSize(n).to_string()).unwrap_or_default();
    let result = match (text(run, "failure"), run["finished"].is_null()) {
        ("", true) => "going on",
        ("", false) => "done",
        (failure, _) => failure,
    };
    vec![
        text(run, "asked").to_owned(),
        if run["dry_run"] == true { "dry run" } else { "groom" }.to_owned(),
        done["packs"].as_u64().map(|n| n.to_string()).unwrap_or_default(),
        bytes("bytes"),
        bytes("living"),
        bytes("freed"),
        bytes("waiting"),
        result.to_owned(),
    ]
}
