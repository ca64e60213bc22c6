//! How much of a file was sent to who has its link: a link that is good once is not good for two files in parts.
//!
//! What is about to be sent is reserved before, so that many at once are not more than one after the other; what was
//! not sent in the end is given back, so that a download that was cut can be gone on with.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bygone_base::{Error, ErrorKind, Result};
use bygone_catalog::{
    Id,
    record::{Delivery, RestoreJob},
};

use crate::Control;

/// What a cut connection swallows counts as sent: so much beyond the limit may be sent, but never half a file.
const SWALLOWED: u64 = 16 << 20;

/// Transfers that are under way in this process, or not noted yet.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    of: Mutex<HashMap<Id, Row>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Row {
    /// Reserved and not sent.
    open: u64,
    /// Sent, and not yet in the catalog.
    unnoted: u64,
}

/// A part of a file that is being sent.
#[derive(Debug)]
pub struct Transfer {
    control: Arc<Control>,
    restore: Id,
    /// Not sent yet.
    left: u64,
}

impl Ledger {
    fn change<T>(&self, restore: &Id, change: impl FnOnce(&mut Row) -> T) -> T {
        let mut of = self.of();
        let row = of.entry(restore.clone()).or_default();
        let given = change(row);
        if row.open == 0 && row.unnoted == 0 {
            of.remove(restore);
        }
        given
    }

    fn of(&self) -> MutexGuard<'_, HashMap<Id, Row>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that were sent, as the catalog has it. (Before bytes were counted, whole downloads were.)
fn noted(delivery: &Delivery) -> u64 {
    match delivery {
        Delivery::Http { sent: 0, downloads, size: Some(size), .. } => {
            u64::from(*downloads).saturating_mul(*size)
        }
        Delivery::Http { sent, .. } => *sent,
        Delivery::Automated { .. } => 0,
    }
}

/// Whether nothing is left of what may be sent.
pub(super) fn is_used_up(delivery: &Delivery) -> bool {
    match delivery {
        Delivery::Http { max_downloads: Some(most), size: Some(size), .. } => {
            noted(delivery) >= u64::from(*most).saturating_mul(*size)
        }
        _ => false,
    }
}

/// Whether so much may be sent, with what was, and what is about to be.
fn may(delivery: &Delivery, sent: u64) -> bool {
    match delivery {
        Delivery::Http { max_downloads: Some(most), size: Some(size), .. } => {
            let limit = u64::from(*most).saturating_mul(*size);
            sent <= limit.saturating_add(SWALLOWED.min(size / 2))
        }
        _ => true,
    }
}

impl Control {
    /// Begins to send so many bytes of the file of a download.
    ///
    /// # Errors
    /// `NotFound`: it was fetched as often as it may be.
    pub async fn transfer(self: &Arc<Self>, restore: &Id, bytes: u64) -> Result<Transfer> {
        let here = self.ledger.change(restore, |row| {
            row.open += bytes;
            row.open + row.unnoted
        });
        // From here on it is given back where it is not sent.
        let transfer = Transfer { control: self.clone(), restore: restore.clone(), left: bytes };
        // Read after it was reserved: what another one notes meanwhile is counted twice rather than not at all.
        let kept = self.catalog().get::<RestoreJob>(restore.as_str()).await?.value;
        if may(&kept.delivery, noted(&kept.delivery).saturating_add(here)) {
            return Ok(transfer);
        }
        let why = "this file was fetched as often as it may be, or is being fetched";
        Err(Error::new(ErrorKind::NotFound, why).hint("ask for another link"))
    }

    /// Notes in the catalog what was sent.
    ///
    /// # Errors
    /// The catalog's; it is noted later then.
    pub async fn note_transfers(&self) -> Result<()> {
        let sent: Vec<(Id, u64)> =
            self.ledger.of().iter().map(|(id, row)| (id.clone(), row.unnoted)).collect();
        for (id, bytes) in sent.into_iter().filter(|(_, bytes)| *bytes > 0) {
            let noted = self.catalog().change::<RestoreJob>(id.as_str(), |restore| {
                let before = noted(&restore.delivery);
                if let Delivery::Http { downloads, sent, size: Some(size), .. } =
                    &mut restore.delivery
                {
                    *sent = before + bytes;
                    let times = sent.div_ceil((*size).max(1));
                    *downloads = u32::try_from(times).unwrap_or(u32::MAX);
                }
                Ok(())
            });
            match noted.await {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            self.ledger.change(&id, |row| row.unnoted = row.unnoted.saturating_sub(bytes));
        }
        Ok(())
    }
}

impl Transfer {
    /// So many bytes of it were sent.
    pub fn sent(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        self.control.ledger.change(&self.restore, |row| {
            row.open = row.open.saturating_sub(bytes);
            row.unnoted += bytes;
        });
    }

    /// All of it was sent: it is noted now.
    ///
    /// # Errors
    /// The catalog's; it is noted later then.
    pub async fn end(self) -> Result<()> {
        self.control.note_transfers().await
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let left = self.left;
        self.control.ledger.change(&self.restore, |row| row.open = row.open.saturating_sub(left));
    }
}

#[cfg(test)]
mod tests {
    use bygone_base::{SystemClock, SystemRng, UnixMillis};
    use bygone_catalog::{
        Catalog, Seal, Sqlite,
        record::{Actor, Form, Names, Progress, RestoreStatus},
    };

    use super::*;

    const SIZE: u64 = 1000;

    async fn site(most: Option<u32>) -> (Arc<Control>, Id) {
        let catalog = Catalog::new(Arc::new(Sqlite::in_memory().unwrap()));
        let seal = Seal::new(&[3; 32]).unwrap();
        let control =
            Control::new(catalog, seal, Arc::new(SystemClock::new()), Arc::new(SystemRng));
        let restore = RestoreJob {
            id: control.new_id(),
            project: control.new_id(),
            job: control.new_id(),
            by: Actor::System,
            created: control.now(),
            when: "latest".to_owned(),
            moment: "17:1".to_owned(),
            snapshot: None,
            point_in_time: false,
            names: Names::default(),
            delivery: Delivery::Http {
                form: Form::Tar,
                expires: UnixMillis(i64::MAX),
                max_downloads: most,
                downloads: 0,
                sent: 0,
                secret: String::new(),
                size: Some(SIZE),
            },
            verify: false,
            drill: false,
            status: RestoreStatus::Finished,
            progress: Progress::default(),
            finished: None,
            message: String::new(),
            proof: None,
            hashes: Vec::new(),
            cancel: false,
            begun: None,
            made: Vec::new(),
        };
        control.catalog().insert(&restore).await.unwrap();
        (Arc::new(control), restore.id)
    }

    async fn send(control: &Arc<Control>, id: &Id, want: u64, get: u64) -> bool {
        let Ok(mut transfer) = control.transfer(id, want).await else { return false };
        transfer.sent(get);
        if want == get {
            transfer.end().await.unwrap();
        }
        true
    }

    async fn kept(control: &Control, id: &Id) -> Delivery {
        control.note_transfers().await.unwrap();
        control.catalog().get::<RestoreJob>(id.as_str()).await.unwrap().value.delivery
    }

    #[tokio::test]
    async fn a_file_in_parts_is_no_more_than_the_file() {
        let (control, id) = site(Some(1)).await;
        assert!(send(&control, &id, SIZE - 1, SIZE - 1).await);
        // The same part once more would be a second file.
        assert!(!send(&control, &id, SIZE - 1, SIZE - 1).await);
        assert!(send(&control, &id, 1, 1).await);
        let delivery = kept(&control, &id).await;
        assert!(is_used_up(&delivery), "{delivery:?}");
        assert!(
            matches!(delivery, Delivery::Http { downloads: 1, sent: SIZE, .. }),
            "{delivery:?}"
        );
    }

    #[tokio::test]
    async fn what_was_cut_is_gone_on_with() {
        let (control, id) = site(Some(1)).await;
        // Of 600 that were sent 500 arrived.
        assert!(send(&control, &id, SIZE, 600).await);
        assert!(!send(&control, &id, SIZE, SIZE).await);
        assert!(send(&control, &id, SIZE - 500, SIZE - 500).await);
        assert!(is_used_up(&kept(&control, &id).await));
    }

    #[tokio::test]
    async fn many_at_once_are_no_more_than_one_after_the_other() {
        let (control, id) = site(Some(2)).await;
        let mut open = Vec::new();
        for _ in 0..10 {
            open.extend(control.transfer(&id, SIZE).await.ok());
        }
        assert_eq!(open.len(), 2);
        drop(open);
        // Nothing was sent: all of it may still be.
        assert!(send(&control, &id, SIZE, SIZE).await && send(&control, &id, SIZE, SIZE).await);
        assert!(!send(&control, &id, SIZE, SIZE).await);
        let (control, id) = site(None).await;
        for _ in 0..5 {
            assert!(send(&control, &id, SIZE, SIZE).await);
        }
        assert!(!is_used_up(&kept(&control, &id).await));
    }

    #[tokio::test]
    async fn who_fetches_is_kept() {
        let (control, id) = site(None).await;
        control.fetched(&id, Some("10.0.0.7")).await.unwrap();
        let events = control.events(None, None).await.unwrap();
        let event = events.iter().find(|event| event.kind == "RESTORE_FETCHED_AUDIT").unwrap();
        assert_eq!(event.address.as_deref(), Some("10.0.0.7"));
        assert!(event.project.is_some() && event.message.contains(id.as_str()));
    }
}
