//! For whom a proxy connects, as far as it is believed.

use super::Head;
use core::net::{IpAddr, SocketAddr};

/// Who is behind `peer`: the first address in `X-Forwarded-For`, from the right, that is no proxy of ours. Each proxy appends
/// whom it was connected by, so that what stands left of a stranger is the stranger's invention.
///
/// `None` when nothing is to be believed: the peer is no trusted proxy, or it names nobody. Something that is no address
/// ends the search at the last proxy before it.
pub fn forwarded_for(peer: IpAddr, head: &Head<'_>, trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    if !trusted(peer) {
        return None;
    }
    let mut client = None;
    for value in head.values("X-Forwarded-For").rev() {
        for hop in value.rsplit(|&byte| byte == b',') {
            let Some(hop) = address(hop.trim_ascii()) else { return client };
            client = Some(hop);
            if !trusted(hop) {
                return client;
            }
        }
    }
    client
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse::<IpAddr>().or_else(|_| with_port()).ok().map(|address| address.to_canonical())
}
