//! What a source's URI tells. As it is shown it has no options, since those may be secrets; these here are none.

use bygone_catalog::record::Job;

use crate::call::Call;

/// The whole URI, to read options of it: it is never shown. As it is shown, where the catalog's key does not open it.
pub(super) fn whole(call: &Call, job: &Job) -> String {
    let given = call.control.source_as_given(job);
    given.map_or_else(|_| job.source.shown.clone(), |source| source.uri)
}

/// The part between `mongodb://` and what follows the hosts; none of an SRV record, which names no hosts.
fn authority(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    (scheme == "mongodb" || scheme == "mongodb+srv").then(|| rest.get(..end)).flatten()
}

/// The `host:port` of a URI; of an SRV record only its name is known, which is no host.
pub(super) fn addresses(uri: &str) -> Vec<String> {
    let authority = authority(uri).filter(|_| uri.starts_with("mongodb://")).unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    hosts.split(',').filter(|host| !host.is_empty()).map(str::to_owned).collect()
}

/// Host and port of an address.
pub(super) fn split(address: &str) -> Option<(&str, u16)> {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => Some((host, port.parse().ok()?)),
        Some(_) => None,
        None if address.is_empty() => None,
        None => Some((address, 27_017)),
    }
}

/// An option after `?`.
pub(super) fn option(uri: &str, name: &str) -> Option<String> {
    let (_, query) = uri.split_once('?')?;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.into_owned()))
}

/// Who logs in.
pub(super) fn user(uri: &str) -> Option<&str> {
    let (who, _) = authority(uri)?.rsplit_once('@')?;
    let name = who.split_once(':').map_or(who, |(name, _)| name);
    Some(name).filter(|name| !name.is_empty())
}

/// How, in Ops Manager's words; SCRAM of every kind is `MONGODB_CR` there.
pub(super) fn mechanism(uri: &str) -> &'static str {
    match option(uri, "authMechanism").as_deref() {
        Some("MONGODB-X509") => "MONGODB_X509",
        Some("GSSAPI") => "GSSAPI",
        Some("PLAIN") => "PLAIN",
        None if user(uri).is_none() => "NONE",
        _ => "MONGODB_CR",
    }
}

/// Whether connections are encrypted, as far as it tells.
pub(super) fn is_tls(uri: &str) -> bool {
    let said = option(uri, "tls").or_else(|| option(uri, "ssl"));
    said.map_or(uri.starts_with("mongodb+srv://"), |said| said == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_from_uris() {
        let uri = "mongodb://u:***@a.b:1,c,[::1]:27018/?replicaSet=x";
        assert_eq!(addresses(uri), ["a.b:1", "c", "[::1]:27018"]);
        assert!(addresses("mongodb+srv://a.b").is_empty());
        assert_eq!(split("a.b:1"), Some(("a.b", 1)));
        assert_eq!(split("c"), Some(("c", 27_017)));
        assert_eq!(split("[::1]:27018"), Some(("[::1]", 27_018)));
        assert_eq!(split("a:port"), None);
    }

    #[test]
    fn options_users_and_mechanisms_are_read_from_uris() {
        let uri = "mongodb://u:***@a/?tls=true&replicaSet=x%20y";
        assert_eq!(option(uri, "replicaset").as_deref(), Some("x y"));
        assert_eq!((option(uri, "x"), user(uri)), (None, Some("u")));
        assert_eq!((user("mongodb://a.b"), mechanism("mongodb://a.b")), (None, "NONE"));
        assert_eq!(mechanism(uri), "MONGODB_CR");
        assert_eq!(mechanism("mongodb+srv://a/?authMechanism=MONGODB-X509"), "MONGODB_X509");
        assert_eq!(user("mongodb+srv://v@a/"), Some("v"));
        assert!(is_tls(uri) && is_tls("mongodb+srv://a") && is_tls("mongodb://a/?ssl=true"));
        assert!(!is_tls("mongodb://a") && !is_tls("mongodb+srv://a/?tls=false"));
    }
}
