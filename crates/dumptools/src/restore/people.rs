//! Users and roles: into two collections beside, from where the server itself merges them with its own. Passwords stay
//! what they were, and the user that restores is not lost half way.

use std::{collections::BTreeMap, io::Read as _, path::Path};

use bygone_base::{Error, ErrorKind, Result};
use bygone_document::{Doc, split_stream};
use bygone_restore::{
    Documents, Namespace, Refusals, ServerVersion,
    bulk::{Bulk, BulkOptions, Cutter, Inserted},
    create::Command,
    raw::Build,
};

use super::{
    Options, Run,
    data::Beside,
    files,
    gather::{Gathered, VERSION},
};

/// Users and roles must fit in memory.
const MAX_BYTES: u64 = 64 << 20;
/// Versions of users whose documents servers still know: of 2.6, and since 3.0. 4 is half way between the two.
const KNOWN: [i64; 2] = [3, 5];

/// Whether users, roles or their version are wanted: each by its own name, the version with either.
pub(super) fn asked_for(options: &Options, name: &str, of_one: bool) -> bool {
    let covers = |name: &str| options.rules.covers(&Namespace::new("admin", name));
    let covered = match name {
        VERSION => covers("system.users") || covers("system.roles"),
        name => covers(name),
    };
    of_one == options.users_and_roles && (of_one || covered)
}

/// Whether users and roles of the dump are restored, as far as it was gathered which of them.
fn wanted(options: &Options, found: &Gathered) -> bool {
    let here = options.users_and_roles || matches!(options.db.as_deref(), None | Some("admin"));
    // Of a dump they are no part of a collection; a file of theirs may be named by its collection.
    here && (options.collection.is_none() || !found.people.is_empty())
}

/// Refuses users that no server takes, where the dump tells it before anything is read.
pub(super) async fn check(
    run: &Run<'_>,
    found: &Gathered,
    moment: Option<&dyn Documents>,
) -> Result<()> {
    let mut names = found.people.keys().chain(found.stored_people.iter().map(|(name, _)| name));
    if !wanted(run.options, found) || !names.any(|name| name != VERSION) {
        return Ok(());
    }
    if let Some(path) = found.people.get(VERSION) {
        return check_version(Some(&file(run, path)?));
    }
    let stored = found.stored_people.iter().find(|(name, _)| name == VERSION);
    let (Some((_, stored)), Some(moment)) = (stored, moment) else { return Ok(()) };
    let mut documents = Vec::new();
    let take = async |bytes: bytes::Bytes| {
        documents.extend_from_slice(&bytes);
        Ok(())
    };
    stored.read(moment, take).await?;
    check_version(Some(&documents))
}

/// Restores users and roles, where the dump has them and they are wanted.
pub(super) async fn restore(run: &Run<'_>, found: &Gathered, beside: &Beside) -> Result<()> {
    if !wanted(run.options, found) {
        return Ok(());
    }
    let people = documents(run, found, beside)?;
    let users = people.get("system.users");
    let roles = people.get("system.roles");
    if users.is_none() && roles.is_none() {
        return Ok(());
    }
    check_version(people.get(VERSION))?;
    for user in without_login(users)? {
        run.log.always(format_args!(
            "user {user} has only a password of MONGODB-CR: servers since 4.0 let it in when it gets a new one"
        ));
    }
    let mut body = Build::new()
        .element(0x10, b"_mergeAuthzCollections", &1_i32.to_le_bytes())
        .bool("drop", run.options.drop)
        .str(
            "db",
            if run.options.users_and_roles { run.options.db.as_deref().unwrap_or("") } else { "" },
        );
    let parts = [
        (users, &run.options.temp_users, "tempUsersCollection", "users"),
        (roles, &run.options.temp_roles, "tempRolesCollection", "roles"),
    ];
    for (documents, temporary, field, what) in &parts {
        let Some(documents) = documents else {
            if needs_both(run.connection.version) {
                body = body.str(field, "");
            }
            continue;
        };
        let name = Namespace::new("admin", temporary.as_str());
        run.log.always(format_args!("restoring {what} from the dump"));
        fill(run, &name, documents).await?;
        body = body.str(field, &name.to_string());
    }
    let command = Command { db: "admin".to_owned(), body: body.majority().finish() };
    let merged = run.target.run("error running merge command for users and roles", &command).await;
    for (documents, temporary, ..) in &parts {
        if documents.is_some() {
            drop_collection(run, &Namespace::new("admin", temporary.as_str())).await?;
        }
    }
    merged.map(|_| ())
}

fn documents(
    run: &Run<'_>,
    found: &Gathered,
    beside: &Beside,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut people = beside.people.clone();
    for (name, path) in &found.people {
        people.insert(name.clone(), file(run, path)?);
    }
    Ok(people)
}

fn file(run: &Run<'_>, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut input = files::open(path, run.options.compression)?.take(MAX_BYTES + 1);
    let read = input.read_to_end(&mut bytes);
    read.map_err(|e| Error::io(format!("error reading {}", path.display()), e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::unsupported(format!("{} is larger than 64 MiB", path.display())));
    }
    Ok(bytes)
}

/// Refuses a version of users whose documents no server knows.
pub(super) fn check_version(documents: Option<&Vec<u8>>) -> Result<()> {
    for document in split_stream(documents.map(Vec::as_slice).unwrap_or_default()) {
        let document: Doc<'_> = document?;
        let is_schema = document.get("_id")?.and_then(|e| e.as_str()) == Some("authSchema");
        let version = document.get("currentVersion")?.and_then(|e| e.as_integer());
        if is_schema && version.is_some_and(|v| v < KNOWN[1] && !KNOWN.contains(&v)) {
            return Err(Error::unsupported(format!(
                "cannot restore users and roles of version {}: no server takes them any more",
                version.unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// Users whose credentials no server takes any more, though it keeps them.
fn without_login(users: Option<&Vec<u8>>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for user in split_stream(users.map(Vec::as_slice).unwrap_or_default()) {
        let user: Doc<'_> = user?;
        let credentials = user.get("credentials")?.and_then(|e| e.as_doc());
        let Some(credentials) = credentials else { continue };
        let scram = ["SCRAM-SHA-1", "SCRAM-SHA-256"];
        let login = scram.iter().any(|kind| matches!(credentials.get(kind), Ok(Some(_))));
        if !login && credentials.get("MONGODB-CR")?.is_some() {
            let id = user.get("_id")?.and_then(|e| e.as_str());
            found.push(id.unwrap_or_default().to_owned());
        }
    }
    Ok(found)
}

/// Early servers of 5.0 ask for both names; nothing stands for an empty one. To others the missing one is that.
fn needs_both(version: ServerVersion) -> bool {
    (version.major, version.minor) == (5, 0)
}

async fn fill(run: &Run<'_>, name: &Namespace, documents: &[u8]) -> Result<()> {
    drop_collection(run, name).await?;
    let options = BulkOptions { refusals: Refusals::Fail, ordered: true, ..run.bulk() };
    let bulk = Bulk::new(&run.target, name, run.connection.version, &options);
    let mut cutter = Cutter::default();
    let mut batches = cutter.push(&bytes::Bytes::copy_from_slice(documents))?;
    batches.extend(cutter.finish());
    for batch in &batches {
        bulk.insert(batch, &mut Inserted::default()).await?;
    }
    // A merge asks for a collection that is there, also when it is empty.
    if batches.is_empty() {
        let body = Build::new().str("create", &name.coll).majority().finish();
        run.target.run(&format!("create {name}"), &Command { db: name.db.clone(), body }).await?;
    }
    Ok(())
}

async fn drop_collection(run: &Run<'_>, name: &Namespace) -> Result<()> {
    let body = Build::new().str("drop", &name.coll).majority().finish();
    let command = Command { db: name.db.clone(), body };
    match run.target.run(&format!("error dropping {name}"), &command).await {
        Err(failed) if failed.kind() == ErrorKind::NotFound => Ok(()),
        dropped => dropped.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    #[test]
    fn only_versions_that_servers_know_are_taken() {
        let of = |version: i32| {
            let document = doc! {"_id": "authSchema", "currentVersion": version};
            check_version(Some(&bson::serialize_to_vec(&document).unwrap()))
        };
        for known in [3, 5, 6] {
            assert!(of(known).is_ok(), "{known}");
        }
        for old in [1, 2, 4] {
            assert!(of(old).is_err(), "{old}");
        }
        assert!(check_version(None).is_ok());
    }

    #[test]
    fn old_passwords_are_told() {
        let user = |name: &str, kinds: &[&str]| {
            let credentials: Document =
                kinds.iter().map(|k| ((*k).to_owned(), "x".into())).collect();
            bson::serialize_to_vec(&doc! {"_id": name, "credentials": credentials}).unwrap()
        };
        let users = [
            user("d.old", &["MONGODB-CR"]),
            user("d.both", &["MONGODB-CR", "SCRAM-SHA-1"]),
            user("d.outside", &["external"]),
        ];
        assert_eq!(without_login(Some(&users.concat())).unwrap(), ["d.old"]);
    }
}
