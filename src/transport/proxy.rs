//! The PROXY protocol: how a load balancer says for whom it connects, in front of everything else. Versions 1 and 2.
//!
//! Pure: whoever reads the socket hands over what came first. A header counts only from trusted networks, which is for
//! the caller to know. <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use memchr::memmem;
use ppp::v2::{Command, TypeLengthValues};
use ppp::{v1, v2};
use std::net::SocketAddr;

/// What is looked at of a connection at most: a header with addresses, and room for what balancers add.
pub const HEADER_BYTES_MAX: usize = 4_096;

const V1_PREFIX: &[u8] = b"PROXY ";
/// What the longest version 1 header has. Specification, 2.1
const V1_BYTES_MAX: usize = 107;
const V2_PREFIX: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The part of a version 2 header whose length is fixed; its last two bytes say how much follows.
const V2_FIXED: usize = 16;
/// PP2_TYPE_SSL, and what precedes the inner values: which kinds of certificate there were, and how checking it went.
const SSL: u8 = 0x20;
const SSL_FIXED: usize = 5;
/// PP2_CLIENT_CERT_CONN | PP2_CLIENT_CERT_SESS
const WITH_CERTIFICATE: u8 = 0x02 | 0x04;
/// PP2_SUBTYPE_SSL_CN
const COMMON_NAME: u8 = 0x22;

/// A whole header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length.
    pub len: usize,
    /// The client's address; `None` when the balancer speaks for itself, or for something without an address.
    pub client: Option<SocketAddr>,
    /// The common name of the client's certificate, which the balancer has checked.
    pub common_name: Option<Box<str>>,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// It begins with something else.
    #[error("no PROXY protocol header, though it comes from a network in proxy_protocol_from")]
    Missing,
    /// It begins like one and goes on wrong.
    #[error("malformed PROXY protocol header")]
    Malformed,
    /// It is longer than [`HEADER_BYTES_MAX`].
    #[error("a PROXY protocol header of more than {HEADER_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads the header that a connection begins with; `None` while it is not whole.
///
/// # Errors
/// What is wrong with it.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, BadHeader> {
    let begins = |prefix: &[u8]| bytes.iter().zip(prefix).all(|(byte, expected)| byte == expected);
    if begins(V2_PREFIX) {
        return read_v2(bytes);
    }
    if !begins(V1_PREFIX) {
        return Err(BadHeader::Missing);
    }
    let line = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = memmem::find(line, b"\r\n") else {
        return if line.len() < V1_BYTES_MAX { Ok(None) } else { Err(BadHeader::Malformed) };
    };
    let len = end + 2;
    let header = v1::Header::try_from(&bytes[..len]).map_err(|_| BadHeader::Malformed)?;
    Ok(Some(Header { len, client: client_v1(&header), common_name: None }))
}

fn read_v2(bytes: &[u8]) -> Result<Option<Header>, BadHeader> {
    let Some(&[high, low]) = bytes.get(V2_FIXED - 2..V2_FIXED) else { return Ok(None) };
    let len = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if len > HEADER_BYTES_MAX {
        return Err(BadHeader::TooLong);
    }
    let Some(bytes) = bytes.get(..len) else { return Ok(None) };
    let header = v2::Header::try_from(bytes).map_err(|_| BadHeader::Malformed)?;
    Ok(Some(Header { len, client: client_v2(&header), common_name: common_name(&header) }))
}

fn client_v1(header: &v1::Header<'_>) -> Option<SocketAddr> {
    match header.addresses {
        v1::Addresses::Tcp4(addresses) => {
            Some(SocketAddr::new(addresses.source_address.into(), addresses.source_port))
        }
        v1::Addresses::Tcp6(addresses) => {
            Some(SocketAddr::new(addresses.source_address.into(), addresses.source_port))
        }
        v1::Addresses::Unknown => None,
    }
}

fn client_v2(header: &v2::Header<'_>) -> Option<SocketAddr> {
    match header.addresses {
        // A health check of the balancer's own.
        _ if header.command == Command::Local => None,
        v2::Addresses::IPv4(addresses) => {
            Some(SocketAddr::new(addresses.source_address.into(), addresses.source_port))
        }
        v2::Addresses::IPv6(addresses) => {
            Some(SocketAddr::new(addresses.source_address.into(), addresses.source_port))
        }
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
    }
}

fn common_name(header: &v2::Header<'_>) -> Option<Box<str>> {
    let find = |values: &[u8], kind| {
        let mut values = TypeLengthValues::from(values).filter_map(Result::ok);
        values.find(|value| value.kind == kind).map(|value| value.value.into_owned())
    };
    let ssl = find(header.tlv_bytes(), SSL)?;
    let ([certificates, verified @ ..], inner) = ssl.split_first_chunk::<SSL_FIXED>()?;
    if certificates & WITH_CERTIFICATE == 0 || verified.iter().any(|&byte| byte != 0) {
        return None;
    }
    let name = find(inner, COMMON_NAME)?;
    std::str::from_utf8(&name).ok().filter(|name| !name.is_empty()).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ppp::v2::{Builder, Protocol, Version};

    /// A header of version 2 for 192.0.2.7:4000 with these values behind the addresses.
    fn v2(command: Command, values: &[(u8, &[u8])]) -> Vec<u8> {
        let client: SocketAddr = "192.0.2.7:4000".parse().unwrap();
        let server: SocketAddr = "198.51.100.1:1883".parse().unwrap();
        let builder = Builder::with_addresses(Version::Two | command, Protocol::Stream, (client, server));
        let add = |builder: Builder, &(kind, value): &(u8, &[u8])| builder.write_tlv(kind, value).unwrap();
        values.iter().fold(builder, add).build().unwrap()
    }

    fn ssl(certificates: u8, verified: u8, name: &str) -> Vec<u8> {
        let mut value = vec![certificates, 0, 0, 0, verified, COMMON_NAME];
        value.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        value.extend(name.as_bytes());
        value
    }

    #[test]
    fn the_client_is_who_the_balancer_says_it_is() {
        let text = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 1883\r\n\x10\x0c";
        let header = read(text).unwrap().unwrap();
        assert_eq!((header.len, header.client), (text.len() - 2, "192.0.2.7:4000".parse().ok()));
        let header = read(b"PROXY TCP6 2001:db8::1 ::1 4000 1883\r\n").unwrap().unwrap();
        assert_eq!(header.client, "[2001:db8::1]:4000".parse().ok());
        let mut bytes = v2(Command::Proxy, &[]);
        let len = bytes.len();
        bytes.extend(b"\x10\x0c");
        let header = read(&bytes).unwrap().unwrap();
        assert_eq!((header.len, header.client), (len, "192.0.2.7:4000".parse().ok()));
    }

    #[test]
    fn a_balancer_that_speaks_for_itself_names_nobody() {
        assert_eq!(read(b"PROXY UNKNOWN\r\n").unwrap().unwrap().client, None);
        assert_eq!(read(&v2(Command::Local, &[])).unwrap().unwrap().client, None);
    }

    #[test]
    fn every_beginning_of_a_header_waits_for_the_rest() {
        let ssl = ssl(1 | 2, 0, "device");
        for whole in
            [&b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 1883\r\n"[..], &v2(Command::Proxy, &[(SSL, &ssl)])]
        {
            (0..whole.len()).for_each(|len| assert_eq!(read(&whole[..len]), Ok(None), "{len}"));
            assert_eq!(read(whole).unwrap().unwrap().len, whole.len());
        }
    }

    #[test]
    fn the_common_name_counts_only_when_the_balancer_has_checked_the_certificate() {
        let name = |value: &[u8]| {
            let bytes = v2(Command::Proxy, &[(0x02, b"host"), (SSL, value)]);
            read(&bytes).unwrap().unwrap().common_name
        };
        assert_eq!(name(&ssl(1 | 2, 0, "device")).as_deref(), Some("device"));
        assert_eq!(name(&ssl(1, 0, "device")), None, "no certificate");
        assert_eq!(name(&ssl(1 | 2, 1, "device")), None, "not verified");
        assert_eq!(name(&ssl(1 | 2, 0, "")), None);
        assert_eq!(name(b"\x03"), None, "cut short");
    }

    #[test]
    fn what_is_no_header_is_told() {
        assert_eq!(read(b"\x10\x0c\0\x04MQTT"), Err(BadHeader::Missing));
        assert_eq!(read(b"PROXY nonsense\r\n"), Err(BadHeader::Malformed));
        assert_eq!(read(&[V1_PREFIX, &[b'x'; V1_BYTES_MAX]].concat()), Err(BadHeader::Malformed));
        assert_eq!(read(&[V2_PREFIX, b"\x21\x11\xff\xff"].concat()), Err(BadHeader::TooLong));
        assert_eq!(read(&[V2_PREFIX, b"\x71\x11\0\0"].concat()), Err(BadHeader::Malformed));
    }
}
