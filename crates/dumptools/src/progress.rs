//! How far collections are: the stock tools' bars, as log lines every three seconds, on a terminal and elsewhere.
//!
//! ```text
//! [########................]  shop.orders  101/303  (33.3%)
//! ```

use std::{
    convert::Infallible,
    io::Read,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bygone_base::Clock;

use crate::report::Log;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(3);
/// Characters between the brackets.
const LENGTH: usize = 24;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Documents.
    Documents,
    /// Bytes, shown in three digits.
    Bytes,
}

#[derive(Debug)]
struct Bar {
    name: String,
    done: AtomicU64,
    /// 0 where nobody knows.
    of: u64,
    shown: AtomicBool,
}

/// The bars of what is under way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bars {
    log: Log,
    unit: Unit,
    bars: Arc<Mutex<Vec<Arc<Bar>>>>,
}

/// Something under way. When dropped, its bar is shown once more if it ever was.
#[derive(Debug)]
pub struct Watched {
    bars: Bars,
    bar: Arc<Bar>,
}

impl Bars {
    /// No bars yet.
    pub fn new(log: Log, unit: Unit) -> Bars {
        Bars { log, unit, bars: Arc::default() }
    }

    /// A bar that ends at `of`, 0 where that is not known.
    pub fn begin(&self, name: String, of: u64) -> Watched {
        let (done, shown) = (AtomicU64::new(0), AtomicBool::new(false));
        let bar = Arc::new(Bar { name, done, of, shown });
        self.held().push(Arc::clone(&bar));
        Watched { bars: self.clone(), bar }
    }

    /// Shows all bars again and again.
    pub async fn show(&self, clock: &dyn Clock) -> Infallible {
        loop {
            clock.sleep(EVERY).await;
            self.look();
        }
    }

    fn look(&self) {
        let bars = self.held();
        for line in lines(&bars, self.unit) {
            self.log.always(line);
        }
        if bars.len() > 1 {
            self.log.always("");
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Bar>>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// So much is done in all.
    pub fn set(&self, done: u64) {
        self.bar.done.store(done, Ordering::Relaxed);
    }

    /// So much more is done.
    pub fn add(&self, more: u64) {
        self.bar.done.fetch_add(more, Ordering::Relaxed);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.bars.held().retain(|bar| !Arc::ptr_eq(bar, &self.bar));
        if self.bar.shown.load(Ordering::Relaxed) {
            for line in lines(&[Arc::clone(&self.bar)], self.bars.unit) {
                self.bars.log.always(line);
            }
        }
    }
}

/// What is read of `inner` moves a bar.
pub(crate) struct Reading<R> {
    pub(crate) inner: R,
    pub(crate) bar: Watched,
}

impl<R: Read> Read for Reading<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bar.add(read as u64);
        Ok(read)
    }
}

/// A line per bar; columns stand below each other, their text at the right.
fn lines(bars: &[Arc<Bar>], unit: Unit) -> Vec<String> {
    let rows: Vec<Vec<String>> = bars.iter().map(|bar| cells(bar, unit)).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..4).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect()
}

fn cells(bar: &Bar, unit: Unit) -> Vec<String> {
    bar.shown.store(true, Ordering::Relaxed);
    let done = bar.done.load(Ordering::Relaxed);
    let show = |n: u64| match unit {
        Unit::Documents => n.to_string(),
        Unit::Bytes => bytes(n),
    };
    if bar.of == 0 {
        return vec![bar.name.clone(), show(done)];
    }
    let part = done as f64 / bar.of as f64;
    let full = ((part * LENGTH as f64) as usize).min(LENGTH);
    vec![
        format!("[{}{}]", "#".repeat(full), ".".repeat(LENGTH - full)),
        bar.name.clone(),
        format!("{}/{}", show(done), show(bar.of)),
        format!("({:.1}%)", part * 100.0),
    ]
}

/// `999B`, `1.50KB`, `23.4MB`, `120GB`: units of 1024, three digits.
fn bytes(count: u64) -> String {
    let (mut value, mut unit) = (count as f64, "B");
    for next in ["KB", "MB", "GB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    let digits = match value {
        _ if unit == "B" => 0,
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(unit: Unit) -> (Bars, Arc<Mutex<Vec<String>>>) {
        let said = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&said);
        let log = Log::new(Some(crate::report::Level::Always), move |line| {
            to.lock().unwrap().push(line.to_owned());
        });
        (Bars::new(log, unit), said)
    }

    #[test]
    fn bars_look_as_scripts_expect_them() {
        let (bars, said) = told(Unit::Documents);
        let one = bars.begin("db.coll".to_owned(), 1000);
        one.set(101);
        bars.look();
        let two = bars.begin("db.c".to_owned(), 0);
        two.add(7);
        bars.look();
        drop(bars.begin("db.quick".to_owned(), 5));
        drop(two);
        one.set(1000);
        drop(one);
        let first = "[##......................]  db.coll  101/1000  (10.1%)";
        let second = "                      db.c        7";
        let last = "[########################]  db.coll  1000/1000  (100.0%)";
        assert_eq!(*said.lock().unwrap(), [first, first, second, "", "db.c  7", last]);
    }

    #[test]
    fn bytes_have_three_digits() {
        let shown = [0, 1023, 1024, 1_500_000, 123_456_789, 5 << 40].map(bytes);
        assert_eq!(shown, ["0B", "1023B", "1.00KB", "1.43MB", "118MB", "5120GB"]);
        let (bars, said) = told(Unit::Bytes);
        let one = bars.begin("a.b".to_owned(), 2048);
        one.set(4096);
        bars.look();
        let full = "[########################]  a.b  4.00KB/2.00KB  (200.0%)";
        assert_eq!(*said.lock().unwrap(), [full]);
    }
}
