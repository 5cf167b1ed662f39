//! MQTT 3.1, 3.1.1 and 5.0 as bytes, in both directions. Sans-IO: buffers in, borrowed packets out.
//!
//! [`split`] finds where a packet ends, [`decode`] reads it, [`Packet::encode`] writes it. Everything that a decoded packet
//! holds is checked: strings are well-formed, flags and lengths fit, properties are allowed where they stand. What topics
//! and filters may look like is for [`crate::topic`].
//!
//! ```
//! use pantala::codec::{Packet, Split, Version, decode, split};
//!
//! let bytes = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x02, 0, 60, 0, 1, b'c'];
//! let Split::Whole { frame, len: 15 } = split(&bytes, 1_024)? else { panic!("it is whole") };
//! let Packet::Connect(connect) = decode(frame, Version::V311)? else { panic!("it is a CONNECT") };
//! assert_eq!((connect.version, connect.client_id, connect.keep_alive_s), (Version::V311, "c", 60));
//! # Ok::<(), pantala::codec::DecodeError>(())
//! ```

mod ack;
mod connect;
mod error;
mod frame;
mod packet;
mod props;
mod publish;
mod reason;
mod subscribe;
#[cfg(test)]
mod tests;
mod text;

pub use ack::{Ack, Auth, Disconnect};
pub use connect::{ConnAck, Connect, ConnectReturn, Will};
pub use error::DecodeError;
pub use frame::{Frame, Split, split};
pub use packet::{Packet, PacketType, Version, decode};
pub use props::{Properties, PropertiesBuf, Property};
pub use publish::{Publish, PublishHead};
pub use reason::ReasonCode;
pub use subscribe::{
    RetainHandling, SubAck, Subscribe, SubscribeFilters, SubscriptionOptions, UnsubAck, Unsubscribe,
    UnsubscribeFilters,
};
