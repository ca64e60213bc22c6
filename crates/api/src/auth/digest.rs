//! HTTP digest (RFC 7616, and with MD5 RFC 2617): reading and writing its headers, computing its proof. Pure.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use md5::{Digest as _, Md5};

/// A longer header is nobody's.
const LONGEST: usize = 8 << 10;

/// What hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// What Ops Manager offers and its clients know.
    Md5,
    /// What RFC 7616 asks for.
    Sha256,
}

impl Algorithm {
    /// The word in the headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    fn parse(text: &str) -> Option<Algorithm> {
        let all = [Algorithm::Md5, Algorithm::Sha256];
        all.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text))
    }

    fn hash(self, text: &str) -> String {
        match self {
            Algorithm::Md5 => hex::encode(Md5::digest(text)),
            Algorithm::Sha256 => hex::encode(digest(&SHA256, text.as_bytes())),
        }
    }
}

/// What a client says in `Authorization`, with `qop=auth`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Algorithm.
    pub algorithm: Algorithm,
    /// Public half of a key.
    pub username: String,
    /// Realm.
    pub realm: String,
    /// What the server gave.
    pub nonce: String,
    /// The request's target.
    pub uri: String,
    /// What the client made up.
    pub cnonce: String,
    /// How often it has used the nonce, with this request: hex digits as they were sent, which are hashed. Some clients
    /// of Ops Manager send `1` where the RFC wants eight digits.
    pub count: String,
    /// The proof, hex.
    pub response: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials of {} for {}", self.username, self.uri)
    }
}

impl Credentials {
    /// Reads the header; `None`: it is not digest with `qop=auth`, or not well formed.
    pub fn parse(header: &str) -> Option<Credentials> {
        let fields = fields(header)?;
        let get = |name: &str| {
            let mut found = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
            let first = found.next().map(|(_, value)| value.clone());
            // Said twice: nobody can tell which is meant.
            found.next().map_or(first, |_| None)
        };
        let algorithm = match get("algorithm") {
            Some(word) => Algorithm::parse(&word)?,
            None => Algorithm::Md5,
        };
        get("qop").filter(|qop| qop.eq_ignore_ascii_case("auth"))?;
        let count = get("nc").filter(|nc| (1..=8).contains(&nc.len()))?;
        number(&count)?;
        Some(Credentials {
            algorithm,
            username: get("username")?,
            realm: get("realm")?,
            nonce: get("nonce")?,
            uri: get("uri")?,
            cnonce: get("cnonce")?,
            count,
            response: get("response")?,
        })
    }

    /// How often the nonce was used, with this request.
    pub fn used(&self) -> u32 {
        number(&self.count).unwrap_or_default()
    }

    /// What `response` must be for somebody with this password who asks by this method.
    pub fn expected(&self, password: &str, method: &str) -> String {
        let Credentials { algorithm, username, realm, nonce, uri, cnonce, count, .. } = self;
        let who = algorithm.hash(&format!("{username}:{realm}:{password}"));
        let what = algorithm.hash(&format!("{method}:{uri}"));
        algorithm.hash(&format!("{who}:{nonce}:{count}:{cnonce}:auth:{what}"))
    }

    /// Whether the proof is right, in a time that does not tell how wrong it is.
    pub fn proves(&self, password: &str, method: &str) -> bool {
        let hash = |text: &str| blake3::hash(text.to_ascii_lowercase().as_bytes());
        hash(&self.expected(password, method)) == hash(&self.response)
    }

    /// The header.
    pub fn to_header(&self) -> String {
        let Credentials { algorithm, username, realm, nonce, uri, cnonce, count, response } = self;
        let algorithm = algorithm.as_str();
        format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", algorithm={algorithm}, qop=auth, nc={count}, cnonce=\"{}\", response=\"{response}\"",
            quoted(username),
            quoted(realm),
            quoted(nonce),
            quoted(uri),
            quoted(cnonce),
        )
    }
}

/// A challenge, `WWW-Authenticate`.
pub fn challenge(algorithm: Algorithm, realm: &str, nonce: &str, stale: bool) -> String {
    let algorithm = algorithm.as_str();
    format!(
        "Digest realm=\"{realm}\", domain=\"\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\", stale={stale}"
    )
}

/// A client's answer to one of these challenges: SHA-256 where it is offered. `None`: none can be answered.
pub fn answer(
    challenges: &[&str],
    method: &str,
    uri: &str,
    (username, password): (&str, &str),
    cnonce: &str,
) -> Option<String> {
    let read = |header: &&str| {
        let fields = fields(header)?;
        let get = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, v)| v);
        let algorithm = Algorithm::parse(get("algorithm").map_or("MD5", String::as_str))?;
        Some((algorithm, get("realm")?.clone(), get("nonce")?.clone()))
    };
    let offered = challenges.iter().filter_map(read);
    let (algorithm, realm, nonce) =
        offered.max_by_key(|(algorithm, ..)| *algorithm == Algorithm::Sha256)?;
    let mut credentials = Credentials {
        algorithm,
        username: username.to_owned(),
        realm,
        nonce,
        uri: uri.to_owned(),
        cnonce: cnonce.to_owned(),
        count: "00000001".to_owned(),
        response: String::new(),
    };
    credentials.response = credentials.expected(password, method);
    Some(credentials.to_header())
}

fn number(count: &str) -> Option<u32> {
    // `from_str_radix` would take a sign too.
    let digits = count.bytes().all(|b| b.is_ascii_hexdigit());
    u32::from_str_radix(count, 16).ok().filter(|_| digits)
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// The fields after the word `Digest`: tokens, or strings in quotes (RFC 9110 section 11.2).
fn fields(header: &str) -> Option<Vec<(String, String)>> {
    let (scheme, mut rest) = header.trim().split_once(' ')?;
    if header.len() > LONGEST || !scheme.eq_ignore_ascii_case("digest") {
        return None;
    }
    let mut fields = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(fields);
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(text) => string(text)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                let (token, after) = after.split_at(end);
                (token.trim().to_owned(), after)
            }
        };
        fields.push((name.trim().to_ascii_lowercase(), value));
        rest = after;
    }
}

/// The string up to its closing quote, and what follows.
fn string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7616, section 3.9.1.
    fn example(algorithm: Algorithm, response: &str) -> Credentials {
        Credentials {
            algorithm,
            username: "Mufasa".into(),
            realm: "http-auth@example.org".into(),
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v".into(),
            uri: "/dir/index.html".into(),
            cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ".into(),
            count: "00000001".into(),
            response: response.into(),
        }
    }

    #[test]
    fn the_examples_of_the_rfc_prove_themselves() {
        let sha = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        for (algorithm, response) in
            [(Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"), (Algorithm::Sha256, sha)]
        {
            let good = example(algorithm, response);
            assert!(good.proves("Circle of Life", "GET"), "{algorithm:?}");
            assert!(!good.proves("Circle of life", "GET"));
            assert!(!good.proves("Circle of Life", "POST"));
            let other = Credentials { uri: "/dir/".into(), ..good.clone() };
            assert!(!other.proves("Circle of Life", "GET"));
            assert_eq!(Credentials::parse(&good.to_header()).unwrap(), good);
        }
    }

    #[test]
    fn headers_are_read_as_they_are_written() {
        let header = r#"digest  username="a\"b\\", realm="r, s=t",nonce="n",uri="/",qop="auth",nc=0000000a,cnonce="c",response="00" , algorithm=md5,opaque="x""#;
        let read = Credentials::parse(header).unwrap();
        assert_eq!((read.username.as_str(), read.realm.as_str()), ("a\"b\\", "r, s=t"));
        assert_eq!((read.used(), read.algorithm), (10, Algorithm::Md5));
        let good = example(Algorithm::Md5, "00").to_header();
        for bad in [
            "",
            "Digest",
            "Basic YTpi",
            "Digest username=\"a",
            &good.replace("qop=auth", "qop=auth-int"),
            &good.replace("nc=00000001", "nc=+1"),
            &good.replace("nc=00000001", "nc=000000001"),
            &good.replace("nc=00000001", "nc="),
            &good.replace("algorithm=MD5", "algorithm=MD4"),
            &good.replace("realm=", "username=\"b\", realm="),
            &format!("{good}, x=\"{}\"", "y".repeat(LONGEST)),
        ] {
            assert_eq!(Credentials::parse(bad), None, "{bad}");
        }
    }

    /// As MongoDB's Kubernetes operator does it: `nc=1`, hashed as it is sent, and quotes around the algorithm.
    #[test]
    fn a_count_is_hashed_as_it_was_sent() {
        let mut sent = Credentials { count: "1".into(), ..example(Algorithm::Md5, "") };
        sent.response = sent.expected("Circle of Life", "GET");
        assert_ne!(sent.response, example(Algorithm::Md5, "").expected("Circle of Life", "GET"));
        let header = sent.to_header().replace("algorithm=MD5", "algorithm=\"MD5\"");
        let read = Credentials::parse(&header).unwrap();
        assert!(read.proves("Circle of Life", "GET") && read.used() == 1);
    }

    #[test]
    fn a_client_answers_the_strongest_challenge() {
        let challenges = [Algorithm::Md5, Algorithm::Sha256].map(|a| challenge(a, "r", "n", false));
        let challenges: Vec<&str> = challenges.iter().map(String::as_str).collect();
        let header = answer(&challenges, "GET", "/x", ("u", "p"), "c").unwrap();
        let read = Credentials::parse(&header).unwrap();
        assert_eq!(read.algorithm, Algorithm::Sha256);
        assert!(read.proves("p", "GET"));
        assert_eq!(answer(&["Basic realm=\"x\""], "GET", "/x", ("u", "p"), "c"), None);
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in "(Digest )?[ -~é]{0,200}") {
            let _ = Credentials::parse(&header);
        }
    }
}
