//! Which packs a check reads, so that each is read within the set time however they come and go: in the order of their
//! names, again and again. Pure.

use bygone_base::{PackId, UnixMillis};
use bygone_catalog::record::{StoreReading, Upkeep};

/// Behind every name of a pack.
const END: &str = "~";

/// A pack as a listing has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pack {
    pub(super) id: PackId,
    pub(super) bytes: u64,
}

/// The packs that a check at `now` is to read, in this order: what would be overdue before the next check, and at least
/// its share. `packs` in the order of their names.
pub(super) fn plan(
    packs: &[Pack],
    reading: &StoreReading,
    limits: &Upkeep,
    now: UnixMillis,
) -> Vec<Pack> {
    let (every, within) = (secs(limits.check_every_secs), secs(limits.check_within_secs));
    let total: u64 = packs.iter().map(|pack| pack.bytes).sum();
    let parts = u64::try_from((within / every.max(1)).max(1)).unwrap_or(1);
    let share = total.div_ceil(parts);
    let begun = packs.partition_point(|pack| pack.id.to_string() <= reading.cursor);
    let (before, after) = packs.split_at(begun);
    let mut taken = 0;
    let mut chosen = Vec::new();
    // In this order each was read later than the one before it.
    for pack in after.iter().chain(before) {
        let read = read_at(reading, pack.id).unwrap_or(reading.since);
        let overdue = now.since(read).saturating_add(every) > within;
        if taken >= share && !overdue {
            break;
        }
        taken += pack.bytes;
        chosen.push(*pack);
    }
    chosen
}

fn secs(secs: u64) -> i64 {
    i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1000)
}

fn read_at(reading: &StoreReading, pack: PackId) -> Option<UnixMillis> {
    let name = pack.to_string();
    let at = reading.stretches.partition_point(|(to, _)| *to < name);
    reading.stretches.get(at).map(|(_, read)| *read).filter(|read| read.0 > 0)
}

/// Notes that everything behind the cursor up to `pack` was read at `at`; `None`: up to the last one.
pub(super) fn mark(reading: &mut StoreReading, pack: Option<PackId>, at: UnixMillis) {
    let to = pack.map_or_else(|| END.to_owned(), |pack| pack.to_string());
    // Behind the last one it begins anew.
    let from = if reading.cursor >= to { String::new() } else { reading.cursor.clone() };
    let before = reading.stretches.iter().filter(|(end, _)| *end <= from).cloned();
    let mut stretches: Vec<(String, UnixMillis)> = before.collect();
    // What lies between the last stretch that is known and the cursor was never read.
    if !from.is_empty() && stretches.last().is_none_or(|(end, _)| *end < from) {
        let cut = reading.stretches.iter().find(|(end, _)| *end > from).map(|(_, read)| *read);
        stretches.push((from, cut.unwrap_or_default()));
    }
    match stretches.last_mut() {
        Some((end, read)) if *read == at => end.clone_from(&to),
        _ => stretches.push((to.clone(), at)),
    }
    stretches.extend(reading.stretches.iter().filter(|(end, _)| *end > to).cloned());
    reading.stretches = stretches;
    reading.cursor = if to == END { String::new() } else { to };
}

/// How many percent of the bytes of these packs were read within the set time.
pub(super) fn covered(
    packs: impl Iterator<Item = Pack>,
    reading: &StoreReading,
    limits: &Upkeep,
    now: UnixMillis,
) -> u32 {
    let (mut total, mut read) = (0_u64, 0_u64);
    for pack in packs {
        total += pack.bytes;
        let fresh = |at: UnixMillis| now.since(at) <= secs(limits.check_within_secs);
        read += if read_at(reading, pack.id).is_some_and(fresh) { pack.bytes } else { 0 };
    }
    let percent = read.saturating_mul(100).checked_div(total).unwrap_or(100);
    u32::try_from(percent).unwrap_or(100)
}

/// Which of these were last looked at so long ago that it is their turn: what would be overdue before the next check, and
/// at least the share that comes to one check. Oldest first.
pub(super) fn turns<T>(mut last: Vec<(UnixMillis, T)>, limits: &Upkeep, now: UnixMillis) -> Vec<T> {
    let (every, within) = (secs(limits.check_every_secs), secs(limits.check_within_secs));
    last.sort_by_key(|(at, _)| *at);
    let parts = usize::try_from((within / every.max(1)).max(1)).unwrap_or(1);
    let share = last.len() / parts;
    let due = |(n, (at, one)): (usize, (UnixMillis, T))| {
        let overdue = now.since(at).saturating_add(every) > within;
        (n < share || overdue).then_some(one)
    };
    last.into_iter().enumerate().filter_map(due).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bygone_base::{Rng as _, SeededRng};
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400_000;

    fn pack(rng: &SeededRng, bytes: u64) -> Pack {
        let mut id = [0; PackId::LEN];
        rng.fill(&mut id);
        Pack { id: PackId(id), bytes }
    }

    fn at(day: i64) -> UnixMillis {
        UnixMillis(1_800_000_000_000 + day * DAY)
    }

    /// A check that ends early where `cut`; gives what it read.
    fn check(
        reading: &mut StoreReading,
        packs: &[Pack],
        now: UnixMillis,
        cut: usize,
    ) -> Vec<PackId> {
        let chosen = plan(packs, reading, &Upkeep::default(), now);
        let chosen: Vec<Pack> = chosen.into_iter().take(cut).collect();
        for pack in &chosen {
            let last = packs.last().is_some_and(|last| last.id == pack.id);
            mark(reading, (!last).then_some(pack.id), now);
        }
        chosen.iter().map(|pack| pack.id).collect()
    }

    #[test]
    fn a_seventh_a_day_and_all_within_a_week() {
        let rng = SeededRng::new(1);
        let mut packs: Vec<Pack> = (0..700).map(|_| pack(&rng, 10)).collect();
        packs.sort_by_key(|pack| pack.id);
        let mut reading = StoreReading { since: at(0), ..StoreReading::default() };
        let limits = Upkeep::default();
        let shown =
            |reading: &StoreReading, day| covered(packs.iter().copied(), reading, &limits, at(day));
        assert_eq!(shown(&reading, 0), 0);
        for day in 0..21 {
            assert_eq!(check(&mut reading, &packs, at(day), 999).len(), 100, "day {day}");
            let percent = (u32::try_from(day).unwrap() + 1) * 100 / 7;
            assert_eq!(shown(&reading, day), percent.min(100), "day {day}");
            assert!(reading.stretches.len() <= 9, "{:?}", reading.stretches);
        }
        // Nobody checked for five days: what would be overdue by the next one is all read at once.
        assert_eq!(check(&mut reading, &packs, at(26), 999).len(), 600);
        assert_eq!(shown(&reading, 26), 100);
        assert!(plan(&[], &reading, &limits, at(26)).is_empty());
        assert_eq!(covered(std::iter::empty(), &reading, &limits, at(26)), 100);
    }

    #[test]
    fn jobs_take_turns() {
        let limits = Upkeep::default();
        let last = |days: &[i64]| days.iter().map(|day| (at(*day), *day)).collect::<Vec<_>>();
        // Of a few each has its own day; of many each day has its share.
        assert_eq!(turns(last(&[3, 0, 5]), &limits, at(5)), Vec::<i64>::new());
        assert_eq!(turns(last(&[3, 0, 5]), &limits, at(7)), [0]);
        assert_eq!(turns(last(&[0; 14]), &limits, at(1)), [0, 0]);
        assert_eq!(turns(last(&[0; 14]), &limits, at(7)).len(), 14);
    }

    proptest! {
        /// Packs come and go, checks are cut off and left out: whatever was there is never older than the set time when a
        /// check comes to its end a day after the last one.
        #[test]
        fn each_is_read_within_the_set_time(
            seed in 0_u64..1_000,
            days in prop::collection::vec((0_usize..30, 0_usize..20, 0_usize..60), 8..40),
        ) {
            let rng = SeededRng::new(seed);
            let mut packs: BTreeMap<PackId, u64> = BTreeMap::new();
            let mut seen: BTreeMap<PackId, i64> = BTreeMap::new();
            let mut reading = StoreReading { since: at(0), ..StoreReading::default() };
            for (day, (come, go, cut)) in days.into_iter().enumerate() {
                let day = day as i64;
                for _ in 0..come {
                    let new = pack(&rng, 1 + seed % 50);
                    packs.insert(new.id, new.bytes);
                    seen.insert(new.id, day);
                }
                let gone: Vec<PackId> = packs.keys().step_by(7).take(go).copied().collect();
                packs.retain(|id, _| !gone.contains(id));
                let listed: Vec<Pack> =
                    packs.iter().map(|(id, bytes)| Pack { id: *id, bytes: *bytes }).collect();
                // Every third check is cut off somewhere, and goes on.
                let mut read = Vec::new();
                if day % 3 == 0 {
                    read = check(&mut reading, &listed, at(day), cut);
                }
                read.extend(check(&mut reading, &listed, at(day), usize::MAX));
                for id in read {
                    seen.insert(id, day);
                }
                for id in packs.keys() {
                    prop_assert!(day - seen[id] <= 7, "{id} was last read on day {} of {day}", seen[id]);
                }
            }
        }
    }
}
