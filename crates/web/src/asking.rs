//! Forms that are refused, and questions before something is taken away.

use axum::http::StatusCode;
use bygone_catalog::{
    Id,
    record::{Grant, Role},
};
use bygone_control::By;

use crate::tests::{Browser, Setup};

#[tokio::test]
async fn errors_keep_the_navigation_and_what_was_typed() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let job = setup.job(&project, "prod").await;
    let mut owner = setup.user("owner", Role::GlobalOwner, None).await;
    let missing = setup.get(&mut owner, &format!("/p/{project}/j/{}", "0".repeat(24))).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    for part in ["Agents and keys", "Log out", "There is no".to_lowercase().as_str()] {
        assert!(missing.text.contains(part), "{part}: {}", missing.text);
    }
    // Who is not logged in is told nothing more.
    let nobody = setup.get(&mut Browser::default(), "/nowhere").await;
    assert!(!nobody.text.contains("Log out"), "{}", nobody.text);
    let at = |rest: &str| format!("/p/{project}/j/{job}/{rest}");
    let odd = "sixty-odd";
    for (path, name) in [
        ("/settings".to_owned(), "late_snapshot"),
        (at("schedule"), "days"),
        (at("drill"), "every"),
        (at("source"), "throttle"),
        ("/stores/s/main".to_owned(), "load_factor"),
        ("/stores/new".to_owned(), "load_factor"),
        ("/users".to_owned(), "name"),
        ("/keys".to_owned(), "description"),
        (format!("/p/{project}/keys/api"), "api_description"),
        ("/projects".to_owned(), "name"),
    ] {
        let value = if ["name", "description", "api_description"].contains(&name) {
            "bad\tname"
        } else {
            odd
        };
        let from =
            if path.ends_with("/keys/api") { format!("/p/{project}/keys") } else { path.clone() };
        let fields =
            [(name, value), ("to", "mongodb://h"), ("id", "other"), ("role", "0"), ("project", "")];
        let reply = setup.submit(&mut owner, &from, &path, &fields).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}: {}", reply.text);
        let kept = reply.text.contains(&format!("value=\"{value}\""));
        assert!(kept && reply.text.contains("role=\"alert\""), "{path}: {}", reply.text);
        assert!(reply.text.contains("Log out"), "{path}");
    }
}

#[tokio::test]
async fn a_connection_string_that_was_typed_is_kept_and_not_shown() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let mut ann = setup.user("ann", Role::ProjectBackupAdmin, Some(&project)).await;
    let new = format!("/p/{project}/new");
    let fields = [("cluster", ""), ("uri", "mongodb://u:secret@h"), ("day_at", "00:00")];
    let reply = setup.submit(&mut ann, &new, &new, &fields).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(!reply.text.contains("secret@") && reply.text.contains("u:***@h"), "{}", reply.text);
    let (_, rest) = reply.text.split_once("name=\"sealed_uri\" value=\"").unwrap();
    let sealed = rest.split('"').next().unwrap();
    let schedule = "interval=6&base=2&base_unit=d&days=0&weeks=0&months=0&years=0&window=1&zone=UTC&day_at=00:00";
    let mut fields: Vec<(&str, &str)> =
        schedule.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
    fields.extend([("cluster", "prod"), ("uri", ""), ("sealed_uri", sealed)]);
    let made = setup.submit(&mut ann, &new, &new, &fields).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text);
    let job: Id = made.to.rsplit('/').next().unwrap().parse().unwrap();
    let job = setup.control.job(&project, &job).await.unwrap().job;
    assert_eq!(setup.control.source_as_given(&job).unwrap().uri, "mongodb://u:secret@h");
}

#[tokio::test]
async fn what_takes_something_away_is_asked_about_first() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let job = setup.job(&project, "prod").await;
    let by = By::system();
    let mut owner = setup.user("owner", Role::GlobalOwner, None).await;
    setup.user("bob", Role::ProjectReadOnly, Some(&project)).await;
    let grants = vec![Grant { role: Role::GlobalOwner, project: None }];
    let key = setup.access.create_key("ci", grants, &by).await.unwrap().key.public;
    let (agent_key, _) = setup.access.create_agent_key(&project, "host a", &by).await.unwrap();
    let users = setup.access.users().await.unwrap();
    let bob = users.iter().find(|user| user.name == "bob").unwrap().id.clone();
    for (list, path, word) in [
        ("/users".to_owned(), format!("/users/{bob}/remove"), "bob"),
        ("/keys".to_owned(), format!("/keys/{key}/remove"), "ci"),
        (
            format!("/p/{project}/keys"),
            format!("/p/{project}/keys/agent/{}/remove", agent_key.id),
            "host a",
        ),
    ] {
        let asked = setup.get(&mut owner, &path).await;
        assert!(asked.text.contains(word) && asked.text.contains("Cancel"), "{}", asked.text);
        assert!(setup.get(&mut owner, &list).await.text.contains(word), "{list}");
        let done = setup.submit(&mut owner, &path, &path, &[]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
        setup.get(&mut owner, &list).await;
        assert!(!setup.get(&mut owner, &list).await.text.contains(word), "{list}");
    }
    a_wider_source_is_asked_about(&setup, &mut owner, &project, &job).await;
}

/// A resync by a change of the source is asked about; a narrower source needs none.
async fn a_wider_source_is_asked_about(setup: &Setup, owner: &mut Browser, project: &Id, job: &Id) {
    setup.control.act(project, job, bygone_control::Action::Start, &By::system()).await.unwrap();
    let source = format!("/p/{project}/j/{job}/source");
    let requests = async || setup.control.job(project, job).await.unwrap().job.requests.resync;
    let narrow = [("exclude", ""), ("include", "a.*"), ("uri", ""), ("resync", "yes")];
    let done = setup.submit(owner, &source, &source, &narrow).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    assert_eq!(requests().await, 0);
    let wide = [("exclude", ""), ("include", ""), ("uri", ""), ("resync", "yes")];
    let asked = setup.submit(owner, &source, &source, &wide).await;
    assert!(asked.text.contains("Save and resync"), "{}", asked.text);
    assert_eq!(requests().await, 0);
    let sure = [&wide[..], &[("sure", "yes")]].concat();
    setup.submit(owner, &source, &source, &sure).await;
    assert_eq!(requests().await, 1);
}
