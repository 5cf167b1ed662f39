//! Bounds that hold over all cores together: connections of one address and of one user, and attempts of one address.
//!
//! They are asked about once for each connection, behind a lock that is held for a look into a map; messages know nothing of
//! them, and where a bound is not set there is nothing to ask.

use crate::throttle::{PenaltyBox, Rate, Rules, Verdict};
use crate::types::{HashSeed, Limits, Now};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
#[expect(
    clippy::disallowed_types,
    reason = "asked once for each connection, and never waited for longer than a look"
)]
use std::sync::Mutex;
use std::sync::{Arc, MutexGuard, PoisonError};

/// Addresses whose attempts are remembered, in about 4 MiB.
const ADDRESSES: usize = 1 << 16;
/// Attempts that a failed login counts for: guessing passwords is what the bound is there for.
pub const FAILED_LOGIN_COST: u32 = 10;

/// How many there are of each.
#[derive(Debug)]
struct Census<K> {
    max: u32,
    inside: Locked<BTreeMap<K, u32>>,
}

#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "as above")]
struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    fn new(value: T) -> Self {
        #[expect(clippy::disallowed_types, reason = "as above")]
        Self(Mutex::new(value))
    }

    /// Whoever panicked had changed one number, or nothing.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those of one address or user, until it is dropped.
#[derive(Debug)]
pub struct Place<K: Ord> {
    census: Arc<Census<K>>,
    of: K,
}

impl<K: Ord + Clone> Census<K> {
    fn bounded(max: Option<u32>) -> Option<Arc<Self>> {
        max.map(|max| Arc::new(Self { max, inside: Locked::new(BTreeMap::new()) }))
    }

    /// Lets one more in; `None` when as many are inside as may be.
    fn enter(self: &Arc<Self>, of: K) -> Option<Place<K>> {
        let mut inside = self.inside.lock();
        let count = inside.entry(of.clone()).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        drop(inside);
        Some(Place { census: Arc::clone(self), of })
    }
}

impl<K: Ord> Drop for Place<K> {
    fn drop(&mut self) {
        let mut inside = self.census.inside.lock();
        if let Some(count) = inside.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.of);
            }
        }
    }
}

/// What is asked of a connection.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    addresses: Option<Arc<Census<IpAddr>>>,
    users: Option<Arc<Census<Box<str>>>>,
    attempts: Option<Arc<Locked<PenaltyBox>>>,
}

/// The places that a connection has.
#[derive(Debug, Default)]
pub struct Places {
    /// Among those of its address.
    pub address: Option<Place<IpAddr>>,
    /// Among those of its user.
    pub user: Option<Place<Box<str>>>,
}

/// There is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Guard {
    /// What these bounds ask for.
    pub fn new(limits: &Limits, seed: HashSeed) -> Self {
        let attempts = limits.attempts_per_s.map(|per_second| {
            let attempts = Rate { per_second, burst: limits.attempts_burst };
            let rules = Rules { attempts, penalty: limits.penalty };
            Arc::new(Locked::new(PenaltyBox::new(rules, ADDRESSES, seed)))
        });
        let addresses = Census::bounded(limits.connections_per_address_max);
        Self { addresses, users: Census::bounded(limits.connections_per_user_max), attempts }
    }

    /// A place for a connection of this address, `None` where they are not counted.
    ///
    /// # Errors
    /// When as many connections have come from there as may.
    pub fn address(&self, address: IpAddr) -> Result<Option<Place<IpAddr>>, Full> {
        let Some(census) = &self.addresses else { return Ok(None) };
        census.enter(network(address)).map(Some).ok_or(Full)
    }

    /// A place for a connection of this user, `None` where they are not counted.
    ///
    /// # Errors
    /// When as many connections are the user's as may be.
    pub fn user(&self, user: &str) -> Result<Option<Place<Box<str>>>, Full> {
        let Some(census) = &self.users else { return Ok(None) };
        census.enter(user.into()).map(Some).ok_or(Full)
    }

    /// An address tries to connect, which may count for more than one attempt.
    pub fn attempt(&self, now: Now, address: IpAddr, cost: u32) -> Verdict {
        let Some(attempts) = &self.attempts else { return Verdict::Admitted };
        attempts.lock().attempt(now, address, cost)
    }
}

/// What one host can have: an IPv4 address, or all addresses of an IPv6 network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(limits: Limits) -> Guard {
        Guard::new(&limits, HashSeed(7))
    }

    #[test]
    fn places_are_counted_by_address_and_by_user_and_given_back() {
        let guard = guard(Limits {
            connections_per_address_max: Some(2),
            connections_per_user_max: Some(1),
            ..Limits::default()
        });
        let address = |text: &str| guard.address(text.parse().expect("an address"));
        let first = address("192.0.2.1").expect("room");
        let second = address("::ffff:192.0.2.1").expect("the same address, and room for it");
        assert_eq!(address("192.0.2.1").err(), Some(Full));
        assert!(address("192.0.2.2").is_ok());
        drop(first);
        assert!(address("192.0.2.1").is_ok());
        drop(second);
        let all = ["2001:db8::1", "2001:db8::2"].map(|text| address(text).expect("room"));
        assert_eq!(address("2001:db8:0:0:ffff::3").err(), Some(Full), "of the same network");
        drop(all);
        let ann = guard.user("ann").expect("room");
        assert!(guard.user("ann").is_err() && guard.user("bob").is_ok());
        drop(ann);
        assert!(guard.user("ann").is_ok());
    }

    #[test]
    fn nothing_is_counted_where_nothing_is_bounded() {
        let guard = guard(Limits::default());
        let address = "192.0.2.1".parse().expect("an address");
        assert!(guard.address(address).is_ok_and(|place| place.is_none()));
        assert!(guard.user("ann").is_ok_and(|place| place.is_none()));
        assert_eq!(guard.attempt(Now(0), address, u32::MAX), Verdict::Admitted);
    }
}
