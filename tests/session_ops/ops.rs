//! Bytes as a sequence of operations on two engines: packets, time, losses, full outputs, messages between the two.
//!
//! Not what a sane client would do: any packet at any time, any acknowledgement, also of what was never sent. The
//! [`Watcher`] at the other end knows each connection's terms and refuses what no client may be sent. Run by the fuzz
//! target `session_ops` and, over pseudo-random bytes, by the test of the same name.

use super::watcher::Watcher;
use bytes::BytesMut;
use pantala::codec::{
    Ack, Auth, Connect, Disconnect, Frame, Packet, Properties, PropertiesBuf, Property, Publish, ReasonCode,
    RetainHandling, Split, Subscribe, SubscribeFilters, SubscriptionOptions, Unsubscribe, UnsubscribeFilters,
    Version, Will, decode, split,
};
use pantala::engine::{Engine, PeerMessage, Setup};
use pantala::sasl::{SCRAM_SHA_256, Users, Verifier};
use pantala::session::connect::{ClientId, Identity};
use pantala::types::limits::Overflow;
use pantala::types::{Balance, Features, HashSeed, Limits, Now, PacketId, QoS, ShardId, Span, TICK};
use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::{Arc, OnceLock};

/// Connections that clients may have at the same time, half of them on each engine.
pub(crate) const SLOTS: usize = 8;
/// Names of clients, one for each slot; the parity of the index says which engine owns it.
const NAMES: [&str; SLOTS] = ["zero", "one", "two", "three", "four", "five", "six", "seven"];
const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "$x/long-enough-for-an-alias", "b", "$SYS/a"];
const FILTERS: [&str; 10] =
    ["#", "a/+", "a/b", "$share/g/#", "$share/g/a/+", "$share/h/a", "+/b", "a#", "$share/g", "$x/#"];
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const VERSIONS: [Version; 4] = [Version::V5, Version::V5, Version::V311, Version::V31];

/// What is left of the input. At its end everything is 0.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// Two engines, and what is between them.
struct World {
    engines: [Engine; 2],
    /// By receiver.
    links: [VecDeque<PeerMessage>; 2],
    watcher: Watcher,
    now: Now,
    assigned: u32,
}

/// Does what the bytes say. Panics if an engine does, or if it does what it may not.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (limits, features) = (limits(&mut input), features(&mut input));
    let engine = |shard| {
        Engine::new(Setup {
            features: features.clone(),
            users: Arc::clone(users()),
            ..Setup::new(ShardId(shard), 2, limits.clone(), HashSeed(1))
        })
    };
    let watcher = Watcher::new(&limits, &features);
    let (engines, links) = ([engine(0), engine(1)], [VecDeque::new(), VecDeque::new()]);
    let mut world = World { engines, links, watcher, now: Now(0), assigned: 0 };
    while !input.0.is_empty() {
        world.operation(&mut input);
        world.check();
    }
    world.end();
}

impl World {
    fn operation(&mut self, input: &mut Input<'_>) {
        let slot = input.below(SLOTS);
        let version = self.watcher.version(slot);
        let Some(version) = version else {
            return match input.below(4) {
                0 => self.turn(input),
                _ => self.connect(slot, input),
            };
        };
        match input.below(32) {
            0..10 => self.send(slot, &publish(version, input)),
            10..14 => self.send(slot, &subscribe(version, input)),
            14 => self.send(slot, &unsubscribe(input)),
            15 | 16 => self.send(slot, &acknowledge(version, input)),
            17..20 => {
                for _ in 0..=input.below(3) {
                    let Some(bytes) = self.watcher.answer(slot) else { break };
                    self.send(slot, &bytes);
                }
            }
            20 => self.send(slot, &other(version, input)),
            21 => self.garbage(slot, input),
            22 => {
                let (engine, conn) = (slot % 2, self.watcher.key(slot));
                self.watcher.lost(slot);
                self.engines[engine].lost(self.now, conn, &mut self.watcher.on(engine));
            }
            23 => self.watcher.fill(slot),
            24..26 => {
                let (engine, conn) = (slot % 2, self.watcher.key(slot));
                if self.watcher.drain(slot) {
                    self.engines[engine].writable(self.now, conn, &mut self.watcher.on(engine));
                }
            }
            26 => {
                let ticks = u64::from(input.byte()).pow(2);
                self.now = self.now + Span(TICK.0 * ticks / 8);
                self.turn(input);
            }
            27 => {
                // A second CONNECT on the connection.
                let bytes = hello(NAMES[slot % 2], input);
                self.send(slot, &bytes);
            }
            _ => self.turn(input),
        }
        self.collect();
    }

    /// What the engines told each other is on its way.
    fn collect(&mut self) {
        for (to, message) in self.watcher.told.drain(..) {
            self.links[to].push_back(message);
        }
    }

    fn connect(&mut self, slot: usize, input: &mut Input<'_>) {
        let engine = slot % 2;
        let name = match input.below(12) {
            0 => "",
            1 => NAMES[2 * input.below(SLOTS / 2) + engine],
            _ => NAMES[slot],
        };
        let bytes = hello(name, input);
        let Ok(Split::Whole { frame, .. }) = split(&bytes, u32::MAX) else { panic!("no CONNECT: {bytes:?}") };
        let Ok(connect) = Connect::decode(frame.body) else { return };
        let assigned;
        let client = match Identity::of(&connect) {
            Identity::Given(text) => ClientId { text, assigned: false },
            Identity::Assign => {
                self.assigned += 1;
                assigned = format!("assigned-{}", self.assigned);
                ClientId { text: &assigned, assigned: true }
            }
            Identity::Refused => ClientId { text: "", assigned: false },
        };
        let conn = self.watcher.open(slot, &connect);
        self.engines[engine].connect(self.now, conn, &connect, client, &mut self.watcher.on(engine));
        self.collect();
    }

    fn send(&mut self, slot: usize, bytes: &[u8]) {
        let (engine, conn) = (slot % 2, self.watcher.key(slot));
        let mut rest = bytes;
        while let Ok(Split::Whole { frame, len }) = split(rest, self.watcher.packet_bytes_max) {
            rest = &rest[len..];
            self.packet(engine, slot, frame);
        }
        if let Err(error) = split(rest, self.watcher.packet_bytes_max)
            && self.watcher.is_open(conn)
        {
            self.engines[engine].malformed(self.now, conn, error, &mut self.watcher.on(engine));
        }
    }

    fn packet(&mut self, engine: usize, slot: usize, frame: Frame<'_>) {
        let conn = self.watcher.key(slot);
        if let Some(version) = self.watcher.version(slot)
            && let Ok(packet) = decode(frame, version)
        {
            self.watcher.hears(slot, &packet);
        }
        self.engines[engine].packet(self.now, conn, frame, None, &mut self.watcher.on(engine));
    }

    /// A packet of any type with any body.
    fn garbage(&mut self, slot: usize, input: &mut Input<'_>) {
        let first = input.byte();
        let len = input.below(40).min(input.0.len());
        let (body, rest) = input.0.split_at(len);
        input.0 = rest;
        self.packet(slot % 2, slot, Frame { first, body });
    }

    /// An engine's turn: some of what it was told, its timers, and the end.
    fn turn(&mut self, input: &mut Input<'_>) {
        let engine = input.below(2);
        for _ in 0..input.below(16) {
            let Some(message) = self.links[engine].pop_front() else { break };
            self.hear(engine, message);
        }
        self.end_turn(engine);
    }

    fn hear(&mut self, engine: usize, message: PeerMessage) {
        let from = ShardId(u16::from(engine == 0));
        self.engines[engine].peer(self.now, from, message, &mut self.watcher.on(engine));
        self.collect();
    }

    fn end_turn(&mut self, at: usize) {
        let engine = &mut self.engines[at];
        if engine.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            engine.tick(self.now, &mut self.watcher.on(at));
        }
        engine.turn_end(self.now, &mut self.watcher.on(at));
        self.collect();
    }

    fn check(&self) {
        for (at, engine) in self.engines.iter().enumerate() {
            self.watcher.agrees(at, &engine.report());
        }
    }

    /// What is on its way arrives, and the broker stops.
    fn end(&mut self) {
        while self.links.iter().any(|link| !link.is_empty()) {
            for engine in 0..2 {
                while let Some(message) = self.links[engine].pop_front() {
                    self.hear(engine, message);
                }
                self.end_turn(engine);
            }
        }
        self.check();
        for (at, engine) in self.engines.iter_mut().enumerate() {
            engine.shut_down(self.now, &mut self.watcher.on(at));
        }
        for slot in 0..SLOTS {
            assert!(!self.watcher.is_served(slot), "a client was not told that the broker stops");
        }
    }
}

fn limits(input: &mut Input<'_>) -> Limits {
    Limits {
        packet_bytes_max: 4_096,
        topic_levels_max: 3,
        subscriptions_max: input.pick(&[2, 100]),
        inflight_max: input.pick(&[1, 3, 100]),
        receive_max: input.pick(&[1, 3, 100]),
        queue_messages_max: input.pick(&[1, 4, 100]),
        queue_bytes_max: input.pick(&[300, 1 << 20]),
        overflow: input.pick(&[Overflow::DropNewest, Overflow::DropOldest, Overflow::Disconnect]),
        retained_messages_max: input.pick(&[1, 100]),
        session_expiry_max: input.pick(&[None, Some(Span::from_secs(30))]),
        sessions_max: input.pick(&[3, 100, 100, 100]),
        keep_alive_max_s: input.pick(&[0, 7]),
        ..Limits::default()
    }
}

fn features(input: &mut Input<'_>) -> Features {
    Features {
        topic_alias_max: input.pick(&[2, 2, 2, 0]),
        topic_alias_out_max: input.pick(&[2, 2, 2, 0]),
        qos_max: match input.below(16) {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        },
        retain: !input.chance(8),
        wildcard_subscriptions: !input.chance(8),
        subscription_ids: !input.chance(8),
        shared_subscriptions: !input.chance(8),
        share_balance: input.pick(&[Balance::RoundRobin, Balance::Sticky, Balance::Hash]),
        ..Features::default()
    }
}

/// Somebody who may authenticate, and whose password no input knows.
fn users() -> &'static Arc<Users> {
    static USERS: OnceLock<Arc<Users>> = OnceLock::new();
    USERS.get_or_init(|| {
        let mut users = Users::default();
        let verifier = Verifier::derive("unknown", b"salt", 4_096).expect("a password");
        users.add("user", verifier).expect("a name");
        Arc::new(users)
    })
}

fn packed(version: Version, packet: &Packet<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    packet.encode(version, &mut out);
    out
}

fn packet_id(input: &mut Input<'_>) -> PacketId {
    PacketId::MIN.saturating_add(u16::from(input.byte() % 6))
}

fn hello(name: &str, input: &mut Input<'_>) -> BytesMut {
    let version = input.pick(&VERSIONS);
    let (mut properties, mut of_will) = (PropertiesBuf::default(), PropertiesBuf::default());
    if version.is_v5() {
        let asked = [
            input.pick(&[None, Some(0), Some(2), Some(u32::MAX)]).map(Property::SessionExpiryInterval),
            input.pick(&[None, NonZeroU16::new(1), NonZeroU16::new(3)]).map(Property::ReceiveMaximum),
            input.pick(&[None, None, NonZeroU32::new(30)]).map(Property::MaximumPacketSize),
            input.pick(&[None, Some(1), Some(9)]).map(Property::TopicAliasMaximum),
            input.pick(&[None, Some(false)]).map(Property::RequestProblemInformation),
            input.pick(&[None, Some(true)]).map(Property::RequestResponseInformation),
        ];
        asked.into_iter().flatten().for_each(|property| properties.push(property));
        if input.chance(12) {
            properties.push(Property::AuthenticationMethod(input.pick(&[SCRAM_SHA_256, "other"])));
            properties
                .push(Property::AuthenticationData(input.pick(&[b"n,,n=user,r=abc", b"n,,n=nobody,r=a"])));
        }
        let of_its_own = [
            input.pick(&[None, Some(0), Some(3)]).map(Property::WillDelayInterval),
            input.pick(&[None, Some(2)]).map(Property::MessageExpiryInterval),
        ];
        of_its_own.into_iter().flatten().for_each(|property| of_will.push(property));
    }
    let will = input.chance(3).then(|| Will {
        topic: input.pick(&TOPICS),
        payload: b"will",
        qos: input.pick(&LEVELS),
        retain: input.chance(4),
        properties: of_will.as_properties(),
    });
    let connect = Connect {
        version,
        clean_start: input.chance(3) || name.is_empty() && !version.is_v5(),
        keep_alive_s: input.pick(&[0, 0, 2]),
        properties: properties.as_properties(),
        client_id: name,
        will,
        username: None,
        password: None,
    };
    packed(version, &Packet::Connect(connect))
}

fn publish(version: Version, input: &mut Input<'_>) -> BytesMut {
    let qos = input.pick(&LEVELS);
    let mut topic = input.pick(&TOPICS);
    let mut properties = PropertiesBuf::default();
    if version.is_v5() {
        let alias = input.pick(&[None, None, NonZeroU16::new(1), NonZeroU16::new(2)]);
        if alias.is_some() && input.chance(3) {
            topic = "";
        }
        let asked = [
            alias.map(Property::TopicAlias),
            input.pick(&[None, None, Some(1), Some(9)]).map(Property::MessageExpiryInterval),
            input.pick(&[None, None, Some("text")]).map(Property::ContentType),
        ];
        asked.into_iter().flatten().for_each(|property| properties.push(property));
    }
    let payload = [b'x'; 60];
    let publish = Publish {
        dup: qos != QoS::AtMostOnce && input.chance(6),
        qos,
        retain: input.chance(6),
        topic,
        packet_id: (qos != QoS::AtMostOnce).then(|| packet_id(input)),
        properties: properties.as_properties(),
        payload: &payload[..input.pick(&[3, 3, 0, 60])],
    };
    packed(version, &Packet::Publish(publish))
}

fn subscribe(version: Version, input: &mut Input<'_>) -> BytesMut {
    let mut block = BytesMut::new();
    for _ in 0..=input.below(2) {
        let mut options = SubscriptionOptions::of(input.pick(&LEVELS));
        if version.is_v5() {
            options.no_local = input.chance(10);
            options.retain_as_published = input.chance(2);
            options.retain_handling =
                input.pick(&[RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never]);
        }
        SubscribeFilters::write(&mut block, input.pick(&FILTERS), options);
    }
    let mut properties = PropertiesBuf::default();
    if version.is_v5() && input.chance(3) {
        properties.push(Property::SubscriptionIdentifier(u32::from(input.byte()) + 1));
    }
    let filters = SubscribeFilters::parse(&block, version).expect("a block of filters");
    let (packet_id, properties) = (packet_id(input), properties.as_properties());
    packed(version, &Packet::Subscribe(Subscribe { packet_id, properties, filters }))
}

fn unsubscribe(input: &mut Input<'_>) -> BytesMut {
    let mut block = BytesMut::new();
    UnsubscribeFilters::write(&mut block, input.pick(&FILTERS));
    let filters = UnsubscribeFilters::parse(&block).expect("a block of filters");
    let packet = Unsubscribe { packet_id: packet_id(input), properties: Properties::EMPTY, filters };
    // Its properties are the one thing that the versions differ in, and a wrong version is garbage like any other.
    packed(input.pick(&VERSIONS), &Packet::Unsubscribe(packet))
}

fn acknowledge(version: Version, input: &mut Input<'_>) -> BytesMut {
    let refused = version.is_v5() && input.chance(8);
    let kind = input.below(4);
    let reason = match kind {
        0 | 1 if refused => ReasonCode::UnspecifiedError,
        _ => ReasonCode::Success,
    };
    let ack = Ack::new(packet_id(input), reason);
    let packet = match kind {
        0 => Packet::PubAck(ack),
        1 => Packet::PubRec(ack),
        2 => Packet::PubRel(ack),
        _ => Packet::PubComp(ack),
    };
    packed(version, &packet)
}

fn other(version: Version, input: &mut Input<'_>) -> BytesMut {
    let mut properties = PropertiesBuf::default();
    match input.below(4) {
        0 => packed(version, &Packet::PingReq),
        1 if version.is_v5() => {
            properties.push(Property::AuthenticationMethod(input.pick(&[SCRAM_SHA_256, "other"])));
            properties
                .push(Property::AuthenticationData(input.pick(&[b"n,,n=user,r=abc", b"c=biws,r=abc,p=aa"])));
            let reason = input.pick(&[ReasonCode::ContinueAuthentication, ReasonCode::ReAuthenticate]);
            packed(version, &Packet::Auth(Auth { reason, properties: properties.as_properties() }))
        }
        _ => {
            if let Some(secs) = input.pick(&[None, Some(0), Some(5)]) {
                properties.push(Property::SessionExpiryInterval(secs));
            }
            let reason = input.pick(&[ReasonCode::Success, ReasonCode::DisconnectWithWillMessage]);
            let properties = if version.is_v5() { properties.as_properties() } else { Properties::EMPTY };
            packed(version, &Packet::Disconnect(Disconnect { reason, properties }))
        }
    }
}
