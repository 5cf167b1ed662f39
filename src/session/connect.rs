//! CONNECT: what a client asks for, what it gets, and how it is told. [MQTT 3.1, 3.2]

use crate::codec::{
    ConnAck, Connect, ConnectReturn, DecodeError, Packet, Properties, PropertiesBuf, Property, ReasonCode,
    Version,
};
use crate::topic::TopicName;
use crate::types::{Delivery, Features, Limits, Message, Now, QoS, Span};
use bytes::BytesMut;
use std::num::{NonZeroU16, NonZeroU32};

/// Session Expiry Interval that means "never". [MQTT 3.1.2.11.2]
const NEVER_S: u32 = u32::MAX;

/// Whose session a CONNECT asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The client named itself.
    Given(&'a str),
    /// The client wants to be named. [MQTT-3.1.3-6]
    Assign,
    /// An empty client id where the protocol version or a kept session demands one. [MQTT-3.1.3-8] in 3.1.1
    Refused,
}

impl<'a> Identity<'a> {
    /// Reads the client id by the rules of the client's protocol version.
    pub fn of(connect: &Connect<'a>) -> Self {
        match (connect.client_id, connect.version) {
            ("", Version::V5) => Self::Assign,
            ("", Version::V311) if connect.clean_start => Self::Assign,
            ("", _) => Self::Refused,
            (id, _) => Self::Given(id),
        }
    }
}

/// The client id that a session is kept under.
#[derive(Clone, Copy, Debug)]
pub struct ClientId<'a> {
    /// Not empty, unless the client is to be refused for it.
    pub text: &'a str,
    /// The broker chose it.
    pub assigned: bool,
}

/// A message to publish when the client vanishes. [MQTT 3.1.2.5]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// What to publish. Its time of reception is set when it is.
    pub message: Message,
    /// How long to wait for the client to come back. [MQTT-3.1.3-9]
    pub delay: Span,
}

/// What a client gets: its wishes within the broker's bounds.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The protocol version to speak.
    pub version: Version,
    /// Whether to begin a new session.
    pub clean_start: bool,
    /// How long the session outlives its connection; `None` for ever.
    pub expiry: Option<Span>,
    /// The longest silence of the client, half as long again as its keep alive; `None` for any. [MQTT-3.1.2-22]
    pub silence: Option<Span>,
    /// Unacknowledged QoS 1 and 2 messages that the client takes.
    pub receive_maximum: u16,
    /// The largest packet that the client takes.
    pub packet_bytes_max: u32,
    /// How many topic aliases may be used towards the client.
    pub aliases_out: u16,
    /// Whether the client wants to be told why something failed. [MQTT-3.1.2-29]
    pub problem_information: bool,
    /// Published when the client vanishes.
    pub will: Option<Box<Will>>,
}

impl Refusal<'static> {
    /// The client could not publish its will itself.
    pub const WILL: Self =
        Self::new(ReasonCode::NotAuthorized, "the rules here do not let this client publish its will");
    /// The session would have to be kept, and the store takes nothing.
    pub const STORE: Self = Self::new(ReasonCode::QuotaExceeded, "the store takes no new session at present");
}

impl Terms {
    /// Settles what the client asked for.
    ///
    /// # Errors
    /// Why the connection is to be refused.
    pub fn settle(
        connect: &Connect<'_>,
        client: ClientId<'_>,
        now: Now,
        limits: &Limits,
        features: &Features,
    ) -> Result<Self, Refusal<'static>> {
        if client.text.is_empty() {
            return Err(Refusal::new(
                ReasonCode::ClientIdentifierNotValid,
                "an empty client identifier needs a clean session [MQTT-3.1.3-8]",
            ));
        }
        let properties = &connect.properties;
        let asked = match connect.version {
            Version::V5 => properties.session_expiry_interval().unwrap_or(0),
            Version::V31 | Version::V311 if connect.clean_start => 0,
            Version::V31 | Version::V311 => NEVER_S,
        };
        let keep_alive_s = keep_alive_s(connect, limits);
        Ok(Self {
            version: connect.version,
            clean_start: connect.clean_start,
            expiry: if connect.version.is_v5() || asked == 0 {
                session_expiry(asked, limits)
            } else {
                limits.session_expiry_default.or_else(|| session_expiry(asked, limits))
            },
            silence: (keep_alive_s > 0).then(|| Span::from_millis(u64::from(keep_alive_s) * 1_500)),
            receive_maximum: properties
                .receive_maximum()
                .map_or(limits.inflight_max, |asked| asked.get().min(limits.inflight_max)),
            packet_bytes_max: packet_bytes_max(connect),
            aliases_out: properties.topic_alias_maximum().unwrap_or(0).min(features.topic_alias_out_max),
            problem_information: properties.request_problem_information().unwrap_or(true),
            will: will(connect, now, limits, features)?.map(Box::new),
        })
    }

    /// Whether the session ends with its connection.
    pub fn ephemeral(&self) -> bool {
        self.expiry == Some(Span(0))
    }
}

/// How long a session is kept that asked for `asked_s` seconds; `None` for ever.
pub fn session_expiry(asked_s: u32, limits: &Limits) -> Option<Span> {
    let asked = (asked_s != NEVER_S).then(|| Span::from_secs(u64::from(asked_s)));
    match (asked, limits.session_expiry_max) {
        (Some(asked), Some(cap)) => Some(asked.min(cap)),
        (asked, cap) => asked.or(cap),
    }
}

/// The keep alive to hold the client to.
fn keep_alive_s(connect: &Connect<'_>, limits: &Limits) -> u16 {
    match (connect.version, limits.keep_alive_max_s, connect.keep_alive_s) {
        // Only 5.0 can tell the client that its wish was changed.
        (Version::V5, cap, asked) if cap > 0 && (asked == 0 || asked > cap) => cap,
        (_, _, asked) => asked,
    }
}

/// The largest packet that the client takes. [MQTT-3.1.2-24]
pub fn packet_bytes_max(connect: &Connect<'_>) -> u32 {
    connect.properties.maximum_packet_size().map_or(u32::MAX, NonZeroU32::get)
}

fn will(
    connect: &Connect<'_>,
    now: Now,
    limits: &Limits,
    features: &Features,
) -> Result<Option<Will>, Refusal<'static>> {
    let Some(will) = &connect.will else { return Ok(None) };
    if will.qos > features.qos_max {
        return Err(Refusal::new(ReasonCode::QosNotSupported, "Will QoS above Maximum QoS [MQTT-3.2.2-12]"));
    }
    if will.retain && !features.retain {
        return Err(Refusal::new(
            ReasonCode::RetainNotSupported,
            "Will Retain, and messages are not retained here [MQTT-3.2.2-13]",
        ));
    }
    let topic = TopicName::parse(will.topic, limits.topic_levels_max);
    let topic = topic
        .ok()
        .filter(|topic| topic.as_str().len() <= usize::from(limits.topic_bytes_max))
        .ok_or(Refusal::new(ReasonCode::TopicNameInvalid, "the will's topic is no topic name"))?;
    let mut properties = BytesMut::new();
    will.properties.forward(&mut properties);
    let delivery = Delivery {
        qos: will.qos,
        retain: will.retain,
        received: now,
        expiry: will.properties.message_expiry_interval().map(|secs| Span::from_secs(u64::from(secs))),
    };
    Ok(Some(Will {
        message: Message::new(topic.as_str(), &properties, will.payload, delivery),
        delay: Span::from_secs(u64::from(will.properties.will_delay_interval().unwrap_or(0))),
    }))
}

/// Who a client is, as it proved by enhanced authentication. [MQTT 4.12]
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The method.
    pub method: &'a str,
    /// What the method wants the client to be told last.
    pub data: &'a [u8],
}

/// Writes the CONNACK that accepts a client. [MQTT-3.2.0-1]
pub fn accept(
    connect: &Connect<'_>,
    client: ClientId<'_>,
    terms: &Terms,
    session_present: bool,
    (limits, features): (&Limits, &Features),
    proof: Option<Proof<'_>>,
    out: &mut BytesMut,
) {
    let mut properties = PropertiesBuf::default();
    if terms.version == Version::V5 {
        let granted = terms.expiry.map_or(NEVER_S, |span| u32::try_from(span.as_secs()).unwrap_or(NEVER_S));
        if granted != connect.properties.session_expiry_interval().unwrap_or(0) {
            properties.push(Property::SessionExpiryInterval(granted));
        }
        // The configuration does not let either be 0.
        NonZeroU16::new(limits.receive_max)
            .into_iter()
            .for_each(|max| properties.push(Property::ReceiveMaximum(max)));
        NonZeroU32::new(limits.packet_bytes_max)
            .into_iter()
            .for_each(|max| properties.push(Property::MaximumPacketSize(max)));
        if client.assigned {
            properties.push(Property::AssignedClientIdentifier(client.text));
        }
        let keep_alive_s = keep_alive_s(connect, limits);
        if keep_alive_s != connect.keep_alive_s {
            properties.push(Property::ServerKeepAlive(keep_alive_s));
        }
        offer(features, &mut properties);
        if let Some(information) = &features.response_information
            && connect.properties.request_response_information() == Some(true)
        {
            properties.push(Property::ResponseInformation(information));
        }
        if let Some(Proof { method, data }) = proof {
            properties.push(Property::AuthenticationMethod(method));
            properties.push(Property::AuthenticationData(data));
        }
    }
    let accepted = ConnAck { session_present, code: 0, properties: properties.as_properties() };
    Packet::ConnAck(accepted).encode(terms.version, out);
}

/// What the broker has, and has not, where that is not what a client assumes of one that says nothing. [MQTT 3.2.2.3]
fn offer(features: &Features, properties: &mut PropertiesBuf) {
    if features.topic_alias_max > 0 {
        properties.push(Property::TopicAliasMaximum(features.topic_alias_max));
    }
    if features.qos_max < QoS::ExactlyOnce {
        properties.push(Property::MaximumQos(features.qos_max == QoS::AtLeastOnce));
    }
    let lacking = [
        (features.retain, Property::RetainAvailable(false)),
        (features.wildcard_subscriptions, Property::WildcardSubscriptionAvailable(false)),
        (features.subscription_ids, Property::SubscriptionIdentifierAvailable(false)),
        (features.shared_subscriptions, Property::SharedSubscriptionAvailable(false)),
    ];
    lacking.into_iter().filter(|(there, _)| !there).for_each(|(_, absent)| properties.push(absent));
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// What 5.0 clients are told; for older ones it is translated.
    pub reason: ReasonCode,
    /// The same for people.
    pub why: &'a str,
    /// Where it can go instead.
    pub reference: Option<&'a str>,
    /// Whether it is because the client has not shown who it is.
    pub of_login: bool,
}

impl<'a> Refusal<'a> {
    /// A refusal without another server to go to.
    pub const fn new(reason: ReasonCode, why: &'a str) -> Self {
        Self { reason, why, reference: None, of_login: false }
    }

    /// Why a client that has not shown who it is is refused.
    pub const fn of_login(why: &'a str) -> Self {
        Self { of_login: true, ..Self::new(ReasonCode::NotAuthorized, why) }
    }
}

/// Writes the CONNACK that refuses a client, in the words of its protocol version and as many as it wants. Nothing where
/// its version has no word for the reason.
pub fn refuse(connect: &Connect<'_>, refusal: Refusal<'_>, out: &mut BytesMut) {
    let mut reference = PropertiesBuf::default();
    if let Some(server) = refusal.reference {
        reference.push(Property::ServerReference(server));
    }
    let wants_reasons = connect.properties.request_problem_information() != Some(false);
    let explained = wants_reasons.then(|| {
        let mut explained = reference.clone();
        explained.push(Property::ReasonString(refusal.why));
        explained
    });
    let start = out.len();
    // What the client does not take is left out, and at last the packet itself. [MQTT-3.1.2-24], [MQTT-3.2.2-19]
    for properties in [explained, Some(reference), Some(PropertiesBuf::default())].into_iter().flatten() {
        write_refusal(connect.version, refusal.reason, properties.as_properties(), out);
        if out.len() - start <= packet_bytes_max(connect) as usize {
            return;
        }
        out.truncate(start);
    }
}

/// Writes the CONNACK for a CONNECT that cannot be read, or nothing where its client would not understand it: 5.0 has a
/// code for whatever is wrong, the versions before have one for a version that is not spoken. [MQTT-3.1.2-2],
/// [MQTT-3.1.4-1]
pub fn refuse_malformed(body: &[u8], error: DecodeError, out: &mut BytesMut) {
    let version = match (Connect::version_of(body), error) {
        (Ok(Version::V5), _) => Version::V5,
        (Err(_), DecodeError::ProtocolVersion(level)) if level > Version::V5 as u8 => Version::V5,
        (Err(_), DecodeError::ProtocolVersion(_)) => Version::V311,
        _ => return,
    };
    write_refusal(version, error.reason(), Properties::EMPTY, out);
}

fn write_refusal(version: Version, reason: ReasonCode, properties: Properties<'_>, out: &mut BytesMut) {
    let code = match version {
        Version::V5 => reason as u8,
        Version::V31 | Version::V311 => match ConnectReturn::of(reason) {
            Some(code) => code as u8,
            None => return,
        },
    };
    Packet::ConnAck(ConnAck { session_present: false, code, properties }).encode(version, out);
}
