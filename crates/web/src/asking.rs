//! Forms that are refused, and questions before something is taken away.

use axum::http::StatusCode;
use bygone_catalog::{
    Id,
    record::{Grant, Role},
};
use bygone_control::By;

use crate::tests::{A_TAR, Browser, Setup};

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

#[tokio::test]
async fn a_drill_keeps_its_target_until_it_is_ended() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let job = setup.job(&project, "prod").await;
    let mut owner = setup.user("owner", Role::GlobalOwner, None).await;
    let page = format!("/p/{project}/j/{job}/drill");
    let kept = async || setup.control.job(&project, &job).await.unwrap().job;
    let nowhere = [("uri", ""), ("every", "1"), ("every_unit", "d")];
    let refused = setup.submit(&mut owner, &page, &page, &nowhere).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);

    // What was typed is kept beside what was wrong, and not shown.
    let odd = [("uri", "mongodb://u:secret@scratch"), ("every", "x"), ("every_unit", "d")];
    let refused = setup.submit(&mut owner, &page, &page, &odd).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    assert!(!refused.text.contains("secret@") && refused.text.contains("u:***@scratch"));
    let (_, rest) = refused.text.split_once("name=\"sealed_uri\" value=\"").unwrap();
    let sealed = rest.split('"').next().unwrap();
    let good = [("uri", ""), ("sealed_uri", sealed), ("every", "1"), ("every_unit", "d")];
    let set = setup.submit(&mut owner, &page, &page, &good).await;
    assert_eq!(set.status, StatusCode::SEE_OTHER, "{}", set.text);

    let slower = [("uri", ""), ("every", "2"), ("every_unit", "d")];
    setup.submit(&mut owner, &page, &page, &slower).await;
    let now = kept().await;
    assert_eq!(now.drill.as_ref().unwrap().every_secs, 2 * 86_400);
    assert_eq!(setup.access.drill_target(&now).as_deref(), Some("mongodb://u:secret@scratch"));
    let off = [("uri", ""), ("every", ""), ("off", "yes")];
    setup.submit(&mut owner, &page, &page, &off).await;
    assert!(kept().await.drill.is_none());

    // It restores: who looks after backups alone may not.
    let mut ann = setup.user("ann", Role::ProjectBackupAdmin, Some(&project)).await;
    assert_eq!(setup.get(&mut ann, &page).await.status, StatusCode::FORBIDDEN);
    let of_job = setup.get(&mut ann, &format!("/p/{project}/j/{job}")).await;
    assert!(!of_job.text.contains(&page), "{}", of_job.text);
}

#[tokio::test]
async fn files_of_the_server_are_named_only_by_who_looks_after_it() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let job = setup.job(&project, "prod").await;
    let mut ann = setup.user("ann", Role::ProjectBackupAdmin, Some(&project)).await;
    let mut rita = setup.user("rita", Role::ProjectRestore, Some(&project)).await;
    let mut owner = setup.user("owner", Role::GlobalOwner, None).await;
    let file = "mongodb://u:secret@h/?tls=true&tlsCertificateKeyFile=/etc/other.pem";
    let source = format!("/p/{project}/j/{job}/source");
    let fields = [("include", ""), ("exclude", ""), ("uri", file)];
    let refused = setup.submit(&mut ann, &source, &source, &fields).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    assert!(refused.text.contains("right Stores") && !refused.text.contains("secret@"));
    let restore = format!("/p/{project}/j/{job}/restore");
    let to = [("pick", "latest"), ("where", "server"), ("to", file), ("step", "check")];
    let refused = setup.submit(&mut rita, &restore, &restore, &to).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    let saved = setup.submit(&mut owner, &source, &source, &fields).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    // What is there stays, whoever changes the rest.
    let rest = [("include", ""), ("exclude", "logs.*"), ("uri", "")];
    let saved = setup.submit(&mut ann, &source, &source, &rest).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
}

#[tokio::test]
async fn a_restore_that_is_refused_at_the_last_step_keeps_what_was_chosen() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let job = setup.job(&project, "prod").await;
    let mut rita = setup.user("rita", Role::ProjectRestore, Some(&project)).await;
    let page = format!("/p/{project}/j/{job}/restore");
    let fields = [&A_TAR[..], &[("typed", "prod"), ("step", "restore")]].concat();
    let refused = setup.submit(&mut rita, &page, &page, &fields).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    for kept in ["nothing of prod is stored yet", "2026-11-20 10:30:00", "shop.*", "id=\"restore\""]
    {
        assert!(refused.text.contains(kept), "{kept}: {}", refused.text);
    }
}

#[tokio::test]
async fn keys_of_agents_are_made_by_who_may_restore_too() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let mut ann = setup.user("ann", Role::ProjectBackupAdmin, Some(&project)).await;
    let keys = format!("/p/{project}/keys");
    let page = setup.get(&mut ann, &keys).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.text.contains("Make an agent key"), "{}", page.text);
    let fields = [("description", "host a")];
    let refused = setup.submit(&mut ann, &keys, &format!("{keys}/agent"), &fields).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
}
