use bson::rawdoc;
use bygone_base::ErrorKind;
use proptest::prelude::*;

use super::*;
use crate::{
    filter::Mode,
    testing::{apply_ops, at, command, entry, inner, insert, session, stamp},
};

/// (at, n, word, _id) of everything that the entries come to.
type Seen = Vec<(u64, u32, &'static str, i32)>;

fn id(doc: &[u8]) -> i32 {
    raw::get(doc, "_id").ok().flatten().and_then(|e| e.int()).unwrap_or(-1) as i32
}

fn word(op: &Op<'_>) -> (&'static str, i32) {
    match &op.change {
        Change::Put { doc, insert: true, .. } => ("insert", id(doc)),
        Change::Put { doc, .. } => ("replace", id(doc)),
        Change::Delete { key_doc, .. } => ("delete", id(key_doc)),
        Change::Update { o2, upsert: false, .. } => ("update", id(o2)),
        Change::Update { o2, .. } => ("upsert", id(o2)),
        Change::Ddl(ddl) => match **ddl {
            Ddl::Create { .. } => ("create", 0),
            Ddl::Drop { .. } => ("drop", 0),
            Ddl::Rename { .. } => ("rename", 0),
            Ddl::ViewPut { .. } => ("view", 0),
            Ddl::ViewDelete { .. } => ("drop view", 0),
            Ddl::FcvChanged { .. } => ("fcv", 0),
            _ => ("ddl", 0),
        },
    }
}

fn feed(assembler: &mut Assembler, entry: &[u8], seen: &mut Seen) -> Result<()> {
    assembler.push(entry, |op| {
        let (word, id) = word(&op);
        seen.push((op.at.0, op.n, word, id));
        Ok(())
    })
}

fn run(entries: &[Vec<u8>]) -> Result<Seen> {
    run_with(Filter::all(), entries)
}

fn run_with(filter: Filter, entries: &[Vec<u8>]) -> Result<Seen> {
    let mut assembler = Assembler::new(at(0), filter);
    let mut seen = Vec::new();
    for entry in entries {
        feed(&mut assembler, entry, &mut seen)?;
    }
    Ok(seen)
}

fn kind(entries: &[Vec<u8>]) -> ErrorKind {
    run(entries).unwrap_err().kind()
}

fn none() -> bson::RawDocumentBuf {
    rawdoc! {}
}

fn commit(ts: u64, lsid: i32, number: i64, prev: u64, when: u64) -> Vec<u8> {
    let o = rawdoc! { "commitTransaction": 1, "commitTimestamp": stamp(when) };
    entry(ts, "c", "admin.$cmd", o, session(lsid, number, prev))
}

fn abort(ts: u64, lsid: i32, number: i64, prev: u64) -> Vec<u8> {
    entry(ts, "c", "admin.$cmd", rawdoc! { "abortTransaction": 1 }, session(lsid, number, prev))
}

fn prepare(ts: u64, lsid: i32, ids: &[i32]) -> Vec<u8> {
    let ops = ids.iter().map(|id| inner("i", *id)).collect();
    apply_ops(ts, ops, rawdoc! { "prepare": true }, session(lsid, 1, 0))
}

#[test]
fn an_apply_ops_without_a_transaction_counts_at_once_and_in_order() {
    let ops = || vec![inner("i", 1), inner("d", 2), inner("u", 3)];
    let plain = apply_ops(5, ops(), none(), none());
    let expected = vec![(5, 0, "insert", 1), (5, 1, "delete", 2), (5, 2, "replace", 3)];
    assert_eq!(run(&[plain]).unwrap(), expected);
    let mut vectored = session(1, 1, 4);
    vectored.append(bson::cstr!("multiOpType"), 1);
    // It continues a session that we have not seen from its start, and that does not matter.
    assert_eq!(run(&[apply_ops(5, ops(), none(), vectored)]).unwrap(), expected);
}

#[test]
fn a_transaction_counts_at_its_last_entry() {
    let part = |ts, id, prev, o| apply_ops(ts, vec![inner("i", id)], o, session(1, 1, prev));
    let entries = [
        part(1, 1, 0, rawdoc! { "partialTxn": true }),
        insert(2, 9),
        part(3, 2, 1, rawdoc! { "partialTxn": true }),
        part(4, 3, 3, rawdoc! { "count": 3i64 }),
    ];
    let expected =
        vec![(2, 0, "insert", 9), (4, 0, "insert", 1), (4, 1, "insert", 2), (4, 2, "insert", 3)];
    assert_eq!(run(&entries).unwrap(), expected);
    let wrong = [entries[0].clone(), part(4, 3, 1, rawdoc! { "count": 3i64 })];
    assert_eq!(kind(&wrong), ErrorKind::Damaged);
    let lost_middle = [entries[0].clone(), entries[3].clone()];
    assert_eq!(kind(&lost_middle), ErrorKind::Damaged);
    assert_eq!(kind(&entries[2..]), ErrorKind::ResyncRequired);
}

#[test]
fn a_prepared_transaction_counts_at_its_commit_timestamp() {
    let mut assembler = Assembler::new(at(10), Filter::all());
    let mut seen = Vec::new();
    feed(&mut assembler, &insert(11, 1), &mut seen).unwrap();
    feed(&mut assembler, &prepare(12, 1, &[2, 3]), &mut seen).unwrap();
    feed(&mut assembler, &insert(13, 4), &mut seen).unwrap();
    assert_eq!(assembler.safe(Ts(13)), Ts(11));
    assert_eq!(assembler.replay_from(at(13)), at(11));
    assert!(assembler.buffered_bytes() > 0);
    feed(&mut assembler, &commit(14, 1, 1, 12, 13), &mut seen).unwrap();
    assert_eq!(assembler.safe(Ts(14)), Ts(14));
    assert_eq!((assembler.replay_from(at(14)), assembler.buffered_bytes()), (at(14), 0));
    // A state of the moment 12 still lacks it.
    assert_eq!(assembler.replay_from(at(12)), at(11));
    assembler.settle(Ts(14));
    assert_eq!(assembler.replay_from(at(14)), at(14));
    let expected = vec![
        (11, 0, "insert", 1),
        (13, 0, "insert", 4),
        (13, 0, "insert", 2),
        (13, 1, "insert", 3),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn ends_of_transactions_are_checked() {
    assert_eq!(run(&[prepare(1, 1, &[2]), abort(2, 1, 1, 1)]).unwrap(), vec![]);
    // Prepared before we began: its abort loses nothing, its commit would.
    assert_eq!(run(&[abort(2, 1, 1, 1)]).unwrap(), vec![]);
    assert_eq!(kind(&[commit(2, 1, 1, 1, 1)]), ErrorKind::ResyncRequired);
    // Unless it was decided at a moment that the reader has.
    assert_eq!(run(&[commit(2, 1, 1, 1, 0)]).unwrap(), vec![]);
    assert_eq!(kind(&[prepare(1, 1, &[2]), commit(2, 1, 2, 1, 1)]), ErrorKind::ResyncRequired);
    assert_eq!(kind(&[prepare(1, 1, &[2]), abort(2, 1, 2, 1)]), ErrorKind::Damaged);
    assert_eq!(kind(&[prepare(2, 1, &[2]), commit(4, 1, 1, 3, 3)]), ErrorKind::Damaged);
    assert_eq!(kind(&[prepare(2, 1, &[2]), commit(4, 1, 1, 2, 1)]), ErrorKind::Damaged);
    assert_eq!(kind(&[prepare(2, 1, &[2]), commit(4, 1, 1, 2, 5)]), ErrorKind::Damaged);
    assert_eq!(kind(&[prepare(2, 1, &[2]), prepare(3, 1, &[2])]), ErrorKind::Damaged);
}

#[test]
fn a_chain_that_was_never_finished_gives_way_to_the_sessions_next_one() {
    let orphan =
        apply_ops(1, vec![inner("i", 1)], rawdoc! { "partialTxn": true }, session(1, 1, 0));
    let next = apply_ops(2, vec![inner("i", 2)], none(), session(1, 2, 0));
    assert_eq!(run(&[orphan, next]).unwrap(), vec![(2, 0, "insert", 2)]);
}

#[test]
fn entries_must_rise() {
    assert_eq!(kind(&[insert(2, 1), insert(2, 2)]), ErrorKind::Damaged);
    assert_eq!(kind(&[insert(2, 1), insert(1, 2)]), ErrorKind::Damaged);
}

#[test]
fn nested_apply_ops_count_through() {
    let nested = apply_ops(1, vec![inner("i", 2), inner("i", 3)], none(), none());
    let nested = bson::RawDocumentBuf::from_bytes(nested).unwrap();
    let outer = apply_ops(5, vec![inner("i", 1), nested.into(), inner("i", 4)], none(), none());
    let ids: Vec<_> =
        run(&[outer]).unwrap().into_iter().map(|(at, n, _, id)| (at, n, id)).collect();
    assert_eq!(ids, vec![(5, 0, 1), (5, 1, 2), (5, 2, 3), (5, 3, 4)]);
    let mut deep = apply_ops(1, vec![inner("i", 1)], none(), none());
    for _ in 0..20 {
        deep = apply_ops(
            1,
            vec![bson::RawDocumentBuf::from_bytes(deep).unwrap().into()],
            none(),
            none(),
        );
    }
    assert_eq!(kind(&[deep]), ErrorKind::Unsupported);
}

#[test]
fn a_users_apply_ops_of_old_servers_upserts_unless_it_says_otherwise() {
    let modify = || {
        let op = rawdoc! {
            "op": "u", "ns": "d.c", "ui": crate::testing::uuid(crate::testing::COLL),
            "o2": { "_id": 5 }, "o": { "$set": { "a": 1 } },
        };
        vec![op.into()]
    };
    let sent = rawdoc! { "lsid": { "id": 1 }, "$clusterTime": {}, "$db": "admin" };
    assert_eq!(run(&[apply_ops(1, modify(), sent, none())]).unwrap()[0].2, "upsert");
    let sent = rawdoc! { "$db": "admin", "alwaysUpsert": false };
    assert_eq!(run(&[apply_ops(1, modify(), sent, none())]).unwrap()[0].2, "update");
    assert_eq!(run(&[apply_ops(1, modify(), none(), none())]).unwrap()[0].2, "update");
    let odd = rawdoc! { "somethingNew": 1 };
    assert_eq!(kind(&[apply_ops(1, modify(), odd, none())]), ErrorKind::Unsupported);
}

#[test]
fn noops_do_nothing_and_migrations_count() {
    let image = entry(1, "n", "d.c", rawdoc! { "_id": 1, "op": "i" }, rawdoc! { "whatever": 1 });
    let moved = entry(2, "i", "d.c", rawdoc! { "_id": 2 }, rawdoc! { "fromMigrate": true });
    assert_eq!(run(&[image, moved]).unwrap(), vec![(2, 0, "insert", 2)]);
}

#[test]
fn unknown_ops_and_commands_stop_unless_nothing_is_ever_kept_there() {
    let op = |ns| entry(1, "ci", ns, rawdoc! { "k": 1i64 }, rawdoc! { "container": "x" });
    assert_eq!(kind(&[op("d.c")]), ErrorKind::Unsupported);
    assert_eq!(run(&[op("config.system.indexBuilds")]).unwrap(), vec![]);
    // Excluded by a pattern is not enough: nobody knows what it touches.
    let deny = Filter::new(Mode::Deny, vec!["d.*".into()]).unwrap();
    assert!(run_with(deny.clone(), &[op("d.c")]).is_err());
    let unknown = command(1, rawdoc! { "frobnicate": "c" });
    assert!(run_with(deny, std::slice::from_ref(&unknown)).is_err());
    let message = run(&[unknown]).unwrap_err().to_string();
    assert!(message.contains("frobnicate") && message.contains("0:1"), "{message}");
}

#[test]
fn renames_across_the_filters_border() {
    let allow = || Filter::new(Mode::Allow, vec!["d.*".into()]).unwrap();
    let rename = |from: &str, to: &str| {
        command(1, rawdoc! { "renameCollection": from, "to": to, "stayTemp": false })
    };
    let words = |entry| {
        run_with(allow(), &[entry]).map(|s| s.into_iter().map(|(_, _, w, _)| w).collect::<Vec<_>>())
    };
    assert_eq!(words(rename("d.a", "d.b")).unwrap(), vec!["rename"]);
    assert_eq!(words(rename("d.a", "x.b")).unwrap(), vec!["drop"]);
    assert_eq!(words(rename("x.a", "y.b")).unwrap(), Vec::<&str>::new());
    assert_eq!(words(rename("x.a", "d.b")).unwrap_err().kind(), ErrorKind::ResyncRequired);
    // What $out and its like rename into place is covered from the beginning.
    let one = Filter::new(Mode::Allow, vec!["d.result".into()]).unwrap();
    let out = rename("d.tmp.agg_out.40530d9a-1ab8-49b1-8c65-7564141e759e", "d.result");
    assert_eq!(run_with(one, &[out]).unwrap()[0].2, "rename");
}

#[test]
fn views_go_by_their_own_name() {
    let view = |ts, name: &str| {
        entry(ts, "i", "d.system.views", rawdoc! { "_id": name, "viewOn": "c" }, none())
    };
    let filter = Filter::new(Mode::Allow, vec!["d.v".into()]).unwrap();
    let seen = run_with(filter, &[view(1, "d.v"), view(2, "d.w")]).unwrap();
    assert_eq!(seen, vec![(1, 0, "view", 0)]);
    let gone = entry(1, "d", "d.system.views", rawdoc! { "_id": "d.v" }, none());
    assert_eq!(run(&[gone]).unwrap(), vec![(1, 0, "drop view", 0)]);
}

#[test]
fn the_feature_version_is_told_besides() {
    let o =
        rawdoc! { "_id": "featureCompatibilityVersion", "version": "8.0", "targetVersion": "8.2" };
    let o2 = rawdoc! { "_id": "featureCompatibilityVersion" };
    let entry = entry(3, "u", "admin.system.version", o, rawdoc! { "o2": o2 });
    assert_eq!(run(&[entry]).unwrap(), vec![(3, 0, "replace", -1), (3, 0, "fcv", 0)]);
}

/// What happens in one session or beside it.
#[derive(Debug, Clone)]
enum Act {
    Plain,
    Batch(u8),
    Whole(u8),
    Chain(Vec<u8>),
    Prepared { parts: Vec<u8>, commit: bool, wait: u8 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Plain),
        (1..4u8).prop_map(Act::Batch),
        (1..4u8).prop_map(Act::Whole),
        prop::collection::vec(1..3u8, 2..4).prop_map(Act::Chain),
        (prop::collection::vec(1..3u8, 1..4), any::<bool>(), 0..6u8)
            .prop_map(|(parts, commit, wait)| Act::Prepared { parts, commit, wait }),
    ]
}

/// One entry of a session still to be written: built when its timestamp is known.
#[derive(Debug, Clone)]
enum Step {
    Plain(i32),
    Batch(Vec<i32>),
    Part { ids: Vec<i32>, prepare: bool, last: bool, total: i64 },
    Wait,
    End { commit: bool, ids: Vec<i32> },
}

/// Cuts an act into its entries; document ids tell the operations apart.
fn steps(act: &Act, next: &mut i32) -> Vec<Step> {
    let mut take = |n: u8| {
        (0..n)
            .map(|_| {
                *next += 1;
                *next
            })
            .collect::<Vec<i32>>()
    };
    match act {
        Act::Plain => vec![Step::Plain(take(1)[0])],
        Act::Batch(n) => vec![Step::Batch(take(*n))],
        Act::Whole(n) => {
            vec![Step::Part { ids: take(*n), prepare: false, last: true, total: i64::from(*n) }]
        }
        Act::Chain(parts) => chain(parts, &mut take, false),
        Act::Prepared { parts, commit, wait } => {
            let mut out = chain(parts, &mut take, true);
            let ids = out.iter().flat_map(|s| match s {
                Step::Part { ids, .. } => ids.clone(),
                _ => vec![],
            });
            let ids = ids.collect();
            out.extend((0..*wait).map(|_| Step::Wait));
            out.push(Step::End { commit: *commit, ids });
            out
        }
    }
}

fn chain(parts: &[u8], take: &mut impl FnMut(u8) -> Vec<i32>, prepare: bool) -> Vec<Step> {
    let total = parts.iter().map(|n| i64::from(*n)).sum();
    let last = parts.len() - 1;
    let step = |(i, n): (usize, &u8)| Step::Part {
        ids: take(*n),
        prepare: prepare && i == last,
        last: i == last,
        total,
    };
    parts.iter().enumerate().map(step).collect()
}

/// The sessions' entries in one interleaving, and what they come to by the
/// plainest reading: whole transactions at the moment that decides them.
fn interleave(sessions: &[Vec<Act>], picks: &[usize]) -> (Vec<Vec<u8>>, Seen) {
    let mut next = 0;
    let mut todo: Vec<Vec<(i64, Step)>> = sessions
        .iter()
        .map(|acts| {
            let numbered = acts.iter().enumerate();
            let mut all: Vec<_> = numbered
                .flat_map(|(n, act)| {
                    steps(act, &mut next)
                        .into_iter()
                        .map(move |s| (n as i64, s))
                        .collect::<Vec<_>>()
                })
                .collect();
            all.reverse();
            all
        })
        .collect();
    let (mut entries, mut expected, mut ts) = (Vec::new(), Seen::new(), 0u64);
    let mut prev = vec![(-1i64, 0u64, Vec::<i32>::new()); sessions.len()];
    let mut picks = picks.iter().cycle();
    while todo.iter().any(|t| !t.is_empty()) {
        let who = picks.next().copied().unwrap_or(0) % sessions.len();
        let who =
            (0..sessions.len()).map(|i| (who + i) % sessions.len()).find(|i| !todo[*i].is_empty());
        let who = who.unwrap();
        let (number, step) = todo[who].pop().unwrap();
        if prev[who].0 != number {
            prev[who] = (number, 0, vec![]);
        }
        let before = prev[who].1;
        let more = || session(who as i32, number, before);
        let inserts = |ids: &[i32]| ids.iter().map(|id| inner("i", *id)).collect::<Vec<_>>();
        let seen = |at: u64, ids: &[i32]| -> Seen {
            ids.iter().enumerate().map(|(n, id)| (at, n as u32, "insert", *id)).collect()
        };
        ts += 1;
        match step {
            Step::Wait => continue,
            Step::Plain(id) => {
                entries.push(insert(ts, id));
                expected.extend(seen(ts, &[id]));
            }
            Step::Batch(ids) => {
                entries.push(apply_ops(ts, inserts(&ids), none(), none()));
                expected.extend(seen(ts, &ids));
            }
            Step::Part { ids, prepare, last, total } => {
                let o = match (prepare, last) {
                    (true, _) => rawdoc! { "prepare": true },
                    (_, true) => rawdoc! { "count": total },
                    _ => rawdoc! { "partialTxn": true },
                };
                entries.push(apply_ops(ts, inserts(&ids), o, more()));
                prev[who].2.extend(&ids);
                if last && !prepare {
                    expected.extend(seen(ts, &prev[who].2));
                }
            }
            Step::End { commit: true, ids } => {
                let when = before + (ts - before) / 2;
                entries.push(commit(ts, who as i32, number, before, when));
                expected.extend(seen(when, &ids));
            }
            Step::End { commit: false, .. } => entries.push(abort(ts, who as i32, number, before)),
        }
        prev[who].1 = ts;
    }
    (entries, expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_interleaving_comes_to_what_plain_reading_says(
        sessions in prop::collection::vec(prop::collection::vec(act(), 0..5), 1..4),
        picks in prop::collection::vec(0..4usize, 1..40),
    ) {
        let (entries, expected) = interleave(&sessions, &picks);
        let mut assembler = Assembler::new(at(0), Filter::all());
        let mut seen = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            feed(&mut assembler, entry, &mut seen).unwrap();
            let last = assembler.position();
            // Nothing decided later lies at or below what was called safe.
            let safe = assembler.safe(last.ts);
            let late = expected[seen.len()..].iter().all(|(at, ..)| *at > safe.0);
            prop_assert!(late, "safe {safe:?} after entry {i}");
        }
        prop_assert_eq!(&seen, &expected);
        prop_assert_eq!(assembler.buffered_bytes(), 0);
        let end = assembler.position();
        prop_assert_eq!(assembler.replay_from(end), end);
    }

    #[test]
    fn reading_again_from_where_it_says_gives_the_rest(
        sessions in prop::collection::vec(prop::collection::vec(act(), 0..5), 1..4),
        picks in prop::collection::vec(0..4usize, 1..40),
        cut in any::<prop::sample::Index>(),
        back in any::<prop::sample::Index>(),
    ) {
        let (entries, expected) = interleave(&sessions, &picks);
        prop_assume!(!entries.is_empty());
        let cut = cut.index(entries.len()) + 1;
        let mut seen = Vec::new();
        let mut first = Assembler::new(at(0), Filter::all());
        for entry in &entries[..cut] {
            feed(&mut first, entry, &mut seen).unwrap();
        }
        // A state of any moment that is safe and has an entry.
        let safe = first.safe(first.position().ts);
        let moments = entries[..cut].iter().map(|e| Entry::position(e).unwrap()).filter(|p| p.ts <= safe);
        let moments: Vec<_> = std::iter::once(at(0)).chain(moments).collect();
        let moment = moments[back.index(moments.len())];
        let from = first.replay_from(moment);
        prop_assert!(from == at(0) || entries.iter().any(|e| Entry::position(e).unwrap() == from));
        let mut second = Assembler::resume(from, moment.ts, Filter::all());
        let mut rest = Vec::new();
        for entry in entries.iter().filter(|e| Entry::position(e).unwrap().ts > from.ts) {
            feed(&mut second, entry, &mut rest).unwrap();
        }
        let late: Seen = expected.into_iter().filter(|(at, ..)| *at > moment.ts.0).collect();
        prop_assert_eq!(rest, late);
    }

    #[test]
    fn mangled_entries_never_panic(
        at_byte in any::<prop::sample::Index>(), value in any::<u8>(), which in 0..4usize,
    ) {
        let mut entry = [
            insert(1, 1),
            prepare(1, 1, &[1, 2]),
            commit(1, 1, 1, 1, 1),
            command(1, rawdoc! { "collMod": "c", "index": { "name": "x", "hidden": true } }),
        ][which].clone();
        let i = at_byte.index(entry.len());
        entry[i] = value;
        let _ = run(&[entry]);
    }
}
