//! Whose connections count as one, and who really asks where a proxy stands between.

use std::{fmt, net::IpAddr, str::FromStr};

use axum::http::{HeaderMap, HeaderValue, uri::Scheme};
use bygone_base::{Error, Result};

/// An address, or all that begin with the same bits: `10.0.0.0/8`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether the address is one of it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.bits);
                let head = |ip: std::net::Ipv4Addr| u32::from(ip).checked_shr(shift);
                head(own) == head(other)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.bits);
                let head = |ip: std::net::Ipv6Addr| u128::from(ip).checked_shr(shift);
                head(own) == head(other)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Network> {
        let bad = || Error::usage(format!("{text:?} is no address and no ADDRESS/BITS"));
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| bad())?.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(bad()) } else { Ok(Network { address, bits }) }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

pub(super) fn any(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// Who asks, and by which scheme he does: what a proxy that is trusted says, else what the connection shows.
///
/// Every proxy appends whom it heard to `X-Forwarded-For`, and a client may write there whatever it likes before: the
/// last one that is not a proxy of ours is the client.
pub(super) fn client(
    peer: IpAddr,
    scheme: &Scheme,
    headers: &HeaderMap,
    trusted: &[Network],
) -> (IpAddr, Scheme) {
    if !any(trusted, peer) {
        return (peer, scheme.clone());
    }
    let said = |name: &str| {
        let lines = headers.get_all(name).into_iter();
        let lines: Vec<&str> =
            lines.filter_map(|value: &HeaderValue| value.to_str().ok()).collect();
        lines.join(",")
    };
    let path = said("x-forwarded-for");
    // What is no address ends the way back: whoever wrote it is not to be believed.
    let hops = path.rsplit(',').map(|hop| hop.trim().parse::<IpAddr>());
    let mut client = peer;
    for hop in hops.map_while(std::result::Result::ok) {
        client = hop.to_canonical();
        if !any(trusted, client) {
            break;
        }
    }
    let proto = said("x-forwarded-proto");
    let https = proto.rsplit(',').next().is_some_and(|last| last.trim() == "https");
    (client, if https { Scheme::HTTPS } else { scheme.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_read_and_hold_their_addresses() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.200.3.4", "11.0.0.1"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("0.0.0.0/0", "192.0.2.1", "::1"),
            ("192.0.2.0/31", "192.0.2.1", "192.0.2.2"),
        ] {
            assert!(network(text).contains(ip(inside)), "{text}");
            assert!(!network(text).contains(ip(outside)), "{text}");
        }
        assert!(network("10.0.0.0/8").contains(ip("::ffff:10.1.1.1")));
        for bad in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_for_whom_it_asks() {
        let asks = |peer: &str, lines: &[&str], trusted: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let trusted: Vec<Network> = trusted.iter().map(|text| network(text)).collect();
            client(ip(peer), &Scheme::HTTP, &headers, &trusted).0.to_string()
        };
        assert_eq!(asks("192.0.2.9", &["1.1.1.1"], &[]), "192.0.2.9");
        assert_eq!(asks("10.0.0.1", &["1.1.1.1"], &["10.0.0.0/8"]), "1.1.1.1");
        // What the client wrote himself stands further left.
        assert_eq!(asks("10.0.0.1", &["9.9.9.9, 1.1.1.1"], &["10.0.0.0/8"]), "1.1.1.1");
        assert_eq!(asks("10.0.0.1", &["9.9.9.9", "1.1.1.1, 10.0.0.2"], &["10.0.0.0/8"]), "1.1.1.1");
        assert_eq!(asks("10.0.0.1", &["1.1.1.1, nonsense"], &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(asks("10.0.0.1", &[], &["10.0.0.0/8"]), "10.0.0.1");
    }

    #[test]
    fn a_trusted_proxy_says_whether_its_client_uses_tls() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        let scheme =
            |trusted: &[Network]| client(ip("10.0.0.1"), &Scheme::HTTP, &headers, trusted).1;
        assert_eq!(scheme(&[]), Scheme::HTTP);
        assert_eq!(scheme(&[network("10.0.0.1")]), Scheme::HTTPS);
    }
}
