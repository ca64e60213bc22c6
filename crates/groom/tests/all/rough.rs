//! Grooms that are cut off anywhere, and several at once.

use crate::site::{DELAY, Rough, Site};

/// A site where the next groom deletes, rewrites and forgets.
async fn ripe(seed: u64) -> Site {
    let mut site = Site::new(seed).await;
    site.write(0..120).await;
    site.snapshot().await;
    for step in 0..6 {
        let from = step * 10;
        site.write(from..from + 60).await;
        site.snapshot().await;
        while site.truth.len() > 2 {
            let id = site.truth.keys().next().unwrap().clone();
            site.expire(&id).await;
        }
        site.clock.pass(DELAY);
        if step < 5 {
            site.groom().await;
        }
    }
    site
}

#[tokio::test]
async fn a_groom_that_is_cut_off_anywhere_is_finished_by_the_next() {
    let site = ripe(1).await;
    let all = site.names("packs/").await.len();
    let mut calls = 0;
    let mut ended = false;
    while !ended {
        let copy = site.copy().await;
        site.clock.pass(DELAY);
        // What is dead was found dead long ago; opening the repository is not counted.
        let rough = Rough::new(copy.store.clone(), u64::MAX, calls);
        let repo = copy.over(rough.clone()).await;
        rough.die_after(calls);
        ended = copy.groom_over(&repo).await.is_ok();
        assert_ne!(ended, rough.died());
        copy.check().await;
        for _ in 0..3 {
            copy.groom().await;
            copy.check().await;
            copy.clock.pass(DELAY);
        }
        assert!(copy.names("packs/").await.len() <= all);
        assert_eq!(copy.groom().await.waiting, 0, "after {calls} calls");
        calls += 1 + calls / 40;
    }
    assert!(calls > 40, "{calls}");
}

#[tokio::test]
async fn several_grooms_at_once_lose_nothing() {
    for seed in 0..12 {
        let site = ripe(seed).await;
        site.clock.pass(DELAY);
        let mut repos = Vec::new();
        for n in 0..3 {
            repos.push(site.over(Rough::new(site.store.clone(), u64::MAX, seed * 3 + n)).await);
        }
        let grooms = repos.iter().map(|repo| site.groom_over(repo));
        for done in futures::future::join_all(grooms).await {
            done.unwrap();
        }
        site.check().await;
        for _ in 0..3 {
            site.clock.pass(DELAY);
            site.groom().await;
        }
        site.check().await;
        assert_eq!(site.groom().await.waiting, 0);
    }
}
