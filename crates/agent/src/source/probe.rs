//! Whether a member can be backed up: right kind, known version, and the
//! privileges of the built-in role `backup`, tried one by one.

use bson::{Bson, Document, doc};
use bygone_base::{CollectionId, Error, ErrorKind, Result};

use super::{Server, error::GRANT, mongo::MongoMember};

/// What the backup role is tried for, and how that is called for people.
fn trials() -> [(&'static str, Document, &'static str); 6] {
    let one = |coll: &str| doc! { "find": coll, "limit": 1, "projection": { "_id": 1 } };
    [
        ("local", one("oplog.rs"), "read the oplog (find on local.oplog.rs)"),
        (
            "admin",
            doc! { "listDatabases": 1, "nameOnly": true, "authorizedDatabases": false },
            "list all databases (listDatabases)",
        ),
        ("config", one("transactions"), "read open transactions (find on config.transactions)"),
        ("admin", doc! { "serverStatus": 1, "metrics": 0, "wiredTiger": 0 }, "run serverStatus"),
        ("admin", one("system.users"), "read users (find on admin.system.users)"),
        ("admin", one("system.version"), "read versions (find on admin.system.version)"),
    ]
}

/// The version as numbers, refused when this program cannot know its oplog.
pub(super) fn check_version(host: &str, version: &str) -> Result<()> {
    let mut numbers = version.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < (4, 4) {
        return Err(Error::unsupported(format!("{host} runs MongoDB {version}"))
            .hint("bygone backs up 4.4 and later: upgrade the source"));
    }
    if found.0 > 8 {
        return Err(Error::unsupported(format!("{host} runs MongoDB {version}"))
            .hint("this bygone knows versions up to 8.x: use a newer bygone"));
    }
    Ok(())
}

/// The first document that a cursor gives.
fn first(reply: &Document) -> Option<&Document> {
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    batch.ok()?.first()?.as_document()
}

impl MongoMember {
    pub(super) async fn probe(&self) -> Result<Server> {
        // Newer servers refuse even this to a connection without a user.
        let build = match self.command("admin", doc! { "buildInfo": 1 }, "buildInfo").await {
            Err(error) if error.error.kind() == ErrorKind::Denied => {
                return Err(self.missing_privilege("read the version (buildInfo)").await);
            }
            other => other?,
        };
        let version = build.get_str("version").unwrap_or("").to_owned();
        check_version(&self.host, &version)?;
        for (db, command, what) in trials() {
            if let Err(error) = self.command(db, command, what).await {
                return Err(match error.error.kind() {
                    ErrorKind::Denied => self.missing_privilege(what).await,
                    _ => error.error,
                });
            }
        }
        if self.version_document("shardIdentity").await?.is_some() {
            return Err(Error::unsupported(format!("{} is a shard of a cluster", self.host)).hint(
                "sharded clusters are not backed up yet: one shard alone is not consistent",
            ));
        }
        let fcv = self.version_document("featureCompatibilityVersion").await?;
        let fcv = fcv.and_then(|doc| doc.get_str("version").ok().map(str::to_owned));
        let fcv = fcv.ok_or_else(|| {
            Error::unsupported(format!("{} tells no feature compatibility version", self.host))
        })?;
        Ok(Server { version, fcv, identity: self.identity().await? })
    }

    /// What only the members of this set have in common. Its `replicaSetId` would be it too, but the role `backup` may
    /// not read that (docs/decisions/0023).
    async fn identity(&self) -> Result<Option<CollectionId>> {
        let list = doc! { "listCollections": 1, "filter": { "name": "system.version" } };
        let reply = self.command("admin", list, "listCollections").await?;
        let uuid =
            first(&reply).and_then(|doc| match doc.get_document("info").ok()?.get("uuid")? {
                Bson::Binary(uuid) => uuid.bytes.as_slice().try_into().ok().map(CollectionId),
                _ => None,
            });
        Ok(uuid)
    }

    async fn version_document(&self, id: &str) -> Result<Option<Document>> {
        let find = doc! { "find": "system.version", "filter": { "_id": id }, "limit": 1 };
        let reply = self.command("admin", find, "reading admin.system.version").await?;
        Ok(first(&reply).cloned())
    }

    async fn missing_privilege(&self, what: &str) -> Error {
        let status =
            self.command("admin", doc! { "connectionStatus": 1 }, "connectionStatus").await;
        let user = status.ok().and_then(|reply| {
            let users =
                reply.get_document("authInfo").ok()?.get_array("authenticatedUsers").ok()?;
            let user = users.first()?.as_document()?;
            Some(format!("{}@{}", user.get_str("user").ok()?, user.get_str("db").ok()?))
        });
        match user {
            Some(user) => Error::new(
                ErrorKind::Denied,
                format!("user {user} may not {what} on {}", self.host),
            )
            .hint(GRANT),
            None => Error::new(
                ErrorKind::Denied,
                format!("{} wants a user: may not {what} without one", self.host),
            )
            .hint("name a user with the built-in role \"backup\" in the source URI"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_versions_are_refused() {
        for good in ["4.4.10", "5.0.3", "8.2.0", "8.0.4-2"] {
            assert!(check_version("h", good).is_ok(), "{good}");
        }
        for bad in ["4.2.1", "3.6", "9.0.0-alpha0", ""] {
            assert!(check_version("h", bad).is_err(), "{bad}");
        }
    }
}
