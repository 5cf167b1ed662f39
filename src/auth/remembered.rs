//! Logins that were right lately, so that a client which comes back need not wait for its password to be hashed again.

use super::Admitted;
use crate::sasl::{Secret, hmac};
use crate::types::{HashSeed, Map, Now, Span};
use std::collections::VecDeque;

/// A name and a password as they are remembered: a hash under a key of this process, which says neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Proof([u8; 32]);

/// Logins of one core that were right, for a bounded time and of a bounded number: where there is no room, the oldest one is
/// forgotten. No clear password is kept. Who reads the process' memory finds the key as well, and can try passwords at the
/// speed of HMAC-SHA-256; that is why nothing is kept for longer than it saves work.
#[derive(Debug)]
pub struct Remembered {
    secret: Secret,
    kept_for: Span,
    max: usize,
    by_proof: Map<Proof, (Now, Admitted)>,
    /// The same in the order in which they were added. One that was added again stands here twice.
    order: VecDeque<(Now, Proof)>,
}

impl Remembered {
    /// Nobody, and later up to `max` logins for up to `kept_for` each.
    pub fn new(secret: Secret, kept_for: Span, max: usize, seed: HashSeed) -> Self {
        Self { secret, kept_for, max, by_proof: seed.map(), order: VecDeque::new() }
    }

    /// What a name and a password are remembered as.
    pub fn proof(&self, user: &str, password: &[u8]) -> Proof {
        let len = (user.len() as u64).to_be_bytes();
        Proof(hmac(&self.secret.0, &[b"login", &len, user.as_bytes(), password]))
    }

    /// Who has logged in like this lately.
    pub fn recall(&self, now: Now, proof: &Proof) -> Option<&Admitted> {
        self.by_proof.get(proof).filter(|(until, _)| *until > now).map(|(_, admitted)| admitted)
    }

    /// Remembers a login, no longer than that.
    pub fn add(&mut self, now: Now, proof: Proof, admitted: Admitted, no_longer_than: Span) {
        self.forget_old(now);
        let until = now + self.kept_for.min(no_longer_than);
        if until <= now || self.max == 0 {
            return;
        }
        self.by_proof.insert(proof, (until, admitted));
        self.order.push_back((until, proof));
        while self.order.len() > self.max {
            self.forget_first();
        }
    }

    /// Forgets everybody.
    pub fn clear(&mut self) {
        self.by_proof.clear();
        self.order.clear();
    }

    fn forget_old(&mut self, now: Now) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((until, proof)) = self.order.pop_front()
            && self.by_proof.get(&proof).is_some_and(|(kept, _)| *kept <= until)
        {
            self.by_proof.remove(&proof);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Span = Span::from_secs(60);

    fn remembered(max: usize) -> Remembered {
        Remembered::new(Secret([7; 32]), MINUTE, max, HashSeed(7))
    }

    fn login(known: &mut Remembered, now: Now, user: &str) -> Proof {
        let proof = known.proof(user, b"pencil");
        known.add(now, proof, Admitted::named(user), Span(u64::MAX));
        proof
    }

    #[test]
    fn a_login_is_remembered_for_its_time_and_no_other_password_is() {
        let mut known = remembered(10);
        let proof = login(&mut known, Now(1_000), "ann");
        assert_eq!(known.recall(Now(60_999), &proof).map(|known| &*known.user), Some("ann"));
        assert!(known.recall(Now(61_000), &proof).is_none());
        for (user, password) in [("ann", "pen"), ("an", "npencil"), ("annp", "encil"), ("", "annpencil")] {
            let other = known.proof(user, password.as_bytes());
            assert!(known.recall(Now(1_000), &other).is_none(), "{user} {password}");
        }
        assert!(!format!("{known:?}").contains("pencil"));
    }

    #[test]
    fn the_oldest_login_makes_room_for_a_new_one() {
        let mut known = remembered(2);
        let [ann, bob] = ["ann", "bob"].map(|user| login(&mut known, Now(0), user));
        let cara = login(&mut known, Now(1), "cara");
        assert!(known.recall(Now(1), &ann).is_none());
        assert!(known.recall(Now(1), &bob).is_some() && known.recall(Now(1), &cara).is_some());
        for now in 0..1_000 {
            login(&mut known, Now(now), "cara");
        }
        assert!(
            known.order.len() <= 2 && known.by_proof.len() <= 2,
            "one that comes again takes no more room"
        );
        assert!(known.recall(Now(999), &cara).is_some());
    }

    #[test]
    fn a_login_is_not_remembered_longer_than_it_is_good() {
        let mut known = remembered(2);
        let proof = known.proof("ann", b"pencil");
        known.add(Now(0), proof, Admitted::named("ann"), Span(5));
        assert!(known.recall(Now(4), &proof).is_some() && known.recall(Now(5), &proof).is_none());
        known.add(Now(10), proof, Admitted::named("ann"), Span(0));
        assert!(known.recall(Now(10), &proof).is_none());
        known.add(Now(20), proof, Admitted::named("ann"), Span(5));
        known.clear();
        assert!(known.recall(Now(20), &proof).is_none());
    }
}
