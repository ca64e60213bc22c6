//! Stores: what they hold, over time, and new ones.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use bygone_access::Right;
use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use bygone_catalog::record::{GroomRun, Purpose, Store, StoreCheck, StoreShares, UsageSample};
use bygone_control::{NewStore, views::StoreView};
use maud::{Markup, html};

use crate::{
    failure::{Answer, refused, wrong},
    form::Form,
    format::{age, bytes},
    notice::Notice,
    page::confirm::Question,
    part::{
        chart, checks, control, grooms,
        state::{Mood, badge},
    },
    site::Site,
    visitor::{Asked, Posted, Visitor},
};

/// Samples that are drawn.
const SAMPLES: u32 = 2000;
const PURPOSES: [(Purpose, &str, &str); 3] = [
    (Purpose::Snapshot, "snapshot", "snapshots"),
    (Purpose::Oplog, "oplog", "oplog"),
    (Purpose::Sync, "sync", "initial syncs"),
];

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/stores", get(list))
        .route("/stores/new", get(ask).post(add))
        .route("/stores/s/{store}", get(show).post(save))
        .route("/stores/s/{store}/remove", get(ask_removal).post(remove))
        .route("/stores/s/{store}/groom", post(groom))
}

async fn list(State(site): State<Site>, visitor: Visitor) -> Answer {
    visitor.needs(Right::Look)?;
    let stores = site.control.stores().await?;
    let may = visitor.may(Right::Stores, None);
    let main = html! {
        div.headed {
            h1 { "Stores" }
            @if may { a.button href="/stores/new" { "Add a store" } }
        }
        @if stores.is_empty() { p { "There is no store yet. A job needs one: a folder, or a bucket of S3, GCS or Azure." } }
        (table(&stores, site.control.now()))
    };
    visitor.page(&site, "Stores", "/stores", main).await
}

fn table(stores: &[StoreView], now: UnixMillis) -> Markup {
    html! {
        @if !stores.is_empty() {
            table.cards {
                thead { tr {
                    th { "Store" } th { "Where" } th { "For" } th.num { "Jobs" } th.num { "Holds" } th.num { "Needed" }
                    th { "Last groom" } th { "New jobs" }
                } }
                tbody { @for view in stores { (row(view, now)) } }
            }
        }
    }
}

fn row(view: &StoreView, now: UnixMillis) -> Markup {
    let StoreView { store, usage, jobs, groomed } = view;
    html! {
        tr {
            th scope="row" { a href={ "/stores/s/" (store.id) } { (store.id) } }
            td data-label="Where" { code { (store.url) } }
            td data-label="For" { (purposes(store)) }
            td.num data-label="Jobs" { (jobs.len()) }
            td.num data-label="Holds" { @if let Some(usage) = usage { (bytes(usage.bytes)) } @else { "–" } }
            td.num data-label="Needed" { @if let Some(usage) = usage { (bytes(usage.living)) } @else { "–" } }
            td data-label="Last groom" { @if let Some(at) = groomed { (age(now, *at)) } @else { "–" } }
            td data-label="New jobs" {
                @if store.assignment_enabled { (badge(Mood::Good, "takes them")) } @else { (badge(Mood::Still, "takes none")) }
            }
        }
    }
}

fn purposes(store: &Store) -> String {
    let named = PURPOSES.iter().filter(|(purpose, ..)| store.purposes.contains(purpose));
    named.map(|(_, _, word)| *word).collect::<Vec<_>>().join(", ")
}

async fn find(site: &Site, id: &str) -> Result<StoreView> {
    let found = site.control.stores().await?.into_iter().find(|view| view.store.id == id);
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no store {id}")))
}

async fn show(State(site): State<Site>, visitor: Visitor, Path(store): Path<String>) -> Answer {
    visitor.needs(Right::Look)?;
    let view = find(&site, &store).await?;
    again(&site, &visitor, &view, &form_of(&view.store), None).await
}

async fn again(
    site: &Site,
    visitor: &Visitor,
    view: &StoreView,
    form: &Form,
    error: Option<&Error>,
) -> Answer {
    let held = held(site, view).await?;
    let form = visitor.may(Right::Stores, None).then_some(form);
    let page = one(view, &held, visitor.csrf(), form, site.control.now());
    let main = html! { (wrong(error)) (page) };
    refused(visitor.page(site, &view.store.id, "/stores", main).await, error)
}

async fn held(site: &Site, view: &StoreView) -> Result<Held> {
    let samples = site.control.usage(&view.store.id, SAMPLES).await?;
    let held = Held {
        samples,
        runs: site.control.grooms(&view.store.id).await?,
        checks: site.control.store_checks(&view.store.id).await?,
        shares: site.control.shares(&view.store.id).await?,
    };
    Ok(held)
}

/// What is known of what a store holds.
#[derive(Default)]
struct Held {
    samples: Vec<UsageSample>,
    runs: Vec<GroomRun>,
    checks: Vec<StoreCheck>,
    shares: Option<StoreShares>,
}

/// A store; with the form of who may change it.
fn one(view: &StoreView, held: &Held, csrf: &str, form: Option<&Form>, now: UnixMillis) -> Markup {
    let Held { samples, runs, checks, shares } = held;
    let store = &view.store;
    let path = format!("/stores/s/{}", store.id);
    html! {
        p { a href="/stores" { "← all stores" } }
        h1 { (store.id) }
        p { code { (store.url) } ", for " (purposes(store)) }
        section { h2 { "What it held" } (chart::usage(samples, store.max_bytes)) }
        @if let Some(newest) = samples.first() { (by_job(newest)) }
        @if let Some(shares) = shares { (grooms::shares(shares, now)) }
        p.quiet {
            @match view.groomed { Some(at) => { "Last groomed " (age(now, at)) }, None => "Not groomed yet" }
            ", used by " (crate::format::count(view.jobs.len() as u64, "job")) "."
        }
        (grooms::grooms(runs, &path, form.map(|_| csrf), now))
        (checks::checks(checks, now))
        @if let Some(form) = form {
            section {
                h2 { "Change it" }
                form method="post" action=(path) {
                    (control::csrf(csrf))
                    (fields(form, false))
                    div.actions { button type="submit" { "Save the store" } }
                }
                @if view.jobs.is_empty() {
                    div.actions {
                        a.button.plain href={ (path) "/remove" } { "Forget the store…" }
                    }
                }
            }
        }
    }
}

fn by_job(sample: &UsageSample) -> Markup {
    html! {
        @if !sample.jobs.is_empty() {
            table.dense {
                caption { "Oplog and records of each job" }
                thead { tr { th { "Job" } th.num { "Bytes" } } }
                tbody { @for (job, n) in &sample.jobs { tr { td { (job) } td.num { (bytes(*n)) } } } }
            }
        }
    }
}

/// A limit as its field shows it.
fn max_shown(bytes: u64) -> String {
    (bytes >> 30).to_string()
}

/// A store as the form that would make it, without its passphrase.
fn form_of(store: &Store) -> Form {
    let ticked = PURPOSES.iter().filter(|(purpose, ..)| store.purposes.contains(purpose));
    let form = ticked.fold(Form::default(), |form, (_, key, _)| form.with("purpose", key));
    let file = store.key_file.as_ref().map(|file| file.display().to_string());
    let form = form
        .set("url", &store.url)
        .set("key_file", file.as_deref().unwrap_or_default())
        .set("load_factor", &store.load_factor.to_string())
        .set("labels", &store.labels.join("\n"))
        .set("max_gib", &store.max_bytes.map(max_shown).unwrap_or_default());
    if store.assignment_enabled { form.set("assignment", "yes") } else { form }
}

fn fields(form: &Form, new: bool) -> Markup {
    let on = |key: &str| form.all("purpose").any(|purpose| purpose == key);
    let passphrase = if new {
        "The store is encrypted by it. Without it nothing in the store can be read: keep it elsewhere too."
    } else {
        "Leave it empty to keep what is there."
    };
    html! {
        @if new { (control::text("id", "Name", form.text("id"), "Letters, digits, '.', '_' or '-'.")) }
        (control::text("url", "Where", form.text("url"), "file:///folder, s3://bucket/prefix?region=.., gs://.., az://.. – secrets of S3 come from the server's environment."))
        fieldset {
            legend { "What it may hold" }
            @for (_, key, word) in PURPOSES { (control::tick("purpose", key, word, on(key))) }
        }
        (control::secret("passphrase", "Passphrase", "new-password", passphrase))
        (control::text("key_file", "or a key file on the server", form.text("key_file"), ""))
        (control::tick("assignment", "yes", "New jobs are given it", form.ticked("assignment")))
        (control::number("load_factor", "Share of new jobs", form.text("load_factor"), "A store with 2 gets twice as many as one with 1."))
        (control::number("max_gib", "Counts as full above so many GiB", form.text("max_gib"), "Empty: when its disk is."))
        (control::lines("labels", "Labels", &form.lines("labels"), "One per line."))
    }
}

/// A store as sent; with the limit that there is, which stays where its field was not touched.
///
/// # Errors
/// Usage: a number is none, or nothing.
fn read(form: &Form, id: &str, before: Option<u64>) -> Result<NewStore> {
    let max_bytes = match form.some("max_gib") {
        None => None,
        Some(shown) if before.is_some_and(|bytes| max_shown(bytes) == shown) => before,
        Some(_) => Some(form.number::<u64>("max_gib", "GiB")?.saturating_mul(1 << 30)),
    };
    let ticked = |(purpose, key, _): &(Purpose, &str, &str)| {
        form.all("purpose").any(|sent| sent == *key).then_some(*purpose)
    };
    Ok(NewStore {
        id: id.to_owned(),
        url: form.text("url").to_owned(),
        purposes: PURPOSES.iter().filter_map(ticked).collect(),
        key_file: form.some("key_file").map(Into::into),
        passphrase: Some(form.raw("passphrase").to_owned()).filter(|text| !text.is_empty()),
        assignment_enabled: form.ticked("assignment"),
        labels: form.lines("labels"),
        load_factor: form.number("load_factor", "share of new jobs")?,
        max_bytes,
    })
}

async fn ask(State(site): State<Site>, visitor: Visitor) -> Answer {
    visitor.needs(Right::Stores)?;
    let start = Form::default().set("assignment", "yes").set("load_factor", "1");
    let start = PURPOSES.iter().fold(start, |form, (_, key, _)| form.with("purpose", key));
    new_page(&site, &visitor, &start, None).await
}

async fn new_page(site: &Site, visitor: &Visitor, form: &Form, error: Option<&Error>) -> Answer {
    let main = html! {
        h1 { "Add a store" }
        (wrong(error))
        form method="post" action="/stores/new" {
            (control::csrf(visitor.csrf()))
            (fields(form, true))
            div.actions {
                button type="submit" { "Add the store" }
                a.button.plain href="/stores" { "Cancel" }
            }
        }
    };
    refused(visitor.page(site, "Add a store", "/stores", main).await, error)
}

async fn add(State(site): State<Site>, Posted { visitor, form }: Posted) -> Answer {
    visitor.needs(Right::Stores)?;
    let added = match read(&form, form.text("id"), None) {
        Ok(new) => site.control.add_store(new, &visitor.by()).await,
        Err(error) => Err(error),
    };
    match added {
        Ok(store) => {
            visitor.go(&site, "/stores", &Notice::of(format!("The store {} was added.", store.id)))
        }
        Err(error) => new_page(&site, &visitor, &form, Some(&error)).await,
    }
}

async fn save(
    State(site): State<Site>,
    Path(store): Path<String>,
    Posted { visitor, form }: Posted,
) -> Answer {
    visitor.needs(Right::Stores)?;
    let view = find(&site, &store).await?;
    let saved = match read(&form, &store, view.store.max_bytes) {
        Ok(new) => site.control.edit_store(new, &visitor.by()).await,
        Err(error) => Err(error),
    };
    let store = match saved {
        Ok(store) => store,
        Err(error) => return again(&site, &visitor, &view, &form, Some(&error)).await,
    };
    let notice = Notice::of(format!("The store {} was changed.", store.id));
    visitor.go(&site, &format!("/stores/s/{}", store.id), &notice)
}

async fn groom(
    State(site): State<Site>,
    Path(store): Path<String>,
    Asked(query): Asked,
    Posted { visitor, .. }: Posted,
) -> Answer {
    visitor.needs(Right::Stores)?;
    let dry_run = query.some("dry").is_some();
    site.control.request_groom(&store, dry_run, &visitor.by()).await?;
    let notice = Notice::of("A groom was asked for; what it did appears below.");
    visitor.go(&site, &format!("/stores/s/{store}"), &notice)
}

async fn ask_removal(
    State(site): State<Site>,
    visitor: Visitor,
    Path(store): Path<String>,
) -> Answer {
    visitor.needs(Right::Stores)?;
    let view = find(&site, &store).await?;
    let path = format!("/stores/s/{}", view.store.id);
    let question = Question {
        title: format!("Forget the store {}?", view.store.id),
        does: vec![
            "The server forgets it, with its key or passphrase. What it holds stays where it is."
                .into(),
        ],
        action: format!("{path}/remove"),
        button: "Forget the store",
        typed: None,
        back: path,
    };
    visitor.page(&site, "Forget a store", "/stores", question.draw(visitor.csrf())).await
}

async fn remove(
    State(site): State<Site>,
    Path(store): Path<String>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    visitor.needs(Right::Stores)?;
    site.control.remove_store(&store, &visitor.by()).await?;
    visitor.go(&site, "/stores", &Notice::of(format!("The store {store} was forgotten.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    fn view() -> StoreView {
        let store = Store {
            id: EVIL.into(),
            url: EVIL.into(),
            purposes: vec![Purpose::Snapshot, Purpose::Sync],
            key_file: Some(EVIL.into()),
            passphrase: None,
            assignment_enabled: true,
            labels: vec![EVIL.into(), "b".into()],
            load_factor: 2,
            max_bytes: Some(5 << 30),
            repository: None,
            leaving: false,
            created: UnixMillis(0),
        };
        StoreView { store, usage: None, jobs: Vec::new(), groomed: None }
    }

    #[test]
    fn stores_are_escaped() {
        let sample = UsageSample {
            id: sample::id(1),
            store: "s".into(),
            at: UnixMillis(0),
            bytes: 5,
            living: 5,
            jobs: vec![(EVIL.into(), 3)],
        };
        let held = Held { samples: vec![sample], ..Held::default() };
        let all = [view()];
        sample::harmless(&table(&all, UnixMillis(0)).into_string());
        let form = form_of(&all[0].store);
        sample::harmless(&one(&all[0], &held, "t", Some(&form), UnixMillis(0)).into_string());
        let looked = one(&all[0], &Held::default(), "t", None, UnixMillis(0)).into_string();
        assert!(!looked.contains("<form"), "{looked}");
    }

    #[test]
    fn a_saved_form_is_the_store_as_it_was() {
        let StoreView { store, .. } = view();
        let new = read(&form_of(&store), &store.id, store.max_bytes).unwrap();
        assert_eq!(new.purposes, store.purposes);
        assert_eq!((new.url, new.key_file, new.labels), (store.url, store.key_file, store.labels));
        assert_eq!((new.load_factor, new.max_bytes), (2, Some(5 << 30)));
        assert!(new.assignment_enabled && new.passphrase.is_none());
        // A limit that is no whole number of GiB stays, too, where nobody touched it.
        let odd = Store { max_bytes: Some(7), ..view().store };
        let limit = |form: &Form| read(form, "s", odd.max_bytes).map(|new| new.max_bytes);
        assert_eq!(limit(&form_of(&odd)).unwrap(), Some(7));
        assert_eq!(limit(&form_of(&odd).set("max_gib", "1")).unwrap(), Some(1 << 30));
        // What no store can have is refused where stores are made.
        assert_eq!(read(&form_of(&odd), "s", Some(5 << 30)).unwrap().max_bytes, Some(0));
    }
}
