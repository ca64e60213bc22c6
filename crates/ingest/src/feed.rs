//! How the daemon learns of new slices at once, without ever making ingest wait
//! or grow: each subscriber has a queue bounded in bytes. What does not fit is
//! dropped and the subscriber is told to read from the store instead.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bygone_base::{OpTime, TimelineId};
use bygone_oplog::slice::SliceHeader;
use bytes::Bytes;
use tokio::sync::Notify;

/// Something new and durable about a part.
#[derive(Debug, Clone)]
pub enum Event {
    /// A slice was appended to the chain.
    Slice {
        /// The timeline it belongs to.
        timeline: TimelineId,
        /// Its header.
        header: SliceHeader,
        /// The whole slice, as stored (plain body).
        bytes: Bytes,
    },
    /// A new timeline was opened: by an initial sync or by a fork.
    Timeline {
        /// Its number.
        timeline: TimelineId,
        /// Where its chain starts.
        start: OpTime,
    },
    /// The plan of an initial sync was stored, or one of its ranges went on.
    SyncProgress,
    /// An initial sync ended: its data and its end record are durable.
    SyncEnded,
    /// Events were dropped: look at the store for what is there, then go on
    /// with the events that follow.
    Lagged,
}

impl Event {
    fn cost(&self) -> usize {
        match self {
            Event::Slice { bytes, .. } => bytes.len() + 256,
            _ => 256,
        }
    }
}

#[derive(Debug)]
struct Queue {
    state: Mutex<QueueState>,
    news: Notify,
    /// Upper bound of the waiting events' cost, in bytes.
    bound: usize,
}

#[derive(Debug, Default)]
struct QueueState {
    events: VecDeque<Event>,
    cost: usize,
    lagged: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: Event) {
        let mut state = self.lock();
        let cost = event.cost();
        if state.cost + cost > self.bound {
            state.events.clear();
            state.cost = 0;
            state.lagged = true;
        } else {
            state.cost += cost;
            state.events.push_back(event);
        }
        drop(state);
        self.news.notify_one();
    }

    fn pop(&self) -> Option<Event> {
        let mut state = self.lock();
        if std::mem::take(&mut state.lagged) {
            return Some(Event::Lagged);
        }
        let event = state.events.pop_front()?;
        state.cost -= event.cost();
        Some(event)
    }
}

/// The events of one part, in order; made by `Ingest::subscribe`.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

impl Events {
    /// Waits for the next event. Cancel-safe.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.queue.pop() {
                return event;
            }
            self.queue.news.notified().await;
        }
    }

    /// The next event if one is waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        self.queue.pop()
    }
}

/// The sending side: all subscribers of one part.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    queues: Mutex<Vec<Weak<Queue>>>,
}

impl Feed {
    pub(crate) fn subscribe(&self, bound: usize) -> Events {
        let queue = Arc::new(Queue { state: Mutex::default(), news: Notify::new(), bound });
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.push(Arc::downgrade(&queue));
        Events { queue }
    }

    /// Never waits.
    pub(crate) fn send(&self, event: &Event) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| {
            let queue = queue.upgrade();
            if let Some(queue) = &queue {
                queue.push(event.clone());
            }
            queue.is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(id: u32) -> Event {
        Event::Timeline { timeline: TimelineId(id), start: OpTime::default() }
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_told_and_costs_no_memory() {
        let feed = Feed::default();
        let mut events = feed.subscribe(1024);
        for id in 0..3 {
            feed.send(&started(id));
        }
        assert!(matches!(events.next().await, Event::Timeline { .. }));
        for id in 3..8 {
            feed.send(&started(id));
        }
        assert!(matches!(events.next().await, Event::Lagged));
        let mut rest = 0;
        while let Some(event) = events.try_next() {
            assert!(matches!(event, Event::Timeline { .. }));
            rest += 1;
        }
        assert!(rest <= 4);
        drop(events);
        feed.send(&started(9));
        assert!(feed.queues.lock().unwrap().is_empty());
    }
}
