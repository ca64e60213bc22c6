//! Keys that agents of a project prove themselves by.

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{Id, record::AgentKey};
use bygone_control::By;

use crate::{
    Access,
    access::{line, not_found},
};

/// An agent key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKeyView {
    /// Id.
    pub id: Id,
    /// Project.
    pub project: Id,
    /// For people.
    pub description: String,
    /// When it was made.
    pub created: UnixMillis,
}

impl Access {
    /// The agent keys of a project.
    pub async fn agent_keys(&self, project: &Id) -> Result<Vec<AgentKeyView>> {
        let keys: Vec<AgentKey> = self.control.catalog().all(Some(project.as_str())).await?;
        Ok(keys.into_iter().map(view).collect())
    }

    /// Makes an agent key; gives its secret, which is not shown again.
    ///
    /// # Errors
    /// `NotFound`: there is no such project. Usage: it says nothing of itself.
    pub async fn create_agent_key(
        &self,
        project: &Id,
        description: &str,
        by: &By,
    ) -> Result<(AgentKeyView, String)> {
        let description = line(description, "description of a key")?;
        self.control.project(project).await?;
        let (secret, hash) = self.secret();
        let key = AgentKey {
            id: self.control.new_id(),
            project: project.clone(),
            description,
            hash,
            created: self.control.now(),
        };
        self.control.catalog().insert(&key).await?;
        let message = format!("agent key {} made: {}", key.id, key.description);
        self.control.event(by, Some(project), None, "AGENT_API_KEY_CREATED", message).await?;
        Ok((view(key), secret))
    }

    /// Removes an agent key of a project. Agents that use it are refused from then on.
    ///
    /// # Errors
    /// `NotFound`, also where it is another project's.
    pub async fn remove_agent_key(&self, project: &Id, id: &Id, by: &By) -> Result<()> {
        let found = self.control.catalog().find::<AgentKey>(id.as_str()).await?;
        let ours = found.filter(|row| row.value.project == *project);
        ours.ok_or_else(|| not_found("agent key"))?;
        self.control.catalog().delete::<AgentKey>(id.as_str()).await?;
        let message = format!("agent key {id} removed");
        self.control.event(by, Some(project), None, "AGENT_API_KEY_DELETED", message).await
    }
}

fn view(key: AgentKey) -> AgentKeyView {
    let AgentKey { id, project, description, created, .. } = key;
    AgentKeyView { id, project, description, created }
}
