//! A capped collection whose server begins to log what it trims (feature compatibility version 4.4 to 5.0).

use bson::rawdoc;
use bygone_base::{CollectionId, OpTime, Ts, When};
use bygone_tree::KeyRange;

use crate::{
    entries::{Crud, command, crud, set_fcv},
    world::{START, World},
};

const C: CollectionId = CollectionId([1; 16]);
const ADMIN: CollectionId = CollectionId([9; 16]);

struct Tape {
    prev: OpTime,
    entries: Vec<(OpTime, Vec<u8>)>,
}

impl Tape {
    fn push(&mut self, entry: impl Fn(OpTime) -> Vec<u8>) {
        let last = self.entries.last().map_or(self.prev, |(at, _)| *at);
        let at = OpTime::new(Ts::new(last.ts.secs() + 1, 1), 1);
        self.entries.push((at, entry(at)));
    }

    fn end(&self) -> Ts {
        self.entries.last().unwrap().0.ts
    }

    async fn store(&mut self, world: &World) {
        let entries = std::mem::take(&mut self.entries);
        world.slice(self.prev, &entries).await;
        self.prev = entries.last().unwrap().0;
    }
}

/// The ids that a restore would load: what the view trims is left out.
async fn ids(world: &World, at: Ts) -> Vec<i32> {
    let view = world.view(When::Including(at)).await.unwrap();
    let limits = view.trim(C).unwrap();
    let merge = view.merge(C, KeyRange::all()).await.unwrap();
    let mut order =
        bygone_tree::capped::NaturalOrder::learn(merge, limits.as_ref(), 1 << 20).await.unwrap();
    let mut ids = Vec::new();
    loop {
        let merge = view.merge(C, KeyRange::all()).await.unwrap();
        let Some(docs) = order.next_window(merge).await.unwrap() else { return ids };
        let mut rest = &docs[..];
        while !rest.is_empty() {
            let len = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
            let doc = bson::RawDocument::from_bytes(&rest[..len]).unwrap();
            ids.push(doc.get_i32("_id").unwrap());
            rest = &rest[len..];
        }
    }
}

/// `max: 3`; inserts 1..=5 under 4.4 (1 and 2 go unlogged), the change, then 6 with its logged delete of 3.
async fn story(snapshots: [bool; 3]) {
    let world = World::new(1, "4.4").await;
    let mut tape = Tape { prev: START, entries: Vec::new() };
    tape.push(|at| command(at, ADMIN, rawdoc! { "create": "x" }));
    tape.push(|at| {
        command(at, C, rawdoc! { "create": "c", "capped": true, "size": 100_000, "max": 3 })
    });
    for id in 1..=5 {
        tape.push(|at| crud(at, C, "d.c", &Crud::Insert(id, 0)));
    }
    let before = tape.end();
    tape.store(&world).await;
    let mut head = world.head(usize::MAX).await;
    world.snapshot(&mut head).await.unwrap();
    tape.push(|at| set_fcv(at, ADMIN, "5.0"));
    let crossing = tape.end();
    tape.store(&world).await;
    head.catch_up().await.unwrap();
    if snapshots[0] {
        world.snapshot(&mut head).await.unwrap();
    }
    tape.push(|at| crud(at, C, "d.c", &Crud::Insert(6, 0)));
    tape.push(|at| crud(at, C, "d.c", &Crud::Delete(3)));
    let after = tape.end();
    tape.store(&world).await;
    head.catch_up().await.unwrap();
    if snapshots[1] {
        world.snapshot(&mut head).await.unwrap();
    }
    if snapshots[2] {
        head = world.head(usize::MAX).await;
        world.snapshot(&mut head).await.unwrap();
    }
    assert_eq!(ids(&world, before).await, [3, 4, 5], "{snapshots:?}");
    assert_eq!(ids(&world, crossing).await, [3, 4, 5], "{snapshots:?}");
    assert_eq!(ids(&world, after).await, [4, 5, 6], "{snapshots:?}");
}

#[tokio::test]
async fn what_was_trimmed_without_a_word_does_not_come_back() {
    for bits in 0..8_u8 {
        story([bits & 1 > 0, bits & 2 > 0, bits & 4 > 0]).await;
    }
}
