//! Proofs that failed: counted by who somebody says he is and where he is, so that nobody keeps others out.
//!
//! A guess at a password is counted before it is looked at, or many at once would be more than the limit. What cannot be
//! guessed (API keys, links: 122 bits and more) is looked at first, and a good one is never refused.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bygone_base::{Clock, Result, net::counted_as};

use crate::limit::Limit;

/// Failures are counted over this long.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// So many for one name from one address.
const PER_PAIR: u32 = 20;
/// So many from one address, whatever the names: many people may sit behind it.
const PER_ADDRESS: u32 = 200;
/// So many for one name from wherever: anybody can cause them.
const PER_NAME: u32 = 100;
/// So many pairs of a name and an address that were good once are remembered.
const KNOWN: usize = 10_000;

/// Who failed how often.
#[derive(Debug)]
pub struct Attempts {
    pairs: Limit,
    addresses: Limit,
    names: Limit,
    /// Who proved himself from where: others' failures do not keep him out.
    known: Mutex<HashSet<String>>,
}

/// A guess that was counted and not yet judged. It stays counted where nothing else is said.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    attempts: &'a Attempts,
    pair: String,
    /// Counted by address and name too.
    others: Option<(Option<String>, String)>,
}

impl Attempts {
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Attempts {
        let limit = |most| Limit::new(clock.clone(), most, WINDOW);
        Attempts {
            pairs: limit(PER_PAIR),
            addresses: limit(PER_ADDRESS),
            names: limit(PER_NAME),
            known: Mutex::default(),
        }
    }

    /// Counts a guess that is about to be judged.
    ///
    /// # Errors
    /// Unavailable: too many have failed.
    pub(crate) fn begin(&self, name: &str, address: Option<&str>) -> Result<Attempt<'_>> {
        let address = address.map(counted);
        let address = address.as_deref();
        let (name, pair) = words(name, address);
        self.pairs.begin(&pair)?;
        let mut attempt = Attempt { attempts: self, pair, others: None };
        if self.known().contains(&attempt.pair) {
            return Ok(attempt);
        }
        if let Some(address) = address
            && let Err(error) = self.addresses.begin(address)
        {
            attempt.undo();
            return Err(error);
        }
        if let Err(error) = self.names.begin(&name) {
            if let Some(address) = address {
                self.addresses.give_back(address);
            }
            attempt.undo();
            return Err(error);
        }
        attempt.others = Some((address.map(str::to_owned), name));
        Ok(attempt)
    }

    /// Counts a proof that was wrong, of what cannot be guessed.
    ///
    /// # Errors
    /// Unavailable: too many have failed.
    pub fn failed(&self, name: &str, address: Option<&str>) -> Result<()> {
        let Some(address) = address.map(counted) else { return Ok(()) };
        let (_, pair) = words(name, Some(&address));
        self.pairs.begin(&pair).and_then(|()| self.addresses.begin(&address))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// It was right: what was counted for the pair before is forgotten.
    pub(crate) fn proved(mut self) {
        self.undo();
        self.attempts.pairs.forget(&self.pair);
        let mut known = self.attempts.known();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(std::mem::take(&mut self.pair));
    }

    /// It was not judged.
    pub(crate) fn undo(&mut self) {
        self.attempts.pairs.give_back(&self.pair);
        if let Some((address, name)) = self.others.take() {
            if let Some(address) = address {
                self.attempts.addresses.give_back(&address);
            }
            self.attempts.names.give_back(&name);
        }
    }
}

/// An address as it is counted; what is none, as it is.
fn counted(address: &str) -> String {
    address.parse().map_or_else(|_| address.to_owned(), |ip| counted_as(ip).to_string())
}

/// What is counted by name, bounded, and by name and address.
fn words(name: &str, address: Option<&str>) -> (String, String) {
    let name: String = name.chars().take(100).collect();
    let pair = format!("{name} {}", address.unwrap_or_default());
    (name, pair)
}

#[cfg(test)]
mod tests {
    use bygone_base::SystemClock;

    use super::*;

    fn attempts() -> Attempts {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Attempts::new(&clock)
    }

    #[test]
    fn a_name_that_failed_from_an_address_is_kept_out_there_and_nowhere_else() {
        let attempts = attempts();
        // Not one of them is judged before the next begins.
        let begun = (0..150).filter_map(|_| attempts.begin("anna", Some("10.0.0.1")).ok()).count();
        assert_eq!(begun, 20);
        assert!(attempts.begin("bob", Some("10.0.0.1")).is_ok());
        assert!(attempts.begin("anna", Some("10.0.0.2")).is_ok());
        for n in 0..300 {
            let _ = attempts.begin(&n.to_string(), Some("10.0.0.1"));
        }
        assert!(attempts.begin("carl", Some("10.0.0.1")).is_err());
        assert!(attempts.begin("carl", Some("10.0.0.2")).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let attempts = attempts();
        let guess = |n: u32| attempts.begin("anna", Some(&format!("2001:db8::{n:x}"))).is_ok();
        assert_eq!((0..150).filter(|n| guess(*n)).count(), 20);
        let failed = |n: u32| attempts.failed("key", Some(&format!("2001:db8::{n:x}"))).is_ok();
        assert_eq!((0..150).filter(|n| failed(*n)).count(), 20);
        assert!(attempts.begin("anna", Some("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn who_proved_himself_once_is_not_kept_out_by_others() {
        let attempts = attempts();
        attempts.begin("anna", Some("10.0.0.1")).unwrap().proved();
        for n in 0..300 {
            let _ = attempts.begin("anna", Some(&format!("10.0.1.{n}")));
            let _ = attempts.begin(&n.to_string(), Some("10.0.0.1"));
        }
        assert!(attempts.begin("anna", Some("10.0.0.3")).is_err());
        attempts.begin("anna", Some("10.0.0.1")).unwrap().proved();
    }

    #[test]
    fn what_was_right_or_was_not_judged_is_not_counted() {
        let attempts = attempts();
        for _ in 0..300 {
            attempts.begin("anna", Some("10.0.0.1")).unwrap().proved();
            attempts.begin("bob", Some("10.0.0.1")).unwrap().undo();
        }
        let failed = (0..30).filter(|_| attempts.failed("key", Some("10.0.0.1")).is_ok()).count();
        assert_eq!(failed, 20);
    }
}
