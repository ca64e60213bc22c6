//! What is known of a target before anything is written to it.

use std::collections::BTreeMap;

use bygone_base::{CollectionId, Error, ErrorKind, Result};

use crate::{names::Namespace, version::ServerVersion};

/// What a namespace of the target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A collection, buckets too.
    Collection,
    /// A view.
    View,
    /// A time-series.
    TimeSeries,
}

/// A namespace that the target has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Existing {
    /// What it is.
    pub kind: Kind,
    /// Its UUID, if it is a collection.
    pub id: Option<CollectionId>,
}

/// One privilege of the user: actions on a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privilege {
    /// Database; empty for any; `None` where the resource is not a namespace.
    pub db: Option<String>,
    /// Collection; empty for any that is not a system collection.
    pub coll: String,
    /// The resource is everything.
    pub any: bool,
    /// What may be done.
    pub actions: Vec<String>,
}

/// The target as it is.
#[derive(Debug, Clone)]
pub struct TargetFacts {
    /// Version of the server.
    pub version: ServerVersion,
    /// Feature compatibility version.
    pub fcv: ServerVersion,
    /// Name of its replica set; `None` for a server without one.
    pub set: Option<String>,
    /// What is there.
    pub namespaces: BTreeMap<Namespace, Existing>,
    /// Users we are logged in as, as `db.user`.
    pub logged_in: Vec<String>,
    /// Roles that those users hold, as `db.role`.
    pub held_roles: Vec<String>,
    /// What we may do; `None` where the server does not ask.
    pub privileges: Option<Vec<Privilege>>,
}

impl TargetFacts {
    /// Whether `action` is allowed on `name`.
    pub fn allows(&self, action: &str, name: &Namespace) -> bool {
        let Some(privileges) = &self.privileges else { return true };
        privileges.iter().any(|p| {
            let covers = p.any
                || p.db.as_ref().is_some_and(|db| db.is_empty() || *db == name.db)
                    && (p.coll.is_empty() || p.coll == name.coll);
            covers && p.actions.iter().any(|a| a == action || a == "anyAction")
        })
    }

    /// Refuses when one of `actions` is missing on `name`; `role` is the built-in role that has them.
    pub fn require(&self, actions: &[&str], name: &Namespace, role: &str) -> Result<()> {
        match actions.iter().find(|action| !self.allows(action, name)) {
            None => Ok(()),
            Some(action) => Err(Error::new(
                ErrorKind::Denied,
                format!("the target's user lacks the privilege {action} on {name}"),
            )
            .hint(format!("grant it the role {role} on admin"))),
        }
    }
}
