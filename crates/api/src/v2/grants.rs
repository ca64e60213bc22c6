//! Roles as they are written.

use bygone_catalog::{
    Id,
    record::{Grant, Role},
};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::schema::JsonSchema;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum RoleWord {
    /// Everything, everywhere.
    GlobalOwner,
    /// Jobs, stores and settings everywhere; no users, no restores.
    GlobalBackupAdmin,
    /// Jobs of one project; no restores.
    ProjectBackupAdmin,
    /// Restores and downloads of one project.
    ProjectRestore,
    /// Looks at one project.
    ProjectReadOnly,
}

/// A role, and where it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantBody {
    pub(crate) role: RoleWord,
    /// The project of a role that is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
}

impl From<Role> for RoleWord {
    fn from(role: Role) -> Self {
        match role {
            Role::GlobalOwner => RoleWord::GlobalOwner,
            Role::GlobalBackupAdmin => RoleWord::GlobalBackupAdmin,
            Role::ProjectBackupAdmin => RoleWord::ProjectBackupAdmin,
            Role::ProjectRestore => RoleWord::ProjectRestore,
            Role::ProjectReadOnly => RoleWord::ProjectReadOnly,
        }
    }
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::GlobalOwner => Role::GlobalOwner,
            RoleWord::GlobalBackupAdmin => Role::GlobalBackupAdmin,
            RoleWord::ProjectBackupAdmin => Role::ProjectBackupAdmin,
            RoleWord::ProjectRestore => Role::ProjectRestore,
            RoleWord::ProjectReadOnly => Role::ProjectReadOnly,
        }
    }
}

/// As they are written.
pub(crate) fn written(grants: Vec<Grant>) -> Vec<GrantBody> {
    let body = |Grant { role, project }| GrantBody {
        role: RoleWord::from(role),
        project: project.map(String::from),
    };
    grants.into_iter().map(body).collect()
}

/// As they are meant.
pub(crate) fn meant(bodies: Vec<GrantBody>) -> Result<Vec<Grant>, Failure> {
    let grant = |GrantBody { role, project }: GrantBody| {
        let id = |text: String| {
            text.parse::<Id>()
                .map_err(|_| Failure::invalid("grants", format!("{text:?} is not a project's id")))
        };
        Ok(Grant { role: role.into(), project: project.map(id).transpose()? })
    };
    bodies.into_iter().map(grant).collect()
}
