use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bygone_base::{Clock, ErrorKind, SystemRng, UnixMillis};
use bygone_catalog::{
    Catalog, Id, Page, Seal, Sqlite,
    record::{Actor, ApiKey, Event, Grant, Role, Session, User},
};
use bygone_control::{By, Control};

use crate::{Access, Right, limit::Limit};

const GOOD: &str = "correct horse";
const HOUR: i64 = 3_600_000;

/// A clock that goes when it is told to.
#[derive(Debug)]
struct Hand(AtomicI64);

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now().0.unsigned_abs())
    }

    async fn sleep(&self, _: Duration) {}
}

struct Setup {
    clock: Arc<Hand>,
    control: Arc<Control>,
    access: Access,
}

impl Setup {
    fn new() -> Setup {
        let clock = Arc::new(Hand(AtomicI64::new(1_790_000_000_000)));
        let catalog = Catalog::new(Arc::new(Sqlite::in_memory().unwrap()));
        let seal = Seal::new(&[1; 32]).unwrap();
        let control = Control::new(catalog, seal, clock.clone(), Arc::new(SystemRng));
        let control = Arc::new(control);
        Setup { clock, access: Access::new(control.clone()), control }
    }

    fn pass(&self, millis: i64) {
        self.clock.0.fetch_add(millis, Ordering::SeqCst);
    }

    async fn project(&self, name: &str) -> Id {
        self.control.create_project(name, &By::system()).await.unwrap().id
    }

    /// Somebody with a password.
    async fn user(&self, name: &str, grant: Grant) -> Id {
        let (user, link) = self.access.invite(name, vec![grant], &By::system()).await.unwrap();
        self.access.accept(&link, GOOD).await.unwrap();
        user.id
    }

    async fn events(&self) -> Vec<Event> {
        self.control.catalog().page(&Page::default()).await.unwrap()
    }
}

fn owner() -> Grant {
    Grant { role: Role::GlobalOwner, project: None }
}

fn kind<T>(result: bygone_base::Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

#[tokio::test]
async fn the_first_start_makes_an_owner_who_chooses_his_password() {
    let s = Setup::new();
    let lost = s.access.owner_link().await.unwrap().unwrap();
    let link = s.access.owner_link().await.unwrap().unwrap();
    assert_eq!(s.access.users().await.unwrap().len(), 1);
    assert!(s.access.invited(&lost).await.unwrap().is_none());
    assert_eq!(s.access.invited(&link).await.unwrap().unwrap().name, "owner");
    assert_eq!(kind(s.access.accept(&link, "too short").await), Some(ErrorKind::Usage));
    s.access.accept(&link, GOOD).await.unwrap();
    assert_eq!(kind(s.access.accept(&link, "another one").await), Some(ErrorKind::Denied));
    assert_eq!(s.access.owner_link().await.unwrap(), None);
    let login = s.access.login(" Owner", GOOD, None).await.unwrap();
    let (who, _) = s.access.session(&login.secret, Some("::1")).await.unwrap().unwrap();
    assert!(who.may(Right::Users, None));
    assert_eq!(who.by().address.as_deref(), Some("::1"));
}

#[tokio::test]
async fn an_invitation_ends_after_a_day() {
    let s = Setup::new();
    let (_, link) = s.access.invite("a@b.c", vec![owner()], &By::system()).await.unwrap();
    s.pass(24 * HOUR - 1);
    assert!(s.access.invited(&link).await.unwrap().is_some());
    s.pass(1);
    assert!(s.access.invited(&link).await.unwrap().is_none());
    assert_eq!(kind(s.access.accept(&link, GOOD).await), Some(ErrorKind::Denied));
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_look_the_same() {
    let s = Setup::new();
    s.user("anna", owner()).await;
    s.access.invite("new", vec![owner()], &By::system()).await.unwrap();
    let mut said = Vec::new();
    for (name, password) in [("anna", "wrong password"), ("nobody", GOOD), ("new", ""), ("", "")] {
        let error = s.access.login(name, password, None).await.unwrap_err();
        said.push((error.kind(), error.to_string()));
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test]
async fn a_session_ends_by_time_logout_password_and_with_its_user() {
    let s = Setup::new();
    let id = s.user("anna", owner()).await;
    s.user("bert", owner()).await;
    let lives = async |secret: &str| s.access.session(secret, None).await.unwrap().is_some();
    let login = async || s.access.login("anna", GOOD, None).await.unwrap().secret;

    let (first, second) = (login().await, login().await);
    let by = By { actor: Actor::User("anna".into()), address: Some("10.0.0.7".into()) };
    s.access.logout(&first, &by).await.unwrap();
    let events = s.control.events(None, None).await.unwrap();
    let out = events.iter().find(|event| event.kind == "USER_LOGGED_OUT").unwrap();
    assert_eq!((&out.actor, out.address.as_deref()), (&by.actor, Some("10.0.0.7")));
    assert!(!lives(&first).await && lives(&second).await);
    assert!(!lives("").await);

    let by = By::system();
    let wrong = s.access.change_password("anna", "no, another", "long enough", &by).await;
    assert_eq!(kind(wrong), Some(ErrorKind::Denied));
    s.access.change_password("anna", GOOD, "long enough", &by).await.unwrap();
    assert!(!lives(&second).await);
    s.access.change_password("anna", "long enough", GOOD, &by).await.unwrap();

    let third = login().await;
    s.pass(12 * HOUR - 1);
    assert!(lives(&third).await);
    s.pass(1);
    assert!(!lives(&third).await);

    let fourth = login().await;
    // What has ended was cleared away by the login.
    assert_eq!(s.control.catalog().count::<Session>(None).await.unwrap(), 1);
    s.access.remove_user(&id, &by).await.unwrap();
    assert!(!lives(&fourth).await);
    assert_eq!(s.control.catalog().count::<Session>(None).await.unwrap(), 0);
}

#[tokio::test]
async fn the_last_owner_stays() {
    let s = Setup::new();
    let by = By::system();
    let anna = s.user("anna", owner()).await;
    let project = s.project("p").await;
    let reader = Grant { role: Role::ProjectReadOnly, project: Some(project) };
    // One who has not chosen a password cannot take over.
    let (bert, link) = s.access.invite("bert", vec![owner()], &by).await.unwrap();
    assert_eq!(kind(s.access.remove_user(&anna, &by).await), Some(ErrorKind::Conflict));
    let demoted = s.access.set_grants(&anna, vec![reader.clone()], &by).await;
    assert_eq!(kind(demoted), Some(ErrorKind::Conflict));
    s.access.accept(&link, GOOD).await.unwrap();
    s.access.set_grants(&anna, vec![reader], &by).await.unwrap();
    assert_eq!(kind(s.access.remove_user(&bert.id, &by).await), Some(ErrorKind::Conflict));
    s.access.remove_user(&anna, &by).await.unwrap();
}

#[tokio::test]
async fn rights_that_are_taken_away_are_gone_at_once() {
    let s = Setup::new();
    s.user("anna", owner()).await;
    let project = s.project("p").await;
    let grant = Grant { role: Role::ProjectRestore, project: Some(project.clone()) };
    let bert = s.user("bert", grant).await;
    let login = s.access.login("bert", GOOD, None).await.unwrap();
    let may = async || {
        let (who, _) = s.access.session(&login.secret, None).await.unwrap().unwrap();
        who.may(Right::Restore, Some(&project))
    };
    assert!(may().await);
    s.access.set_grants(&bert, Vec::new(), &By::system()).await.unwrap();
    assert!(!may().await);
}

#[tokio::test]
async fn names_and_roles_are_checked() {
    let s = Setup::new();
    let by = By::system();
    let project = s.project("p").await;
    let missing: Id = "0".repeat(24).parse().unwrap();
    let invite = async |name: &str, role: Role, project: Option<&Id>| {
        let grants = vec![Grant { role, project: project.cloned() }];
        kind(s.access.invite(name, grants, &by).await)
    };
    assert_eq!(invite("Anna", Role::ProjectReadOnly, Some(&project)).await, None);
    assert_eq!(invite("anna ", Role::GlobalOwner, None).await, Some(ErrorKind::Conflict));
    for bad in ["", "a b", "a\nb", &"x".repeat(101)] {
        assert_eq!(invite(bad, Role::GlobalOwner, None).await, Some(ErrorKind::Usage), "{bad:?}");
    }
    let usage = Some(ErrorKind::Usage);
    assert_eq!(invite("b", Role::GlobalOwner, Some(&project)).await, usage);
    assert_eq!(invite("b", Role::ProjectRestore, None).await, usage);
    assert_eq!(invite("b", Role::ProjectRestore, Some(&missing)).await, Some(ErrorKind::NotFound));
}

#[tokio::test]
async fn whoever_fails_often_must_wait_and_others_need_not() {
    let s = Setup::new();
    s.user("anna", owner()).await;
    s.user("bert", owner()).await;
    for _ in 0..20 {
        let failed = s.access.login("anna", "not the password", Some("10.0.0.1")).await;
        assert_eq!(kind(failed), Some(ErrorKind::Denied));
    }
    let blocked = s.access.login("anna", GOOD, Some("10.0.0.1")).await;
    assert_eq!(kind(blocked), Some(ErrorKind::Unavailable));
    s.access.login("bert", GOOD, Some("10.0.0.1")).await.unwrap();
    s.access.login("anna", GOOD, Some("10.0.0.2")).await.unwrap();
    s.pass(HOUR / 4);
    s.access.login("anna", GOOD, Some("10.0.0.1")).await.unwrap();
}

#[tokio::test]
async fn logins_that_fail_are_told_of_names_that_there_are() {
    let s = Setup::new();
    s.user("anna", owner()).await;
    for _ in 0..30 {
        let _ = s.access.login("anna", "not the password", Some("10.0.0.1")).await;
        let _ = s.access.login("nobody", "not the password", Some("10.0.0.1")).await;
    }
    let mut telling = std::mem::take(&mut *s.access.telling());
    while telling.join_next().await.is_some() {}
    let mut events = s.events().await;
    events.retain(|event| event.kind == "USER_LOGIN_FAILED");
    // So often as he may fail.
    assert_eq!(events.len(), 20);
    assert!(events.iter().all(|event| event.message.contains("anna")), "{events:?}");
    assert_eq!(events[0].address.as_deref(), Some("10.0.0.1"));
}

#[tokio::test]
async fn many_guesses_at_once_are_no_more_than_one_after_the_other() {
    let s = Setup::new();
    s.user("anna", owner()).await;
    let guesses = (0..150).map(|_| s.access.login("anna", "not the password", Some("10.0.0.1")));
    let all = futures::future::join_all(guesses).await;
    let denied =
        all.into_iter().filter(|one| matches!(one, Err(e) if e.kind() == ErrorKind::Denied));
    assert_eq!(denied.count(), 20);
}

#[tokio::test]
async fn who_would_wait_long_for_a_look_at_a_password_is_told_at_once() {
    let s = Setup::new();
    s.user("anna", owner()).await;
    let waiting = s.access.queue.acquire_many(64).await.unwrap();
    for _ in 0..25 {
        let told = s.access.login("anna", GOOD, Some("10.0.0.1")).await;
        assert_eq!(kind(told), Some(ErrorKind::Unavailable));
    }
    drop(waiting);
    // What was not looked at was not counted.
    s.access.login("anna", GOOD, Some("10.0.0.1")).await.unwrap();
}

#[test]
fn what_is_counted_is_bounded() {
    let clock = Arc::new(Hand(AtomicI64::new(0)));
    let limit = Limit::new(clock.clone(), 1, Duration::from_secs(60));
    limit.begin("first").unwrap();
    clock.0.store(1, Ordering::SeqCst);
    for n in 0..10_000 {
        limit.begin(&n.to_string()).unwrap();
    }
    // The oldest gave way, the others are counted.
    assert!(limit.begin("9999").is_err() && limit.begin("first").is_ok());
    limit.forget("9999");
    assert!(limit.begin("9999").is_ok());
}

#[tokio::test]
async fn an_api_key_is_shown_once_and_known_by_its_public_half() {
    let s = Setup::new();
    let by = By::system();
    let project = s.project("p").await;
    let grant = Grant { role: Role::ProjectBackupAdmin, project: Some(project.clone()) };
    let none = s.access.create_key("nothing", Vec::new(), &by).await;
    assert_eq!(kind(none), Some(ErrorKind::Usage));
    let new = s.access.create_key("nightly", vec![grant], &by).await.unwrap();
    let public = new.key.public.clone();
    assert!(public.len() == 8 && public.bytes().all(|b| b.is_ascii_lowercase()));
    let shape: Vec<usize> = new.private.split('-').map(str::len).collect();
    assert_eq!(shape, [8, 4, 4, 4, 12]);
    let (who, private) = s.access.key(&public, None).await.unwrap().unwrap();
    assert_eq!(*private, new.private);
    assert!(who.may(Right::Agents, Some(&project)) && !who.may(Right::Look, None));
    let kept = s.control.catalog().get::<ApiKey>(&public).await.unwrap().value;
    let shown = format!("{kept:?} {new:?} {:?}", s.access.keys().await.unwrap());
    assert!(!shown.contains(&new.private));
    s.access.remove_key(&public, &by).await.unwrap();
    assert!(s.access.key(&public, None).await.unwrap().is_none());
    assert_eq!(kind(s.access.remove_key(&public, &by).await), Some(ErrorKind::NotFound));
}

#[tokio::test]
async fn an_agent_key_proves_one_project() {
    let s = Setup::new();
    let by = By::system();
    let (ours, theirs) = (s.project("ours").await, s.project("theirs").await);
    let (key, secret) = s.access.create_agent_key(&ours, "host 1", &by).await.unwrap();
    assert_eq!(s.control.agent_project(secret.as_bytes()).await.unwrap(), Some(ours.clone()));
    assert_eq!(s.control.agent_project(b"").await.unwrap(), None);
    assert!(s.access.agent_keys(&theirs).await.unwrap().is_empty());
    let foreign = s.access.remove_agent_key(&theirs, &key.id, &by).await;
    assert_eq!(kind(foreign), Some(ErrorKind::NotFound));
    s.access.remove_agent_key(&ours, &key.id, &by).await.unwrap();
    assert_eq!(s.control.agent_project(secret.as_bytes()).await.unwrap(), None);
}

#[tokio::test]
async fn changes_leave_events_and_secrets_stay_out_of_everything_kept() {
    let s = Setup::new();
    let by = By::system();
    let (_, link) = s.access.invite("anna", vec![owner()], &by).await.unwrap();
    s.access.accept(&link, GOOD).await.unwrap();
    let login = s.access.login("anna", GOOD, Some("10.0.0.9")).await.unwrap();
    let key = s.access.create_key("k", vec![owner()], &by).await.unwrap();
    let project = s.project("p").await;
    let (_, agent) = s.access.create_agent_key(&project, "a", &by).await.unwrap();

    let events = s.events().await;
    let mut kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    kinds.sort_unstable();
    let expected = [
        "AGENT_API_KEY_CREATED",
        "API_KEY_CREATED",
        "GROUP_CREATED",
        "PASSWORD_CHANGED_AUDIT",
        "USER_CREATED_AUDIT",
        "USER_LOGGED_IN",
    ];
    assert_eq!(kinds, expected);

    let catalog = s.control.catalog();
    let users: Vec<User> = catalog.all(None).await.unwrap();
    let sessions: Vec<Session> = catalog.all(None).await.unwrap();
    let agents: Vec<bygone_catalog::record::AgentKey> = catalog.all(None).await.unwrap();
    let kept = format!("{events:?} {users:?} {sessions:?} {agents:?} {login:?}");
    for secret in [&link, GOOD, &login.secret, &key.private, &agent] {
        assert!(!kept.contains(secret), "{secret}");
    }
}
