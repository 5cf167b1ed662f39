//! A client that publishes and subscribes, comes and goes, and keeps its side of the session.

mod hearing;

use super::ledger::{Ledger, MessageId};
use crate::oracle::Verdict;
use bytes::BytesMut;
use pantala::codec::{
    Ack, Connect, Disconnect, Packet, Properties, PropertiesBuf, Property, Publish, ReasonCode, Subscribe,
    SubscribeFilters, SubscriptionOptions, Unsubscribe, UnsubscribeFilters, Version, Will,
};
use pantala::types::{Now, PacketId, QoS, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;

/// Messages that a client publishes before the first of them is acknowledged.
const WINDOW: usize = 6;

/// A filter that a client may subscribe to, and with which QoS.
pub(super) type Wish = (&'static str, QoS);

/// What a client is like.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    pub(super) name: String,
    pub(super) version: Version,
    /// Seconds that its session outlives its connections; `None` for ever.
    pub(super) expiry_s: Option<u32>,
    pub(super) window: Option<u16>,
    /// Where its will goes, if it has one, and after how many seconds.
    pub(super) will: Option<(String, u32)>,
    pub(super) wishes: Vec<Wish>,
}

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Asked,
    Held,
    Leaving,
}

/// What a message that was published waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Published,
    Released,
}

#[derive(Debug)]
struct Outgoing {
    id: PacketId,
    message: MessageId,
    stage: Stage,
    /// As it was sent first.
    draft: Draft,
}

/// A message that is published.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) len: usize,
    pub(super) expiry_s: Option<u32>,
}

/// When a session lost its connection: not before the first, not after the second.
pub(super) type Gone = (Now, Now);

/// What a client knows of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    No,
    /// CONNECT was sent, and nothing heard.
    Perhaps,
    Yes,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) habits: Habits,
    pub(super) account: usize,
    /// The connection, by its wire's number.
    pub(super) wire: Option<usize>,
    /// CONNACK came.
    pub(super) open: bool,
    /// It has not said that it is a new session, and must not be taken for the old one.
    doubt: bool,
    pub(super) known: Known,
    /// When the broker closed its connection, of which it does not know yet.
    pub(super) closed: Option<Now>,
    /// Since when it has no connection.
    pub(super) gone: Option<Gone>,
    /// The same before its last connection, as long as the store may not know of that: it took nothing at that time.
    pub(super) former: Option<Now>,
    input: Vec<u8>,
    /// Packets for the broker.
    pub(super) says: Vec<BytesMut>,
    outgoing: VecDeque<Outgoing>,
    subscriptions: BTreeMap<&'static str, (usize, Stand)>,
    requests: BTreeMap<u16, &'static str>,
    last_id: u16,
    /// QoS 2 messages whose PUBREL has not come.
    held: BTreeMap<u16, MessageId>,
    /// Packet ids that the broker may have forgotten.
    forgotten: BTreeSet<u16>,
    answers: VecDeque<BytesMut>,
    /// Its will on this connection.
    pub(super) will: Option<MessageId>,
    /// The will that it left when it vanished, until it is back.
    pub(super) pending: Option<MessageId>,
    /// What it got as retained.
    pub(super) found: BTreeMap<String, MessageId>,
    clean_start: bool,
    /// When the broker read its last CONNECT, and whether nothing else was due then.
    read: (Now, bool),
    /// When it was told of a new session, which outlives the broker.
    pub(super) born: Now,
    /// A new will is known to the store.
    pub(super) will_is_sure: bool,
}

/// The bytes that tell a message.
pub(super) fn payload(message: MessageId, len: usize) -> Vec<u8> {
    let mut bytes = format!("{message}:").into_bytes();
    bytes.resize(bytes.len().max(len), b'.');
    bytes
}

/// Which message has this payload.
pub(super) fn number(payload: &[u8]) -> Verdict<MessageId> {
    let end = payload.iter().position(|byte| *byte == b':');
    let text = end.and_then(|end| std::str::from_utf8(&payload[..end]).ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{payload:02x?} is nobody's"))
}

impl Client {
    pub(super) fn new(habits: Habits, ledger: &mut Ledger) -> Self {
        Self {
            account: ledger.open_account(habits.expiry_s != Some(0)),
            habits,
            wire: None,
            open: false,
            doubt: false,
            known: Known::No,
            closed: None,
            gone: None,
            former: None,
            input: Vec::new(),
            says: Vec::new(),
            outgoing: VecDeque::new(),
            subscriptions: BTreeMap::new(),
            requests: BTreeMap::new(),
            last_id: 0,
            held: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            answers: VecDeque::new(),
            will: None,
            pending: None,
            found: BTreeMap::new(),
            clean_start: false,
            read: (Now(0), false),
            born: Now(0),
            will_is_sure: false,
        }
    }

    /// Whether its session outlives its connection.
    pub(super) fn lasts(&self) -> bool {
        self.habits.expiry_s != Some(0)
    }

    fn bytes(&self, packet: &Packet<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        packet.encode(self.habits.version, &mut out);
        out
    }

    fn say(&mut self, packet: &Packet<'_>) {
        let bytes = self.bytes(packet);
        self.says.push(bytes);
    }

    fn fresh_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id % 40 + 1;
            let id = PacketId::new(self.last_id).expect("above 0");
            let free = self.outgoing.iter().all(|outgoing| outgoing.id != id)
                && !self.requests.contains_key(&self.last_id);
            if free {
                return id;
            }
        }
    }

    /// Whether its session must be there, and whether it may be.
    pub(super) fn session(&self, now: Now) -> (bool, bool) {
        let over = |since: Now| {
            let expiry = self.habits.expiry_s.map(|secs| Span::from_secs(secs.into()));
            expiry.is_some_and(|expiry| since + expiry <= now)
        };
        let closed = self.closed.unwrap_or(now);
        let gone = self.gone.unwrap_or((closed, closed));
        match self.known {
            Known::Yes => (!over(gone.0), !over(gone.1)),
            Known::Perhaps => (false, true),
            Known::No => (false, false),
        }
    }

    /// Connects by a wire.
    pub(super) fn connect(&mut self, wire: usize, now: Now, clean: bool, ledger: &mut Ledger) {
        let v5 = self.habits.version.is_v5();
        let (must, _) = self.session(now);
        self.clean_start = match v5 {
            true => self.doubt || clean || !self.lasts(),
            false => !self.lasts(),
        };
        if self.clean_start || !must {
            self.let_go(ledger);
        }
        if self.known == Known::No {
            self.known = Known::Perhaps;
        }
        (self.wire, self.open) = (Some(wire), false);
        self.will = self.habits.will.clone().map(|(topic, _)| ledger.announces(self.account, &topic));
        let (mut properties, mut of_will) = (PropertiesBuf::default(), PropertiesBuf::default());
        if v5 {
            properties.push(Property::SessionExpiryInterval(self.habits.expiry_s.unwrap_or(u32::MAX)));
            let window = self.habits.window.and_then(NonZeroU16::new);
            window.into_iter().for_each(|window| properties.push(Property::ReceiveMaximum(window)));
        }
        let text = self.will.map(|will| payload(will, 0)).unwrap_or_default();
        let will = self.habits.will.clone();
        let will = will.as_ref().map(|(topic, delay)| {
            if v5 {
                of_will.push(Property::WillDelayInterval(*delay));
            }
            let (qos, properties) = (QoS::AtLeastOnce, of_will.as_properties());
            Will { topic, payload: &text, qos, retain: false, properties }
        });
        let name = self.habits.name.clone();
        self.say(&Packet::Connect(Connect {
            version: self.habits.version,
            clean_start: self.clean_start,
            keep_alive_s: 0,
            properties: properties.as_properties(),
            client_id: &name,
            will,
            username: None,
            password: None,
        }));
    }

    /// The session may be another one from now on: what the next CONNACK says may be about that.
    fn let_go(&mut self, ledger: &mut Ledger) {
        ledger.starts_clean(self.account);
        self.subscriptions.clear();
        self.doubt |= self.habits.version.is_v5() && self.known != Known::No;
    }

    /// The broker reads a CONNECT of it; `calm` when nothing is due there. False when the session may be another one from now
    /// on.
    pub(super) fn connecting(&mut self, now: Now, calm: bool, ledger: &mut Ledger) -> bool {
        self.read = (now, calm);
        let (must, _) = self.session(now);
        if !must {
            self.let_go(ledger);
        }
        must
    }

    /// Its session may have expired by now: it counts as no member of the group any more, whoever comes later.
    pub(super) fn may_have_expired(&mut self, now: Now, ledger: &mut Ledger) {
        if !self.open && self.known == Known::Yes && !self.subscriptions.is_empty() && !self.session(now).0 {
            ledger.starts_clean(self.account);
            self.subscriptions.clear();
        }
    }

    /// The connection is gone, and all that was not said on it.
    pub(super) fn hang_up(&mut self, ledger: &mut Ledger) {
        (self.wire, self.open, self.will, self.will_is_sure) = (None, false, None, false);
        self.says.clear();
        self.input.clear();
        self.answers.clear();
        self.requests.clear();
        self.subscriptions.retain(|_, (_, stand)| *stand == Stand::Held);
        if !self.lasts() {
            self.forget(ledger);
            self.known = Known::No;
        }
    }

    /// The session is no more, and what there was of it.
    fn forget(&mut self, ledger: &mut Ledger) {
        ledger.starts_clean(self.account);
        ledger.started_clean(self.account);
        self.outgoing.clear();
        self.subscriptions.clear();
        self.held.clear();
        self.forgotten.clear();
    }

    /// The broker is gone, and may not have kept that this client was back: what it sent meanwhile and is too old when it runs
    /// again it takes for never sent.
    pub(super) fn may_be_forgotten(&mut self, expires: impl Fn(MessageId) -> bool) {
        if self.former.is_some() {
            let old = self.held.iter().filter(|(_, message)| expires(**message));
            self.forgotten.extend(old.map(|(id, _)| *id));
        }
    }

    /// Says goodbye, which makes nothing of its will.
    pub(super) fn goodbye(&mut self) {
        self.say(&Packet::Disconnect(Disconnect {
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        }));
    }

    pub(super) fn may_publish(&self) -> bool {
        self.open && self.outgoing.len() < WINDOW
    }

    /// Publishes a message, which the ledger has given a number.
    pub(super) fn publish(&mut self, message: MessageId, draft: Draft) {
        let (id, stage) = (self.fresh_id(), Stage::Published);
        self.say_publish(id, message, &draft, false);
        self.outgoing.push_back(Outgoing { id, message, stage, draft });
    }

    fn say_publish(&mut self, id: PacketId, message: MessageId, draft: &Draft, dup: bool) {
        let mut properties = PropertiesBuf::default();
        if let Some(secs) = draft.expiry_s {
            properties.push(Property::MessageExpiryInterval(secs));
        }
        let payload = if draft.len == 0 { Vec::new() } else { payload(message, draft.len) };
        let Draft { ref topic, qos, retain, .. } = *draft;
        let (packet_id, properties, payload) = (Some(id), properties.as_properties(), &payload[..]);
        self.say(&Packet::Publish(Publish { dup, qos, retain, topic, packet_id, properties, payload }));
    }

    fn say_pubrel(&mut self, id: PacketId) {
        self.say(&Packet::PubRel(Ack::new(id, ReasonCode::Success)));
    }

    /// Subscribes to something, or once more.
    pub(super) fn subscribe(&mut self, (filter, qos): Wish, ledger: &mut Ledger) {
        let stand = match self.subscriptions.get(filter) {
            Some((_, Stand::Asked | Stand::Leaving)) => return,
            Some(&(stint, Stand::Held)) => (stint, Stand::Held),
            None => (ledger.subscribing(self.account, filter, qos), Stand::Asked),
        };
        self.subscriptions.insert(filter, stand);
        let mut block = BytesMut::new();
        SubscribeFilters::write(&mut block, filter, SubscriptionOptions::of(qos));
        let filters = SubscribeFilters::parse(&block, self.habits.version).expect("a filter");
        let packet_id = self.fresh_id();
        self.requests.insert(packet_id.get(), filter);
        let properties = Properties::EMPTY;
        self.say(&Packet::Subscribe(Subscribe { packet_id, properties, filters }));
    }

    pub(super) fn unsubscribe(&mut self, filter: &'static str, ledger: &mut Ledger) {
        let Some((stint, stand @ Stand::Held)) = self.subscriptions.get_mut(filter) else { return };
        *stand = Stand::Leaving;
        ledger.unsubscribing(self.account, *stint);
        let mut block = BytesMut::new();
        UnsubscribeFilters::write(&mut block, filter);
        let filters = UnsubscribeFilters::parse(&block).expect("a filter");
        let packet_id = self.fresh_id();
        self.requests.insert(packet_id.get(), filter);
        let properties = Properties::EMPTY;
        self.say(&Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }));
    }

    /// The message that an acknowledgement is about.
    pub(super) fn published(&self, id: PacketId) -> Option<MessageId> {
        self.outgoing.iter().find(|known| known.id == id).map(|known| known.message)
    }

    /// Says one of the answers that it owes; false when there is none.
    pub(super) fn answer(&mut self) -> bool {
        let answer = self.answers.pop_front();
        let some = answer.is_some();
        self.says.extend(answer);
        some
    }

    /// Whether everything that it began has come to an end.
    pub(super) fn is_idle(&self) -> bool {
        self.says.is_empty()
            && self.outgoing.is_empty()
            && self.requests.is_empty()
            && self.held.keys().all(|id| self.forgotten.contains(id))
            && self.answers.is_empty()
    }

    /// What it has begun.
    pub(super) fn affairs(&self) -> String {
        let Self { habits, open, known, outgoing, requests, held, answers, .. } = self;
        let name = &habits.name;
        format!(
            "{name}: open {open}, {known:?}, {outgoing:?}, {requests:?}, holds {held:?}, answers {}",
            answers.len()
        )
    }
}
