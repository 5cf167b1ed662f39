//! What random clients do: how they are, what they ask for, what they publish.

use super::client::{Client, Draft, Hello, Reading};
use super::dice::index;
use pantala::codec::{RetainHandling, SubscriptionOptions, Version};
use pantala::types::{Features, QoS, Rng};
use std::num::NonZeroU16;

/// Texts that are no filters.
pub(crate) const BAD_FILTERS: [&str; 6] = ["a#", "+a", "#/a", "a/#/b", "", "a/a/a/a/a/a/a"];

/// What no client may send: a wildcard in a topic name, AUTH, what only a server sends, no packet at all, the beginning
/// of one that is too large.
pub(crate) const MISUSES: [&[u8]; 5] =
    [&[0x30, 3, 0, 1, b'#'], &[0xf0, 0], &[0x20, 2, 0, 0], &[0, 0], &[0x30, 0xff, 0xff, 0x7f]];
/// Acknowledgements of all four kinds for a packet id that nobody uses.
pub(crate) const STRAYS: [&[u8]; 4] =
    [&[0x40, 2, 0xff, 0xff], &[0x50, 2, 0xff, 0xff], &[0x62, 2, 0xff, 0xff], &[0x70, 2, 0xff, 0xff]];

/// What no 5.0 client may send: an alias above any bound, and one that stands for nothing.
pub(crate) const ALIAS_MISUSES: [&[u8]; 2] =
    [&[0x30, 7, 0, 1, b'a', 3, 0x23, 0xff, 0xff], &[0x30, 6, 0, 0, 3, 0x23, 0, 40]];
/// Aliases that clients use.
const ALIASES: [NonZeroU16; 4] = [alias(1), alias(2), alias(3), alias(9)];

const TOPICS: [&str; 12] =
    ["a", "a", "a/b", "a/b", "a/b/c", "b", "b/c", "/", "a//b", "$x/a", "a/b/", "c/fourteen-or-more-bytes/d"];
const FILTERS: [&str; 16] = [
    "#", "+", "a/#", "a/+", "+/b", "+/+/c", "/+", "a/+/b", "$x/#", "+/#", "$SYS/#", "later/+", "shelf/#",
    "a/b/#", "+/+", "b/#",
];
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const VERSIONS: [Version; 4] = [Version::V31, Version::V311, Version::V5, Version::V5];

/// What a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Nothing,
    Publish,
    Subscribe,
    Unsubscribe,
    Ping,
    /// Sends a QoS 2 PUBLISH or PUBREL once more.
    Repeat,
    Disconnect,
    /// Closes the socket without a word.
    Vanish,
    /// Connects again with the same client id, and leaves the old connection open.
    TakeOver,
    /// Acknowledges what it was never sent.
    Stray,
    /// Breaks the protocol.
    Misbehave,
    /// Sends more than the broker takes unacknowledged.
    Overrun,
}

/// What all clients of a run have in common.
#[derive(Debug)]
pub(crate) struct Workload {
    /// Numbers payloads.
    made: u64,
    retained_in_ten: u64,
    qos: [QoS; 4],
    /// Topics below `shelf/`, so many that retained messages come in several pieces.
    pub(crate) shelf: usize,
    churn: u64,
}

impl Workload {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let mut any = || *rng.pick(&LEVELS);
        let qos = [any(), any(), any(), any()];
        Self {
            made: 0,
            retained_in_ten: *rng.pick(&[0, 1, 5]),
            qos,
            shelf: if rng.chance(1, 12) { 150 } else { 3 },
            churn: *rng.pick(&[1, 4, 12]),
        }
    }

    pub(crate) fn client(number: usize, rng: &mut Rng) -> Client {
        let name = if rng.chance(1, 10) { String::new() } else { format!("c{number}") };
        let mut client = Client::new(&name, *rng.pick(&VERSIONS));
        client.reading =
            *rng.pick(&[Reading::Eager, Reading::Eager, Reading::Eager, Reading::Slow, Reading::Never]);
        client.withholds = rng.chance(1, 4);
        client.persistent = rng.chance(1, 2);
        client.fussy = rng.chance(1, 6);
        client
    }

    pub(crate) fn act(&self, rng: &mut Rng) -> Act {
        match rng.below(100 + self.churn * 4) {
            0..30 => Act::Nothing,
            30..70 => Act::Publish,
            70..84 => Act::Subscribe,
            84..92 => Act::Unsubscribe,
            92..95 => Act::Ping,
            95..99 => Act::Repeat,
            99 => Act::Stray,
            other => match other % 20 {
                0..6 => Act::Disconnect,
                6..12 => Act::Vanish,
                12..17 => Act::TakeOver,
                17 => Act::Overrun,
                _ => Act::Misbehave,
            },
        }
    }

    pub(crate) fn hello(&mut self, client: &Client, rng: &mut Rng) -> Hello {
        // An update went wrong, and the client goes back to an older version for good. Not the other way round: what it has
        // under way may be more than a 5.0 client may have.
        let version = if rng.chance(1, 20) { Version::V311 } else { client.version };
        let persistent = client.persistent != rng.chance(1, 12);
        // Before 5.0, a client that is not to be named has to begin anew.
        let clean_start = !persistent && !version.is_v5() || rng.chance(1, 12);
        let expiry_s = match persistent {
            true => Some(*rng.pick(&[3, 20, 100, 1_000_000, u32::MAX - 1, u32::MAX, u32::MAX])),
            false if rng.chance(1, 2) => Some(0),
            false => None,
        };
        let will = rng.chance(1, 3).then(|| self.will(client, version, rng));
        let packet_bytes_max = rng.chance(1, 10).then(|| *rng.pick(&[40, 60, 200]));
        Hello {
            version,
            clean_start: clean_start || client.name.is_empty() && !version.is_v5(),
            keep_alive_s: *rng.pick(&[0, 0, 2, 5, 60]),
            expiry_s,
            receive_maximum: rng.chance(1, 2).then(|| *rng.pick(&[1, 2, 5, 100])),
            packet_bytes_max,
            // What is too large for a client would depend on which aliases are in use.
            aliases_max: Some(*rng.pick(&[0, 1, 3, 100])).filter(|_| packet_bytes_max.is_none()),
            will,
        }
    }

    fn will(&mut self, client: &Client, version: Version, rng: &mut Rng) -> (Draft, Option<u32>) {
        let mut draft = self.draft(rng);
        // Nobody could read it off the wire: a will without payload looks like any other.
        draft.payload = self.payload(rng);
        let delay_s =
            rng.chance(1, 2).then(|| *rng.pick(&[0, 1, 4, 30, 100_000])).filter(|_| version.is_v5());
        if delay_s.is_some_and(|secs| secs > 0) {
            draft.topic = format!("later/{}", client.name);
        }
        (draft, delay_s)
    }

    fn payload(&mut self, rng: &mut Rng) -> Vec<u8> {
        self.made += 1;
        let mut payload = format!("{}.", self.made).into_bytes();
        let len = match rng.below(40) {
            0 => 17 << 10,
            1..5 => 130,
            5..10 => 40,
            _ => 0,
        };
        payload.resize(payload.len().max(len), b'.');
        payload
    }

    pub(crate) fn draft(&mut self, rng: &mut Rng) -> Draft {
        let retain = rng.chance(self.retained_in_ten, 10);
        let on_shelf = retain && rng.chance(1, 2);
        let payload = self.payload(rng);
        Draft {
            topic: if on_shelf {
                self.shelf_topic(index(rng, self.shelf))
            } else {
                (*rng.pick(&TOPICS)).to_owned()
            },
            payload: if retain && rng.chance(1, 5) { Vec::new() } else { payload },
            qos: *rng.pick(&self.qos),
            retain,
            expiry_s: rng.chance(1, 8).then(|| *rng.pick(&[1, 2, 10, 100_000, u32::MAX])),
            content_type: rng.chance(1, 8).then(|| "text".to_owned()),
            alias: rng.chance(1, 3).then(|| *rng.pick(&ALIASES)),
            user: (0..rng.below(6).saturating_sub(3)).map(|n| (format!("n{n}"), "v".to_owned())).collect(),
        }
    }

    fn shelf_topic(&self, number: usize) -> String {
        format!("shelf/{number}")
    }

    /// A retained message for each topic of a long shelf.
    pub(crate) fn book(&mut self, number: usize, rng: &mut Rng) -> Draft {
        Draft {
            topic: self.shelf_topic(number),
            payload: self.payload(rng),
            qos: QoS::AtMostOnce,
            retain: true,
            expiry_s: None,
            content_type: None,
            user: Vec::new(),
            alias: None,
        }
    }

    /// What to subscribe to; `known` are filters that the client has subscribed to already, perhaps to be asked for anew.
    pub(crate) fn filters(
        &self,
        version: Version,
        known: &[String],
        rng: &mut Rng,
    ) -> Vec<(String, SubscriptionOptions)> {
        let count = if rng.chance(1, 4) { 3 } else { 1 };
        let again = |rng: &mut Rng| (!known.is_empty() && rng.chance(1, 3)).then(|| rng.pick(known).clone());
        (0..count).map(|_| (again(rng).unwrap_or_else(|| self.filter(rng)), options(version, rng))).collect()
    }

    fn filter(&self, rng: &mut Rng) -> String {
        match rng.below(20) {
            0 => (*rng.pick(&BAD_FILTERS)).to_owned(),
            1 => "$share/g/a".to_owned(),
            2..9 => (*rng.pick(&TOPICS)).to_owned(),
            9 => self.shelf_topic(index(rng, self.shelf)),
            _ => (*rng.pick(&FILTERS)).to_owned(),
        }
    }
}

fn options(version: Version, rng: &mut Rng) -> SubscriptionOptions {
    let mut options = SubscriptionOptions::of(*rng.pick(&LEVELS));
    if version.is_v5() {
        options.no_local = rng.chance(1, 4);
        options.retain_as_published = rng.chance(1, 3);
        options.retain_handling =
            *rng.pick(&[RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never]);
    }
    options
}

const fn alias(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("above 0")
}

/// What the broker offers: topic aliases from none to more than are used.
pub(crate) fn features(rng: &mut Rng) -> Features {
    Features {
        topic_alias_max: *rng.pick(&[0, 1, 3, 50]),
        topic_alias_out_max: *rng.pick(&[0, 1, 3, 50]),
        shared_subscriptions: false,
        ..Features::default()
    }
}
