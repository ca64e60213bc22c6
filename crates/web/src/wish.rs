//! What somebody wants restored: read from a form, drawn as one, told in words.

use bygone_agent::SourceUri;
use bygone_base::{Error, ErrorKind, Result, Ts, UnixMillis, When};
use bygone_catalog::record::{Form as Shape, Names};
use bygone_control::{NewDelivery, NewRestore, views::History};
use maud::{Markup, html};

use crate::{
    form::Form,
    format::{millis, stamp},
    part::control,
};

/// Snapshots that are offered in the list.
const OFFERED: usize = 500;
/// Fields that go from the choice to its confirmation. The connection string goes sealed.
const FIELDS: [&str; 16] = [
    "pick",
    "snapshot",
    "instant",
    "ts",
    "include",
    "exclude",
    "renames",
    "where",
    "drop",
    "onto_source",
    "verify",
    "shape",
    "namespace",
    "hours",
    "limit",
    "downloads",
];

/// What somebody wants.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) new: NewRestore,
}

impl Wish {
    /// Reads it.
    ///
    /// # Errors
    /// Usage: something is missing or wrong.
    pub(crate) fn read(form: &Form, now: UnixMillis) -> Result<Wish> {
        let names = Names {
            include: form.lines("include"),
            exclude: form.lines("exclude"),
            renames: renames(&form.lines("renames"))?,
        };
        let delivery = delivery(form, now)?;
        let automated = matches!(delivery, NewDelivery::Automated { .. });
        let verify = automated && form.ticked("verify");
        Ok(Wish { new: NewRestore { when: when(form)?, names, delivery, verify } })
    }

    /// In words, without secrets.
    pub(crate) fn told(&self, cluster: &str) -> Markup {
        let NewRestore { when, names, delivery, verify } = &self.new;
        html! {
            dl.facts {
                div { dt { "Cluster" } dd { (cluster) } }
                div { dt { "As of" } dd { (told_when(when)) } }
                @if !names.include.is_empty() { div { dt { "Only" } dd { (names.include.join(", ")) } } }
                @if !names.exclude.is_empty() { div { dt { "Without" } dd { (names.exclude.join(", ")) } } }
                @for (from, to) in &names.renames { div { dt { "Renamed" } dd { (from) " → " (to) } } }
                div { dt { "Where to" } dd { (told_delivery(delivery)) } }
                @if *verify { div { dt { "Proof" } dd { "the target's dbHash is compared with the stored data's" } } }
            }
        }
    }
}

fn told_when(when: &str) -> Markup {
    let second = |ts: Ts| {
        html! { time.asked datetime=(millis(ts).to_rfc3339_seconds()) { (stamp(millis(ts))) " UTC" } }
    };
    match when.parse::<When>() {
        Ok(When::Latest) => html! { "the newest stored moment" },
        Ok(When::Snapshot(id)) => html! { "snapshot " (id) },
        Ok(When::BeforeSecond(secs)) => {
            html! { "everything before " (second(Ts::new(secs, 0))) }
        }
        Ok(When::Including(ts)) => {
            html! { (second(ts)) ", up to and including oplog timestamp " (ts) }
        }
        Err(_) => html! { (when) },
    }
}

fn told_delivery(delivery: &NewDelivery) -> String {
    match delivery {
        NewDelivery::Automated { to, drop, onto_source } => {
            let server = SourceUri::parse(to).map(|uri| uri.to_string()).unwrap_or_default();
            let existing = if *drop {
                "collections that exist there are dropped first"
            } else {
                "nothing that exists there is touched: the restore is refused if a collection exists"
            };
            let source = if *onto_source { "; it may be the source itself" } else { "" };
            format!("into {server}; {existing}{source}")
        }
        NewDelivery::Http { form, expires, max_downloads } => {
            let what = match form {
                Shape::Archive => "an archive of mongodump".to_owned(),
                Shape::Tar => "a tar of mongodump's directory".to_owned(),
                Shape::Collection { namespace } => format!("the documents of {namespace}"),
            };
            let until = expires.map(|at| format!(", until {} UTC", stamp(at))).unwrap_or_default();
            let often = max_downloads.map_or(", as often as you like".to_owned(), |n| match n {
                1 => ", once".to_owned(),
                n => format!(", {n} times"),
            });
            format!("a download: {what}{until}{often}")
        }
    }
}

/// The moment, as the command line has it.
fn when(form: &Form) -> Result<String> {
    let text = match form.text("pick") {
        "latest" => "latest".to_owned(),
        "snapshot" => form.text("snapshot").to_owned(),
        "instant" => instant(form.text("instant")),
        "ts" => form.text("ts").to_owned(),
        _ => return Err(Error::usage("choose a moment")),
    };
    text.parse::<When>()?;
    Ok(text)
}

/// What a browser's field for date and time holds, in UTC; or an instant with its zone as it is.
fn instant(text: &str) -> String {
    let text = text.replace(' ', "T");
    let time = text.split_once('T').map_or("", |(_, time)| time);
    let zoned = time.ends_with('Z') || time.contains(['+', '-']);
    match time.matches(':').count() {
        _ if zoned => text,
        1 => format!("{text}:00Z"),
        _ => format!("{text}Z"),
    }
}

/// `from -> to`, or with a blank between.
fn renames(lines: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |line: &String| {
        let halves = line.split_once("->").or_else(|| line.split_once(char::is_whitespace));
        let (from, to) = halves.map(|(from, to)| (from.trim(), to.trim())).unwrap_or_default();
        if from.is_empty() || to.is_empty() {
            return Err(Error::usage(format!("{line:?} renames nothing: write from.* -> to.*")));
        }
        Ok((from.to_owned(), to.to_owned()))
    };
    lines.iter().map(pair).collect()
}

fn delivery(form: &Form, now: UnixMillis) -> Result<NewDelivery> {
    match form.text("where") {
        "server" => {
            let to = form
                .some("to")
                .ok_or_else(|| Error::usage("give the server's connection string"))?;
            let (drop, onto_source) = (form.ticked("drop"), form.ticked("onto_source"));
            Ok(NewDelivery::Automated { to, drop, onto_source })
        }
        "download" => {
            let shape = match form.text("shape") {
                "archive" => Shape::Archive,
                "tar" => Shape::Tar,
                "collection" => {
                    let namespace = form.some("namespace").filter(|ns| ns.contains('.'));
                    let missing = || Error::usage("name the collection: database.collection");
                    Shape::Collection { namespace: namespace.ok_or_else(missing)? }
                }
                _ => return Err(Error::usage("choose what the download holds")),
            };
            let hours: i64 = form.number("hours", "hours of the link")?;
            if !(1..=8784).contains(&hours) {
                return Err(Error::usage("the link may be good for an hour to a year"));
            }
            let max_downloads = match form.text("limit") {
                "none" => None,
                _ => Some(form.number("downloads", "number of downloads")?),
            };
            let expires = Some(UnixMillis(now.0 + hours * 3_600_000));
            Ok(NewDelivery::Http { form: shape, expires, max_downloads })
        }
        _ => Err(Error::usage("choose where it goes")),
    }
}

/// Whether the moment is within what is stored.
///
/// # Errors
/// `NotCovered`, naming the ranges.
pub(crate) fn covered(when: &str, history: &History) -> Result<()> {
    let within = match when.parse::<When>()? {
        When::Latest => !history.snapshots.is_empty(),
        When::Snapshot(id) => history.snapshots.iter().any(|snapshot| snapshot.id == id),
        moment => {
            let bound = moment.bound().unwrap_or(Ts::MAX);
            let second = |ts: Ts| (ts.secs(), bound.secs());
            // The end of a second is within a range that ends in that second.
            history.ranges.iter().any(|range| {
                let (to, wanted) = second(range.to);
                range.from <= bound && (bound <= range.to || to == wanted)
            })
        }
    };
    if within {
        return Ok(());
    }
    let ranges: Vec<String> = history
        .ranges
        .iter()
        .map(|range| format!("{} to {}", stamp(millis(range.from)), stamp(millis(range.to))))
        .collect();
    let hint = match ranges.len() {
        0 => "nothing is stored yet".to_owned(),
        _ => format!("what can be restored (UTC): {}", ranges.join("; ")),
    };
    Err(Error::new(ErrorKind::NotCovered, format!("{when} is not stored")).hint(hint))
}

/// A form in which the moment is chosen already.
pub(crate) fn prefilled(when: &str) -> Form {
    let form = Form::default();
    match when.parse::<When>() {
        Ok(When::Snapshot(id)) => form.set("pick", "snapshot").set("snapshot", id.as_str()),
        Ok(When::Including(ts)) => form.set("pick", "ts").set("ts", &ts.to_string()),
        Ok(When::BeforeSecond(_)) => form.set("pick", "instant").set("instant", when),
        _ => form.set("pick", "latest"),
    }
    .set("where", "server")
    .set("verify", "yes")
    .set("shape", "archive")
    .set("hours", "1")
    .set("limit", "some")
    .set("downloads", "1")
}

/// The fields by which a moment is chosen.
pub(crate) fn moment_fields(form: &Form, history: &History) -> Markup {
    let pick = form.text("pick");
    let offered: Vec<(String, String)> = history
        .snapshots
        .iter()
        .rev()
        .take(OFFERED)
        .map(|snapshot| (snapshot.id.to_string(), format!("{} UTC", stamp(millis(snapshot.at)))))
        .collect();
    html! {
        fieldset {
            legend { "Moment" }
            p.help { "A click into the picture fills this in." }
            (control::radio("pick", "latest", "The newest stored moment", pick == "latest"))
            (control::radio("pick", "snapshot", "A snapshot", pick == "snapshot"))
            div.under data-pick="snapshot" { (control::choice("snapshot", "Snapshot", &offered, form.text("snapshot"), "")) }
            (control::radio("pick", "instant", "A second", pick == "instant"))
            div.under data-pick="instant" {
                div.field {
                    label for="instant" { "Before this second (UTC)" }
                    input #instant type="text" name="instant" value=(form.text("instant")) placeholder="2026-11-20 10:30:00"
                        autocomplete="off" aria-describedby="instant-help";
                    p.help #instant-help { "Everything whose cluster time is before it. With a zone, such as 2026-11-20T11:30:00+01:00, it is taken as that." }
                    p.help data-local="instant" hidden {}
                }
            }
            (control::radio("pick", "ts", "An oplog timestamp", pick == "ts"))
            div.under data-pick="ts" { (control::text("ts", "Up to and including", form.text("ts"), "SECS:INC")) }
        }
    }
}

/// The fields by which namespaces are chosen.
pub(crate) fn name_fields(form: &Form) -> Markup {
    let renamed = form.lines("renames");
    let open = ["include", "exclude", "renames"].iter().any(|name| !form.text(name).is_empty());
    html! {
        details open[open] {
            summary { "Only some namespaces, or under other names" }
            (control::lines("include", "Only these", &form.lines("include"), "mongorestore's patterns, one per line: db.*, db.collection."))
            (control::lines("exclude", "Not these", &form.lines("exclude"), "One per line."))
            (control::lines("renames", "Under other names", &renamed, "from.* -> to.*, one per line."))
        }
    }
}

/// The fields by which the target is chosen; `kept` says what is kept of a connection string that was typed.
pub(crate) fn target_fields(form: &Form, kept: &Markup) -> Markup {
    let place = form.text("where");
    let shapes = [
        ("archive", "Archive of mongodump, gzip"),
        ("tar", "Tar of mongodump's directory, gzip"),
        ("collection", "Documents of one collection, BSON"),
    ]
    .map(|(key, word)| (key.to_owned(), word.to_owned()));
    let limits = [("some", "so many times"), ("none", "as often as one likes")]
        .map(|(key, word)| (key.to_owned(), word.to_owned()));
    html! {
        fieldset {
            legend { "Where to" }
            (control::radio("where", "server", "Into a running server", place == "server"))
            div.under data-where="server" {
                (control::secret("to", "Connection string", "off", "mongodb://user:password@host/?replicaSet=rs0 – the user needs the role restore."))
                (kept)
                (control::tick("drop", "yes", "Drop collections that exist there", form.ticked("drop")))
                (control::tick("onto_source", "yes", "It may be the source itself", form.ticked("onto_source")))
                (control::tick("verify", "yes", "Prove it: compare the target's dbHash", form.ticked("verify")))
            }
            (control::radio("where", "download", "A download", place == "download"))
            div.under data-where="download" {
                (control::choice("shape", "What it holds", &shapes, form.text("shape"), ""))
                div data-shape="collection" {
                    (control::text("namespace", "The collection", form.text("namespace"), "database.collection, for documents of one collection."))
                }
                (control::number("hours", "The link is good for so many hours", form.text("hours"), ""))
                (control::choice("limit", "It can be used", &limits, form.text("limit"), ""))
                div data-limit="some" {
                    (control::number("downloads", "Times", form.text("downloads"), ""))
                }
            }
        }
    }
}

/// What was chosen, as hidden fields.
pub(crate) fn hidden(form: &Form) -> Markup {
    html! {
        @for name in FIELDS {
            @if form.ticked(name) { input type="hidden" name=(name) value=(form.raw(name)); }
        }
    }
}

#[cfg(test)]
mod tests {
    use bygone_control::views::RangeView;

    use super::*;
    use crate::sample::{self, EVIL};

    const NOW: UnixMillis = UnixMillis(1_795_170_600_000);

    fn form(pairs: &[(&str, &str)]) -> Form {
        pairs.iter().fold(prefilled("latest"), |form, (name, value)| form.set(name, value))
    }

    #[test]
    fn moments_are_read() {
        let when = |pairs: &[(&str, &str)]| when(&form(pairs));
        assert_eq!(when(&[("pick", "latest")]).unwrap(), "latest");
        let at = |text: &str| when(&[("pick", "instant"), ("instant", text)]).unwrap();
        assert_eq!(at("2026-11-20 10:30:05"), "2026-11-20T10:30:05Z");
        assert_eq!(at("2026-11-20T10:30"), "2026-11-20T10:30:00Z");
        assert_eq!(at("2026-11-20T10:30:05+01:00"), "2026-11-20T10:30:05+01:00");
        assert_eq!(at("2026-11-20T10:30:05Z"), "2026-11-20T10:30:05Z");
        assert_eq!(when(&[("pick", "ts"), ("ts", "17:3")]).unwrap(), "17:3");
        for bad in ["", "yesterday", EVIL] {
            assert!(when(&[("pick", "instant"), ("instant", bad)]).is_err(), "{bad}");
        }
        assert!(when(&[("pick", "")]).is_err());
    }

    #[test]
    fn renames_have_two_sides() {
        let lines = |text: &str| renames(&[text.to_owned()]);
        let pair = vec![("a.*".to_owned(), "b.*".to_owned())];
        assert_eq!(lines("a.* -> b.*").unwrap(), pair);
        assert_eq!(lines("a.* b.*").unwrap(), pair);
        for bad in ["a.*", "->", "a ->"] {
            assert!(lines(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wish_is_read_whole() {
        let server = form(&[("where", "server"), ("to", "mongodb://u:secret@h"), ("drop", "yes")]);
        let wish = Wish::read(&server, NOW).unwrap();
        assert!(wish.new.verify);
        assert!(matches!(
            &wish.new.delivery,
            NewDelivery::Automated { drop: true, onto_source: false, .. }
        ));
        let at = told_when("1795170600:4").into_string();
        assert!(at.contains("2026-11-20 10:30:00 UTC") && at.contains("1795170600:4"), "{at}");
        let told = wish.told("prod").into_string();
        assert!(
            !told.contains("secret") && told.contains("u:***@h") && told.contains("dropped first"),
            "{told}"
        );
        assert!(Wish::read(&form(&[("where", "server")]), NOW).is_err());

        let download = form(&[
            ("where", "download"),
            ("shape", "collection"),
            ("namespace", "a.b"),
            ("hours", "2"),
        ]);
        let wish = Wish::read(&download, NOW).unwrap();
        let NewDelivery::Http { form: shape, expires, max_downloads } = &wish.new.delivery else {
            panic!("no download")
        };
        assert_eq!(*shape, Shape::Collection { namespace: "a.b".into() });
        assert_eq!((*expires, *max_downloads), (Some(UnixMillis(NOW.0 + 7_200_000)), Some(1)));
        assert!(!wish.new.verify);
        for bad in [("hours", "0"), ("namespace", "ab"), ("shape", "zip"), ("downloads", "-1")] {
            let bad = download.clone().set(bad.0, bad.1);
            assert!(Wish::read(&bad, NOW).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_was_chosen_goes_on_escaped_and_without_its_secret() {
        let evil = form(&[
            ("include", EVIL),
            ("to", "mongodb://u:secret@h"),
            ("namespace", EVIL),
            ("instant", EVIL),
            ("ts", EVIL),
        ]);
        let all = html! {
            (hidden(&evil)) (moment_fields(&evil, &History::default())) (name_fields(&evil)) (target_fields(&evil, &html! {}))
        };
        let all = all.into_string();
        sample::harmless(&all);
        assert!(!all.contains("secret"), "{all}");
    }

    #[test]
    fn what_is_not_stored_names_what_is() {
        let range = RangeView { from: Ts::new(100, 1), to: Ts::new(200, 5), snapshot: None };
        let history = History { ranges: vec![range], ..History::default() };
        assert!(covered("150:1", &history).is_ok());
        // Before second 201 is all of second 200.
        assert!(covered("1970-01-01T00:03:21Z", &history).is_ok());
        for bad in ["1970-01-01T00:03:22Z", "99:1", "latest"] {
            let error = covered(bad, &history).unwrap_err();
            assert!(error.hint_text().unwrap().contains("1970-01-01 00:01:40"), "{bad}");
        }
        assert!(
            covered("latest", &History::default())
                .unwrap_err()
                .hint_text()
                .unwrap()
                .contains("nothing")
        );
    }
}
