//! Rights. Pure.

use bygone_catalog::{
    Id,
    record::{Actor, Grant, Role},
};
use bygone_control::By;

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// To see.
    Look,
    /// To change jobs, schedules and snapshots, and to acknowledge alerts.
    Backup,
    /// To restore and download: to read data.
    Restore,
    /// To change stores.
    Stores,
    /// To change users and API keys, and to make projects.
    Users,
    /// To change the settings of the server.
    Settings,
    /// To see and remove agent keys. To make one is to be given every source's URI with its password, which is as much as
    /// the data: it needs [`Right::Restore`] too.
    Agents,
}

/// Somebody who has proved who he is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who.
    pub actor: Actor,
    /// What he was given.
    pub grants: Vec<Grant>,
    /// Where he is.
    pub address: Option<String>,
}

impl Principal {
    /// Whether he may, in this project; without one: everywhere.
    ///
    /// Restores need a role of their own, as they show data: who looks after backups has it only where he was given it
    /// too. Who may not [`Right::Look`] at a project is to be told that there is none.
    pub fn may(&self, right: Right, project: Option<&Id>) -> bool {
        self.grants.iter().any(|grant| {
            let here = grant.project.is_none() || grant.project.as_ref() == project;
            here && gives(grant.role, right)
        })
    }

    /// Whether he may make keys of agents.
    pub fn may_make_agents(&self, project: &Id) -> bool {
        [Right::Agents, Right::Restore].iter().all(|right| self.may(*right, Some(project)))
    }

    /// In whose name the control plane does what he asks.
    pub fn by(&self) -> By {
        By { actor: self.actor.clone(), address: self.address.clone() }
    }
}

fn gives(role: Role, right: Right) -> bool {
    match role {
        Role::GlobalOwner => true,
        Role::GlobalBackupAdmin => !matches!(right, Right::Users | Right::Restore),
        Role::ProjectBackupAdmin => {
            matches!(right, Right::Look | Right::Backup | Right::Agents)
        }
        Role::ProjectRestore => matches!(right, Right::Look | Right::Restore),
        Role::ProjectReadOnly => right == Right::Look,
    }
}

#[cfg(test)]
mod tests {
    use Right::{Agents, Backup, Look, Restore, Settings, Stores, Users};

    use super::*;

    const ALL: [Right; 7] = [Look, Backup, Restore, Stores, Users, Settings, Agents];

    fn id(digit: char) -> Id {
        digit.to_string().repeat(24).parse().unwrap()
    }

    fn principal(role: Role, project: Option<Id>) -> Principal {
        let grants = vec![Grant { role, project }];
        Principal { actor: Actor::User("a".into()), grants, address: None }
    }

    #[test]
    fn roles_give_what_they_say_where_they_say_it() {
        let mine = Some(id('a'));
        let admin = [Look, Backup, Stores, Settings, Agents];
        // What each gives in its project, and what everywhere else.
        let table: [(Role, &[Right], &[Right]); 5] = [
            (Role::GlobalOwner, &ALL, &ALL),
            (Role::GlobalBackupAdmin, &admin, &admin),
            (Role::ProjectBackupAdmin, &[Look, Backup, Agents], &[]),
            (Role::ProjectRestore, &[Look, Restore], &[]),
            (Role::ProjectReadOnly, &[Look], &[]),
        ];
        for (role, here, elsewhere) in table {
            let who = principal(role, if elsewhere.is_empty() { mine.clone() } else { None });
            for right in ALL {
                assert_eq!(who.may(right, mine.as_ref()), here.contains(&right), "{role:?}");
                for other in [Some(&id('b')), None] {
                    assert_eq!(who.may(right, other), elsewhere.contains(&right), "{role:?}");
                }
            }
        }
    }

    #[test]
    fn nobody_may_anything_by_himself_and_roles_add_up() {
        let nobody = Principal { actor: Actor::System, grants: Vec::new(), address: None };
        assert!(ALL.iter().all(|right| !nobody.may(*right, None)));
        let mut who = principal(Role::ProjectBackupAdmin, Some(id('a')));
        who.grants.push(Grant { role: Role::ProjectRestore, project: Some(id('b')) });
        assert!(!who.may(Restore, Some(&id('a'))) && who.may(Restore, Some(&id('b'))));
        // Agents are given what is as good as the data.
        assert!(!who.may_make_agents(&id('a')) && !who.may_make_agents(&id('b')));
        who.grants.push(Grant { role: Role::ProjectRestore, project: Some(id('a')) });
        assert!(who.may_make_agents(&id('a')));
    }
}
