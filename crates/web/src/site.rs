//! What every page stands on.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use bygone_access::Access;
use bygone_base::{Error, ErrorKind, Result};
use bygone_catalog::{Id, Seal, Sealed};
use bygone_control::Control;

use crate::page::download::Fetched;

/// The control plane and who may use it.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) control: Arc<Control>,
    pub(crate) access: Arc<Access>,
    /// Who fetched which file, as far as it was told.
    pub(crate) fetched: Arc<Fetched>,
}

impl Site {
    /// Seals a text for one place, as a word that fits a cookie or a hidden field.
    pub(crate) fn seal(&self, text: &str, place: &str) -> Result<String> {
        let sealed = self.control.seal().seal(text, place, &**self.control.rng())?;
        let word = serde_json::to_value(&sealed).ok();
        let word = word.as_ref().and_then(serde_json::Value::as_str).map(str::to_owned);
        word.ok_or_else(|| Error::internal("a sealed text is no word"))
    }

    /// Opens what was sealed for the place; `None`: it was not, or not by us.
    pub(crate) fn unseal(&self, word: &str, place: &str) -> Option<String> {
        open(self.control.seal(), word, place)
    }
}

fn open(seal: &Seal, word: &str, place: &str) -> Option<String> {
    let sealed: Sealed = serde_json::from_value(word.into()).ok()?;
    seal.open(&sealed, place).ok().map(|text| text.as_str().to_owned())
}

/// An id in an address; what is none names nothing.
///
/// # Errors
/// `NotFound`.
pub(crate) fn id(text: &str, what: &str) -> Result<Id> {
    text.parse().map_err(|_| Error::new(ErrorKind::NotFound, format!("there is no {what} {text}")))
}

/// A path with the name by which the browser knows this server, to be given to others.
pub(crate) fn link(headers: &HeaderMap, path: &str) -> String {
    let word = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // A form's origin is where the page was.
    match (word(header::ORIGIN).filter(|origin| *origin != "null"), word(header::HOST)) {
        (Some(origin), _) => format!("{origin}{path}"),
        (None, Some(host)) => format!("https://{host}{path}"),
        (None, None) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_where_the_page_was() {
        let mut headers = HeaderMap::new();
        assert_eq!(link(&headers, "/s"), "/s");
        headers.insert(header::HOST, "h:7".parse().unwrap());
        assert_eq!(link(&headers, "/s"), "https://h:7/s");
        headers.insert(header::ORIGIN, "http://127.0.0.1:7".parse().unwrap());
        assert_eq!(link(&headers, "/s"), "http://127.0.0.1:7/s");
    }
}
