//! What a schedule says, and what it may say.

use std::time::Duration;

use bygone_base::{Error, Result};
use jiff::tz::TimeZone;

/// A day without a change of the clock.
pub(crate) const DAY: u64 = 86_400;
/// The longest interval.
const LONGEST: u64 = 31 * DAY;

/// When snapshots are taken and how long they are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// From one snapshot to the next: whole seconds, at most 31 days.
    pub interval: Duration,
    /// Where the day begins.
    pub reference: Reference,
    /// How long snapshots are kept.
    pub retention: Retention,
}

/// A time of day somewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// 0 to 23.
    pub hour: i8,
    /// 0 to 59.
    pub minute: i8,
    /// Where.
    pub zone: TimeZone,
}

/// How long snapshots are kept; 0 is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Every snapshot.
    pub base: Duration,
    /// The first of a day, for so many days.
    pub days: u16,
    /// The first of a week, for so many weeks.
    pub weeks: u16,
    /// The first of a month, for so many months.
    pub months: u16,
    /// The first of a year, for so many years.
    pub years: u16,
}

impl Default for Schedule {
    /// Every six hours from midnight UTC.
    fn default() -> Self {
        Schedule {
            interval: Duration::from_secs(DAY / 4),
            reference: Reference { hour: 0, minute: 0, zone: TimeZone::UTC },
            retention: Retention::default(),
        }
    }
}

impl Default for Retention {
    /// Every snapshot for two days, two weekly ones and a monthly one.
    fn default() -> Self {
        let base = Duration::from_secs(2 * DAY);
        Retention { base, days: 0, weeks: 2, months: 1, years: 0 }
    }
}

impl Reference {
    /// Reads `HH:MM`.
    ///
    /// # Errors
    /// Usage: it is not a time of day.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Reference> {
        let bad = || Error::usage(format!("{text:?} is not a time of day (HH:MM)"));
        let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
        let number = |text: &str, below: i8| {
            let plain = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|n: &i8| plain && *n < below).ok_or_else(bad)
        };
        Ok(Reference { hour: number(hour, 24)?, minute: number(minute, 60)?, zone })
    }
}

/// Reads a time zone: a name such as `Europe/Berlin`, `UTC`, `Z`, or an offset such as `+0200` or `-03:30`.
///
/// # Errors
/// Usage: there is no such zone here.
pub fn zone(text: &str) -> Result<TimeZone> {
    if matches!(text, "Z" | "UTC" | "GMT") {
        return Ok(TimeZone::UTC);
    }
    let bad = || {
        Error::usage(format!("{text:?} is not a time zone known here")).hint(
        "use a name such as Europe/Berlin (the system's time zones must be installed), UTC, or an offset such as +0200",
    )
    };
    let Some(sign) = text.chars().next().filter(|c| matches!(c, '+' | '-')) else {
        return TimeZone::get(text).map_err(|_| bad());
    };
    let digits: String = text[1..].chars().filter(|c| *c != ':').collect();
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let number: i32 = digits.parse().map_err(|_| bad())?;
    let (hours, minutes) = (number / 100, number % 100);
    if minutes > 59 {
        return Err(bad());
    }
    let seconds = (hours * 60 + minutes) * 60;
    let seconds = if sign == '-' { -seconds } else { seconds };
    let offset = jiff::tz::Offset::from_seconds(seconds).map_err(|_| bad())?;
    Ok(TimeZone::fixed(offset))
}

impl Schedule {
    /// Whether everything is within its limits.
    ///
    /// # Errors
    /// Usage, naming what is not.
    pub fn check(&self) -> Result<()> {
        let whole = self.interval.subsec_nanos() == 0;
        if !whole || !(1..=LONGEST).contains(&self.interval.as_secs()) {
            return Err(Error::usage("the interval must be whole seconds, at most 31 days"));
        }
        let Retention { base, days, weeks, months, years } = self.retention;
        if base.is_zero() {
            return Err(Error::usage("base snapshots must be kept for some time"));
        }
        let limits = [
            ("days", days, 365),
            ("weeks", weeks, 52),
            ("months", months, 84),
            ("years", years, 20),
        ];
        for (what, n, most) in limits {
            if n > most {
                return Err(Error::usage(format!(
                    "{n} {what} of retention: at most {most} are possible"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_times_and_zones() {
        let at = |text| Reference::parse(text, TimeZone::UTC).map(|r| (r.hour, r.minute));
        assert_eq!(at("08:05").unwrap(), (8, 5));
        assert_eq!(at("0:00").unwrap(), (0, 0));
        for bad in ["24:00", "8", "8:60", "-1:00", "8:+5", ":", "08:005", ""] {
            assert!(at(bad).is_err(), "{bad}");
        }
        let offset = |text| zone(text).unwrap().to_offset(jiff::Timestamp::UNIX_EPOCH).seconds();
        assert_eq!(offset("Z"), 0);
        assert_eq!(offset("+0200"), 7200);
        assert_eq!(offset("-03:30"), -12_600);
        for bad in ["Mars/Olympus", "+2", "+0260", "+9999", "", "+02:0x"] {
            assert!(zone(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_named() {
        assert!(Schedule::default().check().is_ok());
        let every = |secs| Schedule { interval: Duration::from_secs(secs), ..Schedule::default() };
        for bad in [0, 31 * DAY + 1] {
            assert!(every(bad).check().is_err(), "{bad}");
        }
        assert!(every(2).check().is_ok() && every(31 * DAY).check().is_ok());
        let mut schedule = Schedule::default();
        schedule.retention.weeks = 53;
        assert!(schedule.check().unwrap_err().to_string().contains("53 weeks"));
    }
}
