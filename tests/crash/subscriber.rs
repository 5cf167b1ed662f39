//! A client with a persistent session that comes and goes, and takes its time with acknowledgements.

use crate::ledger::Ledger;
use crate::link::{Link, Session};
use crate::wire::{Arrival, Heard};
use bytes::BytesMut;
use pantala::codec::{
    Ack, Packet, Properties, ReasonCode, Subscribe, SubscribeFilters, SubscriptionOptions, Unsubscribe,
    UnsubscribeFilters, Version,
};
use pantala::types::{PacketId, QoS, Rng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// Everybody has these all the time: the ends of rounds, and wills.
const ALWAYS: [&str; 2] = ["end/+", "will/+"];
/// The others come and go.
const SOMETIMES: [&str; 9] =
    ["live/0/+", "live/1/#", "live/+/1", "live/#", "kept/#", "live/2/0", "kept/+/1", "+/1/2", "+/2/+"];

/// The group's. Its members are members of nothing else.
const SHARED: [&str; 1] = ["$share/crew/job/#"];
/// What a member was sent and has not completed at most, in the run that its session ends in and in the one before: the
/// broker has no more on their way at a time.
const SENT_MAX: usize = 24;

/// What a subscriber is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It gets all that it has subscribed to.
    Reader,
    /// It shares with others.
    Member,
    /// The same, and it never leaves them.
    Steady,
}

impl Role {
    fn always(self) -> &'static [&'static str] {
        match self {
            Self::Reader => &ALWAYS,
            Self::Member => &[],
            Self::Steady => &SHARED,
        }
    }

    fn sometimes(self) -> &'static [&'static str] {
        match self {
            Self::Reader => &SOMETIMES,
            Self::Member => &SHARED,
            Self::Steady => &[],
        }
    }
}

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// SUBSCRIBE was sent.
    Asked,
    /// SUBACK came.
    Held,
    /// UNSUBSCRIBE was sent.
    Leaving,
}

#[derive(Debug)]
struct Subscription {
    stint: usize,
    wish: Wish,
}

/// An acknowledgement that is to be sent.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::enum_variant_names, reason = "the standard's names")]
enum Answer {
    PubAck(PacketId),
    PubRec(PacketId),
    PubComp(PacketId),
}

/// A subscriber, and what it remembers between connections.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) link: Link,
    pub(crate) role: Role,
    account: usize,
    /// The QoS of each of its filters.
    qos: BTreeMap<&'static str, QoS>,
    subscriptions: BTreeMap<&'static str, Subscription>,
    requests: BTreeMap<u16, &'static str>,
    next_id: u16,
    /// Payloads of QoS 2 messages whose PUBREL has not come.
    held: BTreeMap<u16, Vec<u8>>,
    answers: VecDeque<Answer>,
    /// Packet ids that count against the Receive Maximum of this connection.
    outstanding: BTreeSet<u16>,
    pings: u32,
    /// Nothing may arrive any more.
    pub(crate) expects_nothing: bool,
}

impl Subscriber {
    pub(crate) fn new(
        (role, number): (Role, usize),
        version: Version,
        rng: &mut Rng,
        ledger: &mut Ledger,
    ) -> Self {
        let id = format!("{}-{number}", if role == Role::Reader { "subscriber" } else { "member" });
        let account = ledger.open_account(&id);
        let receive_maximum = u16::try_from(1 + rng.below(8)).expect("a small number");
        let mut qos = BTreeMap::new();
        for filter in SOMETIMES {
            qos.insert(filter, *rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]));
        }
        qos.extend(ALWAYS.map(|filter| (filter, QoS::AtLeastOnce)));
        qos.extend(SHARED.map(|filter| (filter, QoS::ExactlyOnce)));
        Self {
            link: Link::new(id, version, receive_maximum),
            role,
            account,
            qos,
            subscriptions: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_id: 1,
            held: BTreeMap::new(),
            answers: VecDeque::new(),
            outstanding: BTreeSet::new(),
            pings: 0,
            expects_nothing: false,
        }
    }

    pub(crate) fn account(&self) -> usize {
        self.account
    }

    pub(crate) fn connect(&mut self, address: SocketAddr) {
        // What was to be answered on the connection before is not: the broker sends it again.
        self.answers.clear();
        self.outstanding.clear();
        self.pings = 0;
        self.link.connect(address, None);
    }

    /// The next session is a new one.
    pub(crate) fn forget(&mut self, ledger: &mut Ledger) {
        self.link.forget();
        ledger.starts_clean(self.account);
        if self.role == Role::Member {
            ledger.crew_may_lose(SENT_MAX);
        }
    }

    /// Whether it is connected and all its requests have been answered.
    pub(crate) fn is_ready(&self) -> bool {
        self.link.is_online && self.subscriptions.values().all(|subscription| subscription.wish == Wish::Held)
    }

    /// Whether everything that it got is acknowledged to the last step.
    pub(crate) fn is_idle(&self) -> bool {
        self.answers.is_empty() && self.outstanding.is_empty() && self.held.is_empty()
    }

    pub(crate) fn is_pinging(&self) -> bool {
        self.pings > 0
    }

    pub(crate) fn ping(&mut self) {
        self.pings += 1;
        self.link.say(&Packet::PingReq);
    }

    /// Subscribes to something, again perhaps.
    pub(crate) fn subscribe_any(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        if self.role == Role::Steady {
            return;
        }
        let filter = *rng.pick(self.role.sometimes());
        if self.subscriptions.get(filter).is_none_or(|subscription| subscription.wish != Wish::Leaving) {
            self.subscribe(filter, ledger);
        }
    }

    pub(crate) fn unsubscribe_any(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        if self.role == Role::Steady {
            return;
        }
        let filter = *rng.pick(self.role.sometimes());
        if let Some(subscription) = self.subscriptions.get_mut(filter)
            && subscription.wish == Wish::Held
        {
            subscription.wish = Wish::Leaving;
            ledger.unsubscribing(self.account, subscription.stint);
            self.ask(filter);
        }
    }

    fn subscribe(&mut self, filter: &'static str, ledger: &mut Ledger) {
        let qos = self.qos[filter];
        self.subscriptions.entry(filter).or_insert_with(|| {
            let stint = ledger.subscribing(self.account, filter, qos);
            Subscription { stint, wish: Wish::Asked }
        });
        self.ask(filter);
    }

    /// Sends SUBSCRIBE or UNSUBSCRIBE, whatever is wished.
    fn ask(&mut self, filter: &'static str) {
        let packet_id = loop {
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            if let Some(packet_id) = PacketId::new(id).filter(|_| !self.requests.contains_key(&id)) {
                break packet_id;
            }
        };
        self.requests.insert(packet_id.get(), filter);
        let (version, properties) = (self.link.version, Properties::EMPTY);
        let mut block = BytesMut::new();
        if self.subscriptions[filter].wish == Wish::Leaving {
            UnsubscribeFilters::write(&mut block, filter);
            let filters = UnsubscribeFilters::parse(&block).expect("a filter");
            self.link.say(&Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }));
        } else {
            SubscribeFilters::write(&mut block, filter, SubscriptionOptions::of(self.qos[filter]));
            let filters = SubscribeFilters::parse(&block, version).expect("a filter");
            self.link.say(&Packet::Subscribe(Subscribe { packet_id, properties, filters }));
        }
    }

    /// Sends the oldest acknowledgement that is due.
    pub(crate) fn answer(&mut self) -> bool {
        let Some(answer) = self.answers.pop_front() else { return false };
        let ack = |id| Ack::new(id, ReasonCode::Success);
        let (packet, done) = match answer {
            Answer::PubAck(id) => (Packet::PubAck(ack(id)), Some(id)),
            Answer::PubRec(id) => (Packet::PubRec(ack(id)), None),
            Answer::PubComp(id) => (Packet::PubComp(ack(id)), Some(id)),
        };
        if let Some(id) = done {
            self.outstanding.remove(&id.get());
        }
        self.link.say(&packet);
        true
    }

    pub(crate) fn handle(&mut self, heard: Heard, ledger: &mut Ledger) {
        match heard {
            Heard::ConnAck { present, code: 0 } => self.resume(present, ledger),
            Heard::Publish(arrival) => self.arrived(&arrival, ledger),
            Heard::PubRel(id) => {
                self.held.remove(&id.get());
                self.answers.push_back(Answer::PubComp(id));
            }
            Heard::SubAck(id, codes) => self.subscribed(id, &codes, ledger),
            Heard::UnsubAck(id) => self.unsubscribed(id, ledger),
            Heard::PingResp => self.pings -= 1,
            other => ledger.violation(&format!("{} got {other:?}", self.link.id)),
        }
    }

    fn resume(&mut self, present: bool, ledger: &mut Ledger) {
        let session = self.link.accepted(present);
        match session {
            Session::Resumed => {}
            Session::New => ledger.started_clean(self.account),
            Session::Lost => ledger.session_lost(&self.link.id, Some(self.account)),
            Session::Undead => {
                ledger.violation(&format!("{}: an ended session is back", self.link.id));
            }
        }
        self.requests.clear();
        if session != Session::Resumed {
            self.held.clear();
            self.subscriptions.clear();
        }
        // Requests that were not answered are made again.
        let unanswered =
            self.subscriptions.iter().filter(|(_, subscription)| subscription.wish != Wish::Held);
        let mut again: Vec<&'static str> = unanswered.map(|(filter, _)| *filter).collect();
        again.retain(|filter| !self.role.always().contains(filter));
        again.into_iter().for_each(|filter| self.ask(filter));
        for &filter in self.role.always() {
            if self.subscriptions.get(filter).is_none_or(|subscription| subscription.wish != Wish::Held) {
                self.subscribe(filter, ledger);
            }
        }
    }

    fn subscribed(&mut self, id: PacketId, codes: &[u8], ledger: &mut Ledger) {
        let Some(filter) = self.requests.remove(&id.get()) else {
            return ledger.violation(&format!("{} got SUBACK {id:?} for nothing", self.link.id));
        };
        if codes != [self.qos[filter] as u8] {
            ledger.violation(&format!("{}: SUBACK {codes:02x?} for {filter}", self.link.id));
        }
        if let Some(subscription) = self.subscriptions.get_mut(filter)
            && subscription.wish == Wish::Asked
        {
            subscription.wish = Wish::Held;
            ledger.subscribed(self.account, subscription.stint);
            if self.role == Role::Steady {
                ledger.crew_opens();
            }
        }
    }

    fn unsubscribed(&mut self, id: PacketId, ledger: &mut Ledger) {
        let filter = self.requests.remove(&id.get());
        match filter.and_then(|filter| self.subscriptions.remove(filter)) {
            Some(subscription) => ledger.unsubscribed(self.account, subscription.stint),
            None => ledger.violation(&format!("{} got UNSUBACK {id:?} for nothing", self.link.id)),
        }
    }

    fn arrived(&mut self, arrival: &Arrival, ledger: &mut Ledger) {
        // A will may be published again after a crash, later than anybody knows.
        if self.expects_nothing && !arrival.topic.starts_with("will/") {
            let text = format!("{} got {arrival:?}, and had acknowledged everything", self.link.id);
            ledger.violation(&text);
        }
        let Some(id) = arrival.id else {
            return ledger.violation(&format!("{} got QoS 0 on {:?}", self.link.id, arrival.topic));
        };
        self.outstanding.insert(id.get());
        if self.outstanding.len() > self.link.window() {
            let text = format!("{} got more than its Receive Maximum [MQTT-3.3.4-9]", self.link.id);
            ledger.violation(&text);
        }
        if arrival.qos == QoS::AtLeastOnce {
            self.answers.push_back(Answer::PubAck(id));
            return self.took(arrival, ledger);
        }
        self.answers.push_back(Answer::PubRec(id));
        match self.held.get(&id.get()) {
            Some(held) => ledger.repeated(self.account, arrival, held),
            None => {
                self.held.insert(id.get(), arrival.payload.clone());
                self.took(arrival, ledger);
            }
        }
    }

    fn took(&self, arrival: &Arrival, ledger: &mut Ledger) {
        if self.role == Role::Reader {
            ledger.arrived(self.account, arrival, self.link.since);
        } else {
            ledger.crew_arrived(self.account, arrival, self.link.since);
        }
    }
}
