//! Addresses of the network.

use std::net::{IpAddr, Ipv6Addr};

/// The address by which somebody is counted: of IPv6 its first 64 bits, for who has one has all that begin so.
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        four => four,
    }
}

/// Whether a host, as it stands in a URL, is this one by its name or address: what is sent there crosses no network.
pub fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_network_of_ipv6_is_one() {
        let counted = |text: &str| counted_as(text.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("2001:db8:1:2::1"), counted("2001:db8:1:2:ffff::"));
        assert_ne!(counted("2001:db8:1:3::1"), counted("2001:db8:1:2::1"));
        assert_eq!(counted("10.0.0.1"), "10.0.0.1");
        assert_eq!(counted("::ffff:10.0.0.1"), "10.0.0.1");
    }

    #[test]
    fn this_host_has_a_name_and_addresses() {
        assert!(["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"].iter().all(|h| is_here(h)));
        assert!(["", "h", "10.0.0.1", "[2001:db8::1]", "localhost.h"].iter().all(|h| !is_here(h)));
    }
}
