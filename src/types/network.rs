//! Ranges of IP addresses, as `192.0.2.0/24` and `2001:db8::/32` name them. RFC 4632, RFC 4291.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

/// A range of addresses: all that begin with the same bits.
///
/// Invariant: bits past the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is no network: reads on after "expected".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// Neither an address nor one with a prefix length.
    #[error("an IP address or a network, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")]
    Form,
    /// More bits than an address has.
    #[error("a prefix length of at most {0} after the slash")]
    Prefix(u8),
    /// An address inside the network instead of its first one, which may be a slip.
    #[error("the first address of the network before the slash: {0}")]
    HostBits(Network),
}

impl Network {
    /// Whether an address is in it. An IPv4 address that a dual-stack socket shows as IPv6 counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.first)
    }
}

/// Whether any of them has the address.
pub fn any_contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// The address with all bits past the prefix zero; `None` when it has not as many.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) if prefix <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Some(IpAddr::V4((u32::from(address) & mask).into()))
        }
        IpAddr::V6(address) if prefix <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Some(IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask)))
        }
        _ => None,
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| BadNetwork::Form)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            // `u8::from_str` alone would take `+8`.
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| BadNetwork::Prefix(bits))?
            }
            Some(_) => return Err(BadNetwork::Form),
        };
        let first = masked(address, prefix).ok_or(BadNetwork::Prefix(bits))?;
        let network = Self { first, prefix };
        if first == address { Ok(network) } else { Err(BadNetwork::HostBits(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.first.is_ipv4() { 32 } else { 128 };
        if self.prefix == bits { self.first.fmt(f) } else { write!(f, "{}/{}", self.first, self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect(text)
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_alike() {
        for (text, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("128.0.0.0/1", "255.255.255.255", "127.255.255.255"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
        ] {
            assert!(network(text).contains(inside.parse().unwrap()), "{text} has {inside}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{text} has not {outside}");
        }
        assert!(network("0.0.0.0/0").contains("203.0.113.9".parse().unwrap()));
        assert!(network("::/0").contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn protocols_do_not_mix_but_mapped_addresses_are_ipv4() {
        assert!(!network("::/0").contains("192.0.2.1".parse().unwrap()));
        assert!(!network("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(network("192.0.2.0/24").contains("::ffff:192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn networks_are_shown_as_they_are_written() {
        for text in ["192.0.2.7", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::1"] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("192.0.2.7/32").to_string(), "192.0.2.7");
    }

    #[test]
    fn what_is_wrong_with_a_network_is_told() {
        for (text, why) in [
            ("localhost", "an IP address or a network, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"),
            ("192.0.2.0/", "an IP address or a network, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"),
            ("192.0.2.0/+8", "an IP address or a network, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"),
            ("192.0.2.0/33", "a prefix length of at most 32 after the slash"),
            ("2001:db8::/999", "a prefix length of at most 128 after the slash"),
            ("192.0.2.7/24", "the first address of the network before the slash: 192.0.2.0/24"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), why, "{text}");
        }
    }
}
