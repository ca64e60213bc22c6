//! Roles, a row each: what, and where.

use bygone_base::{Error, Result};
use bygone_catalog::record::{Grant, Project, Role};
use maud::{Markup, html};

use super::state;
use crate::form::Form;

/// The global ones first.
pub(crate) const ROLES: [Role; 5] = [
    Role::GlobalOwner,
    Role::GlobalBackupAdmin,
    Role::ProjectBackupAdmin,
    Role::ProjectRestore,
    Role::ProjectReadOnly,
];
/// Those that are for everywhere.
const GLOBAL: usize = 2;
/// Rows that are there to be filled in; with each save there are new ones.
const EMPTY: usize = 2;

/// Roles as the form that gives them.
pub(crate) fn form_of(grants: &[Grant]) -> Form {
    let row = |form: Form, grant: &Grant| {
        let project = grant.project.as_ref().map(ToString::to_string).unwrap_or_default();
        form.with("role", &place(grant.role)).with("project", &project)
    };
    grants.iter().fold(Form::default(), row)
}

fn place(role: Role) -> String {
    ROLES.iter().position(|known| *known == role).unwrap_or_default().to_string()
}

/// The rows of a form, and some that are empty.
pub(crate) fn fields(form: &Form, projects: &[Project]) -> Markup {
    let given = form.all("role").zip(form.all("project"));
    let rows = given.filter(|(role, project)| !role.is_empty() || !project.is_empty());
    let empty = std::iter::repeat_n(("", ""), EMPTY);
    html! {
        fieldset.roles {
            legend { "Roles" }
            @for (at, (role, project)) in rows.chain(empty).enumerate() {
                div.pair {
                    select name="role" aria-label={ "Role " (at + 1) } {
                        option value="" selected[role.is_empty()] { "no role" }
                        @for known in ROLES {
                            @let value = place(known);
                            option value=(value) selected[role == value] { (state::role(known)) }
                        }
                    }
                    select name="project" aria-label={ "Where role " (at + 1) " holds" } {
                        option value="" selected[project.is_empty()] { "everywhere" }
                        @for known in projects {
                            @let value = known.id.to_string();
                            option value=(value) selected[project == value] { "in " (known.name) }
                        }
                    }
                }
            }
            p.help { "Global roles hold everywhere, the others in one project. To take a role away, choose no role; more rows come with each save." }
        }
    }
}

/// The roles that were chosen.
///
/// # Errors
/// Usage: one is unknown, or is for a project and none was chosen.
pub(crate) fn read(form: &Form) -> Result<Vec<Grant>> {
    let row = |(text, project): (&str, &str)| {
        let unknown = || Error::usage(format!("{text:?} is not a role"));
        let at: usize = text.parse().map_err(|_| unknown())?;
        let role = *ROLES.get(at).ok_or_else(unknown)?;
        let project = match project {
            "" if at >= GLOBAL => {
                let why = format!("{} is a role in one project", state::role(role));
                return Err(Error::usage(why).hint("choose the project beside it"));
            }
            "" => None,
            id => Some(id.parse()?),
        };
        Ok(Grant { role, project })
    };
    let rows = form.all("role").zip(form.all("project"));
    rows.filter(|(role, _)| !role.is_empty()).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn what_is_chosen_is_what_is_granted() {
        let project = sample::project("one");
        let grants: Vec<Grant> = ROLES
            .into_iter()
            .enumerate()
            .map(|(at, role)| Grant { role, project: (at >= GLOBAL).then(|| project.id.clone()) })
            .collect();
        assert_eq!(read(&form_of(&grants)).unwrap(), grants);
        let row = |role: &str, project: &str| {
            read(&Form::default().with("role", role).with("project", project))
        };
        assert_eq!(row("", "").unwrap(), []);
        for (role, project) in [("5", ""), ("x", ""), ("-1", ""), ("2", "zz"), ("3", "")] {
            assert!(row(role, project).is_err(), "{role} {project}");
        }
    }

    #[test]
    fn many_projects_are_a_choice_and_not_a_page() {
        let projects: Vec<_> = (0..26).map(|n| sample::project(&format!("{EVIL}{n}"))).collect();
        let text = fields(&Form::default(), &projects).into_string();
        sample::harmless(&text);
        assert_eq!(text.matches("name=\"role\"").count(), EMPTY, "{text}");
        assert!(!text.contains("checkbox"), "{text}");
    }
}
