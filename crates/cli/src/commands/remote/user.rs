//! `bygone user`: people and keys.

use std::process::ExitCode;

use bygone_base::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::{
    Remote,
    args::{UserArgs, UserCommand},
    list,
    table::table,
    text,
};
use crate::output::Output;

/// Does what is asked.
pub async fn run(args: UserArgs, output: &Output) -> Result<ExitCode> {
    let remote = Remote::new(&args.remote)?;
    let client = &remote.client;
    match args.command {
        UserCommand::List => {
            let users = list(client.get("/api/v2/users").await?);
            let row = |user: &Value| vec![text(user, "name").to_owned(), roles(user)];
            let rows: Vec<_> = users.iter().map(row).collect();
            output.result(table(&["name", "roles"], &rows), &Value::Array(users));
        }
        UserCommand::Invite { name, role } => {
            let body = json!({"name": name, "grants": grants(&remote, &role).await?});
            let user = client.post("/api/v2/users", Some(&body)).await?;
            let server = args.remote.server.trim_end_matches('/');
            let link = format!("{server}/welcome/{}", text(&user, "invitation"));
            output.result(format!("{name} chooses a password at {link}"), &user);
        }
        UserCommand::Remove { name } => {
            let users = list(client.get("/api/v2/users").await?);
            let found = users.iter().find(|user| text(user, "name") == name);
            let found = found.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("there is no user {name:?}"))
            })?;
            let answer = client.delete(&format!("/api/v2/users/{}", text(found, "id"))).await?;
            output.result(format!("{name} is removed"), &answer);
        }
        UserCommand::Keys => {
            let keys = list(client.get("/api/v2/keys").await?);
            let row = |key: &Value| {
                vec![
                    text(key, "public").to_owned(),
                    roles(key),
                    text(key, "description").to_owned(),
                ]
            };
            let rows: Vec<_> = keys.iter().map(row).collect();
            output.result(table(&["public", "roles", "description"], &rows), &Value::Array(keys));
        }
        UserCommand::NewKey { description, role } => {
            let body = json!({"description": description, "grants": grants(&remote, &role).await?});
            let key = client.post("/api/v2/keys", Some(&body)).await?;
            output.result(format!("{}:{}", text(&key, "public"), text(&key, "private")), &key);
        }
        UserCommand::RemoveKey { public } => {
            let answer = client.delete(&format!("/api/v2/keys/{public}")).await?;
            output.result(format!("key {public} is removed"), &answer);
        }
        UserCommand::AgentKeys => {
            let path = format!("{}/agent-keys", remote.project().await?);
            let keys = list(client.get(&path).await?);
            let row = |key: &Value| {
                ["id", "created", "description"].map(|name| text(key, name).to_owned()).to_vec()
            };
            let rows: Vec<_> = keys.iter().map(row).collect();
            output.result(table(&["key", "made", "description"], &rows), &Value::Array(keys));
        }
        UserCommand::RemoveAgentKey { key } => {
            let path = format!("{}/agent-keys/{key}", remote.project().await?);
            output.result(format!("agent key {key} is removed"), &client.delete(&path).await?);
        }
        UserCommand::NewAgentKey { description } => {
            let path = format!("{}/agent-keys", remote.project().await?);
            let body = json!({"description": description});
            let key = client.post(&path, Some(&body)).await?;
            output.result(text(&key, "secret"), &key);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Roles of a project are for the project that is named.
async fn grants(remote: &Remote, roles: &[String]) -> Result<Vec<Value>> {
    let mut grants = Vec::new();
    for role in roles {
        if role.starts_with("PROJECT_") {
            let path = remote.project().await?;
            let id = path.rsplit('/').next().unwrap_or_default();
            grants.push(json!({"role": role, "project": id}));
        } else {
            grants.push(json!({"role": role}));
        }
    }
    Ok(grants)
}

fn roles(of: &Value) -> String {
    let grants = of["grants"].as_array().into_iter().flatten();
    grants.map(|grant| text(grant, "role")).collect::<Vec<_>>().join(", ")
}
