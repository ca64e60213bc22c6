//! Sessions, fencing, and the chain of slices.

use bygone_base::{CollectionId, ErrorKind, TimelineId};
use bygone_oplog::{
    filter::{Filter, Mode},
    uplink::{Ack, AgentReport, Hello, PartState, SessionRef, TimelineReason, Uplink as _},
};

use super::{
    support::{World, at, salted, slice},
    sync::{IDENTITY, complete},
};
use crate::Event;

#[tokio::test]
async fn a_new_part_is_empty_and_a_begun_one_goes_on_after_a_restart() {
    let w = World::new().await;
    let ingest = w.ingest();
    assert_eq!(w.open(&ingest, "a").await.state, PartState::Empty { why: None });
    let s = w.begun(&ingest, "a").await;
    assert_eq!(ingest.oplog_slice(&s, slice(0, 3)).await.unwrap(), Ack::Stored);
    let ingest = w.ingest();
    let session = w.open(&ingest, "a").await;
    let PartState::Syncing { start, chain, plan: None, .. } = session.state else {
        panic!("{:?}", session.state)
    };
    assert_eq!((start, chain), (at(0), at(3)));
    assert!(session.epoch > s.epoch);
}

#[tokio::test]
async fn a_slice_sent_twice_is_stored_once_in_any_cut() {
    let w = World::new().await;
    let ingest = w.ingest();
    let s = w.begun(&ingest, "a").await;
    assert_eq!(ingest.oplog_slice(&s, slice(0, 3)).await.unwrap(), Ack::Stored);
    assert_eq!(ingest.oplog_slice(&s, slice(0, 3)).await.unwrap(), Ack::AlreadyStored);
    assert_eq!(ingest.oplog_slice(&s, slice(3, 6)).await.unwrap(), Ack::Stored);
    assert_eq!(ingest.oplog_slice(&s, slice(1, 5)).await.unwrap(), Ack::AlreadyStored);
    // Begins within the chain and goes beyond: only the rest is stored.
    assert_eq!(ingest.oplog_slice(&s, slice(2, 9)).await.unwrap(), Ack::Stored);
    assert_eq!(w.entries(s.timeline, at(0)).await.len(), 9);
    assert_eq!(w.slice_names(s.timeline).await.len(), 3);
}

/// A job that was stopped: what was taken is stored, and nothing comes after.
#[tokio::test]
async fn what_is_closed_takes_nothing_and_a_fence_is_noticed() {
    let w = World::new().await;
    let ingest = w.ingest();
    let s = w.begun(&ingest, "a").await;
    ingest.oplog_slice(&s, slice(0, 3)).await.unwrap();
    let taking = ingest.admit().await.unwrap();
    let mut closing = std::pin::pin!(ingest.close());
    let waits = tokio::select! {
        biased;
        () = &mut closing => false,
        () = tokio::task::yield_now() => true,
    };
    assert!(waits, "for what is being taken");
    drop(taking);
    closing.await;
    let late = ingest.oplog_slice(&s, slice(3, 6)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unavailable);
    assert!(ingest.open(w.hello("a")).await.is_err());
    assert_eq!(w.entries(s.timeline, at(0)).await.len(), 3);
    // Another process has the same session, until somebody takes the epoch.
    let rival = w.ingest();
    rival.oplog_slice(&s, slice(3, 6)).await.unwrap();
    assert!(w.ingest().fence(&s.key, "a test").await.unwrap());
    assert!(w.ingest().oplog_slice(&s, slice(6, 7)).await.is_err());
}

#[tokio::test]
async fn gaps_and_forks_are_refused_and_change_nothing() {
    let w = World::new().await;
    let ingest = w.ingest();
    let s = w.begun(&ingest, "a").await;
    ingest.oplog_slice(&s, slice(0, 3)).await.unwrap();
    for (what, bad) in [
        ("gap", slice(4, 5)),
        ("other content", salted(0, 3, 1)),
        ("other content, another cut", salted(0, 2, 1)),
        ("other content before the end", salted(1, 9, 1)),
    ] {
        let error = ingest.oplog_slice(&s, bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{what}: {error}");
    }
    assert_eq!(w.entries(s.timeline, at(0)).await.len(), 3);
    ingest.oplog_slice(&s, slice(3, 4)).await.unwrap();
}

#[tokio::test]
async fn a_changed_byte_on_the_way_is_never_stored() {
    let w = World::new().await;
    let ingest = w.ingest();
    let s = w.begun(&ingest, "a").await;
    let good = slice(0, 2);
    for i in 0..good.len() {
        let mut bad = good.to_vec();
        bad[i] ^= 0x10;
        assert!(ingest.oplog_slice(&s, bad.into()).await.is_err(), "byte {i}");
    }
    for len in [0, 10, 80, good.len() - 1] {
        assert!(ingest.oplog_slice(&s, good.slice(..len)).await.is_err(), "length {len}");
    }
    assert!(w.slice_names(s.timeline).await.is_empty());
}

#[tokio::test]
async fn a_second_agent_is_kept_out_while_the_first_is_alive() {
    let w = World::new().await;
    let ingest = w.ingest();
    let s = w.begun(&ingest, "first").await;
    let refused = ingest.open(w.hello("second")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("first@host"), "{refused}");
    w.clock.pass(29);
    ingest.report(&s, AgentReport::default()).await.unwrap();
    w.clock.pass(29);
    assert!(ingest.open(w.hello("second")).await.is_err());
    w.clock.pass(2);
    ingest.open(w.hello("second")).await.unwrap();
    // The first is fenced from then on.
    let fenced = ingest.oplog_slice(&s, slice(0, 1)).await.unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Conflict);
    assert!(fenced.to_string().contains("second@host"), "{fenced}");
    assert_eq!(
        ingest.report(&s, AgentReport::default()).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    // The same agent may open again at any time, another by taking over.
    ingest.open(w.hello("second")).await.unwrap();
    ingest.open(Hello { take_over: true, ..w.hello("third") }).await.unwrap();
}

#[tokio::test]
async fn two_servers_on_one_bucket_never_fork_the_chain() {
    let w = World::new().await;
    let (a, b) = (w.ingest_over(w.repo.clone(), 1), w.ingest_over(w.repo.clone(), 2));
    let sa = w.begun(&a, "a").await;
    a.oplog_slice(&sa, slice(0, 2)).await.unwrap();
    let session = w.open(&b, "b").await;
    let sb = w.session(&session);
    // The first server has not noticed yet and goes on: still the same history.
    a.oplog_slice(&sa, slice(2, 4)).await.unwrap();
    // The second one meets the taken name with another cut, and with another history.
    assert_eq!(b.oplog_slice(&sb, slice(2, 7)).await.unwrap(), Ack::Stored);
    assert_eq!(b.oplog_slice(&sb, salted(2, 8, 1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    // The first one meets the taken name now: fenced at once.
    let fenced = a.oplog_slice(&sa, slice(4, 6)).await.unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Conflict);
    assert!(fenced.to_string().contains("b@host"), "{fenced}");
    assert_eq!(w.entries(sb.timeline, at(0)).await.len(), 7);
}

#[tokio::test]
async fn a_fenced_server_notices_in_time_even_without_a_conflict() {
    let w = World::new().await;
    let (a, b) = (w.ingest_over(w.repo.clone(), 1), w.ingest_over(w.repo.clone(), 2));
    let sa = w.begun(&a, "a").await;
    w.open(&b, "b").await;
    w.clock.pass(11);
    assert_eq!(a.oplog_slice(&sa, slice(0, 1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(w.slice_names(sa.timeline).await.is_empty());
}

#[tokio::test]
async fn a_session_goes_on_over_another_server_process() {
    let w = World::new().await;
    let (a, b) = (w.ingest_over(w.repo.clone(), 1), w.ingest_over(w.repo.clone(), 2));
    let s = w.begun(&a, "a").await;
    a.oplog_slice(&s, slice(0, 2)).await.unwrap();
    b.oplog_slice(&s, slice(2, 4)).await.unwrap();
    // The first process learns from the store that the chain went on.
    a.oplog_slice(&s, slice(4, 5)).await.unwrap();
    assert_eq!(b.status(&w.key).unwrap().holder, "a@host");
    assert!(b.open(w.hello("other")).await.is_err(), "the lease is known there, too");
}

#[tokio::test]
async fn a_missing_slice_is_damage_and_is_named() {
    let w = World::new().await;
    let ingest = w.ingest();
    let s = w.begun(&ingest, "a").await;
    for n in 0..4 {
        ingest.oplog_slice(&s, slice(n, n + 1)).await.unwrap();
    }
    let names = w.slice_names(s.timeline).await;
    w.store.delete(&names[2].object(&w.key.job, &w.key.part)).await.unwrap();
    let error = w.ingest().open(w.hello("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("1002:1"), "{error}");
}

#[tokio::test]
async fn a_rollback_opens_a_timeline_at_a_stored_entry_only() {
    let w = World::new().await;
    let ingest = w.ingest();
    let mut s = w.begun(&ingest, "a").await;
    ingest.oplog_slice(&s, slice(0, 10)).await.unwrap();
    assert_eq!(ingest.fork(&s, at(5)).await.unwrap_err().kind(), ErrorKind::ResyncRequired);
    complete(&ingest, &s, at(10)).await;
    for bad in [at(11), at(99), bygone_base::OpTime::new(at(5).ts, 2)] {
        assert_eq!(ingest.fork(&s, bad).await.unwrap_err().kind(), ErrorKind::Conflict);
    }
    let first = s.timeline;
    let old = s.clone();
    s.timeline = ingest.fork(&s, at(5)).await.unwrap();
    assert_eq!(s.timeline, TimelineId(first.0 + 1));
    // A lost reply: the same fork again is the same timeline.
    assert_eq!(ingest.fork(&old, at(5)).await.unwrap(), s.timeline);
    assert_eq!(
        ingest.oplog_slice(&old, slice(10, 11)).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    ingest.oplog_slice(&s, salted(5, 8, 1)).await.unwrap();
    assert_eq!(ingest.fork(&old, at(5)).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(w.entries(first, at(0)).await.len(), 10);
    assert_eq!(w.entries(s.timeline, at(5)).await.len(), 3);
    let PartState::Tailing { chain, recent } = w.open(&w.ingest(), "a").await.state else {
        panic!()
    };
    assert_eq!(chain, at(8));
    assert_eq!(recent, [at(8), at(5), at(0)]);
}

#[tokio::test]
async fn a_begin_whose_reply_was_lost_is_not_begun_twice() {
    let w = World::new().await;
    let ingest = w.ingest();
    let s = w.session(&w.open(&ingest, "a").await);
    let begin = |reason| ingest.begin_sync(&s, at(0), reason);
    let first = begin(TimelineReason::InitialSync).await.unwrap();
    assert_eq!(begin(TimelineReason::InitialSync).await.unwrap(), first);
    let next = SessionRef { timeline: first.0, ..s.clone() };
    let (timeline, _) = ingest.begin_sync(&next, at(4), TimelineReason::RollOver).await.unwrap();
    assert_eq!(timeline, TimelineId(2));
    assert_eq!(begin(TimelineReason::InitialSync).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn another_filter_asks_for_another_initial_sync() {
    let w = World::new().await;
    let ingest = w.ingest();
    let s = w.begun(&ingest, "a").await;
    complete(&ingest, &s, at(0)).await;
    assert!(matches!(w.open(&ingest, "a").await.state, PartState::Tailing { .. }));
    let filter = Filter::new(Mode::Deny, vec!["logs.*".to_owned()]).unwrap();
    let session = ingest.open(Hello { filter, ..w.hello("a") }).await.unwrap();
    assert!(matches!(session.state, PartState::Empty { why: Some(_) }));
}

#[tokio::test]
async fn another_set_of_the_same_name_asks_for_another_initial_sync() {
    let w = World::new().await;
    let ingest = w.ingest();
    let s = w.begun(&ingest, "a").await;
    complete(&ingest, &s, at(0)).await;
    let of = |identity| Hello { identity, ..w.hello("a") };
    // What is stored was made when nobody asked for it, or by the set that answers now.
    for same in [None, Some(IDENTITY)] {
        let state = ingest.open(of(same)).await.unwrap().state;
        assert!(matches!(state, PartState::Tailing { .. }), "{state:?}");
    }
    let state = ingest.open(of(Some(CollectionId([7; 16])))).await.unwrap().state;
    let PartState::Empty { why: Some(why) } = state else { panic!("{state:?}") };
    assert!(why.contains("another replica set"), "{why}");
}

#[tokio::test]
async fn subscribers_learn_of_what_is_durable_in_order() {
    let w = World::new().await;
    let ingest = w.ingest();
    let mut events = ingest.subscribe(&w.key);
    let s = w.begun(&ingest, "a").await;
    ingest.oplog_slice(&s, slice(0, 2)).await.unwrap();
    ingest.oplog_slice(&s, slice(0, 2)).await.unwrap();
    ingest.oplog_slice(&s, slice(2, 3)).await.unwrap();
    assert!(matches!(events.next().await, Event::Timeline { start, .. } if start == at(0)));
    for end in [2, 3] {
        let Event::Slice { header, bytes, timeline } = events.next().await else { panic!() };
        assert_eq!((header.last, timeline), (at(end), s.timeline));
        assert!(!bytes.is_empty());
    }
    assert!(events.try_next().is_none());
    let status = ingest.status(&w.key).unwrap();
    assert_eq!((status.chain, status.timeline), (at(3), s.timeline));
}
