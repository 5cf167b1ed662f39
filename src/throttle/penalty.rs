//! Connection attempts by address: who tries too often is shut out for a while.

use super::bucket::{Bucket, Rate};
use crate::types::{HashSeed, Now, Span};
use core::net::IpAddr;
use std::hash::BuildHasher;

/// Entries that an address can be in. More make a set's search longer, fewer make strangers push each other out.
const WAYS: usize = 4;

/// What an address may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Attempts.
    pub attempts: Rate,
    /// How long an address is shut out that made more.
    pub penalty: Span,
}

/// What an attempt comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within the rules.
    Admitted,
    /// One too many: shut out until then. Worth a line in a log, which each address can cause once in a penalty's length.
    ShutOut(Now),
    /// Shut out already, until then.
    Refused(Now),
}

/// Addresses that have tried lately, in a table of a fixed size; an IPv6 address counts with all others of its /64, because
/// that is what one host can have.
///
/// An address that is not in the table comes in for the one of its four entries that has nothing to remember or that was
/// silent the longest. Addresses that are shut out are not pushed out by strangers: where all four are, the stranger is
/// admitted without being remembered, and counted. So with more addresses than entries some attempts go unpunished, and none is
/// refused for what another address did.
#[derive(Clone, Debug)]
pub struct PenaltyBox {
    rules: Rules,
    seed: HashSeed,
    /// Sets of `WAYS`; as many sets as a power of two.
    entries: Box<[Option<Entry>]>,
    unremembered: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    source: u64,
    /// IPv4 addresses and IPv6 networks with the same bits are not the same.
    v6: bool,
    bucket: Bucket,
    last: Now,
    until: Option<Now>,
}

impl PenaltyBox {
    /// An empty one with room for at least so many addresses, each of about 56 bytes.
    pub fn new(rules: Rules, addresses: usize, seed: HashSeed) -> Self {
        let sets = addresses.div_ceil(WAYS).next_power_of_two();
        Self { rules, seed, entries: vec![None; sets * WAYS].into(), unremembered: 0 }
    }

    /// An address tries. `cost` is how many attempts it counts for: a login with a wrong password may count for several.
    pub fn attempt(&mut self, now: Now, address: IpAddr, cost: u32) -> Verdict {
        let rules = self.rules;
        let Some(entry) = self.entry(now, address) else {
            self.unremembered += 1;
            return Verdict::Admitted;
        };
        entry.last = now;
        if let Some(until) = entry.until.filter(|until| *until > now) {
            return Verdict::Refused(until);
        }
        if entry.until.take().is_some() {
            // Who has paid begins anew.
            entry.bucket = Bucket::new(rules.attempts, now);
        }
        if entry.bucket.take(rules.attempts, now, cost) {
            return Verdict::Admitted;
        }
        let until = now + rules.penalty;
        entry.until = Some(until);
        Verdict::ShutOut(until)
    }

    /// Attempts that were admitted because nothing could be remembered of them.
    pub fn unremembered(&self) -> u64 {
        self.unremembered
    }

    /// How many addresses are shut out now.
    pub fn shut_out(&self, now: Now) -> usize {
        self.entries.iter().flatten().filter(|entry| entry.is_shut_out(now)).count()
    }

    /// The address's own entry, or a new one in its set.
    fn entry(&mut self, now: Now, address: IpAddr) -> Option<&mut Entry> {
        let (source, v6) = match address.to_canonical() {
            IpAddr::V4(address) => (u64::from(u32::from(address)), false),
            IpAddr::V6(address) => ((u128::from(address) >> 64) as u64, true),
        };
        let sets = (self.entries.len() / WAYS) as u64;
        let set = usize::try_from(self.seed.state().hash_one((source, v6)) & (sets - 1))
            .expect("below the sets")
            * WAYS;
        let rate = self.rules.attempts;
        let set = &mut self.entries[set..set + WAYS];
        let own =
            set.iter().position(|entry| entry.is_some_and(|entry| (entry.source, entry.v6) == (source, v6)));
        let at = own.or_else(|| {
            let free = set
                .iter()
                .enumerate()
                .filter(|(_, entry)| !entry.is_some_and(|entry| entry.is_shut_out(now)));
            let silent = |entry: &Option<Entry>| {
                entry
                    .filter(|entry| entry.until.is_none() && !entry.bucket.is_full(rate, now))
                    .map(|entry| entry.last)
            };
            // `None` comes first: nothing to remember.
            free.min_by_key(|(_, entry)| silent(entry)).map(|(at, _)| at)
        })?;
        if own.is_none() {
            set[at] = Some(Entry { source, v6, bucket: Bucket::new(rate, now), last: now, until: None });
        }
        set[at].as_mut()
    }
}

impl Entry {
    fn is_shut_out(&self, now: Now) -> bool {
        self.until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Rng;
    use std::collections::BTreeMap;

    const RULES: Rules = Rules { attempts: Rate { per_second: 2, burst: 3 }, penalty: Span(10_000) };

    fn table(addresses: usize) -> PenaltyBox {
        PenaltyBox::new(RULES, addresses, HashSeed(7))
    }

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn who_tries_too_often_is_shut_out_for_a_while() {
        let mut table = table(16);
        let mut at = |now| table.attempt(Now(now), v4(1), 1);
        assert_eq!([at(0), at(0), at(0)], [Verdict::Admitted; 3]);
        assert_eq!(at(100), Verdict::ShutOut(Now(10_100)));
        assert_eq!(at(10_099), Verdict::Refused(Now(10_100)), "trying on does not make it longer");
        assert_eq!([at(10_100), at(10_100), at(10_100)], [Verdict::Admitted; 3]);
        assert_eq!(at(10_100), Verdict::ShutOut(Now(20_100)));
        assert_eq!(table.attempt(Now(10_100), v4(2), 1), Verdict::Admitted, "others are others");
        assert_eq!((table.shut_out(Now(10_200)), table.shut_out(Now(20_100))), (1, 0));
    }

    #[test]
    fn some_attempts_count_for_more() {
        let mut table = table(16);
        assert_eq!(table.attempt(Now(0), v4(1), 3), Verdict::Admitted);
        assert_eq!(table.attempt(Now(499), v4(1), 1), Verdict::ShutOut(Now(10_499)));
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_mapped_addresses_as_ipv4() {
        let mut table = table(16);
        let mut at = |text: &str| table.attempt(Now(0), text.parse().expect(text), 1);
        for text in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:1"] {
            assert_eq!(at(text), Verdict::Admitted, "{text}");
        }
        assert_eq!(at("2001:db8::3"), Verdict::ShutOut(Now(10_000)));
        assert_eq!(at("2001:db8:0:1::3"), Verdict::Admitted);
        for text in ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"] {
            assert_eq!(at(text), Verdict::Admitted, "{text}");
        }
        assert_eq!(at("::ffff:192.0.2.1"), Verdict::ShutOut(Now(10_000)));
        assert_eq!(at("::c000:201:0:0:0:0"), Verdict::Admitted, "the same bits in front");
    }

    /// Every address by itself, without a bound.
    #[derive(Default)]
    struct Model(BTreeMap<u32, (Option<Bucket>, Option<Now>)>);

    impl Model {
        fn attempt(&mut self, now: Now, address: u32, cost: u32) -> Verdict {
            let (bucket, until) = self.0.entry(address).or_default();
            match *until {
                Some(until) if until > now => return Verdict::Refused(until),
                Some(_) => (*bucket, *until) = (None, None),
                None => {}
            }
            let bucket = bucket.get_or_insert_with(|| Bucket::new(RULES.attempts, now));
            if bucket.take(RULES.attempts, now, cost) {
                return Verdict::Admitted;
            }
            *until = Some(now + RULES.penalty);
            Verdict::ShutOut(now + RULES.penalty)
        }
    }

    /// Attempts of so many addresses, some of which try far more often than others.
    fn attempts(seed: u64, addresses: u64) -> impl Iterator<Item = (Now, u32, u32)> {
        let (mut rng, mut now) = (Rng::new(seed), 0);
        (0..20_000).map(move |_| {
            now += rng.below(40);
            let bound = 1 + rng.below(addresses);
            let address = u32::try_from(rng.below(bound)).expect("small");
            (Now(now), address, 1 + u32::from(rng.chance(1, 10)))
        })
    }

    #[test]
    fn with_room_for_all_each_address_is_judged_by_what_it_did() {
        for seed in 0..5 {
            let (mut table, mut model) = (table(4_096), Model::default());
            for (now, address, cost) in attempts(seed, 60) {
                let expected = model.attempt(now, address, cost);
                assert_eq!(
                    table.attempt(now, v4(address), cost),
                    expected,
                    "seed {seed}, address {address} at {now:?}"
                );
            }
            assert_eq!(table.unremembered(), 0);
        }
    }

    #[test]
    fn without_room_some_go_unpunished_and_nobody_is_refused_for_another() {
        for seed in 0..5 {
            let (mut table, mut refused) = (table(8), 0);
            let mut sums: BTreeMap<u32, Vec<Now>> = BTreeMap::new();
            for (now, address, _) in attempts(seed, 40) {
                let own = sums.entry(address).or_default();
                own.push(now);
                if table.attempt(now, v4(address), 1) != Verdict::Admitted {
                    refused += 1;
                    // It takes four of its own attempts within a second and the penalty before.
                    let recent = own.iter().filter(|at| now - **at <= Span(11_000)).count();
                    assert!(recent > 3, "seed {seed}: address {address} at {now:?} after {recent}");
                }
            }
            assert!(refused > 0, "seed {seed}");
            assert_eq!(table.entries.len(), 8);
        }
    }

    #[test]
    fn strangers_do_not_free_who_is_shut_out() {
        let mut table = table(WAYS);
        for address in 0..4 {
            assert!(matches!(table.attempt(Now(0), v4(address), 4), Verdict::ShutOut(_)));
        }
        for stranger in 100..200 {
            assert_eq!(table.attempt(Now(1), v4(stranger), 9), Verdict::Admitted);
        }
        assert_eq!((table.unremembered(), table.shut_out(Now(2))), (100, 4));
        assert_eq!(table.attempt(Now(2), v4(3), 1), Verdict::Refused(Now(10_000)));
    }
}
