//! What a form sent.

use bygone_base::{Error, Result};
use url::form_urlencoded;

/// The fields of a form, in their order.
#[derive(Clone, Default)]
pub(crate) struct Form {
    fields: Vec<(String, String)>,
}

impl std::fmt::Debug for Form {
    /// Fields hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.fields.iter().map(|(name, _)| name).collect();
        f.debug_tuple("Form").field(&names).finish()
    }
}

impl Form {
    /// From `a=b&c=d`; anything is a form.
    pub(crate) fn parse(bytes: &[u8]) -> Form {
        let fields = form_urlencoded::parse(bytes).into_owned().collect();
        Form { fields }
    }

    /// With one more field.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Form {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this value of a field instead of what it had.
    #[must_use]
    pub(crate) fn set(mut self, name: &str, value: &str) -> Form {
        self.fields.retain(|(n, _)| n != name);
        self.with(name, value)
    }

    /// With a number of seconds, in the largest unit that holds it.
    #[must_use]
    pub(crate) fn seconds_of(self, name: &str, secs: u64) -> Form {
        let (value, unit) = in_unit(secs);
        self.set(name, &value.to_string()).set(&format!("{name}_unit"), unit)
    }

    /// All fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// As it was sent, empty where it was not.
    pub(crate) fn raw(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// Without blanks around it, empty where it was not sent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// `None` where it is empty.
    pub(crate) fn some(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Whether a box is ticked.
    pub(crate) fn ticked(&self, name: &str) -> bool {
        self.fields.iter().any(|(n, _)| n == name)
    }

    /// All values of one name: ticked boxes that share it.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.trim())
    }

    /// One value per line, empty lines left out.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let lines = self.raw(name).lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// A whole number; `what` names it to people.
    ///
    /// # Errors
    /// Usage: it is none, or too large.
    pub(crate) fn number<N: std::str::FromStr>(&self, name: &str, what: &str) -> Result<N> {
        let text = self.text(name);
        text.parse().map_err(|_| Error::usage(format!("{what}: {text:?} is not a fitting number")))
    }

    /// A number and its unit: two fields, `NAME` and `NAME_unit`; seconds.
    ///
    /// # Errors
    /// Usage: it is none, or too large.
    pub(crate) fn seconds(&self, name: &str, what: &str) -> Result<u64> {
        let number: u64 = self.number(name, what)?;
        let unit = match self.text(&format!("{name}_unit")) {
            "s" => 1,
            "min" => 60,
            "h" | "" => 3600,
            "d" => 86_400,
            other => return Err(Error::usage(format!("{what}: {other:?} is not a unit of time"))),
        };
        number
            .checked_mul(unit)
            .ok_or_else(|| Error::usage(format!("{what}: {number} is too much")))
    }
}

/// A number of seconds in the largest unit that holds it exactly.
fn in_unit(secs: u64) -> (u64, &'static str) {
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let fits = units.into_iter().find(|(unit, _)| secs >= *unit && secs.is_multiple_of(*unit));
    fits.map_or((secs, "s"), |(unit, name)| (secs / unit, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let form = Form::parse(
            b"a=+x%20y+&b=1&b=2&l=one%0D%0A%0D%0A+two&n=3&n_unit=d&big=9999999999999999999",
        );
        assert_eq!((form.text("a"), form.raw("a"), form.text("none")), ("x y", " x y ", ""));
        assert_eq!(form.all("b").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(form.lines("l"), ["one", "two"]);
        assert_eq!(form.seconds("n", "keep").unwrap(), 3 * 86_400);
        assert!(form.ticked("a") && !form.ticked("z"));
        let error = form.number::<u32>("a", "weeks").unwrap_err().to_string();
        assert_eq!(error, "weeks: \"x y\" is not a fitting number");
        assert!(form.seconds("big", "keep").is_err());
        // What is no form has odd fields, and nothing fails.
        Form::parse(&[0xff, b'=', b'%', b'&', b'&', 0]);
        assert!(!format!("{:?}", Form::parse(b"password=secret")).contains("secret"));
    }

    #[test]
    fn spans_are_shown_in_the_largest_unit() {
        for (secs, shown) in [(0, (0, "s")), (90, (90, "s")), (7200, (2, "h")), (172_800, (2, "d"))]
        {
            assert_eq!(in_unit(secs), shown);
        }
    }
}
