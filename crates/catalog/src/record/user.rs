use bygone_base::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Id, Kind, Record, Sealed};

/// What somebody may do, everywhere or in one project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// Everything, everywhere.
    GlobalOwner,
    /// Jobs and stores of all projects; no users, no restores.
    GlobalBackupAdmin,
    /// Jobs of one project; no restores.
    ProjectBackupAdmin,
    /// Restores and downloads of one project.
    ProjectRestore,
    /// Looks at one project.
    ProjectReadOnly,
}

/// A role, and where it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Role.
    pub role: Role,
    /// The project; none for a global role.
    pub project: Option<Id>,
}

/// Somebody who logs in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Id.
    pub id: Id,
    /// The name to log in with, lower case; unique.
    pub name: String,
    /// argon2id, in the PHC string format; none until a password is chosen.
    pub password: Option<String>,
    /// Rights.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub created: UnixMillis,
    /// BLAKE3 of the one-time link's secret by which a password is chosen, and until when it is good.
    pub invitation: Option<(String, UnixMillis)>,
}

impl Record for User {
    const KIND: Kind = Kind("user");

    fn id(&self) -> &str {
        self.id.as_str()
    }
}

/// A login that lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// BLAKE3 of the cookie's secret, hex.
    pub id: String,
    /// Who.
    pub user: Id,
    /// What forms must carry.
    pub csrf: String,
    /// When it began.
    pub created: UnixMillis,
    /// When it ends.
    pub expires: UnixMillis,
}

impl Record for Session {
    const KIND: Kind = Kind("session");

    fn id(&self) -> &str {
        &self.id
    }
}

/// A programmatic key, for HTTP digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The public half, which is the user name.
    pub public: String,
    /// The private half, sealed for `api key/PUBLIC`: digest needs it, or what is as good.
    pub private: Sealed,
    /// For people.
    pub description: String,
    /// Rights.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub created: UnixMillis,
}

impl Record for ApiKey {
    const KIND: Kind = Kind("api key");

    fn id(&self) -> &str {
        &self.public
    }
}
