//! Which of MQTT's optional parts the broker offers, and what it says of itself. `[mqtt]` in the configuration.

use super::QoS;

/// How a shared subscription chooses the member that gets a message. Members that are away or full are passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// One gets everything until it leaves or is full.
    Sticky,
    /// By the publisher's client id: while the members stay the same, a publisher's messages go to one of them.
    Hash,
}

/// What 5.0 clients are told in CONNACK, and all clients are held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Topic aliases that a client may use towards the broker; a higher one disconnects it with 0x94. 0: none.
    pub topic_alias_max: u16,
    /// Topic aliases that the broker uses towards a client that takes so many; past it the least recently used is
    /// assigned anew. 0: none.
    pub topic_alias_out_max: u16,
    /// The highest QoS. A client that publishes with a higher one is disconnected with 0x9B, one whose will has it is
    /// refused with 0x9B, and subscriptions are granted this one.
    pub qos_max: QoS,
    /// Whether messages are retained; if not, RETAIN disconnects its sender with 0x9A.
    pub retain: bool,
    /// Whether filters may have wildcards; if not, SUBACK says 0xA2.
    pub wildcard_subscriptions: bool,
    /// Whether subscriptions may have identifiers; if not, SUBACK says 0xA1.
    pub subscription_ids: bool,
    /// Whether there are shared subscriptions; if not, SUBACK says 0x9E.
    pub shared_subscriptions: bool,
    /// Which member of a shared subscription gets a message.
    pub share_balance: Balance,
    /// What a client may build response topics on, told to those that ask. [MQTT 3.2.2.3.15]
    pub response_information: Option<Box<str>>,
    /// Where clients find another server when this one stops. [MQTT 4.11]
    pub server_reference: Option<Box<str>>,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            topic_alias_max: 32,
            topic_alias_out_max: 32,
            qos_max: QoS::ExactlyOnce,
            retain: true,
            wildcard_subscriptions: true,
            subscription_ids: true,
            shared_subscriptions: true,
            share_balance: Balance::RoundRobin,
            response_information: None,
            server_reference: None,
        }
    }
}

/// Where the clients of a listener are sent instead of being served. [MQTT 4.11]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The Server Reference that 5.0 clients are told; older ones only learn that this server is not available.
    pub to: Box<str>,
    /// From now on (0x9D), or for now (0x9C).
    pub permanent: bool,
}
