//! The bound of connections that have not become WebSockets, and the share of it that one address may take.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

/// Connections of one listener that are not WebSockets, at once; further ones wait to be accepted.
pub(super) const CONNECTIONS_MAX: usize = 1_024;
/// Those of one address among them; further ones are closed, so that they keep nobody else out.
pub(super) const SHARE_MAX: u32 = 256;
/// Whoever has one address of IPv6 has all that begin like it.
const PREFIX: Ipv6Addr = Ipv6Addr::new(0xffff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 0);

/// How many places each address has at present. There are at most as many entries as places.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Rc<RefCell<BTreeMap<IpAddr, u32>>>);

/// One place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    holder: IpAddr,
}

impl Places {
    /// A place for a client of this address; `None` when it has its share.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let holder = holder(address);
        let mut places = self.0.borrow_mut();
        let taken = places.entry(holder).or_default();
        if *taken == SHARE_MAX {
            return None;
        }
        *taken += 1;
        Some(Place { places: self.clone(), holder })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut taken) = self.places.0.borrow_mut().entry(self.holder) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

/// In whose name an address is counted.
fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(address & PREFIX),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Places, address: &str) -> Option<Place> {
        places.take(address.parse().expect("an address"))
    }

    fn take_all(places: &Places, address: &str) -> Vec<Place> {
        std::iter::from_fn(|| take(places, address)).collect()
    }

    #[test]
    fn one_address_takes_its_share_and_leaves_the_rest_to_others() {
        let places = Places::default();
        let mut first = take_all(&places, "192.0.2.1");
        assert_eq!(first.len(), SHARE_MAX as usize);
        let others =
            ["192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"].map(|other| take_all(&places, other).len());
        assert_eq!(others, [SHARE_MAX as usize; 3]);
        first.pop();
        assert!(take(&places, "192.0.2.1").is_some());
    }

    #[test]
    fn addresses_that_one_host_has_share_what_it_may_take() {
        for [address, same] in
            [["2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"], ["192.0.2.1", "::ffff:192.0.2.1"]]
        {
            let places = Places::default();
            let taken = take_all(&places, address);
            assert!(!taken.is_empty() && take(&places, same).is_none(), "{address} {same}");
        }
    }

    #[test]
    fn who_has_left_is_forgotten() {
        let places = Places::default();
        drop(take_all(&places, "192.0.2.1"));
        assert!(places.0.borrow().is_empty());
    }
}
