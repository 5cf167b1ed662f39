//! Packets as bytes, put together without the broker's own codec.

pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xd0, 0];

pub(crate) fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

/// A field of binary data, or of a string that need not be one.
pub(crate) fn binary(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("a short field");
    [&len.to_be_bytes()[..], bytes].concat()
}

/// A packet of a first byte and a body.
pub(crate) fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    [&[first], &varint(body.len())[..], &body].concat()
}

/// A variable byte integer.
pub(crate) fn varint(mut rest: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let digit = u8::try_from(rest % 128).expect("seven bits");
        rest /= 128;
        out.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            return out;
        }
    }
}

/// A CONNECT to be.
#[derive(Clone)]
pub(crate) struct Connect<'a> {
    pub(crate) id: &'a str,
    pub(crate) level: u8,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    /// Topic, payload, QoS, retain.
    pub(crate) will: Option<(&'a str, &'a str, u8, bool)>,
    /// Encoded properties of 5.0.
    pub(crate) properties: &'a [u8],
    /// The same for the will.
    pub(crate) will_properties: &'a [u8],
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a [u8]>,
}

impl<'a> Connect<'a> {
    pub(crate) fn new(id: &'a str) -> Self {
        let (properties, will_properties) = (&[], &[]);
        let (will, username, password) = (None, None, None);
        Self {
            id,
            level: 4,
            clean: true,
            keep_alive: 0,
            will,
            properties,
            will_properties,
            username,
            password,
        }
    }

    pub(crate) fn v5(id: &'a str) -> Self {
        Self { level: 5, ..Self::new(id) }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let name = text(if self.level == 3 { "MQIsdp" } else { "MQTT" });
        let mut flags = if self.clean { 2 } else { 0 };
        let block = |properties: &[u8]| match self.level {
            5 => [&varint(properties.len()), properties].concat(),
            _ => Vec::new(),
        };
        let mut payload = text(self.id);
        if let Some((topic, message, qos, retain)) = self.will {
            flags |= 4 | qos << 3 | u8::from(retain) << 5;
            payload.extend([block(self.will_properties), text(topic), text(message)].concat());
        }
        if let Some(username) = self.username {
            flags |= 0x80;
            payload.extend(text(username));
        }
        if let Some(password) = self.password {
            flags |= 0x40;
            payload.extend(binary(password));
        }
        let keep_alive = self.keep_alive.to_be_bytes();
        packet(0x10, &[&name, &[self.level, flags], &keep_alive, &block(self.properties), &payload])
    }
}

/// CONNACK of 3.1.1.
pub(crate) fn connack(session_present: bool, code: u8) -> [u8; 4] {
    [0x20, 2, u8::from(session_present), code]
}

/// SUBSCRIBE of 3.1.1 with one filter.
pub(crate) fn subscribe(id: u16, filter: &str, qos: u8) -> Vec<u8> {
    subscribe_many(id, &[(filter, qos)])
}

pub(crate) fn subscribe_many(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let filters: Vec<u8> =
        filters.iter().flat_map(|(filter, qos)| [text(filter), vec![*qos]].concat()).collect();
    packet(0x82, &[&id.to_be_bytes(), &filters])
}

/// SUBACK of 3.1.1 for one filter.
pub(crate) fn suback(id: u16, code: u8) -> Vec<u8> {
    packet(0x90, &[&id.to_be_bytes(), &[code]])
}

/// PUBLISH of 3.1.1; `flags` are DUP, QoS and RETAIN.
pub(crate) fn publish(flags: u8, topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let id = id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default();
    packet(0x30 | flags, &[&text(topic), &id, payload])
}

/// PUBLISH of 5.0.
pub(crate) fn publish_v5(
    flags: u8,
    topic: &str,
    id: Option<u16>,
    properties: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let id = id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default();
    packet(0x30 | flags, &[&text(topic), &id, &varint(properties.len()), properties, payload])
}
