//! Cookies (RFC 6265): read from a request, written to an answer.

use axum::http::{HeaderMap, header};
use bygone_access::cookie_name;
use bygone_base::net::is_here;

use crate::visitor::Caller;

/// Holds, sealed, what the next page says once.
pub(crate) const NOTICE: &str = "bygone_notice";

/// The value of a cookie.
pub(crate) fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The secret of the caller's session.
pub(crate) fn session(caller: &Caller) -> Option<&str> {
    get(&caller.headers, cookie_name(caller.tls))
}

/// The header that sets the cookie of the session.
pub(crate) fn set_session(caller: &Caller, value: &str, secs: i64) -> String {
    set(caller, cookie_name(caller.tls), value, secs)
}

/// The header that sets a cookie for so many seconds; 0 forgets it.
///
/// Never seen by scripts; from another site sent with plain links only, so that a link in an alert's mail finds one
/// logged in; and only over TLS, but that a browser on the same host may talk to us without.
pub(crate) fn set(caller: &Caller, name: &str, value: &str, secs: i64) -> String {
    let plain = !caller.tls && is_loopback(&caller.headers);
    let secure = if plain { "" } else { "; Secure" };
    format!("{name}={value}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Lax{secure}")
}

/// Whether the browser named this host itself.
fn is_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    is_here(name)
}

#[cfg(test)]
mod tests {
    use bygone_access::COOKIE;

    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        let own = |(name, value): &(header::HeaderName, &'static str)| {
            (name.clone(), header::HeaderValue::from_static(value))
        };
        pairs.iter().map(own).collect()
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let headers = headers(&[(header::COOKIE, "a=1; bygone_session=x=y; xbygone_session=2")]);
        assert_eq!(get(&headers, COOKIE), Some("x=y"));
        assert_eq!(get(&headers, "b"), None);
    }

    #[test]
    fn only_on_the_same_host_a_cookie_may_go_without_tls() {
        let caller =
            |host, tls| Caller { headers: headers(&[(header::HOST, host)]), address: None, tls };
        let to = |host| set_session(&caller(host, false), "s", 5);
        for host in ["localhost:7000", "127.0.0.1:7000", "[::1]:7000", "localhost"] {
            assert!(!to(host).contains("Secure"), "{host}");
        }
        for host in [
            "backup.example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "[fe80::1]:7",
            "[",
            "",
        ] {
            assert!(to(host).ends_with("; Secure"), "{host}");
        }
        assert_eq!(to("localhost"), "bygone_session=s; Path=/; Max-Age=5; HttpOnly; SameSite=Lax");
        // Over TLS it has a name that nobody else can give it.
        let over = set_session(&caller("localhost", true), "s", 5);
        assert!(over.starts_with("__Host-bygone_session=s; Path=/;") && over.ends_with("; Secure"));
        let mut sent = caller("localhost", true);
        sent.headers.insert(header::COOKIE, "bygone_session=x".parse().unwrap());
        assert_eq!(session(&sent), None);
        sent.tls = false;
        assert_eq!(session(&sent), Some("x"));
    }
}
