//! How many connections there may be, and of whom: nobody keeps agents out by being many.
//!
//! Most seats are for everybody, so many for one address. When they are taken, there is a reserve, in which one must show
//! an agent's token with the first request, and where the longest waiting one gives way to who comes. An agent that has
//! shown its token takes no seat at all.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bygone_base::net::counted_as;
use tokio_util::sync::CancellationToken;

/// Seats for everybody ...
const ORDINARY: usize = 512;
/// ... of which one address gets so many.
const PER_ADDRESS: usize = 96;
/// The reserve.
const RESERVE: usize = 64;

/// Who sits where.
#[derive(Debug, Default)]
pub(super) struct Doors {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    ordinary: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Longest waiting first.
    reserve: VecDeque<(u64, CancellationToken)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    Ordinary,
    Reserve(u64),
    Agent,
}

/// A connection's seat; free when it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    doors: Arc<Doors>,
    address: IpAddr,
    seat: Mutex<Seat>,
    /// It has to go.
    pub(super) evicted: CancellationToken,
}

impl Doors {
    /// A seat for a connection from `address`; `many` do not share theirs with others, as they stand for many people.
    pub(super) fn enter(self: &Arc<Doors>, address: IpAddr, many: bool) -> Arc<Pass> {
        let evicted = CancellationToken::new();
        let address = counted_as(address);
        let mut state = self.state();
        let of_address = state.by_address.get(&address).copied().unwrap_or(0);
        let seat = if state.ordinary < ORDINARY && (many || of_address < PER_ADDRESS) {
            state.ordinary += 1;
            *state.by_address.entry(address).or_insert(0) += 1;
            Seat::Ordinary
        } else {
            if state.reserve.len() >= RESERVE
                && let Some((_, longest)) = state.reserve.pop_front()
            {
                longest.cancel();
            }
            state.next += 1;
            let id = state.next;
            state.reserve.push_back((id, evicted.clone()));
            Seat::Reserve(id)
        };
        drop(state);
        Arc::new(Pass { doors: Arc::clone(self), address, seat: Mutex::new(seat), evicted })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, address: IpAddr, seat: Seat) {
        let mut state = self.state();
        match seat {
            Seat::Ordinary => {
                state.ordinary = state.ordinary.saturating_sub(1);
                if let Some(n) = state.by_address.get_mut(&address) {
                    *n = n.saturating_sub(1);
                    if *n == 0 {
                        state.by_address.remove(&address);
                    }
                }
            }
            Seat::Reserve(id) => state.reserve.retain(|(waiting, _)| *waiting != id),
            Seat::Agent => {}
        }
    }
}

impl Pass {
    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is an agent's.
    pub(super) fn prove(&self) {
        let before = std::mem::replace(&mut *self.seat(), Seat::Agent);
        self.doors.free(self.address, before);
    }

    /// Only an agent may stay.
    pub(super) fn is_reserve(&self) -> bool {
        matches!(*self.seat(), Seat::Reserve(_))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let seat = *self.seat();
        self.doors.free(self.address, seat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: usize) -> IpAddr {
        IpAddr::from([10, 0, (n / 256) as u8, (n % 256) as u8])
    }

    #[test]
    fn one_address_takes_its_share_and_agents_take_none() {
        let doors = Arc::new(Doors::default());
        let mut all: Vec<_> = (0..PER_ADDRESS).map(|_| doors.enter(ip(1), false)).collect();
        assert!(all.iter().all(|pass| !pass.is_reserve()));
        assert!(doors.enter(ip(1), false).is_reserve());
        assert!(!doors.enter(ip(2), false).is_reserve());
        // A proxy stands for many.
        assert!(!doors.enter(ip(1), true).is_reserve());
        // An agent gives its seat to others.
        all[0].prove();
        all.push(doors.enter(ip(1), false));
        assert!(!all[PER_ADDRESS].is_reserve());
        drop(all);
        assert!(doors.state().by_address.is_empty() && doors.state().ordinary == 0);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let doors = Arc::new(Doors::default());
        let ip = |network: u16, n: usize| {
            IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, u16::try_from(n).unwrap()])
        };
        let all: Vec<_> = (0..PER_ADDRESS).map(|n| doors.enter(ip(1, n), false)).collect();
        assert!(all.iter().all(|pass| !pass.is_reserve()));
        assert!(doors.enter(ip(1, PER_ADDRESS), false).is_reserve());
        assert!(!doors.enter(ip(2, 1), false).is_reserve());
        drop(all);
        assert!(doors.state().by_address.is_empty());
    }

    #[test]
    fn who_waits_longest_in_the_reserve_gives_way() {
        let doors = Arc::new(Doors::default());
        let all: Vec<_> = (0..ORDINARY).map(|n| doors.enter(ip(n), false)).collect();
        assert!(all.iter().all(|pass| !pass.is_reserve()));
        let waiting: Vec<_> = (0..RESERVE).map(|_| doors.enter(ip(9999), false)).collect();
        assert!(waiting.iter().all(|pass| pass.is_reserve() && !pass.evicted.is_cancelled()));
        waiting[0].prove();
        let next = doors.enter(ip(9999), false);
        assert!(waiting.iter().all(|pass| !pass.evicted.is_cancelled()));
        let last = doors.enter(ip(9999), false);
        assert!(waiting[1].evicted.is_cancelled() && !next.evicted.is_cancelled());
        assert!(last.is_reserve());
    }
}
