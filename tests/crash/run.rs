//! One run: clients come and go, the broker is killed and started again, and now and then everything is drained and the
//! books are settled.

mod drain;

use crate::PATIENCE;
use crate::audit;
use crate::broker::{Broker, Home, Keeps};
use crate::ledger::{Counts, Ledger};
use crate::link::Link;
use crate::mourned::Mourned;
use crate::power::Shim;
use crate::publisher::Publisher;
use crate::subscriber::{Role, Subscriber};
use pantala::codec::Version;
use pantala::types::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Kills between two settlements.
const ROUND: u64 = 10;
/// Longest time for which nobody looks whether somebody wants to do something.
const LULL: Duration = Duration::from_millis(2);

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) kills: u64,
    pub(crate) keeps: Keeps,
    /// The power is cut with each kill.
    pub(crate) power: bool,
    /// Things that clients say and hear in one life of the broker, at most.
    pub(crate) events: u64,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    /// What went wrong, and the end of the broker's log.
    pub(crate) told: String,
}

/// A run under way.
#[derive(Debug)]
struct Run {
    plan: Plan,
    /// What clients do.
    workload: Rng,
    /// When the broker dies and what it is then.
    fate: Rng,
    home: Home,
    /// There is one but between two lives.
    broker: Option<Broker>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    mourned: Option<Mourned>,
    mourned_so_far: usize,
    ledger: Ledger,
}

/// Lives through a plan.
pub(crate) fn run(plan: Plan) -> Outcome {
    let mut run = Run::new(plan);
    run.start();
    for kill in 1..=plan.kills {
        run.live();
        run.kill();
        run.start();
        run.audit();
        if kill % ROUND == 0 || kill == plan.kills {
            run.drain();
        }
        if !run.ledger.is_clean() {
            break;
        }
    }
    if plan.kills == 0 {
        run.live();
        run.drain();
    }
    run.outcome()
}

impl Run {
    fn new(plan: Plan) -> Self {
        let (mut ledger, mut setup) = (Ledger::default(), Rng::new(plan.seed));
        let versions = [Version::V5, Version::V311];
        let publishers = (0..3).map(|number| {
            let window = usize::try_from(1 + setup.below(24)).expect("a small number");
            Publisher::new(number, versions[number % 2], window)
        });
        let publishers = publishers.collect();
        let readers = (0..4).map(|number| ((Role::Reader, number), versions[number % 2]));
        let members =
            [(Role::Steady, Version::V311), (Role::Member, Version::V5), (Role::Member, Version::V5)];
        let members = members.into_iter().enumerate();
        let members = members.map(|(number, (role, version))| ((role, number), version));
        let subscribers = readers.chain(members);
        let subscribers =
            subscribers.map(|(who, version)| Subscriber::new(who, version, &mut setup, &mut ledger));
        let subscribers = subscribers.collect();
        Self {
            plan,
            workload: Rng::new(setup.next_u64()),
            fate: Rng::new(setup.next_u64()),
            home: Home::new(plan.keeps, plan.power.then(Shim::new)),
            broker: None,
            publishers,
            subscribers,
            mourned: None,
            mourned_so_far: 0,
            ledger,
        }
    }

    fn address(&self) -> SocketAddr {
        self.broker.as_ref().expect("it runs").address
    }

    fn start(&mut self) {
        let shards = 1 + self.fate.below(3);
        self.broker = Some(self.home.start(shards));
        self.ledger.life += 1;
    }

    /// Everybody does what they want, for a random time.
    fn live(&mut self) {
        // Some lives are so short that not everybody is back.
        let most = if self.fate.chance(1, 4) { self.plan.events / 20 } else { self.plan.events };
        let mut left = 1 + self.fate.below(most.max(1));
        while left > 0 {
            let did = u64::from(self.act()) + self.hear();
            left = left.saturating_sub(did);
            if did == 0 {
                self.rest(LULL);
            }
        }
    }

    /// SIGKILL, in the middle of whatever is going on.
    fn kill(&mut self) {
        self.broker.take().expect("it runs").kill();
        self.ledger.counts.kills += 1;
        // What had been sent may still be read, or is lost with the connection.
        for number in 0..self.publishers.len() {
            if self.fate.chance(1, 2) {
                self.hear_publisher(number);
            }
            self.publishers[number].link.leave(false);
        }
        for number in 0..self.subscribers.len() {
            if self.fate.chance(1, 2) {
                self.hear_subscriber(number);
            }
            self.subscribers[number].link.leave(false);
        }
        self.hear_mourned();
        if let Some(mourned) = self.mourned.take() {
            mourned.vanish(&mut self.ledger);
        }
        self.home.cut_power(&mut self.fate);
    }

    fn audit(&mut self) {
        let found = audit::retained(self.address());
        self.ledger.audit(&found);
    }

    /// Somebody does something, perhaps.
    fn act(&mut self) -> bool {
        let all = self.publishers.len() + self.subscribers.len();
        let chosen = usize::try_from(self.workload.below(all as u64 + 1)).expect("a small number");
        if chosen < self.publishers.len() {
            self.act_publisher(chosen)
        } else if chosen < all {
            self.act_subscriber(chosen - self.publishers.len())
        } else {
            self.act_mourned()
        }
    }

    fn act_publisher(&mut self, number: usize) -> bool {
        let address = self.address();
        let publisher = &mut self.publishers[number];
        match self.workload.below(100) {
            _ if !publisher.link.is_connected() => publisher.link.connect(address, None),
            // Two CONNECTs on two connections would have no order.
            0 if publisher.link.is_online => publisher.link.leave(self.workload.chance(1, 2)),
            1..60 if publisher.has_room() => publisher.publish_any(&mut self.workload, &mut self.ledger),
            _ => return false,
        }
        true
    }

    fn act_subscriber(&mut self, number: usize) -> bool {
        let address = self.address();
        let subscriber = &mut self.subscribers[number];
        if !subscriber.link.is_connected() {
            // They sleep for a while, and wake up with much to take.
            // All of a group are away now and then, and have much when they end.
            let seldom = if subscriber.role == Role::Reader { 30 } else { 100 };
            let wakes = self.workload.chance(1, seldom);
            if wakes {
                // Before 5.0 such a session would end with its connection.
                let seldom = if subscriber.role == Role::Member { 2 } else { 40 };
                if subscriber.link.version.is_v5() && self.workload.chance(1, seldom) {
                    subscriber.forget(&mut self.ledger);
                }
                subscriber.connect(address);
            }
            return wakes;
        }
        match self.workload.below(100) {
            0 if subscriber.link.is_online => subscriber.link.leave(self.workload.chance(1, 2)),
            1..4 if subscriber.link.is_online => {
                subscriber.subscribe_any(&mut self.workload, &mut self.ledger);
            }
            4 if subscriber.link.is_online => {
                subscriber.unsubscribe_any(&mut self.workload, &mut self.ledger);
            }
            5..80 => return subscriber.answer(),
            _ => return false,
        }
        true
    }

    fn act_mourned(&mut self) -> bool {
        match &self.mourned {
            None if self.workload.chance(1, 100) => {
                self.mourned_so_far += 1;
                let address = self.address();
                self.mourned = Some(Mourned::new(self.mourned_so_far, address, &mut self.ledger));
            }
            Some(mourned) if mourned.is_known() && self.workload.chance(1, 100) => {
                let mourned = self.mourned.take().expect("there is one");
                mourned.vanish(&mut self.ledger);
            }
            _ => return false,
        }
        true
    }

    /// Handles everything that came. Returns how much that was.
    fn hear(&mut self) -> u64 {
        let publishers = (0..self.publishers.len()).fold(0, |sum, number| {
            let (count, closed) = self.hear_publisher(number);
            self.complain(closed, |run| &run.publishers[number].link);
            sum + count
        });
        let subscribers = (0..self.subscribers.len()).fold(0, |sum, number| {
            let (count, closed) = self.hear_subscriber(number);
            self.complain(closed, |run| &run.subscribers[number].link);
            sum + count
        });
        publishers + subscribers + self.hear_mourned()
    }

    /// The broker has no reason to end a connection.
    fn complain(&mut self, closed: bool, link: impl Fn(&Self) -> &Link) {
        if closed {
            let text = format!("the connection of {} was closed", link(self).id);
            self.ledger.violation(&text);
        }
    }

    fn hear_publisher(&mut self, number: usize) -> (u64, bool) {
        let publisher = &mut self.publishers[number];
        let (heard, closed) = publisher.link.hear();
        let count = heard.len() as u64;
        heard.into_iter().for_each(|packet| publisher.handle(packet, &mut self.ledger));
        (count, closed)
    }

    fn hear_subscriber(&mut self, number: usize) -> (u64, bool) {
        let subscriber = &mut self.subscribers[number];
        let (heard, closed) = subscriber.link.hear();
        let count = heard.len() as u64;
        heard.into_iter().for_each(|packet| subscriber.handle(packet, &mut self.ledger));
        (count, closed)
    }

    fn hear_mourned(&mut self) -> u64 {
        let Some(mourned) = &mut self.mourned else { return 0 };
        let (heard, _) = mourned.link.hear();
        heard.iter().for_each(|packet| mourned.handle(packet, &mut self.ledger));
        heard.len() as u64
    }

    /// Waits until something comes, at most so long.
    fn rest(&mut self, at_most: Duration) {
        let links = self.publishers.iter_mut().map(|publisher| &mut publisher.link);
        let links = links.chain(self.subscribers.iter_mut().map(|subscriber| &mut subscriber.link));
        let links = links.chain(self.mourned.iter_mut().map(|mourned| &mut mourned.link));
        let wires: Vec<_> = links.filter_map(Link::wire).collect();
        let mut sockets: Vec<_> = wires.iter().map(|wire| PollFd::new(&wire.stream, PollFlags::IN)).collect();
        let at_most = Timespec::try_from(at_most).expect("a short time");
        poll(&mut sockets, Some(&at_most)).expect("live sockets");
    }

    /// Everybody does something until a condition holds; if it never does, that is a violation.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool, mut act: impl FnMut(&mut Self)) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            act(self);
            if self.hear() == 0 {
                self.rest(LULL);
            }
            if Instant::now() > deadline {
                return self.ledger.violation(&format!("waited in vain until {what}"));
            }
        }
    }

    fn outcome(self) -> Outcome {
        let (counts, mut told) = (self.ledger.counts.clone(), self.ledger.told());
        if !self.ledger.is_clean() {
            told = format!("{told}\n\nthe broker's log ends:\n{}", self.home.log_end());
        }
        Outcome { counts, told }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.ledger.told(), self.home.log_end());
            eprintln!("replay with: CRASH_SEED={} cargo test --test crash", self.plan.seed);
        }
    }
}
