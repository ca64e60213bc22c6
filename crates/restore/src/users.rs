//! Users and roles. Users are written as they are stored, so that passwords stay
//! what they were; roles can only be made by command.
//!
//! A user or role that the target has already stays as it is, unless what is in the way is
//! dropped: then it becomes what the backup says, and those that the backup does not have go. The
//! user that does the restore, and the roles that it holds, are never touched: that would lock it out half way.

use std::collections::{BTreeMap, BTreeSet};

use bson::{RawDocument, RawDocumentBuf};
use bygone_base::{CollectionId, Error, ErrorKind, Result};

use crate::{
    create::Command,
    error,
    facts::TargetFacts,
    load::Shared,
    names::Namespace,
    raw::{self, Build},
    target::{Target, denied_hint},
};

/// All users or roles must fit in memory.
const MAX_BYTES: usize = 64 << 20;

/// The documents of a small collection by their `_id`, which is `db.name`.
pub(crate) async fn gather(
    shared: &Shared,
    id: Option<CollectionId>,
) -> Result<BTreeMap<String, RawDocumentBuf>> {
    let mut found = BTreeMap::new();
    let Some(id) = id else { return Ok(found) };
    let mut stream = shared.documents.open(id).await?;
    let mut bytes = 0;
    while let Some(chunk) = stream.next().await? {
        bytes += chunk.documents.len();
        if bytes > MAX_BYTES {
            return Err(Error::unsupported("users and roles take more than 64 MiB"));
        }
        for document in raw::split(&chunk.documents) {
            let document = document?;
            let id = raw::text(document, "_id")
                .ok_or_else(|| Error::damaged("a user or role without a name"))?;
            let owned = RawDocumentBuf::from_bytes(document.to_vec())
                .map_err(|e| Error::damaged(format!("user or role {id}")).source(e))?;
            found.insert(id.to_owned(), owned);
        }
    }
    Ok(found)
}

/// Restores roles, then users, then removes what is too much. Gives warnings.
pub(crate) async fn restore(shared: &Shared, facts: &TargetFacts) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let plan = &shared.plan;
    if plan.roles.is_some() {
        let roles = gather(shared, plan.roles).await?;
        restore_roles(&shared.target, facts, &roles, plan.replace_users, &mut warnings).await?;
    }
    if plan.users.is_some() {
        let users = gather(shared, plan.users).await?;
        restore_users(&shared.target, facts, &users, plan.replace_users, &mut warnings).await?;
    }
    Ok(warnings)
}

/// Runs a command about users or roles.
async fn run(target: &Target, what: &str, db: &str, body: Vec<u8>) -> Result<()> {
    let command = Command { db: db.to_owned(), body };
    let reply = target.run(what, &command).await.map_err(|e| denied_hint(e, "restore"))?;
    let failed =
        reply.document.get_array("writeErrors").ok().and_then(|e| e.first()?.as_document());
    match failed {
        None => Ok(()),
        Some(failed) => {
            let code = failed.get_i32("code").unwrap_or_default();
            Err(error::server(what, code, failed.get_str("errmsg").unwrap_or_default()))
        }
    }
}

async fn restore_users(
    target: &Target,
    facts: &TargetFacts,
    users: &BTreeMap<String, RawDocumentBuf>,
    replace: bool,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let there = existing(target, facts, &USERS, users).await?;
    for (id, document) in users {
        if facts.logged_in.contains(id) {
            warnings.push(format!("user {id} does this restore and is kept as it is"));
        } else if there.contains_key(id) && !replace {
            warnings.push(format!("user {id} exists and is kept as it is"));
        } else {
            let what = format!("restore user {id}");
            run(target, &what, "admin", put("system.users", id, document)).await?;
        }
    }
    for (id, name) in there.iter().filter(|(id, _)| replace && !users.contains_key(*id)) {
        if !facts.logged_in.contains(id) {
            let body = Build::new().str("dropUser", &name.coll).majority().finish();
            run(target, &format!("drop user {id}"), &name.db, body).await?;
        }
    }
    Ok(())
}

/// Inserts or replaces one document by its `_id`.
fn put(coll: &str, id: &str, document: &RawDocument) -> Vec<u8> {
    let update = Build::new()
        .doc("q", &Build::new().str("_id", id).finish())
        .doc("u", document.as_bytes())
        .bool("upsert", true)
        .finish();
    Build::new().str("update", coll).docs("updates", &[&update]).majority().finish()
}

/// `db.name` of the users or roles in a reply.
fn names_of(reply: &bson::Document, kind: &Kind) -> BTreeMap<String, Namespace> {
    let entries = reply.get_array(kind.list).map(Vec::as_slice).unwrap_or_default();
    let name = |entry: &bson::Bson| {
        let entry = entry.as_document()?;
        let (db, name) = (entry.get_str("db").ok()?, entry.get_str(kind.field).ok()?);
        Some((format!("{db}.{name}"), Namespace::new(db, name)))
    };
    entries.iter().filter_map(name).collect()
}

async fn restore_roles(
    target: &Target,
    facts: &TargetFacts,
    roles: &BTreeMap<String, RawDocumentBuf>,
    replace: bool,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let there = existing(target, facts, &ROLES, roles).await?;
    for id in in_order(roles) {
        let Some(document) = roles.get(&id) else { continue };
        let exists = there.contains_key(&id);
        if facts.held_roles.contains(&id) && exists {
            warnings.push(format!("role {id} is held by this restore's user and is kept as it is"));
        } else if exists && !replace {
            warnings.push(format!("role {id} exists and is kept as it is"));
        } else {
            let verb = if exists { "updateRole" } else { "createRole" };
            let db = raw::text(document.as_bytes(), "db").unwrap_or_default().to_owned();
            let body = role_command(verb, document.as_bytes())?;
            run(target, &format!("restore role {id}"), &db, body).await?;
        }
    }
    for (id, name) in there.iter().filter(|(id, _)| replace && !roles.contains_key(*id)) {
        if !facts.held_roles.contains(id) {
            let body = Build::new().str("dropRole", &name.coll).majority().finish();
            run(target, &format!("drop role {id}"), &name.db, body).await?;
        }
    }
    Ok(())
}

/// Kinds of people, as commands and replies name them.
struct Kind {
    command: &'static str,
    list: &'static str,
    field: &'static str,
}

const USERS: Kind = Kind { command: "usersInfo", list: "users", field: "user" };
const ROLES: Kind = Kind { command: "rolesInfo", list: "roles", field: "role" };

/// Those of the target in the databases that it has and that the backup has them in:
/// `restore` may not ask for all at once.
async fn existing(
    target: &Target,
    facts: &TargetFacts,
    kind: &Kind,
    restored: &BTreeMap<String, RawDocumentBuf>,
) -> Result<BTreeMap<String, Namespace>> {
    let own: BTreeSet<&str> =
        restored.values().filter_map(|r| raw::text(r.as_bytes(), "db")).collect();
    let mut dbs: BTreeSet<&str> = facts.namespaces.keys().map(|n| n.db.as_str()).collect();
    dbs.extend(["admin", "$external"]);
    dbs.extend(&own);
    let mut found = BTreeMap::new();
    for db in dbs {
        let what = format!("list {} of {db}", kind.list);
        let body = Build::new().element(raw::kind::INT32, kind.command.as_bytes(), &[1, 0, 0, 0]);
        let body = body.command()?;
        match target.retry(&what, db, || Ok(body.clone())).await {
            // `restore` may not look into config; only what is to be removed would be there.
            Err(denied) if denied.kind() == ErrorKind::Denied && !own.contains(db) => {}
            reply => found.extend(names_of(&reply?.document, kind)),
        }
    }
    Ok(found)
}

/// Roles, each after those that it inherits from.
fn in_order(roles: &BTreeMap<String, RawDocumentBuf>) -> Vec<String> {
    let mut ordered = Vec::with_capacity(roles.len());
    let mut done = BTreeSet::new();
    // Depth first without recursion: a role is put down when it comes up a second time.
    let mut stack: Vec<(String, bool)> = roles.keys().rev().map(|id| (id.clone(), false)).collect();
    while let Some((id, opened)) = stack.pop() {
        if opened {
            ordered.push(id);
        } else if let Some(document) = roles.get(&id).filter(|_| done.insert(id.clone())) {
            stack.push((id, true));
            let parents = inherits(document.as_bytes());
            stack.extend(parents.into_iter().map(|role| (role, false)));
        }
    }
    ordered
}

fn inherits(role: &[u8]) -> Vec<String> {
    let list = raw::get(role, "roles").map(|f| f.value).unwrap_or_default();
    let name = |field: raw::Field<'_>| {
        let role = field.doc()?;
        Some(format!("{}.{}", raw::text(role, "db")?, raw::text(role, "role")?))
    };
    raw::fields(list).map_while(Result::ok).filter_map(name).collect()
}

/// createRole or updateRole from a stored role.
fn role_command(verb: &str, document: &[u8]) -> Result<Vec<u8>> {
    let name =
        raw::text(document, "role").ok_or_else(|| Error::damaged("a role without a name"))?;
    let mut body = Build::new().str(verb, name);
    for field in raw::fields(document) {
        let field = field?;
        if matches!(field.name, b"privileges" | b"roles" | b"authenticationRestrictions") {
            body = body.field(&field);
        }
    }
    Ok(body.majority().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, parents: &[&str]) -> (String, RawDocumentBuf) {
        let parents: Vec<_> =
            parents.iter().map(|p| bson::doc! {"role": *p, "db": "admin"}).collect();
        let document = bson::doc! {"_id": format!("admin.{name}"), "role": name, "db": "admin",
        "privileges": [], "roles": parents};
        (format!("admin.{name}"), RawDocumentBuf::try_from(&document).unwrap())
    }

    #[test]
    fn roles_come_after_what_they_inherit() {
        let roles = BTreeMap::from([
            role("a", &["c", "read"]),
            role("b", &[]),
            role("c", &["d", "b"]),
            role("d", &["b"]),
        ]);
        let ordered = in_order(&roles);
        assert_eq!(ordered, ["admin.b", "admin.d", "admin.c", "admin.a"]);
    }

    #[test]
    fn a_role_becomes_a_command() {
        let (_, document) = role("a", &["b"]);
        let body = role_command("createRole", document.as_bytes()).unwrap();
        assert_eq!(raw::text(&body, "createRole"), Some("a"));
        assert!(raw::get(&body, "roles").is_some() && raw::get(&body, "_id").is_none());
    }
}
